"""How a chat model's answer ended: as a whole, cut off, or refused. It is told here for all providers.

Each provider has signals of its own. They are compared without case and signs, so "MAX_TOKENS" and
"FinishReason.max_tokens" are one. LangChain joins the strings of a stream, so a signal may stand there twice in a row.
A signal that is not known is no reason to drop an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage

from dsplus_chains.schema import causes

_REASONS = {"finishreason", "stopreason", "donereason", "completionreason", "incompletedetails", "stoptype"}
_BLOCKS = {"blockreason", "promptfeedback"}
_TELLING = {*_REASONS, *_BLOCKS, "status", "truncated", "isblocked"}
"""Names under which providers tell how an answer ended."""

_REFUSED = (
    *("refus", "contentfilter", "contentpolicy", "responsibleai", "invalidprompt", "safety", "blocked", "blocklist"),
    *("prohibited", "spii", "recitation", "guardrail", "toxic", "moderation", "sensitive", "harm"),
)
"""Reasons of a refusal, by the model or by a filter behind it."""
_CUT = (
    *("length", "limit", "maxtokens", "maxoutputtokens", "maxcompletiontokens", "maxnewtokens", "contextwindow"),
    *("truncated", "notfinished", "pauseturn", "insufficientsystemresource", "timeout", "abort", "cancel"),
    *("malformed", "error", "other"),
)
"""Reasons of an answer that is not whole."""
_CUT_STATUS = ("incomplete", "failed", "cancelled", "inprogress", "queued")

_REFUSALS = {
    *("ModelRefusalError", "OpenAIRefusalError", "ContentFilterFinishReasonError", "BlockedPromptException"),
    "ResponseBlockedError",
}
"""Names of the errors with which clients report a refusal. LangChain has `ModelRefusalError` from 1.7.5."""
_CUTS = {"LengthFinishReasonError"}
_SIGNS = re.compile(r"[\W_]+")


class RefusalError(OutputParserException):
    """The large model refused to answer, in the way that its provider has for it."""


class CutOffError(OutputParserException):
    """The large model's answer ended before it was whole, mostly because it ran out of tokens."""


def check_ending(message: BaseMessage) -> None:
    """Refuse a message that is a refusal, or that was cut off.

    A cut answer says nothing, not even where it begins with a label. "Card" may have been about to become "card lost".

    Raises:
        RefusalError: The model refused. `llm_output` holds what it said, or else the provider's reason.
        CutOffError: The answer was cut off. `llm_output` holds what came.

    Example:
        >>> message = AIMessage("card", response_metadata={"finish_reason": "length"})
        >>> try:
        ...     check_ending(message)
        ... except CutOffError as error:
        ...     print(error.llm_output)
        card
    """
    told, cut = _refusal_in(message), None
    refused = told is not None
    for reason, where in _reasons(message):
        kind = _kind(reason, where)
        if kind == "refused":
            refused, told = True, told or _explanation(message) or str(message.text) or reason
        elif kind == "cut":
            cut = reason
    if refused:
        said = told or str(message.text) or "no reason given"
        msg = f"The large model refused: {said}"
        raise RefusalError(msg, llm_output=said)
    if cut is not None:
        msg = f'Got an answer that was cut off ("{cut}") but expected a whole one; allow more tokens (max_tokens)'
        raise CutOffError(msg, llm_output=str(message.text))


def is_whole(message: BaseMessage) -> bool:
    """Whether a message is an answer, neither refused nor cut off.

    Example:
        >>> is_whole(AIMessage("card", response_metadata={"stop_reason": "max_tokens"})), is_whole(AIMessage("card"))
        (False, True)
    """
    try:
        check_ending(message)
    except OutputParserException:
        return False
    return True


def is_cut_off(message: BaseMessage) -> bool:
    """Whether a message was cut off.

    Example:
        >>> is_cut_off(AIMessage("ca", response_metadata={"stop_reason": "max_tokens"})), is_cut_off(AIMessage("card"))
        (True, False)
    """
    try:
        check_ending(message)
    except OutputParserException as error:
        return isinstance(error, CutOffError)
    return False


def spoken(error: Exception) -> BaseMessage | None:
    """The message that a model had sent, where its client raised because of how that ended. None for any other error.

    Example:
        >>> spoken(TimeoutError("no answer"))
    """
    for cause in causes(error):
        names = {kind.__name__ for kind in type(cause).__mro__}
        code = getattr(cause, "code", None)
        if names & _REFUSALS or (isinstance(code, str) and _kind(code, "reason") == "refused"):
            raw = getattr(cause, "raw_message", None)
            told = (_refusal_in(raw) or _explanation(raw)) if isinstance(raw, BaseMessage) else None
            return AIMessage("", additional_kwargs={"refusal": told or str(cause) or type(cause).__name__})
        if names & _CUTS:
            return AIMessage(_came(cause), response_metadata={"finish_reason": "length"})
    return None


def as_refusal(error: Exception) -> Exception:
    """A model's refusal as a `RefusalError`. Any other error is returned unchanged.

    Example:
        >>> as_refusal(TimeoutError("no answer"))
        TimeoutError('no answer')
    """
    message = None if isinstance(error, OutputParserException) else spoken(error)
    try:
        if message is not None:
            check_ending(message)
    except RefusalError as refusal:
        refusal.__cause__ = error
        return refusal
    except CutOffError:
        pass
    return error


_Where = Literal["reason", "status", "block"]


def _reasons(message: BaseMessage) -> Iterator[tuple[str, _Where]]:
    """What a message tells of its end, each time with the kind of field in which it stands."""
    for told in (message.response_metadata, message.additional_kwargs):
        for key, value in told.items():
            name = _same(key)
            if not value or name not in _TELLING:
                continue
            where: _Where = "status" if name == "status" else "block" if name in _BLOCKS else "reason"
            field = "block_reason" if where == "block" else "reason"
            reason = value.get(field) if isinstance(value, Mapping) else name if value is True else value
            if reason:
                yield str(getattr(reason, "name", reason))[:100], where


@lru_cache(maxsize=1024)
def _kind(reason: str, where: _Where) -> Literal["refused", "cut", "whole"]:
    told = _same(reason)
    if where == "block":
        return "whole" if "unspecified" in told else "refused"
    if any(signal in told for signal in _REFUSED):
        return "refused"
    cuts = _CUT_STATUS if where == "status" else _CUT
    return "cut" if any(signal in told for signal in cuts) else "whole"


@lru_cache(maxsize=1024)
def _same(text: Any) -> str:
    return _SIGNS.sub("", str(text)).lower()


def _refusal_in(message: BaseMessage) -> str | None:
    """The refusal among a message's blocks, or beside them. None if there is none. It may be empty."""
    beside = message.additional_kwargs.get("refusal")
    if beside:
        return str(beside)
    for block in message.content if isinstance(message.content, list) else []:
        inner = block.get("value") if isinstance(block, dict) and block.get("type") == "non_standard" else block
        if isinstance(inner, dict) and inner.get("type") == "refusal":
            return str(inner.get("refusal") or "")
    return None


def _explanation(message: BaseMessage) -> str | None:
    """Why a provider stopped the answer, in its words."""
    details = message.response_metadata.get("stop_details")
    told = details.get("explanation") if isinstance(details, Mapping) else None
    return told or message.response_metadata.get("finish_message") or None


def _came(error: BaseException) -> str:
    """What had come of an answer before its client raised."""
    choices = getattr(getattr(error, "completion", None), "choices", None) or [None]
    return getattr(getattr(choices[0], "message", None), "content", None) or ""

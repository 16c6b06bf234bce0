"""Where the text is in what an app is called with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, convert_to_messages
from langchain_core.messages.content import KNOWN_BLOCK_TYPES
from langchain_core.prompt_values import PromptValue

from dsplus_chains.integrations.dotted_path import along
from dsplus_chains.schema import InvalidInputError, TextPair, as_pair, check_choice, what_came

When: TypeAlias = Literal["each_turn", "single_turn"]
"""Which conversations a small model may answer: all of them, or those with one human turn."""

Place: TypeAlias = str | Callable[[Any], Any]
TextPlace: TypeAlias = Place | tuple[Place, Place]
"""Where a text is: "auto", a key, a dotted path, a template, or a function. Two places make a pair of texts."""

USUAL_KEYS = ("input", "question", "text", "query")
"""The keys under which apps of LangChain take their text."""

_IDENTIFIER = re.compile(r"(^|_)(uu)?id$|[a-z]Id$")
"""The keys of what names a user, a session or a row. It is no text to judge."""

_HISTORY = re.compile(r"history|memory|example|shot|previous|past", re.IGNORECASE)
"""The keys of conversations that stand beside the text."""

_NO_HUMAN_TURN = "the conversation does not end with a human turn"
_BLOCKS = KNOWN_BLOCK_TYPES | {"image_url", "input_audio", "input_image", "input_file", "document", "media"}
"""The types of blocks that a message's content consists of, in LangChain's form and in providers' own."""
_FIELD = re.compile(r"\{([^{}]+)\}")
_HOW = (
    'Say where it is with text=: a key ("ticket"), a path ("request.body"), a template '
    '("{question}\\n{document}"), a function from the input to the text, or a tuple of two of these for a pair'
)


@dataclass(frozen=True)
class NoText:
    """An input whose text a small model must not judge.

    Args:
        why: The reason, for the record.
    """

    why: str


def text_reader(
    text: TextPlace, *, when: When = "each_turn", takes_turns: bool = False
) -> Callable[[Any], str | NoText]:
    """The function from an app's input to the text that the small model reads.

    Args:
        text: "auto", a key, a dotted path, a template with paths in braces, or a function. "auto" knows a string, a
            document, a conversation in every form that LangChain takes, and a dict with one of them. In a dict, keys
            such as "user_id" hold no text, and a conversation that does not end with a human turn is a history. A tuple
            of two places makes a pair of texts. So does a function that returns two.
        when: Whether the small model may answer a later turn of a conversation.
        takes_turns: Whether the app takes a list of texts for human turns. If not, "auto" knows no list of several.

    Returns:
        A function that returns the text. It returns `NoText` where the app alone has to answer. It raises
        `InvalidInputError` where there is no text.

    Raises:
        ValueError: `text` is none of these, or `when` is unknown.

    Example:
        >>> text_reader("auto")({"question": "Where is it?", "id": 7})
        'Where is it?'
        >>> text_reader("{question} ({request.lang})")({"question": "Where?", "request": {"lang": "en"}})
        'Where? (en)'
        >>> text_reader(("question", "document"))({"question": "Where?", "document": "Here."}).sides
        ('Where?', 'Here.')
    """
    check_choice("when", when, get_args(When))
    if isinstance(text, (tuple, list)):
        if len(text) != 2:
            msg = f"Got text={what_came(text)} but expected two places for a pair of texts. {_HOW}"
            raise InvalidInputError(msg)
        return partial(_paired, [text_reader(place, when=when) for place in text])
    if callable(text):
        return partial(_by_function, text, when)
    if not isinstance(text, str):
        msg = f"Got text={what_came(text)} but expected a place. {_HOW}"
        raise InvalidInputError(msg)
    if text == "auto":
        return partial(_found, when=when, takes_turns=takes_turns)
    return partial(_filled if _FIELD.search(text) else _at, text, when)


def _paired(readers: Sequence[Callable[[Any], str | NoText]], value: Any) -> TextPair | NoText:
    """The pair of what two readers find."""
    first, second = (read(value) for read in readers)
    if isinstance(first, NoText):
        return first
    return second if isinstance(second, NoText) else TextPair(first, second)


def _by_function(function: Callable[[Any], Any], when: When, value: Any) -> str | NoText:
    found = function(value)
    pair = as_pair(found) if isinstance(found, tuple) else None
    return _as_text(found, when) if pair is None else pair


def _at(path: str, when: When, value: Any) -> str | NoText:
    """The text at a path. What the path leads through must be fit for the small model too."""
    *through, found = along(value, path, how=_HOW)
    return _unfit(through, when) or _as_text(found, when)


def _filled(template: str, when: When, value: Any) -> str | NoText:
    """A template with the texts in it. A conversation that ends with no human turn may stand beside another text."""
    ways = [along(value, path, how=_HOW) for path in _FIELD.findall(template)]
    ends = [_as_message(way[-1]) for way in ways]
    unfit = _unfit([*(step for way in ways for step in way[:-1]), *ends], when)
    if unfit is not None:
        return unfit
    if all(said and not isinstance(said[-1], HumanMessage) for said in map(_messages, ends)):
        return NoText(_NO_HUMAN_TURN)
    parts = iter(ends)
    return _FIELD.sub(lambda _: _plain(next(parts)), template)


def _plain(found: Any) -> str:
    """A part of a text.

    Raises:
        InvalidInputError: It is no text, number, message or document, and no list of them.
    """
    if isinstance(found, (str, int, float)):
        return str(found)
    messages = _messages(found)
    if messages is not None:
        return "\n".join(str(message.text) for message in messages)
    if isinstance(found, Document):
        return found.page_content
    if isinstance(found, (list, tuple)):
        return "\n".join(map(_plain, found))
    msg = f"Got {what_came(found)} in a template, but expected a text, a number, a message or a document. {_HOW}"
    raise InvalidInputError(msg)


def _as_text(found: Any, when: When) -> str | NoText:
    """A text, the text of a document, or that of a conversation."""
    if isinstance(found, (str, NoText)):
        return found
    if isinstance(found, Document):
        return found.page_content
    messages = _messages(_as_message(found))
    if messages is not None:
        return _last_turn(messages, when)
    msg = f"Got {what_came(found)} where the text should be, but expected a string, or messages. {_HOW}"
    raise InvalidInputError(msg)


def _found(value: Any, when: When, *, takes_turns: bool) -> str | NoText:
    """The text of an input that says nowhere where it is."""
    if isinstance(value, Document):
        return value.page_content
    if isinstance(value, str):
        return value
    messages = _messages(value, turns=takes_turns or (isinstance(value, (list, tuple)) and len(value) == 1))
    if messages is not None:
        return _last_turn(messages, when)
    fields = fields_of(value)
    if fields is not None:
        texts = [key for key, held in fields.items() if isinstance(held, str) and not _is_identifier(key)]
        chat = fields.get("messages")
        messages = _messages(chat)
        if messages is not None or (isinstance(chat, (list, tuple)) and not chat):
            turn = _last_turn(messages or [], when)
            asked = [key for key in USUAL_KEYS if key in texts] if isinstance(turn, NoText) else []
            return (_unfit([messages], when) or str(fields[asked[0]])) if len(asked) == 1 else turn
        if isinstance(chat, (list, tuple)):
            msg = f"Got {what_came(chat)} under 'messages' but expected a conversation as chat models take it. {_HOW}"
            raise InvalidInputError(msg)
        chats = [
            key
            for key, held in fields.items()
            if (_asks(held) and not _HISTORY.search(str(key)) if texts else _messages(held) is not None)
        ]
        if (key := _meant([*texts, *chats])) is not None:
            others = [held for name, held in fields.items() if name != key]
            found = fields[key]
            return _unfit(others, when) or (
                found if isinstance(found, str) else _last_turn(_messages(found) or [], when)
            )
        if texts or chats:
            told = f"texts or conversations under {[*texts, *chats]}"
            msg = f"Got {what_came(value)} with {told}, and cannot tell which one is meant. {_HOW}"
            raise InvalidInputError(msg)
    passed_over = (
        " A key such as 'user_id' is not taken for one." if fields and any(map(_is_identifier, fields)) else ""
    )
    msg = f"Got {what_came(value)} but expected a text, messages, or a dict with one of them.{passed_over} {_HOW}"
    raise InvalidInputError(msg)


def _is_identifier(key: Any) -> bool:
    return _IDENTIFIER.search(str(key)) is not None


def _meant(keys: Sequence[str]) -> str | None:
    """The key that is meant, which is the only one or the only usual one. None if it cannot be told."""
    usual = [key for key in USUAL_KEYS if key in keys]
    found = usual if len(usual) == 1 else keys
    return found[0] if len(found) == 1 else None


def _asks(held: Any) -> bool:
    """Whether a conversation ends with a human turn. One that does not is a history beside the text."""
    messages = _messages(held) or []
    return bool(messages) and isinstance(messages[-1], HumanMessage)


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """The fields of a dict, a dataclass or a pydantic model, as states of graphs are."""
    if isinstance(value, Mapping):
        return value
    names = getattr(type(value), "model_fields", None) or getattr(type(value), "__dataclass_fields__", None)
    return None if names is None else {name: getattr(value, name) for name in names}


def _messages(value: Any, *, turns: bool = False) -> list[BaseMessage] | None:
    """A conversation, in any form that chat models take. None if it is none. Texts alone are one only as `turns`."""
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, BaseMessage):
        return [value]
    if not isinstance(value, (list, tuple)) or not value or not (turns or any(not isinstance(p, str) for p in value)):
        return None
    try:
        return convert_to_messages(value)
    except (ValueError, NotImplementedError, KeyError, TypeError):  # as LangChain says that it is no conversation
        return None


def _last_turn(messages: list[BaseMessage], when: When) -> str | NoText:
    """The text of the last human turn, with which the conversation has to end.

    A turn may speak of an image or a file that came before it. So none may be in the conversation.
    """
    if not messages or not isinstance(messages[-1], HumanMessage):
        return NoText(_NO_HUMAN_TURN)
    return _unfit([messages], when) or str(messages[-1].text)


def _unfit(held: Iterable[Any], when: When) -> NoText | None:
    """Why the small model must not judge a text that stands beside other things, or comes out of them.

    The conversations among them must hold nothing but text. They may have no earlier turn, if it reads first turns
    alone, and no tool may be at work.
    """
    for messages in filter(None, map(_messages, held)):
        turns = [message for message in messages if isinstance(message, HumanMessage)]
        if isinstance(messages[-1], ToolMessage) or getattr(messages[-1], "tool_calls", None):
            return NoText(_NO_HUMAN_TURN)
        if when == "single_turn" and turns and turns[0] is not messages[-1]:
            return NoText("the conversation has an earlier human turn")
        if any(_holds_more(message) for message in messages):
            return NoText("the conversation holds more than text")
    return None


def _as_message(found: Any) -> Any:
    """The message whose content, in blocks, stands in a place for a text. Anything else is left as it is."""
    blocks = [part for part in found if not isinstance(part, str)] if isinstance(found, list) else []
    is_content = bool(blocks) and all(isinstance(part, dict) and part.get("type") in _BLOCKS for part in blocks)
    return HumanMessage(found) if is_content else found


def _holds_more(message: BaseMessage) -> bool:
    """Whether a message that no model wrote has an image, a file or the like. A model's blocks are its own matter."""
    parts = message.content if isinstance(message.content, list) and not isinstance(message, AIMessage) else []
    return any(isinstance(part, dict) and part.get("type") != "text" for part in parts)

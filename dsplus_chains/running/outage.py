"""Telling errors apart: a failing provider, a request that can never succeed, a bug in the caller's own code."""

from __future__ import annotations

import re
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from itertools import takewhile
from opcode import opmap
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import langchain_core
from langchain_core.exceptions import OutputParserException
from pydantic import ValidationError

from dsplus_chains.running.endings import spoken
from dsplus_chains.schema import DSPlusError, InvalidInputError, Value, budget_error, causes

BUGS = (AttributeError, ImportError, LookupError, NameError, TypeError)
"""Errors that mean a bug where the caller's own code has raised them."""

HOPELESS = {401: "the key is refused", 403: "the key has no access", 404: "there is no such model or address"}
"""The HTTP statuses of requests that fail again however often they are sent, and what each means."""

_CONNECTION = ("timeout", "readerror", "remoteprotocolerror", "connecterror", "connectionerror", "connectorerror")
"""Parts of the names of errors by which clients say that there is no connection, or no answer."""

MISFITS = (LookupError, NotImplementedError, TypeError, ValueError)
"""Errors by which LangChain says that an app's steps do not fit their input, or are called in a wrong way."""

_WRONG_CALL = re.compile(r"\S+\(\) (got an unexpected|got multiple|missing|takes) ")
_CORE = Path(langchain_core.__file__).resolve().parent
_SETTINGS = {("configurable.py", "_prepare"), ("history.py", "_merge_configs")}
"""The functions of LangChain's Runnables whose ValueErrors are about the config of a call."""

_CHUNKS = "utils.py"
"""The module of them that adds the chunks of a stream. What they are is up to a model."""

_LOOKUPS = {"__getattr__", "__getattribute__", "__getitem__", "__missing__"}
"""The methods by which an object looks up what other code asks it for."""

_OURS = Path(__file__).resolve().parents[1]
_STDLIB = Path(sysconfig.get_paths()["stdlib"]).resolve()
_PACKAGES = {Path(sysconfig.get_paths()[name]).resolve() for name in ("purelib", "platlib")}
_FOUNDATIONS = ("langchain", "langgraph", "dsplus")
"""How the packages are called that apps are built on."""


def is_callers_bug(error: BaseException) -> bool:
    """Whether an error is a bug in the caller's own code, and no outage of a model.

    It counts by its type and by where it was raised. Clients of providers raise KeyError and TypeError too, when a
    reply is malformed. So code of LangChain and of other installed packages does not count as the caller's. An
    installed package that is built on LangChain does. So does a name that the caller's own code looks up in an object
    of another package, such as ``message.contents`` or ``frame["scores"]``. So does what LangChain itself says of a
    wrong call: a coroutine called sync, an unknown keyword, a conversation without its session.

    What may come from a model's answer is none. A step in C, such as `operator.itemgetter`, may miss a key in it. A
    prompt may miss a variable, and a chat model may get a number. `is_unfit_input` knows where it is a bug.

    Args:
        error: What an arm or a small model has raised. Errors of ours count by what caused them.

    Example:
        >>> try:
        ...     {}["no such key"]
        ... except KeyError as error:
        ...     print(is_callers_bug(error), is_callers_bug(TimeoutError("no answer")))
        True False
    """
    error = _first_cause(error)
    frames = _frames(error.__traceback__)
    return _is_wrong_call(error, frames) or (isinstance(error, BUGS) and _is_own(frames))


def is_unfit_input(error: BaseException, step: Any, given: Any) -> bool:
    """Whether an app's first step says that it cannot take what the app was called with. That is a bug, too.

    Only there it is certain that no model's answer is the cause. So the step must have got the very object.

    Args:
        error: What the app has raised.
        step: The app's first step.
        given: What the app was called with.

    Example:
        >>> from langchain_core.prompts import ChatPromptTemplate
        >>> prompt, given = ChatPromptTemplate.from_template("{question}"), {"text": "Where is it?"}
        >>> try:
        ...     prompt.invoke(given)
        ... except KeyError as error:
        ...     print(is_unfit_input(error, prompt, given), is_unfit_input(error, prompt, {**given}))
        True False
    """
    held = [trace.tb_frame.f_locals for trace in _of_unfit_step(_first_cause(error))]
    return any(names.get("self") is step and any(value is given for value in names.values()) for names in held)


def is_wrong_value(error: BaseException) -> bool:
    """Whether the caller's own code has made one of our values, such as a `Prediction`, of what that cannot hold.

    In a small model that is a bug. Behind a large model, its answer may be the cause.

    Example:
        >>> from dsplus_chains.schema import Prediction
        >>> try:
        ...     Prediction(label="spam", confidence=95)
        ... except ValueError as error:
        ...     print(is_wrong_value(error))
        True
    """
    if not isinstance(error, ValidationError):
        return False
    frames = _frames(error.__traceback__)
    inside = list(takewhile(lambda trace: isinstance(trace.tb_frame.f_locals.get("self"), Value), frames))
    return bool(inside) and any(_place(_file(maker)) for maker in frames[len(inside) :][:1])


def is_outage(error: BaseException) -> bool:
    """Whether an error says that a model is not there.

    An answer that is no label says that it is, and so does a refusal. Wrong inputs, bugs, wrong values and a spent
    budget say nothing of it. So does a step that cannot take its input, whatever that comes from.

    Example:
        >>> is_outage(TimeoutError("no answer")), is_outage(OutputParserException("no label"))
        (True, False)
    """
    if isinstance(error, (OutputParserException, InvalidInputError)) or not isinstance(error, Exception):
        return False
    if budget_error(error) is not None or is_wrong_value(error):
        return False
    return spoken(error) is None and not is_callers_bug(error) and not _of_unfit_step(_first_cause(error))


def why_hopeless(error: BaseException) -> str | None:
    """Why a request would fail again however often it is sent; None if it might succeed.

    Args:
        error: What a provider's client has raised, or what somebody has made of it.

    Example:
        >>> why_hopeless(TimeoutError("no answer")) is None
        True
    """
    for cause in causes(error):
        if (status := _status(cause)) is not None:
            return HOPELESS.get(status)
        if cause.__cause__ is None and _is_of_connection(cause):
            return None  # it is of a call of its own, such as that of a backup, whatever was handled at that time
    return None


def fails_any_request(error: BaseException) -> bool:
    """Whether an error says that any other request would fail now, too.

    It would if there is no connection, the key is refused, or the server has no room. Other errors may come from one
    prompt alone, such as one that is too long.

    Example:
        >>> fails_any_request(ConnectionError("down")), fails_any_request(ValueError("too long"))
        (True, False)
    """
    for cause in causes(error):
        if (status := _status(cause)) is not None:
            return status in {*HOPELESS, 408, 429} or status >= 500
        if _is_of_connection(cause):
            return True
    return False


def _is_of_connection(error: BaseException) -> bool:
    names = [kind.__name__.lower() for kind in type(error).__mro__]
    return any(part in name for name in names for part in _CONNECTION)


def _status(error: BaseException) -> int | None:
    """The HTTP status that a client's error tells, if it does."""
    told = getattr(error, "status_code", None)
    if told is None:
        told = getattr(getattr(error, "response", None), "status_code", None)
    return told if isinstance(told, int) else None


def _frames(trace: TracebackType | None) -> list[TracebackType]:
    """Where an error has come through, from where it was raised outwards."""
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    return frames[::-1]


def _file(trace: TracebackType) -> Path:
    return Path(trace.tb_frame.f_code.co_filename)


def _is_own(frames: list[TracebackType]) -> bool:
    """Whether the caller's own code has raised an error, or has looked up what an object of others does not hold."""
    others: list[TracebackType] = []
    for trace in frames:
        place = _place(_file(trace))
        if place:
            return not others or _is_lookup(others)
        if place is False:
            others.append(trace)
    return False


def _is_lookup(frames: list[TracebackType]) -> bool:
    """Whether frames of other packages are one look-up, with what the object's own package does for it."""
    outermost = frames[-1].tb_frame
    return outermost.f_code.co_name in _LOOKUPS and all(
        trace.tb_frame.f_code.co_name in _LOOKUPS or _package(trace.tb_frame) == _package(outermost) for trace in frames
    )


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _first_cause(error: BaseException) -> BaseException:
    """The error without what we have wrapped around it."""
    return next((cause for cause in causes(error) if not isinstance(cause, DSPlusError)), error)


def _of_unfit_step(error: BaseException) -> list[TracebackType]:
    """Where a prompt or a chat model says that its input is wrong. What other code raises inside does not count."""
    found: list[TracebackType] = []
    if not isinstance(error, MISFITS):
        return found
    for trace in _frames(error.__traceback__):
        room = _room(_file(trace))
        if room == "prompts" or (room == "language_models" and trace.tb_frame.f_code.co_name == "_convert_input"):
            found.append(trace)
        if room == "runnables" or (room is None and _place(_file(trace)) is not None):
            break
    return found


def _is_wrong_call(error: BaseException, frames: list[TracebackType]) -> bool:
    """Whether a module of LangChain's Runnables says that a step is called in a wrong way.

    A step in C, such as `operator.itemgetter`, raises in the frame that calls it. That may be due to a model's answer.
    """
    if not frames or not isinstance(error, MISFITS) or _room(_file(frames[0])) != "runnables":
        return False
    trace = frames[0]
    code = trace.tb_frame.f_code
    is_raised = code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]
    if isinstance(error, ValueError):
        return is_raised and (_file(trace).name, code.co_name) in _SETTINGS
    if isinstance(error, TypeError) and _WRONG_CALL.match(str(error)):
        return True
    if _file(trace).name == _CHUNKS:
        return False
    return is_raised and isinstance(error, (NotImplementedError, TypeError))


@cache
def _room(path: Path) -> str | None:
    """The part of LangChain's core in which a file is; None if it is outside."""
    where = path.resolve()
    return where.relative_to(_CORE).parts[0] if where.is_relative_to(_CORE) else None


@cache
def _place(path: Path) -> bool | None:
    """Whether a file is the caller's own code; None if it does not tell, as the standard library and our own code."""
    where = path.resolve()
    if where.is_relative_to(_OURS) or str(path).startswith("<frozen"):
        return None
    folder = next((folder for folder in _PACKAGES if where.is_relative_to(folder)), None)
    if folder is not None:
        return _is_app(where.relative_to(folder).parts[0].removesuffix(".py"))
    return None if where.is_relative_to(_STDLIB) else True


@cache
def _is_app(package: str) -> bool:
    """Whether an installed package is built on LangChain, without being a part of it."""
    for distribution in packages_distributions().get(package, ()):
        name = distribution.lower()
        try:
            needs = [need.lower() for need in requires(distribution) or ()]
        except PackageNotFoundError:
            continue
        if not name.startswith(_FOUNDATIONS) and any(need.startswith(_FOUNDATIONS) for need in needs):
            return True
    return False

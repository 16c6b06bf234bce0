"""Reads files and JSON that somebody else may have written. Whatever they hold, the error is a `BundleError`."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dsplus_chains.schema.errors import BundleError
from dsplus_chains.schema.texts import is_sound
from dsplus_chains.schema.wording import shorten, what_came

DEEPEST = 64
"""Most levels of lists and objects inside one another."""
_DIGITS = 100
"""Most digits of an integer. More take long to read, and cannot become a float."""


class Stored(BaseModel):
    """The base of data as a file holds it. Types are exact and numbers are finite. What is unknown is not read."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


def read_regular(path: Path, *, most: int) -> bytes:
    """The content of a regular file. A link, a pipe and a device are refused before anything is read.

    Args:
        path: The file.
        most: Most bytes that it may have.

    Raises:
        OSError: The file is missing, or cannot be read.
        BundleError: It is no regular file, or larger.
    """
    kind = path.lstat().st_mode
    if not stat.S_ISREG(kind):
        what = "a link" if stat.S_ISLNK(kind) else "a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
        msg = f"Got {shorten(str(path), 300)!r}, which is {what}, but expected a regular file"
        raise BundleError(msg)
    # What replaces the file in this very moment is neither followed nor waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            msg = f"Got {shorten(str(path), 300)!r} of {size:,} bytes but expected at most {most:,}"
            raise BundleError(msg)
        return file.read(most)


def read_json(packed: bytes) -> Any:
    """The value that JSON text holds. It is finite, not too deep, and its texts are whole.

    Raises:
        BundleError: It is no such JSON.

    Example:
        >>> read_json(b'{"a": [1, 2.5]}')
        {'a': [1, 2.5]}
        >>> read_json(b"[NaN]")
        Traceback (most recent call last):
        ...
        dsplus_chains.schema.errors.BundleError: Got a file of a bundle that is no JSON (got the number NaN); ...
    """
    try:
        value = json.loads(
            packed, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite, parse_int=_integer
        )
        if b"\\ud" in packed or b"\\uD" in packed:
            _check_sound(value)
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        msg = f"Got a file of a bundle that is no JSON ({shorten(str(error), 200)}); the bundle is damaged"
        raise BundleError(msg) from error
    return value


def read_numbers(values: Any) -> tuple[float, ...]:
    """The numbers of a JSON list.

    Raises:
        TypeError: It is no list, or holds something else, such as a text or a truth value.
    """
    if not isinstance(values, (list, tuple)) or not all(map(_is_number, values)):
        msg = f"Got {what_came(values)} but expected a list of numbers"
        raise TypeError(msg)
    return tuple(map(float, values))


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong with data, with its place.

    Example:
        >>> from pydantic import TypeAdapter
        >>> try:
        ...     TypeAdapter(list[int]).validate_python([1, "x"])
        ... except ValidationError as error:
        ...     print(first_fault(error))
        1: Input should be a valid integer, unable to parse string as an integer
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    text = " ".join(first["msg"].removeprefix("Value error, ").split())
    place = ".".join(map(str, first["loc"]))
    return shorten(f"{place}: {text}" if place else text, 500)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "got a key twice in one object"
        raise ValueError(msg)
    return found


def _refuse(text: str) -> Any:
    msg = f"got the number {shorten(text, 40)}"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    return number if abs(number) < float("inf") else _refuse(text)


def _integer(text: str) -> int:
    return int(text) if len(text) <= _DIGITS else _refuse(text)


def _check_sound(value: Any) -> None:
    if not is_sound(json.dumps(value, ensure_ascii=False)):
        msg = "got half of a character"
        raise ValueError(msg)


def _check_depth(value: Any) -> None:
    level = [[value]]
    for _ in range(DEEPEST + 1):
        level = [_inside(inner) for outer in level for inner in outer if isinstance(inner, (dict, list))]
        if not level:
            return
    msg = f"got more than {DEEPEST} levels inside one another"
    raise ValueError(msg)


def _inside(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value

"""How a scorer begins the record from an input of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    TextPair,
    as_pair,
    check_sound,
    read_pair,
    shown,
    sides_of,
    what_came,
)

Key: TypeAlias = Annotated[str, Field(min_length=1)]
InputKey: TypeAlias = Key | tuple[Key, Key]
"""The key of a dict under which the text is, or the two keys under which the texts of a pair are."""

_OURS = ("prediction", "tiers", "answer", "source", "large", "error", "fused", "small_error")
"""Keys that a chain writes. A record that has been through a scorer may hold them. A caller's own dict may not."""

WRITTEN_KEYS = frozenset({*_OURS, "input", "called_with", "answer_label", "unfinished", "sources", "predictions"})
"""All keys of the record of a shunt. Keys of the app's own dict with such a name are not in it."""


class UnreadableTextError(InvalidInputError):
    """A text is there, but a small model cannot read it. It is empty, or holds half of a character.

    Args:
        message: What is wrong with it.
        record: The record with the text as its `input`.
    """

    def __init__(self, message: str, record: dict[str, Any]) -> None:
        super().__init__(message)
        self.record = record

    def __reduce__(self) -> tuple[Any, ...]:
        return UnreadableTextError, (str(self), self.record)


def start_record(value: Any, *, input_key: InputKey, pairs: bool | None = None) -> dict[str, Any]:
    """The record of one input of a chain, which is a text, a pair of texts, or a dict that holds one.

    Args:
        value: A string, a tuple of two, or a dict. All keys of the dict are kept. What is no string itself becomes
            `called_with`.
        input_key: The key of a dict under which the text is. The text becomes `input`. Two keys make a pair.
        pairs: Whether the input has to be a pair. None takes a text as well as a pair.

    Raises:
        UnreadableTextError: The text is empty, or holds half of a character.
        InvalidInputError: There is no text, or a text in place of a pair, or the reverse. Or the dict has a different
            `input` already. Or its own keys stand where the chain writes its results.

    Example:
        >>> start_record("broke at once", input_key="input")
        {'input': 'broke at once'}
        >>> sorted(start_record({"review": "broke at once", "id": 7}, input_key="review"))
        ['called_with', 'id', 'input', 'review']
    """
    if isinstance(value, Mapping):
        keys = (input_key,) if isinstance(input_key, str) else input_key
        for key in keys:
            check_key(value, key, "text")
        found = value[input_key] if isinstance(input_key, str) else tuple(value[key] for key in keys)
        where = f"{input_key!r}: "
        text = _as_input(found, where, pairs)
        check_own_keys(value)
        if "input" in value and value["input"] is not found and value["input"] != text:
            msg = (
                f"Got a dict that holds one text under {input_key!r} and another under 'input', which is where the "
                "record keeps what is scored. Rename the one under 'input'"
            )
            raise InvalidInputError(msg)
        record = {**value, "input": text}
        if "prediction" not in value:
            record["called_with"] = value
        return _checked(record, where)
    text = _as_input(value, "", pairs)
    return _checked({"input": text} if isinstance(value, str) else {"input": text, "called_with": value}, "")


def check_key(value: Mapping[Any, Any], key: str, what: str) -> None:
    """Refuse a dict without the key of what is scored.

    Raises:
        InvalidInputError: The key is missing.
    """
    if key not in value:
        msg = f"Got {what_came(value)} but expected the {what} under {key!r}. Name its key with input_key=..."
        raise InvalidInputError(msg)


def check_own_keys(value: Mapping[Any, Any]) -> None:
    """Refuse a dict that is no record of a chain, but has the keys of one.

    Raises:
        InvalidInputError: It has some.
    """
    taken = [key for key in _OURS if key in value]
    if taken and not isinstance(value.get("prediction"), Prediction):
        msg = (
            f"Got a dict with the keys {taken}, which are where the record keeps what the chain finds out. Rename "
            "yours, so that they are not lost"
        )
        raise InvalidInputError(msg)


def with_prediction(record: dict[str, Any], prediction: Prediction) -> dict[str, Any]:
    """The record with a prediction. An earlier prediction moves to the end of `tiers`."""
    earlier = record.get("prediction")
    if earlier is None:
        return {**record, "prediction": prediction}
    return {**record, "prediction": prediction, "tiers": [*record.get("tiers", ()), earlier]}


def _as_input(found: Any, where: str, pairs: bool | None) -> str:
    """What is scored: a text, or a pair of texts.

    Raises:
        InvalidInputError: It is neither, or the other one than expected.
    """
    if pairs:
        return read_pair(found, where=where)
    is_pair = isinstance(found, TextPair) or (isinstance(found, tuple) and as_pair(found) is not None)
    if is_pair and pairs is False:
        msg = (
            f"Got {where}{what_came(found)} but the small model was fitted on single texts. Fit it on pairs, or give "
            "it one text"
        )
        raise InvalidInputError(msg)
    if is_pair:
        return read_pair(found)
    if not isinstance(found, str):
        msg = f"Got {where}{what_came(found)} but expected a text (a string)"
        raise InvalidInputError(msg)
    return found


def _checked(record: dict[str, Any], where: str) -> dict[str, Any]:
    """The record, if its `input` is a text that can be read, or two such texts."""
    text = record["input"]
    if empty := [side for side in sides_of(text) if not side.strip()]:
        msg = f"Got {where}{shown(empty[0])} but expected a text with at least one character that is not white space"
        raise UnreadableTextError(msg, record)
    try:
        check_sound(text, where=where)
    except InvalidInputError as error:
        raise UnreadableTextError(str(error), record) from None
    return record

"""How a scorer begins the record from an input of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import InvalidInputError, Prediction, check_sound, shown, what_came

_OURS = ("prediction", "tiers", "answer", "source", "large", "error", "fused", "small_error")
"""Keys that a chain writes. A record that has been through a scorer may hold them. A caller's own dict may not."""


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


def start_record(value: Any, *, input_key: str) -> dict[str, Any]:
    """The record of one input of a chain, which is a text or a dict that holds one.

    Args:
        value: A string, or a dict. All keys of the dict are kept. The dict itself becomes `called_with`.
        input_key: The key of a dict under which the text is. The text becomes `input`.

    Raises:
        UnreadableTextError: The text is empty, or holds half of a character.
        InvalidInputError: There is no text. Or the dict has a different `input` already. Or its own
            keys stand where the chain writes its results.

    Example:
        >>> start_record("broke at once", input_key="input")
        {'input': 'broke at once'}
        >>> sorted(start_record({"review": "broke at once", "id": 7}, input_key="review"))
        ['called_with', 'id', 'input', 'review']
    """
    if isinstance(value, Mapping):
        if input_key not in value:
            msg = f"Got {what_came(value)} but expected the text under {input_key!r}. Name its key with input_key=..."
            raise InvalidInputError(msg)
        text = value[input_key]
        taken = [key for key in _OURS if key in value]
        if taken and not isinstance(value.get("prediction"), Prediction):
            msg = (
                f"Got a dict with the keys {taken}, which are where the record keeps what the chain finds out. Rename "
                "yours, so that they are not lost"
            )
            raise InvalidInputError(msg)
        if "input" in value and value["input"] is not text and value["input"] != text:
            msg = (
                f"Got a dict that holds one text under {input_key!r} and another under 'input', which is where the "
                "record keeps what is scored. Rename the one under 'input'"
            )
            raise InvalidInputError(msg)
        record = {**value, "input": text}
        if "prediction" not in value:
            record["called_with"] = value
        return _checked(record, f"{input_key!r}: ")
    return _checked({"input": value}, "")


def with_prediction(record: dict[str, Any], prediction: Prediction) -> dict[str, Any]:
    """The record with a prediction. An earlier prediction moves to the end of `tiers`."""
    earlier = record.get("prediction")
    if earlier is None:
        return {**record, "prediction": prediction}
    return {**record, "prediction": prediction, "tiers": [*record.get("tiers", ()), earlier]}


def _checked(record: dict[str, Any], where: str) -> dict[str, Any]:
    """The record, if its `input` is a text that can be read."""
    text = record["input"]
    if not isinstance(text, str):
        msg = f"Got {where}{what_came(text)} but expected a text (a string)"
        raise InvalidInputError(msg)
    if not text.strip():
        msg = f"Got {where}{shown(text)} but expected a text with at least one character that is not white space"
        raise UnreadableTextError(msg, record)
    try:
        check_sound(text, where=where)
    except InvalidInputError as error:
        raise UnreadableTextError(str(error), record) from None
    return record

"""A decision as a row of a table, and back. Nothing in a row is code: it holds texts, numbers and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.schema import LargeAnswer, Prediction, answered_label, canonical_text, label_key, same_label

COLUMNS = (
    "time",
    "text",
    "text_hash",
    "prediction",
    "large",
    "large_confidence",
    "rationale",
    "fused",
    "answer",
    "source",
    "tokens",
    "model_hash",
    "task_hash",
)
"""The columns of a decision, in the order of `pack`."""
_KEPT = set(Prediction.model_fields)
"""What is kept of a prediction."""


class Decision(NamedTuple):
    """What is kept of a record."""

    time: float
    input: Any
    prediction: Any = None
    large: Any = None
    fused: Any = None
    answer: Any = None
    source: str | None = None
    model_hash: str | None = None
    task_hash: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any], time: float) -> Decision:
        """The decision in a record, made at a time."""
        get = record.get
        answer, source = answered_label(record), record["source"]
        told = get("prediction"), get("large"), get("fused"), answer, source, get("model_hash"), get("task_hash")
        return cls(time, get("input"), *told)


def kept_apart(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a record. What a caller may change later in its answers is copied, too."""
    copied = {**record}
    for name in ("answer", "answer_label"):
        if name in copied:
            copied[name] = _copy_of(copied[name])
    for name, kind in (("prediction", Prediction), ("large", LargeAnswer)):
        told = copied.get(name)
        if isinstance(told, kind) and isinstance(told.value, (dict, list)):
            copied[name] = told.model_copy(update={"value": _copy_of(told.value)})
    return copied


def _copy_of(value: Any) -> Any:
    """A dict or a list of its own. What cannot be copied stays as it is."""
    try:
        return deepcopy(value) if isinstance(value, (dict, list)) else value
    except Exception:  # objects of the caller's in it may raise anything
        return value


def pack(decision: Decision, *, keep_text: bool, redact: Callable[[str], str | None]) -> tuple[Any, ...]:
    """A decision as a row.

    Args:
        decision: The decision.
        keep_text: Whether the row holds the text.
        redact: What makes a text fit to be kept, or None of it. It gets the input, and each text of an answer that is
            no label of the small model. It also gets the large model's reason.
    """
    small = decision.prediction if isinstance(decision.prediction, Prediction) else None
    small = None if small is None or small.label is None else _told_small(small, redact)
    fused = decision.fused.probabilities if isinstance(decision.fused, Prediction) else None
    large = decision.large if isinstance(decision.large, LargeAnswer) else None
    known = set() if small is None else _labels_of(small)

    def told(value: Any) -> str | None:
        return None if value is None else _json(_redacted(_plain(value), known, redact))

    text = decision.input if keep_text and isinstance(decision.input, str) else None
    text = None if text is None else _sound(redact(text))
    reason = None if large is None or text is None else large.rationale  # it speaks of the text
    return (
        decision.time,
        text,
        hash_of_input(decision.input),
        None if small is None else small.model_dump_json(include=_KEPT),  # kinds of it hold more, which is not redacted
        told(None if large is None or decision.source == "fallback" else large.value),  # there it is no label
        None if large is None else large.confidence,
        None if reason is None else _sound(redact(reason)),
        None if fused is None else _json(list(fused.items())),
        told(decision.answer),
        _word(decision.source),
        _tokens(large),
        _word(decision.model_hash),
        _word(decision.task_hash),
    )


def unpack(row: Mapping[str, Any]) -> Experience:
    """The experience in a row, which has the columns of a decision, `gold` and `gold_origin`."""
    found = dict(row)
    for name in ("large", "answer", "gold"):
        found[name] = None if found[name] is None else json.loads(found[name])
    if found["prediction"] is not None:
        held = json.loads(found["prediction"])
        found["prediction"] = Prediction(**{name: held[name] for name in _KEPT & held.keys()})
    if found["fused"] is not None:
        found["fused"] = dict(json.loads(found["fused"]))
    return Experience(**found)


def label_text(label: Any) -> str:
    """A label as a row holds it, so that 1, "1" and True stay apart."""
    return _json(label)


def _json(value: Any) -> str:
    return json.dumps(value)  # in ASCII, so that half of a character does no harm


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    return value if type(value) in {str, int, bool} else to_jsonable_python(value, serialize_unknown=True)


def _redacted(value: Any, known: set[Any], redact: Callable[[str], str | None]) -> Any:
    """An answer without what its texts must not tell."""
    if isinstance(value, str):
        return value if label_key(value) in known else redact(value)
    if isinstance(value, list):
        return [_redacted(part, known, redact) for part in value]
    if isinstance(value, dict):
        return {name: _redacted(part, known, redact) for name, part in value.items()}
    return value


def _told_small(small: Prediction, redact: Callable[[str], str | None]) -> Prediction:
    """A prediction without what the texts of its value must not tell. A label tells nothing."""
    if same_label(small.value, small.label):
        return small
    value = _plain(small.value)
    told = _redacted(value, set(), redact)
    if told == value:
        return small
    if small.label == canonical_text(value):  # the value as a text, which the probabilities may hold too
        return small.model_copy(update={"label": canonical_text(told), "value": told, "probabilities": None})
    return small.model_copy(update={"value": _redacted(value, _labels_of(small), redact)})


def _labels_of(small: Prediction) -> set[Any]:
    return {label_key(label) for label in (*(small.probabilities or ()), small.label)}


def _sound(text: str | None) -> str | None:
    """A text without halves of characters, which SQLite cannot hold."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _word(value: Any) -> str | None:
    """A text. A caller's own key may have the name of one of ours."""
    return _sound(value) if isinstance(value, str) else None


def _tokens(large: LargeAnswer | None) -> int | None:
    if large is None:
        return 0
    return None if large.usage is None else large.usage["total_tokens"]

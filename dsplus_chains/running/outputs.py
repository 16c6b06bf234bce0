"""Reads any output of a Runnable, be it a record, a prediction, a result or a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from dsplus_chains.schema import ASKED_LARGE, Prediction, SubtaskResult, as_label, is_record


def read_result(output: Any, given: Any = None) -> SubtaskResult:
    """The meaning of a Runnable's output. It may be a record's answer, a scorer's prediction, or any other value.

    Args:
        output: The Runnable's output.
        given: The Runnable's input. A record that only passes on its prediction does not give that prediction's
            confidence.
    """
    if isinstance(output, SubtaskResult):
        return output
    if is_record(output, given):
        speaker = None if _is_passed_on(output, given) else _speaker(output)
        return SubtaskResult(
            value=output["answer"],
            confidence=getattr(speaker, "confidence", None),
            source=output["source"],
            error=output.get("error"),
        )
    prediction = read_prediction(output)
    if prediction is not None:
        return SubtaskResult(value=prediction.label, confidence=prediction.confidence, source="small")
    return SubtaskResult(value=as_label(output.text if isinstance(output, BaseMessage) else output))


def read_prediction(output: Any) -> Prediction | None:
    """The prediction behind an output, or None. In a record it is that of the model with the last word."""
    if isinstance(output, Mapping):
        output = _speaker(output)
    return output if isinstance(output, Prediction) else None


def _speaker(record: Mapping[str, Any]) -> Any:
    """The value behind a record's answer.

    It is that of the large model, of both models together, or of the small one.
    """
    source = record["source"] if is_record(record) else None
    return record.get(source if source in ASKED_LARGE else "prediction")


def _is_passed_on(record: Mapping[str, Any], given: Any) -> bool:
    """Whether a small answer's prediction came with the input, and something else has answered."""
    if record["source"] in ASKED_LARGE or not isinstance(given, Mapping):
        return False
    prediction, earlier = record.get("prediction"), given.get("prediction")
    if prediction is not earlier or not isinstance(prediction, Prediction):
        return False
    answer, label = record["answer"], prediction.label
    return type(answer) is not type(label) or answer != label or record.get("subtasks") is not given.get("subtasks")

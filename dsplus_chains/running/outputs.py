"""What a Runnable's output says, whatever it is: a record, a prediction, a result, a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from dsplus_chains.schema import ASKED_LARGE, Prediction, SubtaskResult, as_label, is_record


def read_result(output: Any, given: Any = None) -> SubtaskResult:
    """What a Runnable's output says: a record's answer, a scorer's prediction, or any other value.

    Args:
        output: What the Runnable returned.
        given: What it got. A record that only passes on a prediction does not answer with its confidence.
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
    """The prediction behind an output: of whoever has the last word in a record; None if there is none."""
    if isinstance(output, Mapping):
        output = _speaker(output)
    return output if isinstance(output, Prediction) else None


def _speaker(record: Mapping[str, Any]) -> Any:
    """What is behind a record's answer: the large model, both models together, or the small one."""
    source = record["source"] if is_record(record) else None
    return record.get(source if source in ASKED_LARGE else "prediction")


def _is_passed_on(record: Mapping[str, Any], given: Any) -> bool:
    """Whether the prediction in a small answer's record came with the input, and something else has answered."""
    if record["source"] in ASKED_LARGE or not isinstance(given, Mapping):
        return False
    prediction, earlier = record.get("prediction"), given.get("prediction")
    if prediction is not earlier or not isinstance(prediction, Prediction):
        return False
    answer, label = record["answer"], prediction.label
    return type(answer) is not type(label) or answer != label or record.get("subtasks") is not given.get("subtasks")

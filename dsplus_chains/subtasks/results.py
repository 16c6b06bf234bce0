"""What a Runnable's output says, whatever it is: a record, a prediction, a result, a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from dsplus_chains.labels import as_label
from dsplus_chains.schema import ASKED_LARGE, Prediction, SubtaskResult


def read_result(output: Any) -> SubtaskResult:
    """What a Runnable's output says: a record's answer, a scorer's prediction, or any other value."""
    if isinstance(output, SubtaskResult):
        return output
    if isinstance(output, Mapping) and "answer" in output and "source" in output:
        return SubtaskResult(
            value=output["answer"],
            confidence=getattr(_speaker(output), "confidence", None),
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
    source = record["source"] if "answer" in record and "source" in record else None
    return record.get(source if source in ASKED_LARGE else "prediction")

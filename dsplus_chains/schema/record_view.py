"""A record that a notebook shows as a small table."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables.utils import AddableDict

from dsplus_chains.schema.markup import html_box
from dsplus_chains.schema.prediction import Prediction
from dsplus_chains.schema.record import is_record

_LIKELIEST = 5
"""Number of labels whose probability is shown."""

_NAMES = {"prediction": "small model", "large": "large model", "fused": "both together"}


class ShownRecord(AddableDict):
    """A record. It differs from a plain dict only in what a notebook shows of it."""

    def _repr_html_(self) -> str:
        first = {name: self[name] for name in ("input", "answer", "source") if name in self}
        rest = {_NAMES.get(str(key), str(key)): _plain(value) for key, value in self.items() if key not in first}
        prediction = self.get("prediction")
        probabilities = (prediction.probabilities or {}) if isinstance(prediction, Prediction) else {}
        best = sorted(probabilities.items(), key=lambda pair: -pair[1])[:_LIKELIEST]
        likely = {"likeliest": ", ".join(f"{label} {share:.3f}" for label, share in best)} if best else {}
        return html_box("Record", first | likely | rest)


def shown_record(output: Any) -> Any:
    """An output of a Runnable. A record becomes one that a notebook can show, and all else is returned unchanged.

    Example:
        >>> record = shown_record({"input": "<b>", "prediction": Prediction(label="ham", confidence=0.9)})
        >>> record == dict(record), "&lt;b&gt;" in record._repr_html_()
        (True, True)
        >>> type(shown_record({"page": 3})).__name__
        'dict'
    """
    if type(output) is not dict or not (is_record(output) or isinstance(output.get("prediction"), Prediction)):
        return output
    return ShownRecord(output)


def _plain(value: Any) -> Any:
    """What a value says. A large model's answer may hold more than its label."""
    return str(value) if isinstance(value, Prediction) else getattr(value, "value", value)

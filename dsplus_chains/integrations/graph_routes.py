"""Where a graph goes on after a prediction, and how a person answers in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dsplus_chains.integrations.graph_nodes import placed, state_part
from dsplus_chains.schema import InvalidInputError, Prediction, as_label, as_threshold, is_kept, same_label, what_came


def route_by_confidence(
    *, auto: Any, human: Any = None, max_ood_score: float | None = None, record_key: str | None = None
) -> Callable[[Any], str]:
    """A conditional edge of a LangGraph graph, by how sure the small model is.

    It says "auto" where the small model's answer is kept. It says "human" where the answer is less sure, but sure
    enough for a person to check. It says "large" for the rest.

    Args:
        auto: Confidence from which on the answer needs nobody else. It may be a dict by label.
        human: Confidence from which on a person is asked. It may be a dict by label. None asks nobody.
        max_ood_score: See `ConfidenceBranch`. It holds for both.
        record_key: The `record_key` of the node before.

    Returns:
        The function from a state to one of the names. ``add_conditional_edges`` takes it, with a dict from these names
        to your nodes.

    Raises:
        ValueError: A threshold is outside [0, 1], or `human` is above `auto`.

    Example:
        >>> route = route_by_confidence(auto=0.9, human=0.6)
        >>> [route({"prediction": Prediction(label="spam", confidence=sure)}) for sure in (0.95, 0.7, 0.3, None)]
        ['auto', 'human', 'large', 'large']
    """
    least, checked = as_threshold(auto), as_threshold(human)
    if isinstance(least, float) and isinstance(checked, float) and checked > least:
        msg = f"Got human={checked:g} above auto={least:g} but expected a lower one: people check what is less sure"
        raise ValueError(msg)

    def route(state: Any) -> str:
        prediction = prediction_in(state, record_key)
        if is_kept(prediction, least, max_ood_score):
            return "auto"
        return "human" if is_kept(prediction, checked, max_ood_score) else "large"

    names = ("auto", "large") if human is None else ("auto", "human", "large")
    route.__annotations__["return"] = Literal[names]  # LangGraph draws the edges by it
    return route


def prediction_in(state: Any, record_key: str | None) -> Prediction:
    """The prediction in a state.

    Raises:
        InvalidInputError: There is none.
    """
    record = state if record_key is None else state_part(state, record_key)
    found = None if record is None else state_part(record, "prediction")
    if isinstance(found, Prediction):
        return found
    place = "prediction" if record_key is None else f"{record_key}.prediction"
    read_back = isinstance(found, Mapping) and "confidence" in found
    advice = (
        "The checkpointer has lost its type. Give it serde=checkpoint_serde()"
        if read_back
        else "Put a shunt_node with the same record_key before, and declare the key in the state"
    )
    msg = f"Got {what_came(found)} as the state's {place!r} but expected a Prediction. {advice}"
    raise InvalidInputError(msg)


def person_node(*, labels: Sequence[Any] = (), record_key: str | None = None) -> Callable[[Any], dict[str, Any]]:
    """A node of a LangGraph graph in which a person answers.

    The graph is interrupted there. The interrupt shows the small model's `label` and `confidence`, and the `labels`. If
    an earlier answer was none of them, `error` says so. The graph goes on with ``Command(resume=label)``. Then the
    state has this `answer`, with the `source` "human".

    Args:
        labels: The labels that a person may answer with. Without them any answer is taken.
        record_key: The `record_key` of the node before.
    """
    names = [as_label(label) for label in labels]

    def person(state: Any) -> dict[str, Any]:
        from langgraph.types import interrupt

        small = prediction_in(state, record_key)
        asked = {"label": small.label, "confidence": small.confidence, "labels": names, "error": None}
        answer = as_label(interrupt(asked))
        while names and not any(same_label(answer, name) for name in names):
            answer = as_label(interrupt({**asked, "error": f"Got {what_came(answer)} but expected one of {names}"}))
        update = {"answer": answer, "answer_label": answer, "source": "human", "large": None, "error": None}
        return placed(record_key, update, state)

    return person

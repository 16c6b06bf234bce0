"""Nodes of a LangGraph graph: a shunt, or any chain that returns a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, get_args

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from typing_extensions import override

from dsplus_chains.integrations.app_hints import HintPlace
from dsplus_chains.integrations.app_text import NoText, TextPlace, When, fields_of, text_reader
from dsplus_chains.integrations.deciding import deciding
from dsplus_chains.integrations.graph_events import graph_traced
from dsplus_chains.integrations.shunting import shunt
from dsplus_chains.running.batch_runnable import BatchRunnable, by_row
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.recorder import Recorder
from dsplus_chains.schema import InvalidInputError, ShuntRecord, check_choice, what_came

SHUNT_KEYS = ("prediction", "answer", "answer_label", "source", "large", "error", "small_error")
"""What a shunt writes into a state."""

CHAIN_KEYS = tuple(
    key for key in ShuntRecord.__annotations__ if key not in {"input", "called_with", "request", "unfinished"}
)
"""What a chain writes into a state."""


class RecordNode(BatchRunnable[Any, Any]):
    """A node over the state of a graph. It returns the update of the state.

    `shunt_node` and `record_node` make one.

    Args:
        run: The Runnable that returns a record.
        give: The function from a state to what `run` gets.
        update: The function from a state and a record to the update.
    """

    takes_record: ClassVar[bool] = False

    run: Runnable[Any, Any]
    give: Callable[[Any], Any]
    update: Callable[[Any, Any], dict[str, Any]]

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results = by_row(self.give, inputs)
        rows = [row for row, value in enumerate(results) if not isinstance(value, Exception)]
        configs = [graph_traced(config[row], run_manager[row], "node") for row in rows]
        records = (yield Ask(self.run, [results[row] for row in rows], configs, kwargs)).outputs
        for row, record in zip(rows, records, strict=True):
            results[row] = record if isinstance(record, Exception) else self._updated(inputs[row], record)
        return results

    def _updated(self, state: Any, record: Any) -> Any:
        (result,) = by_row(partial(self.update, state), [record])
        return result


def shunt_node(
    scorer: Any,
    *,
    threshold: Any,
    large: Any = None,
    text: TextPlace = "auto",
    when: When = "each_turn",
    output: Any = "auto",
    read: Any = "auto",
    labels: Any = None,
    hints: HintPlace = "none",
    max_ood_score: float | None = None,
    on_large_error: Literal["small", "raise"] = "small",
    record_key: str | None = None,
    experience: Recorder | None = None,
) -> RecordNode:
    """A node of a LangGraph graph in which the small model answers what it is sure of.

    It writes `prediction`, `answer`, `answer_label`, `source`, `large`, `error` and `small_error`. A key without a
    value becomes None, so that nothing is left of an earlier turn. Each decision is in ``stream_mode="custom"`` as
    ``{"dsplus_decision": {...}}``.

    Declare the keys that you need in the state, at least `answer`, or the `record_key`. LangGraph drops the others
    without an error. A node cannot raise one. LangGraph tells it neither which keys the state declares, nor whether it
    is called by a node of yours, which needs none of them.

    Args:
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`.
        threshold: Confidence from which on the small model answers. It may be a dict by label. Without `large`, None
            defers everything.
        large: The app that answers the rest, over the state. Without it a deferred state has no `answer` and no
            `source`, and an edge leads to whoever answers. See `route_by_confidence`.
        text: Where the text is in the state. See `shunt`, as for `when`, `output`, `read`, `labels` and `hints`.
        when: Whether the small model may answer every turn of a conversation, or only the first one.
        output: How a label becomes the answer. Without `large`, "auto" means the label itself.
        read: Which label an answer of `large` stands for.
        labels: The labels. By default they are the scorer's own.
        hints: How `large` is told the small model's view.
        max_ood_score: See `ConfidenceBranch`, as `on_large_error`.
        on_large_error: What happens if `large` fails.
        record_key: The one key under which the whole record is written. Use it where the state has an `answer` or a
            `source` of its own.
        experience: What keeps each decision, such as an `ExperienceStore`. Without `large`, a deferred one is kept
            without an answer, and teaches nothing by itself. Put `record_answers` around the node that answers, with
            the same store, or call ``store.answered(text, label)``.

    Example:
        >>> from dsplus_chains import Prediction
        >>> def small(text):
        ...     return Prediction(label="spam", confidence=0.97 if "prize" in text else 0.5)
        >>> node = shunt_node(small, threshold=0.9, record_key="shunt")
        >>> update = node.invoke({"question": "a prize for you", "answer": "mine"})
        >>> list(update), update["shunt"]["answer"], update["shunt"]["source"]
        (['shunt'], 'spam', 'small')
    """
    run: Runnable[Any, Any]
    check_choice("hints", hints, get_args(HintPlace))
    check_choice("on_large_error", on_large_error, ("small", "raise"))
    where = _beside(SHUNT_KEYS if record_key is None else (), text, when)
    if large is not None:
        run = shunt(
            large,
            scorer,
            threshold=threshold,
            text=where,
            when=when,
            output=output,
            read=read,
            labels=labels,
            hints=hints,
            max_ood_score=max_ood_score,
            on_large_error=on_large_error,
            experience=experience,
            with_record=True,
        )
    else:
        run, _ = deciding(
            scorer,
            threshold=threshold,
            text=where,
            when=when,
            output=None if isinstance(output, str) else output,
            labels=labels,
            max_ood_score=max_ood_score,
            experience=experience,
        )
    return RecordNode(name="shunt", run=run, give=_itself, update=partial(_update, SHUNT_KEYS, record_key))


def record_node(chain: Any, *, text: TextPlace = "auto", record_key: str | None = None) -> RecordNode:
    """A node of a LangGraph graph that runs a whole chain, such as one of `data_shunt`.

    The chain gets the text of the state. What its record holds is written into the state, and None for what it lacks.

    Args:
        chain: A Runnable or function from a text to a record.
        text: Where the text is in the state. See `shunt`.
        record_key: The one key under which the whole record is written.

    Example:
        >>> node = record_node(lambda text: {"input": text, "answer": text.upper(), "source": "large"})
        >>> update = node.invoke({"question": "where?", "large": "from an earlier turn"})
        >>> update["answer"], update["large"]
        ('WHERE?', None)
    """
    run = coerce_to_runnable(chain)
    return RecordNode(
        name=run.get_name(),
        run=run,
        give=partial(given_text, text_reader(_beside(CHAIN_KEYS, text, "each_turn"))),
        update=partial(_update, CHAIN_KEYS, record_key),
    )


def given_text(read: Callable[[Any], str | NoText], state: Any) -> str:
    """The text of a state, for a chain that takes nothing else.

    Raises:
        InvalidInputError: There is none.
    """
    text = read(state)
    if isinstance(text, str):
        return text
    msg = f"Got a state without a text for the chain: {text.why}"
    raise InvalidInputError(msg)


def placed(record_key: str | None, update: dict[str, Any], state: Any) -> dict[str, Any]:
    """An update of a record in a state. Under a key of its own, the rest of the record stays.

    Example:
        >>> placed(None, {"answer": "ham"}, {}), placed("shunt", {"answer": "ham"}, {"shunt": {"source": "x"}})
        ({'answer': 'ham'}, {'shunt': {'source': 'x', 'answer': 'ham'}})
    """
    return update if record_key is None else {record_key: {**(state_part(state, record_key) or {}), **update}}


def state_part(state: Any, key: str) -> Any:
    """The value under a key of a state, which is a dict or an object. None if there is none."""
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


def _beside(keys: tuple[str, ...], text: Any, when: When) -> Any:
    """Where the text is in a state, if "auto" finds it. The texts that an earlier turn has written are none."""
    return (
        partial(_read_beside, keys, text_reader("auto", when=when))
        if isinstance(text, str) and text == "auto"
        else text
    )


def _read_beside(keys: tuple[str, ...], read: Callable[[Any], str | NoText], state: Any) -> str | NoText:
    fields = fields_of(state)
    return read(state if fields is None else {key: value for key, value in fields.items() if key not in keys})


def _itself(state: Any) -> Any:
    return state


def _update(keys: tuple[str, ...], record_key: str | None, state: Any, record: Any) -> dict[str, Any]:
    """The update of a state by a record. What the record lacks becomes None, and replaces what an earlier turn left."""
    del state
    if not isinstance(record, Mapping):
        msg = f"Got {what_came(record)} but expected a record, as a chain of this package returns"
        raise InvalidInputError(msg)
    update = {key: record.get(key) for key in keys}
    if record_key is None:
        return update
    text = record.get("input")
    return {record_key: {**({"input": text} if isinstance(text, str) else {}), **update}}

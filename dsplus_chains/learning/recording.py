"""`record_answers` keeps what an app answers, before there is a small model."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable

from dsplus_chains.integrations.app_output import shadow_output
from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_steps import takes_turns
from dsplus_chains.integrations.app_text import TextPlace, text_reader
from dsplus_chains.integrations.output_field import options_of, output_fields
from dsplus_chains.integrations.output_type import output_type
from dsplus_chains.running.recorder import Recorder
from dsplus_chains.schema import Prediction, check_listed
from dsplus_chains.scoring.runnable import RunnableScorer


def record_answers(
    app: Any,
    store: Recorder,
    *,
    text: TextPlace = "auto",
    read: Any = "auto",
    labels: Sequence[Any] | None = None,
) -> AppShunt:
    """Keep what an app is asked and what it answers. What goes in and what comes out stay what they were.

    It is a shunt in shadow mode without a small model. The app gets the very object, its output is handed on, and a
    stream goes on as it comes. An input or an output that cannot be read costs no answer.

    Args:
        app: Any Runnable or function.
        store: What keeps the answers, such as an `ExperienceStore`.
        text: Where the text is in an input. See `shunt`.
        read: Which label an output stands for: the path of a field, a parser, or a function. See `shunt`.
        labels: The labels. By default they are those that the app's output type names. Without any, a text that the app
            answers with is kept as it is.

    Example:
        >>> from dsplus_chains import ExperienceStore
        >>> store = ExperienceStore(":memory:")
        >>> app = record_answers(lambda review: "negative", store)
        >>> app.invoke("it broke at once")
        'negative'
        >>> [(row.text, row.large) for row in store.rows()]
        [('it broke at once', 'negative')]
        >>> store.close()
    """
    check_listed("labels", labels)
    run = coerce_to_runnable(app)
    names = list(_labels_of(run, read) if labels is None else labels)
    told = shadow_output(run, names, read=read)
    return AppShunt(
        name="record_answers",
        large=run,
        scorer=RunnableScorer(run=_silent),
        text=text_reader(text, takes_turns=takes_turns(run)),
        write=told.write,
        read=told.read,
        threshold=None,
        shadow=True,
        on_large_error="raise",
        experience=store,
    )


def _labels_of(app: Runnable[Any, Any], read: Any) -> list[Any]:
    """The labels that an app's output type names. None, if it names none."""
    schema = output_type(app)
    options = options_of(schema)
    if options is None:
        fields = output_fields(schema) or {}
        named = [read] if isinstance(read, str) and read in fields else list(fields)
        told = [fields[name].options or () for name in named]
        told = [values for values in told if len(values) > 1]  # one value alone is the name of the type
        options = told[0] if len(told) == 1 else None
    return [option.value if isinstance(option, Enum) else option for option in options or ()]


def _silent(text: str) -> Prediction:
    """A small model that says nothing."""
    del text
    return Prediction(label=None)

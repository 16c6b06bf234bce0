"""`shunt` puts a small model before an app in one call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable

from dsplus_chains.integrations.app_hints import HintPlace, with_hints
from dsplus_chains.integrations.app_output import app_output, shadow_output
from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_steps import takes_turns
from dsplus_chains.integrations.app_text import TextPlace, When, text_reader
from dsplus_chains.integrations.chat_arms import heard_shunt
from dsplus_chains.integrations.number_field import fitting_output
from dsplus_chains.integrations.output_type import output_type
from dsplus_chains.integrations.structuring import structured_shunt
from dsplus_chains.prompting.hints import soft_hint
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budget import Budget
from dsplus_chains.running.recorder import Recorder
from dsplus_chains.schema import check_least, check_threshold_labels
from dsplus_chains.scoring.coercing import app_scorer, marked_by


def shunt(
    app: Any,
    scorer: Any = None,
    *,
    fields: Mapping[str, Any] | None = None,
    threshold: float | Mapping[Any, Any] | None = None,
    text: TextPlace = "auto",
    output: Any = "auto",
    read: Any = "auto",
    labels: Sequence[Any] | None = None,
    when: When = "each_turn",
    hints: HintPlace = "none",
    top_k: int = 5,
    shadow: bool = False,
    with_record: bool = False,
    max_ood_score: float | None = None,
    on_large_error: Literal["small", "raise"] = "small",
    on_arm_bug: Literal["raise", "small"] = "raise",
    timeout: float | None = None,
    deadline: float | None = None,
    breaker: CircuitBreaker | None = None,
    budget: Budget | None = None,
    ask_once: bool = False,
    optional: Collection[str] = (),
    rest_prompt: Runnable[Any, Any] | None = None,
    experience: Recorder | None = None,
) -> AppShunt:
    r"""Put a small model before an app. What goes in and what comes out stay what they were.

    The app gets the very object that the shunt is called with. Where the small model is sure, its label comes out in
    the form of the app's output.

    Args:
        app: Any Runnable or function.
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`.
        fields: Small models by field, in place of a scorer. For an app that ends in
            ``chat_model.with_structured_output(...)``. See `StructuredShunt`.
        threshold: Confidence from which on the small model answers. It may be a dict by label. It is required, unless
            `shadow` is set. With `fields`, a dict is by field.
        text: Where the text is: a key, a dotted path, a template such as "{question}\n{document}", or a function. A
            tuple of two, such as ("question", "document"), makes a pair of texts, for a scorer fitted on pairs.
            "auto" knows a string, a document, messages in every form that LangChain takes, and a dict with one of them.
            Of a conversation it takes the last human turn. A list of several texts is one only for an app that begins
            with a chat model, or with a prompt that is a placeholder of messages.
        output: How a label becomes the app's output: a class, a dict of outputs by label, or a function. "auto" knows
            apps that answer with a string, a message, an enum, or an object with one field for the label. In shadow
            mode no label becomes an output, so it may know nothing.
        read: Which label an output of the app stands for: the path of a field, a parser, or a function.
        labels: The labels. By default they are the scorer's own.
        when: Whether the small model may answer every turn of a conversation, or only the first one. A conversation
            that holds an image or a file, or in which a tool is at work, is left to the app. So it is where it stands
            beside the text, as a history, or in a template.
        hints: With "soft" the app is told the small model's view, by the variable or placeholder `hints` of its own
            prompt. With "system" it is told by a system message of ours. With "none" its requests stay the same bytes.
        top_k: Largest number of labels in a hint.
        shadow: With True the app always answers. What the small model would have said is told beside it.
        with_record: With True the output is the record, with the app's output as `answer`.
        max_ood_score: See `ConfidenceBranch`, as the arguments below.
        on_large_error: What happens if the app fails.
        on_arm_bug: What happens if your own code in the app has a bug.
        timeout: Seconds that the app has for one row.
        deadline: Seconds that it has for all rows of a batch.
        breaker: What stops asking an app that keeps failing.
        budget: How many tokens or dollars the app's models may cost.
        ask_once: Whether equal inputs of a batch are asked about once. All of them then get the same output object.
            Say so only of an app without side effects.
        optional: With `fields`: the fields that nobody is asked for if all others are known. They keep their default.
        rest_prompt: With `fields`: the prompt for rows where only fields without a small model are left. It gets what
            the app gets, and what is known: all of it in words as the variable `known`, and each field as the variable
            of its name. Without the text in it, it saves most of the tokens.
        experience: What keeps each decision, such as an `ExperienceStore`. With `shadow`, it gets what both said. With
            `fields`, the record has the `predictions` of all fields. An `ExperienceStore` keeps none of these.

    Raises:
        ValueError: No threshold is given, an option is none of its values, or it cannot be told how the app's input and
            output are meant. All labels are checked here, not in production.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.output_parsers import StrOutputParser
        >>> from langchain_core.prompts import ChatPromptTemplate
        >>> from dsplus_chains import Prediction
        >>> prompt = ChatPromptTemplate.from_template("Positive or negative? {review}")
        >>> app = prompt | FakeListChatModel(responses=["positive"]) | StrOutputParser()
        >>> def small(review):
        ...     return Prediction(label="negative", confidence=0.97 if "broke" in review else 0.5)
        >>> shunted = shunt(app, small, threshold=0.9, labels=["positive", "negative"])
        >>> shunted.batch([{"review": "it broke at once"}, {"review": "well, it is a phone"}])
        ['negative', 'positive']
    """
    if threshold is None and not shadow:
        msg = (
            "Got no threshold but expected the confidence from which on the small model answers, such as 0.9. "
            "tune_threshold finds one. With shadow=True the app always answers, and none is needed"
        )
        raise ValueError(msg)
    check_least("top_k", top_k, 1)
    run = coerce_to_runnable(app)
    settings: dict[str, Any] = {
        "text": text_reader(text, when=when, takes_turns=takes_turns(run)),
        "shadow": shadow,
        "with_record": with_record,
        "max_ood_score": max_ood_score,
        "on_large_error": "raise" if shadow else on_large_error,
        "on_arm_bug": on_arm_bug,
        "timeout": timeout,
        "deadline": deadline,
        "breaker": breaker,
        "budget": budget,
        "ask_once": ask_once,
        "experience": marked_by(scorer, experience),
    }
    if fields is not None:
        if scorer is not None or labels is not None or hints != "none" or read != "auto":
            msg = "Got fields= and one of scorer, labels, hints and read, but expected these only without fields="
            raise ValueError(msg)
        target = output_type(run) if isinstance(output, str) and output == "auto" else output
        return structured_shunt(
            run, fields, target=target, threshold=threshold, optional=optional, rest_prompt=rest_prompt, **settings
        )
    if scorer is None or optional or rest_prompt is not None:
        msg = "Got no fields= and no scorer, or optional= or rest_prompt= without fields=, but expected one of the two"
        raise ValueError(msg)
    first, names = app_scorer(scorer, labels=labels)
    check_threshold_labels(threshold, names)
    first = fitting_output(first, output_type(run) if isinstance(output, str) and output == "auto" else output, read)
    is_unwritten = shadow and isinstance(output, str) and output == "auto"
    told = shadow_output(run, names, read=read) if is_unwritten else app_output(run, names, output=output, read=read)
    parts = {
        "name": "shunt",
        "large": with_hints(run, hints),
        "scorer": first,
        "write": told.write,
        "read": told.read,
        "hint": None if hints == "none" else partial(soft_hint, labels=names, top_k=top_k),
        "threshold": threshold,
        **settings,
    }
    return heard_shunt(run, told.made, parts)

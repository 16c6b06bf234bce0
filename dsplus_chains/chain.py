"""`data_shunt` makes the whole chain in one call. It only wires parts together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.language_models import BaseLanguageModel, LanguageModelInput
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableSerializable
from langchain_core.runnables.base import coerce_to_runnable

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.prompting.text_parser import TextParser
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budget import Budget
from dsplus_chains.running.recorder import Recorder, marked
from dsplus_chains.schema import WiringError, brief, check_choice, labels_outside, what_came
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.coercing import as_scorer, inside, model_hash_of
from dsplus_chains.scoring.record_start import InputKey
from dsplus_chains.task import LabelTask


def data_shunt(
    scorer: Any,
    large_model: Runnable[LanguageModelInput, Any] | Runnable[Any, Any],
    *,
    threshold: float | Mapping[Any, float | None] | Sequence[Any] | None,
    task: LabelTask | None = None,
    instruction: str | None = None,
    hints: HintMode | None = None,
    labels: Sequence[Any] | None = None,
    descriptions: Mapping[Any, str] | None = None,
    aliases: Mapping[str, Any] | None = None,
    top_k: int | None = None,
    track_record: TrackRecord | Literal["auto"] | None = "auto",
    set_level: float | None = None,
    strong_labels: Sequence[Any] | None = None,
    exemplars: ExemplarSelector | None = None,
    structured: bool | None = None,
    retries: Literal[0, 1] | None = None,
    reask: bool | None = None,
    group: int | None = None,
    template: ChatPromptTemplate | str | None = None,
    max_ood_score: float | None = None,
    on_small_error: Literal["large", "raise"] = "large",
    on_large_error: Literal["small", "raise"] = "small",
    on_arm_bug: Literal["raise", "small"] = "raise",
    timeout: float | None = None,
    deadline: float | None = None,
    breaker: CircuitBreaker | None = None,
    budget: Budget | None = None,
    ask_once: bool | Literal["auto"] = "auto",
    fusion: AnswerFusion | None = None,
    parser: Runnable[Any, Any] | None = None,
    input_key: InputKey | None = None,
    experience: Recorder | None = None,
) -> RunnableSerializable[Any, Any]:
    """The whole chain, in which the small model answers where it is sure, and the large model elsewhere.

    It takes a text, or a dict that holds one. It returns the record. With `.pick("answer")` it replaces
    ``prompt | llm | parser``.

    Where answers are no labels, give a scorer without labels, such as a `VerifiedScorer`, and an app in place of the
    large model. The answer is the value that the scorer is sure of, or what the app says.

    Args:
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`. A list of them, or a
            dict by name, makes tiers. Each tier is asked about what the earlier ones deferred. The large model is asked
            about what is left. `source` names the tier ("small", "small-2", … for a list). The prompt, `fusion` and
            `max_ood_score` are about the last tier. Earlier predictions stand under `tiers`. A tier may end in a
            `LabelMask`.
        large_model: Any LangChain chat model, also wrapped by ``with_retry`` and the like. Or any Runnable that gets a
            prompt and answers with a message or a label. Without labels it is an app of yours; `wants` of
            `ConfidenceBranch` says what an app gets.
        threshold: Confidence from which on the small model's answer is kept. It may be a dict by label. None
            defers everything. With tiers it is a list with one threshold for each. Without labels it is a number.
        task: The question for the large model, and how its answer is read, as one value. Without it, the settings from
            here to `template` make one, with the defaults of `LabelTask`.
        instruction: What to decide, in your words.
        hints: What the large model is told of the small one's view: "soft", "hard" or "none".
        labels: The labels. By default they are those of the scorer, or of the last tier that names any.
        descriptions: The meaning of each label, by label.
        aliases: Further written forms of labels that the large model may use.
        top_k: Largest number of labels in a hint.
        track_record: How often the small model was right at about this confidence. A soft hint shows it. "auto" takes
            the scorer's own, if it has one.
        set_level: Level by which hard hints prune, from ``tune_threshold(..., set_coverage=0.95)``.
        strong_labels: Labels that hard hints leave out, because the small model handles them by itself.
        exemplars: Selector of solved examples to show the large model for each deferred input.
        structured: Whether to ask for the label as structured output, if the large model has it.
        retries: 1 asks once more where the answer is no label, and says so. 0 takes the first answer as it is.
        reask: Whether hard hints ask again, over all labels, where the answer is "none of these".
        group: Most rows of a batch in one prompt. It has no effect with `timeout`, `deadline`, `breaker` or `budget`.
        template: Prompt of your own; see `HintPromptBuilder`.
        max_ood_score: Largest distance from the training examples at which an answer is kept. A farther input is
            deferred, and so is one without an `ood_score`. See `SmallModelScorer.ood_limit`. Tune with the same value.
        on_small_error: With "large" a text that the small model fails at goes to the large model, and `small_error` in
            the record says why. If the large model fails as well, that is an error, never a fallback. With "raise" the
            small model's error is raised.
        on_large_error: With "small" the small model's answer stands in. With "raise" the error is raised.
        on_arm_bug: Whether a bug in your own code behind `large_model` is raised, or counts as any other error.
        timeout: How many seconds the large model has for one row, second question included. None sets no limit.
        deadline: How many seconds it has for all rows of a batch together.
        breaker: What stops asking a large model that keeps failing. Give chains that share a model the same one.
        budget: How many tokens or dollars the large model may cost. Chains may share one. Rows that an earlier tier
            keeps are not in its report.
        ask_once: Whether equal inputs of a batch are asked about once. The answer then counts for all of them. With
            "auto" that is so where labels are asked for. An app may have side effects.
        fusion: Fusion that weighs the large model's answer with the small one's view, as `tune_threshold` fitted it.
            With None the large model's answer replaces the small one's.
        parser: Reader of an app's answer, where answers are no labels. None takes a text, or that of a message. An app
            that answers with anything else needs one.
        input_key: The key of a dict under which the text is, if not the scorer's own. Two keys make a pair of texts.
        experience: What keeps each decision, such as an `ExperienceStore`. It gets the finished record, with hashes of
            the task and, of a `SmallModelScorer`, of the model. With tiers it is the model that spoke last.

    Raises:
        ValueError: Parts speak of different labels, or a value is out of bounds. Or no labels are known, but a setting
            that is about labels is given.
        WiringError: No labels are known, and the large model is a bare model, or an app that needs a `parser`.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from dsplus_chains import Prediction
        >>> def small(text):
        ...     return Prediction(label="negative", confidence=0.97 if "broke" in text else 0.5)
        >>> chain = data_shunt(
        ...     small,
        ...     FakeListChatModel(responses=["Positive."]),
        ...     labels=["positive", "negative"],
        ...     instruction="Is this review positive or negative?",
        ...     threshold=0.9,
        ... )
        >>> chain.pick("answer").batch(["it broke at once", "well, it is a phone"])
        ['negative', 'positive']
        >>> def upper(text):
        ...     return Prediction(value=text.upper(), confidence=0.9 if text.isascii() else 0.1)
        >>> free = data_shunt(upper, lambda text: f"{text}?", threshold=0.8)
        >>> free.pick("answer").batch(["ham", "jamón"])
        ['HAM', 'jamón?']
    """
    given = {
        "instruction": instruction,
        "hints": hints,
        "labels": labels,
        "descriptions": descriptions,
        "aliases": aliases,
        "top_k": top_k,
        "set_level": set_level,
        "strong_labels": strong_labels,
        "exemplars": exemplars,
        "structured": structured,
        "retries": retries,
        "reask": reask,
        "group": group,
        "template": template,
        **({} if track_record == "auto" else {"track_record": track_record}),
    }
    settings = {name: value for name, value in given.items() if value is not None or name == "track_record"}
    if task is not None and settings:
        msg = f"Got a task and {', '.join(sorted(settings))} beside it but expected one or the other; task.replace(...)"
        raise ValueError(msg)
    named = labels if task is None else task.labels
    *earlier, (tier, last, level) = _tiers(scorer, threshold)
    check_choice("on_small_error", on_small_error, ("large", "raise"))
    on_error: Literal["raise", "defer"] = "defer" if on_small_error == "large" else "raise"
    key = "input" if earlier else input_key  # a later tier gets a record
    scorer, inner = as_scorer(last, labels=named, input_key=key, on_error=on_error)
    known = [named, *(getattr(small, "labels", None) for small in (inner, *(one for _, one, _ in reversed(earlier))))]
    names = next((found for found in known if found is not None), None)
    large: Runnable[Any, Any]
    if names is None:
        _refuse_labelled(settings, fusion, [level, *(each for _, _, each in earlier)])
        large = _app(large_model) | (TextParser() if parser is None else parser)
    else:
        if task is None and instruction is None:
            msg = "Got no instruction but expected what the large model is to decide; give instruction=, or task="
            raise ValueError(msg)
        if parser is not None:
            msg = "Got a parser, but labels are read by the task; leave it out, or give no labels"
            raise ValueError(msg)
        task = LabelTask(**{**settings, "labels": names}) if task is None else task
        task = task.for_scorer(inner)
        _check_parts(inner, task.labels, level, fusion, max_ood_score)
        large = task.arm(large_model)
    if experience is not None:
        hashes = [model_hash_of(small) for small in (*(one for _, one, _ in earlier), last)]
        experience = marked(experience, model_hashes=hashes, task_hash=None if task is None else task.task_hash)
    branch = ConfidenceBranch(
        large=large,
        threshold=level,
        max_ood_score=max_ood_score,
        on_large_error=on_large_error,
        on_arm_bug=on_arm_bug,
        timeout=timeout,
        deadline=deadline,
        breaker=breaker,
        budget=budget,
        ask_once=names is not None if ask_once == "auto" else ask_once,
        tier=tier,
        experience=None if fusion is not None or earlier else experience,
    )
    chain: RunnableSerializable[Any, Any] = scorer | branch
    if fusion is not None:
        chain = chain | (
            fusion if experience is None or earlier else fusion.model_copy(update={"experience": experience})
        )
    for number, (tier, small, level) in reversed(list(enumerate(earlier))):
        first, _ = as_scorer(small, labels=named, input_key="input" if number else input_key, on_error=on_error)
        chain = first | ConfidenceBranch(
            large=chain,
            threshold=level,
            on_large_error=on_large_error,
            on_arm_bug=on_arm_bug,
            tier=tier,
            experience=None if number else experience,
        )
    return chain


def _refuse_labelled(settings: Mapping[str, Any], fusion: AnswerFusion | None, levels: Sequence[Any]) -> None:
    """Refuse what is about labels where none are known.

    Raises:
        ValueError: Something is.
    """
    told = sorted(settings) + ([] if fusion is None else ["fusion"])
    if any(isinstance(level, Mapping) for level in levels):
        told.append("a threshold by label")
    if told:
        msg = (
            f"Got no labels, and the scorer names none either, but got {', '.join(told)}; give labels=[...]. Where "
            "answers are no labels, leave that out, and give an app (prompt | model) in place of the large model"
        )
        raise ValueError(msg)


def _app(large_model: Any) -> Runnable[Any, Any]:
    """The large model where no labels are known, if it is no bare one.

    Raises:
        WiringError: It is a bare one.
    """
    model = inside(large_model)
    if isinstance(model, BaseLanguageModel):
        msg = (
            f"Got no labels, and {type(model).__name__}, a bare model, but expected labels=[...] and instruction=..., "
            "or, where answers are no labels, an app (prompt | model)"
        )
        raise WiringError(msg)
    app: Runnable[Any, Any] = coerce_to_runnable(large_model)
    return app


def _check_parts(
    inner: BaseScorer, names: Sequence[Any], level: Any, fusion: AnswerFusion | None, max_ood_score: float | None
) -> None:
    """Refuse parts that speak of different labels, and a distance limit that the scorer cannot check.

    Raises:
        ValueError: They do not fit each other.
    """
    if fusion is not None and not isinstance(fusion, AnswerFusion):
        msg = f"Got fusion={what_came(fusion)} but expected an AnswerFusion, as tune_threshold fits one"
        raise ValueError(msg)
    if fusion is not None and (new := labels_outside(names, fusion.labels)):
        msg = f"Got the labels {new[:10]}, which the fusion does not know ({brief(list(fusion.labels))}); fit it anew"
        raise ValueError(msg)
    if max_ood_score is not None and hasattr(inner, "ood_limit"):
        inner.ood_limit()  # refuses a scorer without an ood_score, because everything would be deferred
    for what, used in (
        ("the scorer's labels", getattr(inner, "labels", None)),
        ("the threshold's labels", list(level) if isinstance(level, Mapping) else None),
        ("the fusion's labels", None if fusion is None else fusion.labels),
    ):
        if unknown := labels_outside(used or (), names):
            msg = f"Got {what} {unknown[:10]}, which are not among the labels {brief(list(names))}"
            raise ValueError(msg)


def _tiers(scorer: Any, threshold: Any) -> list[tuple[str, Any, Any]]:
    """The name, the scorer and the threshold of each small model, in the order in which they are asked."""
    if isinstance(scorer, Mapping):
        named = list(scorer.items())
    elif isinstance(scorer, (list, tuple)):
        named = [(f"small-{number}" if number > 1 else "small", each) for number, each in enumerate(scorer, start=1)]
    else:
        return [("small", scorer, threshold)]
    levels = list(threshold) if isinstance(threshold, (list, tuple)) else []
    if len(named) < 2 or len(levels) != len(named):
        told = f"threshold={threshold!r}" if not levels else f"{len(levels)} thresholds"
        msg = f"Got {len(named)} scorers and {told} but expected two scorers or more, and a list of as many thresholds"
        raise ValueError(msg)
    return [(name, each, level) for (name, each), level in zip(named, levels, strict=True)]

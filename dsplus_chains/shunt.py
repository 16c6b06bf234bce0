"""`data_shunt`: the whole chain in one call. Wiring only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableSerializable
from langchain_core.runnables.base import RunnableBindingBase

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.labels import check_labels, labels_outside
from dsplus_chains.prompting.asking import LabelAsker
from dsplus_chains.prompting.builder import HintPromptBuilder
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.parser import LabelParser, NoneOfTheseError
from dsplus_chains.scoring.base import BaseScorer
from dsplus_chains.scoring.runnable import RunnableScorer


def data_shunt(
    scorer: Any,
    large_model: Runnable[LanguageModelInput, Any],
    *,
    instruction: str,
    threshold: float | Mapping[Any, float | None] | Sequence[Any] | None,
    hints: Literal["none", "soft", "hard"] = "soft",
    labels: Sequence[Any] | None = None,
    descriptions: Mapping[Any, str] | None = None,
    aliases: Mapping[str, Any] | None = None,
    top_k: int = 5,
    track_record: TrackRecord | Literal["auto"] | None = "auto",
    set_level: float | None = None,
    strong_labels: Sequence[Any] | None = None,
    exemplars: ExemplarSelector | None = None,
    structured: bool = False,
    retries: Literal[0, 1] = 1,
    reask: bool = False,
    template: ChatPromptTemplate | str | None = None,
    max_ood_score: float | None = None,
    on_large_error: Literal["small", "raise"] = "small",
    fusion: AnswerFusion | None = None,
    input_key: str | None = None,
) -> RunnableSerializable[Any, Any]:
    """The whole chain: scorer, then the small model's answer where it is sure, else the large model's.

    In: a text, or a dict that holds one. Out: the record; `.pick("answer")` makes it a drop-in for
    ``prompt | llm | parser``.

    Args:
        scorer: A `SmallModelScorer`, or any Runnable (or function) from a text to a `Prediction`. A list of them, or a
            dict by name, makes tiers: each is asked about what those before it were not sure of, and the large model
            about what is left. `source` names the tier ("small", "small-2", … for a list); the prompt, `fusion` and
            `max_ood_score` are about the last one, and the earlier predictions stand under `tiers`. A tier may end in
            a `LabelMask`.
        large_model: Any LangChain chat model, with whatever it has been given by ``with_retry`` and the like, or any
            Runnable: it gets a prompt and answers with a message or a label.
        instruction: What to decide, in your words.
        threshold: The small model's answer is kept iff its confidence is at least this; by label as a dict; None
            defers everything. For tiers a list with one for each.
        hints: What the large model is told of the small one's view: "soft", "hard" or "none".
        labels: The labels; those of the scorer if not given, or of the last tier that names any.
        descriptions: What a label means, by label.
        aliases: Further writings of labels that the large model may use.
        top_k: How many labels a hint names at most.
        track_record: How often the small model was right when it was about this sure, which a soft hint then tells;
            "auto" takes the scorer's own, if it has one.
        set_level: With ``hints="hard"``: offer as many labels as it takes to have the true one among them, instead of
            `top_k`; from ``tune_threshold(..., set_coverage=0.95)``.
        strong_labels: With ``hints="hard"``: offer all labels but these, which the small model handles by itself; see
            `strong_labels`. Not together with `set_level`.
        exemplars: Finds solved examples for each deferred input, to be shown to the large model.
        structured: Ask for the label as structured output, held to what the prompt offers, if the large model has it.
        retries: 1 asks once more where the answer is no label, and says so; 0 takes the first answer as it is.
        reask: With ``hints="hard"``: ask again, over all labels, where some were left out and the large model answers
            "none of these"; else the small model's answer stands in.
        template: A prompt of your own; see `HintPromptBuilder`.
        max_ood_score: What lies further than this from the training examples is deferred, and so is what has no
            `ood_score`; see `SmallModelScorer.ood_limit`. Tune with the same value.
        on_large_error: "small" (the small model's answer stands in) or "raise".
        fusion: What weighs the large model's answer with the small one's view, as `tune_threshold` fitted it; None:
            the large model's answer replaces the small one's.
        input_key: The key of a dict under which the text is, if not the scorer's own.

    Raises:
        ValueError: No labels are known, parts speak of different labels, or a value is out of bounds.

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
    """
    *earlier, (tier, last, level) = _tiers(scorer, threshold)
    scorer, inner = _scorer(last, labels, "input" if earlier else input_key)  # a later tier gets a record
    own = getattr(inner, "labels", None)
    named = [labels, own, *(getattr(small, "labels", None) for _, small, _ in reversed(earlier))]
    names = next((found for found in named if found is not None), None)
    if names is None:
        msg = "Got no labels, and the scorer names none either; give labels=[...]"
        raise ValueError(msg)
    names = check_labels(list(names))
    if fusion is not None and (new := labels_outside(names, fusion.labels)):
        msg = f"Got the labels {new[:10]}, which the fusion does not know ({list(fusion.labels)[:10]}); fit it anew"
        raise ValueError(msg)
    if max_ood_score is not None and hasattr(inner, "ood_limit"):
        inner.ood_limit()  # refuses a scorer that gives no ood_score, with which everything would be deferred
    fused = None if fusion is None else fusion.labels
    for what, used in (
        ("the scorer's labels", own),
        ("the threshold's labels", _labels_of(level)),
        ("the fusion's labels", fused),
    ):
        if unknown := labels_outside(used or (), names):
            msg = f"Got {what} {unknown[:10]}, which are not among the labels {list(names)[:10]}"
            raise ValueError(msg)
    prompt = HintPromptBuilder(
        labels=names,
        instruction=instruction,
        descriptions=descriptions,
        hints=hints,
        top_k=top_k,
        track_record=getattr(inner, "track_record", None) if track_record == "auto" else track_record,
        set_level=set_level,
        strong_labels=strong_labels,
        exemplars=exemplars,
        template=template,
    )
    parser = LabelParser(labels=names, aliases=aliases)
    asker = LabelAsker(model=large_model, parser=parser, structured=structured, retries=retries, escape=hints == "hard")
    arm = prompt | asker
    if reask and hints == "hard":
        everything = HintPromptBuilder(**{**dict(prompt), "hints": "soft"})
        again = everything | LabelAsker(**{**dict(asker), "escape": False})
        arm = arm.with_fallbacks([again], exceptions_to_handle=(NoneOfTheseError,))
    branch = ConfidenceBranch(
        large=arm,
        threshold=level,
        max_ood_score=max_ood_score,
        on_large_error=on_large_error,
        tier=tier,
    )
    chain: RunnableSerializable[Any, Any] = scorer | branch
    if fusion is not None:
        chain = chain | fusion
    for number, (tier, small, level) in reversed(list(enumerate(earlier))):
        first, _ = _scorer(small, labels, "input" if number else input_key)
        chain = first | ConfidenceBranch(large=chain, threshold=level, on_large_error=on_large_error, tier=tier)
    return chain


def _labels_of(threshold: Any) -> Sequence[Any]:
    return list(threshold) if isinstance(threshold, Mapping) else ()


def _scorer(scorer: Any, labels: Sequence[Any] | None, input_key: str | None) -> tuple[Any, BaseScorer]:
    """What stands first in a chain, and the scorer inside it."""
    inner = scorer.bound if isinstance(scorer, RunnableBindingBase) else scorer
    if isinstance(inner, BaseScorer) and inner is not scorer and input_key is None:
        return scorer, inner  # a scorer with a config of its own
    if not isinstance(scorer, BaseScorer):
        scorer = RunnableScorer(run=scorer, labels=labels, input_key=input_key or "input")
    elif input_key is not None:
        scorer = type(scorer)(**{**dict(scorer), "input_key": input_key})
    return scorer, scorer


def _tiers(scorer: Any, threshold: Any) -> list[tuple[str, Any, Any]]:
    """The small models in the order in which they are asked: the name, the scorer and the threshold of each."""
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

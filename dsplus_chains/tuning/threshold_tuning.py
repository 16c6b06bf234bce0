"""Choose a threshold from rows where the label and the large model's answer are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dsplus_chains.evaluation.answer_judge import AnswerJudge, Judge
from dsplus_chains.evaluation.curve import operating_curve, thinned
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import Label, Prediction, clean_answers, read_predictions
from dsplus_chains.tuning.bounds import Objective, check_bounds, check_costs
from dsplus_chains.tuning.certify import GRID, Risk, certified_points
from dsplus_chains.tuning.fused import FusionMode, Tuned, better_of_both, fused_rows
from dsplus_chains.tuning.per_label import thresholds_by_label
from dsplus_chains.tuning.points import infeasible, operating_points
from dsplus_chains.tuning.row_origin import RowOrigin
from dsplus_chains.tuning.select import cheapest, stably_accurate
from dsplus_chains.tuning.sets import pruning_level
from dsplus_chains.tuning.tuned import Estimate, TunedThreshold
from dsplus_chains.tuning.tuning_rows import TuningRows, read_rows

LEAST_GAIN = 0.002
"""Least expected gain of a call under a budget, in right answers. It is one right answer in five hundred calls."""


def tune_threshold(
    predictions: Sequence[Prediction],
    labels: Sequence[Label],
    large_answers: Sequence[Any],
    *,
    objective: Objective = "accuracy",
    max_escalation: float | None = None,
    max_cost: float | None = None,
    max_risk: float | None = None,
    delta: float = 0.05,
    risk: Risk = "chain",
    min_gain: float = 0.05,
    per_label: bool = False,
    large_cost: float | Sequence[float] = 1.0,
    small_cost: float = 0.0,
    model_hash: str | None = None,
    fusion: FusionMode | AnswerFusion = "replace",
    set_coverage: float | None = None,
    max_ood_score: float | None = None,
    large_confidences: Sequence[float | None] | None = None,
    parser: LabelParser | None = None,
    judge: Judge | None = None,
    texts: Sequence[Any] | None = None,
    out_of_fold: bool | None = None,
    seed: int = 0,
) -> TunedThreshold:
    """Choose the threshold of a `ConfidenceBranch` from rows whose label and large answer are known.

    The objectives are:

    * ``"accuracy"`` takes the most accurate chain in which each call is expected to gain at least `min_gain` right
      answers. The point is a mean over bootstrap resamples, not the luckiest one.
    * ``"match_large"`` takes the cheapest point that is not less accurate on these rows than the large model.
    * ``"max_escalation"`` and ``"max_cost"`` take the most accurate chain within the bound. `min_gain` does not count.
    * ``"max_risk"`` takes the cheapest point whose true risk is certified to be at most `max_risk`. The certificate
      holds with probability at least 1 - delta over the tuning rows.

    A bound given beside another objective is a constraint on it. `max_escalation` and `max_cost` are bounds on these
    rows. `max_risk` is a guarantee for inputs from the same distribution, for any model and any number of labels. Its
    rows must not have been used for training or calibration, and must be used once only. The method is Learn-then-Test
    (arXiv 2110.01052) with exact binomial bounds over a fixed grid of thresholds. The fallback procedure handles
    multiplicity (see `tuning.certify`). So it also holds where the risk rises and falls along the thresholds. Copies of
    a text are no further evidence. So each text counts once for it.

    With ``fusion="posterior"``, an `AnswerFusion` fitted on these rows answers deferred inputs. The threshold is chosen
    for that chain, and the result holds the `fusion`. Each row is judged by a fusion that has not seen it or a copy of
    it. The labels choose the point, as without fusion. What both models together expect decides only between points
    that are equally right. A call under a budget must then gain `LEAST_GAIN`. With `max_risk`, a random half of the
    rows fits the fusion and the other half certifies that very chain. If the fusion was fitted on other rows, all rows
    certify.

    The command `dsplus tune` does the same, with "auto" as its fusion.

    A row without a confidence is always deferred. Where the large answer is None, the small one stands in, as in a
    chain.

    Args:
        predictions: The small model's predictions, or the records that hold them.
        labels: The true labels.
        large_answers: What the large model answered. None where it failed. Raw answers (texts, messages, objects) are
            read, as in a chain.
        objective: What to optimise.
        max_escalation: Bound on the share of rows deferred, in [0, 1].
        max_cost: Bound on the mean cost of an input, in the unit of `large_cost`.
        max_risk: Bound on the risk, in [0, 1].
        delta: Chance, over the tuning rows, that the guarantee may fail, in (0, 1).
        risk: What `max_risk` bounds. It is the error of the whole ``"chain"``, the error of what is ``"kept"``, or the
            ``"excess"`` over the large model's error.
        min_gain: What a call must gain for ``"accuracy"``, in right answers, in [0, 1].
        per_label: Choose a threshold for each label that is predicted for at least 100 rows. It needs ``"accuracy"``
            without bounds. It pays where the large model is much better at some labels than at others.
        large_cost: Cost of one call of the large model, in any unit. One number, or one a row.
        small_cost: Cost of scoring one input, in the same unit.
        model_hash: Hash of the small model, to be kept with the result.
        fusion: Who has the last word on a deferred input. "replace" is the large model, as in the paper. "posterior" is
            both models. An `AnswerFusion` was fitted on other rows. "auto" is both models, unless replacing is ahead
            here by more than two standard errors. "auto" takes the cheaper one for "match_large", and "replace" for
            `max_risk`.
        set_coverage: How often label pruning must offer the true label of a deferred input, in (0, 1). The result then
            holds a `set_level` for `HintPromptBuilder`, from the rows that were deferred.
        max_ood_score: The branch's bound on `ood_score`. Rows beyond it, or without a score, are deferred here too. It
            changes who answers, so set it in both places or in neither.
        large_confidences: How sure the large model was, where its provider tells (`record["large"].confidence`). Fusion
            weighs a sure answer more, if that has paid on these rows.
        parser: Parser of answers that are no label, such as a task's own. None makes one from the labels of the rows
            and of the predictions. What it cannot read counts as no answer. `meaning` and a warning say how many.
        judge: What says whether an answer is right, for answers that are no labels; see `evaluation.Judge`. `labels`
            are then references of any type. Nothing that is by label can be tuned: no fusion, no `per_label`, no
            `set_coverage`.
        texts: The inputs. By default they are the `input` of records. The result keeps their hashes, so that
            `evaluate` can tell which of its rows were tuned on.
        out_of_fold: Whether these are training rows, predicted by fits that had not seen them. By default the
            predictions tell (`scorer.out_of_fold` does). Copies of a row then count once.
        seed: Seed of the bootstrap, the folds and the random half.

    Raises:
        InvalidInputError: There are no rows, lengths differ, or labels are missing or of mixed types. Or there is no
            `parser`, and not one answer is a label as it stands. Then it may be the wrong column. Or `max_risk` is
            given, and over 1 % of the rows trained the small model. Or the small model knows none of the labels.
        ValueError: A bound is out of range or missing for its objective.
        InfeasibleTargetError: No point meets the bounds. `nearest` is the closest `OperatingPoint`.

    Warns:
        LabelWarning: The small model does not know some of the labels.
        OverlapWarning: The small model was fitted on some of these rows.

    Example:
        >>> sure, unsure = Prediction(label="ham", confidence=0.9), Prediction(label="ham", confidence=0.6)
        >>> tuned = tune_threshold([sure, unsure] * 20, ["ham", "spam"] * 20, ["ham", "spam"] * 20)
        >>> tuned.threshold, tuned.chain_accuracy.value, tuned.escalation_rate.value
        (0.8, 1.0, 0.5)
    """
    bounds = check_bounds(
        objective,
        {"max_escalation": max_escalation, "max_cost": max_cost, "max_risk": max_risk},
        delta=delta,
        risk=risk,
        min_gain=min_gain,
        per_label=per_label,
    )
    origin = RowOrigin.of(predictions, texts=texts, out_of_fold=out_of_fold)
    origin.check(guaranteed=max_risk is not None)
    if judge is not None:
        if fusion != "replace" or per_label or set_coverage is not None:
            msg = "Got a judge with a fusion, per_label or set_coverage but expected none of these: they need labels"
            raise ValueError(msg)
        decide = AnswerJudge(judge, labels, predictions)
        predictions = decide.predictions(read_predictions(predictions))
        labels, large_answers = decide.labels, decide.answers(clean_answers(large_answers))
    predictions = read_predictions(predictions)
    rows = read_rows(
        predictions,
        labels,
        large_answers,
        large_confidences=large_confidences,
        costs=check_costs(large_cost, small_cost, len(predictions)),
        parser=parser,
        copy_of=origin.copy_of,
    ).part(origin.counted(guaranteed=max_risk is not None))
    if max_ood_score is not None:
        rows = rows.within(max_ood_score)
    tune = partial(
        _tuned,
        rows,
        objective=objective,
        bounds=bounds,
        delta=delta,
        risk=risk,
        price=min_gain if objective == "accuracy" else None,
        per_label=per_label,
        small_cost=small_cost,
        model_hash=model_hash,
        set_coverage=set_coverage,
        max_ood_score=max_ood_score,
        seed=seed,
    )
    if fusion == "auto" and max_risk is not None:
        fusion = "replace"  # fusion would cost the certificate half its rows
    tuned = better_of_both(tune, cheaper=objective == "match_large") if fusion == "auto" else tune(fusion)
    return replace(tuned.result, tuned_on=origin.texts, overlap=origin.seen, min_gain=min_gain)


def _tuned(
    rows: TuningRows,
    fusion: FusionMode | AnswerFusion,
    *,
    objective: Objective,
    bounds: dict[str, float],
    delta: float,
    risk: Risk,
    price: float | None,
    per_label: bool,
    small_cost: float,
    model_hash: str | None,
    set_coverage: float | None,
    max_ood_score: float | None,
    seed: int,
) -> Tuned:
    """Tune on rows, for one fusion. `price` is the price of a call in right answers, and None except for "accuracy"."""
    max_escalation, max_cost, max_risk = (bounds.get(name) for name in ("max_escalation", "max_cost", "max_risk"))
    n_given = len(rows.labels)
    last_word, rows = fused_rows(rows, fusion, guaranteed=max_risk is not None, seed=seed)
    replacing = last_word is None
    costs = rows.costs
    curve = operating_curve(
        rows.confidence,
        rows.small_right,
        rows.deferred_right,
        reference_right=rows.replaced_right,
        thresholds=None if max_risk is None else GRID,
        small_cost=small_cost,
        large_cost=costs,
    )
    allowed = np.ones(len(curve.thresholds), dtype=np.bool_)
    if max_escalation is not None:
        allowed &= curve.n - curve.kept <= max_escalation * curve.n + 1e-9
    if max_cost is not None:
        allowed &= curve.cost <= max_cost + 1e-9
    if objective == "match_large":
        allowed &= curve.worse <= curve.better
    certified = None
    if max_risk is not None:
        certified = certified_points(curve, risk=risk, max_risk=max_risk, delta=delta, replacing=replacing)
    meets = allowed if certified is None else allowed & certified
    if not meets.any():
        raise infeasible(
            curve, allowed, bounds, risk=risk, delta=delta, replacing=replacing, matching=objective == "match_large"
        )
    if objective in {"match_large", "max_risk"}:
        chosen = cheapest(curve, meets)
    else:
        expected = None if replacing else rows.gains - (LEAST_GAIN if price is None else price)
        known = (rows.confidence, rows.small_right, rows.deferred_right)
        chosen = stably_accurate(curve, meets, *known, min_gain=price or 0.0, expected=expected, seed=seed)
    common = curve.thresholds[chosen]
    threshold: float | dict[Any, float | None] | None = common
    needed = np.full(curve.n, np.inf if common is None else common)
    if per_label:
        threshold = thresholds_by_label(
            rows.predicted,
            rows.all_labels,
            common=common,
            confidence=rows.confidence,
            small_right=rows.small_right,
            deferred_right=rows.deferred_right,
            min_gain=price or 0.0,
            seed=seed,
        )
        own = [None if label is None else threshold[label] for label in rows.predicted]
        needed = np.array([np.inf if value is None else value for value in own])
    kept = rows.confidence >= needed  # a missing confidence (NaN) never is
    n, n_kept = curve.n, kept.sum()
    right = np.where(kept, rows.small_right, rows.deferred_right)
    result = TunedThreshold(
        threshold=threshold,
        objective=objective,
        constraints=bounds,
        risk=None if max_risk is None else risk,
        delta=None if max_risk is None else delta,
        n=n,
        data_hash=rows.hash,
        model_hash=model_hash,
        chain_accuracy=Estimate.of(right.sum(), n),
        kept_accuracy=Estimate.of(rows.small_right[kept].sum(), n_kept),
        escalation_rate=Estimate.of(n - n_kept, n),
        small_accuracy=Estimate.of(rows.small_right.sum(), n),
        large_accuracy=Estimate.of(rows.large_right.sum(), n),
        cost=small_cost + float(costs[~kept].sum()) / n,
        curve=operating_points(curve, certified, thinned(len(curve.thresholds), chosen=chosen)),
        fusion=last_word,
        fusion_rows=n_given - n if last_word is not None else 0,
        max_ood_score=max_ood_score,
        set_coverage=set_coverage,
        set_level=None if set_coverage is None else pruning_level(rows.part(np.flatnonzero(~kept)), set_coverage),
        unanswered=rows.answers.count(None),
        unread=int(rows.unread.sum()),
        strange=int(rows.strange.sum()),
    )
    return Tuned(result=result, worth=right - (price or 0.0) * ~kept)

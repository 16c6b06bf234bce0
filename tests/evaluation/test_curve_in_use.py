"""The curve is that of the chain in use: weighed as the chain weighs, deferred as it defers."""

from __future__ import annotations

import numpy as np
import pytest

from dsplus_chains import AnswerFusion, Prediction
from dsplus_chains.evaluation.measure import evaluate
from dsplus_chains.gating.replaying import RecordedAnswer, replay
from dsplus_chains.schema import InvalidInputError

NAMES = ["a", "b", "c"]


def rows(n=240, seed=1):
    """A small model and a large one that are about equally good, so that weighing them matters."""
    rng = np.random.default_rng(seed)
    predictions, truth, large = [], [], []
    for _ in range(n):
        table = rng.dirichlet([0.7, 0.7, 0.7]).round(4)
        table[0] = 1 - table[1] - table[2]
        best = int(table.argmax())
        predictions.append(
            Prediction(
                label=NAMES[best],
                confidence=float(table[best]),
                probabilities=dict(zip(NAMES, table.tolist(), strict=True)),
                ood_score=float(rng.uniform()),
            )
        )
        truth.append(str(rng.choice(NAMES, p=table / table.sum())))
        large.append(truth[-1] if rng.random() < 0.6 else str(rng.choice(NAMES)))
    return predictions, truth, large


def chain(predictions, large, threshold, **how):
    scored = [{"input": "x", "prediction": row} for row in predictions]
    return replay(scored, [RecordedAnswer(value=answer) for answer in large], threshold=threshold, **how)


def accuracy(curve, threshold):
    (found,) = [point["accuracy"] for point in curve if point["threshold"] == threshold]
    return found


FUSION = AnswerFusion.fit(*rows(seed=2), names=NAMES)
CHAINS = {
    "replaced": {},
    "fused": {"fusion": FUSION},
    "near only": {"max_ood_score": 0.5},
    "fused and near only": {"fusion": FUSION, "max_ood_score": 0.5},
}


@pytest.mark.parametrize("used", [None, 0.5, 0.8, 0.0])
@pytest.mark.parametrize("how", CHAINS)
def test_each_point_is_what_the_chain_with_that_threshold_reaches(how, used):
    predictions, truth, large = rows()
    records = chain(predictions, large, used, **CHAINS[how])
    curve = evaluate(records, truth, large_answers=large, threshold=used, **CHAINS[how]).curve
    for point in curve[:: len(curve) // 7]:
        there = evaluate(chain(predictions, large, point["threshold"], **CHAINS[how]), truth)
        assert point["accuracy"] == pytest.approx(there.accuracy)
        assert point["escalation_rate"] == pytest.approx(there.escalation_rate)


def test_weighing_makes_another_curve_than_replacing():
    predictions, truth, large = rows()
    curves = [
        evaluate(chain(predictions, large, 0.0), truth, large_answers=large, fusion=fusion).curve
        for fusion in (None, FUSION)
    ]
    assert accuracy(curves[1], None) > accuracy(curves[0], None)
    assert accuracy(curves[1], 0.0) == accuracy(curves[0], 0.0)


def test_where_the_large_model_fails_the_small_answer_counts_in_a_fused_curve_too():
    predictions, truth, large = rows()
    gone = [None if row % 3 else answer for row, answer in enumerate(large)]
    kept = chain(predictions, large, 0.0)
    curve = evaluate(kept, truth, large_answers=gone, fusion=FUSION).curve
    expected = [
        row.label if answer is None else FUSION.weigh([row], [answer])[0].label
        for row, answer in zip(predictions, gone, strict=True)
    ]
    assert accuracy(curve, None) == pytest.approx(
        np.mean([one == two for one, two in zip(expected, truth, strict=True)])
    )


def test_the_large_confidence_is_weighed_and_counted():
    predictions, truth, large = rows()
    kept = chain(predictions, large, 0.0)
    with pytest.raises(InvalidInputError, match="Got 1 large_confidences for 240 labels"):
        evaluate(kept, truth, large_answers=large, fusion=FUSION, large_confidences=[0.5])
    assert evaluate(kept, truth, large_answers=large, fusion=FUSION, large_confidences=[0.9] * 240).curve

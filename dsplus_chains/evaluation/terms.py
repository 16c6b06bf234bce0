"""The terms of a report, in plain words."""

from __future__ import annotations

TERMS = {
    "accuracy": "The share of right answers.",
    "interval": "If the same number of fresh rows were drawn again and again, about this share of such "
    "intervals would hold the true value.",
    "confidence": "How sure the small model is, from 0 to 1. It means what it says if answers with a "
    "confidence of 0.8 are right 80 times in 100.",
    "threshold": "The chain keeps an answer of the small model if its confidence is at least the threshold. "
    "Else it asks the large model.",
    "escalation rate": "The share of inputs for which the large model was asked.",
    "coverage": "The share of inputs whose small answer is kept.",
    "risk": "The share of wrong answers among those kept.",
    "source": "Who gave the answer. With fused, both models were weighed. With fallback, the large model "
    "failed, and the small answer stands in.",
    "fixed and broke": "An answer is fixed if the chain is right and the small model alone was wrong. It is broken "
    "the other way round.",
    "sign test": "Its p says how often chance alone would fix and break answers so unevenly. Below 0.05, "
    "chance is a poor explanation.",
    "random at equal cost": "A chain that asks the large model as often, but about rows drawn by lot.",
    "oracle": "A chain that is right wherever either model is, at the fewest calls.",
    "precision": "Of the answers with this label, the share of right ones.",
    "confusion": "How often a true label was answered with each label. Right answers stand on the diagonal.",
    "expected calibration error": "The mean distance between confidence and accuracy, in bins of equal width.",
    "adaptive calibration error": "The same in bins that hold equally many rows.",
    "Brier score": "The mean squared distance between the probabilities and the truth. 0 is best, 2 is worst.",
    "negative log-likelihood": "The mean of how surprised the small model is by the truth. 0 is best.",
    "area under the risk-coverage curve": "The mean risk over all coverages. It is small if the small model knows "
    "which of its answers are wrong.",
    "break-even escalation rate": "Above it the chain costs more than the large model alone. Its prompts are longer.",
}
"""What each term means."""

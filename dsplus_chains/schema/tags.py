"""`TagsPrediction` is a small model's answer to an input that may have several labels."""

from __future__ import annotations

from collections.abc import Mapping

from dsplus_chains.schema.prediction import Prediction


class TagsPrediction(Prediction):
    """Which tags a text has. The `value` is the list of them, and `probabilities` holds that of each tag.

    The confidence is the probability that all tags are right. It is None if there were too few examples to tell.

    Args:
        by_tag: Whether the text has it, for each tag, as a prediction of True or False.
    """

    by_tag: Mapping[str, Prediction]

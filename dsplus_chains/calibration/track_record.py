"""The track record of a small model tells how often it was right when it was about this sure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from dsplus_chains.schema import brief_repr, read_numbers, shown

ROWS = 30
"""A bin holds at least this many rows. A share of fewer rows says little."""
BINS = 20
"""There are at most this many bins. Further rows make them larger, and so surer."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class TrackRecord:
    """How often a model was right, by its confidence. It is a rising curve through bins of about equally many rows.

    Args:
        confidences: The mean confidence of each bin. It never falls.
        shares: The share of each bin's rows that was right. It never falls.

    Raises:
        ValueError: No bin, lists of unequal length, or numbers that fall or leave [0, 1].

    Source: histogram binning (Zadrozny and Elkan, ICML 2001) with pooled violators (Ayer et al. 1955). Between the bins
    the curve is a straight line.

    Example:
        >>> record = TrackRecord.fit([0.6] * 40 + [0.9] * 40, [True, False] * 20 + [True] * 39 + [False])
        >>> round(record.at(0.6), 2), round(record.at(0.75), 2), round(record.at(0.9), 2), record.at(None)
        (0.5, 0.73, 0.95, None)
    """

    confidences: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse data that is no rising curve."""
        sound = all(
            a <= b
            for numbers in (self.confidences, self.shares)
            for a, b in zip((0.0, *numbers), (*numbers, 1.0), strict=True)
        )
        if not self.confidences or len(self.confidences) != len(self.shares) or not sound:
            msg = (
                f"Got confidences={shown(self.confidences)} and shares={shown(self.shares)} but expected as many of "
                "both, rising within [0, 1]; TrackRecord.fit makes them"
            )
            raise ValueError(msg)

    @classmethod
    def fit(cls, confidences: ArrayLike, right: ArrayLike) -> Self:
        """Count how often a model was right, on rows that it was not trained on.

        Each share is shrunk towards one half by two rows (Laplace's rule of succession). So a short record without an
        error does not promise that there will be none.

        Args:
            confidences: Confidence of each row, in [0, 1]. Rows where it is not known (NaN) are left out.
            right: Whether the label was the true one.

        Raises:
            ValueError: The lengths differ, or there are fewer than `ROWS` rows.
        """
        sure, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
        if sure.ndim != 1 or sure.shape != hits.shape:
            msg = (
                f"Got confidences of shape {sure.shape} and right of shape {hits.shape} but expected one of each a row"
            )
            raise ValueError(msg)
        known = ~np.isnan(sure)
        sure, hits = sure[known], hits[known]
        if len(sure) < ROWS:
            msg = f"Got {len(sure)} rows with a confidence but expected at least {ROWS}: fewer make no track record"
            raise ValueError(msg)
        from scipy.optimize import isotonic_regression  # reading a record takes numpy alone

        values, row_of, counts = np.unique(sure, return_inverse=True, return_counts=True)
        bins = _equal_bins(counts.tolist(), max(ROWS, math.ceil(len(sure) / BINS)))[row_of]
        rows = np.bincount(bins)
        shares = (np.bincount(bins, weights=hits) + 1) / (rows + 2)
        centers = np.bincount(bins, weights=values[row_of]) / rows
        centers = np.minimum(np.maximum.accumulate(centers), 1.0)  # a mean at 1 may round to more
        pooled = isotonic_regression(shares, weights=rows).x
        return cls(confidences=tuple(centers.tolist()), shares=tuple(pooled.tolist()))

    def at(self, confidence: float | None) -> float | None:
        """How often the model is right when it is this sure. None where its confidence is not known.

        Below the first bin and above the last one, the curve is flat.

        Args:
            confidence: Confidence in [0, 1].
        """
        if confidence is None or math.isnan(confidence):
            return None
        return float(np.interp(confidence, self.confidences, self.shares))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"confidences": list(self.confidences), "shares": list(self.shares)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote.

        Raises:
            ValueError: Something is missing, or is no rising curve.
        """
        try:
            confidences, shares = (read_numbers(data[name]) for name in ("confidences", "shares"))
        except (KeyError, TypeError) as error:
            msg = f"Got a track record that cannot be read ({error!r}) but expected what to_dict() writes"
            raise ValueError(msg) from error
        return cls(confidences=confidences, shares=shares)


def _equal_bins(counts: list[int], size: int) -> Any:
    """The bin of each distinct value, rising. A bin closes once it holds `size` rows, so ties stay together."""
    bins, current, held = [], 0, 0
    for count in counts:
        bins.append(current)
        held += count
        if held >= size:
            current, held = current + 1, 0
    found = np.array(bins)
    return np.minimum(found, current - 1) if held else found  # too few are left for a bin of their own

"""The probabilities of labels, as read-only mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dsplus_chains.schema.wording import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDING = 1e-6
"""Distance beyond [0, 1] up to which a probability counts as a rounding error (a sum of float32)."""
_READ_ONLY = "a Prediction is read-only; build a new one"


class ReadOnlyDict(dict[Any, Any]):
    """A dict that refuses to change. `types.MappingProxyType` can neither be pickled nor copied."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(_READ_ONLY)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyDict, (dict(self),)


class LabelProbabilities(Mapping[Any, float]):
    """The probabilities of one row of a table, by label. The labels are shared by all rows.

    It is equal to the dict of the same items, and prints as that.

    Args:
        labels: The labels, each once.
        row: As many probabilities, in [0, 1].

    Example:
        >>> import numpy as np
        >>> probabilities = LabelProbabilities(("ham", "spam"), np.array([0.25, 0.75]))
        >>> probabilities, probabilities["spam"], probabilities == {"ham": 0.25, "spam": 0.75}
        ({'ham': 0.25, 'spam': 0.75}, 0.75, True)
    """

    def __init__(self, labels: Sequence[Any], row: NDArray[np.float64]) -> None:
        self._labels = labels
        self._row = row.copy()  # who keeps one row does not keep its table
        self._row.flags.writeable = False

    @cached_property
    def _held(self) -> dict[Any, float]:
        return dict(zip(self._labels, self._row.tolist(), strict=True))

    @override
    def __getitem__(self, label: Any) -> float:
        return self._held[label]

    @override
    def __iter__(self) -> Iterator[Any]:
        return iter(self._labels)

    @override
    def __len__(self) -> int:
        return len(self._labels)

    @override
    def __eq__(self, other: object) -> bool:
        if isinstance(other, LabelProbabilities):
            other = other._held
        return self._held == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self._held | dict(other)

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return dict(other) | self._held

    def copy(self) -> dict[Any, float]:
        """The probabilities as a dict."""
        return dict(self._held)

    @override
    def __repr__(self) -> str:
        return repr(self._held)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return LabelProbabilities, (self._labels, self._row)


def probability(value: Any, what: str) -> float:
    """A number in [0, 1]. Rounding errors beyond it are clipped.

    Raises:
        ValueError: It is none.
    """
    try:
        number = float(value)
    except TypeError:
        number = nan
    if not -ROUNDING <= number <= 1 + ROUNDING:
        msg = f"Got {what}={shown(value)} but expected a probability in [0, 1]"
        raise ValueError(msg)
    return min(max(number, 0.0), 1.0)

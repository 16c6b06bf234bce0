"""The probabilities of labels, as read-only dicts."""

from __future__ import annotations

from math import nan
from typing import Any

from typing_extensions import override

from dsplus_chains.schema.wording import shown

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

"""`StoredArrays` are the arrays of a saved scorer. Each is checked when it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import BundleError, brief_repr

Shape = tuple[int | None, ...]
"""Sizes of an array. None stands for any size of at least one."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class StoredArrays:
    """Arrays by name, as a file held them.

    Args:
        arrays: The arrays.
        place: What stands before each name in the file.
        n_classes: Number of labels, or of whatever else there is one output for.
        width: Number of the encoder's dimensions.

    Example:
        >>> stored = StoredArrays(arrays={"0.bias": np.zeros(3)}, n_classes=3, width=8)
        >>> stored.part("0.").floats("bias", (3,)).tolist()
        [0.0, 0.0, 0.0]
        >>> stored.part("0.").floats("bias", (2,))
        Traceback (most recent call last):
        ...
        dsplus_chains.schema.errors.BundleError: Got the array '0.bias' of shape (3,) but expected (2,); ...
    """

    arrays: Mapping[str, NDArray[Any]]
    n_classes: int
    width: int
    place: str = ""

    def part(self, prefix: str) -> StoredArrays:
        """The arrays whose names begin with a prefix."""
        return replace(self, place=f"{self.place}{prefix}")

    def has(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return self.place + name in self.arrays

    def floats(self, name: str, shape: Shape, *, gaps: bool = False) -> NDArray[Any]:
        """An array of finite numbers, in single or double precision.

        Args:
            name: Its name.
            shape: Its shape.
            gaps: Whether there may be NaN, for what is not known.

        Raises:
            BundleError: It is missing, or another one.
        """
        array = self._take(name, shape, ("float32", "float64"))
        if not (np.isfinite(array) | (gaps & np.isnan(array))).all():
            raise self._fault(name, "with a number that is not finite", "finite numbers")
        return array

    def numbers_below(self, name: str, shape: Shape, end: int) -> NDArray[np.int64]:
        """An array of integers, from 0 to below `end`.

        Raises:
            BundleError: It is missing, or another one.
        """
        array = self._take(name, shape, ("int64",))
        if array.min() < 0 or array.max() >= end:
            raise self._fault(name, f"with numbers from {array.min()} to {array.max()}", f"numbers from 0 to {end - 1}")
        return array

    def hashes(self, name: str, shape: Shape) -> NDArray[np.uint64]:
        """An array of hashes.

        Raises:
            BundleError: It is missing, or another one.
        """
        return self._take(name, shape, ("uint64",))

    def _take(self, name: str, shape: Shape, types: tuple[str, ...]) -> NDArray[Any]:
        array = self.arrays.get(self.place + name)
        if array is None:
            raise self._fault(name, "nowhere", "an array")
        if array.dtype.name not in types:
            raise self._fault(name, f"of type {array.dtype}", " or ".join(types))
        fits = len(array.shape) == len(shape) and all(
            got == wanted or (wanted is None and got > 0) for got, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            wanted = str(shape).replace("None", "any")
            raise self._fault(name, f"of shape {array.shape}", wanted)
        return array

    def _fault(self, name: str, got: str, expected: str) -> BundleError:
        return BundleError(
            f"Got the array {self.place + name!r} {got} but expected {expected}; the file is damaged, fit anew"
        )

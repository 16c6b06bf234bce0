"""The number types in which an encoder may compute, and which processors are fast in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from dsplus_chains.schema import check_choice

if TYPE_CHECKING:
    import torch

Dtype: TypeAlias = Literal["float32", "bfloat16"]


def check_dtype(dtype: str) -> None:
    """Refuse an unknown number type.

    Raises:
        InvalidInputError: It is unknown.

    Example:
        >>> check_dtype("int8")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        dsplus_chains.schema.errors.InvalidInputError: Got dtype='int8' (str) but expected one of ['float32', ...
    """
    check_choice("dtype", dtype, get_args(Dtype))


def is_fast_in_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16. A processor that does not is several times slower in it than in float32.

    Any other device is taken to do it. A torch that cannot tell what a processor does counts as one that does not.
    """
    from torch import cpu

    if device.type != "cpu":
        return True
    able = cpu.get_capabilities() if hasattr(cpu, "get_capabilities") else {}
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one is ARM's

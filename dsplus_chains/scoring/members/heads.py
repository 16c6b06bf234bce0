"""The heads that the network of the small model may have, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from dsplus_chains.schema import TrainingDataError, what_came
from dsplus_chains.scoring.members.majority_kernels import MajorityKernelsMember
from dsplus_chains.scoring.members.member import Member
from dsplus_chains.scoring.members.mlp import MlpMember
from dsplus_chains.scoring.members.network import NetworkMember
from dsplus_chains.scoring.members.pangu_pi import PanguPiMember
from dsplus_chains.scoring.members.prototyped_experts import PrototypedExpertsMember

HeadName: TypeAlias = Literal["mlp", "majority_kernels", "pangu_pi", "prototyped_experts"]
HEADS: dict[HeadName, type[NetworkMember]] = {
    "mlp": MlpMember,
    "majority_kernels": MajorityKernelsMember,
    "pangu_pi": PanguPiMember,
    "prototyped_experts": PrototypedExpertsMember,
}


def with_head(members: tuple[str, ...], head: HeadName, copies: int) -> tuple[str, ...]:
    """The names of members, where a head takes the place of the plain network.

    Args:
        members: The names.
        head: Name of the head.
        copies: Number of networks that will be averaged.

    Raises:
        TrainingDataError: This is no number of copies, or no member is a network.

    Example:
        >>> with_head(("linear", "mlp"), "pangu_pi", 1)
        ('linear', 'pangu_pi')
    """
    if not isinstance(copies, int) or copies < 1:
        msg = f"Got copies={what_came(copies)} but expected a positive integer, such as 3"
        raise TrainingDataError(msg)
    if "mlp" not in members and (head, copies) != ("mlp", 1):
        msg = f'Got head={head!r} and copies={copies} but no network among {list(members)}; fit with model="auto"'
        raise TrainingDataError(msg)
    return tuple(head if name == "mlp" else name for name in members)


def copies_of(member: Member) -> int:
    """How many networks a member averages. It is one if the member is no network."""
    return len(member.nets) if isinstance(member, NetworkMember) else 1


def head_among(members: Iterable[Member]) -> tuple[HeadName, int]:
    """The head among the members of a small model, and the number of its copies. Without a network, the defaults."""
    return next(
        ((name, copies_of(one)) for one in members for name, head in HEADS.items() if isinstance(one, head)),
        ("mlp", 1),
    )

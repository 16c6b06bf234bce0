"""Fits each kind of member on some rows of a batch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.scoring.members.head import Targets
from dsplus_chains.scoring.members.heads import HEADS
from dsplus_chains.scoring.members.lexical import LexicalFeatures, LexicalMember
from dsplus_chains.scoring.members.likeness import LikenessMember, measures_of
from dsplus_chains.scoring.members.linear import LinearMember
from dsplus_chains.scoring.members.member import Member, TextBatch
from dsplus_chains.scoring.members.neighbors import NeighborMember
from dsplus_chains.scoring.members.steps import Steps

KINDS: tuple[type[Member], ...] = (LinearMember, *HEADS.values(), LexicalMember, NeighborMember, LikenessMember)
MEMBERS = {member.kind: member for member in KINDS}
VIEW_PENALTY = 0.01
"""The penalty (as `C`) of a head on one of several vectors of an encoder. It is strong because hidden states are wide,
and much in them is not about the task."""


def views_of(encoder: Encoder) -> tuple[slice | None, ...]:
    """The columns of each vector that an encoder puts side by side, if it has `views`. Else it is all columns."""
    ends = np.cumsum(getattr(encoder, "views", ())).tolist()
    return tuple(slice(start, end) for start, end in pairwise([0, *ends])) or (None,)


def fit_member(
    name: str,
    batch: TextBatch,
    features: LexicalFeatures | None,
    view: slice | None,
    seed: int,
    copies: int,
    n_classes: int,
    rows: NDArray[np.int64],
    known: Targets,
    steps: Steps | None,
    near: Member | None,
) -> Member:
    """One member, fitted on some rows of a batch, and on some columns of its vectors.

    A regression begins its search at a member that was fitted on many of the same rows, if there is one.
    """
    vectors = batch.vectors[rows]
    match name:
        case "linear":
            begin = near if isinstance(near, LinearMember) else None
            if view is None:
                return LinearMember.fit(vectors, known, n_classes, near=begin)
            return LinearMember.fit(vectors[:, view], known, n_classes, c=VIEW_PENALTY, start=view.start, near=begin)
        case "mlp" | "majority_kernels" | "pangu_pi" | "prototyped_experts":
            told = None if batch.rationales is None else batch.rationales.part(rows)
            member = HEADS[name].fit(vectors, known, n_classes, seed=seed, copies=copies, rationales=told)
            return member if steps is None else member.stepped(batch.vectors, steps, seed=seed)
        case "neighbors":
            return NeighborMember.fit(vectors, known, n_classes)
        case "likeness":
            return LikenessMember.fit(measures_of(batch)[rows], known, n_classes)
        case "lexical" if features is not None:
            begin_at = near if isinstance(near, LexicalMember) else None
            return LexicalMember.fit(features.part(rows), known, n_classes, near=begin_at)
        case _:
            msg = f"Got a member of kind {name!r} but expected one of {sorted(MEMBERS)}"
            raise ValueError(msg)

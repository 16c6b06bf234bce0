"""`MemberReport` says what a member of the small model is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dsplus_chains.schema import brief_repr, share
from dsplus_chains.scoring.members.heads import copies_of
from dsplus_chains.scoring.members.member import Member


@brief_repr
@dataclass(frozen=True, kw_only=True)
class MemberReport:
    """The worth of one member.

    Args:
        name: Kind of the member.
        weight: Its weight in the mixture. The weights of all members sum to the mixture's inverse temperature.
        accuracy: Accuracy of the member alone, on examples it was not trained on. None if there were too few examples.
        log_loss: Log loss of the member alone on these examples, in nats, with calibrated confidence. None likewise.
        copies: Number of networks that the member averages.
    """

    name: str
    weight: float
    accuracy: float | None = None
    log_loss: float | None = None
    copies: int = 1

    @classmethod
    def of(cls, member: Member, *, weight: float, accuracy: float | None = None, log_loss: float | None = None) -> Self:
        """The report of a member that has been fitted."""
        return cls(name=member.kind, weight=weight, accuracy=accuracy, log_loss=log_loss, copies=copies_of(member))

    @property
    def line(self) -> str:
        """The worth in a line of text."""
        worth = "too few examples to say what it is worth"
        if self.accuracy is not None and self.log_loss is not None:
            worth = f"right on {share(self.accuracy)} out of fold, log loss {self.log_loss:.3f}"
        name = self.name if self.copies == 1 else f"{self.name}, {self.copies} copies"
        return f"{name}: {worth}, weight {self.weight:.2f}"

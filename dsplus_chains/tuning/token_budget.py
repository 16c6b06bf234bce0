"""`TokenBudget`: what has been spent while tuning, and what is expected to be spent next."""

from __future__ import annotations

from dataclasses import dataclass, replace

CHARACTERS_A_TOKEN = 3
"""What a token is taken to be before any was counted: rather too short, so that a budget is not exceeded."""


@dataclass(frozen=True, kw_only=True)
class TokenBudget:
    """Tokens spent so far, and what prompts to come are expected to take, by what those before them took.

    Args:
        limit: As many tokens may be spent; None: any number.
        spent: Tokens that were spent.
        characters: How long the prompts were that took them.

    Example:
        >>> TokenBudget(limit=100).spend(60, characters=300).is_exceeded_by(200)
        False
        >>> TokenBudget(limit=100).spend(60, characters=300).is_exceeded_by(210)
        True
    """

    limit: int | None
    spent: int = 0
    characters: int = 0

    @property
    def left(self) -> int:
        """Tokens that may still be spent, with a limit."""
        return (self.limit or 0) - self.spent

    def tokens_of(self, characters: int) -> int:
        """What prompts of so many characters are expected to take, answers included."""
        rate = self.spent / self.characters if self.characters else 1 / CHARACTERS_A_TOKEN
        return round(characters * rate)

    def is_exceeded_by(self, characters: int) -> bool:
        """Whether prompts of so many characters are expected to take more than is left."""
        return self.limit is not None and self.tokens_of(characters) > self.left

    def spend(self, tokens: int | None, characters: int) -> TokenBudget:
        """What it is once they are answered; what they are expected to take counts where the model does not tell."""
        used = self.tokens_of(characters) if tokens is None else tokens
        return replace(self, spent=self.spent + used, characters=self.characters + characters)

"""`TokenBudget` counts what has been spent while tuning, and estimates what will be spent next."""

from __future__ import annotations

from dataclasses import dataclass, replace

CHARACTERS_A_TOKEN = 3
"""Assumed characters of a token, before any was counted. It is rather too low, so that no budget is exceeded."""


@dataclass(frozen=True, kw_only=True)
class TokenBudget:
    """Tokens spent so far, and an estimate for further prompts.

    The estimate is the number of tokens a character that the prompts so far took.

    Args:
        limit: At most this many tokens may be spent. None means any number.
        spent: Tokens that were spent.
        characters: Length of the prompts that took them.

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
        """Tokens that may still be spent, if there is a limit."""
        return (self.limit or 0) - self.spent

    def tokens_of(self, characters: int) -> int:
        """Tokens that prompts of so many characters are expected to take, answers included."""
        rate = self.spent / self.characters if self.characters else 1 / CHARACTERS_A_TOKEN
        return round(characters * rate)

    def is_exceeded_by(self, characters: int) -> bool:
        """Whether prompts of so many characters are expected to take more than is left."""
        return self.limit is not None and self.tokens_of(characters) > self.left

    def spend(self, tokens: int | None, characters: int) -> TokenBudget:
        """The budget after these prompts are answered. If the model does not tell its tokens, the estimate counts."""
        used = self.tokens_of(characters) if tokens is None else tokens
        return replace(self, spent=self.spent + used, characters=self.characters + characters)

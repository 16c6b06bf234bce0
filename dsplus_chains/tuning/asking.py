"""Asking a large model about some rows in one way, as one batch, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.prompting.asking import LabelAsker
from dsplus_chains.prompting.builder import HintPromptBuilder
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.parser import NoneOfTheseError
from dsplus_chains.schema import LargeAnswer, describe_error
from dsplus_chains.tuning.hint_search import HintMode

CHARACTERS_A_TOKEN = 3
"""What a token is taken to be before any was counted: rather too short, so that a budget is not exceeded."""


@dataclass(frozen=True, kw_only=True)
class Replies:
    """What came of one batch.

    Args:
        answers: The labels that the large model gave, one a row; None where it failed.
        confidences: How sure it was, where its provider tells.
        usage: Tokens of each row; None where they are not known.
        characters: Of all prompts that were sent.
        error: Why the first row without an answer has none.
    """

    answers: list[Any]
    confidences: list[float | None]
    usage: list[int | None]
    characters: int
    error: str | None

    @property
    def failed(self) -> int:
        """Rows without an answer."""
        return self.answers.count(None)

    @property
    def tokens(self) -> int | None:
        """Of all calls; a call that failed may well have cost nothing, any other has to tell."""
        untold = any(answer is not None and used is None for answer, used in zip(self.answers, self.usage, strict=True))
        return None if untold or self.failed == len(self.answers) else sum(used or 0 for used in self.usage)

    @property
    def tokens_a_row(self) -> float | None:
        """Of the rows that told."""
        told = [used for used in self.usage if used is not None]
        return sum(told) / len(told) if told else None


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to ask.

    Args:
        hints: What the large model is told of the small one's view.
        exemplars: How many solved examples it is shown.
        set_level: What labels are pruned by, with "hard".
    """

    hints: HintMode
    exemplars: int
    set_level: float | None

    def builder(self, prompt: HintPromptBuilder, examples: ExemplarSelector | None) -> HintPromptBuilder:
        """What makes the prompts.

        Args:
            prompt: Everything else that belongs into a prompt.
            examples: Where solved examples are found.
        """
        selector = replace(examples, k=self.exemplars) if examples is not None and self.exemplars else None
        varied = {"hints": self.hints, "set_level": self.set_level, "exemplars": selector}
        return HintPromptBuilder(**{**dict(prompt), **varied})

    def ask(
        self,
        asker: LabelAsker,
        records: list[Any],
        prompts: list[ChatPromptValue],
        config: RunnableConfig | None,
        *,
        again: HintPromptBuilder | None = None,
    ) -> Replies:
        """Ask through a branch, as in a chain: it counts the tokens, and a failure is a row without an answer.

        Args:
            asker: What asks, and reads the answers.
            records: The scored inputs.
            prompts: What it is asked about them.
            config: Of the calls.
            again: What asks once more, over all labels, where the answer is "none of these"; None: nothing.
        """
        sent = list(prompts)
        arm: Runnable[Any, Any] = itemgetter("prompt") | LabelAsker(**{**dict(asker), "escape": self.hints == "hard"})
        if again is not None:

            def send(prompt: ChatPromptValue) -> ChatPromptValue:
                sent.append(prompt)
                return prompt

            over_all = again | RunnableLambda(send) | LabelAsker(**{**dict(asker), "escape": False})
            arm = arm.with_fallbacks([over_all], exceptions_to_handle=(NoneOfTheseError,))
        branch = ConfidenceBranch(large=arm, threshold=None)
        asked = [{**record, "prompt": value} for record, value in zip(records, prompts, strict=True)]
        outcomes: list[Any] = branch.batch(asked, config, return_exceptions=True)
        heard = [{} if isinstance(outcome, Exception) else outcome for outcome in outcomes]
        answers = [outcome["answer"] if outcome.get("source") == "large" else None for outcome in heard]
        large = [outcome.get("large", LargeAnswer(value=None)) for outcome in heard]
        errors = [
            describe_error(outcome) if isinstance(outcome, Exception) else outcome.get("error") for outcome in outcomes
        ]
        return Replies(
            answers=answers,
            confidences=[said.confidence for said in large],
            usage=[None if said.usage is None else said.usage["total_tokens"] for said in large],
            characters=characters_of(sent),
            error=next((error for error in errors if error is not None), None),
        )


def characters_of(prompts: list[ChatPromptValue]) -> int:
    """How long prompts are, all together."""
    return sum(len(prompt.to_string()) for prompt in prompts)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Tokens spent so far, and what prompts to come are expected to take, by what those before them took.

    Args:
        limit: As many may be spent; None: any number.
        spent: Tokens.
        characters: Of the prompts that took them.

    Example:
        >>> Budget(limit=100).spend(60, characters=300).is_exceeded_by(200)
        False
        >>> Budget(limit=100).spend(60, characters=300).is_exceeded_by(210)
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

    def spend(self, tokens: int | None, characters: int) -> Budget:
        """What it is once they are answered; what they are expected to take counts where the model does not tell."""
        used = self.tokens_of(characters) if tokens is None else tokens
        return replace(self, spent=self.spent + used, characters=self.characters + characters)

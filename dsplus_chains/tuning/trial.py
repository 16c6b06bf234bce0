"""Ask a large model about some rows in one way, as one batch, and count the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.prompting.group_asker import GroupAsker
from dsplus_chains.prompting.grouping import groups_of
from dsplus_chains.prompting.parser import NoneOfTheseError
from dsplus_chains.running.limits import Limits
from dsplus_chains.running.prices import price
from dsplus_chains.running.whole_arm import WholeArm
from dsplus_chains.schema import LargeAnswer, answer_of_large, describe_error
from dsplus_chains.task import LabelTask


@dataclass(frozen=True, kw_only=True)
class Replies:
    """The outcome of one batch.

    Args:
        answers: The labels that the large model gave, one a row. None where it failed.
        confidences: How sure it was, where its provider tells.
        usage: LangChain's `UsageMetadata` of each row. None where it is not known.
        characters: Characters of all prompts that were sent.
        silent: Number of rows that it gave no reply to. Any other row without an answer has a reply that is no label.
        error: Why the first row without an answer has none.
    """

    answers: list[Any]
    confidences: list[float | None]
    usage: list[Mapping[str, Any] | None]
    characters: int
    silent: int
    error: str | None

    @property
    def failed(self) -> int:
        """Number of rows without an answer."""
        return self.answers.count(None)

    @property
    def tokens(self) -> int | None:
        """Tokens of all calls. A failed call may have cost nothing. If any other call does not tell, this is None."""
        untold = any(answer is not None and used is None for answer, used in zip(self.answers, self.usage, strict=True))
        return None if untold or self.failed == len(self.answers) else sum(used["total_tokens"] for used in self.told)

    @property
    def tokens_a_row(self) -> float | None:
        """Mean tokens of the rows that told."""
        return sum(used["total_tokens"] for used in self.told) / len(self.told) if self.told else None

    @property
    def told(self) -> list[Mapping[str, Any]]:
        """The usage of the rows where it is known."""
        return [used for used in self.usage if used is not None]

    def usd_per_1000(self, model_name: str | None) -> float | None:
        """US dollars of 1,000 rows such as those that told. None if the model has no known price.

        Args:
            model_name: Name of the large model, for its price.
        """
        usd = price(self.told, model_name).usd
        return None if usd is None or not self.told else 1000 * usd / len(self.told)


def ask_about(
    task: LabelTask,
    model: Any,
    records: list[Any],
    prompts: list[ChatPromptValue],
    config: RunnableConfig | None,
    limits: Limits,
) -> Replies:
    """Ask through a branch, as in a chain. It counts the tokens, and a failure is a row without an answer.

    Args:
        task: How to ask, and how to read the answers.
        model: The large model.
        records: The scored inputs.
        prompts: What the task asks about them.
        config: LangChain's config of the calls.
        limits: How long and how patiently the model is asked.

    Raises:
        LargeModelError: No request can succeed.
    """
    sent = list(sent_prompts(prompts, task.group))
    given, asker = RunnableLambda(itemgetter("prompt")), task.asker(model)
    arm: Runnable[Any, Any] = (
        given | asker if task.group == 1 else GroupAsker(prompt=given, asker=asker, group=task.group)
    )
    if (again := task.over_all_labels) is not None:

        def send(prompt: ChatPromptValue) -> ChatPromptValue:
            sent.append(prompt)
            return prompt

        over_all = again.prompt | RunnableLambda(send) | again.asker(model)
        arm = arm.with_fallbacks([over_all], exceptions_to_handle=(NoneOfTheseError,))
    # Each row is asked for itself. A copy of it tells how steady the model is.
    branch = branch_of(arm, group=task.group, limits=limits)
    asked = [{**record, "prompt": value} for record, value in zip(records, prompts, strict=True)]
    outcomes: list[Any] = branch.batch(asked, config, return_exceptions=True)
    limits.check()
    heard = [{} if isinstance(outcome, Exception) else outcome for outcome in outcomes]
    large = [outcome.get("large", LargeAnswer(value=None)) for outcome in heard]
    errors = [
        describe_error(outcome) if isinstance(outcome, Exception) else outcome.get("error") for outcome in outcomes
    ]
    return Replies(
        answers=[answer_of_large(outcome) for outcome in heard],
        confidences=[said.confidence for said in large],
        usage=[said.usage for said in large],
        characters=characters_of(sent),
        silent=sum(said.value is None for said in large),
        error=next((error for error in errors if error is not None), None),
    )


def branch_of(arm: Runnable[Any, Any], *, group: int, limits: Limits) -> ConfidenceBranch:
    """A branch that asks about every row. Rows in groups are one batch, and have no limits of their own.

    Args:
        arm: The large arm, over the record.
        group: Most rows in one prompt.
        limits: How long and how patiently the model is asked. With groups, the breaker refuses a whole batch.
    """
    if group > 1:
        arm, limits = WholeArm(run=arm, breaker=limits.breaker), Limits(breaker=None)
    return ConfidenceBranch(large=arm, wants="record", threshold=None, ask_once=False, **limits.settings)


def sent_prompts(prompts: Sequence[ChatPromptValue], group: int) -> list[ChatPromptValue]:
    """The prompts that are sent where rows are grouped. A row that is asked once more by itself is not among them.

    Args:
        prompts: What is asked about each row by itself.
        group: Most rows in one prompt.
    """
    groups = groups_of(dict(enumerate(prompts)), group) if group > 1 else []
    together = {row for each in groups for row in each.rows}
    return [*(each.prompt for each in groups), *(one for row, one in enumerate(prompts) if row not in together)]


def characters_of(prompts: Sequence[ChatPromptValue]) -> int:
    """Total length of the prompts."""
    return sum(len(prompt.to_string()) for prompt in prompts)

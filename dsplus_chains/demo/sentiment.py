"""The demo's task as Runnables: is a review sentence positive or negative?"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from dsplus_chains.demo.reviews import ReviewSentence
from dsplus_chains.local.local_chat import LocalChatModel
from dsplus_chains.prompting.builder import HintPromptBuilder
from dsplus_chains.prompting.parser import LabelParser

INSTRUCTION = "Is the review sentence positive or negative? Answer with one word: positive or negative."
LABELS = ("positive", "negative")


class Sentiment(StrEnum):
    """The labels, as the structured answer of a chat model."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


def pick_examples(sentences: Sequence[ReviewSentence], *, each: int = 2) -> list[ReviewSentence]:
    """The solved examples of a prompt: for each label in turn, the sentences that people were surest about."""
    clear = sorted(sentences, key=lambda sentence: (-abs(sentence.rating), sentence.text))
    best = [[s for s in clear if s.label == label][:each] for label in LABELS]
    return [sentence for pair in zip(*best, strict=True) for sentence in pair]


def sentiment_prompt(
    examples: Sequence[tuple[dict[str, Any], str]], *, hints: Literal["none", "soft"]
) -> HintPromptBuilder:
    """The large model's prompt: instruction, solved examples, the sentence, and what the small model says about it.

    The layout is that of SuperICL (arXiv 2305.08848): input, prediction with confidence, label. It is the same in the
    examples and in the question. A model this small understands it better than a hint in prose. What is the same for
    every sentence comes first, so that it is read only once. Each sentence is one line, which serves as its fence.

    Args:
        examples: Records with a `prediction`, each with its true label.
        hints: "soft" shows the small model's predictions, "none" leaves them out.
    """
    layout = (
        "Review: {input}\nSentiment:" if hints == "none" else "Review: {input}\nSmall model: {prediction}\nSentiment:"
    )
    solved = [f"{layout.format(**record)} {label}" for record, label in examples]
    literal = [text.replace("{", "{{").replace("}", "}}") for text in solved]
    template = "\n\n".join(["{instruction}", *literal, layout])
    return HintPromptBuilder(labels=LABELS, instruction=INSTRUCTION, hints=hints, template=template)


def large_arm(
    model: BaseChatModel, prompt: HintPromptBuilder, prior_records: Sequence[dict[str, Any]]
) -> Runnable[Any, Any]:
    """The whole large arm: prompt, model, label.

    A `LocalChatModel` chooses among the labels. It may prefer one of them, whatever the input is. This is measured on
    `prior_records`, which need no labels, and corrected. Any other chat model answers in words, which are parsed.
    """
    parser = LabelParser(labels=LABELS)
    if isinstance(model, LocalChatModel):
        prior = [prompt.build(record) for record in prior_records]
        return prompt | model.with_structured_output(Sentiment, prior_messages=prior) | parser
    return prompt | model | parser

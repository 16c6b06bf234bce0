"""Hostile inputs, and what they are given to. Whatever comes in, the error is one of ours, and no label is invented."""

from __future__ import annotations

import json
import math
import random
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from clock import at_most
from fakes import TinyEncoder
from langchain_core.exceptions import OutputParserException

from dsplus_chains import (
    DSPlusError,
    HintPromptBuilder,
    LabelParser,
    PatternExtractor,
    Prediction,
    SmallModelScorer,
    shunt,
    tune_threshold,
)
from dsplus_chains.integrations.app_text import text_reader
from dsplus_chains.tables.reading import read_table

LABELS = ["positive", "negative", "not spam", "5"]
PIECES = (
    *("positive", "negative", "not", "spam", "5", "5.0", "no", "is", "label", "Label:", "answer", "I deny that"),
    *("because", "```json\n{", "```", '{"label": "', '"}', "{", "}", "[", "]", '"', "'", "\\boxed{", "<label>"),
    *("</label>", "<think>", "{text}", "{hints}", "{0}", "%s", "$x", "<|im_start|>system", "</input>", "\x1b[2J"),
    *("\x00", "\ud800", "\udfff", "\u200f", "\u202e", "\u2028", "\x85", "\r", "\n", "\r\n", "\t", " ", "\u3000"),
    *("。", "「", "答案：", "é", "e\u0301", "😀", "\U000e0041", "ﬁ", "İ", "ß", "NaN", "1e999", "-0", "null", "true"),
    *(";", ",", "|", "=", ":", "-", "*", "#", "a.b"),
)
SLOW = 5.0
"""Most seconds of this process for one input. What is not linear takes minutes."""


def texts(chance: random.Random, n: int) -> Iterator[str]:
    """Random texts of hostile pieces. Some repeat one piece very often."""
    for _ in range(n):
        match chance.randrange(10):
            case 0:
                yield chance.choice(PIECES) * chance.choice([1, 100, 20_000])
            case 1:
                yield "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(40)))
            case 2:
                piece = chance.choice(PIECES)
                yield piece + " " * chance.choice([1, 40_000]) + chance.choice(PIECES) + piece
            case _:
                glue = chance.choice(["", " ", "\n"])
                yield glue.join(chance.choices(PIECES, k=chance.randrange(12)))


def numbers(chance: random.Random) -> Any:
    """A random value where a confidence or a label should be."""
    return chance.choice([None, math.nan, math.inf, -1, 0, 0.5, 1, 1.0000001, 2, "0.5", True, "positive", [], {}, b"x"])


def spoken(text: str) -> str:
    """A text as it is heard: without marks of direction and with each character in its plain form."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(" " if unicodedata.category(one)[0] in "ZC" else one for one in plain)


def parse(text: str) -> None:
    try:
        label = LabelParser(labels=LABELS).invoke(text)
    except OutputParserException:
        return
    assert label in LABELS
    heard = " ".join(spoken(text).split())
    assert label in heard, f"invented {label!r} out of {text[:200]!r}"


class Targets:
    """What is given the hostile inputs.

    Args:
        folder: A folder for tables.
        chance: The source of further random values.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._scorer = SmallModelScorer.fit(
            ["good phone", "bad phone"] * 3, ["positive", "negative"] * 3, encoder=TinyEncoder()
        )
        self._shunt = shunt(lambda given: "positive", self._scorer, threshold=0.9, output=str)
        self._builder = HintPromptBuilder(labels=LABELS, instruction="Which?")

    def score(self, text: str) -> None:
        record = self._scorer.invoke(text)
        assert record["prediction"].label in {"positive", "negative"}
        assert 0 <= record["prediction"].confidence <= 1

    def fit(self, text: str) -> None:
        SmallModelScorer.fit(["good", "bad", text, "so so"], ["a", "b", "a", "b"], encoder=TinyEncoder())

    def parse(self, text: str) -> None:
        parse(text)

    def prompt(self, text: str) -> None:
        prediction = Prediction(label="positive", confidence=0.5)
        said = self._builder.invoke({"input": text, "prediction": prediction}).to_string()
        assert text.strip() in said or not text.strip()

    def app(self, text: str) -> None:
        assert self._shunt.invoke(text) in {"positive", "negative"}

    def where(self, text: str) -> None:
        try:
            reader = text_reader(text or "auto")
        except DSPlusError:
            return
        reader({"a": text, "a.b": {"c": text}})

    def pattern(self, text: str) -> None:
        PatternExtractor(patterns={"order": r"[A-Z]-\d{4}", "word": r"(\w+\s?)*!"}, timeout=0.2).invoke({"input": text})

    def table(self, text: str) -> None:
        kind = self._chance.choice([".csv", ".tsv", ".jsonl", ".json", ".txt"])
        path = self._folder / f"table{kind}"
        rows = [{"text": text, "label": "a"}, {"text": "x", "label": text}]
        packed = json.dumps(rows) if kind == ".json" else "\n".join(map(json.dumps, rows))
        separated = f"text{self._chance.choice([',', ';', chr(9)])}label\n{text},a\nb,c\n"
        content = packed if kind.startswith(".js") else separated
        path.write_bytes(content.encode(self._chance.choice(["utf-8", "utf-16", "latin-1"]), "replace"))
        table = read_table(path)
        table.texts(table.columns[0])
        table.labels(table.columns[-1])

    def threshold(self, text: str) -> None:
        def label() -> Any:
            return self._chance.choice([text, "positive", numbers(self._chance)])

        predictions = [Prediction(label="positive", confidence=self._chance.random()) for _ in range(4)]
        tuned = tune_threshold(
            predictions,
            [label() for _ in range(4)],
            [label() for _ in range(4)],
            objective=self._chance.choice(["accuracy", "match_large", "max_risk", text]),
            max_risk=self._chance.choice([None, numbers(self._chance)]),
        )
        assert tuned.threshold is None or 0 <= tuned.threshold <= 1

    @property
    def all(self) -> list[Callable[[str], None]]:
        return [
            *(self.score, self.parse, self.prompt, self.app, self.where),
            *(self.table, self.threshold, self.pattern, self.fit),
        ]


def attack(folder: Path, n: int, *, seed: int = 0) -> list[str]:
    """Give so many hostile inputs to all targets in turn. What must not be is returned."""
    chance = random.Random(seed)
    targets = Targets(folder, chance).all
    found = []
    for number, text in enumerate(texts(chance, n)):
        target = targets[number % len(targets)]
        try:
            with at_most(SLOW, time.process_time), suppress(DSPlusError, ValueError):
                target(text)
        except Exception as error:
            found.append(f"{target.__name__}: {type(error).__name__}: {str(error)[:200]} from {text[:80]!r}")
    return found

"""Measures small models of pairs: by pair features, by the joined text, and by a cosine with a threshold.

    python tests/bench/pairs.py intents banking77_train.csv banking77_dev.csv
    python tests/bench/pairs.py about clinc150.json

"intents" asks whether two texts have one intent. "about" asks whether a document of three sentences is about the
question. Half of the pairs are a yes. A model is fitted on training texts of some intents. It is counted on other texts
of these intents, and on texts of intents that it has never seen.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dsplus_chains import SmallModelScorer
from dsplus_chains.calibration.intervals import paired_difference_interval, wilson_interval
from dsplus_chains.calibration.metrics import expected_calibration_error
from dsplus_chains.encoding import as_encoder

Pair = tuple[str, str, bool]
ByIntent = dict[str, list[str]]


def labelled(path: Path) -> list[tuple[str, str]]:
    """The texts and intents of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def by_intent(rows: list[tuple[str, str]], intents: set[str], most: int) -> ByIntent:
    """At most so many texts of each intent."""
    found: ByIntent = {intent: [] for intent in sorted(intents)}
    for text, intent in rows:
        if intent in found and len(found[intent]) < most:
            found[intent].append(text)
    return {intent: texts for intent, texts in found.items() if len(texts) > 1}


def same_intent(texts: ByIntent, n: int, draws: np.random.Generator) -> list[Pair]:
    """Pairs of two texts, and whether their intent is the same."""
    pairs = []
    for number in range(n):
        intent, another = draws.choice([*texts], 2, replace=False)
        one, other = draws.choice(texts[intent], 2, replace=False)
        other = other if number % 2 else draws.choice(texts[another])
        pairs.append((str(one), str(other), bool(number % 2)))
    return pairs


def about(texts: ByIntent, n: int, draws: np.random.Generator) -> list[Pair]:
    """Questions with documents of three sentences, and whether one of these has the question's intent."""
    documents = []
    for _ in range(n // 4):
        inside = draws.choice([*texts], 3, replace=False).tolist()
        documents.append((inside, [str(draws.choice(texts[intent])) for intent in inside]))
    pairs = []
    for number in range(n):
        inside, sentences = documents[number // 4]
        intent = draws.choice(inside if number % 2 else [intent for intent in texts if intent not in inside])
        question = draws.choice([text for text in texts[str(intent)] if text not in sentences])
        pairs.append((str(question), ". ".join(sentences) + ".", bool(number % 2)))
    return pairs


class Remembering:
    """An encoder that encodes each text once, since three models read the same texts."""

    name = "auto"

    def __init__(self) -> None:
        self._encoder = as_encoder("auto")
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str]) -> np.ndarray:
        """The vectors of the texts."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def by_cosine(train: list[Pair], encoder: Remembering) -> Callable[[list[Pair]], tuple[list[bool], None]]:
    """A threshold on the cosine, the best one on the training pairs."""

    def cosines(pairs: list[Pair]) -> np.ndarray:
        first, second = (encoder.encode([pair[side] for pair in pairs]) for side in (0, 1))
        return (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)

    known, truths = cosines(train), np.array([pair[2] for pair in train])
    threshold = max(known, key=lambda level: ((known >= level) == truths).mean())
    return lambda pairs: ((cosines(pairs) >= threshold).tolist(), None)


def by_fit(train: list[Pair], encoder: Remembering, seed: int, give: Callable[[Pair], object]) -> Callable:
    """A small model of what `give` makes of a pair."""
    scorer = SmallModelScorer.fit(
        [give(pair) for pair in train], [pair[2] for pair in train], encoder=encoder, seed=seed
    )
    print(scorer.summary)

    def answer(pairs: list[Pair]) -> tuple[list[bool], list[float]]:
        said = [record["prediction"] for record in scorer.batch([give(pair) for pair in pairs])]
        return [one.label for one in said], [one.confidence for one in said]

    return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["intents", "about"])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=20, help="most training texts of an intent")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = np.random.default_rng(options.seed)
    if options.task == "intents":
        train, test = (labelled(Path(path)) for path in options.data)
    else:
        data = json.loads(Path(options.data[0]).read_text(encoding="utf-8"))
        train, test = data["train"], data["test"]
    known = {text for text, _ in train}
    test = [(text, intent) for text, intent in test if text not in known]
    intents = draws.permutation(sorted({intent for _, intent in train})).tolist()
    cut = len(intents) * 2 // 3
    make = same_intent if options.task == "intents" else about
    pairs = make(by_intent(train, {*intents[:cut]}, options.texts), options.rows, draws)
    held_out = {
        "intents seen": make(by_intent(test, {*intents[:cut]}, options.texts), options.test_rows, draws),
        "intents not seen": make(by_intent(test, {*intents[cut:]}, options.texts), options.test_rows, draws),
    }
    encoder = Remembering()
    ways = {
        "pair": by_fit(pairs, encoder, options.seed, lambda pair: pair[:2]),
        "joined": by_fit(pairs, encoder, options.seed, lambda pair: f"{pair[0]} [SEP] {pair[1]}"),
        "cosine": by_cosine(pairs, encoder),
    }
    print(f"{options.task}: fitted on {len(pairs)} pairs of {cut} of {len(intents)} intents")
    for name, rows in held_out.items():
        rights = {}
        for way, answer in ways.items():
            labels, sure = answer(rows)
            right = rights[way] = np.array([label == pair[2] for label, pair in zip(labels, rows, strict=True)])
            found = wilson_interval(int(right.sum()), len(right))
            told = f"{name}, {len(rows)} pairs, {way}: {right.mean():.3f} right ({found.low:.3f} to {found.high:.3f})"
            if sure is not None:
                surest = right[np.argsort(sure)[len(sure) // 2 :]].mean()
                told += f", calibration error {expected_calibration_error(sure, right):.3f}, surest half {surest:.3f}"
            print(told)
        for other in ("joined", "cosine"):
            wins, losses = (int((rights[one] & ~rights[two]).sum()) for one, two in (("pair", other), (other, "pair")))
            gap = paired_difference_interval(wins, losses, len(rows))
            print(f"{name}: pair - {other} {(wins - losses) / len(rows):+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")


if __name__ == "__main__":
    main()

"""Measures what learning from a large model's answers is worth, on a stream of inputs in rounds.

    python tests/bench/learning.py train.csv dev.csv --text text --label label --large-column gpt

The large model is simulated. Its answer to a row is drawn from how a real one answered the rows of that label in the
dev file. This is optimistic, because its errors do not depend on the text. With --recorded, the rows of the dev file
and their real answers are used instead: 40 % as labelled rows, 40 % as a stream, 20 % to count on. With --base-url, a
live model is asked about --rows of them first, and its answers are kept in the file --answers.

Parts: `stream` learns in rounds. `naive` fits once on the same rows with the large model's answers as labels. `labels`
adds 100 true labels of the rows that `dsplus label` would show, the least sure ones. Beside it stand 100 rows by lot,
and no labels at all, all with the same aim. `2cd` learns once from the stream, by the paper's steps of one network and
by a refit. `half` is a large model that is wrong half of the time. `bootstrap` starts from 300 labelled and 2,700
answered rows. `cost` compares the time of one round over the whole stream with that of a fit on as many labelled rows.
It counts what the processor does, with the vectors already known. Set OMP_NUM_THREADS=1, so that no thread counts that
only waits.

With --keep FILE the figures of each finished draw are kept, and the same command goes on where it was stopped. So
--draws 0, then --draws 1, and at last --draws 0 1 prints the means of both without measuring anything again.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from finished import Finished
from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import RunnableLambda
from live import chat_model, in_slices
from means import show_means
from numpy.typing import NDArray
from remembering import Remembering
from rich.console import Console

from dsplus_chains import Bundle, LabelTask, Prediction, SmallModelScorer, bootstrap, learn, promote, tune_threshold
from dsplus_chains.calibration.metrics import expected_calibration_error
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.learning import Experience, least_sure
from dsplus_chains.learning.experience import LABELLED_BY_DOUBT, hash_of_input
from dsplus_chains.schema import hash_of_file

INSTRUCTION = "Which label is it?"
LABELS_GIVEN = 100


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Texts with their labels and the large model's answers."""

    texts: list[str]
    labels: list[str]
    answers: list[str]

    def part(self, rows: Any) -> Rows:
        """Some of the rows."""
        numbers = [int(row) for row in rows]
        return Rows(**{name: [getattr(self, name)[row] for row in numbers] for name in ("texts", "labels", "answers")})

    def __add__(self, other: Rows) -> Rows:
        return Rows(**{name: getattr(self, name) + getattr(other, name) for name in ("texts", "labels", "answers")})

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One draw of labelled rows, a stream, and rows to count on."""

    gold: Rows
    stream: Rows
    test: Rows


def read(path: str, options: argparse.Namespace) -> Rows:
    """The rows of a file."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return Rows(
        texts=[row[options.text] for row in rows],
        labels=[row[options.label] for row in rows],
        answers=[row.get(options.large_column) or "" for row in rows],
    )


def answered(rows: Rows, options: argparse.Namespace) -> Rows:
    """Some of the rows, drawn once, with what a live model says. What is no label is an empty answer."""
    fit = [row for row, text in enumerate(rows.texts) if len(text) <= (options.longest or len(text))]
    some = rows.part(np.random.default_rng(0).permutation(fit)[: options.rows])
    task = LabelTask(labels=sorted(set(rows.labels)), instruction=options.instruction)
    arm = task.arm(chat_model(options, max_tokens=8))
    records = [{"input": text, "prediction": Prediction(label=None)} for text in some.texts]
    asked = in_slices(
        arm.with_fallbacks([RunnableLambda(lambda _: "")], exceptions_to_handle=(OutputParserException,)),
        records,
        "Asking",
    )
    return Rows(texts=some.texts, labels=some.labels, answers=[str(answer) for answer in asked])


def simulated(rows: Rows, dev: Rows, rng: np.random.Generator, *, wrong: float | None = None) -> Rows:
    """The rows with answers as the large model of the dev rows gives them, or as one that is wrong on a share."""
    said: dict[str, list[str]] = {}
    for label, answer in zip(dev.labels, dev.answers, strict=True):
        said.setdefault(label, []).append(answer)
    names = sorted(set(dev.labels))
    answers = []
    for label in rows.labels:
        if wrong is None:
            answers.append(str(rng.choice(said[label])))
        else:
            answers.append(str(rng.choice(names)) if rng.random() < wrong else label)
    return Rows(texts=rows.texts, labels=rows.labels, answers=answers)


def draw(train: Rows, dev: Rows, options: argparse.Namespace, seed: int, *, wrong: float | None = None) -> Draw:
    """`per_class` rows of each label and `more` others with labels, then a stream, then rows to count on."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train)).tolist()
    counts: dict[str, int] = {}
    gold, rest = [], []
    for row in order:
        counts[train.labels[row]] = counts.get(train.labels[row], 0) + 1
        (gold if counts[train.labels[row]] <= (2 if options.recorded else options.per_class) else rest).append(row)
    if options.recorded:  # two rows of each label have a label in any case
        ordered, ends = gold + rest, [int(share * len(train)) for share in (0.4, 0.8)]
        return Draw(
            gold=train.part(ordered[: ends[0]]),
            stream=train.part(ordered[ends[0] : ends[1]]),
            test=train.part(ordered[ends[1] :]),
        )
    ends = np.cumsum([options.more, options.stream, options.test]).tolist()
    parts = [gold + rest[: ends[0]], rest[ends[0] : ends[1]], rest[ends[1] : ends[2]]]
    gold_rows, stream, test = (simulated(train.part(part), dev, rng, wrong=wrong) for part in parts)
    return Draw(gold=gold_rows, stream=stream, test=test)


def started(rows: Rows, encoder: Any, seed: int) -> Bundle:
    """A bundle that was fitted and tuned on labelled rows."""
    bundle = Bundle.fit(rows.texts, rows.labels, encoder=encoder, seed=seed, instruction=INSTRUCTION)
    return tuned_on(bundle, rows, seed)


def tuned_on(bundle: Bundle, rows: Rows, seed: int) -> Bundle:
    """A bundle, tuned on the rows that its small model was fitted on, out of fold."""
    views = bundle.scorer.out_of_fold
    assert views is not None
    known = (views[: len(rows)], rows.labels, rows.answers)
    tuned = tune_threshold(*known, texts=rows.texts, out_of_fold=True, fusion="auto", seed=seed)
    return bundle.with_tuned(tuned)


def scored(bundle: Bundle, rows: Rows) -> tuple[list[Any], NDArray[np.bool_]]:
    """The small model's predictions, and which rows the chain defers."""
    views = [record["prediction"] for record in bundle.scorer.batch(rows.texts)]
    level = bundle.threshold
    return views, np.array([not view.confidence >= (np.inf if level is None else level) for view in views])


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a bundle does on rows that it has not seen."""

    right: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    figures: dict[str, float]


def count(bundle: Bundle, rows: Rows) -> Counted:
    """Accuracy of the small model and the chain, share deferred, calibration."""
    views, deferred = scored(bundle, rows)
    answers: list[Any] = rows.answers
    if bundle.fusion is not None:
        answers = [view.label for view in bundle.fusion.fuse(views, rows.answers)]
    truth = np.array(rows.labels)
    right = np.array([view.label for view in views]) == truth
    chain = np.where(deferred, np.array(answers) == truth, right)
    confidence = np.array([view.confidence for view in views])
    order = np.argsort(confidence, kind="stable")[: len(rows) // 10]
    tenth = right.copy()
    tenth[order] = (np.array(answers) == truth)[order]
    figures = {
        "small model": float(right.mean()),
        "chain": float(chain.mean()),
        "deferred": float(deferred.mean()),
        "calibration error": expected_calibration_error(confidence, right),
        "chain at 10 % deferred": float(tenth.mean()),
        "large model": float((np.array(rows.answers) == truth).mean()),
    }
    return Counted(right=right, kept=~deferred, figures=figures)


def experience(rows: Rows, deferred: NDArray[np.bool_] | None = None, *, gold: bool = False) -> list[Experience]:
    """The rows as decisions of a chain."""
    asked = np.ones(len(rows), dtype=np.bool_) if deferred is None else deferred
    return [
        Experience(
            text=text,
            text_hash=hash_of_input(text),
            large=answer if told else None,
            gold=label if gold else None,
            time=0.0,
        )
        for text, label, answer, told in zip(rows.texts, rows.labels, rows.answers, asked.tolist(), strict=True)
    ]


def in_rounds(
    start: Bundle, drawn: Draw, rounds: int, seed: int, aim: str
) -> tuple[Bundle, list[Experience], list[float]]:
    """The bundle after a stream in rounds, all decisions, and the share deferred in each round."""
    known, shares, bundle = experience(drawn.gold, gold=True), [], start
    for part in np.array_split(np.arange(len(drawn.stream)), rounds):
        rows = drawn.stream.part(part)
        _, deferred = scored(bundle, rows)
        shares.append(float(deferred.mean()))
        known += experience(rows, deferred)
        bundle = learn(bundle, known, aim=aim, seed=seed)
    return bundle, known, shares


def measure_stream(drawn: Draw, encoder: Any, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """The chain before and after a stream."""
    begin = time.perf_counter()
    start = started(drawn.gold, encoder, seed)
    fitted = time.perf_counter() - begin
    before = count(start, drawn.test)
    begin = time.perf_counter()
    bundle, known, shares = in_rounds(start, drawn, options.rounds, seed, options.aim)
    learned = (time.perf_counter() - begin) / options.rounds
    after = count(bundle, drawn.test)
    found = {f"before: {name}": value for name, value in before.figures.items()}
    found |= {f"after: {name}": value for name, value in after.figures.items()}
    found["calls saved"] = 1 - after.figures["deferred"] / max(before.figures["deferred"], 1e-9)
    found["chain, change"] = after.figures["chain"] - before.figures["chain"]
    found["small model, change"] = after.figures["small model"] - before.figures["small model"]
    found["on what was kept before, change"] = float(after.right[before.kept].mean() - before.right[before.kept].mean())
    found["deferred in the last round"] = shares[-1]
    found["seconds to fit on labels"], found["seconds to learn a round"] = fitted, learned
    found["promoted"] = float(promote(bundle, start).promoted)
    if "naive" in options.parts:
        found |= measure_naive(drawn, start, encoder, seed, before)
    if "2cd" in options.parts:
        found |= measure_methods(drawn, start, seed, before)
    if "labels" in options.parts:
        found |= measure_labels(drawn, bundle, known, seed, before)
    return found


def measure_naive(drawn: Draw, start: Bundle, encoder: Any, seed: int, before: Counted) -> dict[str, float]:
    """A refit on the deferred rows, with the large model's answers as if they were labels."""
    _, deferred = scored(start, drawn.stream)
    rows = drawn.stream.part(np.flatnonzero(deferred))
    rows = rows.part([row for row, answer in enumerate(rows.answers) if answer in set(drawn.gold.labels)])
    both = drawn.gold + rows
    scorer = SmallModelScorer.fit(both.texts, both.labels[: len(drawn.gold)] + rows.answers, encoder=encoder, seed=seed)
    said = Rows(texts=both.texts, labels=both.labels[: len(drawn.gold)] + rows.answers, answers=both.answers)
    naive = count(tuned_on(Bundle(scorer=scorer, instruction=INSTRUCTION), said, seed), drawn.test).figures
    return {
        "naive: small model": naive["small model"],
        "naive: chain": naive["chain"],
        "naive: deferred": naive["deferred"],
        "naive: chain, change": naive["chain"] - before.figures["chain"],
    }


def measure_methods(drawn: Draw, start: Bundle, seed: int, before: Counted) -> dict[str, float]:
    """One round of learning, by gradient steps on one network and by a refit of every member."""
    _, deferred = scored(start, drawn.stream)
    known = experience(drawn.gold, gold=True) + experience(drawn.stream, deferred)
    found = {}
    for method in ("2cd", "refit"):
        after = count(learn(start, known, method=method, seed=seed), drawn.test).figures
        found |= {f"{method}, once: {name}": after[name] for name in ("small model", "deferred", "calibration error")}
        found[f"{method}, once: chain, change"] = after["chain"] - before.figures["chain"]
    return found


def measure_labels(
    drawn: Draw, bundle: Bundle, known: list[Experience], seed: int, before: Counted
) -> dict[str, float]:
    """100 true labels of the rows that `dsplus label` shows, as many by lot of the same rows, and none."""
    truth = dict(zip(map(hash_of_input, drawn.stream.texts), drawn.stream.labels, strict=True))
    doubtful = [doubt.row.text_hash for doubt in least_sure(bundle, known, len(known))]
    asked = [key for key in doubtful if key in truth]
    ways = {
        "no labels": [],
        "100 labels": asked[:LABELS_GIVEN],
        "100 labels by lot": np.random.default_rng(seed).permutation(asked)[:LABELS_GIVEN].tolist(),
    }
    found = {}
    for name, chosen in ways.items():
        told = [
            replace(row, gold=truth[row.text_hash], gold_origin=LABELLED_BY_DOUBT) if row.text_hash in chosen else row
            for row in known
        ]
        after = count(learn(bundle, told, aim="accuracy", seed=seed), drawn.test).figures
        found[f"{name}: small model"], found[f"{name}: deferred"] = after["small model"], after["deferred"]
        found[f"{name}: chain, change"] = after["chain"] - before.figures["chain"]
    found["100 labels: chain, against no labels"] = (
        found["100 labels: chain, change"] - found["no labels: chain, change"]
    )
    found["100 labels: chain, against lot"] = (
        found["100 labels: chain, change"] - found["100 labels by lot: chain, change"]
    )
    return found


def measure_bootstrap(train: Rows, dev: Rows, encoder: Any, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """300 labelled rows among 3,000 answered ones."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train)).tolist()
    rows, test = (simulated(train.part(part), dev, rng) for part in (order[:3000], order[3000 : 3000 + options.test]))
    counts: dict[str, int] = {}
    first = []
    for row, label in enumerate(rows.labels):
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= 2:
            first.append(row)
    others = [row for row in range(len(rows)) if row not in set(first)]
    gold = rows.part([*first, *others[: 300 - len(first)]])
    frame = {"text": rows.texts, "answer": rows.answers}
    names = sorted(set(train.labels))
    bundle = bootstrap(
        frame, (gold.texts, gold.labels), labels=names, instruction=INSTRUCTION, encoder=encoder, seed=seed
    )
    found = count(bundle, test).figures
    return {
        "student": found["small model"],
        "its teacher": found["large model"],
        "student less teacher": found["small model"] - found["large model"],
        "chain at 10 % deferred": found["chain at 10 % deferred"],
        "chain at 10 % less teacher": found["chain at 10 % deferred"] - found["large model"],
    }


def measure_cost(drawn: Draw, encoder: Any, seed: int) -> dict[str, float]:
    """Processor seconds of a round of learning, and of a fit on as many labelled rows."""
    start, both = started(drawn.gold, encoder, seed), drawn.gold + drawn.stream
    known = experience(drawn.gold, gold=True) + experience(drawn.stream, scored(start, drawn.stream)[1])
    ways = {
        "seconds to fit": lambda: SmallModelScorer.fit(both.texts, both.labels, encoder=encoder, seed=seed),
        "seconds to learn": lambda: learn(start, known, seed=seed),
    }
    found = {}
    for name, run in ways.items():
        begin = time.process_time()
        run()
        found[name] = time.process_time() - begin
    return {**found, "fits in a round": found["seconds to learn"] / found["seconds to fit"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("dev")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--large-column", default="gpt")
    parser.add_argument("--recorded", action="store_true", help="use the dev file's rows and their real answers")
    parser.add_argument("--base-url", help="with --recorded: an OpenAI-compatible server, in place of a column")
    parser.add_argument("--model", help="the name of its model")
    parser.add_argument("--answers", help="file in which its answers are kept: a second run asks nothing")
    parser.add_argument("--rows", type=int, default=1500, help="rows that it is asked about")
    parser.add_argument("--longest", type=int, help="characters of a text; longer ones are left out")
    parser.add_argument("--instruction", default=INSTRUCTION)
    parser.add_argument("--per-class", type=int, default=5)
    parser.add_argument("--more", type=int, default=300)
    parser.add_argument("--stream", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1080)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="seeds")
    parser.add_argument("--keep", help="file of finished draws, so that a run goes on; name another for other code")
    parser.add_argument("--aim", default="calls", choices=["calls", "accuracy"])
    parser.add_argument("--parts", nargs="+", default=["stream", "naive", "2cd", "labels", "half", "bootstrap", "cost"])
    options = parser.parse_args()
    train, dev = read(options.train, options), read(options.dev, options)
    if options.base_url:
        dev = answered(dev, options)
    if options.recorded:
        train = dev
    encoder = Remembering(SentenceEncoder.from_pretrained("auto"))
    parts: dict[str, Callable[[int], dict[str, float]]] = {
        "stream": lambda seed: measure_stream(draw(train, dev, options, seed), encoder, options, seed),
        "half": lambda seed: {
            name: value
            for name, value in measure_stream(
                draw(train, dev, options, seed, wrong=0.5),
                encoder,
                argparse.Namespace(**{**vars(options), "parts": [], "rounds": 1}),
                seed,
            ).items()
            if "change" in name or name in {"calls saved", "promoted"}
        },
        "bootstrap": lambda seed: measure_bootstrap(train, dev, encoder, options, seed),
        "cost": lambda seed: measure_cost(draw(train, dev, options, seed), encoder, seed),
    }
    finished = Finished(options.keep)
    settings = {name: value for name, value in vars(options).items() if name not in {"draws", "keep", "parts"}}
    settings |= {name: hash_of_file(Path(getattr(options, name))) for name in ("train", "dev")}
    for name, part in parts.items():
        if name in options.parts:
            found = []
            within = sorted({"naive", "2cd", "labels"} & set(options.parts)) if name == "stream" else []
            for seed in options.draws:
                of = {"part": name, "within": within, "draw": seed, **settings}
                found.append(finished.once(of, partial(part, seed)))
                Console().print(f"{name}, draw {seed}: {found[-1]}", soft_wrap=True, highlight=False)
            show_means(f"{name}, {len(found)} draws", found)


if __name__ == "__main__":
    main()

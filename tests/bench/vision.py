"""Measures DS and DS+ on images: scikit-learn's digits, of which the small model has seen a long tail.

    python tests/bench/vision.py [--seed 0]

The small model reads pixels. It has seen many zeros and few nines. The large model is a head on EfficientNet-Lite0,
behind the interface of a chat model. It gets the real prompt with the image in it, and answers with the likeliest label
that is offered. It reads a soft hint as Bayes' rule would: it multiplies its own probabilities by those in the prompt.
So the table shows what hints are worth to a model that uses them, and not what a chat model makes of them. Test rows
are neither trained nor tuned on.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digits import PixelEncoder
from lite0 import Features

from dsplus_chains import LabelMask, SmallModelScorer, data_shunt, evaluate, strong_labels, tune_threshold
from dsplus_chains.encoding import ImageEncoder, read_image
from dsplus_chains.prompting.pictured import image_block

MOST, FEWEST = 60, 3
"""Training rows of the small model: of the first label, and of the last."""
BALANCED, DISTILLED, TUNING = 300, 200, 200
"""Rows that the large model is fitted on, that it teaches the small one, and that choose the thresholds."""
CONFIDENT = 0.9
"""Confidence from which on a model's own answer teaches the distilled small model."""
GROUPS = {"head": "012", "middle": "3456", "tail": "789"}
INSTRUCTION = "Which digit does the image show?"
LABELS = [str(label) for label in range(10)]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some images, as the bytes of PNG files, with their labels."""

    images: list[bytes]
    labels: list[str]


class EyesChat(BaseChatModel):
    """A head on an image model as a chat model. `seen` holds the features of each image by its hash."""

    head: Any
    seen: dict[str, Any]

    @property
    def _llm_type(self) -> str:
        return "eyes"

    def sees(self, block: dict[str, Any]) -> NDArray[np.float64]:
        """The log-probability of each label, from the image alone."""
        told: NDArray[np.float64] = log_softmax(self.head.decision_function([self.seen[read_image(block).sha256]]))[0]
        return told

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        block, text = messages[-1].content
        offered = re.findall(r"^- (\d)$", "\n".join([str(messages[0].content), text["text"]]), re.MULTILINE)
        logs = dict(zip(LABELS, self.sees(block), strict=True))
        hint = re.findall(r"^- (\d): (over |under |)(\d+) %$", text["text"], re.MULTILINE)
        if hint:
            nearly = {"": 0.0, "over ": 0.5, "under ": -0.5}
            prior = {label: (float(percents) + nearly[word]) / 100 for label, word, percents in hint}
            logs = {label: told + np.log(prior.get(label, 0.001)) for label, told in logs.items()}
        answer = max(offered, key=logs.__getitem__)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])


def split(seed: int) -> dict[str, Rows]:
    """The rows of each model, of the tuning, and of the test."""
    found, rng = load_digits(), np.random.default_rng(seed)
    left = {label: rng.permutation(np.flatnonzero(found.target == label)).tolist() for label in range(10)}
    sizes = np.round(np.geomspace(MOST, FEWEST, 10)).astype(int)
    parts = {"small": [left[label].pop() for label in range(10) for _ in range(sizes[label])]}
    for name, n in (("large", BALANCED), ("distilled", DISTILLED), ("tuning", TUNING)):
        parts[name] = [left[label].pop() for label in range(10) for _ in range(n // 10)]
    parts["test"] = [row for rows in left.values() for row in rows]
    pixels = np.round(found.images * 255 / 16).astype(np.uint8)
    return {
        name: Rows(images=[packed(pixels[row]) for row in rows], labels=[str(found.target[row]) for row in rows])
        for name, rows in parts.items()
    }


def packed(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def large_model(rows: dict[str, Rows]) -> EyesChat:
    """The large model, which has looked at each image once."""
    encoder = ImageEncoder.of_network(
        Features(), name="lite0", size=64, crop=1.0, mean=[127 / 255] * 3, std=[128 / 255] * 3
    )
    images = [image for part in rows.values() for image in part.images]
    seen = {read_image(image).sha256: vector for image, vector in zip(images, encoder.encode(images), strict=True)}
    linear = LogisticRegressionCV(
        Cs=np.geomspace(1e-4, 1, 5),
        cv=5,
        scoring="neg_log_loss",
        max_iter=1000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    head = make_pipeline(StandardScaler(), linear)
    head.fit([seen[read_image(image).sha256] for image in rows["large"].images], rows["large"].labels)
    return EyesChat(head=head, seen=seen)


def distill(small: SmallModelScorer, large: EyesChat, rows: dict[str, Rows]) -> SmallModelScorer:
    """The small model after learning from confident answers: the large model's where it is unsure, else its own."""
    taught = Rows(images=list(rows["small"].images), labels=list(rows["small"].labels))
    for image, record in zip(rows["distilled"].images, small.batch(rows["distilled"].images), strict=True):
        prediction, logs = record["prediction"], large.sees(image_block(read_image(image)))
        if prediction.confidence >= CONFIDENT:
            told = prediction.label
        elif np.exp(logs.max()) >= CONFIDENT:
            told = LABELS[int(logs.argmax())]
        else:
            continue
        taught.images.append(image)
        taught.labels.append(told)
    return fitted(taught)


def fitted(rows: Rows) -> SmallModelScorer:
    """A small model on pixels."""
    return SmallModelScorer.fit(rows.images, rows.labels, modality="image", encoder=PixelEncoder())


def threshold_for(scorer: Any, large: EyesChat, rows: Rows, **hints: Any) -> float | None:
    """The most accurate threshold on tuning rows, with the answers that the large model gives to these hints."""
    asked = data_shunt(scorer, large, labels=LABELS, instruction=INSTRUCTION, threshold=None, **hints).batch(
        rows.images
    )
    answers = [record["answer"] if record["source"] == "large" else None for record in asked]
    tuned = tune_threshold([record["prediction"] for record in asked], rows.labels, answers, fusion="replace")
    found: float | None = tuned.threshold
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    rows = split(parser.parse_args().seed)
    tuning, test = rows["tuning"], rows["test"]
    large, small = large_model(rows), fitted(rows["small"])

    def chain(scorer: Any, threshold: Any, **hints: Any) -> list[Any]:
        shunt = data_shunt(scorer, large, labels=LABELS, instruction=INSTRUCTION, threshold=threshold, **hints)
        records: list[Any] = shunt.batch(test.images)
        return records

    plain: dict[str, Any] = {"hints": "none"}
    soft: dict[str, Any] = {"hints": "soft", "top_k": 10}
    bound = threshold_for(small, large, tuning, **plain)
    sure = [record["prediction"] for record in small.batch(tuning.images)]
    strong = strong_labels(sure, tuning.labels, threshold=bound)
    hard: dict[str, Any] = {"hints": "hard", "strong_labels": strong or None}
    alone = chain(small, None, **plain)
    ways = {"small alone": chain(small, 0.0, **plain), "large alone": alone, "DS": chain(small, bound, **plain)}
    for name, hints in (("DS, soft hints", soft), ("DS, hard hints", hard)):
        ways[name] = chain(small, threshold_for(small, large, tuning, **hints), **hints)
    second = distill(small, large, rows) | LabelMask(labels=strong or LABELS[:1])
    unsure = [row for row, one in enumerate(sure) if bound is None or one.confidence < bound]
    deferred = Rows(images=[tuning.images[row] for row in unsure], labels=[tuning.labels[row] for row in unsure])
    again = threshold_for(second, large, deferred, **soft)
    ways["two passes, soft hints"] = chain([small, second], [bound, again], **soft)

    said = [record["answer"] for record in alone]
    table = Table(
        title=f"{len(test.labels)} digits; left out by hard hints and by the second pass: {', '.join(strong)}"
    )
    for heading in ("", "accuracy (95 %)", "gain over large alone", "large calls", *GROUPS):
        table.add_column(heading, justify="right" if heading else "left")
    for name, records in ways.items():
        result = evaluate(records, test.labels, large_answers=said)
        around, gain = result.accuracy_interval, result.gain_over_large
        right = np.array([record["answer"] == label for record, label in zip(records, test.labels, strict=True)])
        table.add_row(
            name,
            f"{result.accuracy:.1%} ({100 * around.low:.1f} to {100 * around.high:.1f})",
            f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}",
            f"{result.escalation_rate:.1%}",
            *(f"{right[[label in group for label in test.labels]].mean():.1%}" for group in GROUPS.values()),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

"""What the framework costs beside LangChain's own primitives: `make bench`.

Each figure is a ratio of medians over interleaved runs of one process, so that a noisy machine hits both sides alike.
Exits with 1 if a bound is not held.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, Runnable, RunnableBranch, RunnableLambda
from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, Prediction, ShuntChatModel, data_shunt, shunt
from dsplus_chains.scoring.base_scorer import BaseScorer

N = 2000
TEXTS = [f"text number {i} of them all" for i in range(N)]


def predict(text: str) -> Prediction:
    """Sure of every second text."""
    sure = int(text.split()[2]) % 2 == 0
    return Prediction(label="positive", confidence=0.95 if sure else 0.6)


class StubScorer(BaseScorer):
    """A small model that costs nothing, and counts its calls."""

    calls: list[int]

    def _predict(self, texts: list[str]) -> list[Prediction]:
        self.calls.append(len(texts))
        return [predict(text) for text in texts]


class StubLarge(RunnableLambda):
    """A large model that costs nothing, with a vectorised batch."""

    def __init__(self, answer: Any = "negative") -> None:
        super().__init__(lambda record: answer)
        self.answer = answer
        self.calls: list[int] = []

    def batch(self, inputs: list[Any], config: Any = None, **_: Any) -> list[Any]:
        self.calls.append(len(inputs))
        return [self.answer] * len(inputs)


def medians(runs: int, *tasks: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """The median time of each task in seconds, the tasks taking turns."""
    for task in tasks:
        task()
    times: list[list[float]] = [[] for _ in tasks]
    for _ in range(runs):
        for task, taken in zip(tasks, times, strict=True):
            started = clock()
            task()
            taken.append(clock() - started)
    return [statistics.median(taken) for taken in times]


def primitives() -> Runnable[Any, Any]:
    """The same chain of LangChain's own primitives."""
    return RunnableLambda(lambda text: {"input": text, "prediction": predict(text)}) | RunnableBranch(
        (
            lambda record: record["prediction"].confidence >= 0.9,
            lambda record: {**record, "answer": record["prediction"].label, "source": "small"},
        ),
        lambda record: {**record, "answer": "negative", "source": "large"},
    )


def framework() -> tuple[float, list[int], list[int]]:
    """Our chain's time over that of LangChain's primitives; the sizes of the small and large calls of one batch."""
    scorer, large = StubScorer(calls=[]), StubLarge()
    field = ConfigurableField(id="threshold")
    chain = scorer | ConfidenceBranch(large=large, threshold=0.5).configurable_fields(threshold=field)
    config = {"configurable": {"threshold": 0.9}}
    plain = primitives()
    ours, theirs = medians(7, lambda: chain.batch(TEXTS, config), lambda: plain.batch(TEXTS))
    scorer.calls.clear()
    large.calls.clear()
    chain.batch(TEXTS, config)
    return ours / theirs, list(scorer.calls), list(large.calls)


def kept() -> float:
    """Microseconds that the chain adds to the scorer for a kept row that nobody hears of, in batches of 256."""
    scorer = StubScorer(calls=[])
    chain = scorer | ConfidenceBranch(large=StubLarge(), threshold=0.1)
    texts = TEXTS[:256]
    ours, bare = medians(31, lambda: chain.batch(texts), lambda: scorer._predict(texts), clock=time.process_time)
    return (ours - bare) / len(texts) * 1e6


def deferred() -> float:
    """The time that the chain adds to a deferred `invoke`, over that of `prompt | llm | parser` with the same model."""
    model = FakeListChatModel(responses=["positive"])
    instruction = "Is the text positive or negative?"
    prompt = ChatPromptTemplate.from_messages([("system", instruction), ("human", "{input}")])
    plain = prompt | model | StrOutputParser()
    chain = data_shunt(
        StubScorer(calls=[]), model, labels=["positive", "negative"], instruction=instruction, threshold=None
    )

    def each(call: Callable[[str], Any]) -> Callable[[], Any]:
        return lambda: [call(text) for text in TEXTS[:50]]

    ours, theirs = medians(31, each(chain.invoke), each(plain.invoke), clock=time.process_time)
    return (ours - theirs) / theirs


def concurrency() -> float:
    """Seconds for 1,000 deferred inputs to a large model of 50 ms, 100 at a time."""

    async def slow(_: Any) -> str:
        await asyncio.sleep(0.05)
        return "negative"

    branch = ConfidenceBranch(large=RunnableLambda(slow), threshold=None)
    records = [{"input": text, "prediction": predict(text)} for text in TEXTS[:1000]]

    async def timed() -> float:
        started = time.perf_counter()
        await branch.abatch(records, {"max_concurrency": 100})
        return time.perf_counter() - started

    return statistics.median(asyncio.run(timed()) for _ in range(3))


def chat_model() -> float:
    """The time of `ShuntChatModel` over that of LangChain's primitives, in batches of 256, with free models."""
    model = ShuntChatModel(large=StubLarge(AIMessage("negative")), scorer=StubScorer(calls=[]), threshold=0.9)
    plain, texts = primitives(), TEXTS[:256]
    theirs, ours = medians(15, lambda: plain.batch(texts), lambda: model.batch(texts), clock=time.process_time)
    return ours / theirs


def encoding() -> float:
    """The scorer's time over that of a bare `SentenceTransformer.encode` on the same texts, at its best batch size."""
    from sentence_transformers import SentenceTransformer

    from dsplus_chains import SmallModelScorer
    from dsplus_chains.encoding.sentence import SentenceEncoder, resolve

    encoder = SentenceEncoder.from_pretrained()
    scorer = SmallModelScorer.fit(TEXTS, ["even", "odd"] * (N // 2), encoder=encoder, model="linear")
    bare = SentenceTransformer(resolve("auto"))

    def encode(size: int) -> Callable[[], Any]:
        return lambda: bare.encode(TEXTS, batch_size=size, show_progress_bar=False)

    ours, *theirs = medians(5, lambda: scorer.batch(TEXTS), *map(encode, (16, 32, 64, 128, 256)))
    return ours / min(theirs)


def around() -> tuple[float, float]:
    """The times of `shunt` and `ShuntChatModel` over that of `scorer | ConfidenceBranch`.

    The scorer is the default one, fitted. Batches have 256 texts.
    """
    from dsplus_chains import SmallModelScorer

    scorer, texts = SmallModelScorer.fit(TEXTS[:200], ["even", "odd"] * 100), TEXTS[:256]
    chain = scorer | ConfidenceBranch(large=StubLarge(), threshold=0.9)
    shunted = shunt(StubLarge(), scorer, threshold=0.9, output=str)
    model = ShuntChatModel(large=StubLarge(AIMessage("negative")), scorer=scorer, threshold=0.9)
    theirs, *ours = medians(7, *(lambda run=run: run.batch(texts) for run in (chain, shunted, model)))
    return ours[0] / theirs, ours[1] / theirs


def main() -> int:
    """Measure, print, judge."""
    table = Table("what", "measured", "bound", "")
    ratio, small, large = framework()
    around_app, around_chat = around()
    held = [
        ("scorer | branch over RunnableLambda | RunnableBranch, 2,000 inputs", ratio, 0.5, "x"),
        ("a kept row over its prediction, nobody hears it", kept(), 10.0, "µs"),
        ("what a deferred invoke adds, over prompt | llm | parser", deferred(), 0.8, "x"),
        ("1,000 deferred inputs, 50 ms each, 100 at a time", concurrency(), 2.0, "s"),
        ("ShuntChatModel over RunnableLambda | RunnableBranch, free models", chat_model(), 0.3, "x"),
        ("scoring 2,000 short texts over bare encode at its best batch size", encoding(), 1.08, "x"),
        ("shunt around an app over scorer | branch, 256 inputs", around_app, 1.15, "x"),
        ("ShuntChatModel over scorer | branch, 256 inputs", around_chat, 1.3, "x"),
    ]
    for what, value, bound, unit in held:
        table.add_row(what, f"{value:.3f} {unit}", f"{bound} {unit}", "held" if value <= bound else "NOT HELD")
    one_call = small == [N] and large == [N // 2]
    table.add_row("calls of the small and the large model, threshold configured", f"{small} {large}", "one each", "")
    Console().print(table)
    return 0 if one_call and all(value <= bound for _, value, bound, _ in held) else 1


if __name__ == "__main__":
    sys.exit(main())

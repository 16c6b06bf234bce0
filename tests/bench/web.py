"""A chain in a web server: whether it blocks the event loop, and what sharing model calls gains: `make bench-web`.

128 requests are under way at once, each an `ainvoke` with the default small model. Meanwhile a task wakes every 5 ms,
and says how late it was. Rounds without and with `micro_batching` take turns. Exits with 1 if a bound is not held.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from rich.console import Console
from rich.table import Table

from dsplus_chains import SmallModelScorer, data_shunt, shunt

AT_ONCE = 128
LATE = 50.0
"""Milliseconds that 99 of 100 wakes are late at most."""
TICK = 0.005
TEXTS = [
    f"Parcel {number} {'came in time, I love it' if number % 2 else 'is late, and what was in it broke'}, says {word}"
    for number in range(256)
    for word in ("one", "my sister", "a customer", "the shop")
]
LABELS = ["bad" if "late" in text else "good" for text in TEXTS]


class Large(BaseChatModel):
    """A large model that answers after 50 ms."""

    @property
    def _llm_type(self) -> str:
        return "slow"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("good"))])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        await asyncio.sleep(0.05)
        return self._generate()


class Round(NamedTuple):
    """What one round of requests showed. Times are in milliseconds."""

    a_second: float
    p50: float
    p99: float
    late: float
    latest: float


async def measured(chain: Runnable[Any, Any], texts: list[str]) -> Round:
    """Send all texts, `AT_ONCE` of them at once."""
    took, late, waiting = list[float](), list[float](), iter(texts)

    async def client() -> None:
        for text in waiting:
            started = time.perf_counter()
            await chain.ainvoke(text)
            took.append(time.perf_counter() - started)

    async def heartbeat() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(TICK)
            late.append(time.perf_counter() - started - TICK)

    beating, started = asyncio.create_task(heartbeat()), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - started
    beating.cancel()
    p50, p99 = np.percentile(took, [50, 99]) * 1e3
    return Round(len(texts) / seconds, p50, p99, np.percentile(late, 99) * 1e3, max(late) * 1e3)


def chains() -> dict[str, Callable[[SmallModelScorer], Runnable[Any, Any]]]:
    """The chains to measure, each from a small model. Half of the inputs or so are deferred."""
    large = Large()
    return {
        "data_shunt": lambda scorer: data_shunt(scorer, large, instruction="Is it good or bad?", threshold=0.985),
        "shunt": lambda scorer: shunt(large, scorer, threshold=0.985),
    }


async def rounds(
    scorer: SmallModelScorer, sizes: list[int | None], options: argparse.Namespace
) -> dict[Any, list[Round]]:
    """The rounds of each chain and each size of micro-batches, in turn."""
    found: dict[Any, list[Round]] = {}
    made = {
        (name, size): make(scorer if size is None else scorer.micro_batching(size))
        for name, make in chains().items()
        for size in sizes
    }
    for chain in made.values():
        await chain.ainvoke(TEXTS[0])
    if options.freeze:
        gc.collect()
        gc.freeze()
    for _ in range(options.rounds):
        for key, chain in made.items():
            found.setdefault(key, []).append(await measured(chain, TEXTS[-options.requests :]))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each way")
    parser.add_argument("--requests", type=int, default=512, help="requests of a round, at most 1,024")
    parser.add_argument("--sizes", type=int, nargs="*", default=[32], help="sizes of micro-batches")
    parser.add_argument("--no-freeze", dest="freeze", action="store_false", help="without gc.freeze() at the start")
    options = parser.parse_args()
    scorer = SmallModelScorer.fit(TEXTS[:200], LABELS[:200])
    found = asyncio.run(rounds(scorer, [None, *options.sizes], options))
    columns = (
        "chain",
        "micro_batch",
        "requests a second",
        "p50 ms",
        "p99 ms",
        "loop late, p99 ms",
        "latest ms",
        "gain",
    )
    table = Table(*columns, title=f"{AT_ONCE} requests at once, medians of {options.rounds} rounds")
    for (name, size), each in found.items():
        middle = Round(*map(median, zip(*each, strict=True)))
        gain = median(now.a_second / alone.a_second for now, alone in zip(each, found[name, None], strict=True))
        table.add_row(
            name,
            str(size),
            *(f"{figure:,.0f}" for figure in middle[:3]),
            *(f"{figure:.1f}" for figure in middle[3:]),
            f"{gain:.1f} x",
        )
    Console(width=120).print(table)
    latest = max(median(one.late for one in each) for each in found.values())
    told = "held" if latest < LATE else "NOT HELD"
    print(f"99 % of loop delays are at most {latest:.1f} ms, bound {LATE:.0f} ms: {told}")
    return int(latest >= LATE)


if __name__ == "__main__":
    sys.exit(main())

"""How far 100 calls at once overspend a budget, against a local server that reports its tokens.

Each way is run as often as asked for. A run begins with a new budget. The script exits with an error if any run has
overspent by more than the answer of one call.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import mean
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fault_server import FaultServer, fault_server
from langchain_openai import ChatOpenAI

from dsplus_chains import Budget, Prediction, data_shunt

PROMPT, ANSWER, MOST, N = 50, 33, 500, 100
TEXTS = [f"text {number}" for number in range(N)]
LOOP = asyncio.Runner()  # an app has one event loop, and its connections live in it


def chain(url, budget, limit=None):
    """A chain whose small model is never sure."""
    return data_shunt(
        lambda text: Prediction(label="positive", confidence=0.5),
        ChatOpenAI(model="m", base_url=url, api_key="none", max_retries=0, max_tokens=limit),
        labels=["positive", "negative"],
        instruction="Positive or negative?",
        threshold=0.9,
        budget=budget,
    )


def batched(run):
    run.batch(TEXTS, {"max_concurrency": N})


def in_threads(run):
    with ThreadPoolExecutor(N) as pool:
        list(pool.map(run.invoke, TEXTS))


def abatched(run):
    LOOP.run(run.abatch(TEXTS, {"max_concurrency": N}))


async def all_at_once(run):
    await asyncio.gather(*(run.ainvoke(text) for text in TEXTS))


def gathered(run):
    LOOP.run(all_at_once(run))


def gathered_in_a_new_loop(run):
    """The client's connections are of a loop that is closed, so the first request is answered to nobody."""
    asyncio.run(all_at_once(run))


def streamed(run):
    async def one(text):
        async for _ in run.astream(text):
            pass

    async def all_of_them():
        await asyncio.gather(*(one(text) for text in TEXTS))

    LOOP.run(all_of_them())


def half(url, path, barrier, jobs):
    """One of two processes: half of the texts of each run."""
    logging.disable(logging.WARNING)
    while (number := jobs.get()) is not None:
        run = chain(url, Budget(max_tokens=MOST, path=f"{path}-{number}.sqlite"))
        barrier.wait()
        run.batch(TEXTS[: N // 2], {"max_concurrency": N // 2})
        barrier.wait()
    barrier.wait()


class TwoProcesses:
    """Two processes that share the file of a budget, run after run."""

    def __init__(self, url: str, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._path, self._numbers = path, count()
        self._barrier, self._jobs = context.Barrier(3), [context.Queue() for _ in range(2)]
        for jobs in self._jobs:
            context.Process(target=half, args=(url, path, self._barrier, jobs), daemon=True).start()

    def run(self) -> int:
        number = next(self._numbers)
        for jobs in self._jobs:
            jobs.put(number)
        self._barrier.wait(120)
        self._barrier.wait(120)
        return Budget(max_tokens=MOST, path=f"{self._path}-{number}.sqlite").report().tokens

    def close(self) -> None:
        for jobs in self._jobs:
            jobs.put(None)
        self._barrier.wait(120)


def row(name: str, server: FaultServer, runs: int, once) -> int:
    """Print what the runs of one way came to; the most that one has spent."""
    spent, counted, seconds = [], [], []
    for _ in range(runs):
        server.requests, started = 0, perf_counter()
        counted.append(once())
        seconds.append(perf_counter() - started)
        spent.append(server.requests * (PROMPT + ANSWER))
    told = f"{min(counted)} to {max(counted)}"
    over = max(0, max(spent) - MOST)
    print(f"| {name} | {runs} | {min(spent)} to {max(spent)} | {told} | {over} | {mean(seconds):.2f} s |")
    return max(spent)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=20, help="runs of each way")
    options.add_argument("--delay", type=float, default=0.05, help="seconds that the server takes for an answer")
    given = options.parse_args()
    logging.disable(logging.WARNING)  # a line for each row that the small model answers
    print(f"{MOST} tokens, {N} inputs at once, {PROMPT} + {ANSWER} tokens a call, {given.delay:g} s an answer\n")
    print("| way | runs | spent at the server | by the report | overspent by | a run |\n|---|---|---|---|---|---|")
    most = []
    with (
        tempfile.TemporaryDirectory() as folder,
        fault_server(mode="delay", delay=given.delay, usage=(PROMPT, ANSWER)) as server,
    ):
        for name, way, limit in (
            ("`batch`", batched, None),
            ("`batch`, `max_tokens` set", batched, ANSWER),
            ("`invoke` in 100 threads", in_threads, None),
            ("`abatch`", abatched, None),
            ("`ainvoke`, gathered", gathered, None),
            ("`ainvoke`, gathered, `max_tokens` set", gathered, ANSWER),
            ("`astream`, gathered", streamed, None),
            ("`ainvoke`, gathered, a new event loop each run", gathered_in_a_new_loop, None),
        ):

            def once(way=way, limit=limit):
                budget = Budget(max_tokens=MOST)
                way(chain(server.base_url, budget, limit))
                return budget.report().tokens

            most.append(row(name, server, given.runs, once))
        two = TwoProcesses(server.base_url, Path(folder) / "budget")
        most.append(row("two processes, 50 inputs each", server, given.runs, two.run))
        two.close()
    return 0 if max(most) <= MOST + ANSWER else 1


if __name__ == "__main__":
    sys.exit(main())

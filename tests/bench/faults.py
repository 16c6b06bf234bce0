"""What a large model that is out of order costs, and what a kill loses.

For each way to fail, a local server gets the deferred rows of one batch, once called and once awaited. For each kill, a
run of `dsplus run` is killed with SIGKILL and continued. The command ends with 1 if anything that must hold does not.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from fault_server import MODES, FaultServer, fault_server  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402

from dsplus_chains import Bundle, CircuitBreaker, Prediction, SmallModelScorer, data_shunt, tune_threshold  # noqa: E402

TIMEOUT = 4.0
"""Seconds that the large model has for one row."""

ANSWERED = {"ok", "delay", "wrong model"}
"""The ways of the server in which it answers after all."""

MOST_AT_ONCE = 16
"""As many requests are under way at once, as in the command line."""

MOST_REQUESTS = 100
"""As many requests may a full outage cost."""


def unsure(text: str) -> Prediction:
    return Prediction(label="negative", confidence=0.5)


def ask(server: FaultServer, n: int, *, awaited: bool) -> tuple[list[Any], float]:
    """The records of one batch, and the seconds that it took."""
    model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none")
    chain = data_shunt(
        unsure,
        model,
        labels=["positive", "negative"],
        instruction="Positive or negative?",
        threshold=None,
        timeout=TIMEOUT,
        breaker=CircuitBreaker(),
    )
    texts = [f"text {number}" for number in range(n)]
    start = time.perf_counter()
    if awaited:
        records = asyncio.run(chain.abatch(texts, {"max_concurrency": MOST_AT_ONCE}, return_exceptions=True))
    else:
        records = chain.batch(texts, {"max_concurrency": MOST_AT_ONCE}, return_exceptions=True)
    return records, time.perf_counter() - start


def faults_of(mode: str, records: list[Any], n: int, requests: int) -> list[str]:
    """What does not hold that must."""
    found = []
    if [record["input"] for record in records if isinstance(record, dict)] != [f"text {i}" for i in range(n)]:
        found.append("lost or out of order")
    expected = {"large"} if mode in ANSWERED else {"fallback"}
    if {record["source"] for record in records} != expected:
        found.append(f"not all {expected.pop()}")
    if mode not in ANSWERED and not all(record.get("error") for record in records):
        found.append("a fallback without a reason")
    is_there = {*ANSWERED, "no label", "refusal", "cut-off", "empty", "huge"}  # it answers, but not with a label
    if mode not in is_there and requests > MOST_REQUESTS:
        found.append(f"{requests} requests")
    return found


def kill(times: int, n: int) -> list[str]:
    """Kill `dsplus run` so many times, and continue it. What does not hold that must."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, fault_server(mode="delay", delay=0.05) as server:
        place = Path(folder)
        scorer = SmallModelScorer.fit(["it works", "it broke"] * 5, ["positive", "negative"] * 5)
        tuned = tune_threshold([Prediction(label="positive", confidence=0.5)] * 9, ["negative"] * 9, ["negative"] * 9)
        Bundle(scorer=scorer, tuned=tuned, instruction="Positive or negative?").save(place / "bundle")
        with (place / "in.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "text"), *((number, f"text {number}") for number in range(n))])
        given = ["--data", place / "in.csv", "--text", "text", "--out", place / "out.csv", "--quiet"]
        large = ["--large", "openai:m", "--base-url", server.base_url]
        command = [sys.executable, "-m", "dsplus_chains", "run", place / "bundle", *given, *large]
        environment = {**os.environ, "OPENAI_API_KEY": "none"}
        done = 0
        while done < times:
            asked = server.requests
            with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
                while server.requests == asked and run.poll() is None:
                    time.sleep(0.005)
                time.sleep(chance.uniform(0.0, 0.5))
                if run.poll() is not None:
                    break
                run.send_signal(signal.SIGKILL)
            done += 1
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        with (place / "out.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        again = sum(asked - 1 for asked in server.asked.values())
        print(
            f"{done} kills, {n:,} rows, {server.requests:,} requests; "
            f"{again} were under way at a kill, {again / done:.1f} at each"
        )
        found = [] if [row["id"] for row in rows] == [str(number) for number in range(n)] else ["rows are lost"]
        found += [] if {row["source"] for row in rows} == {"large"} else ["rows without an answer"]
        found += [] if again <= MOST_AT_ONCE * done else ["rows were paid for twice"]
        found += [] if done == times else [f"the run was over after {done} kills, so take more rows"]
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000, help="rows of each batch")
    parser.add_argument("--modes", nargs="*", default=MODES, choices=MODES, help="the ways to fail; all by default")
    parser.add_argument("--kills", type=int, default=20, help="how often a run is killed")
    given = parser.parse_args()
    logging.getLogger("dsplus_chains").setLevel(logging.ERROR)  # its warnings say what the table says
    print(f"{given.rows:,} rows, {TIMEOUT:g} s a row, a breaker")
    print(f"{'server':12} {'way':8} {'seconds':>8} {'requests':>9}  sources")
    failed = False
    for mode in given.modes:
        for awaited in (False, True):
            with fault_server(mode=mode) as server:
                records, seconds = ask(server, given.rows, awaited=awaited)
                found = faults_of(mode, records, given.rows, server.requests)
                sources = ", ".join(f"{n:,} {source}" for source, n in Counter(r["source"] for r in records).items())
                way = "awaited" if awaited else "called"
                print(
                    f"{mode:12} {way:8} {seconds:8.1f} {server.requests:9,}  {sources} {'; '.join(found)}", flush=True
                )
                failed |= bool(found)
    if given.kills:
        found = kill(given.kills, 100 * given.kills)
        print("; ".join(found) or "nothing was lost")
        failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""What `dsplus run` needs: memory for many rows, and time with a server that is slow to answer.

Each part prints its figures beside their bounds. The command ends with 1 if a bound is not held. The small model is one
over a tiny encoder, so that the run itself is measured.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import TINY
from fault_server import fault_server

MEMORY = 1.2
"""Most memory of ten times the rows, as a multiple."""
RATE = 0.9
"""Least share of the answers a second that the server could give."""
LATENCY = 0.5


def bundle(folder: Path, *, threshold: float | None) -> Path:
    """A small bundle. It keeps everything with 0, and nothing with None."""
    from dsplus_chains.storage import Bundle
    from dsplus_chains.tuning import tune_threshold

    texts = [f"{word} {thing}" for word in ("good", "nice", "bad", "poor") for thing in ("phone", "price", "sound")]
    labels = ["positive"] * 6 + ["negative"] * 6
    fitted = Bundle.fit(texts, labels, instruction="Positive or negative?")
    predictions = [record["prediction"] for record in fitted.scorer.batch([f"a {text}" for text in texts])]
    tuned = replace(tune_threshold(predictions, labels, labels), threshold=threshold)
    fitted.with_tuned(tuned).save(folder)
    return folder


def write_rows(path: Path, n: int) -> Path:
    """A table of short texts, none of them twice."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((number, f"the good phone of customer {number} came with a bad price") for number in range(n))
    return path


def run(given: list[str]) -> None:
    """One run in this process, which then tells its memory and time."""
    exec(TINY, {})
    from dsplus_chains.corpus import label_table

    kind, folder, data, out, *more = given
    if kind == "bundle":
        bundle(Path(folder), threshold=float(data) if data != "None" else None)
        return
    settings: dict = {"text": "text", "out": out}
    if kind == "kept":
        settings |= {"large_column": "id"}
    else:
        from langchain_openai import ChatOpenAI

        url, concurrency = more
        model = ChatOpenAI(model="m", base_url=url, api_key="none", max_retries=0)
        settings |= {"large_model": model, "concurrency": int(concurrency)}
    started = time.perf_counter()
    label_table(folder, data, **settings)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - started)


def in_a_process(*given: object) -> list[float]:
    command = [sys.executable, __file__, "--one", *map(str, given)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(number) for number in done.stdout.split()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="The rows of the smaller table.")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--deferred", type=int, default=1_600, help="Rows that the server is asked about.")
    parser.add_argument("--one", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run(options.one)
        return 0
    held = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        in_a_process("bundle", folder / "keeping", 0.0, "-")
        in_a_process("bundle", folder / "asking", None, "-")
        memory = []
        for n in (options.rows, 10 * options.rows):
            write_rows(folder / "in.csv", n)
            used, took = in_a_process("kept", folder / "keeping", folder / "in.csv", folder / f"{n}.csv")
            memory.append(used)
            print(f"{n:>9,} rows kept: {used:,.0f} MB at most, {took:,.1f} s, {n / took:,.0f} rows a second")
        held.append(memory[1] <= MEMORY * memory[0])
        print(f"ten times the rows take {memory[1] / memory[0]:.2f} of the memory; at most {MEMORY}")
        times = []
        for n in (options.deferred // 4, options.deferred):  # their difference leaves out the loading of the bundle
            write_rows(folder / "in.csv", n)
            with fault_server(mode="delay", delay=LATENCY) as server:
                more = (server.base_url, options.concurrency)
                _, took = in_a_process("asked", folder / "asking", folder / "in.csv", folder / f"asked{n}.csv", *more)
            times.append(took)
            print(f"{n:,} rows asked, {options.concurrency} at once, {LATENCY} s each: {took:,.1f} s")
        asked = options.deferred - options.deferred // 4
        share = asked / (times[1] - times[0]) / (options.concurrency / LATENCY)
        held.append(share >= RATE)
        print(f"that is {share:.2f} of what the server could answer; at least {RATE}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

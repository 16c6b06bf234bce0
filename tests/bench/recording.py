"""What it costs a chain to record its decisions, what a kill loses, and that two processes can write at once.

The command ends with 1 if anything that must hold does not.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from dsplus_chains import ExperienceStore, LargeAnswer, Prediction, data_shunt

THREADS, RATE = 8, 500
MEDIAN, P99 = 10.0, 100.0
"""Most microseconds on the caller's side."""
MOST_LOST = 1.0
"""Most seconds of decisions that a kill may lose."""


def record_of(number: int) -> dict:
    """A record with all that a chain writes."""
    probabilities = {f"label {label}": 1 / 20 for label in range(20)}
    small = Prediction(label="label 3", confidence=0.05, probabilities=probabilities)
    usage = {"input_tokens": 200, "output_tokens": 3, "total_tokens": 203}
    return {
        "input": f"customer {number} writes that the phone broke at once, and asks for the money back. " * 3,
        "prediction": small,
        "large": LargeAnswer(value="label 4", confidence=0.9, usage=usage),
        "fused": small,
        "answer": "label 4",
        "source": "fused",
    }


def caller_times(store: ExperienceStore, seconds: float) -> list[float]:
    """Microseconds of each call of `record`, from 8 threads that make 500 calls a second together."""
    took: list[list[float]] = [[] for _ in range(THREADS)]

    def decide(thread: int) -> None:
        start = time.perf_counter()
        for number in range(int(seconds * RATE / THREADS)):
            record = record_of(number)
            time.sleep(max(0.0, start + number * THREADS / RATE - time.perf_counter()))
            before = time.perf_counter()
            store.record(record)
            took[thread].append((time.perf_counter() - before) * 1e6)

    threads = [threading.Thread(target=decide, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(time for times in took for time in times)


def chain_times(store: ExperienceStore, n: int) -> tuple[float, float]:
    """Median microseconds of a call that the small model answers, without a store and with one, taken in turn."""
    settings = {"labels": ["a", "b"], "instruction": "Which one?", "threshold": 0.9}
    chains = [data_shunt(sure, str, **settings, experience=experience) for experience in (None, store)]
    took: list[list[float]] = [[], []]
    for _ in range(n):
        for chain, times in zip(chains, took, strict=True):
            before = time.perf_counter()
            chain.invoke("some text")
            times.append((time.perf_counter() - before) * 1e6)
    return median(took[0]), median(took[1])


def sure(text: str) -> Prediction:
    return Prediction(label="a", confidence=0.95, probabilities={"a": 0.95, "b": 0.05})


def write_until_killed(path: str) -> None:
    """Record 500 decisions a second, and say after each how many there are."""
    store = ExperienceStore(path)
    start, number = time.perf_counter(), 0
    while True:
        store.record(record_of(number))
        number += 1
        os.write(1, b"%d\n" % number)
        time.sleep(max(0.0, start + number / RATE - time.perf_counter()))


def lost_by_kill(path: Path, seconds: float) -> tuple[int, int]:
    """How many decisions a process had recorded when it was killed, and how many of them are not in the file."""
    command = [sys.executable, __file__, "--child", str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    said = child.stdout.read().split()
    child.wait()
    with ExperienceStore(path) as store:
        kept = len(store)
    return int(said[-1]), int(said[-1]) - kept


def at_once(path: Path, n: int) -> tuple[int, int]:
    """How many rows two processes that write at once leave, and how many they count as lost."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[3]); from recording import record_of\n"
        "from dsplus_chains import ExperienceStore\n"
        "import time\n"
        "with ExperienceStore(sys.argv[1]) as store:\n"
        "    for number in range(int(sys.argv[2])):\n"
        "        store.record(record_of(number)); time.sleep(0.0005)\n"
        "print(store.lost)"
    )
    command = [sys.executable, "-c", code, str(path), str(n), str(Path(__file__).parent)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lost = sum(int(child.communicate()[0]) for child in children)
    with ExperienceStore(path) as store:
        return len(store), lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the threads record")
    parser.add_argument("--kills", type=int, default=10, help="how often a process is killed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        write_until_killed(options.child)
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        with ExperienceStore(Path(folder) / "times.sqlite") as store:
            times = caller_times(store, options.seconds)
            kept, lost = len(store), store.lost
            alone, recorded = chain_times(store, 1_000)
        middle, p99 = median(times), times[int(len(times) * 0.99)]
        print(f"{len(times):,} decisions of {THREADS} threads, {RATE} a second together: {kept:,} kept, {lost} lost")
        print(f"caller's side: median {middle:.1f} us, p99 {p99:.1f} us, longest {times[-1]:.0f} us")
        print(f"a call of a chain: median {alone:.0f} us without a store, {recorded:.0f} us with one")
        if middle > MEDIAN or p99 > P99 or kept < len(times):
            failed.append("recording is slow, or loses something")
        gone = []
        for number in range(options.kills):
            recorded, missing = lost_by_kill(Path(folder) / f"kill{number}.sqlite", 1.0 + 0.13 * number)
            gone.append(missing / RATE)
            print(f"killed after {recorded} decisions: {missing} lost, those of the last {gone[-1]:.2f} s")
        if max(gone, default=0.0) > MOST_LOST:
            failed.append("a kill loses more than a second")
        rows, lost = at_once(Path(folder) / "two.sqlite", 2_000)
        print(f"two processes that write 2,000 decisions each at once: {rows:,} rows, {lost} lost")
        if rows != 4_000:
            failed.append("two processes lose rows")
    for failure in failed:
        print(f"FAILED: {failure}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

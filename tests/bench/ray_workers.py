"""What `dsplus run --engine ray` is worth: two workers beside one, memory of a worker, and what a kill loses.

Each worker has one thread of torch, also where it is alone. The small model is the default one, on short texts. The
rate is that of the last four fifths of the rows, so the loading of the model does not count. For the kills, nothing is
kept, and a local server counts who asks for what. The command ends with 1 if anything that must hold does not. It needs
the extra `ray`, Linux, and two processors with nothing else to do.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from corpus import bundle, write_rows  # noqa: E402
from fault_server import FaultServer, fault_server  # noqa: E402
from ray_processes import workers_of  # noqa: E402

SPEED_UP = 1.7
"""Least rate of two workers, as a multiple of that of one."""
MEMORY = 1.2
"""Most memory of a worker with four times the rows, as a multiple."""
CLOSE = 1e-5
"""Most distance of two confidences, since sums depend on the number of threads."""
CONCURRENCY = 16
DELAY = 0.5
"""Seconds of an answer. So the run lasts longer than another worker takes to load the model."""
PATIENCE = 300.0


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def one(folder: str, data: str, out: str, workers: str) -> None:
    """A run in this process, which then tells its rate."""
    from dsplus_chains.corpus import label_table

    seen: list[tuple[float, int]] = []

    def progress(title: str, done: int, total: int, note: str = "") -> None:
        if done >= total / 5:
            seen.append((time.perf_counter(), done))

    label_table(folder, data, text="text", out=out, large_column="id", workers=int(workers), progress=progress)
    (start, before), (end, after) = seen[0], seen[-1]
    print((after - before) / (end - start))


@contextmanager
def watching_memory(process: int) -> Iterator[dict[int, float]]:
    """The most memory that each worker below a process has had, in MB, by its number."""
    most: dict[int, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            for worker in workers_of(process):
                with suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
                    most[worker] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield most
    over.set()
    thread.join()


def measured(folder: Path, data: Path, workers: int) -> tuple[float, float]:
    """Rows a second, and the most memory of a worker."""
    out = data.with_name(f"{time.monotonic_ns()}.csv")
    command = [sys.executable, __file__, "--one", str(folder), str(data), str(out), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run, watching_memory(run.pid) as most:
        said, _ = run.communicate()
    if run.returncode:
        raise SystemExit(f"a run ended with {run.returncode}")
    return float(said), max(most.values())


def command(folder: Path, data: Path, out: Path, server: FaultServer, *more: str) -> list[str]:
    given = ["--data", data, "--text", "text", "--out", out, "--quiet", "--concurrency", CONCURRENCY]
    large = ["--large", "openai:m", "--base-url", server.base_url]
    return [sys.executable, "-m", "dsplus_chains", "run", *map(str, [folder, *given, *large]), *more]


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing came in {PATIENCE:g} s")
        time.sleep(0.01)


def kills(folder: Path, place: Path, n: int) -> list[str]:
    """Kill a worker, then the command itself, and go on. What does not hold that must."""
    data, environment = write_rows(place / "killed.csv", n), {**os.environ, "OPENAI_API_KEY": "none"}
    with fault_server(mode="delay", delay=DELAY) as server:
        given = command(folder, data, place / "ray.csv", server, "--engine", "ray", "--workers", "2")
        with subprocess.Popen(given, env=environment, stdout=subprocess.DEVNULL) as run:
            wait(lambda: server.requests > n // 10 or run.poll() is not None)
            victim = workers_of(run.pid)[0]
            os.kill(victim, signal.SIGKILL)
            wait(lambda: len(set(workers_of(run.pid)) - {victim}) == 2 or run.poll() is not None)
            after = server.requests
            wait(lambda: server.requests > min(after + n // 10, n - 10) or run.poll() is not None)
            twice = sum(asked - 1 for asked in server.asked.values())
            left = workers_of(run.pid)
            over = run.poll() is not None
            run.send_signal(signal.SIGKILL)
        wait(lambda: not any(Path(f"/proc/{worker}").exists() for worker in left))
        before = server.requests
        subprocess.run(given, env=environment, check=True, stdout=subprocess.DEVNULL)
        again = sum(asked - 1 for asked in server.asked.values())
        print(f"{n:,} rows, a worker killed, and the command after {before:,} requests; {server.requests:,} in all")
        print(f"asked for twice: {twice} after the worker was killed, {again} at the end; at most 0 and {CONCURRENCY}")
        found = ["a killed worker made rows be paid for twice"] if twice else []
        found += ["rows were paid for twice"] if again > CONCURRENCY else []
        found += ["the run was over before the kill, so take more rows"] if over else []
    with fault_server() as server:
        subprocess.run(command(folder, data, place / "local.csv", server), env=environment, check=True)
    return found + differences(read(place / "ray.csv"), read(place / "local.csv"))


def differences(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> list[str]:
    """Whether two outputs differ in their rows, or by more than rounding in a confidence."""
    apart = max(abs(float(a["confidence"]) - float(b["confidence"])) for a, b in zip(ours, theirs, strict=True))
    exact = [[{**row, "confidence": ""} for row in rows] for rows in (ours, theirs)]
    print(f"beside the local run: {'equal' if exact[0] == exact[1] else 'other'} rows, confidences {apart:.1g} apart")
    found = [] if exact[0] == exact[1] and list(ours[0]) == list(theirs[0]) else ["the output is another one"]
    return found + (["the confidences are others"] if apart > CLOSE else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a run of one worker or two")
    parser.add_argument("--rounds", type=int, default=3, help="how often both take their turn")
    parser.add_argument("--asked", type=int, default=2_000, help="rows of the run that is killed")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(*given.one)
        return 0
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if given.rounds:
            keeping, data = bundle(place / "keeping", threshold=0.0), write_rows(place / "in.csv", given.rows)
            rates: dict[int, list[float]] = {1: [], 2: []}
            memory = []
            for number in range(given.rounds):
                for workers in (1, 2):
                    rate, used = measured(keeping, data, workers)
                    rates[workers].append(rate)
                    memory.append(used)
                    print(f"round {number + 1}, {workers} workers: {rate:,.0f} rows a second, {used:,.0f} MB a worker")
            gain = statistics.median(two / alone for alone, two in zip(rates[1], rates[2], strict=True))
            print(f"two workers are {gain:.2f} times as fast as one; at least {SPEED_UP}")
            found += [] if gain >= SPEED_UP else ["two workers gain too little"]
            _, used = measured(keeping, write_rows(place / "long.csv", 4 * given.rows), 2)
            ratio = used / statistics.median(memory)
            print(f"with {4 * given.rows:,} rows a worker has {used:,.0f} MB, {ratio:.2f} of before; at most {MEMORY}")
            found += [] if ratio <= MEMORY else ["a worker's memory grows with the rows"]
        if given.asked:
            found += kills(bundle(place / "asking", threshold=None), place, given.asked)
    print("; ".join(found) or "all bounds are held")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

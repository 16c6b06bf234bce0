"""Measures a cascade whose answers are checked, on recorded solutions of MBPP, and the sandbox that checks them.

    python tests/bench/verified.py MBPP.jsonl

Each line has a `prompt`, its `given_tests`, the `test` that judges, and `solutions` by model. StarCoder and CodeLlama
write one solution each. The given test is the gate. GPT-3.5 gets what neither of them passes. The judge is CPython in
plain processes, so give it solutions that you trust. It exits with an error if a bound is not held.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, VerifiedScorer, evaluate
from dsplus_chains.verifying import CodeTests

SMALL, LARGE = ("starcoder", "codellama"), "gpt-3.5-turbo-0613"
LEAST_RIGHT, MOST_CALLS, LEAST_EQUAL, MOST_TIME = 0.70, 0.30, 0.98, 0.5
SLICE = 150
WAYS: dict[str, Any] = {"all tests": all, "without the given test": lambda one: one[1]}
"""From whether an answer passes the given tests and the judge's others to whether it is right."""
ORDER = "the order of a set, which is another one"
GATE = CodeTests(tests="given_tests", prelude="prompt", entry_point="entry_point")

REPORT = """
import json as _json
_held = []
for _test in {tests!r}:
    try:
        exec(_test, globals())
        _held.append(True)
    except BaseException:
        _held.append(False)
_out(_json.dumps(_held))
"""


def plain(solution: str, tests: list[str]) -> list[bool]:
    """Whether a solution passes each test, in a plain process of CPython."""
    code = f"import sys\n_out = sys.stdout.write\n{solution}\n{REPORT.format(tests=tests)}"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
        held = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return [False] * len(tests)
    return held if len(held) == len(tests) else [False] * len(tests)


def judging(task: dict[str, Any]) -> list[str]:
    """The tests of the judge that are not given."""
    (check,) = (one for one in ast.parse(task["test"]).body if isinstance(one, ast.FunctionDef))
    given = {ast.dump(ast.parse(test)) for test in task["given_tests"]}
    tests = [ast.unparse(one) for one in check.body]
    return [test for test in tests if ast.dump(ast.parse(test)) not in given]


def main(path: str) -> None:
    """Print the tables."""
    tasks = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    runs = [
        {**task, "model": model, "candidate": task["solutions"][model]} for task in tasks for model in (*SMALL, LARGE)
    ]
    held: dict[tuple[str, str], list[bool]] = {}
    gate: list[Any] = []
    seconds = {"plain process": 0.0, "default sandbox": 0.0}
    with ThreadPoolExecutor(cpu_count() or 1) as threads:
        for start in range(0, len(runs), SLICE):
            some = runs[start : start + SLICE]
            started = time.perf_counter()
            found = list(threads.map(lambda run: plain(run["candidate"], run["given_tests"]), some))
            seconds["plain process"] += time.perf_counter() - started
            started = time.perf_counter()
            gate += GATE.batch(some)
            seconds["default sandbox"] += time.perf_counter() - started
            hidden = threads.map(lambda run: plain(run["candidate"], judging(run)), some)
            for run, given, others in zip(some, found, hidden, strict=True):
                held[run["task_id"], run["candidate"]] = [all(given), all(others)]

    console = Console(width=100)
    chain: Any = lambda record: record["solutions"][LARGE]  # noqa: E731
    for model in reversed(SMALL):
        scorer = VerifiedScorer(
            generators={model: lambda record, model=model: record["solutions"][model]},
            verifier=GATE,
            input_key="prompt",
        )
        chain = scorer | ConfidenceBranch(large=chain, threshold=0.5, tier=model, wants="record")
    records = chain.batch(tasks)
    answers = [task["solutions"][LARGE] for task in tasks]
    table = Table("judged by", "GPT-3.5 alone", "cascade", "its gain (95 %)", "GPT-3.5's calls", *SMALL)
    results = {}
    for name, is_right in WAYS.items():
        results[name] = evaluate(
            records,
            [task["task_id"] for task in tasks],
            large_answers=answers,
            judge=lambda answer, task_id, is_right=is_right: is_right(held[task_id, answer]),
        )
        result = results[name]
        kept = [result.sources.get(model, 0) for model in SMALL]
        calls, gain = len(tasks) - sum(kept), result.gain_over_large
        low, high = (f"{100 * bound:+.1f}" for bound in (gain.low, gain.high))
        shares = [f"{n / len(tasks):.1%}" for n in (calls, *kept)]
        table.add_row(name, f"{result.large_accuracy:.3f}", f"{result.accuracy:.3f}", f"{low} to {high}", *shares)
    console.print(table)

    kinds: Counter[tuple[str, str, str]] = Counter()
    for run, verdict in zip(runs, gate, strict=True):
        (check,) = verdict.checks
        expected = "passed" if held[run["task_id"], run["candidate"]][0] else "failed"
        if check.status != expected:
            is_order = "set(" in run["candidate"] and check.status != "unsupported"
            why = ORDER if is_order else check.detail.split(" at ")[0][:60]
            kinds[expected, check.status, why] += 1
    table = Table("CPython", "sandbox", "why", "runs")
    for (expected, status, why), n in kinds.most_common():
        table.add_row(expected, status, why, str(n))
    console.print(table)
    passes = sum(n for (expected, _, _), n in kinds.items() if expected == "passed")
    equal, ratio = 1 - kinds.total() / len(runs), seconds["default sandbox"] / seconds["plain process"]
    false_passes = sum(n for (_, status, why), n in kinds.items() if status == "passed" and why != ORDER)
    console.print(f"verdicts equal to CPython's: {equal:.2%} of {len(runs)}")
    console.print(f"{passes} passes missed, {false_passes} false but for the order of sets")
    for name, spent in seconds.items():
        console.print(f"{name}: {1000 * spent / len(runs):.1f} ms a run")
    console.print(f"ratio: {ratio:.2f}")
    best = results["all tests"]
    if (
        best.accuracy < LEAST_RIGHT
        or calls > MOST_CALLS * len(tasks)
        or equal < LEAST_EQUAL
        or ratio > MOST_TIME
        or false_passes
    ):
        sys.exit("a bound is not held")


if __name__ == "__main__":
    main(sys.argv[1])

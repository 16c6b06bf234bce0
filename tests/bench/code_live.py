"""Measures a code cascade with live models: a small model writes, a given test checks, a large model gets the rest.

    python tests/bench/code_live.py MBPP.jsonl --small-url http://127.0.0.1:8081/v1 --small-model SMALL \
        --base-url http://127.0.0.1:8080/v1 --model LARGE --answers answers.sqlite

Each line has a `prompt`, its `given_tests` and the `test` that judges. Tasks are drawn by the seed. The small model is
asked twice about each, in other words. An answer that passes the given test in the sandbox is kept. The large model is
asked about all tasks, so that it can be counted alone. It gets what the small model is asked first. With
`--show-attempt` it also sees the small model's failed answer with the sandbox's report. All models are greedy. Every
answer is kept in a file, so a run can be resumed.

The judge is CPython in plain processes, which run what the models wrote. So run it where that does no harm. It exits
with an error if a bound is not held.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any, cast

import numpy as np
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from live import AT_ONCE, Records, arguments, chat_model, in_slices, spent, versus
from rich.console import Console
from rich.table import Table
from verified import GATE, WAYS, judging, plain

from dsplus_chains import ConfidenceBranch, VerifiedScorer
from dsplus_chains.verifying.fenced_code import code_in

MOST_CALLS = 0.65
MAX_TOKENS = 300
TASK = (
    "You write Python. Here is a task: {task}\n\nYour code should pass this test:\n{tests}\n\n"
    "Answer with the code alone, in one block."
)
ATTEMPT = "\n\nThis is an attempt that is not right, with what is wrong:\n{attempt}"
ASKED = ChatPromptTemplate([("human", TASK)])
REPAIRED = ChatPromptTemplate([("human", TASK + ATTEMPT)])
STUB = "Complete this function.\n\n```python\n{prompt}```\n\nIt is tested so:\n\n```python\n{tests}\n```"
PROMPTS = {"the task": ASKED, "its function": ChatPromptTemplate([("human", STUB)])}
"""What the small model is asked."""


def drawn(path: str, rows: int, seed: int) -> Records:
    """Some of the tasks, with the fields that the prompts have."""
    tasks = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    chosen = [tasks[row] for row in np.random.default_rng(seed).permutation(len(tasks))[:rows]]
    return [{**task, "task": described(task["prompt"]), "tests": "\n".join(task["given_tests"])} for task in chosen]


def described(prompt: str) -> str:
    """The task in words: the docstring of the prompt's last function."""
    functions = [one for one in ast.parse(prompt).body if isinstance(one, ast.FunctionDef)]
    return cast("str", ast.get_docstring(functions[-1]))


def held(tasks: Records, answers: list[str]) -> list[list[bool]]:
    """Whether each answer passes the given tests, and the judge's others."""
    with ThreadPoolExecutor(cpu_count() or 1) as threads:
        given = threads.map(lambda task, answer: plain(answer, task["given_tests"]), tasks, answers)
        others = threads.map(lambda task, answer: plain(answer, judging(task)), tasks, answers)
        return [[all(one), all(other)] for one, other in zip(given, others, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, "mbpp", encoder=False)
    parser.add_argument("--small-url", required=True, help="an OpenAI-compatible server of the small model")
    parser.add_argument("--small-model", required=True)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="how many requests a server gets at a time")
    parser.add_argument("--show-attempt", action="store_true", help="show the large model what failed, and why")
    options = parser.parse_args()
    served = {"base_url": options.small_url, "model": options.small_model}
    small = chat_model(argparse.Namespace(**{**vars(options), **served}), max_tokens=MAX_TOKENS)
    large = chat_model(options, max_tokens=MAX_TOKENS)
    tasks = drawn(options.mbpp, options.rows, options.seed)

    scorer = VerifiedScorer(
        generators={name: prompt | small | StrOutputParser() | code_in for name, prompt in PROMPTS.items()},
        verifier=GATE,
        input_key="prompt",
    )
    arm = (REPAIRED if options.show_attempt else ASKED) | large | StrOutputParser() | code_in
    cascade = ConfidenceBranch(large=arm, threshold=1 / len(PROMPTS), on_large_error="raise")  # one passes
    alone = ConfidenceBranch(large=ASKED | large | StrOutputParser() | code_in, threshold=None, on_large_error="raise")
    firsts = in_slices(scorer.generators["the task"], tasks, "small, first prompt", options.at_once)
    scored = in_slices(scorer, tasks, "small, both prompts", options.at_once)
    answered = in_slices(cascade, scored, "cascade", options.at_once)
    everything = in_slices(alone, scored, "large alone", options.at_once)

    tokens = sum(record["prediction"].usage["total_tokens"] for record in scored)
    asked = sum(record["source"] == "large" for record in answered)
    ways: dict[str, tuple[list[Any], str, str, str]] = {
        "small alone, first prompt": (firsts, "", "", ""),
        "small alone, checked": ([record["prediction"].value for record in scored], "", "", f"{tokens:,}"),
        "large alone": ([record["answer"] for record in everything], "100.0%", f"{spent(everything):,}", ""),
        "cascade": (
            [record["answer"] for record in answered],
            f"{asked / len(tasks):.1%}",
            f"{spent(answered):,}",
            f"{tokens:,}",
        ),
    }
    found = {name: held(tasks, [str(answer) for answer in answers]) for name, (answers, *_) in ways.items()}
    right: dict[str, dict[str, list[bool]]] = {}
    title = f"{len(tasks)} tasks, {options.small_model} -> {options.model}, seed {options.seed}"
    table = Table("judged by", "", "right", "against large alone (95 %)", "large calls", "its tokens", "small's tokens")
    for way, is_right in WAYS.items():
        right[way] = {name: [is_right(one) for one in known] for name, known in found.items()}
        for name, told in right[way].items():
            difference = "" if name == "large alone" else versus(told, right[way]["large alone"])
            table.add_row(way, name, f"{np.mean(told):.1%}", difference, *ways[name][1:])
    console = Console(width=160)
    console.print(title, table)
    best = right["all tests"]
    if sum(best["cascade"]) < sum(best["large alone"]) or asked > MOST_CALLS * len(tasks):
        sys.exit("a bound is not held")


if __name__ == "__main__":
    main()

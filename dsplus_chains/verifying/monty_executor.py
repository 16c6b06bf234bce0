"""`MontyExecutor` runs code in an interpreter that can reach nothing of the host."""

from __future__ import annotations

import ast
import builtins
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from pydantic import Field

from dsplus_chains.schema import shorten
from dsplus_chains.schema.value import Value
from dsplus_chains.verifying.executor import ExecutorError, Job, Outcome, all_steps
from dsplus_chains.verifying.lazy_values import lazily
from dsplus_chains.verifying.method_values import called_methods
from dsplus_chains.verifying.plain_check import PlainCheck
from dsplus_chains.verifying.sandbox_child import NotPlainError, encoded
from dsplus_chains.verifying.syntax_tree import expression_tree, syntax_tree

_PATIENCE = (1, 4, 16)
"""How often its time a job may take by the clock on the wall, where the machine is busy with others."""
_GRACE = 5.0
"""Seconds after its limit at which an interpreter that has not stopped by itself is ended."""
_ENOUGH = 0.9
"""The share of its time from which on a job that was stopped has had it."""


class MontyExecutor(Value):
    """Runs code in Monty, a Python interpreter written in Rust. It needs the extra `code`.

    The interpreter has no file, no network, no process and no environment. It knows a part of Python and of the
    standard library. Code outside of that part is "unsupported", and a scorer then defers. It runs in processes that
    are begun anew for each batch, so that a crash costs one job. Its sets keep the order in which values came, which
    those of CPython do not. Code that makes a list of a set may so be judged otherwise, either way.

    Args:
        seconds: Time of the processor that one job may take.
        memory: Bytes that one job may hold.
        output: Bytes that one piece may print, and that one value may take.
        workers: Number of jobs that run at once. None takes one for each processor.

    Raises:
        ExecutorError: The package is missing, or its interpreter does not start.

    Example:
        >>> from dsplus_chains.verifying.executor import Job
        >>> job = Job(setup=("def double(x): return 2 * x",), steps=("double(4)", "open('/etc/passwd').read()"))
        >>> [(one.status, one.value) for one in MontyExecutor().run([job])[0]]
        [('value', 8), ('raised', None)]
    """

    seconds: float = Field(default=1.0, gt=0)
    memory: int = Field(default=256 * 2**20, gt=0)
    output: int = Field(default=2**20, gt=0)
    workers: int | None = Field(default=None, ge=1)

    def run(self, jobs: Sequence[Job]) -> list[tuple[Outcome, ...]]:
        """Run jobs; see `Executor`."""
        if not jobs:
            return []
        try:
            import pydantic_monty
        except ImportError as error:
            msg = "MontyExecutor needs pydantic-monty; install dsplus-chains[code], or give another executor"
            raise ExecutorError(msg) from error
        workers = min(len(jobs), self.workers or os.cpu_count() or 1)
        try:
            pool = pydantic_monty.Monty(
                min_processes=workers,
                max_processes=workers,
                feed_duration_limit_grace=_GRACE,
                turn_duration_limit_grace=_GRACE,
            ).__enter__()
        except (OSError, RuntimeError, pydantic_monty.MontyError) as error:
            msg = f"Monty's interpreter does not start ({error}); reinstall pydantic-monty, or give another executor"
            raise ExecutorError(msg) from error
        try:
            with ThreadPoolExecutor(workers) as threads:
                return list(threads.map(lambda job: self._strictly(pool, job), jobs))
        finally:
            pool.__exit__(None, None, None)

    def _strictly(self, pool: Any, job: Job) -> tuple[Outcome, ...]:
        """Run a job whose lazy values stay lazy. What then fails, but not as it is written, is left open."""
        other = replace(job, setup=tuple(map(lazily, job.setup)))
        outcomes = self._leniently(pool, other)
        if other == job or all(outcome.status != "raised" for outcome in outcomes):
            return outcomes
        pairs = zip(outcomes, self._leniently(pool, job), strict=True)
        return tuple(
            replace(one, status="unsupported") if (one.status, written.status) == ("raised", "value") else one
            for one, written in pairs
        )

    def _leniently(self, pool: Any, job: Job) -> tuple[Outcome, ...]:
        """Run a job, and again in other words if the interpreter lacked a method as a value."""
        outcomes = self._patiently(pool, job)
        if all(outcome.status != "unsupported" for outcome in outcomes):
            return outcomes
        other = called_methods(job, outcomes)
        again = outcomes if other is None else self._patiently(pool, other)
        return again if all(outcome.status == "value" for outcome in again) else outcomes

    def _patiently(self, pool: Any, job: Job) -> tuple[Outcome, ...]:
        """Run a job, and again with more patience if the machine gave it too little time."""
        outcomes: tuple[Outcome, ...] = ()
        for patience in _PATIENCE:
            outcomes, is_starved = self._run(pool, job, patience)
            if not is_starved:
                break
        return outcomes

    def _run(self, pool: Any, job: Job, patience: int) -> tuple[tuple[Outcome, ...], bool]:
        """The outcomes of a job, and whether it was stopped before it had its time."""
        import pydantic_monty as monty

        done: list[Outcome] = []
        limits = {"max_feed_duration_secs": self.seconds * patience, "max_memory": self.memory}
        with pool.checkout(limits=limits, os_policy={"sleep": "zero", "random_start": {"seed": 0}}) as session:
            clock = _Clock(session.worker_pid)
            given: dict[str, Any] = dict(job.values)
            check = PlainCheck(self.output)
            setup = [check.definition, *job.setup]
            for number, piece in enumerate([*setup, *job.steps], start=-len(setup)):
                try:
                    outcome = self._fed(session, piece, given, check)
                except monty.MontyConversionError as error:
                    outcome = Outcome(status="unsupported", detail=str(error))
                except UnicodeEncodeError as error:  # half of a character
                    outcome = Outcome(status="raised", detail=f"SyntaxError: {error}")
                except monty.MontyCrashedError as error:
                    ended = Outcome(
                        status="limit" if error.timed_out else "unsupported", detail=f"the interpreter ended: {error}"
                    )
                    return all_steps(job, ended, done), False
                except (TypeError, ValueError, RecursionError) as error:  # the value has no form outside
                    outcome = Outcome(status="unsupported", detail=f"its value cannot be passed on: {error}")
                except monty.MontyError as error:
                    outcome = _failure(piece, str(error), is_syntax=isinstance(error, monty.MontySyntaxError))
                given = {}
                used = clock.used()
                is_late = outcome.status == "limit" and "TimeoutError" in outcome.detail
                if is_late and used is not None and used < _ENOUGH * self.seconds:
                    return all_steps(job, outcome, done), True
                if used is not None and used > self.seconds:
                    outcome = Outcome(status="limit", detail=f"TimeoutError: more than {self.seconds} seconds")
                if outcome.status == "limit" or (number < 0 and outcome.status != "value"):
                    return all_steps(job, outcome, done), False
                if number >= 0:
                    done.append(outcome)
        return tuple(done), False

    def _fed(self, session: Any, piece: str, given: dict[str, Any], check: PlainCheck) -> Outcome:
        """The outcome of a piece that the interpreter can run."""
        import pydantic_monty as monty

        wrong = _not_python(piece)
        if wrong is not None:
            return Outcome(status="raised", detail=wrong)
        settings = {"inputs": given or None, "print_callback": monty.CollectString(self.output)}
        if _is_expression(piece):
            return self._value(*session.feed_run(check.around(piece), **settings))
        session.feed_run(piece, **settings)
        return Outcome(status="value")

    def _value(self, why: str | None, value: Any) -> Outcome:
        """The outcome of an expression, from what is wrong with its value, and the value."""
        if why:
            return Outcome(status="unsupported", detail=why)
        try:
            size = len(json.dumps(encoded(value)))
        except (NotPlainError, RecursionError) as error:
            return Outcome(status="unsupported", detail=f"its value is of type {error}")
        except ValueError:  # Python writes no number of more than some thousand digits
            return Outcome(status="limit", detail="its value is too long a number")
        if why is not None or size > self.output:
            return Outcome(status="limit", detail=f"its value takes more than {self.output} bytes")
        return Outcome(status="value", value=value)


class _Clock:
    """The processor time of another process, where the system tells it. None where it does not."""

    def __init__(self, pid: int | None) -> None:
        self._id = None if pid is None or sys.platform != "linux" else (~pid << 3) | 2
        self._start = self._now()

    def _now(self) -> float | None:
        try:
            return None if self._id is None else time.clock_gettime(self._id)
        except OSError:
            return None

    def used(self) -> float | None:
        now = self._now()
        return None if now is None or self._start is None else now - self._start


def _is_expression(piece: str) -> bool:
    try:
        expression_tree(piece.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _not_python(piece: str) -> str | None:
    """Why CPython does not take a piece that the interpreter might. None if it does."""
    if "\0" in piece:
        return "SyntaxError: source code cannot contain null bytes"
    try:
        left: list[ast.AST] = list(syntax_tree(piece).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the interpreter says it better
    while left:
        node = left.pop()
        if isinstance(node, ast.Return):
            return "SyntaxError: 'return' outside function"
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            left += ast.iter_child_nodes(node)
    return None


def _failure(piece: str, said: str, *, is_syntax: bool) -> Outcome:
    """What an error of Monty means. Code that CPython may run is "unsupported"."""
    detail = shorten(said, 300)
    if is_syntax and _is_python(piece):
        return Outcome(status="unsupported", detail=detail)
    if re.match(r"(TimeoutError: .*time limit exceeded|MemoryError)", said):
        return Outcome(status="limit", detail=detail)
    is_lacking = re.match(r"(NotImplementedError: The monty|.*[Ii]nternal error in monty|ModuleNotFoundError:)", said)
    lacks = re.match(r"AttributeError: (?:type object )?'(\w+)' (?:object )?has no attribute '(\w+)'", said)
    module = re.match(r"(?:AttributeError: module '|ImportError: cannot import name .* from ')([\w.]+)'", said)
    name = re.match(r"NameError: name '(\w+)' is not defined", said)
    if (
        is_lacking
        or (lacks and hasattr(getattr(builtins, lacks[1], None), lacks[2]))
        or (module and module[1].split(".")[0] in sys.stdlib_module_names)
        or (name and hasattr(builtins, name[1]))
    ):
        return Outcome(status="unsupported", detail=detail)
    return Outcome(status="raised", detail=detail)


def _is_python(piece: str) -> bool:
    try:
        syntax_tree(piece)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

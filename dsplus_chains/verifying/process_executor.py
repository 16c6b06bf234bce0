"""`ProcessExecutor` is the part of executors that run CPython in a process of its own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, ClassVar, cast

from pydantic import Field

from dsplus_chains.schema.value import Value
from dsplus_chains.verifying.executor import ExecutorError, Job, Outcome, all_steps
from dsplus_chains.verifying.sandbox_child import NotPlainError, decoded, encoded

_PATIENCE = 10
"""How often its time a process may take by the clock on the wall. One that sleeps uses no processor."""
_LAST_WORDS = 0.5
"""Seconds for a process to end once it has closed its output."""


class ProcessExecutor(Value):
    """Runs each job in a new process of CPython.

    Args:
        seconds: Time of the processor that one job may take. It is rounded up to whole seconds.
        memory: Bytes that one job may hold.
        output: Bytes that one job may tell. It is stopped while it tells more. What it prints is thrown away.
        workers: Number of jobs that run at once. None takes one for each processor.
    """

    seconds: float = Field(default=1.0, gt=0)
    memory: int = Field(default=512 * 2**20, gt=0)
    output: int = Field(default=2**20, gt=0)
    workers: int | None = Field(default=None, ge=1)

    _grace: ClassVar[float] = 0.0
    """Seconds that the command has to clear up after a job. With 0 it is killed at once."""
    _limits: ClassVar[Mapping[str, int]] = {}
    """Limits of the process beside those that all executors have."""

    @abstractmethod
    def _sandbox(self, python: list[str]) -> AbstractContextManager[tuple[list[str], tuple[int, ...]]]:
        """The command that runs Python in the sandbox, and the descriptors that it reads beside the standard input.

        Raises:
            ExecutorError: There is no such sandbox here.
        """

    def run(self, jobs: Sequence[Job]) -> list[tuple[Outcome, ...]]:
        """Run jobs; see `Executor`."""
        if not jobs:
            return []
        child = (Path(__file__).parent / "sandbox_child.py").read_text(encoding="utf-8")
        python = [sys.executable, "-I", "-S", "-B", "-c", child]
        with ThreadPoolExecutor(min(len(jobs), self.workers or os.cpu_count() or 1)) as threads:
            return list(threads.map(lambda job: self._run(python, job), jobs))

    def _run(self, python: list[str], job: Job) -> tuple[Outcome, ...]:
        try:
            values = {name: encoded(value) for name, value in job.values.items()}
        except (NotPlainError, RecursionError) as error:
            return all_steps(job, Outcome(status="unsupported", detail=f"a value is of type {error}"))
        asked = {
            "job": {"setup": job.setup, "steps": job.steps, "values": values},
            "limits": {
                "RLIMIT_CPU": math.ceil(self.seconds),
                "RLIMIT_AS": self.memory,
                "RLIMIT_FSIZE": self.output,
                "RLIMIT_CORE": 0,
                "RLIMIT_NOFILE": 32,
                **self._limits,
            },
        }
        with (
            self._sandbox(python) as (command, handed),
            tempfile.TemporaryDirectory() as folder,
            tempfile.TemporaryFile() as errors,
        ):
            try:
                process = subprocess.Popen(  # noqa: S603
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=folder,
                    env={},
                    pass_fds=handed,
                    start_new_session=True,
                )
            except OSError as error:
                msg = f"The sandbox does not start: {error}"
                raise ExecutorError(msg) from error
            try:
                lines, why = self._told(process, json.dumps(asked).encode())
            finally:
                _end(process, self._grace)
            if not lines and process.returncode == 1:  # no code of the job has run yet
                errors.seek(0)
                said = errors.read(1000).decode(errors="replace").strip()
                if said:
                    msg = f"The sandbox does not start: {said}"
                    raise ExecutorError(msg)
        done = [_outcome(line) for line in lines[: len(job.steps)]]
        return all_steps(job, Outcome(status="limit", detail=why), done)

    def _told(self, process: subprocess.Popen[bytes], asked: bytes) -> tuple[list[bytes], str]:
        """The whole lines that a process tells, and why there are no more."""
        given, taken = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)  # both are pipes
        told, until = bytearray(), time.monotonic() + _PATIENCE * self.seconds
        why = "the process ended before"
        with selectors.DefaultSelector() as ready:
            ready.register(taken, selectors.EVENT_READ)
            try:
                given.write(asked)
                given.close()
            except OSError:
                pass  # it has ended
            while ready.select(max(0.0, until - time.monotonic())):
                piece = os.read(taken.fileno(), 65536)
                told += piece
                if not piece:
                    with contextlib.suppress(subprocess.TimeoutExpired):  # it may live on without a word
                        process.wait(_LAST_WORDS)
                    break
                if len(told) > self.output:
                    why = f"it told more than {self.output} bytes"
                    break
            else:
                why = "TimeoutError: it took too long"
        lines = bytes(told).split(b"\n")[:-1]
        return lines, why


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process and all others of its session. It has some seconds to end what else it has started."""
    if grace:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # what was not written has no reader any more
    process.wait()


def _outcome(line: bytes) -> Outcome:
    """The outcome in a line that may have been written by anybody."""
    try:
        status, content = json.loads(line)
        if status == "value":
            return Outcome(status="value", value=decoded(content))
        if status in {"raised", "limit", "unsupported"}:
            return Outcome(status=status, detail=str(content)[:300])
    except (ValueError, TypeError, KeyError, RecursionError, MemoryError):
        pass
    return Outcome(status="raised", detail="what it told is no outcome")

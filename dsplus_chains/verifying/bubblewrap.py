"""`BubblewrapExecutor` runs code in CPython, in a sandbox of Linux."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from dsplus_chains.verifying.executor import ExecutorError
from dsplus_chains.verifying.interpreter import interpreter, readable
from dsplus_chains.verifying.process_executor import ProcessExecutor
from dsplus_chains.verifying.syscall_filter import filter_here

_THREADS = 32
"""How many threads a job may have at once."""


class BubblewrapExecutor(ProcessExecutor):
    """Runs code in CPython in a sandbox of bubblewrap. It needs the command `bwrap`, on Linux.

    The sandbox has its own processes, network and users, and no environment. It sees the system's libraries and
    Python's standard library, read-only, and an empty folder. The kernel refuses what no solution needs, such as
    tracing, mounting, new namespaces and BPF; see `syscall_filter`.

    A job is one process. It can start no other one, and has at most 32 threads. The kernel does not count what root
    starts, so a job has one thread if you are root. Before Linux 5.14 the kernel counts all that your user runs. A job
    then has one thread if that is more.

    Args:
        seconds: Time of the processor that one job may take.
        memory: Bytes that one job may hold.
        output: Bytes that one job may tell.
        workers: Number of jobs that run at once.
        bwrap: The command, or its path.

    Raises:
        ExecutorError: There is no bubblewrap here, or the kernel does not let it make a sandbox. Or the machine is
            neither x86-64 nor arm64. Nothing is run then.
    """

    _limits: ClassVar[Mapping[str, int]] = {"RLIMIT_NPROC": _THREADS}

    bwrap: str = Field(default="bwrap", min_length=1)

    @override
    @contextmanager
    def _sandbox(self, python: list[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        found = shutil.which(self.bwrap)
        if found is None:
            msg = f"Got no command {self.bwrap!r}; install bubblewrap, or use MontyExecutor, which needs no sandbox"
            raise ExecutorError(msg)
        denied = filter_here(threads=os.getuid() != 0)  # what root starts is not counted
        shown = [part for path in readable() for part in ("--ro-bind", path, path)]
        walls = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        walls += ["--as-pid-1"]  # a first process of bubblewrap's own would have no limits, and lie open in /proc
        inside = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]  # noqa: S108
        with tempfile.TemporaryFile() as calls:
            calls.write(denied)
            calls.seek(0)
            walls += ["--seccomp", str(calls.fileno())]
            yield [found, *walls, *shown, *inside, "--", str(interpreter()), *python[1:]], (calls.fileno(),)

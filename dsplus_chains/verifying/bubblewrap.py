"""`BubblewrapExecutor` runs code in CPython, in a sandbox of Linux."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field
from typing_extensions import override

from dsplus_chains.verifying.executor import ExecutorError
from dsplus_chains.verifying.interpreter import interpreter, readable
from dsplus_chains.verifying.process_executor import ProcessExecutor
from dsplus_chains.verifying.syscall_filter import filter_here


class BubblewrapExecutor(ProcessExecutor):
    """Runs code in CPython in a sandbox of bubblewrap. It needs the command `bwrap`, on Linux.

    The sandbox has its own processes, network and users, and no environment. It sees the system's libraries and
    Python's standard library, read-only, and an empty folder. Forks end with the sandbox. The kernel refuses what no
    solution needs, such as tracing, mounting, new namespaces and BPF; see `syscall_filter`.

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

    bwrap: str = Field(default="bwrap", min_length=1)

    @override
    @contextmanager
    def _sandbox(self, python: list[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        found = shutil.which(self.bwrap)
        if found is None:
            msg = f"Got no command {self.bwrap!r}; install bubblewrap, or use MontyExecutor, which needs no sandbox"
            raise ExecutorError(msg)
        denied = filter_here()
        shown = [part for path in readable() for part in ("--ro-bind", path, path)]
        walls = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        inside = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]  # noqa: S108
        with tempfile.TemporaryFile() as calls:
            calls.write(denied)
            calls.seek(0)
            walls += ["--seccomp", str(calls.fileno())]
            yield [found, *walls, *shown, *inside, "--", str(interpreter()), *python[1:]], (calls.fileno(),)

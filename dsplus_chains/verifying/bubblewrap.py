"""`BubblewrapExecutor` runs code in CPython, in a sandbox of Linux."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from pydantic import Field
from typing_extensions import override

from dsplus_chains.verifying.executor import ExecutorError
from dsplus_chains.verifying.process_executor import ProcessExecutor

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")


class BubblewrapExecutor(ProcessExecutor):
    """Runs code in CPython in a sandbox of bubblewrap. It needs the command `bwrap`, on Linux.

    The sandbox has its own processes, network and users, and no environment. It sees the system's libraries and
    Python's standard library, read-only, and an empty folder. Forks end with the sandbox.

    Args:
        seconds: Time of the processor that one job may take.
        memory: Bytes that one job may hold.
        output: Bytes that one job may tell.
        workers: Number of jobs that run at once.
        bwrap: The command, or its path.

    Raises:
        ExecutorError: There is no bubblewrap here, or the kernel does not let it make a sandbox. Nothing is run then.
    """

    bwrap: str = Field(default="bwrap", min_length=1)

    @override
    def _command(self, python: list[str]) -> list[str]:
        found = shutil.which(self.bwrap)
        if found is None:
            msg = f"Got no command {self.bwrap!r}; install bubblewrap, or use MontyExecutor, which needs no sandbox"
            raise ExecutorError(msg)
        interpreter = Path(sys.executable).resolve()
        seen = dict.fromkeys(
            [*_SYSTEM, str(interpreter), sysconfig.get_paths()["stdlib"], *map(str, _libraries(interpreter))]
        )
        shown = [part for path in seen if Path(path).exists() for part in ("--ro-bind", path, path)]
        walls = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        inside = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]  # noqa: S108
        return [found, *walls, *shown, *inside, "--", str(interpreter), *python[1:]]


def _libraries(interpreter: Path) -> list[Path]:
    """Where a Python of its own folder keeps its shared library."""
    return sorted((interpreter.parent.parent / "lib").glob("libpython*"))

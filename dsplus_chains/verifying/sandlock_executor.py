"""`SandlockExecutor` runs code in CPython, in a sandbox that needs no namespaces."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import ClassVar

from typing_extensions import override

from dsplus_chains.verifying.executor import ExecutorError
from dsplus_chains.verifying.interpreter import interpreter, readable
from dsplus_chains.verifying.process_executor import ProcessExecutor
from dsplus_chains.verifying.syscall_filter import filter_here

_LAUNCH = """
import json, signal, sys, threading
import sandlock
has, needs = sandlock.landlock_abi_version(), sandlock.min_landlock_abi()
if has < needs:
    sys.exit(f"this kernel has version {has} of Landlock, and sandlock needs {needs}")
process = None
signal.signal(signal.SIGTERM, lambda *_: process.kill() if process else sys.exit())
process = sandlock.Sandbox(**json.loads(sys.argv[1])).popen(sys.argv[2:])
ended = []
waiting = threading.Thread(target=lambda: ended.append(process.wait()))
waiting.start()
waiting.join()
sys.exit(ended[0].exit_code)
"""
"""What starts a sandbox in a process of its own. `wait` ends all processes of the sandbox when the first has ended. It
hears no signal, and so it stands in a thread."""


class SandlockExecutor(ProcessExecutor):
    """Runs code in CPython in a sandbox of Landlock and seccomp. It needs the extra `sandlock`, and Linux from 6.12 on.

    Unlike bubblewrap it makes no namespaces, which many containers forbid. The sandbox can read the system's libraries
    and Python's standard library. It can write no file, and change no file's mode, owner, times or attributes. It has
    no network and no environment, and steers no other process. A job is one process with one thread, and can start
    neither. Each job starts a second Python, so it takes longer than in bubblewrap.

    The kernel refuses what sandlock denies by default, and what `syscall_filter` does for a process that shares the
    host's namespaces. A job can still ask whether any path exists, its size, owner, mode and times, and where it links
    to. It can also ask whether a process exists, and how it is scheduled. Use `BubblewrapExecutor` or `MontyExecutor`
    where that is a secret.

    Args:
        seconds: Time of the processor that one job may take.
        memory: Bytes that one job may hold.
        output: Bytes that one job may tell.
        workers: Number of jobs that run at once.

    Raises:
        ExecutorError: There is no sandlock here, or the kernel does not have what it needs. Or the machine is neither
            x86-64 nor arm64. Nothing is run then.
    """

    _grace: ClassVar[float] = 5.0

    @override
    def _sandbox(self, python: list[str]) -> AbstractContextManager[tuple[list[str], tuple[int, ...]]]:
        if find_spec("sandlock") is None:
            msg = (
                "Got no package sandlock; run: pip install 'dsplus-chains[sandlock]' (on Linux), or use MontyExecutor, "
                "which needs no sandbox"
            )
            raise ExecutorError(msg)
        settings = {
            "fs_readable": readable(),
            "fs_writable": ["/dev/null"],
            "clean_env": True,
        }
        launch = [sys.executable, "-I", "-c", _LAUNCH, json.dumps(settings)]
        return nullcontext(([*launch, str(interpreter()), *python[1:], filter_here(shared=True).hex()], ()))

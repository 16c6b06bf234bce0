"""`UnsafeSubprocessExecutor` runs code in a plain process, which can do whatever you can."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from typing_extensions import override

from dsplus_chains.verifying.process_executor import ProcessExecutor


class UnsafeSubprocessExecutor(ProcessExecutor):
    """Runs code in a plain process of CPython, with limits of time and memory and an empty environment.

    It is no sandbox. The code can read and write your files and use the network, and nothing caps the processes that
    it starts. Use it for code that you trust, or in a machine that holds nothing of worth.

    Args:
        seconds: Time of the processor that one job may take.
        memory: Bytes that one job may hold.
        output: Bytes that one job may tell.
        workers: Number of jobs that run at once.

    Example:
        >>> from dsplus_chains.verifying.executor import Job
        >>> UnsafeSubprocessExecutor(workers=1).run([Job(steps=("1 + 1",))])[0][0].value
        2
    """

    @override
    def _sandbox(self, python: list[str]) -> AbstractContextManager[tuple[list[str], tuple[int, ...]]]:
        return nullcontext((python, ()))

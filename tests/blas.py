"""One thread of BLAS, for rooms whose tests search for few numbers again and again.

On a busy machine, the threads of BLAS wait for each other, and such a search takes several times as long.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True, scope="module")
def one_thread_of_blas() -> Generator[None]:
    """A `conftest.py` that imports it has it for all tests of its room."""
    import scipy.optimize  # noqa: F401 - it has a BLAS of its own, which has to be there first
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield

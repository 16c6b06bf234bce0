from __future__ import annotations

from blas import one_thread_of_blas

__all__ = ["one_thread_of_blas"]

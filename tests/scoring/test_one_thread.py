"""A fit works in one thread, and leaves the numbers of threads as they were."""

import threading

import torch
from threadpoolctl import threadpool_info

from dsplus_chains.scoring.members.head import one_thread


def threads_of_blas():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_fits_that_overlap_restore_what_was_before_them_all():
    before, seen = (threads_of_blas(), torch.get_num_threads()), []
    steps = [threading.Event() for _ in range(3)]

    def fit(mine, until):
        steps[mine].wait(10)
        with one_thread():
            seen.append(threads_of_blas())
            steps[mine + 1].set()
            until.wait(10)

    ends = [threading.Event(), threading.Event()]
    fits = [threading.Thread(target=fit, args=(number, end)) for number, end in enumerate(ends)]
    for one in fits:
        one.start()
    steps[0].set()
    steps[2].wait(10)  # both are inside
    for one, end in zip(fits, ends, strict=True):
        end.set()
        one.join()
    assert set(seen[0]) == {1}
    assert (threads_of_blas(), torch.get_num_threads()) == before


def test_an_error_restores_them_too():
    before = (threads_of_blas(), torch.get_num_threads())
    try:
        with one_thread():
            raise ValueError
    except ValueError:
        pass
    assert (threads_of_blas(), torch.get_num_threads()) == before

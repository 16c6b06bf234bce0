"""A fit works in one thread, and leaves the numbers of threads as they were."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from dsplus_chains.calibration import calibrators, posterior
from dsplus_chains.scoring.members import mixing
from dsplus_chains.scoring.members.head import one_thread


def threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def overlapping():
    """The threads of BLAS before, in and after two fits that overlap. The first one ends first."""
    before, seen = threads(), []
    steps = [threading.Event() for _ in range(3)]

    def fit(mine, until):
        steps[mine].wait(120)  # only what hangs takes so long
        with one_thread():
            seen.append(threads())
            steps[mine + 1].set()
            until.wait(120)

    ends = [threading.Event(), threading.Event()]
    fits = [threading.Thread(target=fit, args=(number, end)) for number, end in enumerate(ends)]
    for one in fits:
        one.start()
    steps[0].set()
    steps[2].wait(120)  # both are inside
    for one, end in zip(fits, ends, strict=True):
        end.set()
        one.join()
    return before, seen[0], threads()


def test_fits_that_overlap_restore_what_was_before_them_all():
    # In a process of its own: threadpoolctl lets the first thread that ever set a limit set all others.
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    before, inside, after = done.stdout.splitlines()
    assert set(inside) <= set("[1, ]")
    assert after == before


def test_an_error_restores_them_too():
    before = (threads(), torch.get_num_threads())
    try:
        with one_thread():
            raise ValueError
    except ValueError:
        pass
    assert (threads(), torch.get_num_threads()) == before


def blas_threads_of_searches(monkeypatch, module):
    """The threads of BLAS at each search that a module begins."""
    seen, minimize = [], module.minimize

    def noted(*args, **kwargs):
        seen.append(threads())
        return minimize(*args, **kwargs)

    monkeypatch.setattr(module, "minimize", noted)
    return seen


ROWS = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
TARGETS = np.arange(60) % 3
SEARCHES = {
    posterior: lambda: posterior.fit_posterior(np.log(ROWS), TARGETS, TARGETS),
    calibrators: lambda: calibrators.fit_vector_scaling(ROWS, TARGETS),
    mixing: lambda: mixing.mixing_weights([np.log(ROWS), np.log(ROWS[::-1])], TARGETS),
}


@pytest.mark.parametrize("module", SEARCHES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_search_has_one_thread_of_blas(monkeypatch, module):
    seen, before = blas_threads_of_searches(monkeypatch, module), threads()
    with threadpool_limits(2, "blas"):
        SEARCHES[module]()
    assert seen
    assert {number for numbers in seen for number in numbers} == {1}
    assert threads() == before


if __name__ == "__main__":
    sys.stdout.writelines(f"{numbers}\n" for numbers in overlapping())

"""Scoring the batches of a table in several processes, on one machine or on many, by Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

from dsplus_chains.corpus.scored import Batch, Scored, ScoredBatches, outputs_of
from dsplus_chains.schema import DSPlusError, InvalidInputError, describe_error
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.storage.bundle import Bundle

AHEAD = 2
"""As many batches a worker has, so that one is scored and one is ready."""
TRIES = 4
"""As many workers may end at the same batch."""
PATIENCE = 300
"""Seconds that all workers have to begin."""


class WorkerError(DSPlusError):
    """A worker of Ray cannot be had, or ended again and again. The same call continues the run."""


class ScoringWorker:
    """The small model of a bundle, in a process of its own. It is loaded when the first batch comes.

    Args:
        bundle: The bundle's folder.
        **settings: Arguments of `Bundle.load`.
    """

    def __init__(self, bundle: Path, **settings: Any) -> None:
        self._bundle = bundle
        self._settings = settings

    def ready(self) -> None:
        """Answers once the process is there."""

    def score(self, texts: list[str]) -> list[Any]:
        """The record of each text, or an exception."""
        return outputs_of(self._scorer, texts)

    @cached_property
    def _scorer(self) -> BaseScorer:
        import torch

        torch.set_num_threads(1)  # a worker is one processor's; more come by more workers
        return Bundle.load(self._bundle, **self._settings).scorer.deferring()


def check_workers(workers: int | None, *, cluster: str | None = None) -> None:
    """Refuse workers that cannot be had, before any work is done.

    Args:
        workers: Number of workers. None means none at all.
        cluster: The address of a Ray cluster.

    Raises:
        InvalidInputError: The number is below 1, or there is a cluster without workers.
        ImportError: Ray is not installed.
    """
    if workers is None and cluster is not None:
        msg = f"Got cluster={cluster!r} and no workers but expected their number; say workers=2, for example"
        raise InvalidInputError(msg)
    if workers is not None and workers < 1:
        msg = f"Got workers={workers} but expected at least 1"
        raise InvalidInputError(msg)
    if workers is not None and find_spec("ray") is None:
        msg = "Scoring in workers needs Ray; run: pip install 'dsplus-chains[ray]'"
        raise ImportError(msg)


def scored_by_ray(
    bundle: Path, batches: Iterable[Batch], *, workers: int, cluster: str | None = None, **settings: Any
) -> ScoredBatches:
    """Score batches in workers of Ray. They come as they are done.

    This process reads the batches, and hands each to a worker that is free. A worker has one processor, one thread of
    torch, and its share of the GPUs. If it is killed, another one takes its place and its batches. Nothing is asked of
    a large model there, so nothing is paid twice. If this process is killed, the same call of `label_table` goes on by
    its journal. No checkpoint of Ray is needed.

    A Ray cluster that this process has joined already is used. Otherwise it joins the one that is named, or begins one
    on this machine. That one it leaves at the end. All machines need this package, and the bundle under the same path.
    A Ray that is begun here reports no usage statistics, since `ray.init` turns them off, and has no dashboard.

    Args:
        bundle: The bundle's folder.
        batches: The batches. No more than a few of them are taken ahead.
        workers: Number of workers.
        cluster: The address of a Ray cluster that is running.
        **settings: Arguments of `Bundle.load`.

    Raises:
        WorkerError: The cluster cannot be joined or is too small, or a worker ended again and again.
        BundleError: A worker cannot load the bundle.
    """
    waiting = iter(batches)
    first = next(waiting, None)
    if first is None:  # nothing is begun for nothing
        return
    ray: Any = import_module("ray")
    with _joined(ray, workers, cluster), _told(ray):
        free = deque(_pool(ray, workers, bundle.resolve(), settings) * AHEAD)
        under_way: dict[Any, tuple[Any, Batch]] = {}
        waiting = chain([first], waiting)
        _hand_out(waiting, free, under_way)
        while under_way:
            (done,), _ = ray.wait(list(under_way))
            worker, rows = under_way.pop(done)
            free.append(worker)
            _hand_out(waiting, free, under_way)
            yield Scored(rows, ray.get(done))


def _hand_out(waiting: Iterator[Batch], free: deque[Any], under_way: dict[Any, tuple[Any, Batch]]) -> None:
    """Give batches to free workers, as long as there are both."""
    while free and (rows := next(waiting, None)) is not None:
        worker = free.popleft()
        under_way[worker.score.remote([row.text for row in rows])] = worker, rows


def _pool(ray: Any, workers: int, bundle: Path, settings: dict[str, Any]) -> list[Any]:
    has = ray.cluster_resources()
    if has.get("CPU", 0) < workers:
        msg = f"Got {workers} workers but the Ray cluster has {has.get('CPU', 0):g} processors; take fewer workers"
        raise WorkerError(msg)
    made = ray.remote(ScoringWorker).options(
        num_cpus=1,
        num_gpus=gpu_share(int(has.get("GPU", 0)), workers),
        max_restarts=-1,
        max_task_retries=TRIES - 1,
        scheduling_strategy="SPREAD",
    )
    pool = [made.remote(bundle, **settings) for _ in range(workers)]
    _, missing = ray.wait([worker.ready.remote() for worker in pool], num_returns=workers, timeout=PATIENCE)
    if missing:
        msg = (
            f"Got {workers} workers, but {len(missing)} of them did not begin in {PATIENCE} seconds; take fewer workers"
        )
        raise WorkerError(msg)
    return pool


def gpu_share(gpus: int, workers: int) -> float:
    """The part of a GPU that each worker gets, so that all of them fit on whole GPUs.

    Example:
        >>> gpu_share(0, 4), gpu_share(4, 2), gpu_share(2, 3)
        (0.0, 1.0, 0.5)
    """
    return 0.0 if not gpus else 1.0 / ceil(workers / gpus)


@contextmanager
def _joined(ray: Any, workers: int, cluster: str | None) -> Iterator[None]:
    """Within a Ray cluster. One that this process was in before is not left."""
    if ray.is_initialized():
        yield
        return
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=cluster or "local", **(quiet if cluster else {**quiet, "num_cpus": workers}))
    except Exception as error:  # Ray raises errors of any kind
        where = "begun" if cluster is None else f"joined at {cluster!r}"
        msg = f"Ray cannot be {where} ({describe_error(error)}); a machine that is busy may need another try"
        raise WorkerError(msg) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _told(ray: Any) -> Iterator[None]:
    """Raise what a worker has raised, and tell in our words what Ray says of a worker itself."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        msg = f"A worker of Ray ended {TRIES} times at the same rows, or was lost ({describe_error(error)})"
        raise WorkerError(msg) from error

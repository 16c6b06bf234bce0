"""`BatchJobs` asks many requests in jobs of a provider's Batch API, and finds those that an earlier process made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any
from uuid import uuid4

from openai import APIConnectionError, APIStatusError, InternalServerError, NotFoundError, OpenAIError, RateLimitError

from dsplus_chains.corpus.job_lines import ENDPOINT, JobFile, job_files, keyed, replies_in, unanswered
from dsplus_chains.corpus.job_state import JobState
from dsplus_chains.running.flow import Do, Flow, Work
from dsplus_chains.schema import WiringError

ENDED = {"completed", "failed", "expired", "cancelled"}
"""The states in which a job stays. The files of each may hold replies."""
_PASSING = (APIConnectionError, InternalServerError, RateLimitError)
"""Errors that a later try may not meet."""
_TRIES = 10
"""As often something is tried that may succeed later."""
_PAGES = 10
"""As many pages of the newest jobs are searched for one whose id is not known."""
_NAME = "dsplus_job"
"""The key in the metadata of a job under which our name for it stands."""


class BatchJobs:
    """Requests that are asked in batch jobs. A request that is in a job already is not asked again.

    What a job has not answered is forgotten, so that the next call asks it anew. What it has answered is remembered
    until `forget`. A job for which the account has no room is made again when another job has ended. That may be one of
    another call, in another thread.

    Args:
        client: The `OpenAI` client.
        aclient: The `AsyncOpenAI` client.
        state: What keeps the jobs.
        poll: Most seconds between two looks at a job. The first looks come sooner.
        most_requests: Most requests of one job.
        most_bytes: Most bytes of its file.
    """

    def __init__(
        self, client: Any, aclient: Any, state: JobState, *, poll: float, most_requests: int, most_bytes: int
    ) -> None:
        # A retry of the client might make a job twice. What may be tried again is tried again here.
        self._clients = [None if one is None else one.with_options(max_retries=0) for one in (client, aclient)]
        self._state = state
        self._poll = poll
        self._limits = {"most_requests": most_requests, "most_bytes": most_bytes}
        self._account = _Account()

    def answers(self, bodies: Sequence[Mapping[str, Any]]) -> Flow:
        """The reply to each request, or its exception.

        Args:
            bodies: The requests' bodies.
        """
        requests = dict(zip(keyed(bodies), bodies, strict=True))
        with self._account.call() as call:
            try:
                told = yield from self._told(requests, call)
            except OpenAIError as error:
                return [error] * len(bodies)
        return [told[key] for key in requests]

    def _told(self, requests: Mapping[str, Mapping[str, Any]], call: _Call) -> Flow:
        """The reply to each request, by its key.

        Raises:
            OpenAIError: It cannot be found out which requests are in a job already.
        """
        jobs, told = yield from self._begun(requests)
        waits = self._waits(1.5)
        waiting: dict[str, Mapping[str, Any]] = {}
        while jobs or (waiting and call.may_get_room):
            for identifier in list(jobs):
                replies = yield from self._look(identifier, jobs[identifier])
                if replies is not None:
                    told.update(replies)
                    keys = jobs.pop(identifier)
                    crowded = [key for key in keys if getattr(told[key], "crowded", False)]
                    waiting.update({key: requests[key] for key in crowded})
                    if not crowded:
                        call.free_room()
            if waiting and call.takes_room():
                more, errors = yield from self._begun(waiting)
                jobs.update(more)
                told.update(errors)
                waiting = {}
            elif jobs or waiting:
                call.is_idle = not jobs
                yield _pause(next(waits))
        return told

    def forget(self, bodies: Sequence[Mapping[str, Any]]) -> Flow:
        """Forget requests whose replies are kept elsewhere."""
        yield Work(self._state.forget, (keyed(bodies),))

    def _begun(self, requests: Mapping[str, Mapping[str, Any]]) -> Flow:
        """The requests of each job, by the job's id, and the error of each request that could be put into none."""
        known: dict[str, str] = yield Work(self._state.known, (requests,))
        ids: dict[str, str | None] = yield Work(self._state.ids, (set(known.values()),))
        if lost := {name for name, identifier in ids.items() if identifier is None}:
            ids.update((yield from self._searched(lost)))
        jobs: dict[str, list[str]] = {}
        errors: dict[str, Exception] = {}
        fresh = {}
        for key, body in requests.items():
            if (identifier := ids.get(known.get(key, ""))) is None:
                fresh[key] = body
            else:
                jobs.setdefault(identifier, []).append(key)
        for file in job_files(fresh, **self._limits):
            try:
                jobs[(yield from self._submitted(file))] = file.keys
            except OpenAIError as error:
                errors.update(dict.fromkeys(file.keys, error))
        return jobs, errors

    def _submitted(self, file: JobFile) -> Flow:
        """The id of a new job."""
        name = uuid4().hex
        packed = (f"{name}.jsonl", file.content)
        uploaded = yield from self._patiently("files.create", file=packed, purpose="batch")
        yield Work(self._state.begin, (name, file.keys))  # before the job is made, so that a kill loses none
        try:
            identifier = yield from self._created(name, uploaded.id)
        except APIStatusError as error:
            if not isinstance(error, InternalServerError):  # there is no such job
                yield Work(self._state.forget, (file.keys,))
            raise
        yield Work(self._state.submitted, (name, identifier))
        return identifier

    def _created(self, name: str, file: str) -> Flow:
        """Make a job. Before a second try, look whether the first one has made it."""
        waits = self._waits(2)
        for left in reversed(range(_TRIES)):
            try:
                job = yield self._do(
                    "batches.create",
                    input_file_id=file,
                    endpoint=ENDPOINT,
                    completion_window="24h",
                    metadata={_NAME: name},
                )
            except _PASSING:
                if not left:
                    raise
                yield _pause(next(waits))
                if found := (yield from self._searched({name})):
                    return found[name]
            else:
                return job.id
        return None

    def _searched(self, names: Collection[str]) -> Flow:
        """The ids of jobs by their names, as far as they are among the newest ones. They are kept."""
        found: dict[str, str] = {}
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            page = yield from self._patiently("batches.list", limit=100, **after)
            for job in page.data:
                name = str((job.metadata or {}).get(_NAME))
                if name in names:
                    found[name] = job.id
                    yield Work(self._state.submitted, (name, job.id))
            if len(found) == len(names) or not page.data or not page.has_more:
                break
            after = {"after": page.data[-1].id}
        return found

    def _look(self, identifier: str, keys: list[str]) -> Flow:
        """The reply to each request of a job, or its exception. None while the job is under way."""
        told: dict[str, Any] = {}
        try:
            job = yield from self._patiently("batches.retrieve", batch_id=identifier)
            if job.status not in ENDED:
                return None
            for file in filter(None, (job.output_file_id, job.error_file_id)):
                told.update(replies_in((yield from self._patiently("files.content", file_id=file)).content))
        except NotFoundError as error:  # the job or its file is gone for ever
            yield Work(self._state.forget, (keys,))
            return dict.fromkeys(keys, error)
        except OpenAIError as error:
            return dict.fromkeys(keys, error)
        told = {key: told[key] if key in told else unanswered(job) for key in keys}
        failed = [key for key, reply in told.items() if isinstance(reply, Exception)]
        yield Work(self._state.forget, (failed,))
        return told

    def _patiently(self, method: str, **arguments: Any) -> Flow:
        """The result of a client's method. It is tried again where that may help."""
        for wait in islice(self._waits(2), _TRIES - 1):
            try:
                return (yield self._do(method, **arguments))
            except _PASSING:
                yield _pause(wait)
        return (yield self._do(method, **arguments))

    def _do(self, method: str, **arguments: Any) -> Do:
        call, acall = (partial(_called, client, method, arguments) for client in self._clients)
        return Do(call, acall, ())

    def _waits(self, growth: float) -> Iterator[float]:
        """Seconds to wait: ever longer, but not beyond `poll`."""
        wait = self._poll / 60
        while True:
            yield wait
            wait = min(self._poll, wait * growth)


class _Account:
    """What room there is for jobs, which all calls share."""

    def __init__(self) -> None:
        self.freed = 0
        """It grows when a job ends."""
        self.calls = set[_Call]()

    @contextmanager
    def call(self) -> Iterator[_Call]:
        """A call, which is under way within this context."""
        call = _Call(self)
        self.calls.add(call)
        try:
            yield call
        finally:
            self.calls.discard(call)


class _Call:
    """A call that may have to wait until another one's job has ended."""

    def __init__(self, account: _Account) -> None:
        self._account = account
        self._seen = account.freed
        self.is_idle = False
        """Whether it has no job, and waits for room."""

    @property
    def may_get_room(self) -> bool:
        """Whether room has become free, or another call may free some."""
        is_busy = not all(call.is_idle for call in self._account.calls.copy() if call is not self)
        return is_busy or self._account.freed > self._seen

    def free_room(self) -> None:
        """Tell that a job has ended."""
        self._account.freed += 1

    def takes_room(self) -> bool:
        """Whether room has become free since the last time."""
        seen, self._seen = self._seen, self._account.freed
        self.is_idle &= self._seen == seen
        return self._seen > seen


def _called(client: Any, method: str, arguments: Mapping[str, Any]) -> Any:
    """What a client's method gives. The client is None where the chat model's key can only be awaited.

    Raises:
        WiringError: It is None.
    """
    if client is None:
        msg = (
            "Got an api_key that can only be awaited, and a call that does not await; call abatch, or give a plain key"
        )
        raise WiringError(msg)
    return attrgetter(method)(client)(**arguments)


def _pause(seconds: float) -> Do:
    return Do(time.sleep, asyncio.sleep, (seconds,))

"""The lines of a batch job's files: requests on their way in, replies on their way out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dsplus_chains.schema import DSPlusError, hash_of, shorten

ENDPOINT = "/v1/chat/completions"
MOST_REQUESTS = 50_000
"""Most requests that one job may have."""
ROWS = MOST_REQUESTS
"""Rows in one batch, of which those that are deferred become one job."""
MOST_BYTES = 200_000_000
"""Most bytes that the file of one job may have."""
_STATUS = dict.fromkeys(("batch_expired", "expired", "batch_cancelled", "cancelled"), 408)
"""The HTTP status of a request outside of a job that has no answer for such a reason."""


class BatchJobError(DSPlusError):
    """A batch job has not answered a request.

    Args:
        message: What has happened.
        status_code: The HTTP status of the request, or that of its like outside of a job. None if there is none.
        body: What the server told, if it did.
        crowded: Whether too many tokens are in jobs that are under way.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, body: Any = None, crowded: bool = False
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.crowded = crowded


class JobFile(NamedTuple):
    """The input of one job."""

    keys: list[str]
    content: bytes


def keyed(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """A key for each request. It is the same in each process. Equal requests of one call are numbered.

    Example:
        >>> [key[-2:] for key in keyed([{"n": 1}, {"n": 2}, {"n": 1}])]
        ['-0', '-0', '-1']
    """
    seen = Counter[str]()
    keys = []
    for body in bodies:
        digest = hash_of(body)[:40]
        keys.append(f"{digest}-{seen[digest]}")
        seen[digest] += 1
    return keys


def job_files(requests: Mapping[str, Mapping[str, Any]], *, most_requests: int, most_bytes: int) -> Iterator[JobFile]:
    """The requests as files of jobs, each within the limits.

    Args:
        requests: The body of each request, by its key.
        most_requests: Most requests of one job.
        most_bytes: Most bytes of its file. A request that is longer goes alone.

    Example:
        >>> files = job_files({"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 3}}, most_requests=2, most_bytes=1000)
        >>> [file.keys for file in files]
        [['a', 'b'], ['c']]
    """
    keys: list[str] = []
    lines: list[bytes] = []
    size = 0
    for key, body in requests.items():
        line = json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}).encode() + b"\n"
        if keys and (len(keys) == most_requests or size + len(line) > most_bytes):
            yield JobFile(keys, b"".join(lines))
            keys, lines, size = [], [], 0
        keys.append(key)
        lines.append(line)
        size += len(line)
    if keys:
        yield JobFile(keys, b"".join(lines))


def replies_in(content: bytes) -> dict[str, Any]:
    """The replies of an output file or an error file, by key: a body, or a `BatchJobError`. Half a line is passed over.

    Example:
        >>> line = b'{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": []}}, "error": null}'
        >>> replies_in(line)
        {'a': {'choices': []}}
    """
    replies = {}
    for line in content.split(b"\n"):
        try:
            told = json.loads(line)
            key = told["custom_id"]
        except (ValueError, TypeError, KeyError):
            continue
        replies[key] = _reply(told)
    return replies


def _reply(told: Mapping[str, Any]) -> Any:
    response = told.get("response") or {}
    status, body = response.get("status_code"), response.get("body")
    if not told.get("error") and status == 200 and isinstance(body, dict):
        return body
    error = told.get("error") or (body.get("error") if isinstance(body, dict) else None) or body
    said = error.get("message") if isinstance(error, dict) else error
    known = f" ({status})" if status else ""
    code = str(error.get("code")) if isinstance(error, dict) else ""
    msg = f"the request failed in its batch job{known}: {said}"
    return BatchJobError(msg, status_code=status or _STATUS.get(code), body=error)


def unanswered(job: Any) -> BatchJobError:
    """The error of a request that is in none of the files of a job that has ended."""
    errors = getattr(job.errors, "data", None) or []
    told = f": {shorten('; '.join(str(error.message) for error in errors), 1000)}" if errors else ""
    msg = f"batch job {job.id} has ended as {job.status!r} without this request{told}; ask it again"
    crowded = any(error.code == "token_limit_exceeded" for error in errors)
    return BatchJobError(msg, status_code=429 if crowded else _STATUS.get(job.status), crowded=crowded)

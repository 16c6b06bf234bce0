"""A local server with OpenAI's files and batches. It can be told to fail, to expire, and to lose its word."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any

from local_server import QuietHandler, listening

FINAL = {"completed", "expired", "cancelled", "failed"}


class BatchServer:
    """Files and batch jobs, held in memory.

    Args:
        answer: From the text of a request's last message to the text of the answer. An exception of it is an error of
            that line alone; a `KeyError` is a line without any reply.
    """

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        """Method and path of each request."""
        self.single: list[Any] = []
        """Requests at the full price."""
        self.asked: list[str] = []
        """The texts that jobs have answered."""
        self.bodies: list[Any] = []
        """The bodies of all lines of all jobs."""
        self.looks = 2
        """So often a job is looked at before it ends."""
        self.end = "completed"
        """The state in which jobs end."""
        self.done: int | None = None
        """So many lines of a job are answered. None: all."""
        self.room: int | None = None
        """So many lines may be under way. A job beyond that fails. None: any number."""
        self.troubles: list[tuple[str, int, str]] = []
        """A method and the beginning of a path, a status, and whether it comes "before" the work or "after" it."""
        self.held = threading.Event()
        """Jobs end only once it is set."""
        self.held.set()
        self.port = 0
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def sizes(self) -> list[int]:
        """Number of lines of each job."""
        return [job["request_counts"]["total"] for job in self.jobs.values()]

    def handle(self, method: str, path: str, kind: str, body: bytes) -> tuple[int, Any]:
        with self._lock:
            self.calls.append(f"{method} {path}")
            trouble = next((one for one in self.troubles if f"{method} {path}".startswith(one[0])), None)
            if trouble is not None:
                self.troubles.remove(trouble)
                if trouble[2] == "before":
                    return trouble[1], {"error": {"message": "trouble"}}
            status, told = self._work(method, path.removeprefix("/v1/"), kind, body)
            return (status, told) if trouble is None else (trouble[1], {"error": {"message": "trouble"}})

    def _work(self, method: str, path: str, kind: str, body: bytes) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        match method, *path.split("/"):
            case "POST", "files":
                return 200, {"id": self._keep(_parts(kind, body)["file"]), "object": "file", "purpose": "batch"}
            case "GET", "files", file, "content" if file in self.files:
                return 200, self.files[file]
            case "POST", "batches":
                return 200, self._begin(json.loads(body))
            case "GET", "batches":
                after = query.partition("after=")[2].partition("&")[0]
                newest = list(self.jobs.values())[::-1]
                start = next((place for place, job in enumerate(newest, 1) if job["id"] == after), 0)
                return 200, {"object": "list", "data": newest[start : start + 2], "has_more": start + 2 < len(newest)}
            case "GET", "batches", name if name in self.jobs:
                return 200, self._look(self.jobs[name])
            case "POST", "chat", "completions":
                self.single.append(json.loads(body))
                return 200, self._completion(json.loads(body))
        return 404, {"error": {"message": f"no {path}"}}

    def _keep(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def _begin(self, asked: dict[str, Any]) -> dict[str, Any]:
        lines = self.files[asked["input_file_id"]].splitlines()
        under_way = sum(job["request_counts"]["total"] for job in self.jobs.values() if job["status"] not in FINAL)
        job = {
            "crowded": self.room is not None and under_way + len(lines) > self.room,
            "id": f"batch_{len(self.jobs)}",
            "object": "batch",
            "status": "validating",
            "created_at": int(time.time()),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "looks": 0,
            **asked,
        }
        self.jobs[job["id"]] = job
        return job

    def _look(self, job: dict[str, Any]) -> dict[str, Any]:
        job["looks"] += 1
        if job["status"] not in FINAL:
            job["status"] = "failed" if job["crowded"] else "in_progress"
            if job["crowded"]:
                told = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
                job["errors"] = {"object": "list", "data": [told]}
                return job
            if job["looks"] >= self.looks and self.held.is_set():
                self._finish(job)
        return job

    def _finish(self, job: dict[str, Any]) -> None:
        job["status"] = self.end
        if self.end == "failed":
            job["errors"] = {"object": "list", "data": [{"code": "invalid", "message": "the file is no good"}]}
            return
        lines = [json.loads(line) for line in self.files[job["input_file_id"]].splitlines()]
        random.Random(0).shuffle(lines)
        good, bad = [], []
        for line in lines[: self.done]:
            text = line["body"]["messages"][-1]["content"]
            self.bodies.append(line["body"])
            self.asked.append(text)
            try:
                response, kept = {"status_code": 200, "body": self._completion(line["body"])}, good
            except KeyError:
                continue
            except Exception as error:
                response, kept = {"status_code": 400, "body": {"error": {"message": str(error)}}}, bad
            kept.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
        for line in lines[len(lines) if self.done is None else self.done :]:
            if self.end == "expired":
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                bad.append({"id": "x", "custom_id": line["custom_id"], "response": None, "error": error})
        job["output_file_id"] = self._keep(_packed(good)) if good else None
        job["error_file_id"] = self._keep(_packed(bad)) if bad else None

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.answer(body["messages"][-1]["content"])}
        if "response_format" in body:
            message["content"] = json.dumps({"label": message["content"]})
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        return {**head, "choices": [choice], "usage": usage}


def _packed(lines: list[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _parts(kind: str, body: bytes) -> dict[str, bytes]:
    """The parts of a form, by name."""
    form = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)  # type: ignore[misc]
        for part in form.get_payload()  # type: ignore[union-attr]
    }


@contextmanager
def batch_server(answer: Callable[[str], str]) -> Iterator[BatchServer]:
    """A running server, on a loopback port of its own."""
    server = BatchServer(answer)

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def _serve(self, method: str) -> None:
            status, told = server.handle(method, self.path, self.headers.get("content-type") or "", self.body())
            self.answer(told if isinstance(told, bytes) else json.dumps(told).encode(), status=status)

    with listening(Handler) as server.port:
        yield server

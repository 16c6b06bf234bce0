"""A local server that speaks OpenAI's protocol, records each request's bytes, and answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class OpenAIServer:
    """The server's address, and what it has been asked.

    Args:
        answer: From the text of the last message to the text of the answer.
        fields: The values of the fields of a structured answer. A field named "category" gets `answer`.
    """

    def __init__(self, answer: Callable[[str], str], **fields: Any) -> None:
        self.answer = answer
        self.fields = fields
        self.bodies: list[bytes] = []
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def taken(self) -> list[bytes]:
        """The bodies since the last time, in the order of their bytes."""
        bodies, self.bodies = self.bodies, []
        return sorted(bodies)

    def message(self, asked: dict[str, Any]) -> dict[str, Any]:
        content = asked["messages"][-1]["content"]
        text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
        answer = self.answer(text)
        schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
        forced = asked.get("tools") if asked.get("tool_choice") not in (None, "auto") else None
        if schema is not None:
            return {"role": "assistant", "content": json.dumps(self._filled(schema, answer))}
        if forced:
            function = forced[0]["function"]
            arguments = json.dumps(self._filled(function["parameters"], answer))
            call = {"id": "c1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        return {"role": "assistant", "content": answer}

    def _filled(self, schema: dict[str, Any], answer: str) -> dict[str, Any]:
        return {name: self.fields.get(name, answer) for name in schema["properties"]}


def _chunks(message: dict[str, Any], asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    same = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
    text, calls = message["content"] or "", message.get("tool_calls")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text[start : start + 4]} for start in range(0, len(text), 4)]
    deltas += [{"tool_calls": [{"index": 0, **calls[0]}]}] if calls else []
    for delta in deltas:
        yield {**same, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**same, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield {**same, "choices": [], "usage": USAGE}


USAGE = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}


@contextmanager
def openai_server(answer: Callable[[str], str], **fields: Any) -> Iterator[OpenAIServer]:
    """A running server, on a loopback port of its own."""
    server = OpenAIServer(answer, **fields)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            server.bodies.append(body)
            asked = json.loads(body)
            message = server.message(asked)
            if asked.get("stream"):
                lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(message, asked)]
                self._send("".join([*lines, "data: [DONE]\n\n"]), "text/event-stream")
                return
            choice = {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            }
            answer = {"id": "x", "object": "chat.completion", "created": 0, "model": asked["model"]}
            self._send(json.dumps({**answer, "choices": [choice], "usage": USAGE}), "application/json")

        def _send(self, text: str, kind: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    class Listening(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    listener = Listening(("127.0.0.1", 0), Handler)
    server.port = listener.server_address[1]
    threading.Thread(target=listener.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()

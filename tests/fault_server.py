"""A local server that speaks OpenAI's protocol, and fails in every way that servers do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

HUGE = 2_000_000
MODES = (
    *("ok", "delay", "hang", "slam", "cut", "malformed", "drip", "empty", "huge", "refusal", "cut-off", "wrong model"),
    *("401", "403", "404", "429", "500", "no choices", "no label"),
)
"""What the server does with a request for a chat completion."""


@dataclass
class FaultServer:
    """The server's address, and what it has been asked.

    Args:
        mode: What it does; may be changed while it runs.
        answer: What it says where it answers.
        every: It is at fault at every so-many-th request alone; 1 is at each of them.
        after: It answers so many requests before it is at fault.
        delay: How many seconds a slow answer takes.
        usage: The tokens of a prompt and of an answer that it reports.
    """

    mode: str = "ok"
    answer: str = "positive"
    every: int = 1
    after: int = 0
    delay: float = 0.2
    usage: tuple[int, int] = (10, 1)
    port: int = 0
    requests: int = 0
    open_now: int = 0
    most_open: int = 0
    cancelled: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                self.requests += 1
                self.open_now += 1
                self.most_open = max(self.most_open, self.open_now)
                try:
                    if not await self._reply(request, reader, writer):
                        break
                finally:
                    self.open_now -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client is gone, or the server stops
        finally:
            writer.close()

    async def _reply(self, request: dict[str, Any], reader: Any, writer: Any) -> bool:
        """Answer one request; whether the connection stays open."""
        text = str(request["messages"][-1]["content"])
        self.asked[text] += 1
        mode = self.mode if self.requests > self.after and self.requests % self.every == 0 else "ok"
        body = json.dumps(self._completion(mode, request)).encode()
        match mode:
            case "delay":
                await asyncio.sleep(self.delay)
            case "hang":
                await reader.read()  # until the client gives up
                self.cancelled += 1
                return False
            case "slam":
                writer.transport.abort()
                return False
            case "cut":
                writer.write(_head(200, len(body)) + body[: len(body) // 2])
                await writer.drain()
                writer.transport.abort()
                return False
            case "malformed":
                body = b'{"choices": [' + body[:50]
            case "drip":
                writer.write(_head(200, len(body)))
                for byte in body:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.3)
                return True
            case "401" | "403" | "404" | "429" | "500":
                body = json.dumps({"error": {"message": f"fault {mode}", "type": "fault", "code": mode}}).encode()
                more = b"retry-after: 1\r\n" if mode == "429" else b""
                writer.write(_head(int(mode), len(body), more) + body)
                await writer.drain()
                return True
            case _:
                pass
        writer.write(_head(200, len(body)) + body)
        await writer.drain()
        return True

    def _completion(self, mode: str, request: dict[str, Any]) -> dict[str, Any]:
        prompt, said = self.usage
        content: str | None = {"empty": "", "huge": "so " * (HUGE // 3), "no label": "who knows"}.get(mode, self.answer)
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if mode == "refusal":
            message |= {"content": None, "refusal": "I will not."}
        choice = {"index": 0, "message": message, "finish_reason": "length" if mode == "cut-off" else "stop"}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "another-model" if mode == "wrong model" else request["model"],
            "choices": [] if mode == "no choices" else [choice],
            "usage": {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said},
        }


@contextmanager
def fault_server(**settings: Any) -> Iterator[FaultServer]:
    """A running server, on a loopback port of its own."""
    server = FaultServer(**settings)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # of connections that were cancelled before they began
    ready = threading.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        listener = loop.run_until_complete(asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=4096))
        server.port = listener.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        listener.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)


async def _read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The body of one request; None at the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return dict(json.loads(await reader.readexactly(length)))


def _head(status: int, length: int, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n" % (status, more, length)

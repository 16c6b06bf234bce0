"""A local server that speaks OpenAI's protocol, records each request's bytes, and answers what it is told to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from local_server import QuietHandler, listening


class OpenAIServer:
    """The server's address, and what it has been asked.

    Args:
        answer: From the text of the last message to the text of the answer.
        calls: From that text to whether a tool is called, where the caller leaves it open.
        counts: Whether the usage is counted, four characters a token. Else each call tells the same one.
        fields: The values of the fields of a structured answer. A text gets `answer`, and a number the first one in the
            question.
    """

    def __init__(
        self, answer: Callable[[str], str], calls: Callable[[str], bool], *, counts: bool = False, **fields: Any
    ) -> None:
        self.answer = answer
        self.counts = counts
        self.calls = calls
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

    def usage(self, asked: dict[str, Any], message: dict[str, Any]) -> dict[str, int]:
        if not self.counts:
            return USAGE
        prompt, said = len(json.dumps(asked)) // 4, len(json.dumps(message)) // 4
        return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}

    def message(self, asked: dict[str, Any]) -> dict[str, Any]:
        last = asked["messages"][-1]
        content = last["content"] or ""
        text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
        schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
        if schema is not None:
            return {"role": "assistant", "content": json.dumps(self._filled(schema, text))}
        if (asked.get("response_format") or {}).get("type") == "json_object":  # the keys stand in the question
            return {"role": "assistant", "content": json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", text), text))}
        function = self._chosen(asked, text if last["role"] == "user" else "")
        if function is not None:
            arguments = json.dumps(self._filled(function.get("parameters", {}), text))
            call = {"id": "c1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        answer = self.answer(text)
        for stop in [asked["stop"]] if isinstance(asked.get("stop"), str) else asked.get("stop") or []:
            answer = answer.split(stop)[0]
        return {"role": "assistant", "content": answer}

    def _chosen(self, asked: dict[str, Any], text: str) -> Any:
        """The function that is called, if any."""
        functions = {tool["function"]["name"]: tool["function"] for tool in asked.get("tools") or []}
        choice = asked.get("tool_choice") or "auto"
        if isinstance(choice, dict):
            return functions[choice["function"]["name"]]
        if functions and (choice == "required" or (choice == "auto" and self.calls(text))):
            return next(iter(functions.values()))
        return None

    def _filled(self, schema: dict[str, Any], text: str) -> dict[str, Any]:
        answer, number = self.answer(text), re.search(r"-?\d+", text)
        kinds = {"integer": int(number[0]) if number else 0, "boolean": True}
        return {
            name: self.fields.get(name, kinds.get(part.get("type"), answer))
            for name, part in schema.get("properties", {}).items()
        }


def _chunks(message: dict[str, Any], asked: dict[str, Any], usage: dict[str, int]) -> Iterator[dict[str, Any]]:
    same = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
    text = message["content"] or ""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text[start : start + 4]} for start in range(0, len(text), 4)]
    for index, call in enumerate(message.get("tool_calls", ())):
        arguments = call["function"]["arguments"]
        deltas.append({"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + 4]}}]}
            for start in range(0, len(arguments), 4)
        ]
    for delta in deltas:
        yield {**same, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**same, "choices": [{"index": 0, "delta": {}, "finish_reason": _finish(message)}]}
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield {**same, "choices": [], "usage": usage}


def _finish(message: dict[str, Any]) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


USAGE = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}


@contextmanager
def openai_server(
    answer: Callable[[str], str], *, calls: Callable[[str], bool] = lambda _: False, **fields: Any
) -> Iterator[OpenAIServer]:
    """A running server, on a loopback port of its own."""
    server = OpenAIServer(answer, calls, **fields)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.body()
            server.bodies.append(body)
            asked = json.loads(body)
            message = server.message(asked)
            usage = server.usage(asked, message)
            if asked.get("stream"):
                lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(message, asked, usage)]
                self.answer("".join([*lines, "data: [DONE]\n\n"]).encode(), kind="text/event-stream")
                return
            choice = {"index": 0, "message": message, "finish_reason": _finish(message)}
            head = {"id": "x", "object": "chat.completion", "created": 0, "model": asked["model"]}
            self.answer(json.dumps({**head, "choices": [choice], "usage": usage}).encode())

    with listening(Handler) as server.port:
        yield server

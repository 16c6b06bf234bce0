"""OpenAI's batch files: one of requests and one of responses, joined by `custom_id`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage

from dsplus_chains.running.logprobs import told_confidence
from dsplus_chains.schema import shown
from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.table import Table
from dsplus_chains.tables.table_error import TableError

_Placed: TypeAlias = tuple[str, Mapping[str, Any]]
"""The body of a request or an answer, after its place."""


def is_batch_file(table: Table) -> bool:
    """Whether a table is one of the two files of a batch."""
    return "custom_id" in table.columns and bool({"body", "response"} & set(table.columns))


def joined(tables: Sequence[Table]) -> list[tuple[str, Row]]:
    """The requests with their responses, in the order of the requests, each with its place.

    A row has `input`, `output`, `confidence` and `time`. The output of a request that failed is None.

    A request may be there again, and so may its response. An answer counts, and a failure before or after it does not.

    Raises:
        TableError: There are no requests, no responses, or no request has a response. Or two requests, or two answers,
            have one `custom_id`. Then nothing tells which belong together.
    """
    requests: dict[str, _Placed] = {}
    responses: dict[str, _Placed] = {}
    for table in tables:
        for number, row in enumerate(table.rows, start=1):
            name, place = str(row.get("custom_id")), f"{table.path}, row {number}"
            if isinstance(row.get("body"), Mapping):
                _put(requests, name, (place, row["body"]), "requests")
            elif isinstance(row.get("response"), Mapping) and _body(row["response"]):
                _put(responses, name, (place, _body(row["response"])), "answers")
            elif isinstance(row.get("response"), Mapping):
                responses.setdefault(name, (place, {}))
    if not requests.keys() & responses.keys():
        msg = (
            f"{tables[0].path}: got {len(requests)} requests and {len(responses)} responses that share no custom_id, "
            'but expected both files of a batch: read_logs(["requests.jsonl", "responses.jsonl"])'
        )
        raise TableError(msg)
    return [(place, _row(body, responses.get(name, ("", {}))[1])) for name, (place, body) in requests.items()]


def _put(known: dict[str, _Placed], name: str, found: _Placed, what: str) -> None:
    """Remember a request or an answer by its id.

    Raises:
        TableError: There is another one of this id.
    """
    place, body = known.get(name, ("", {}))
    if body and body != found[1]:
        msg = (
            f"{found[0]}: got another of the {what} with the custom_id {shown(name)}, after {place}, but expected each "
            "custom_id once. Are these files of several batches? Read each batch by itself, or give them other ids"
        )
        raise TableError(msg)
    known[name] = found


def _body(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the model answered. It is empty if the request failed."""
    body = response.get("body")
    return body if isinstance(body, Mapping) and response.get("status_code") in {200, None} else {}


def _row(request: Mapping[str, Any], body: Mapping[str, Any]) -> Row:
    choices = body.get("choices") or [{}]
    sure = told_confidence(AIMessage("", response_metadata={"logprobs": choices[0].get("logprobs")}))
    return {
        "input": request.get("messages", request.get("input", request.get("prompt"))),
        "output": body or None,
        "confidence": sure,
        "time": body.get("created", body.get("created_at")),
    }

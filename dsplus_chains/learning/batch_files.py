"""OpenAI's batch files: one of requests and one of responses, joined by `custom_id`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage

from dsplus_chains.running.logprobs import told_confidence
from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.table import Table
from dsplus_chains.tables.table_error import TableError


def is_batch_file(table: Table) -> bool:
    """Whether a table is one of the two files of a batch."""
    return "custom_id" in table.columns and bool({"body", "response"} & set(table.columns))


def joined(tables: Sequence[Table]) -> list[tuple[str, Row]]:
    """The requests with their responses, in the order of the requests, each with its place.

    A row has `input`, `output`, `confidence` and `time`. The output of a request that failed is None.

    Raises:
        TableError: There are no requests, no responses, or no request has a response.
    """
    requests: dict[str, tuple[str, Mapping[str, Any]]] = {}
    responses: dict[str, Mapping[str, Any]] = {}
    for table in tables:
        for number, row in enumerate(table.rows, start=1):
            name, place = str(row.get("custom_id")), f"{table.path}, row {number}"
            if isinstance(row.get("body"), Mapping):
                requests[name] = (place, row["body"])
            elif isinstance(row.get("response"), Mapping):
                responses[name] = row["response"]
    if not requests.keys() & responses.keys():
        msg = (
            f"{tables[0].path}: got {len(requests)} requests and {len(responses)} responses that share no custom_id, "
            'but expected both files of a batch: read_logs(["requests.jsonl", "responses.jsonl"])'
        )
        raise TableError(msg)
    return [(place, _row(body, responses.get(name, {}))) for name, (place, body) in requests.items()]


def _row(request: Mapping[str, Any], response: Mapping[str, Any]) -> Row:
    body = response.get("body")
    body = body if isinstance(body, Mapping) and response.get("status_code") in {200, None} else {}
    choices = body.get("choices") or [{}]
    sure = told_confidence(AIMessage("", response_metadata={"logprobs": choices[0].get("logprobs")}))
    return {
        "input": request.get("messages", request.get("input", request.get("prompt"))),
        "output": body or None,
        "confidence": sure,
        "time": body.get("created", body.get("created_at")),
    }

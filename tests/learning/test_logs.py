"""What users have: tables, and exports of LangSmith, Langfuse and OpenAI's batches."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from dsplus_chains import InvalidInputError
from dsplus_chains.learning import read_logs
from dsplus_chains.learning.logged_cells import output_of, point_of_time, with_messages
from dsplus_chains.tables import TableError


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def table(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def lc_message(kind, content):
    ids = ["langchain", "schema", "messages", f"{kind.capitalize()}Message"]
    return {"lc": 1, "type": "constructor", "id": ids, "kwargs": {"content": content, "type": kind}}


def test_a_table_with_usual_names(tmp_path):
    path = table(
        tmp_path / "a.csv",
        ["id", "text", "answer", "confidence", "time"],
        [[1, "it broke", " negative ", "0.9", "1970-01-01T00:00:05+00:00"], [2, '["x"]', "", "", ""]],
    )
    logs = read_logs(path)
    assert logs.texts == ("it broke", '["x"]')  # a text that looks like JSON stays a text
    assert logs.answers == ("negative", None)
    assert logs.confidences == (0.9, None)
    assert logs.times == (5.0, None)
    assert logs.skipped == ()
    assert len(logs) == 2


def test_columns_are_named_and_answers_read(tmp_path):
    path = lines(
        tmp_path / "a.jsonl", [{"review": "it broke", "said": "It is negative."}, {"review": "ok", "said": "?"}]
    )
    logs = read_logs(path, text="review", answer="said", labels=["positive", "negative"])
    assert logs.answers == ("negative", None)
    with pytest.raises(TableError, match=r"which column holds the text.*'review'"):
        read_logs(path)
    with pytest.raises(TableError, match="no column 'stars'"):
        read_logs(path, text="review", answer="stars")
    with pytest.raises(TableError, match="as a function"):
        read_logs(path, text=len)


def test_parquet_and_several_files(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"text": ["a b"], "label": [3.0]}).to_parquet(tmp_path / "a.parquet")
    pandas.DataFrame({"text": ["c d"], "label": [4]}).to_parquet(tmp_path / "b.parquet")
    logs = read_logs([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert (logs.texts, logs.answers) == (("a b", "c d"), (3, 4))


def test_langsmith_runs(tmp_path):
    chat = {"messages": [[lc_message("system", "Classify."), lc_message("human", "it broke")]]}
    said = {"generations": [[{"text": "negative", "message": lc_message("ai", "negative")}]]}
    runs = [
        {
            "id": 1,
            "inputs": {"question": "it broke"},
            "outputs": {"output": "negative"},
            "start_time": "2024-05-01T10:00:00",
        },
        {"id": 2, "inputs": {"question": "child"}, "outputs": {"output": "no"}, "parent_run_id": "1"},
        {"id": 3, "inputs": chat, "outputs": said, "error": None},
        {"id": 4, "inputs": {"question": "it failed"}, "outputs": {}, "error": "TimeoutError()"},
        {"id": 5, "inputs": {"number": 3}, "outputs": {"output": "negative"}},
    ]
    logs = read_logs(lines(tmp_path / "runs.jsonl", runs))
    assert logs.texts == ("it broke", "it broke", "it failed")
    assert logs.answers == ("negative", "negative", None)
    assert logs.times == (1714557600.0, None, None)
    (told,) = logs.skipped
    assert "runs.jsonl, row 5: InvalidInputError" in told


def test_langsmith_examples_as_csv_with_paths(tmp_path):
    row = [
        json.dumps({"ticket": {"body": "it broke"}, "id": "x", "lang": "en"}),
        json.dumps({"kind": "bug", "why": "so"}),
    ]
    path = table(tmp_path / "examples.csv", ["inputs", "outputs"], [row])
    logs = read_logs(path, text="ticket.body", answer="kind")
    assert (logs.texts, logs.answers) == (("it broke",), ("bug",))
    assert read_logs(path, text="{ticket.body} ({lang})", answer=lambda out: out["why"]).texts == ("it broke (en)",)
    assert read_logs(path, text="ticket.body").answers == ({"kind": "bug", "why": "so"},)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_langfuse_observations(tmp_path, kind):
    rows = [
        {
            "id": "a",
            "traceId": "t1",
            "type": "GENERATION",
            "startTime": "1970-01-01T00:00:01.000Z",
            "input": [{"role": "system", "content": "Classify."}, {"role": "user", "content": "it broke"}],
            "output": {"role": "assistant", "content": "negative"},
        },
        {
            "id": "b",
            "traceId": "t2",
            "type": "SPAN",
            "input": {"role": "user", "content": "fine"},
            "output": "positive",
        },
        {"id": "c", "traceId": "t2", "input": "child", "output": "x", "parentObservationId": "b"},
        {"id": "d", "traceId": "t3", "input": "plain", "output": None},
    ]
    path = tmp_path / f"observations.{kind}"
    if kind == "jsonl":
        lines(path, rows)
    else:
        columns = ["id", "traceId", "type", "startTime", "input", "output", "parentObservationId"]
        cells = [
            [json.dumps(row.get(name)) if name in {"input", "output"} else row.get(name) for name in columns]
            for row in rows
        ]
        table(path, columns, cells)
    logs = read_logs(path)
    assert logs.texts == ("it broke", "fine", "plain")
    assert logs.answers == ("negative", "positive", None)
    assert logs.times[0] == 1.0


def test_openai_batches_are_joined(tmp_path):
    def request(name, text):
        messages = [{"role": "system", "content": "Classify."}, {"role": "user", "content": text}]
        return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": {"messages": messages}}

    tokens = {"content": [{"token": "neg", "logprob": math.log(0.9)}, {"token": "ative", "logprob": math.log(0.5)}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": "negative"}, "logprobs": tokens}
    answered = {"status_code": 200, "body": {"created": 7, "choices": [choice], "usage": {"total_tokens": 3}}}
    refused = {"status_code": 429, "body": {"error": {"message": "slow down"}}}
    responses = {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"text": "positive"}]}]}
    requests = lines(
        tmp_path / "requests.jsonl",
        [
            request("1", "it broke"),
            request("2", "too fast"),
            request("3", "never answered"),
            {"custom_id": "4", "body": {"input": "it works"}},
        ],
    )
    answers = lines(
        tmp_path / "responses.jsonl",
        [
            {"custom_id": "4", "response": {"status_code": 200, "body": responses}, "error": None},
            {"custom_id": "2", "response": refused, "error": None},
            {"custom_id": "1", "response": answered, "error": None},
        ],
    )
    for paths in ([requests, answers], [answers, requests]):
        logs = read_logs(paths)
        assert logs.texts == ("it broke", "too fast", "never answered", "it works")
        assert logs.answers == ("negative", None, None, "positive")
        assert logs.confidences == (pytest.approx(0.45), None, None, None)
        assert logs.times[0] == 7.0
    with pytest.raises(TableError, match="both files of a batch"):
        read_logs(requests)


def batch(path, texts, answers, *, first=1):
    """The two files of a batch. None is a request that failed."""
    bodies = [None if said is None else {"choices": [{"message": {"content": said}}]} for said in answers]
    told = [{"status_code": 500} if body is None else {"status_code": 200, "body": body} for body in bodies]
    asked = [{"body": {"messages": [{"role": "user", "content": text}]}} for text in texts]
    return [
        lines(
            path.with_suffix(f".{kind}.jsonl"),
            [{"custom_id": f"request-{n}", **row} for n, row in enumerate(rows, first)],
        )
        for kind, rows in (("asked", asked), ("told", [{"response": one, "error": None} for one in told]))
    ]


def test_batches_that_count_anew_are_not_mixed_up(tmp_path):
    one, two = (
        batch(tmp_path / "1", ["alpha", "beta"], ["a", "b"]),
        batch(tmp_path / "2", ["gamma", "delta"], ["a", None]),
    )
    for paths in ([*one, *two], [one[0], two[0], one[1], two[1]]):
        with pytest.raises(TableError, match=r"another of the requests with the custom_id 'request-1'.*by itself"):
            read_logs(paths)
    with pytest.raises(TableError, match=r"2.told.jsonl, row 1: got another of the answers .* after .*1.told"):
        read_logs([*one, batch(tmp_path / "2", ["gamma"], ["c"])[1]])
    later = batch(tmp_path / "3", ["gamma", "delta"], ["c", "d"], first=3)
    assert read_logs([*one, *later]).texts == ("alpha", "beta", "gamma", "delta")


def test_what_failed_in_a_batch_and_was_sent_again_is_answered(tmp_path):
    one, again = batch(tmp_path / "1", ["alpha", "beta"], ["a", None]), batch(tmp_path / "2", ["beta"], ["b"], first=2)
    for paths in ([*one, *again], [*again, *one], [*one, one[1], *again]):
        logs = read_logs(paths)
        assert dict(zip(logs.texts, logs.answers, strict=True)) == {"alpha": "a", "beta": "b"}


def test_an_answer_that_is_elsewhere_is_told_with_what_to_say(tmp_path):
    run = {"inputs": {"text": "a"}, "outputs": {"label": "x"}, "start_time": "2026-01-01"}
    with pytest.raises(
        TableError, match=r"something at 'nope', where 'nope' is missing\. Say where the answer is with answer="
    ):
        read_logs(lines(tmp_path / "runs.jsonl", [run]), answer="nope")


def test_a_confidence_on_another_scale_is_unknown_and_costs_no_row(tmp_path):
    told = [7, 93, "93%", "high", True, [0.5], -1, "0.9", None]
    path = lines(tmp_path / "a.jsonl", [{"text": "fine", "answer": "b", "confidence": one} for one in told])
    logs = read_logs(path)
    assert logs.confidences == (*[None] * 7, 0.9, None)
    assert logs.answers == ("b",) * 9
    assert logs.skipped == ()


SAID = {"role": "assistant", "content": "card"}
RESPONSE = {"output": [{"type": "reasoning", "summary": []}, {"type": "message", **SAID}]}
STORED = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"]}


CALL = {"name": "Kind", "args": {"label": "card"}, "id": "1"}
CALLED = {"id": "1", "type": "function", "function": {"name": "Kind", "arguments": '{"label": "card", "why": "…"}'}}
OTHER = {"name": "Kind", "args": {"label": "loan"}, "id": "2"}
GENERATED = {**STORED, "kwargs": {"content": "", "tool_calls": [CALL], "additional_kwargs": {"tool_calls": [CALLED]}}}


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ({"choices": [{"message": {**SAID, "content": None, "tool_calls": [CALLED]}}]}, "card"),
        ({**SAID, "content": "It seems a loan", "tool_calls": [CALLED, CALLED]}, "card"),
        ({**SAID, "content": None, "additional_kwargs": {"tool_calls": [CALLED]}}, "card"),
        ({"generations": [[{"text": "", "message": GENERATED}]]}, "card"),
        ({"output": [{"type": "reasoning"}, {"type": "function_call", "arguments": '{"label": "card"}'}]}, "card"),
        ({**SAID, "tool_calls": [CALL, OTHER]}, [CALL["args"], OTHER["args"]]),
        ({**SAID, "tool_calls": []}, "card"),
        ({**SAID, "tool_calls": [{"name": "done", "args": {}}]}, "card"),
        ({"output": ["a", "b"]}, ["a", "b"]),
        ({"output": []}, []),
        (RESPONSE, "card"),
        ({"messages": [{"role": "user", "content": "Where?"}, SAID]}, "card"),
        ({"messages": [["human", "Where?"], ["ai", "card"]]}, "card"),
        ({"messages": [[{"role": "user", "content": "Where?"}, SAID]], "remaining_steps": 3}, "card"),
        ({"messages": [SAID], "output": "refund"}, "refund"),
        ({"choices": [{"message": SAID, "finish_reason": "length"}]}, None),
        ({"choices": [{"message": SAID, "finish_reason": "content_filter"}]}, None),
        ({"choices": [{"message": SAID, "finish_reason": "stop"}]}, "card"),
        ({"choices": [{"message": {**SAID, "refusal": "I will not"}, "finish_reason": "stop"}]}, None),
        ({**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, None),
        ({**RESPONSE, "status": "completed", "incomplete_details": None, "error": None}, "card"),
        (
            {"output": [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]},
            None,
        ),
        ({**SAID, "stop_reason": "max_tokens"}, None),
        ({**SAID, "stop_reason": "end_turn", "content": [{"type": "text", "text": "card"}]}, "card"),
        ({"generations": [[{"text": "card", "generation_info": {"finish_reason": "length"}}]]}, None),
        ({**STORED, "kwargs": {"content": "card", "response_metadata": {"finish_reason": "MAX_TOKENS"}}}, None),
        ({**STORED, "kwargs": {"content": "card", "response_metadata": {"finish_reason": "STOP"}}}, "card"),
        ({"label": "failed", "status": "cancelled"}, "failed"),  # an app's own words
        ({"status": "failed"}, "failed"),
        ({"output": ["a", "b"], "status": "failed"}, ["a", "b"]),
        ({"refusal": "rude"}, "rude"),
        ({"messages": [[]]}, []),
        ({"type": "bug", "status": "blocked"}, {"type": "bug", "status": "blocked"}),
    ],
)
def test_the_answer_in_an_output(output, answer):
    assert output_of(output) == answer


@pytest.mark.parametrize(
    "messages",
    [
        [["human", "Where?"]],
        [[["human", "Where?"]]],
        [["system", "Be kind."], ["user", "Where?"]],
        [["ai", "Hello"], ["HumanMessage", "Where?"]],
    ],
)
def test_messages_may_be_pairs(messages):
    last = with_messages({"messages": messages})["messages"][-1]
    assert last == {"role": "user", "content": "Where?"}


def test_labels_in_one_text_are_not_read_letter_by_letter(tmp_path):
    with pytest.raises(InvalidInputError, match=r"labels='ab'.*expected a list"):
        read_logs(lines(tmp_path / "a.jsonl", [{"text": "fine", "answer": "a"}]), labels="ab")


def test_what_is_wrong_is_named_with_its_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "answer": "b"}\n{"text": \n')
    with pytest.raises(TableError, match=r"a\.jsonl, row 2 \(line 2\): unreadable as JSON"):
        read_logs(path)
    lines(path, [{"text": None, "answer": "b"}, {"text": " ", "answer": "c"}])
    with pytest.raises(TableError, match=r"no row with a text; .*row 1, column 'text'"):
        read_logs(path)
    lines(path, [{"text": 7, "answer": "b"}, {"text": "fine", "answer": "c"}])
    logs = read_logs(path)
    assert logs.answers == ("c",)
    assert "row 1" in logs.skipped[0]
    assert "text" in logs.skipped[0]
    with pytest.raises(TableError, match="no file"):
        read_logs([])


@pytest.mark.parametrize("cell", [1704067200, 1704067200000, 1704067200000000, 1704067200000000000, "20240101"])
def test_a_time_is_told_in_any_unit_and_in_a_text(cell):
    for told in (cell, str(cell), float(cell), str(float(cell)), f" {cell} ", np.int64(cell)):
        assert point_of_time(told) in {1704067200.0, 20240101.0}
    assert point_of_time(str(cell)) == 1704067200.0


@pytest.mark.parametrize(
    "cell",
    [
        True,
        False,
        None,
        "",
        float("nan"),
        float("inf"),
        "1e99",
        "1.2.3",
        20240101120000,
        "20240101120000",
        10**400,
        -(10**12),
    ],
)
def test_what_tells_no_time_is_none(cell):
    assert point_of_time(cell) is None


def test_the_times_of_a_csv_file_are_seconds(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("text,answer,time\na,x,1704067200\nb,y,1704067200000\nc,x,2024-01-01T00:00:00Z\nd,y,soon\n")
    assert read_logs(path, labels=["x", "y"]).times == (*[1704067200.0] * 3, None)

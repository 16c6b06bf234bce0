from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from batch_server import batch_server
from blockbuster import blockbuster_ctx
from command_line import wait_until
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from openai import AuthenticationError, NotFoundError
from pydantic import BaseModel, ValidationError

from dsplus_chains import SQLiteAnswerCache
from dsplus_chains.corpus import BatchChatOpenAI, BatchJobError
from dsplus_chains.corpus.job_lines import job_files, keyed, replies_in
from dsplus_chains.prompting import LabelAsker, LabelParser
from dsplus_chains.schema import WiringError

TEXTS = [f"text {number}" for number in range(7)]


def say(text):
    if "refuse" in text:
        raise ValueError("no, thank you")
    if "silent" in text:
        raise KeyError
    return text.upper()


@pytest.fixture
def server():
    with batch_server(say) as running:
        yield running


@pytest.fixture
def model(server, tmp_path):
    def make(**settings):
        own = {"state": tmp_path / "jobs.sqlite", "poll": 0.06, "temperature": 0, "api_key": "none", **settings}
        return BatchChatOpenAI(model="gpt", base_url=server.base_url, **own)

    return make


async def called(way, model, inputs, config=None, **kwargs):
    return model.batch(inputs, config, **kwargs) if way == "batch" else await model.abatch(inputs, config, **kwargs)


def repr_of(body):
    return json.dumps(body, sort_keys=True)


both = pytest.mark.parametrize("way", ["batch", "abatch"])


@both
async def test_one_batch_is_one_job_and_the_answers_come_in_order(server, model, way):
    messages = await called(way, model(), TEXTS)
    assert [message.content for message in messages] == [text.upper() for text in TEXTS]
    assert server.sizes() == [7]
    assert not server.single
    (job,) = server.jobs.values()
    assert (job["endpoint"], job["completion_window"], job["looks"]) == ("/v1/chat/completions", "24h", 2)
    assert messages[0].usage_metadata["total_tokens"] == 10
    assert messages[0].response_metadata["model_name"] == "gpt"


async def test_the_requests_are_those_of_the_chat_model_that_is_asked_directly(server, model):
    settings = {"seed": 3, "max_tokens": 5, "logprobs": True, "extra_body": {"guided_choice": ["a", "b"]}}
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{text}")])
    tool = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
    direct = ChatOpenAI(model="gpt", api_key="none", base_url=server.base_url, temperature=0, **settings)
    for bound in ({}, {"stop": ["x"]}, {"tools": [{"type": "function", "function": tool}]}):
        inputs = [{"text": f"{text} {bound}"} for text in TEXTS[:2]]
        (chain | direct.bind(**bound)).batch(inputs)
        (chain | model(**settings).bind(**bound)).batch(inputs)
        expected = [{name: value for name, value in body.items() if name != "stream"} for body in server.single]
        assert sorted(server.bodies, key=repr_of) == sorted(expected, key=repr_of)
        server.bodies.clear()
        server.single.clear()


@both
async def test_every_way_that_is_no_batch_is_a_job_as_well(server, model, way):
    chat = model(streaming=True)
    if way == "batch":
        said = [chat.invoke("a"), *chat.stream("b"), chat.generate([[HumanMessage("c")]])]
    else:
        said = [await chat.ainvoke("a"), *[chunk async for chunk in chat.astream("b")]]
        [event async for event in chat.astream_events("d", version="v2")]
    assert [said[0].content, said[1].content] == ["A", "B"]
    assert server.sizes() == [1, 1, 1]
    assert not server.single


async def test_the_loop_is_not_blocked(server, model):
    chat = model()
    await chat.abatch(TEXTS[:1])
    with blockbuster_ctx():  # it raises where the loop is blocked
        said = await chat.abatch(TEXTS)
    assert [message.content for message in said] == [text.upper() for text in TEXTS]


async def test_a_key_that_can_only_be_awaited_serves_calls_that_await(server, model):
    async def key():
        return "none"

    chat = model(api_key=key)
    (message,) = await chat.abatch(TEXTS[:1])
    assert message.content == "TEXT 0"
    with pytest.raises(WiringError, match="can only be awaited"):
        chat.batch(TEXTS[:1])


@both
async def test_a_row_that_fails_fails_alone_and_is_asked_again_next_time(server, model, way):
    chat, inputs = model(), ["good", "refuse", "silent", object(), "fine"]
    said = await called(way, chat, inputs, return_exceptions=True)
    assert [getattr(each, "content", type(each)) for each in said] == [
        "GOOD", BatchJobError, BatchJobError, ValueError, "FINE"
    ]  # fmt: skip
    assert "no, thank you" in str(said[1])
    assert said[1].status_code == 400
    assert "'completed' without this request" in str(said[2])
    with pytest.raises(BatchJobError, match="no, thank you"):
        await called(way, chat, ["good", "refuse", "fine"])
    assert Counter(server.asked) == {"good": 1, "fine": 1, "refuse": 2, "silent": 1}


@both
@pytest.mark.parametrize("end", ["expired", "cancelled"])
async def test_a_job_that_ends_early_delivers_what_was_done(server, model, way, end):
    server.end, server.done = end, 4
    said = await called(way, model(), TEXTS, return_exceptions=True)
    errors = [each for each in said if isinstance(each, Exception)]
    assert [type(error) for error in errors] == [BatchJobError] * 3
    assert ("in time" if end == "expired" else "cancelled") in str(errors[0])
    assert [each.content for each in said if each not in errors] == [
        text.upper() for text in TEXTS if text in server.asked
    ]
    server.end, server.done = "completed", None
    assert [each.content for each in await called(way, model(), TEXTS)] == [text.upper() for text in TEXTS]
    assert server.sizes() == [7, 3]
    assert Counter(server.asked).most_common(1)[0][1] == 1


def test_a_job_that_is_refused_as_a_whole_says_why(server, model):
    server.end = "failed"
    (error,) = model().batch(TEXTS[:1], return_exceptions=True)
    assert "the file is no good" in str(error)


def test_jobs_are_cut_by_requests_and_by_bytes(server, model):
    assert [one.content for one in model(most_requests=3).batch(TEXTS)] == [text.upper() for text in TEXTS]
    assert server.sizes() == [3, 3, 1]
    long = [f"{number} {'x' * 500}" for number in range(5)]
    model(most_bytes=1700).batch(long)
    assert server.sizes()[3:] == [2, 2, 1]
    assert all(len(server.files[job["input_file_id"]]) <= 1700 for job in server.jobs.values())


@both
async def test_a_job_for_which_there_is_no_room_is_made_again_when_another_has_ended(server, model, way):
    server.room = 3
    said = await called(way, model(most_requests=3), TEXTS)
    assert [one.content for one in said] == [text.upper() for text in TEXTS]
    assert Counter(server.asked) == dict.fromkeys(TEXTS, 1)
    (error, *_) = await called(way, model(), [f"more {n}" for n in range(5)], return_exceptions=True)
    assert "Enqueued token limit reached" in str(error)


def test_calls_of_several_threads_share_the_room_of_the_account(server, model):
    server.room = 5
    chat, calls = model(), [[f"call {number}, row {row}" for row in range(4)] for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(chat.batch, calls))
    assert [[one.content for one in each] for each in said] == [[text.upper() for text in call] for call in calls]
    assert set(Counter(server.asked).values()) == {1}


@both
async def test_what_is_in_a_job_is_not_asked_again_by_another_process(server, model, way):
    first = await called(way, model(), TEXTS)
    again = await called(way, model(), [*TEXTS[::-1], "new"])
    assert [message.content for message in again] == [*(message.content for message in first[::-1]), "NEW"]
    assert server.sizes() == [7, 1]
    assert model(temperature=0.5).batch(TEXTS[:1])[0].content == "TEXT 0"
    assert server.sizes() == [7, 1, 1]


def test_equal_requests_of_one_call_are_asked_each(server, model):
    model(temperature=1).batch(["same"] * 3)
    assert server.asked == ["same"] * 3
    model(temperature=1).batch(["same"] * 3)
    assert server.asked == ["same"] * 3


@both
async def test_what_the_cache_knows_is_in_no_job(server, model, way):
    cache = SQLiteAnswerCache(":memory:")
    await called(way, model(cache=cache), TEXTS[:4])
    usage = UsageMetadataCallbackHandler()
    said = await called(way, model(cache=cache), TEXTS, {"callbacks": [usage]})
    assert [message.content for message in said] == [text.upper() for text in TEXTS]
    assert server.sizes() == [4, 3]
    assert len(cache) == 7
    cache.clear()  # then the job has been forgotten too
    await called(way, model(cache=cache), TEXTS[:1])
    assert server.sizes() == [4, 3, 1]


def test_each_row_is_one_run_and_what_is_foreseen_is_none(server, model):
    usage = UsageMetadataCallbackHandler()
    chat = model(callbacks=[usage])
    chat.batch(TEXTS, {"max_concurrency": 2})
    assert usage.usage_metadata["gpt"]["total_tokens"] == 70


@both
async def test_an_outage_of_the_server_is_waited_for(server, model, way):
    for call in ("POST /v1/files", "GET /v1/batches/", "GET /v1/batches/", "GET /v1/files"):
        server.troubles.append((call, 500, "before"))
    server.troubles += [("POST /v1/batches", 429, "before"), ("GET /v1/batches/", 429, "before")]
    assert [one.content for one in await called(way, model(), TEXTS)] == [text.upper() for text in TEXTS]
    assert server.sizes() == [7]
    assert not server.troubles


@both
async def test_a_job_whose_making_was_not_confirmed_is_found_and_not_made_twice(server, model, way):
    server.troubles.append(("POST /v1/batches", 500, "after"))
    assert [one.content for one in await called(way, model(), TEXTS)] == [text.upper() for text in TEXTS]
    assert server.sizes() == [7]


def test_a_wrong_key_is_the_clients_own_error_and_leaves_nothing_behind(server, model):
    server.troubles.append(("POST /v1/batches", 401, "before"))
    with pytest.raises(AuthenticationError):
        model().batch(TEXTS)
    assert model().batch(TEXTS[:1])[0].content == "TEXT 0"


def test_a_job_that_the_provider_has_deleted_is_asked_anew_by_the_next_call(server, model):
    model().batch(TEXTS)
    server.files.clear()
    assert {type(one) for one in model().batch(TEXTS, return_exceptions=True)} == {NotFoundError}
    assert [one.content for one in model().batch(TEXTS)] == [text.upper() for text in TEXTS]


_KILLED = """
import sys
from dsplus_chains.corpus import BatchChatOpenAI
model = BatchChatOpenAI(model="gpt", api_key="none", base_url=sys.argv[1], state=sys.argv[2], poll=0.06, temperature=0)
model.batch([f"text {number}" for number in range(7)])
"""


@pytest.mark.parametrize("word", ["heard", "lost"])
def test_a_killed_process_picks_up_its_job(server, model, tmp_path, word):
    """Also one that was killed between the making of the job and the server's word."""
    server.held.clear()
    state = tmp_path / "jobs.sqlite"
    with subprocess.Popen([sys.executable, "-c", _KILLED, server.base_url, str(state)]) as run:
        wait_until(run, lambda: any(job["looks"] for job in [*server.jobs.values()]))
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    if word == "lost":
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(state)) as database, database:
            assert database.execute("UPDATE jobs SET id = NULL").rowcount == 1
        for number in range(5):  # others, made later
            server.jobs[f"other_{number}"] = {**server.jobs["batch_0"], "id": f"other_{number}", "metadata": None}
    server.held.set()
    assert [one.content for one in model().batch(TEXTS)] == [text.upper() for text in TEXTS]
    assert Counter(server.asked) == dict.fromkeys(TEXTS, 1)
    assert sum(call == "POST /v1/batches" for call in server.calls) == 1


def test_a_structured_answer_comes_through_a_job(server, model):
    schema = {"title": "Answer", "type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    assert model().with_structured_output(schema).batch(["x", "y"]) == [{"label": "X"}, {"label": "Y"}]
    parser = LabelParser(labels=["X", "Y"])
    assert LabelAsker(model=model(), parser=parser, structured=True).batch(["x", "y"]) == ["X", "Y"]
    assert not server.single


def test_a_class_as_the_form_of_an_answer_is_refused_with_advice(model):
    class Answer(BaseModel):
        label: str

    with pytest.raises(WiringError, match=r"Answer\.model_json_schema\(\)"):
        model().with_structured_output(Answer).batch(["x"])


def test_the_responses_api_is_refused(model):
    with pytest.raises(ValidationError, match="use_responses_api=True"):
        model(use_responses_api=True)


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5), st.integers(1, 400))
def test_files_hold_each_request_once_in_order_and_within_the_limits(numbers, most, size):
    bodies = [{"n": number} for number in numbers]
    keys = keyed(bodies)
    assert len(set(keys)) == len(keys)
    files = list(job_files(dict(zip(keys, bodies, strict=True)), most_requests=most, most_bytes=size))
    assert [key for file in files for key in file.keys] == keys
    lines = [json.loads(line) for file in files for line in file.content.splitlines()]
    assert [line["custom_id"] for line in lines] == keys
    assert [line["body"] for line in lines] == bodies
    for file in files:
        assert len(file.keys) == 1 or (len(file.keys) <= most and len(file.content) <= size)


def test_a_damaged_line_costs_that_line_alone():
    line = {"custom_id": "b", "response": {"status_code": 200, "body": {"said": "a\u2028b"}}, "error": None}
    good = json.dumps(line, ensure_ascii=False).encode()
    assert replies_in(b"{half\n[1]\n" + good + b"\n\n") == {"b": {"said": "a\u2028b"}}

"""No more is spent than the budget and one answer, however the chain is called."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from clock import PATIENCE, auntil, longer, until
from fakes import CountingChat, DownChat
from fault_server import fault_server
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import Field

from dsplus_chains import (
    Budget,
    BudgetError,
    ConfidenceBranch,
    DSPlusError,
    Prediction,
    WiringError,
    data_shunt,
    shunt,
)
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.call_estimate import answer_limit, estimated_tokens
from dsplus_chains.running.limits import Limits

LABELS = ["positive", "negative"]
PROMPT, ANSWER = 50, 33


class Slow(BaseChatModel):
    """A chat model that takes its time and tells the tokens of 83 a call."""

    said: str = "negative"
    model_name: str = "slow"
    delay: float = 0.01
    told: bool = True
    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "slow"

    def _message(self, messages, kind=AIMessage):
        self.asked.append(str(messages[-1].content))
        usage = {"input_tokens": PROMPT, "output_tokens": ANSWER, "total_tokens": PROMPT + ANSWER}
        return kind(self.said, usage_metadata=usage if self.told else None)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._message(messages)
        time.sleep(self.delay)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._message(messages)
        await asyncio.sleep(self.delay)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Gated(Slow):
    """It answers once it is let through. Under async it never does."""

    begun: Any = Field(default_factory=threading.Event)
    open: Any = Field(default_factory=threading.Event)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.begun.set()
        assert self.open.wait(PATIENCE)
        return super()._generate(messages)

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        self.begun.set()
        await asyncio.sleep(PATIENCE)


class Streaming(Slow):
    """It streams as well."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._message(messages, AIMessageChunk)
        time.sleep(self.delay)
        for letter in self.said[:-1]:
            yield ChatGenerationChunk(message=AIMessageChunk(letter))
        yield ChatGenerationChunk(message=message.model_copy(update={"content": self.said[-1:]}))


def unsure(text):
    return Prediction(label="positive", confidence=0.5)


def chain(model, budget, **settings):
    settings = {"labels": LABELS, "instruction": "Which?", "threshold": 0.9, "hints": "none", **settings}
    return data_shunt(unsure, model, budget=budget, **settings)


def called(run, value):
    record = {}
    for chunk in run.stream(value):
        record.update(chunk)
    return record


async def streamed(run, value):
    record = {}
    async for chunk in run.astream(value):
        record.update(chunk)
    return record


async def in_threads(run, texts):
    with ThreadPoolExecutor(100) as pool:
        return list(pool.map(run.invoke, texts))


async def stream_in_threads(run, texts):
    with ThreadPoolExecutor(100) as pool:
        return list(pool.map(lambda text: called(run, text), texts))


async def gathered(run, texts):
    return await asyncio.gather(*(run.ainvoke(text) for text in texts))


async def astreamed(run, texts):
    return await asyncio.gather(*(streamed(run, text) for text in texts))


async def batched(run, texts):
    return run.batch(texts, {"max_concurrency": 100})


async def abatched(run, texts):
    return await run.abatch(texts, {"max_concurrency": 100})


WAYS = [batched, abatched, gathered, in_threads, astreamed, stream_in_threads]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [Slow, Streaming])
async def test_a_hundred_at_once_overspend_by_no_more_than_one_answer(way, model):
    budget, large = Budget(max_tokens=500), model()
    records = await way(chain(large, budget), [f"text {number}" for number in range(100)])
    spent = budget.report().tokens
    assert spent == len(large.asked) * (PROMPT + ANSWER)
    assert 500 - PROMPT - ANSWER <= spent <= 500 + ANSWER
    assert Counter(record["source"] for record in records) == {
        "large": len(large.asked),
        "fallback": 100 - len(large.asked),
    }
    refused = [record for record in records if record["source"] == "fallback"]
    assert all(record["error"].startswith("BudgetError: not asked, since 4") for record in refused)
    assert all(record["answer"] == "positive" for record in refused)
    assert budget.report().reserved_tokens == 0


async def test_rows_go_side_by_side_as_long_as_all_of_them_fit():
    met = threading.Barrier(49, timeout=PATIENCE)

    class Meeting(Slow):
        def _generate(self, *args, **kwargs):
            answer = super()._generate(*args, **kwargs)
            if len(self.asked) > 1:  # the first one shows what one costs
                met.wait()
            return answer

    run = chain(Meeting(), Budget(max_tokens=100_000, output_tokens=50))
    run.invoke("text 0")
    records = run.batch([f"text {n}" for n in range(1, 50)])
    assert Counter(record["source"] for record in records) == {"large": 49}


ONE_PROCESS = """
import sys
from langchain_openai import ChatOpenAI
from dsplus_chains import Budget, Prediction, data_shunt
url, path = sys.argv[1:]
model = ChatOpenAI(model="m", base_url=url, api_key="none", max_retries=0)
chain = data_shunt(
    lambda text: Prediction(label="positive", confidence=0.5), model, labels=["positive", "negative"],
    instruction="Which?", threshold=0.9, budget=Budget(max_tokens=500, path=path),
)
print([record["source"] for record in chain.batch([f"{n}" for n in range(50)], {"max_concurrency": 50})].count("large"))
"""


@pytest.mark.wire
def test_two_processes_share_a_budget(tmp_path):
    path = tmp_path / "budget.sqlite"
    with fault_server(mode="delay", delay=0.05, usage=(PROMPT, ANSWER)) as server:
        command = [sys.executable, "-c", ONE_PROCESS, server.base_url, str(path)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        large = [int(process.communicate(timeout=600)[0]) for process in running]
    assert sum(large) == server.requests
    spent = Budget(max_tokens=500, path=path).report().tokens
    assert spent == server.requests * (PROMPT + ANSWER)
    assert 500 - PROMPT - ANSWER <= spent <= 500 + ANSWER


@pytest.mark.wire
async def test_a_real_client_sends_no_more_requests_than_the_budget_has():
    with fault_server(mode="delay", delay=0.02, usage=(PROMPT, ANSWER)) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_tokens=ANSWER, max_retries=0)
        budget = Budget(max_tokens=500)
        await gathered(chain(model, budget), [f"{n}" for n in range(100)])
    assert budget.report().tokens == server.requests * (PROMPT + ANSWER)
    assert server.requests == 6


@pytest.mark.parametrize("way", WAYS[:3])
async def test_an_answer_of_a_cache_costs_nothing(way):
    large, budget = Slow(cache=InMemoryCache()), Budget(max_tokens=500)
    run = chain(large, budget, ask_once=False)
    run.invoke("the same")
    records = await way(run, ["the same"] * 30)
    assert {record["source"] for record in records} == {"large"}
    model = budget.report().by_model["slow"]
    assert (model.calls, model.cached, budget.report().tokens) == (1, 30, PROMPT + ANSWER)
    assert len(large.asked) == 1


def test_an_answer_that_was_kept_as_a_text_costs_nothing():
    class Texts(InMemoryCache):
        def lookup(self, prompt, llm_string):
            found = super().lookup(prompt, llm_string)
            return found and [Generation(text=found[0].text)]

    budget = Budget(max_tokens=5000)
    run = chain(Slow(cache=Texts()), budget)
    run.batch(["a"]), run.batch(["a"])
    assert (budget.report().tokens, budget.report().by_model["slow"].cached) == (PROMPT + ANSWER, 1)


def test_a_second_question_is_a_call_of_its_own_and_may_be_refused():
    budget = Budget(max_tokens=5000)
    record = chain(Slow(said="who knows"), budget).invoke("x")
    assert (record["source"], budget.report().by_model["slow"].calls) == ("fallback", 2)
    assert "BudgetError" not in record["error"]
    budget = Budget(max_tokens=PROMPT + ANSWER + 10)
    large = Slow(said="who knows")
    record = chain(large, budget).invoke("x")
    assert len(large.asked) == 1
    assert record["error"].startswith("BudgetError: not asked, since 83 of 93 tokens are spent; a prompt of about")


def test_second_questions_of_many_rows_are_not_refused_while_rows_are_under_way():
    large = Slow(said="who knows", delay=0.005)
    budget = Budget(max_tokens=6000, output_tokens=60)
    records = chain(large, budget).batch([f"{n}" for n in range(30)], {"max_concurrency": 30})
    assert not [record["error"] for record in records if "BudgetError" in record["error"]]
    assert len(large.asked) == 60


def test_fallbacks_and_retries_are_calls_too():
    budget = Budget(max_tokens=5000)
    spare = Slow(model_name="spare")
    record = chain(DownChat().with_fallbacks([spare]), budget).invoke("x")
    assert (record["source"], budget.report().tokens) == ("large", PROMPT + ANSWER)
    assert list(budget.report().by_model) == ["spare"]
    tries = []

    def flaky(text):
        tries.append(text)
        if len(tries) < 3:
            raise ConnectionError("down")
        return "negative"

    model = CountingChat(function=flaky)
    run = chain(model.with_retry(wait_exponential_jitter=False), budget)
    assert run.invoke("y")["source"] == "large"
    assert budget.report().by_model["unknown"].calls == 1


def test_a_fallback_without_a_model_is_no_answer_of_the_large_one():
    app = (ChatPromptTemplate.from_template("{x}") | Slow() | StrOutputParser()).with_fallbacks(
        [RunnableLambda(lambda value: "negative")]
    )
    branch = ConfidenceBranch(large=app, threshold=None, wants="record", budget=Budget(max_tokens=20))
    record = branch.invoke({"input": "x " * 100, "x": "x " * 100, "prediction": unsure("x")})
    assert (record["answer"], record["source"]) == ("negative", "fallback")
    assert record["error"].startswith("BudgetError")


def test_a_failed_call_costs_nothing_and_one_that_timed_out_as_much_as_an_answered_one():
    budget = Budget(max_tokens=5000)
    assert chain(DownChat(), budget).invoke("x")["source"] == "fallback"
    assert (budget.report().tokens, budget.report().reserved_tokens) == (0, 0)

    def late(text):
        raise TimeoutError("no answer")

    run = chain(CountingChat(function=lambda text: "negative"), budget)
    run.invoke("x")
    once = budget.report().tokens
    chain(CountingChat(function=late), budget, timeout=60).invoke("x")
    assert once < budget.report().tokens <= 2.2 * once
    assert budget.report().by_model["unknown"].guessed == 1


@pytest.mark.wire
@pytest.mark.parametrize(("mode", "counted"), [("slam", True), ("cut", True), ("500", False), ("429", False)])
def test_a_request_whose_answer_was_lost_counts(mode, counted):
    with fault_server(mode=mode, usage=(PROMPT, ANSWER)) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)
        budget = Budget(max_tokens=5000)
        assert chain(model, budget).invoke("x")["source"] == "fallback"
    assert (budget.report().tokens > 0) == counted
    assert budget.report().reserved_tokens == 0


async def test_a_row_that_is_given_up_stays_reserved():
    for one in longer(0.05):
        with one as seconds:
            budget, large = Budget(max_tokens=5000), Gated()
            record = await chain(large, budget, timeout=seconds).ainvoke("x")
            assert record["error"] == f"TimeoutError: no answer in {seconds:g} s"
            assert large.begun.is_set(), "it was given up before it was asked"
            assert budget.report().tokens + budget.report().reserved_tokens > 1024
    for one in longer(0.05):
        with one as seconds:
            budget, large = Budget(max_tokens=5000), Gated()
            chain(large, budget, timeout=seconds).invoke("x")
            assert large.begun.is_set(), "it was given up before it was asked"
            assert budget.report().reserved_tokens > 1024
            large.open.set()  # its thread goes on, and tells what it has cost
            until(lambda budget=budget: budget.report().reserved_tokens == 0)
            assert budget.report().tokens == PROMPT + ANSWER


async def test_a_cancelled_row_is_waited_for_by_nobody():
    budget, large = Budget(max_tokens=3000), Gated()
    task = asyncio.create_task(chain(large, budget).ainvoke("x"))
    await auntil(large.begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 50 < budget.report().tokens + budget.report().reserved_tokens < 1200
    async with asyncio.timeout(PATIENCE):
        assert (await chain(Slow(), budget).ainvoke("y"))["source"] == "large"


def test_a_failed_row_is_in_the_report_of_a_stream_as_in_that_of_a_batch():
    def fail(value):
        raise TimeoutError("no answer")

    def output(label):
        if is_made:
            raise RuntimeError("no output")
        return label

    def app(budget, **settings):
        return shunt(fail, unsure, labels=LABELS, budget=budget, **{"output": str, "threshold": 0.9, **settings})

    def branch(budget):
        return ConfidenceBranch(large=fail, threshold=0.9, on_large_error="raise", budget=budget)

    record = {"input": "x", "prediction": unsure("x")}
    for make, value in (
        (branch, record),
        (branch, {"input": "x"}),  # no prediction
        (lambda budget: app(budget, on_large_error="raise"), "x"),
        (lambda budget: app(budget, threshold=0.1, output=output), "x"),
        (lambda budget: app(budget, text="missing"), {"input": "x"}),
    ):
        reports = []
        for call in (lambda run: run.invoke(value), lambda run: list(run.stream(value))):  # noqa: B023
            budget = Budget(max_tokens=5000)
            is_made = False
            run = make(budget)
            is_made = True
            with pytest.raises((TimeoutError, RuntimeError, DSPlusError)):
                call(run)
            reports.append({source: cost.rows for source, cost in budget.report().by_arm.items()})
        assert reports == [{"error": 1}] * 2


def test_a_stream_that_is_closed_counts_what_it_has_said():
    budget = Budget(max_tokens=5000)
    arm = ChatPromptTemplate.from_template("{input}") | Streaming()  # a parser would draw the rest
    stream = ConfidenceBranch(large=arm, threshold=None, budget=budget).stream(
        {"input": "x", "prediction": unsure("x")}
    )
    for chunk in stream:
        if "answer" in chunk:
            break
    stream.close()
    report = budget.report()
    assert (report.reserved_tokens, report.by_model["slow"].guessed) == (0, 1)
    assert 0 < report.tokens < 100


@pytest.mark.parametrize("on_large_error", ["small", "raise"])
async def test_what_happens_once_it_is_spent_is_for_the_budget_to_say(on_large_error):
    run = chain(Slow(), Budget(max_tokens=0), on_large_error=on_large_error)
    assert run.invoke("x")["source"] == "fallback"
    run = chain(Slow(), Budget(max_tokens=0, spent="raise"), on_large_error=on_large_error)
    with pytest.raises(BudgetError, match="0 of 0 tokens are spent"):
        run.invoke("x")
    with pytest.raises(BudgetError):
        await run.ainvoke("x")
    with pytest.raises(BudgetError):
        called(run, "x")
    (error,) = run.batch(["x"], return_exceptions=True)
    assert isinstance(error, DSPlusError)


@pytest.mark.parametrize("cause", [True, False])
async def test_what_an_app_makes_of_a_refusal_does_not_hide_it(cause):
    def wrapping(text):
        try:
            return Slow().invoke(text).content
        except BudgetError as error:
            raise RuntimeError("the app failed") from (error if cause else None)

    def run(spent):
        budget = Budget(max_tokens=10, spent=spent)
        return shunt(wrapping, unsure, threshold=0.9, labels=LABELS, output=str, read=str, budget=budget)

    text = "x" * 100
    assert [run("small").invoke(text), await run("small").ainvoke(text)] == ["positive"] * 2
    with pytest.raises(BudgetError):
        await run("raise").ainvoke(text)
    with pytest.raises(BudgetError):
        run("raise").invoke(text)
    with pytest.raises(BudgetError):
        list(run("raise").stream(text))


def test_a_day_has_a_budget_of_its_own():
    now = [1_000_000_000.0]
    budget = Budget(max_tokens=100, per="day", clock=lambda: now[0])
    run = chain(Slow(), budget)
    assert [run.invoke(text)["source"] for text in "ab"] == ["large", "fallback"]
    assert budget.report().period == "2001-09-09"
    now[0] += 86_400
    assert run.invoke("c")["source"] == "large"
    assert (budget.report().period, budget.report().tokens) == ("2001-09-10", PROMPT + ANSWER)


def test_dollars_are_counted_by_given_prices():
    budget = Budget(max_usd=0.001, prices={"slow": (1.0, 2.0)}, output_tokens=40)  # 116 millionths of a dollar a call
    records = chain(Slow(), budget).batch([f"text {n}" for n in range(40)])
    report = budget.report()
    asked = report.by_arm["large"].rows
    assert report.usd == pytest.approx(asked * 116e-6)
    assert 0.001 - 116e-6 <= report.usd <= 0.001 + ANSWER * 2e-6
    assert report.saved_usd == pytest.approx((40 - asked) * 116e-6)
    assert "of $0.0010 are spent" in next(record["error"] for record in records if record["source"] == "fallback")


def test_dollars_are_counted_by_the_price_list():
    pytest.importorskip("genai_prices")
    budget = Budget(max_usd=1.0)
    chain(Slow(model_name="gpt-4o-mini"), budget).batch(["a", "b"])
    assert budget.report().usd == pytest.approx(2 * (PROMPT * 0.15 + ANSWER * 0.6) / 1e6)


def test_a_model_without_a_price_is_not_asked_for_dollars_and_unknown_for_tokens():
    with pytest.raises(WiringError, match="no price is known for the model 'slow'"):
        chain(Slow(), Budget(max_usd=1.0)).invoke("x")
    budget = Budget(max_tokens=1000)
    chain(Slow(), budget).invoke("x")
    assert (budget.report().usd, budget.report().saved_usd) == (None, None)
    assert budget.report().by_model["slow"].usd is None


def test_the_report_tells_arms_models_and_what_was_saved():
    def small(text):
        return Prediction(label="positive", confidence=0.95 if "sure" in text else 0.5)

    budget = Budget(max_tokens=2 * (PROMPT + ANSWER) - 20, output_tokens=20, prices={"slow": (1.0, 1.0)})
    run = data_shunt(small, Slow(), labels=LABELS, instruction="Which?", threshold=0.9, budget=budget)
    run.batch(["sure", "sure too", "a"])
    run.invoke("b"), run.invoke("c")
    report = budget.report()
    arms = {name: (arm.rows, arm.asked, arm.tokens) for name, arm in report.by_arm.items()}
    assert arms == {"small": (2, 0, 0), "large": (2, 2, 166), "fallback": (1, 0, 0)}
    assert (report.saved_tokens, report.saved_usd) == (3 * 83, pytest.approx(3 * 83e-6))
    budget.reset()
    assert (budget.report().tokens, budget.report().by_arm, budget.report().saved_tokens) == (0, {}, None)


def test_chains_share_a_budget_and_one_inside_of_another_counts_once():
    budget = Budget(max_tokens=1000)
    inner = chain(Slow(), budget)
    chain(Slow(), budget).invoke("x")
    outer = ConfidenceBranch(large=inner, threshold=None, budget=budget)
    record = outer.invoke({"input": "y", "prediction": unsure("y")})
    assert record["source"] == "large"
    report = budget.report()
    assert (report.tokens, report.by_arm["large"].rows, report.reserved_tokens) == (2 * 83, 2, 0)


@pytest.mark.parametrize("way", WAYS[:4])
async def test_a_shunt_around_an_app_has_one_too(way):
    app = ChatPromptTemplate.from_template("{text}") | Slow() | StrOutputParser()
    budget = Budget(max_tokens=500)
    run = shunt(app, unsure, threshold=0.9, labels=LABELS, text="text", budget=budget)
    said = await way(run, [{"text": f"text {n}"} for n in range(40)])
    assert Counter(said) == {"negative": 6, "positive": 34}
    assert budget.report().by_arm["fallback"].rows == 34


async def test_a_plain_function_that_calls_a_model_is_heard():
    large = Slow()
    app = RunnableLambda(lambda text: large.invoke(text).content)
    budget = Budget(max_tokens=300)
    run = shunt(app, unsure, threshold=0.9, labels=LABELS, output=str, read=str, budget=budget)
    said = await gathered(run, [f"text {n}" for n in range(30)])
    assert Counter(said)["negative"] == len(large.asked)
    assert budget.report().tokens <= 300 + ANSWER


def test_a_completion_model_is_heard():
    budget = Budget(max_tokens=40, output_tokens=10)
    arm = ChatPromptTemplate.from_template("{input}") | FakeListLLM(responses=["negative"])
    branch = ConfidenceBranch(large=arm, threshold=None, budget=budget)
    records = branch.batch([{"input": f"text {n}", "prediction": unsure("x")} for n in range(9)])
    assert Counter(record["source"] for record in records)["large"] < 5
    assert 0 < budget.report().tokens <= 50


def test_an_answer_without_usage_is_counted_by_its_text():
    budget = Budget(max_tokens=500)
    chain(Slow(told=False), budget).invoke("x")
    report = budget.report()
    assert report.by_model["slow"].guessed == 1
    assert 10 < report.tokens < 100


async def test_a_spent_budget_opens_no_breaker():
    breaker = CircuitBreaker(failures=1)
    run = chain(Slow(), Budget(max_tokens=5), breaker=breaker)
    assert run.invoke("x")["source"] == "fallback"
    assert breaker.refusal() is None


def test_limits_hold_one_and_copies_have_its_settings(tmp_path):
    budget = Budget(max_tokens=0)
    branch = ConfidenceBranch(large=lambda text: "negative", threshold=None, **Limits(budget=budget).settings)
    assert branch.invoke({"input": "x", "prediction": unsure("x")})["source"] == "fallback"
    shared = Budget(max_tokens=500, path=tmp_path / "b.sqlite")
    chain(Slow(), shared).invoke("x")
    for twin in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        assert twin == shared
        assert twin.report().tokens == PROMPT + ANSWER


def test_a_file_that_cannot_be_written_refuses_and_loses_no_answer(tmp_path):
    class Breaking(Slow):
        def _generate(self, *args, **kwargs):
            budget.ledger.close()
            return super()._generate(*args, **kwargs)

    budget = Budget(max_tokens=5000, path=tmp_path / "b.sqlite")
    run = chain(Breaking(), budget)
    assert run.invoke("x")["source"] == "large"
    assert run.invoke("x")["error"].startswith("BudgetError: not asked, since the budget")
    with sqlite3.connect(tmp_path / "b.sqlite") as database:
        assert database.execute("SELECT count(*) FROM reserved WHERE model != ''").fetchone() == (1,)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_usd": -1},
        {"max_tokens": float("inf")},
        {"max_usd": float("nan")},
        {"max_tokens": 5, "per": "week"},
        {"max_tokens": 5, "spent": "large"},
        {"max_tokens": 5, "output_tokens": 0},
        {"max_tokens": "5"},
        {"max_tokens": True},
        {"max_usd": "1"},
        {"max_tokens": 5, "per": ["day"]},
        {"max_tokens": 5, "output_tokens": None},
        {"max_tokens": 5, "prices": ["mine"]},
        {"max_tokens": 5, "prices": {"mine": 0.15}},
        {"max_tokens": 5, "prices": {"mine": ("0.15", 0.6)}},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"Got (max_usd|per|spent|output_tokens|prices)=.* but expected"):
        Budget(**settings)


@pytest.mark.parametrize(
    ("text", "at_least"),
    [("Is this review positive or negative?", 7), ("这条评论是正面的还是负面的", 13), ("", 1), ("x" * 3000, 1000)],
)
def test_estimates_are_rather_too_high(text, at_least):
    assert at_least <= estimated_tokens([HumanMessage(text)]) <= 2 * at_least + 8


def test_a_models_tools_are_a_part_of_its_prompt():
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 300, "parameters": {}}}
    plain = estimated_tokens([HumanMessage("x")])
    assert estimated_tokens([HumanMessage("x")], {"tools": [tool]}) >= plain + 100


@pytest.mark.parametrize(
    ("params", "metadata", "limit"),
    [
        ({"max_tokens": 7}, {}, 7),
        ({"max_completion_tokens": 7, "n": 3}, {}, 21),
        ({"num_predict": 7}, {}, 7),
        ({"max_tokens": None}, {"ls_max_tokens": 9}, 9),
        ({"max_tokens": -1}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_limit_of_an_answer_is_read_from_the_call(params, metadata, limit):
    assert answer_limit(params, metadata) == limit


async def cancelled_at_its_beginning(work, path):
    """Cancel some work while it waits for the budget's file, and leave the file only then."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(work)
        await asyncio.sleep(0.2)
        task.cancel()
        async with asyncio.timeout(20):  # whoever is cancelled does not wait for the file, as its thread does for 30 s
            with pytest.raises(asyncio.CancelledError):
                await task
        other.execute("ROLLBACK")


@pytest.mark.parametrize("limits", [{}, {"breaker": True}], ids=["a budget alone", "with a breaker"])
@pytest.mark.parametrize("way", [abatched, gathered, astreamed])
def test_a_row_that_is_cancelled_while_it_begins_keeps_nothing_of_the_budget(tmp_path, way, limits):
    path = tmp_path / "b.sqlite"
    breaker = CircuitBreaker(failures=1, cooldown=0) if limits else None
    budget = Budget(max_tokens=10_000, path=path)
    run = chain(Slow(), budget, breaker=breaker)
    run.invoke("one call shows what a row may cost")
    if breaker is not None:
        breaker.failed(ConnectionError("down"))
    asyncio.run(cancelled_at_its_beginning(way(run, ["a"]), path))  # it waits for its threads
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT * FROM reserved").fetchall() == []
    assert budget.report().tokens == PROMPT + ANSWER
    assert breaker is None or breaker.refusal() is None


@pytest.mark.parametrize(
    ("lost", "costs"),
    [
        (httpx.ConnectTimeout, False),
        (httpx.PoolTimeout, False),
        (httpx.ConnectError, False),
        (httpx.ReadTimeout, True),
        (httpx.WriteTimeout, True),
        (httpx.ReadError, True),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_request_that_was_never_sent_costs_nothing(lost, costs, wrapped):
    class Failing(Slow):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            request = httpx.Request("POST", "http://localhost")
            if not wrapped:
                raise lost("lost", request=request)
            raise openai.APITimeoutError(request) from lost("lost", request=request)

    budget = Budget(max_tokens=10_000)
    assert chain(Failing(), budget).invoke("a")["source"] == "fallback"
    assert (budget.report().tokens > 0) == costs


@pytest.mark.parametrize("fails", ["not at all", "at opening", "by the breaker", "by the time"])
async def test_a_stream_never_ends_its_row_in_the_event_loop(fails):
    """Its file may be held by another process, and the loop must not wait for it."""

    class Ending(Slow):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            if fails == "at opening":
                raise ConnectionError("down")
            if fails == "by the time":
                await asyncio.sleep(PATIENCE)
            return self._generate(messages)

    threads, breaker = [], CircuitBreaker(failures=1)
    if fails == "by the breaker":
        breaker.failed(ConnectionError("down"))
    budget = Budget(max_tokens=10_000)
    leave = budget.ledger.leave

    def recorded(*args):
        threads.append(threading.get_ident())
        leave(*args)

    budget.ledger.leave = recorded
    timeout = 0.1 if fails == "by the time" else PATIENCE
    record = await streamed(chain(Ending(), budget, breaker=breaker, timeout=timeout), "a")
    assert record["source"] == ("large" if fails == "not at all" else "fallback")
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()

"""What a plan can declare beside needs: what a subtask sees, when it runs, whether it may fail, what combines."""

from __future__ import annotations

import asyncio

import pytest
from clock import PATIENCE
from fakes import CountingChat, DownChat, Recording
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.utils import AddableDict

from dsplus_chains import Subtask, SubtaskDecomposer, SubtaskError, SubtaskResult
from dsplus_chains.schema import SubtaskResults
from dsplus_chains.subtasks.combining import as_table, majority_vote


def test_select_picks_what_a_subtask_sees_by_key_or_by_function():
    by_key, by_function = Recording(str.upper), Recording(len)
    plan = SubtaskDecomposer(
        subtasks=[
            Subtask(name="loud", run=by_key, select="title"),
            Subtask(name="size", run=by_function, select=lambda record: record["input"].split()),
        ],
        combine="{loud} {size}",
    )
    assert plan.invoke({"input": "it broke", "title": "no"})["answer"] == "NO 2"
    with pytest.raises(SubtaskError, match="expected 'title'"):
        plan.invoke("it broke")


def test_a_subtask_that_is_not_called_for_makes_no_call_and_leaves_no_line():
    run = Recording(lambda record: record["input"] * 2)
    plan = SubtaskDecomposer(
        subtasks=[
            Subtask(name="size", run=lambda record: len(record["input"])),
            Subtask(name="twice", run=run, needs=("size",), when=lambda record: record["subtasks"]["size"].value < 3),
        ],
        combine=lambda record: str(record["subtasks"]),
    )
    short, long = plan.batch(["ab", "abcd"])
    assert short["answer"] == "Known from specialised models:\nsize = 2\ntwice = abab"
    assert long["answer"] == "Known from specialised models:\nsize = 4"
    assert long["subtasks"]["twice"] == SubtaskResult(source="skipped")
    assert run.sizes == [1]


def test_an_optional_subtask_may_fail_and_its_reason_stays():
    def fragile(record):
        raise TimeoutError("no answer in 5 s")

    needed = Subtask(name="shown", run=lambda record: str(record["subtasks"]["topic"]), needs=("topic",))
    for optional in (True, False):
        plan = SubtaskDecomposer(
            subtasks=[Subtask(name="topic", run=fragile, optional=optional), needed], combine=as_table
        )
        (found,) = plan.batch(["a"], return_exceptions=True)
        if optional:
            assert found["subtasks"]["topic"].error == "TimeoutError: no answer in 5 s"
            assert found["answer"] == {"topic": None, "shown": "unknown (TimeoutError: no answer in 5 s)"}
        else:
            assert isinstance(found, SubtaskError)
            assert found.subtask == "topic"


def test_a_condition_that_raises_fails_its_row_alone():
    plan = SubtaskDecomposer(
        subtasks=[Subtask(name="a", run=str, when=lambda record: 1 / record["n"])], combine=lambda record: "done"
    )
    good, poisoned = plan.batch([{"input": "x", "n": 1}, {"input": "y", "n": 0}], return_exceptions=True)
    assert good["answer"] == "done"
    assert isinstance(poisoned, SubtaskError)


def test_a_plain_combination_is_small_and_one_by_a_chat_model_is_large():
    sizes = Subtask(name="size", run=lambda record: len(record["input"]))
    plain = SubtaskDecomposer(subtasks=[sizes], combine="{size} letters in {input}").invoke("{size}")
    assert (plain["answer"], plain["source"]) == ("6 letters in {size}", "small")
    assert "large" not in plain
    model = FakeListChatModel(responses=["many"])
    arm = ChatPromptTemplate.from_template("{subtasks}") | model | StrOutputParser()
    asked = SubtaskDecomposer(subtasks=[sizes], combine=arm).invoke("abc")
    assert (asked["answer"], asked["source"], asked["large"].value) == ("many", "large", "many")
    inside = Subtask(name="tone", run=ChatPromptTemplate.from_template("{input}") | model | StrOutputParser())
    within = SubtaskDecomposer(subtasks=[sizes, inside], combine=as_table).invoke("abc")
    assert within["source"] == "large"
    assert (within["subtasks"]["tone"].calls, within["subtasks"]["size"].calls) == (1, 0)


async def test_a_rule_that_stands_in_for_a_model_that_is_down_is_a_fallback():
    prompt = ChatPromptTemplate.from_template("{input}")
    down = prompt | DownChat().with_fallbacks([RunnableLambda(lambda _: "rule")]) | StrOutputParser()
    spare = prompt | DownChat().with_fallbacks([CountingChat(function=lambda _: "spare")]) | StrOutputParser()
    plan = [Subtask(name="tone", run=down, threshold=0.9), Subtask(name="topic", run=spare, threshold=0.9)]
    decomposer = SubtaskDecomposer(subtasks=plan, combine=down)
    found = decomposer.invoke("abc")
    tone, topic = found["subtasks"]["tone"], found["subtasks"]["topic"]
    assert (tone.value, tone.source, tone.error, tone.calls) == ("rule", "fallback", "ConnectionError: down", 1)
    assert (tone.doubtful, tone.is_open) == (True, True)
    assert (topic.value, topic.source, topic.error, topic.calls) == ("spare", "large", None, 2)
    assert (found["answer"], found["source"], found["error"]) == ("rule", "fallback", "ConnectionError: down")
    assert "large" not in found
    assert await decomposer.ainvoke("abc") == found
    assert sum(list(decomposer.stream("abc")), AddableDict()) == found
    table = SubtaskDecomposer(subtasks=plan[:1], combine=as_table).invoke("abc")
    assert (table["source"], "large" in table) == ("small", False)
    answered = SubtaskDecomposer(subtasks=plan[:1], combine=spare).invoke("abc")
    assert (answered["source"], answered["large"].value, "error" in answered) == ("large", "spare", False)


@pytest.mark.parametrize("template", ["{size.__class__}", "{size[0]}", "{size!r}", "{size:>9}", "{", "{unknown}"])
def test_a_template_holds_plain_known_names_only(template):
    with pytest.raises(ValueError, match=r"template|expected|Single"):
        SubtaskDecomposer(subtasks=[Subtask(name="size", run=str)], combine=template)


def test_a_vote_goes_to_the_most_then_to_the_surest():
    def vote(*votes):
        results = {f"v{number}": SubtaskResult(value=v, confidence=c) for number, (v, c) in enumerate(votes)}
        return majority_vote({"subtasks": results})

    assert vote(("a", 0.5), ("b", 0.9), ("a", 0.5)) == "a"
    assert vote(("a", 0.5), ("b", 0.9)) == "b"
    assert vote(("a", None), ("b", None)) == "a"
    assert vote((1, 0.5), (True, 0.9)) is True


def test_a_subtask_starts_as_soon_as_what_it_needs_is_done_not_level_by_level():
    done = asyncio.Event()

    async def slow(record):
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        return "slow"

    async def quick(record):
        return "quick"

    async def after(record):
        return "after"

    plan = SubtaskDecomposer(
        subtasks=[
            Subtask(name="slow", run=slow),
            Subtask(name="quick", run=quick),
            Subtask(name="after", run=after, needs=("quick",)),
        ],
        combine="{slow} {after}",
    )

    async def names():
        told = []
        async for chunk in plan.astream("x"):
            told.extend(chunk.get("subtasks", {}))
            if "after" in told:
                done.set()
        return told

    assert asyncio.run(names()) == ["quick", "after", "slow"]


def test_what_each_subtask_cost_is_told_to_whoever_listens():
    async def events():
        plan = SubtaskDecomposer(subtasks=[Subtask(name="size", run=len, select="input")], combine="{size}")
        return [
            event["data"]
            async for event in plan.astream_events("abc", version="v2")
            if event["event"] == "on_custom_event" and event["name"] == "dsplus_subtask"
        ]

    (told,) = asyncio.run(events())
    assert told.pop("seconds") >= 0
    assert told == {"name": "size", "source": None, "confidence": None, "calls": 0, "tokens": 0}


def test_what_is_doubtful_failed_or_a_stand_in_is_told_as_still_open():
    found = {
        "topic": SubtaskResult(value="sport", confidence=0.97, source="small"),
        "tone": SubtaskResult(value="angry", source="large"),
        "team": SubtaskResult(value="Leeds", confidence=0.5, source="small", doubtful=True),
        "score": SubtaskResult(error="TimeoutError: " + "x" * 90),
        "year": SubtaskResult(value=2004, confidence=0.6, source="fallback", error="TimeoutError"),
        "facts": SubtaskResult(value="[1] One.\n[3] Three.", confidence=0.8),
        "never": SubtaskResult(source="skipped"),
        "count": SubtaskResult(value=3),
    }
    assert str(SubtaskResults(found)) == (
        "Known from specialised models:\n"
        "topic = sport (97 % sure)\n"
        "facts (80 % sure):\n"
        "    [1] One.\n"
        "    [3] Three.\n"
        "count = 3\n"
        "Known from the large model:\n"
        "tone = angry\n"
        "Still open:\n"
        "team = Leeds (50 % sure)\n"
        f"score = unknown (TimeoutError: {'x' * 66}…)\n"
        "year = 2004 (60 % sure)"
    )
    assert str(SubtaskResults()) == ""


@pytest.mark.parametrize(
    ("confidence", "threshold", "source", "doubtful"),
    [
        (0.9, 0.9, "small", False),
        (0.89, 0.9, "small", True),
        (None, 0.0, "small", True),
        (0.0, 0.0, "small", False),
        (None, 0.9, "large", False),
        (0.1, None, "small", False),
    ],
)
def test_a_subtask_says_from_what_confidence_on_its_result_is_known(confidence, threshold, source, doubtful):
    said = SubtaskResult(value="x", confidence=confidence, source=source)
    plan = SubtaskDecomposer(
        subtasks=[Subtask(name="a", run=lambda record: said, threshold=threshold)], combine=lambda r: str(r["subtasks"])
    )
    found = plan.invoke("text")
    assert found["subtasks"]["a"].doubtful is doubtful
    assert found["answer"].startswith("Still open:" if doubtful else "Known")

from __future__ import annotations

import asyncio
import pickle
import time

import pytest
from clock import PATIENCE
from fakes import Gauge, Recording, predict
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.utils import AddableDict
from pydantic import ValidationError

from dsplus_chains import (
    ConfidenceBranch,
    InvalidInputError,
    MapSubtask,
    Prediction,
    RunnableScorer,
    Skill,
    Subtask,
    SubtaskDecomposer,
    SubtaskError,
    SubtaskPlanner,
    VerifiedScorer,
    WiringError,
)
from dsplus_chains.subtasks.combining import as_table
from dsplus_chains.subtasks.order import levels


def subtask(name, *needs, run=str, **more):
    return Subtask(name=name, run=run, needs=needs, **more)


def test_a_circle_an_unknown_need_and_a_name_twice_are_refused():
    for plan, message in [
        ([subtask("a", "b"), subtask("b", "a")], "circle"),
        ([subtask("a", "a")], "circle: a -> a"),
        ([subtask("a", "c")], r"needs \['c'\]"),
        ([subtask("a"), subtask("a")], "each name once"),
        ([], "at least one"),
    ]:
        with pytest.raises(ValueError, match=message):
            SubtaskDecomposer(subtasks=plan, combine=str)


def test_a_name_must_fit_into_a_prompt():
    with pytest.raises(ValueError, match="name"):
        subtask("two words")


CHAT = FakeListChatModel(responses=["x"])
STEPS = {
    "Subtask": lambda step: Subtask(name="a", run=step),
    "an optional Subtask": lambda step: Subtask(name="a", run=step, optional=True),
    "MapSubtask": lambda step: MapSubtask(name="a", run=step, select="input"),
    "MapSubtask.reduce": lambda step: MapSubtask(name="a", run=len, reduce=step),
    "combine": lambda step: SubtaskDecomposer(subtasks=[Subtask(name="a", run=len)], combine=step),
    "Skill": lambda step: Skill(name="a", description="what it is", run=step),
    "a generator": lambda step: VerifiedScorer(generators={"a": step, "b": str}, verifier=bool),
    "a verifier": lambda step: VerifiedScorer(generators={"a": str}, verifier=step),
}


@pytest.mark.parametrize("place", STEPS)
@pytest.mark.parametrize(
    "model", [CHAT, CHAT.with_retry(), CHAT | StrOutputParser(), RunnablePassthrough() | CHAT], ids=lambda _: ""
)
def test_a_model_that_would_get_a_record_is_refused_where_it_is_wired(place, model):
    with pytest.raises(ValidationError, match="begins with FakeListChatModel, a bare model"):
        STEPS[place](model)
    STEPS[place](ChatPromptTemplate.from_template("{input}") | model)


def test_a_model_that_gets_a_text_of_the_record_is_none():
    plan = SubtaskDecomposer(subtasks=[Subtask(name="a", run=CHAT, select="input")], combine="{a}")
    assert plan.invoke("so so")["answer"] == "x"
    skill = Skill(name="a", description="what it is", run=CHAT, select="input")
    assert skill.subtask("b").run is CHAT
    assert "FakeListChatModel" in SubtaskPlanner(llm=CHAT, skills=[skill]).get_graph().draw_mermaid()


def test_levels_keep_the_order_of_declaration():
    plan = [subtask("d", "b", "c"), subtask("c", "a"), subtask("b", "a"), subtask("a")]
    assert [[s.name for s in level] for level in levels(plan)] == [["a"], ["c", "b"], ["d"]]


def test_each_subtask_runs_once_a_batch_and_sees_only_what_it_needs():
    seen = {}

    def watch(name):
        def run(record):
            seen[name] = sorted(record["subtasks"])
            return name

        return Recording(run)

    runs = {name: watch(name) for name in "abcd"}
    last = Recording(lambda record: ",".join(record["subtasks"]))
    plan = [
        subtask("a", run=runs["a"]),
        subtask("b", run=runs["b"]),
        subtask("c", "a", run=runs["c"]),
        subtask("d", "c", run=runs["d"]),
    ]
    results = SubtaskDecomposer(subtasks=plan, combine=last).batch([f"text {i}" for i in range(200)])
    assert [run.sizes for run in runs.values()] == [[200]] * 4
    assert last.sizes == [200]
    assert seen == {"a": [], "b": [], "c": ["a"], "d": ["c"]}
    assert results[0]["answer"] == "a,b,c,d"


def test_results_keep_value_confidence_and_who_answered():
    shunt = RunnableScorer(run=predict) | ConfidenceBranch(large=lambda _: "neutral", threshold=0.9)
    failing = RunnableScorer(run=predict) | ConfidenceBranch(large=lambda _: 1 / 0, threshold=None)
    plan = [
        subtask("tone", run=shunt),
        subtask("bare", run=RunnableScorer(run=predict)),
        subtask("raw", run=lambda _: Prediction(label=3, confidence=0.5)),
        subtask("length", run=lambda record: len(record["input"])),
        subtask("lost", run=failing),
    ]
    easy, hard = SubtaskDecomposer(subtasks=plan, combine=lambda _: "done").batch(["good", "good?"])
    got = {name: (r.value, r.confidence, r.source) for name, r in easy["subtasks"].items()}
    assert got == {
        "tone": ("positive", 0.95, "small"),
        "bare": ("positive", 0.95, "small"),
        "raw": (3, 0.5, "small"),
        "length": (4, None, None),
        "lost": ("positive", 0.95, "fallback"),
    }
    assert easy["subtasks"]["lost"].error == "ZeroDivisionError: division by zero"
    assert (hard["subtasks"]["tone"].value, hard["subtasks"]["tone"].source) == ("neutral", "large")
    assert (easy["answer"], easy["source"], "large" in easy) == ("done", "small", False)
    assert (hard["answer"], hard["source"], hard["large"].value) == ("done", "large", "done")


def test_results_enter_the_combining_prompt():
    prompt = ChatPromptTemplate.from_template("{input}\n{subtasks}")
    decomposer = SubtaskDecomposer(
        subtasks=[subtask("tone", run=RunnableScorer(run=predict)), subtask("n", run=lambda r: 7)],
        combine=prompt | RunnableLambda(lambda p: p.messages[0].content),
    )
    assert decomposer.invoke("good")["answer"] == (
        "good\nKnown from specialised models:\ntone = positive (95 % sure)\nn = 7"
    )


def say(template):
    """A prompt, and a stub model that answers with what it was asked."""
    return ChatPromptTemplate.from_template(template) | RunnableLambda(lambda p: p.messages[-1].content)


async def test_a_prompt_is_fed_a_result_under_the_name_of_its_subtask():
    plan = [
        subtask("tone", run=lambda _: Prediction(label="angry", confidence=0.9)),
        subtask("reply", "tone", run=say("The tone is: {tone}")),
        subtask("never", run=str, when=lambda _: False),
        subtask("lost", run=lambda _: 1 / 0, optional=True),
    ]
    for template, answer in [
        ("Reply; the tone is: {tone}", "Reply; the tone is: angry"),
        ("{tone} | {input} | {reply}", "angry | it broke | The tone is: angry"),
        ("{lost}{never}", "unknown"),
    ]:
        decomposer = SubtaskDecomposer(subtasks=plan, combine=say(template))
        found = decomposer.invoke("it broke")
        assert found["answer"] == answer
        assert "tone" not in found
        assert (await decomposer.ainvoke("it broke"))["answer"] == answer


def test_a_variable_that_names_a_subtask_is_never_fed_the_input():
    plan = [subtask("tone", run=lambda _: "angry"), subtask("reply", run=say("The tone is: {tone}"))]
    with pytest.raises(WiringError, match=r"wants \['tone'\].*`needs`"):
        SubtaskDecomposer(subtasks=plan, combine=str).invoke("it broke")


def test_a_failing_subtask_names_itself_and_fails_its_row_alone():
    def choke(record):
        if "poison" in record["input"]:
            raise TimeoutError("no answer")
        return "fine"

    after = Recording(lambda record: "after")
    last = Recording(lambda record: "done")
    plan = [subtask("first", run=Recording(choke)), subtask("after", "first", run=after), subtask("other", run=str)]
    decomposer = SubtaskDecomposer(subtasks=plan, combine=last)
    good, bad, again = decomposer.batch(["a", "poison", "b"], return_exceptions=True)
    assert isinstance(bad, SubtaskError)
    assert bad.subtask == "first"
    assert str(bad) == "subtask 'first' failed: TimeoutError: no answer"
    assert isinstance(bad.__cause__, TimeoutError)
    assert (good["answer"], again["answer"]) == ("done", "done")
    assert (after.sizes, last.sizes) == ([2], [2])
    with pytest.raises(SubtaskError, match="'first'"):
        list(decomposer.stream("poison"))


def test_a_failing_combination_fails_its_row_alone():
    last = Recording(lambda record: 1 / 0 if "poison" in record["input"] else "done")
    results = SubtaskDecomposer(subtasks=[subtask("a")], combine=last).batch(["x", "poison"], return_exceptions=True)
    assert results[0]["answer"] == "done"
    assert isinstance(results[1], ZeroDivisionError)


async def test_subtasks_of_a_level_run_side_by_side_under_async():
    met = asyncio.Barrier(3)

    async def meet(_):
        async with asyncio.timeout(PATIENCE):
            await met.wait()
        return 1

    plan = [subtask(name, run=RunnableLambda(lambda _: 1, afunc=meet)) for name in "abc"]
    record = await SubtaskDecomposer(subtasks=plan, combine=lambda _: "done").ainvoke("x")
    assert [result.value for result in record["subtasks"].values()] == [1, 1, 1]


def test_the_stream_tells_what_is_found_as_it_is_found():
    def pieces(chunks):
        for _ in chunks:
            pass
        yield from ["it ", "broke"]

    plan = [subtask("a", run=lambda _: 1), subtask("b", "a", run=lambda _: 2)]
    decomposer = SubtaskDecomposer(subtasks=plan, combine=RunnableGenerator(pieces), source="large")
    chunks = list(decomposer.stream("x"))
    assert [sorted(chunk) for chunk in chunks] == [
        ["input"],
        ["subtasks"],
        ["subtasks"],
        ["answer", "source"],
        ["answer"],
        ["large"],
    ]
    assert [list(chunk["subtasks"]) for chunk in chunks[1:3]] == [["a"], ["b"]]


def test_a_combining_shunt_has_the_last_word_on_its_source():
    combine = RunnableScorer(run=predict) | ConfidenceBranch(large=lambda _: "neutral", threshold=0.9)
    decomposer = SubtaskDecomposer(subtasks=[subtask("a", run=lambda _: 1)], combine=combine)
    easy, hard = decomposer.batch(["good", "good?"])
    assert (easy["answer"], easy["source"], "large" in easy) == ("positive", "small", False)
    assert (hard["answer"], hard["source"]) == ("neutral", "large")
    summed = None
    for chunk in decomposer.stream("good?"):
        summed = chunk if summed is None else summed + chunk
    assert summed == hard


def test_steps_called_answer_and_source_forge_no_record():
    plan = [subtask("answer", run=lambda _: "30 days"), subtask("source", run=lambda _: "large")]
    decomposer = SubtaskDecomposer(subtasks=plan, combine=as_table)
    found = decomposer.invoke("how long?")
    assert (found["answer"], found["source"]) == ({"answer": "30 days", "source": "large"}, "small")
    assert sum(list(decomposer.stream("how long?")), AddableDict()) == found


def test_a_subtask_that_answers_with_such_keys_forges_no_source():
    cited = {"answer": "30 days", "source": "page 3"}
    decomposer = SubtaskDecomposer(subtasks=[subtask("term", run=lambda _: cited)], combine=as_table)
    result = decomposer.invoke("how long?")["subtasks"]["term"]
    assert (result.value, result.source) == (cited, None)


def test_a_nested_decomposer_is_not_as_sure_as_the_model_before_it():
    def branch(threshold):
        return ConfidenceBranch(large=lambda _: "neutral", threshold=threshold)

    inner = SubtaskDecomposer(subtasks=[subtask("length", run=len, select="input")], combine="{length} letters")
    same = SubtaskDecomposer(subtasks=[subtask("x", run=lambda _: 1)], combine=lambda _: "positive")
    plan = [
        subtask("nested", run=inner),
        subtask("same", run=same),
        subtask("own", run=lambda r: {**r, "answer": "rule", "source": "small"}),
        subtask("kept", run=branch(0.9)),
        subtask("asked", run=branch(None)),
        subtask("scored", run=RunnableScorer(run=lambda _: Prediction(label="positive", confidence=0.7)) | branch(0.5)),
    ]
    chain = RunnableScorer(run=predict) | SubtaskDecomposer(subtasks=plan, combine=as_table)
    found = chain.invoke("good")["subtasks"]
    assert {name: (r.value, r.confidence, r.source) for name, r in found.items()} == {
        "nested": ("4 letters", None, "small"),
        "same": ("positive", None, "small"),
        "own": ("rule", None, "small"),
        "kept": ("positive", 0.95, "small"),
        "asked": ("neutral", None, "large"),
        "scored": ("positive", 0.7, "small"),
    }


@pytest.mark.parametrize("value", [None, 3, {"text": "x"}, ["x"]])
def test_what_is_no_text_or_record_is_refused(value):
    with pytest.raises(InvalidInputError, match="expected a text, or a record with the key 'input'"):
        SubtaskDecomposer(subtasks=[subtask("a")], combine=str).invoke(value)


def test_a_subtasks_name_reads_as_its_value_whatever_the_caller_has_under_it():
    show = RunnableLambda(lambda prompt: prompt.messages[0].content)
    language = Subtask(name="language", run=lambda record: "German")
    later = Subtask(name="later", needs=("language",), run=ChatPromptTemplate.from_template("{language}!") | show)
    for combine in ("{language}, {later}", ChatPromptTemplate.from_template("{language}, {later}") | show):
        chain = SubtaskDecomposer(subtasks=[language, later], combine=combine)
        record = chain.invoke({"input": "Guten Tag", "language": "en-US"})
        assert (record["answer"], record["language"]) == ("German, German!", "en-US")


def test_a_prompt_that_cannot_be_filled_fails_its_row_alone():
    prompt = ChatPromptTemplate.from_template("{shop} {input}")
    plan = [subtask("a", run=prompt | RunnableLambda(lambda p: p.messages[0].content))]
    decomposer = SubtaskDecomposer(subtasks=plan, combine=lambda r: r["subtasks"]["a"].value)
    good, bad = decomposer.batch([{"input": "x", "shop": "s"}, {"input": "x"}], return_exceptions=True)
    assert good["answer"] == "s x"
    assert isinstance(bad, InvalidInputError)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_subtasks_of_a_level_keep_to_max_concurrency_together(limit):
    gauge = Gauge()

    async def slow(_):
        with gauge:
            await asyncio.sleep(0.01)

    def slow_sync(_):
        with gauge:
            time.sleep(0.01)

    plan = [subtask(name, run=RunnableLambda(slow_sync, afunc=slow)) for name in "abcd"]
    decomposer = SubtaskDecomposer(subtasks=plan, combine=lambda _: "done")
    await decomposer.abatch([f"text {i}" for i in range(6)], {"max_concurrency": limit})
    assert gauge.most <= limit
    await asyncio.to_thread(decomposer.batch, [f"text {i}" for i in range(6)], {"max_concurrency": limit})
    assert gauge.most <= limit


async def test_a_subtask_whose_whole_batch_fails_is_named_all_the_same():
    class Down(Recording):
        def batch(self, inputs, config=None, **kwargs):
            raise ConnectionError("down")

        async def abatch(self, inputs, config=None, **kwargs):
            return ["one answer too", "few or many", "for two"]

    decomposer = SubtaskDecomposer(subtasks=[subtask("a", run=Down(str))], combine=str)
    with pytest.raises(SubtaskError, match="'a' failed: ConnectionError: down"):
        decomposer.invoke("x")
    with pytest.raises(SubtaskError, match="got 2 inputs but returned 3 results"):
        await decomposer.abatch(["x", "y"])
    assert pickle.loads(pickle.dumps(SubtaskError("m", subtask="a"))).args == ("m",)


def test_the_graph_draws_the_plan():
    plan = [subtask("topic"), subtask("reply", "topic")]
    drawn = SubtaskDecomposer(subtasks=plan, combine=str).get_graph().draw_mermaid()
    assert "topic" in drawn
    assert "reply" in drawn


async def test_a_retry_of_langchain_repeats_a_subtask_for_the_rows_that_failed_alone():
    seen = []

    def once_down(record):
        seen.append(record["input"])
        return TimeoutError("busy") if seen.count("b") == 1 and record["input"] == "b" else record["input"].upper()

    run = Recording(once_down)
    retried = run.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    decomposer = SubtaskDecomposer(subtasks=[subtask("loud", run=retried)], combine="{loud}")
    assert [record["answer"] for record in decomposer.batch(["a", "b", "c"])] == ["A", "B", "C"]
    assert run.sizes == [3, 1]
    seen.clear()
    assert [record["answer"] for record in await decomposer.abatch(["a", "b", "c"])] == ["A", "B", "C"]
    assert run.sizes == [3, 1, 3, 1]

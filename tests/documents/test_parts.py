"""A long input in parts: what the step sees, what is kept, what goes on, what fails."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from threading import Barrier

import pytest
from clock import at_most
from fakes import Gauge, Recording, predict
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from dsplus_chains import (
    ConfidenceBranch,
    InvalidInputError,
    Keep,
    LabelMask,
    LabelParser,
    MapParts,
    MapSubtask,
    Passage,
    Prediction,
    RunnableScorer,
    Subtask,
    SubtaskDecomposer,
    SubtaskError,
    SubtaskResult,
    WiringError,
)
from dsplus_chains.documents.parts import PartError
from dsplus_chains.documents.reduce import numbered_values, verbatim

STORY = "The battery died. I like the colour. The battery is new. Who cares?"


def about(record):
    """Whether a sentence is about what the record's question names; sure but for questions."""
    part = record["input"].lower()
    return Prediction(label=record["question"] in part, confidence=0.6 if "?" in part else 0.95)


def part_numbers(result):
    return [passage.number for passage in result.passages]


def test_the_step_gets_each_part_with_the_record_it_came_from():
    step = Recording(lambda record: None)
    MapParts(split="sentences", run=step).batch([{"input": "One. Two.", "question": "?", "answer": "old"}, "Three."])
    assert step.sizes == [3]
    assert step.inputs[1] == {
        "input": "Two.",
        "question": "?",
        "document": "One. Two.",
        "part": Passage(text="Two.", start=5, number=2),
    }
    assert step.inputs[2]["document"] == "Three."


def test_what_is_confidently_irrelevant_is_dropped_and_the_rest_keeps_its_order_and_numbers():
    facts = MapParts(split="sentences", run=about, keep=Keep(drop={False}, threshold=0.9))
    result = facts.invoke({"input": STORY, "question": "battery"})
    assert result.value == "[1] The battery died.\n[3] The battery is new.\n[4] Who cares?"
    assert (result.confidence, result.source, result.error) == (0.95, "small", None)
    assert [STORY[passage.start : passage.end] for passage in result.passages] == [p.text for p in result.passages]
    assert part_numbers(result) == [1, 3, 4]


def test_without_confidence_nothing_is_dropped():
    facts = MapParts(split=str.split, run=lambda r: Prediction(label="no"), keep=Keep(drop={"no"}, threshold=0.0))
    assert part_numbers(facts.invoke("a b")) == [1, 2]


def test_true_is_not_one_where_parts_are_dropped():
    facts = MapParts(
        split=str.split, run=lambda r: Prediction(label=1, confidence=1.0), keep=Keep(drop={True}, threshold=0.5)
    )
    assert part_numbers(facts.invoke("a b")) == [1, 2]


def scored(*scores):
    return lambda record: SubtaskResult(value=record["input"], confidence=scores[record["part"].number - 1])


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (Keep(), [1, 2, 3, 4]),
        (Keep(top_k=1), [2]),
        (Keep(top_k=2), [2, 3]),
        (Keep(top_k=3), [1, 2, 3]),
        (Keep(top_k=9), [1, 2, 3, 4]),
        (Keep(max_chars=2), [2, 3]),
        (Keep(max_chars=5, top_k=3), [1, 2, 3]),
        (Keep(drop={"x", "z"}, threshold=0.5, top_k=3), [1, 3, 4]),
    ],
)
def test_the_most_relevant_are_kept_ties_by_order_unknown_last(keep, expected):
    facts = MapParts(split=str.split, run=scored(0.5, 0.9, 0.9, None), keep=keep)
    assert part_numbers(facts.invoke("w x y z")) == expected


def test_of_dropped_labels_the_least_likely_is_the_most_relevant():
    said = [("no", 0.8), ("yes", 0.6), ("no", 0.55), ("no", 0.95)]

    def step(record):
        label, confidence = said[record["part"].number - 1]
        return Prediction(label=label, confidence=confidence)

    facts = MapParts(split=str.split, run=step, keep=Keep(drop={"no"}, threshold=0.9, top_k=2))
    assert part_numbers(facts.invoke("a b c d")) == [2, 3]


def test_a_long_part_gives_way_to_shorter_ones_that_fit():
    facts = MapParts(split=str.split, run=scored(0.9, 0.8, 0.7), keep=Keep(max_chars=4))
    assert part_numbers(facts.invoke("long! ab cd")) == [2, 3]
    assert facts.invoke("muchtoolong").error == "nothing relevant among 1 parts"


def test_if_nothing_is_left_it_is_said_and_nothing_is_reduced():
    last = Recording(lambda parts: "never")
    facts = MapParts(split="sentences", run=about, keep=Keep(drop={False}, threshold=0.9), reduce=last)
    nothing, empty = facts.batch([{"input": "Nice. Good.", "question": "battery"}, {"input": " ", "question": "x"}])
    assert nothing == SubtaskResult(source="small", error="nothing relevant among 2 parts")
    assert empty == SubtaskResult(error="there is nothing to read")
    assert last.sizes == []


def test_a_quote_is_the_sentence_that_most_strongly_carries_the_label_another_subtask_found():
    def tone(record):
        bad = record["input"].lower().count("bad") / len(record["input"].split())
        return Prediction(label="bad" if bad else "good", confidence=0.9, probabilities={"bad": bad, "good": 1 - bad})

    review = "Nice box. It is bad. Bad, bad! I sent it back."
    plan = [
        Subtask(name="tone", run=tone),
        MapSubtask(
            name="quote",
            split="sentences",
            run=tone,
            keep=Keep(top_k=1, label=lambda record: record["subtasks"]["tone"].value),
            reduce=verbatim,
            needs=("tone",),
        ),
    ]
    found = SubtaskDecomposer(subtasks=plan, combine="{tone}: {quote}").invoke(review)
    assert found["answer"] == "bad: Bad, bad!"
    assert found["subtasks"]["quote"].passages == (Passage(text="Bad, bad!", start=21, number=3),)
    assert found["subtasks"]["quote"].confidence == 1.0


def test_a_label_to_rank_by_that_nobody_found_fails_its_row_alone():
    facts = MapParts(split=str.split, run=scored(0.5), keep=Keep(top_k=1, label=lambda record: record["label"]))
    good, bad = facts.batch([{"input": "a", "label": "a"}, {"input": "a", "label": None}], return_exceptions=True)
    assert good.value == "[1] a"
    assert isinstance(bad, InvalidInputError)


def test_two_hundred_inputs_and_four_subtasks_are_four_small_calls_and_one_large():
    runs = [Recording(lambda record: "x") for _ in range(3)]
    parts, last = Recording(scored(0.9, 0.1)), Recording(lambda record: str(record["subtasks"]["facts"]))
    plan = [Subtask(name=f"s{number}", run=run) for number, run in enumerate(runs)]
    plan.append(MapSubtask(name="facts", split="sentences", run=parts, keep=Keep(top_k=1)))
    results = SubtaskDecomposer(subtasks=plan, combine=last).batch([f"Text {i}. More." for i in range(200)])
    assert [run.sizes for run in runs] == [[200]] * 3
    assert parts.sizes == [400]
    assert last.sizes == [200]
    assert results[7]["answer"] == "[1] Text 7. (90 %)"


async def test_all_parts_of_independent_subtasks_are_under_way_at_once():
    together = asyncio.Barrier(6)  # nobody goes on unless all six get there

    async def slow(_):
        await asyncio.wait_for(together.wait(), 60)
        return 1

    def plan(name):
        run = RunnableLambda(lambda _: 1, afunc=slow)
        return MapSubtask(name=name, split="sentences", run=run, reduce=verbatim)

    decomposer = SubtaskDecomposer(subtasks=[plan("a"), plan("b")], combine="{a}{b}")
    assert len(await decomposer.abatch(["One. Two.", "Three."])) == 2


async def test_splitters_and_rules_of_independent_subtasks_run_side_by_side_away_from_the_loop():
    together = Barrier(3, timeout=60)  # it breaks unless all three get there

    def split(text):
        together.wait()
        return text.split()

    def label(record):
        together.wait()
        return "x"

    keep = Keep(top_k=1, label=label)
    plan = [MapSubtask(name=name, split=split, run=Recording(scored(0.5, 0.6)), keep=keep) for name in "abc"]
    found = await SubtaskDecomposer(subtasks=plan, combine="{a} {b} {c}").ainvoke("y x")
    assert found["answer"] == "[2] x [2] x [2] x"


@pytest.mark.parametrize("optional", [True, False])
async def test_a_poisoned_part_fails_its_input_alone_and_is_named(optional):
    def step(record):
        return predict(record["input"])

    facts = MapSubtask(name="facts", split="sentences", run=Recording(step), optional=optional)
    decomposer = SubtaskDecomposer(subtasks=[facts], combine=lambda record: "done")
    texts = ["Good. Fine.", "Good. A poison. Another poison.", "Bad."]
    reason = "PartError: part 2 (from character 6) failed: RuntimeError: the small model choked"
    for results in (
        decomposer.batch(texts, return_exceptions=True),
        await decomposer.abatch(texts, return_exceptions=True),
    ):
        assert [results[0]["answer"], results[2]["answer"]] == ["done", "done"]
        if optional:
            assert results[1]["subtasks"]["facts"] == SubtaskResult(error=reason)
        else:
            assert isinstance(results[1], SubtaskError)
            assert str(results[1]) == f"subtask 'facts' failed: {reason}"
            assert isinstance(results[1].__cause__, PartError)
            assert results[1].__cause__.part.text == "A poison."


def test_a_reduction_that_fails_fails_its_row_alone():
    facts = MapParts(split=str.split, run=scored(0.5, 0.5), reduce=lambda parts: 1 / (len(parts) - 1))
    good, bad = facts.batch(["a b", "a"], return_exceptions=True)
    assert good.value == 1.0
    assert isinstance(bad, ZeroDivisionError)


def test_calls_of_all_parts_and_of_the_reduction_are_counted_for_their_input():
    model = FakeListChatModel(responses=["yes"])
    ask = ChatPromptTemplate.from_template("{question} {input}") | model | StrOutputParser()
    sum_up = RunnableLambda(numbered_values) | ChatPromptTemplate.from_template("{parts}") | model | StrOutputParser()
    plan = [MapSubtask(name="facts", split="sentences", run=ask, reduce=sum_up), Subtask(name="n", run=lambda r: 1)]
    inputs = [{"input": "One. Two. Three.", "question": "?"}, {"input": "One.", "question": "?"}]
    found = SubtaskDecomposer(subtasks=plan, combine="{facts}").batch(inputs)
    assert [record["subtasks"]["facts"].calls for record in found] == [4, 2]
    assert [record["subtasks"]["n"].calls for record in found] == [0, 0]
    assert found[0]["subtasks"]["facts"].source == found[0]["source"] == "large"


def test_a_shunt_over_parts_asks_the_large_model_about_the_hard_ones_in_one_call():
    large = Recording(lambda record: "negative")
    shunt = RunnableScorer(run=predict) | ConfidenceBranch(large=large, threshold=0.9)
    facts = MapParts(split="sentences", run=shunt, reduce=numbered_values)
    easy, hard = facts.batch(["Good. So bad.", "Good. Or bad?"])
    assert (easy.value, easy.source) == ("[1] positive\n[2] negative", "small")
    assert (hard.value, hard.source) == ("[1] positive\n[2] negative", "large")
    assert large.sizes == [1]


def test_what_is_selected_is_cut_and_the_rest_of_the_record_still_reaches_the_step():
    facts = MapSubtask(
        name="facts", split="sentences", run=about, select="body", keep=Keep(drop={False}, threshold=0.9)
    )
    record = {"input": "ticket", "body": STORY, "question": "colour"}
    answer = SubtaskDecomposer(subtasks=[facts], combine="{facts}").invoke(record)["answer"]
    assert answer == "[2] I like the colour.\n[4] Who cares?"


def test_a_step_whose_prompt_cannot_be_filled_is_a_wiring_error():
    step = ChatPromptTemplate.from_template("{shop} {input}") | FakeListChatModel(responses=["x"])
    facts = MapSubtask(name="facts", run=step, optional=True)
    with pytest.raises(WiringError, match="shop"):
        SubtaskDecomposer(subtasks=[facts], combine="{facts}").invoke("x")


@pytest.mark.parametrize("value", [None, 7, {"text": "x"}, {"input": 7}])
def test_what_holds_no_text_is_refused(value):
    with pytest.raises(InvalidInputError, match="expected a text to cut into parts"):
        MapParts(run=about).invoke(value)


@pytest.mark.parametrize(
    "wrong", [{"drop": {"a"}}, {"threshold": 0.5}, {"top_k": 0}, {"max_chars": 0}, {"drop": {"a"}, "threshold": 2}]
)
def test_a_rule_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match=r"both or neither|greater|less"):
        Keep(**wrong)


SENTIMENT = RunnableScorer(
    run=lambda text: Prediction(label="negative", confidence=0.9), labels=["positive", "negative"]
)


@pytest.mark.parametrize(
    "run", [SENTIMENT, SENTIMENT.with_retry(), RunnableLambda(predict) | LabelParser(labels=SENTIMENT.labels)]
)
@pytest.mark.parametrize("keep", [Keep(drop={"Negative"}, threshold=0.8), Keep(label="bad", top_k=1)])
def test_a_label_that_the_step_never_names_is_refused(run, keep):
    with pytest.raises(ValueError, match="not among the labels of the step"):
        MapParts(run=run, keep=keep)
    with pytest.raises(ValueError, match="not among the labels of the step"):
        MapSubtask(name="facts", run=run, keep=keep)


def test_labels_of_a_step_count_where_they_are_its_own():
    keep = Keep(drop={"negative"}, threshold=0.8, label="positive")
    masked = RunnableLambda(predict) | LabelMask(labels=["positive"])
    for run in (SENTIMENT, SENTIMENT.with_config(tags=["x"]), masked, predict):
        assert MapSubtask(name="facts", run=run, keep=keep).keep is keep


async def test_the_stream_holds_the_result_and_the_graph_draws_step_and_reduction():
    def find(record):
        return about(record)

    plan = SubtaskDecomposer(
        subtasks=[MapSubtask(name="facts", split="sentences", run=find, keep=Keep(drop={False}, threshold=0.9))],
        combine="{facts}",
    )
    value = {"input": STORY, "question": "colour"}
    chunks = [chunk async for chunk in plan.astream(value)]
    assert chunks[1]["subtasks"]["facts"].value == "[2] I like the colour.\n[4] Who cares?"
    drawn = plan.get_graph().draw_mermaid()
    for name in ("find", "numbered", "each part", "what is kept"):
        assert name in drawn


@pytest.mark.parametrize("limit", [1, 2])
async def test_the_parts_keep_to_max_concurrency(limit):
    gauge, full = Gauge(), asyncio.Event()

    async def slow(_):
        with gauge:
            if gauge.now >= limit:
                full.set()
            await asyncio.wait_for(full.wait(), 60)
            await asyncio.sleep(0.01)  # one more would be seen

    facts = MapSubtask(name="facts", split=str.split, run=RunnableLambda(lambda _: 1, afunc=slow))
    decomposer = SubtaskDecomposer(subtasks=[facts], combine="{facts}")
    await decomposer.abatch(["a b c", "d e f"], {"max_concurrency": limit})
    assert gauge.most == limit


@pytest.mark.parametrize("split", ["sentences", "paragraphs", str.split], ids=str)
def test_an_input_of_too_many_parts_is_told_in_no_time_and_fails_alone(split):
    huge, step = "It broke.\n\n" * 270_000, Recording(lambda record: "x")
    with at_most(1, time.process_time):
        bad, good = MapParts(split=split, run=step).batch([huge, "It works."], return_exceptions=True)
    with pytest.raises(
        InvalidInputError, match=r"2970000 characters in more than max_parts=2000 parts.*raise the bound"
    ):
        raise bad
    assert good.value
    assert len(step.inputs) < 3  # the refused input costs no call


def test_a_large_text_of_few_parts_is_read_at_once_and_kept_once():
    step = Recording(lambda record: None)
    text = "\n\n".join("word " * 400 for _ in range(1_500))  # 3 MB
    with at_most(5, time.process_time):  # tracing takes most of it
        tracemalloc.start()
        try:
            MapParts(run=step, split="paragraphs", keep=Keep(top_k=3)).invoke(text)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 15 * len(text)
    assert {id(record["document"]) for record in step.inputs} == {id(step.inputs[0]["document"])}


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100])
def test_slices_of_parts_give_what_all_parts_at_once_give(monkeypatch, at_once):
    monkeypatch.setattr("dsplus_chains.documents.parts.AT_ONCE", at_once)
    step = Recording(lambda record: Prediction(label=record["input"], confidence=0.5))
    texts = ["One. Two. Three.", "", "Four.", "Five. Six."]
    results = MapParts(split="sentences", run=step).batch(texts)
    assert [result.value for result in results] == [
        "[1] One.\n[2] Two.\n[3] Three.",
        None,
        "[1] Four.",
        "[1] Five.\n[2] Six.",
    ]
    assert max(step.sizes) <= at_once
    assert sum(step.sizes) == 6


def test_no_further_slice_is_asked_about_an_input_that_has_failed(monkeypatch):
    monkeypatch.setattr("dsplus_chains.documents.parts.AT_ONCE", 2)

    def refuse(record):
        if record["input"] == "Two.":
            raise ValueError("poison")
        return record["input"]

    step = Recording(refuse)
    bad, good = MapParts(split="sentences", run=step).batch(
        ["One. Two. Three. Four. Five.", "Six."], return_exceptions=True
    )
    assert isinstance(bad, PartError)
    assert bad.part.number == 2
    assert good.value == "[1] Six."
    assert [record["input"] for record in step.inputs] == ["One.", "Two.", "Six."]


@pytest.mark.parametrize("wrong", [0, -1, None])
def test_a_bound_of_parts_is_needed(wrong):
    with pytest.raises(ValueError, match="max_parts"):
        MapParts(split="sentences", run=lambda record: 1, max_parts=wrong)


def test_the_bound_of_a_map_in_a_plan():
    plan = [MapSubtask(name="facts", split="sentences", run=lambda record: record["input"], max_parts=2, optional=True)]
    few, many = SubtaskDecomposer(subtasks=plan, combine="{facts}").batch(["One. Two.", "One. Two. Three."])
    assert few["answer"] == "[1] One.\n[2] Two."
    assert "more than max_parts=2 parts" in many["subtasks"]["facts"].error

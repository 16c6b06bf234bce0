"""The contract of design: every exported Runnable, called in every way that LangChain knows, gives one answer."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from blockbuster import blockbuster_ctx
from clock import no_garbage
from conftest import LABELS, TEXTS
from digits import PixelEncoder, digits
from fakes import Recording, StructuredChat, TinyEncoder, predict, record_of
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression

import dsplus_chains
from dsplus_chains import (
    AnswerFusion,
    AppShunt,
    ChatModelScorer,
    ConfidenceBranch,
    DecisionModelScorer,
    EstimatorScorer,
    HintPromptBuilder,
    Keep,
    LabelAsker,
    LabelMask,
    LabelParser,
    LabelTask,
    LargeAnswer,
    MapParts,
    ModelComposer,
    MultiLabelScorer,
    NumberScorer,
    OverrideExplainer,
    PatternExtractor,
    PipelineScorer,
    Prediction,
    RunnableScorer,
    SentenceRanker,
    ShuntChatModel,
    Skill,
    SmallModelScorer,
    StructuredShunt,
    Subtask,
    SubtaskDecomposer,
    SubtaskPlanner,
    SubtaskResult,
    VerifiedScorer,
    data_shunt,
    record_answers,
    shunt,
    shunt_node,
)
from dsplus_chains.encoding import read_image
from dsplus_chains.gating import RecordedAnswer, RecordedArm
from dsplus_chains.integrations import RecordNode
from dsplus_chains.prompting import GroupAsker
from dsplus_chains.schema import ModelChoice
from dsplus_chains.scoring.early_exit import EarlyExit
from dsplus_chains.scoring.members.lexical import LexicalMember
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.subtasks import ResultTemplate
from dsplus_chains.verifying import Agreement, CodeTests, EntailmentVerifier, SchemaVerifier, SqlVerifier

IMAGES = [read_image(pixels).data for pixels in digits(15)[0][12:]]
SENTIMENTS = ["positive", "negative"]


def large_model(prompt: Any) -> AIMessage:
    """A stub chat model: it answers what the prompt's last message asks for by its length."""
    if "outage" in str(prompt):
        raise TimeoutError("no answer")
    return AIMessage("Positive." if len(str(prompt)) % 2 else "Negative.")


def count_words(record: dict[str, Any]) -> int:
    if "poison" in record["input"]:
        raise RuntimeError("cannot count")
    return len(record["input"].split())


def is_long(record: dict[str, Any]) -> bool:
    return record["subtasks"]["words"].value > 3


def combine(record: dict[str, Any]) -> str:
    return "long" if record["subtasks"]["long"].value else "short"


def predict_part(record: dict[str, Any]) -> Prediction:
    return predict(record["input"])


def count_parts(parts: list[Any]) -> int:
    return len(parts)


def answer_large(record: dict[str, Any]) -> str:
    if "poison" in record["input"]:
        raise RuntimeError("the large model choked")
    return "positive" if len(record["input"]) % 2 else "negative"


def small_chat_model(prompt: Any) -> AIMessage:
    """A stub small chat model that tells how likely each label is."""
    prediction = predict(prompt.messages[-1].content)
    logs = {label: math.log(probability) for label, probability in prediction.probabilities.items()}
    return AIMessage(prediction.label, response_metadata={"choice_logprobs": logs})


class TinyPipeline:
    """A stub text-classification pipeline of transformers."""

    def __init__(self):
        self.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(SENTIMENTS))))
        self.sizes = []

    def __call__(self, texts, **settings):
        self.sizes.append(len(texts))
        rows = [predict(text).probabilities for text in texts]
        return [[{"label": label, "score": score} for label, score in row.items()] for row in rows]


@dataclass
class Case:
    """A Runnable with inputs it can work on and one it cannot; `models` are the stubs whose calls count.

    Of an input they see so many `parts` at most.
    """

    make: Callable[[], tuple[Any, list[Any]]]
    inputs: list[Any]
    bad: Any
    kind: type
    parts: int = 1

    def build(self) -> tuple[Any, list[Any]]:
        return self.make()


def make_scorer():
    encoder = TinyEncoder()
    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=encoder)
    encoder.calls.clear()
    return scorer, [encoder]


def make_micro_batching_scorer():
    scorer, counts = make_scorer()
    return scorer.micro_batching(8), counts


def make_fast_scorer():
    """One that answers "good phone" without its encoder, and encodes questions."""
    encoder = TinyEncoder()
    texts = [
        f"{word} {thing} {number}" for word in ("good", "bad") for thing in ("phone", "price") for number in range(15)
    ]
    scorer = SmallModelScorer.fit(texts, ["positive"] * 30 + ["negative"] * 30, encoder=encoder)
    lexical = next(member for member in scorer.classifier.members if isinstance(member, LexicalMember))
    sure, unsure = np.exp(lexical.log_proba(TextBatch(["good phone", "is it good?"], encoder)).max(axis=1))
    early = EarlyExit(weight=1.0, threshold=(sure + unsure) / 2, taken=0.5, novelties=np.linspace(0, 1, 60))
    staged = replace(scorer.classifier, early_exit=early)
    encoder.calls.clear()
    return SmallModelScorer(labels=scorer.labels, classifier=staged, training_rows=scorer.training_rows), [encoder]


def make_pair_scorer():
    encoder = TinyEncoder()
    pairs = [(text, "good") for text in TEXTS]
    scorer = SmallModelScorer.fit(pairs, LABELS, encoder=encoder, input_key=("question", "document"))
    encoder.calls.clear()
    return scorer, [encoder]


def make_multi_label_scorer():
    encoder = TinyEncoder()
    tags = [[tag for tag in ("good", "phone") if tag in text] for text in TEXTS]
    scorer = MultiLabelScorer.fit(TEXTS, tags, encoder=encoder)
    encoder.calls.clear()
    return scorer, [encoder]


def make_number_scorer():
    encoder = TinyEncoder()
    texts = [f"{text} {number}" for number in range(10) for text in TEXTS]
    scorer = NumberScorer.fit(texts, [5 if "good" in text else 1 for text in texts], tolerance=1, encoder=encoder)
    encoder.calls.clear()
    return scorer, [encoder]


def make_runnable_scorer():
    small = Recording(predict)
    return RunnableScorer(run=small, labels=SENTIMENTS), [small]


def make_estimator_scorer():
    encoder = TinyEncoder()
    classifier = LogisticRegression().fit(encoder.encode(TEXTS), LABELS)
    encoder.calls.clear()
    return EstimatorScorer(classifier=classifier, features=encoder.encode), [encoder]


def make_pipeline_scorer():
    pipeline = TinyPipeline()
    return PipelineScorer(pipeline=pipeline), [pipeline]


def make_chat_model_scorer():
    small = Recording(small_chat_model)
    prompt = HintPromptBuilder(labels=SENTIMENTS, instruction="Which sentiment?", hints="none")
    parser = LabelParser(labels=SENTIMENTS)
    return ChatModelScorer(chat_model=small, prompt=prompt, parser=parser, confidence="logprobs"), [small]


def write_label(record: dict[str, Any]) -> str:
    return predict(record["input"]).label


def make_verified_scorer():
    small, verifier = Recording(write_label), Recording(is_positive)
    return VerifiedScorer(generators={"small": small}, samples=2, verifier=verifier), [small, verifier]


def is_positive(record: dict[str, Any]) -> bool:
    return record["candidate"] == "positive"


CODE_INPUTS = [
    {"candidate": "def f(x): return 2 * x", "tests": ["assert f(2) == 4", "assert abs(f(1) - 2) < 1"]},
    {"candidate": "def f(x): return 3", "tests": "assert f(2) == 4"},
]


def make_code_tests():
    return CodeTests(tests="tests"), []


def make_agreement():
    return Agreement(), []


def follows(pairs: list[dict[str, str]], **settings: Any) -> list[Any]:
    held = [float(pair["text_pair"] in pair["text"]) for pair in pairs]
    return [[{"label": "ENTAILMENT", "score": score}, {"label": "neutral", "score": 1 - score}] for score in held]


def make_entailment():
    return EntailmentVerifier(nli=follows), []


def make_schema_verifier():
    return SchemaVerifier(form={"type": "object", "required": ["a"]}), []


def make_sql_verifier():
    path = Path(tempfile.mkdtemp()) / "empty.db"
    path.touch()
    return SqlVerifier(database=path), []


def make_branch():
    large = Recording(answer_large)
    return ConfidenceBranch(large=large, wants="record", threshold=0.9, on_large_error="raise"), [large]


def make_configured_branch():
    branch, models = make_branch()
    field = ConfigurableField(id="threshold")
    return branch.configurable_fields(threshold=field).with_config(configurable={"threshold": 0.7}), models


def make_fusion():
    views = [predict(text) for text in TEXTS]
    return AnswerFusion.fit(views * 3, LABELS * 3, LABELS * 3), []


class Kept:
    """A recorder that keeps what it gets."""

    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)


def make_recorded_shunt():
    small, large = Recording(predict), Recording(large_model)
    settings = {"labels": SENTIMENTS, "instruction": "Which sentiment?", "threshold": 0.9}
    return data_shunt(small, large, **settings, experience=Kept()), [small, large]


def make_builder():
    return HintPromptBuilder(labels=SENTIMENTS, instruction="Which sentiment?"), []


def make_asker():
    large = Recording(large_model)
    return LabelAsker(model=large, parser=LabelParser(labels=SENTIMENTS)), [large]


def group_model(prompt: Any) -> str:
    """A label for each key of a prompt of several inputs, or for the only input."""
    asked = prompt.to_messages()[-1].content
    blocks = re.findall(r"<(q\d+-\w+)>\n<input>\n(.*)\n</input>", asked) or [("", asked)]
    return "\n".join(f"{key}: {'negative' if 'bad' in text else 'positive'}" for key, text in blocks)


def make_group_asker():
    large = Recording(group_model)
    return LabelTask(labels=SENTIMENTS, instruction="Which?", hints="none").arm(large, group=4), [large]


def make_image_scorer():
    pixels, labels = digits(12)
    encoder = PixelEncoder()
    labels = ["odd" if int(label) % 2 else "even" for label in labels]
    scorer = SmallModelScorer.fit(pixels, labels, modality="image", encoder=encoder)
    encoder.calls.clear()
    return scorer, [encoder]


def make_composer():
    encoder, models = TinyEncoder(), {"one": Recording(choke), "two": Recording(choke)}
    texts = [f"{text} {number}" for number in range(10) for text in TEXTS]
    scores = [{"one": len(text) % 2, "two": 0.5} for text in texts]
    composer = ModelComposer.fit(texts, scores, models=models, costs={"one": 1, "two": 2}, encoder=encoder)
    encoder.calls.clear()
    return composer, [encoder, *models.values()]


def choke(given: Any) -> str:
    if "poison" in str(given):
        raise RuntimeError("cannot answer")
    return str(given).upper()


def make_explainer():
    large = Recording(large_model)
    return OverrideExplainer(model=large, labels=SENTIMENTS, instruction="Which sentiment?"), [large]


def make_mask():
    return LabelMask(labels=["positive"]), []


def make_parser():
    return LabelParser(labels=SENTIMENTS), []


def make_map():
    step, last = Recording(predict_part), Recording(count_parts)
    return MapParts(split="sentences", run=step, keep=Keep(drop={"negative"}, threshold=0.9), reduce=last), [step, last]


def make_extractor():
    return PatternExtractor(patterns={"order": r"[A-Z]-\d+"}), []


def make_ranker():
    encoder = TinyEncoder()
    return SentenceRanker(encoder=encoder), [encoder]


def make_recorded_arm():
    return RecordedArm(), []


def make_template():
    return ResultTemplate(template="{input}: {tone}"), []


def make_decomposer():
    words, long, last = Recording(count_words), Recording(is_long), Recording(combine)
    subtasks = [Subtask(name="words", run=words), Subtask(name="long", run=long, needs=("words",))]
    return SubtaskDecomposer(subtasks=subtasks, combine=last), [words, long, last]


def plan_large(prompt: Any) -> AIMessage:
    """A stub large model that plans the same for every request."""
    steps = '[{"name": "size", "skill": "words"}]'
    return AIMessage(f'{{"steps": {steps}, "combine": "template", "template": "{{size}} words"}}')


def make_planner():
    words, large = Recording(count_words), Recording(plan_large)
    skill = Skill(name="words", description="Counts the words.", run=words)
    return SubtaskPlanner(large, skills=[skill], cache=None), [words, large]


def make_shunt():
    small, large = Recording(predict), Recording(large_model)
    chain = data_shunt(small, large, labels=SENTIMENTS, instruction="Which sentiment?", threshold=0.9)
    return chain, [small, large]


def answer_text(text: str) -> str:
    return answer_large({"input": text})


def make_app_shunt():
    small, app = Recording(predict), Recording(answer_text)
    shunted = shunt(app, small, threshold=0.9, labels=SENTIMENTS, output=str, on_large_error="raise")
    return shunted, [small, app]


def make_recorded_app():
    app = Recording(answer_text)
    return record_answers(app, Kept()), [app]


class Opinion(BaseModel):
    """What a review says."""

    sentiment: Literal["positive", "negative"]
    note: str = "none"


def make_structured_shunt():
    small, large = Recording(predict), StructuredChat(function=opinion)
    app = ChatPromptTemplate.from_template("{review}") | large.with_structured_output(Opinion)
    fields = {"sentiment": small}
    return shunt(app, fields=fields, threshold=0.9, optional=["note"], on_large_error="raise"), [small, large]


def opinion(prompt: str) -> str:
    return answer_large({"input": prompt})


def make_chat_shunt():
    small, large = Recording(predict), Recording(large_model)
    model = ShuntChatModel(large=large, scorer=small, threshold=0.9, labels=SENTIMENTS, on_large_error="raise")
    return model, [small, large]


def make_node():
    small, app = Recording(predict), Recording(answer_large)
    node = shunt_node(small, threshold=0.9, large=app, labels=SENTIMENTS, output=str, on_large_error="raise")
    return node, [small, app]


def decide(request: dict[str, Any]) -> SimpleNamespace:
    """A stub decision model."""
    said = predict(request["state"])
    answer = {"choice": said.label, "confidence": said.confidence, "probabilities": dict(said.probabilities)}
    return SimpleNamespace(answers={"label": SimpleNamespace(type="choice", **answer)})


def make_decision_scorer():
    model = Recording(decide)
    question = SimpleNamespace(type="choice", criteria=dict.fromkeys(SENTIMENTS))
    return DecisionModelScorer(model, question=question), [model]


TEXT_INPUTS = ["good phone", "bad phone", "is it good?", "is it bad ?", {"input": "good", "id": 7}]
CASES = {
    "SmallModelScorer": Case(make_scorer, TEXT_INPUTS, None, SmallModelScorer),
    "fast SmallModelScorer": Case(make_fast_scorer, TEXT_INPUTS, None, SmallModelScorer),
    "micro-batching SmallModelScorer": Case(make_micro_batching_scorer, TEXT_INPUTS, None, SmallModelScorer),
    "SmallModelScorer of pairs": Case(
        make_pair_scorer,
        [("good phone", "good"), ("bad phone", "bad"), {"question": "is it good?", "document": "good", "id": 7}],
        "no pair",
        SmallModelScorer,
        parts=2,
    ),
    "SmallModelScorer of images": Case(
        make_image_scorer, [*IMAGES[:2], {"input": IMAGES[2], "id": 7}], "no/such/file.png", SmallModelScorer
    ),
    "MultiLabelScorer": Case(make_multi_label_scorer, TEXT_INPUTS, None, MultiLabelScorer),
    "NumberScorer": Case(make_number_scorer, TEXT_INPUTS, None, NumberScorer),
    "RunnableScorer": Case(make_runnable_scorer, TEXT_INPUTS, "poison", RunnableScorer),
    "EstimatorScorer": Case(make_estimator_scorer, TEXT_INPUTS, None, EstimatorScorer),
    "PipelineScorer": Case(make_pipeline_scorer, TEXT_INPUTS, None, PipelineScorer),
    "ChatModelScorer": Case(make_chat_model_scorer, TEXT_INPUTS, "poison", ChatModelScorer),
    "Agreement": Case(
        make_agreement, [{"candidate": one, "candidates": ["a", "A", "b"]} for one in "ab"], "no record", Agreement
    ),
    "EntailmentVerifier": Case(
        make_entailment, [{"candidate": one, "input": "a b"} for one in "ac"], "no record", EntailmentVerifier
    ),
    "SchemaVerifier": Case(
        make_schema_verifier, [{"candidate": "{}"}, {"candidate": '{"a": 1}'}], "no record", SchemaVerifier
    ),
    "SqlVerifier": Case(make_sql_verifier, [{"candidate": "SELECT 1"}, {"candidate": "x"}], "no record", SqlVerifier),
    "CodeTests": Case(make_code_tests, CODE_INPUTS, "no record", CodeTests),
    "VerifiedScorer": Case(make_verified_scorer, TEXT_INPUTS, "poison", VerifiedScorer, parts=2),
    "AppShunt": Case(make_app_shunt, ["good", "bad?", "so so?", "bad"], 7, AppShunt),
    "StructuredShunt": Case(
        make_structured_shunt,
        [{"review": text} for text in ("good", "bad?", "so so?", "bad")],
        {"review": 7},
        StructuredShunt,
    ),
    "ShuntChatModel": Case(make_chat_shunt, ["good", "bad?", "so so?", "bad"], 7, ShuntChatModel),
    "RecordNode": Case(make_node, [{"input": text} for text in ("good", "bad?", "so so?", "bad")], 7, RecordNode),
    "DecisionModelScorer": Case(make_decision_scorer, TEXT_INPUTS, "poison", DecisionModelScorer),
    "ConfidenceBranch": Case(
        make_branch, [record_of(text) for text in ("good", "bad?", "so so?", "bad")], {"input": "x"}, ConfidenceBranch
    ),
    "configured ConfidenceBranch": Case(
        make_configured_branch, [record_of(text) for text in ("good", "bad?", "so so?")], "no record", ConfidenceBranch
    ),
    "AnswerFusion": Case(
        make_fusion,
        [
            {**record_of("so so?"), "answer": "negative", "source": "large", "large": LargeAnswer(value="negative")},
            {**record_of("good"), "answer": "positive", "source": "small"},
        ],
        {"input": "x"},
        AnswerFusion,
    ),
    "HintPromptBuilder": Case(make_builder, [record_of("good?"), record_of("bad?")], {"input": "x"}, HintPromptBuilder),
    "ModelComposer": Case(make_composer, TEXT_INPUTS, "poison", ModelComposer),
    "GroupAsker": Case(
        make_group_asker, [{"input": "good?"}, {"input": "bad?"}, {"input": "so so", "id": 3}], 7, GroupAsker
    ),
    "LabelAsker": Case(make_asker, ["good?", "bad?", "so so"], "outage", LabelAsker),
    "LabelMask": Case(make_mask, [record_of("good?"), predict("bad")], {"input": "x"}, LabelMask),
    "LabelParser": Case(
        make_parser, ["Positive.", '{"label": "negative"}', AIMessage("**negative**")], "perhaps", LabelParser
    ),
    "MapParts": Case(
        make_map,
        ["Good. It is bad. Is it good?", "so so", {"input": "Good. So so.", "id": 3}],
        "Good. A poison.",
        MapParts,
        parts=3,
    ),
    "OverrideExplainer": Case(
        make_explainer,
        [
            {**record_of("so so?"), "answer": "negative", "source": "large", "large": LargeAnswer(value="negative")},
            {**record_of("bad ?"), "answer": "positive", "source": "large", "large": LargeAnswer(value="positive")},
            {**record_of("good"), "answer": "positive", "source": "small"},
        ],
        {"input": "x"},
        OverrideExplainer,
    ),
    "PatternExtractor": Case(make_extractor, ["A-12", "A-1 or B-2?", {"input": "none"}], 7, PatternExtractor),
    "SentenceRanker": Case(
        make_ranker,
        [{"input": text, "question": "What broke?"} for text in ("Nice. It broke. Sad.", "It broke.", "")],
        "no question",
        SentenceRanker,
        parts=4,
    ),
    "RecordedArm": Case(
        make_recorded_arm,
        [{"input": "x", "recorded_answer": RecordedAnswer(value=label)} for label in SENTIMENTS],
        {"input": "x", "recorded_answer": RecordedAnswer(value=None, error=TimeoutError("no answer"))},
        RecordedArm,
    ),
    "ResultTemplate": Case(
        make_template,
        [{"input": text, "subtasks": {"tone": SubtaskResult(value="good")}} for text in ("a", "b")],
        {"input": "x", "subtasks": {}},
        ResultTemplate,
    ),
    "SubtaskDecomposer": Case(
        make_decomposer, ["broke at once, sadly", "good", {"input": "so so", "id": 3}], "poison", SubtaskDecomposer
    ),
    "SubtaskPlanner": Case(
        make_planner,
        ["How long is this?", {"input": "so so", "request": "How many words?", "id": 3}, "Is it long?"],
        "poison",
        SubtaskPlanner,
    ),
    "data_shunt": Case(make_shunt, TEXT_INPUTS, 7, SmallModelScorer),
    "recorded data_shunt": Case(make_recorded_shunt, TEXT_INPUTS, 7, SmallModelScorer),
    "record_answers": Case(make_recorded_app, ["good", "bad?", "so so?", "bad"], "poison", AppShunt),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


@pytest.fixture
def runnable(case):
    return case.build()[0]


def total(chunks: list[Any]) -> Any:
    summed = chunks[0]
    for chunk in chunks[1:]:
        summed = summed + chunk
    return summed


def assert_same(got: Any, expected: Any) -> None:
    """Equal, but for rounding in confidences and probabilities, and for a message's number."""
    if isinstance(expected, Prediction):
        assert got.label == expected.label
        assert got.confidence == pytest.approx(expected.confidence, abs=1e-5)
        assert dict(got.probabilities or {}) == pytest.approx(dict(expected.probabilities or {}), abs=1e-5)
    elif isinstance(expected, ModelChoice):
        assert (got.model, got.failed) == (expected.model, expected.failed)
        assert got.expected == pytest.approx(expected.expected, abs=1e-5)
        assert got.foreseen == pytest.approx(expected.foreseen, abs=1e-5)
    elif isinstance(expected, AIMessage):
        assert got.content == expected.content
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, value in expected.items():
            assert_same(got[key], value)
    else:
        assert got == expected


async def test_all_ways_to_call_agree_and_keep_the_order(case, runnable):
    expected = runnable.batch(case.inputs)
    assert len(expected) == len(case.inputs)
    for value, result in zip(case.inputs, expected, strict=True):
        assert_same(runnable.invoke(value), result)
        assert_same(await runnable.ainvoke(value), result)
        assert_same(total(list(runnable.stream(value))), result)
        assert_same(total([chunk async for chunk in runnable.astream(value)]), result)
    for result, again in zip(expected, await runnable.abatch(case.inputs), strict=True):
        assert_same(again, result)
    for result, again in zip(reversed(expected), runnable.batch(case.inputs[::-1]), strict=True):
        assert_same(again, result)


async def test_as_completed_gives_every_result_under_its_number(case, runnable):
    expected = runnable.batch(case.inputs)
    for number, result in runnable.batch_as_completed(case.inputs):
        assert_same(result, expected[number])
    async for number, result in runnable.abatch_as_completed(case.inputs):
        assert_same(result, expected[number])


async def test_an_empty_batch_is_empty(runnable):
    assert runnable.batch([]) == []
    assert await runnable.abatch([]) == []


async def test_a_bad_input_fails_alone_under_return_exceptions(case, runnable):
    inputs = [case.inputs[0], case.bad, case.inputs[1]]
    expected = runnable.batch(case.inputs[:2])
    for results in (
        runnable.batch(inputs, return_exceptions=True),
        await runnable.abatch(inputs, return_exceptions=True),
    ):
        assert_same(results[0], expected[0])
        assert_same(results[2], expected[1])
        assert isinstance(results[1], Exception)
        error = type(results[1])
    with pytest.raises(error):
        runnable.batch(inputs)
    with pytest.raises(error):
        await runnable.abatch(inputs)
    with pytest.raises(error):
        runnable.invoke(case.bad)
    with pytest.raises(error):
        list(runnable.stream(case.bad))
    with pytest.raises(error):
        [chunk async for chunk in runnable.astream(case.bad)]


async def test_one_batch_is_one_call_of_each_model(case):
    runnable, models = case.build()
    runnable.batch(case.inputs)
    await runnable.abatch(case.inputs)
    for model in models:
        sizes = model.calls if isinstance(model, TinyEncoder) else model.sizes
        assert len(sizes) == 2, "one call for batch, one for abatch"
        assert sizes[0] == sizes[1] <= len(case.inputs) * case.parts


async def test_input_is_not_changed(case, runnable):
    before = copy.deepcopy(case.inputs)
    runnable.batch(case.inputs)
    await runnable.abatch(case.inputs)
    [list(runnable.stream(value)) for value in case.inputs]
    assert case.inputs == before


class Seen(BaseCallbackHandler):
    """Records every chain run: name, parent, tags, metadata."""

    def __init__(self):
        self.runs = []
        self.ended = self.failed = 0

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, tags=None, metadata=None, **kwargs):
        self.runs.append((run_id, parent_run_id, kwargs.get("name"), tags or [], metadata or {}))

    def on_chain_end(self, outputs, **kwargs):
        self.ended += 1

    def on_chain_error(self, error, **kwargs):
        self.failed += 1


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
async def test_config_reaches_the_run_and_its_children(case, runnable, way):
    seen = Seen()
    config = {"callbacks": [seen], "tags": ["mine"], "metadata": {"user": "u1"}, "run_name": "the run"}
    value = case.inputs[1]
    match way:
        case "invoke":
            runnable.invoke(value, config)
        case "ainvoke":
            await runnable.ainvoke(value, config)
        case "stream":
            list(runnable.stream(value, config))
        case "astream":
            [chunk async for chunk in runnable.astream(value, config)]
        case "batch":
            runnable.batch([value], config)
        case "abatch":
            await runnable.abatch([value], config)
    roots = [run for run in seen.runs if run[1] is None]
    assert [run[2] for run in roots] == ["the run"]
    ids = {run[0] for run in seen.runs}
    assert all(run[1] in ids for run in seen.runs if run[1] is not None)
    assert all("mine" in run[3] and run[4]["user"] == "u1" for run in seen.runs)
    assert seen.ended == len(seen.runs)
    assert not seen.failed


async def test_a_failure_is_traced_as_one(case, runnable):
    seen = Seen()
    runnable.batch([case.bad], {"callbacks": [seen]}, return_exceptions=True)
    assert seen.failed >= 1
    assert seen.ended + seen.failed == len(seen.runs)


async def test_events_v2_name_the_runs(case, runnable):
    events = [event async for event in runnable.astream_events(case.inputs[0], version="v2")]
    started = [event["name"] for event in events if event["event"].endswith("_start")]
    ended = [event["name"] for event in events if event["event"].endswith("_end")]
    assert started
    assert sorted(started) == sorted(ended)


@pytest.mark.parametrize("limit", [1, 3])
async def test_max_concurrency_reaches_the_models(limit):
    from fakes import Gauge
    from langchain_core.runnables import RunnableLambda

    gauge = Gauge()

    async def slow(record):
        with gauge:
            await asyncio.sleep(0.005)
        return "positive"

    branch = ConfidenceBranch(large=RunnableLambda(lambda text: "positive", afunc=slow), threshold=None)
    await branch.abatch([record_of(f"text {i}") for i in range(12)], {"max_concurrency": limit})
    assert gauge.most == limit


async def test_no_call_blocks_the_loop(case, runnable):
    await runnable.abatch(case.inputs)  # imports that happen on first use read files
    with no_garbage(), blockbuster_ctx():  # the end of somebody else's garbage may block
        await runnable.ainvoke(case.inputs[0])
        answered = await runnable.abatch(case.inputs)
        streamed = [chunk async for chunk in runnable.astream(case.inputs[1])]
    assert len(answered) == len(case.inputs)
    assert streamed


def test_the_graph_can_be_drawn(runnable):
    drawn = runnable.get_graph().draw_mermaid()
    assert drawn.count("-->") + drawn.count(".->") >= 2


def test_schemas_can_be_asked_for(runnable):
    assert runnable.get_input_jsonschema()
    assert runnable.get_output_jsonschema()


def test_pickle_and_deepcopy_give_the_same_runnable(case, runnable):
    expected = runnable.batch(case.inputs)
    for twin in (pickle.loads(pickle.dumps(runnable)), copy.deepcopy(runnable)):
        for again, result in zip(twin.batch(case.inputs), expected, strict=True):
            assert_same(again, result)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if name == case.kind.__name__])
def test_unknown_keywords_and_changes_are_refused(name):
    runnable, _ = CASES[name].build()
    fields = dict(runnable)
    with pytest.raises(ValueError, match="treshold"):
        type(runnable)(**fields, treshold=0.7)
    with pytest.raises(ValueError, match="frozen"):
        runnable.name = "other"
    with pytest.raises(TypeError):
        type(runnable)(*fields.values())


def test_every_exported_runnable_is_in_the_contract():
    from dsplus_chains.running.batch_runnable import BatchRunnable

    rooms = [module.name for module in iter_modules(dsplus_chains.__path__, "dsplus_chains.") if module.ispkg]
    homes = [dsplus_chains, *map(import_module, rooms)]
    exported = [getattr(home, name) for home in homes for name in dir(home)]
    runnables = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, BatchRunnable)}
    concrete = {kind.__name__ for kind in runnables if not isabstract(kind)}
    assert concrete == {case.kind.__name__ for case in CASES.values()}


def test_probabilities_do_not_depend_on_the_batch():
    scorer, _ = make_scorer()
    texts = [f"good {word} phone" for word in "abcdefghij"]
    together = [record["prediction"].confidence for record in scorer.batch(texts)]
    assert np.allclose(together, [scorer.invoke(text)["prediction"].confidence for text in texts], atol=1e-5)

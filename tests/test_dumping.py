"""What LangChain's `dumps` writes, `loads` makes again."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import shutil
import warnings

import pytest
import torch
from fakes import TinyEncoder, predict
from langchain_core.load import dumps, loads
from langchain_core.load.serializable import Serializable
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.chat import HumanMessagePromptTemplate
from langchain_core.prompts.prompt import PromptTemplate
from langchain_core.runnables.base import RunnableSequence
from langchain_openai import ChatOpenAI
from pydantic import TypeAdapter
from safetensors.torch import load_file, save
from sklearn.naive_bayes import GaussianNB
from tiny_llama import tiny_llama, tiny_tokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline

import dsplus_chains
from dsplus_chains import (
    AnswerFusion,
    Bundle,
    ConfidenceBranch,
    EstimatorScorer,
    HintPromptBuilder,
    Keep,
    LabelParser,
    MapParts,
    MapSubtask,
    MultiLabelScorer,
    NumberScorer,
    PatternExtractor,
    PipelineScorer,
    Prediction,
    RunnableScorer,
    SmallModelScorer,
    Subtask,
    SubtaskDecomposer,
)
from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.encoding.language_model import LanguageModelEncoder
from dsplus_chains.prompting.asker import LabelAsker
from dsplus_chains.prompting.explainer import OverrideExplainer
from dsplus_chains.running import QuietSequence
from dsplus_chains.schema import BundleError, LargeAnswer, Passage, ShuntRecord, SubtaskResult, TagsPrediction
from dsplus_chains.scoring.chat_model import ChatModelScorer
from dsplus_chains.scoring.mask import LabelMask
from dsplus_chains.scoring.members import network
from dsplus_chains.subtasks.combining import ResultTemplate

TEXTS = ["good phone", "good price", "nice and good", "bad phone", "bad price", "bad and ugly"]
LABELS = ["positive"] * 3 + ["negative"] * 3


def again(value):
    """A value that was dumped and loaded."""
    ours = [one for name in dsplus_chains.__all__ if inspect.isclass(one := getattr(dsplus_chains, name))]
    more = [LabelAsker, OverrideExplainer, ChatModelScorer, LabelMask, ResultTemplate, RunnableScorer, TagsPrediction]
    more += [LargeAnswer, SubtaskResult, Passage, MapParts, Subtask, MapSubtask, PatternExtractor, Keep, LabelParser]
    more += [QuietSequence, MultiLabelScorer, NumberScorer, PipelineScorer]
    langchain = [RunnableSequence, ChatOpenAI, ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate]
    known = [one for one in [*ours, *more, *langchain] if issubclass(one, Serializable)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain marks `loads` as beta
        return loads(
            dumps(value),
            allowed_objects=known,
            valid_namespaces=["dsplus_chains"],
            secrets_map={"OPENAI_API_KEY": "none"},
        )


def chat():
    return ChatOpenAI(model="m", api_key="none", base_url="http://localhost:9")


def fusion():
    views = [predict(text) for text in TEXTS]
    return AnswerFusion.fit(views * 3, LABELS * 3, LABELS * 3)


def prompt(labels, **more):
    return HintPromptBuilder(labels=labels, instruction="Which?", **more)


RECORD = TrackRecord.fit([0.6, 0.7, 0.8, 0.9] * 30, [True, False, True, True] * 30)
BY_VALUE = {
    "AnswerFusion": fusion,
    "PatternExtractor": lambda: PatternExtractor(patterns={"order": r"[A-Z]-\d+", "lc": "x"}, timeout=2.0),
    "Keep": lambda: Keep(drop={"spam", "ham"}, threshold=0.9, label="eggs"),
    "Keep by numbers": lambda: Keep(drop={1, 2}, threshold=0.9, top_k=3),
    "LabelParser": lambda: LabelParser(labels=[0, 1], aliases={"no": 0}, descriptions={1: "yes"}),
    "HintPromptBuilder": lambda: prompt([0, 1], descriptions={1: "one"}, track_record=RECORD, hints="hard", top_k=2),
    "its template": lambda: prompt(["a", "b"], template=ChatPromptTemplate.from_template("{fenced_input} {labels}")),
    "LabelMask": lambda: LabelMask(labels=[True]),
    "ResultTemplate": lambda: ResultTemplate(template="{input}: {tone}"),
    "Subtask": lambda: Subtask(name="tone", run=LabelMask(labels=["a"]), needs=("order",), select="input"),
    "SubtaskDecomposer": lambda: SubtaskDecomposer(
        subtasks=[
            Subtask(name="order", run=PatternExtractor(patterns={"order": "[A-Z]"}), threshold=0.9),
            MapSubtask(name="quotes", run=PatternExtractor(patterns={"q": "x"}), keep=Keep(top_k=1), needs=("order",)),
        ],
        combine=ResultTemplate(template="{order}"),
    ),
    "MapParts": lambda: MapParts(run=PatternExtractor(patterns={"q": "x"}), split="sentences", keep=Keep(top_k=2)),
    "LabelAsker": lambda: LabelAsker(model=chat(), parser=LabelParser(labels=["a", "b"]), retries=0),
    "OverrideExplainer": lambda: OverrideExplainer(model=chat(), labels=["a", "b"], instruction="Which?"),
    "ChatModelScorer": lambda: ChatModelScorer(
        chat_model=chat(), prompt=prompt(["a", "b"], hints="none"), parser=LabelParser(labels=["a", "b"]),
        confidence="logprobs",
    ),
    "RunnableScorer": lambda: RunnableScorer(run=LabelMask(labels=["a"]), on_error="defer"),
    "ConfidenceBranch": lambda: ConfidenceBranch(
        large=prompt([0, 1]) | chat() | LabelParser(labels=[0, 1]), threshold={0: 0.5, 1: None}, timeout=5
    ),
    "a chain": lambda: ConfidenceBranch(large=prompt(["a"]) | chat(), threshold={"a": 0.5}, tier="first") | fusion(),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_VALUE)
def test_what_holds_only_data_is_dumped_by_value(name):
    made = BY_VALUE[name]()
    loaded = again(made)
    assert type(loaded) is type(made)
    assert dumps(loaded) == dumps(made)
    if "chat" not in inspect.getsource(BY_VALUE[name]):  # clients of OpenAI are equal to themselves alone
        assert loaded == made


def test_a_part_that_is_no_data_is_named_and_refused():
    keep = Keep(top_k=1, label=lambda record: record["tone"])
    assert "lambda" in dumps(keep)
    with pytest.raises(NotImplementedError, match="lambda"):
        again(keep)


# --- scorers, by where they lie ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    encoder = LanguageModelEncoder.from_pretrained(str(folder), prompt="{text}", device="cpu")
    return SmallModelScorer.fit(TEXTS, LABELS, encoder=encoder, input_key="review")


def test_a_scorer_is_dumped_as_the_place_that_it_was_read_from(scorer, tmp_path):
    scorer.save(tmp_path / "small")
    read = SmallModelScorer.load(tmp_path / "small", device="cpu")
    chain = read.deferring().micro_batching(8) | ConfidenceBranch(
        large=prompt(["positive", "negative"]) | chat(), threshold=0.0
    )
    assert len(dumps(chain)) < 5000
    loaded = again(chain)
    assert (loaded.first.input_key, loaded.first.on_error, loaded.first.micro_batch) == ("review", "defer", 8)
    assert loaded.batch([{"review": text} for text in TEXTS]) == chain.batch([{"review": text} for text in TEXTS])
    assert dumps(loaded) == dumps(chain)


def test_a_scorer_of_a_bundle_is_dumped_as_the_bundles_place(scorer, tmp_path):
    Bundle(scorer=scorer).save(tmp_path / "bundle")
    read = Bundle.load(tmp_path / "bundle", device="cpu").scorer
    told = json.loads(dumps(read))["kwargs"]["saved"]
    assert told["folder"] == str((tmp_path / "bundle").resolve())
    assert again(read).batch([{"review": text} for text in TEXTS]) == read.batch([{"review": text} for text in TEXTS])


def test_a_scorer_that_is_not_the_same_any_more_is_refused(scorer, tmp_path):
    scorer.save(tmp_path / "small")
    read = SmallModelScorer.load(tmp_path / "small", device="cpu")
    SmallModelScorer.fit(TEXTS, LABELS, encoder=scorer.encoder, seed=1, input_key="text").save(tmp_path / "small")
    with pytest.raises(ValueError, match="put that one back, or dump the chain anew"):
        again(read)


def test_a_scorer_that_was_never_saved_says_what_to_do():
    fitted = SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder())
    with pytest.raises(BundleError, match=r"Save it first \(scorer\.save\(path\)"):
        dumps(fitted | ConfidenceBranch(large=prompt(["a"]) | chat(), threshold=0.9))


# --- every scorer that has a folder -----------------------------------------------------------------------------------

TAGS = [[tag for tag in ("good", "bad", "phone") if tag in text] for text in TEXTS]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "phone", "price", "nice", "and", "ugly"]


def tiny_pipeline(seed):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16, initializer_range=0.9, num_labels=2,
    )  # fmt: skip
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})
    return pipeline("text-classification", model=BertForSequenceClassification(config), tokenizer=tokenizer)


def save_tags(encoder, folder, seed):
    MultiLabelScorer.fit(TEXTS, TAGS[seed:] + TAGS[:seed], encoder=encoder, input_key="review").save(folder)


def save_pairs(encoder, folder, seed):
    pairs, tags = [(text, TEXTS[0]) for text in TEXTS], TAGS[seed:] + TAGS[:seed]
    MultiLabelScorer.fit(pairs, tags, encoder=encoder, input_key=("review", "other")).save(folder)


def save_number(encoder, folder, seed):
    texts = [f"{text} {number}" for number in range(9) for text in TEXTS]
    stars = [5 if "good" in text else 1 + len(text) % 2 for text in texts]
    NumberScorer.fit(texts, stars, tolerance=seed, encoder=encoder, input_key="review").save(folder)


def save_pipeline(encoder, folder, seed):
    del encoder
    tiny_pipeline(seed).save_pretrained(folder)


def load_bounded(folder, **how):
    return NumberScorer.load(folder, **how).bounded(whole=False, low=2, high=4)


def load_pipeline(folder, **how):
    return PipelineScorer.load(folder, label_map={"LABEL_0": "no"}, batch_size=2, input_key="review", **how)


PLACES = {
    "tags": (save_tags, MultiLabelScorer.load),
    "tags of pairs": (save_pairs, MultiLabelScorer.load),
    "a number": (save_number, NumberScorer.load),
    "a bounded number": (save_number, load_bounded),
    "a pipeline": (save_pipeline, load_pipeline),
}


@pytest.fixture(scope="module")
def folders(scorer, tmp_path_factory):
    """The folder that a function has saved a scorer in. Each is made once."""

    @functools.cache
    def find(make, seed):
        folder = tmp_path_factory.mktemp("saved") / "small"
        make(scorer.encoder, folder, seed)
        return folder

    return find


@pytest.mark.parametrize("name", PLACES)
def test_every_scorer_with_a_folder_is_dumped_as_its_place(name, folders):
    make, load = PLACES[name]
    read = load(folders(make, 1), device="cpu")
    chain = read.deferring() | ConfidenceBranch(large=prompt(["a"]) | chat(), threshold=0.0)
    assert len(dumps(chain)) < 5000
    loaded = again(chain)
    inputs = [{"review": text, "other": "good"} for text in [*TEXTS, "good and bad"]]
    assert loaded.first.batch(inputs) == read.batch(inputs)
    assert loaded.first.on_error == "defer"
    assert dumps(loaded) == dumps(chain)


@pytest.mark.parametrize("name", PLACES)
def test_another_scorer_in_the_place_is_refused(name, folders, tmp_path):
    make, load = PLACES[name]
    shutil.copytree(folders(make, 1), tmp_path / "small")
    read = load(tmp_path / "small", device="cpu")
    shutil.copytree(folders(make, 2), tmp_path / "small", dirs_exist_ok=True)
    with pytest.raises(ValueError, match="put that one back, or dump the chain anew"):
        again(read)


@pytest.mark.parametrize(
    ("made", "advice"),
    [
        (lambda: MultiLabelScorer.fit(TEXTS, TAGS, encoder=TinyEncoder()), r"the one that MultiLabelScorer\.load"),
        (lambda: PipelineScorer(pipeline=tiny_pipeline(0)), r"save_pretrained\(folder\), and take the scorer that"),
        (lambda: EstimatorScorer(classifier=GaussianNB().fit([[0], [1]], [0, 1])), "GaussianNB to dump, .* pickle"),
    ],
)
def test_what_lies_nowhere_says_what_to_do(made, advice):
    scorer = made()
    with pytest.raises(BundleError, match=advice):
        dumps(scorer | ConfidenceBranch(large=prompt(["a"]) | chat(), threshold=0.9))


def test_a_folder_is_read_by_the_class_that_predicts_the_same(scorer, folders, tmp_path):
    scorer.save(tmp_path / "label")
    with pytest.raises(BundleError, match="predicts 'tags' but expected one that predicts 'label'"):
        SmallModelScorer.load(folders(save_tags, 1))
    with pytest.raises(BundleError, match="predicts 'label' but expected one that predicts 'number'"):
        NumberScorer.load(tmp_path / "label")


def test_pickled_weights_and_links_are_not_read(tmp_path):
    tiny_pipeline(0).save_pretrained(tmp_path)
    held = tmp_path / "model.safetensors"
    torch.save(load_file(held), tmp_path / "pytorch_model.bin")
    held.unlink()
    with pytest.raises(BundleError, match="holds no readable pipeline"):
        PipelineScorer.load(tmp_path)
    held.symlink_to(tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleError, match="is a link"):
        PipelineScorer.load(tmp_path)
    with pytest.raises(BundleError, match="holds no readable pipeline"):
        PipelineScorer.load(tmp_path / "none")


def with_settings(folder, change):
    settings = json.loads((folder / "scorer.json").read_text())
    change(settings)
    (folder / "scorer.json").write_text(json.dumps(settings))


def without_array(folder, name):
    arrays = dict(load_file(folder / "scorer.safetensors"))
    del arrays[name]
    packed = save(arrays)
    (folder / "scorer.safetensors").write_bytes(packed)
    with_settings(folder, lambda settings: settings.update(sha256=hashlib.sha256(packed).hexdigest()))


@pytest.mark.parametrize(
    ("make", "spoil"),
    [
        (save_tags, lambda folder: with_settings(folder, lambda told: told["tags"].pop())),
        (save_tags, lambda folder: with_settings(folder, lambda told: told.update(tags=["a", "a", "a"]))),
        (save_tags, lambda folder: with_settings(folder, lambda told: told["heads"].pop())),
        (save_tags, lambda folder: with_settings(folder, lambda told: told["same"].update(x="nowhere"))),
        (save_tags, lambda folder: with_settings(folder, lambda told: told.update(joint={"kind": "vector"}))),
        (save_tags, lambda folder: without_array(folder, "0/weights")),
        (save_number, lambda folder: with_settings(folder, lambda told: told.update(low=9.0))),
        (save_number, lambda folder: with_settings(folder, lambda told: told.update(tolerance=-1.0))),
        (
            save_number,
            lambda folder: with_settings(
                folder, lambda told: told["curve"].update(weights=[1.0, 1.0, 1.0], biases=[0.0, 0.0, 0.0])
            ),
        ),
        (save_number, lambda folder: without_array(folder, "difficulty.scale")),
        (save_number, lambda folder: without_array(folder, "residuals")),
    ],
)
def test_a_damaged_folder_is_refused(make, spoil, folders, tmp_path):
    shutil.copytree(folders(make, 1), tmp_path / "small")
    spoil(tmp_path / "small")
    with pytest.raises(BundleError):
        (MultiLabelScorer if make is save_tags else NumberScorer).load(tmp_path / "small", device="cpu")


def test_equal_arrays_of_the_heads_are_kept_once(scorer, tmp_path):
    texts = [f"{text} {number}" for number in range(9) for text in TEXTS]
    tags = [[tag for tag in ("good", "bad", "phone") if tag in text] for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FEWEST_STEPS", 5)
        fitted = MultiLabelScorer.fit(texts, tags, encoder=scorer.encoder)
    fitted.save(tmp_path / "small")
    arrays = load_file(tmp_path / "small" / "scorer.safetensors")
    width = scorer.encoder.encode(["good"]).shape[1]
    assert [table.shape for table in arrays.values()].count((len(texts), width)) == 1
    read = MultiLabelScorer.load(tmp_path / "small", device="cpu")
    assert read.batch(TEXTS) == fitted.batch(TEXTS)


# --- one form of a record ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["a", "b"], [1, 2], [True, False]])
def test_json_holds_probabilities_in_one_form(labels):
    view = Prediction(label=labels[0], confidence=0.75, probabilities=dict(zip(labels, [0.75, 0.25], strict=True)))
    tags = TagsPrediction(value=["x"], confidence=0.5, probabilities={"x": 1.0}, by_tag={"x": view})
    record = {"input": "?", "prediction": view, "tiers": [tags], "predictions": {"x": view}, "fused": view}
    written = [json.loads(TypeAdapter(ShuntRecord).dump_json(record)), json.loads(dumps(record))]
    forms = [record["prediction"].get("kwargs", record["prediction"])["probabilities"] for record in written]
    forms += [json.loads(view.model_dump_json())["probabilities"], view.model_dump(mode="json")["probabilities"]]
    forms += [written[0]["fused"]["probabilities"], written[0]["predictions"]["x"]["probabilities"]]
    expected = [[labels[0], 0.75], [labels[1], 0.25]]
    assert [[[*pair] for pair in form] for form in forms] == [expected] * len(forms)
    assert again(record) == record

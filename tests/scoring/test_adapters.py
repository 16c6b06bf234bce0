"""Other people's small models as scorers: scikit-learn, a transformers pipeline, a small chat model."""

from __future__ import annotations

import copy
import json
import math
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import LABELS, TEXTS
from fakes import Gauge, Recording, TinyEncoder
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from dsplus_chains import (
    Bundle,
    BundleError,
    ChatModelScorer,
    ConfidenceBranch,
    EstimatorScorer,
    HintPromptBuilder,
    InvalidInputError,
    LabelParser,
    PipelineScorer,
    Prediction,
    WiringError,
    data_shunt,
)
from dsplus_chains.scoring.chat_model import from_votes

SENTIMENTS = ["positive", "negative"]


def predictions(scorer, texts):
    return [record["prediction"] for record in scorer.batch(texts)]


# --- scikit-learn ----------------------------------------------------------------------------------------------------


class Counted(LogisticRegression):
    """Counts its calls; what is written over its probabilities is `spoilt`."""

    def predict_proba(self, x):
        self.sizes = [*getattr(self, "sizes", []), x.shape[0]]
        table = super().predict_proba(x)
        return table if not hasattr(self, "spoil") else self.spoil(table)


def fitted(labels=LABELS):
    return make_pipeline(TfidfVectorizer(), Counted()).fit(TEXTS, labels)


def test_a_classifier_is_asked_once_a_batch_and_says_what_it_says_alone():
    classifier = fitted()
    scorer = EstimatorScorer(classifier=classifier)
    found = predictions(scorer, TEXTS)
    assert classifier[-1].sizes == [len(TEXTS)]
    assert scorer.labels == ("negative", "positive")
    assert [row.label for row in found] == list(classifier.predict(TEXTS))
    assert np.allclose([list(row.probabilities.values()) for row in found], classifier.predict_proba(TEXTS))
    assert all(sum(row.probabilities.values()) == pytest.approx(1) for row in found)
    assert all(row.confidence == row.probabilities[row.label] for row in found)


@pytest.mark.parametrize("names", [(1, 0), (True, False), ("a", "b"), (np.int64(7), np.int64(-3))])
def test_the_classes_become_labels_of_plain_types(names):
    labels = [names[0]] * 3 + [names[1]] * 3
    found = predictions(EstimatorScorer(classifier=fitted(np.array(labels))), TEXTS)
    plain = names[0].item() if hasattr(names[0], "item") else names[0]
    assert {type(label) for row in found for label in (row.label, *row.probabilities)} == {type(plain)}
    assert found[0].label == plain


def test_features_are_what_the_classifier_reads():
    encoder = TinyEncoder()
    classifier = LogisticRegression().fit(encoder.encode(TEXTS), LABELS)
    scorer = EstimatorScorer(classifier=classifier, features=encoder.encode, input_key="review")
    encoder.calls.clear()
    records = scorer.batch([{"review": text} for text in TEXTS])
    assert [record["prediction"].label for record in records] == LABELS
    assert encoder.calls == [len(TEXTS)]


def test_a_row_of_nan_is_deferred_and_the_others_are_not():
    classifier = fitted()

    def spoil(table):
        table[1] = math.nan
        return table

    classifier[-1].spoil = spoil
    large = Recording(lambda record: "large")
    records = (EstimatorScorer(classifier=classifier) | ConfidenceBranch(large=large, threshold=0.0)).batch(TEXTS[:3])
    assert records[1]["prediction"] == Prediction(label=None)
    assert [record["source"] for record in records] == ["small", "large", "small"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table * 2, "sum to 1"),
        (np.log, "sum to 1"),
        (lambda table: np.column_stack([table[:, 0] + 1, -table[:, 0]]), "sum to 1"),
        (lambda table: table[:, :1], r"shape \(1, 1\) .* expected \(1, 2\)"),
        (lambda table: [table, table], r"shape \(2, 1, 2\)"),
    ],
)
def test_what_is_no_distribution_is_refused(spoil, message):
    classifier = fitted()
    classifier[-1].spoil = spoil
    with pytest.raises(InvalidInputError, match=message):
        EstimatorScorer(classifier=classifier).invoke("good")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), "fit it first"),
        (lambda: make_pipeline(TfidfVectorizer(), LinearSVC()).fit(TEXTS, LABELS), "no predict_proba"),
        (
            lambda: make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression())).fit(
                TEXTS, np.array([[1, 0], [1, 1], [0, 1]] * 2)
            )[-1],
            "several labels",
        ),
        (lambda: SimpleNamespace(predict_proba=print, classes_=[np.array([0, 1]), np.array([0, 1])]), "several labels"),
        (lambda: SimpleNamespace(predict_proba=print, classes_=np.array([0.5, 1.5])), "string, integer or boolean"),
    ],
)
def test_a_classifier_that_cannot_serve_is_refused_when_it_is_given(make, message):
    with pytest.raises(ValueError, match=message):
        EstimatorScorer(classifier=make())


def test_a_shunt_takes_its_labels_from_the_classifier():
    chain = data_shunt(
        EstimatorScorer(classifier=fitted()),
        FakeListChatModel(responses=["Negative."]),
        instruction="Which?",
        threshold=None,
        input_key="review",
    )
    assert chain.invoke({"review": "good"})["answer"] == "negative"


# --- transformers ----------------------------------------------------------------------------------------------------

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "phone", "price", "nice", "and", "ugly"]


def tiny_pipeline(folder, names=SENTIMENTS, **config):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, TextClassificationPipeline
    from transformers import BertTokenizerFast as Tokenizer

    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.8,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        **config,
    )
    tokenizer = Tokenizer.from_pretrained(folder)
    model = BertForSequenceClassification(settings).eval()
    return TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu", task="text-classification")


@pytest.fixture
def pipeline(tmp_path):
    return tiny_pipeline(tmp_path)


def test_a_pipeline_says_what_it_says_alone(pipeline):
    scorer = PipelineScorer(pipeline=pipeline)
    assert scorer.labels == ("positive", "negative")
    found = predictions(scorer, TEXTS)
    assert len({row.confidence for row in found}) > 1
    for text, row in zip(TEXTS, found, strict=True):
        alone = pipeline(text)[0]
        assert row.label == alone["label"]
        assert row.confidence == pytest.approx(alone["score"], abs=1e-5)
        assert tuple(row.probabilities) == scorer.labels
        assert sum(row.probabilities.values()) == pytest.approx(1)


class Spy:
    """Records the calls of a pipeline; `overruled` are settings of its own."""

    def __init__(self, pipeline, **overruled):
        self.pipeline, self.model, self.tokenizer = pipeline, pipeline.model, pipeline.tokenizer
        self.overruled = overruled
        self.calls = []

    def __call__(self, texts, **settings):
        self.calls.append((len(texts), settings["batch_size"]))
        return self.pipeline(texts, **{**settings, **self.overruled})


def test_a_pipeline_is_called_once_a_batch(pipeline):
    spy = Spy(pipeline)
    scorer = PipelineScorer(pipeline=spy, batch_size=4)
    scorer.batch(TEXTS)
    assert spy.calls == [(6, 4)]
    pipeline.tokenizer.pad_token = None
    scorer.batch(TEXTS)
    assert spy.calls[1:] == [(6, 1)], "nothing to pad with"


@pytest.mark.parametrize("max_tokens", [None, 8])
def test_a_text_beyond_the_window_is_cut(pipeline, max_tokens):
    scorer = PipelineScorer(pipeline=pipeline, max_tokens=max_tokens)
    assert pipeline.tokenizer.model_max_length > 1e6, "the tokenizer does not say, so the model is asked"
    long, longer = (predictions(scorer, ["good " * n + "bad" * (n > 99)])[0] for n in (60, 100))
    assert long == longer


def test_label_map_renames_and_adds_up(tmp_path):
    pipeline = tiny_pipeline(tmp_path, names=[f"{n} stars" for n in range(5)])
    mapped = {"0 stars": 0, "1 stars": 0, "2 stars": 0, "3 stars": 1, "4 stars": 1}
    scorer = PipelineScorer(pipeline=pipeline, label_map=mapped)
    assert scorer.labels == (0, 1)
    (found,) = predictions(scorer, ["good phone"])
    scores = {entry["label"]: entry["score"] for entry in pipeline("good phone", top_k=None)}
    assert found.probabilities[1] == pytest.approx(scores["3 stars"] + scores["4 stars"], abs=1e-5)
    flags = PipelineScorer(pipeline=pipeline, label_map={name: bool(label) for name, label in mapped.items()})
    assert flags.labels == (False, True)


def test_a_model_that_yields_nan_is_deferred(pipeline):
    import torch

    with torch.no_grad():
        pipeline.model.classifier.bias[:] = math.nan
    assert predictions(PipelineScorer(pipeline=pipeline), ["good"]) == [Prediction(label=None)]


@pytest.mark.parametrize(
    ("names", "config"),
    [
        (["toxic", "rude"], {"problem_type": "multi_label_classification"}),
        (["stars"], {}),
        (["stars", "length"], {"problem_type": "regression"}),
    ],
)
def test_a_model_that_does_not_choose_one_label_is_refused(tmp_path, names, config):
    with pytest.raises(ValueError, match="chooses a single label"):
        PipelineScorer(pipeline=tiny_pipeline(tmp_path, names=names, **config))


def test_sigmoids_in_disguise_are_refused_when_they_show(pipeline):
    with pytest.raises(InvalidInputError, match="sum to 1"):
        PipelineScorer(pipeline=Spy(pipeline, function_to_apply="sigmoid")).invoke("good")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pipeline": "distilbert"}, "Got a str"),
        ({"pipeline": print}, "Got a builtin_function_or_method"),
        ({"label_map": {"POS": "positive"}}, r"\['POS'\], which are not among the model's names"),
        ({"label_map": {"positive": 1}}, "int, str"),
        ({"label_map": {"positive": True, "negative": 1}}, "bool, int"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_pipeline_that_cannot_serve_is_refused_when_it_is_given(pipeline, given, message):
    with pytest.raises(ValueError, match=message):
        PipelineScorer(**{"pipeline": pipeline, **given})


def test_threads_take_turns(pipeline):
    gauge = Gauge()

    class Slow(Spy):
        def __call__(self, texts, **settings):
            with gauge:
                time.sleep(0.01)
                return super().__call__(texts, **settings)

    scorer = PipelineScorer(pipeline=Slow(pipeline))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(scorer.batch, [TEXTS] * 6))
    assert gauge.most == 1
    assert all(got == found[0] for got in found)


def test_copies_work(pipeline):
    scorer = PipelineScorer(pipeline=pipeline)
    expected = scorer.batch(TEXTS)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer), PipelineScorer(**dict(scorer))):
        assert twin.batch(TEXTS) == expected


# --- a small chat model ----------------------------------------------------------------------------------------------

PROMPT = HintPromptBuilder(labels=SENTIMENTS, instruction="Which sentiment?", hints="none")
PARSER = LabelParser(labels=SENTIMENTS)
TEMPLATE = ChatPromptTemplate.from_template("Say it shorter: {text}")


def said(text, *logs, **metadata):
    tokens = [{"token": "x", "bytes": None, "logprob": log, "top_logprobs": []} for log in logs]
    return AIMessage(text, response_metadata={"logprobs": {"content": tokens, "refusal": None}, **metadata})


def by_logprobs(answer, **more):
    function = answer if callable(answer) else lambda prompt: answer
    model = Recording(function)
    given = {"chat_model": model, "prompt": PROMPT, "parser": PARSER, "confidence": "logprobs", **more}
    return ChatModelScorer(**given), model


def by_agreement(answers, **more):
    """A scorer whose chat model gives these answers, one after the other."""
    left = iter(answers)

    def answer(prompt):
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return AIMessage(found)

    model = Recording(answer)
    given = {"chat_model": model, "prompt": PROMPT, "parser": PARSER, "confidence": "agreement", "samples": 5, **more}
    return ChatModelScorer(**given), model


def test_the_probability_of_the_answer_is_that_of_all_its_tokens():
    scorer, model = by_logprobs(said("Negative.", math.log(0.9), math.log(0.8)))
    found = predictions(scorer, ["it broke", "it broke again"])
    assert [row.label for row in found] == ["negative", "negative"]
    assert found[0].confidence == pytest.approx(0.72)
    assert model.sizes == [2]
    assert scorer.labels == ("positive", "negative"), "the parser's"


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("positive"),
        AIMessage("positive", response_metadata={"logprobs": None}),
        AIMessage("positive", response_metadata={"logprobs": {"content": None}}),
        AIMessage("positive", response_metadata={"logprobs": {"content": []}}),
        AIMessage("positive", response_metadata={"logprobs": {"content": [{"token": "positive"}]}}),
        AIMessage("positive", response_metadata={"logprobs": {"content": [-0.1]}}),
        AIMessage("positive", response_metadata={"logprobs": [-0.1]}),
        AIMessage("positive", response_metadata={"choice_logprobs": {}}),
        AIMessage("positive", response_metadata={"choice_logprobs": {"positive": math.nan, "negative": 0.0}}),
        said("positive", math.nan),
        said("positive", 0.7),
        said("positive", math.inf, -math.inf),
        "positive",
    ],
)
def test_without_log_probabilities_there_is_no_confidence(message):
    scorer, _ = by_logprobs(message)
    assert predictions(scorer, ["good"]) == [Prediction(label="positive", confidence=None)]
    large = Recording(lambda record: "negative")
    assert (scorer | ConfidenceBranch(large=large, threshold=0.0)).invoke("good")["source"] == "large"


@pytest.mark.parametrize(
    "told",
    [
        {
            "logprobs": [{"token": "pos", "logprob": math.log(0.9)}, {"token": "itive", "logprob": math.log(0.8)}]
        },  # Ollama
        {
            "logprobs": {
                "tokens": ["pos", "itive"],
                "token_logprobs": [math.log(0.9), math.log(0.8)],
                "top_logprobs": [],
            }
        },
        {"completion_probabilities": [{"token": "pos", "logprob": math.log(0.9)}, {"logprob": math.log(0.8)}]},
        {"completion_probabilities": [{"token": "pos", "prob": 0.9}, {"token": "itive", "prob": 0.8}]},
        {
            "completion_probabilities": [
                {"content": "pos", "probs": [{"tok_str": "neg", "prob": 0.1}, {"tok_str": "pos", "prob": 0.9}]},
                {"content": "itive", "probs": [{"tok_str": "itive", "prob": 0.8}]},
            ]
        },
    ],
)
def test_log_probabilities_are_read_in_every_providers_form(told):
    scorer, _ = by_logprobs(AIMessage("positive", response_metadata=told))
    (found,) = predictions(scorer, ["good"])
    assert (found.label, found.confidence) == ("positive", pytest.approx(0.72))


@pytest.mark.parametrize(
    "told",
    [
        {"logprobs": {"token_logprobs": [None, -0.1]}},
        {"logprobs": {"token_logprobs": []}},
        {"completion_probabilities": [{"content": "pos", "probs": [{"tok_str": "neg", "prob": 0.1}]}]},
        {"completion_probabilities": [{"token": "pos", "prob": 0.0}]},
        {"completion_probabilities": [{"token": "pos", "prob": 1.2}]},
        {"logprobs": [{"token": "pos"}]},
    ],
)
def test_a_token_without_a_probability_leaves_the_answer_without_a_confidence(told):
    scorer, _ = by_logprobs(AIMessage("positive", response_metadata=told))
    assert predictions(scorer, ["good"]) == [Prediction(label="positive", confidence=None)]


async def test_ollamas_own_client_tells_how_sure_its_model_is():
    from langchain_ollama import ChatOllama

    part = {"model": "tiny", "message": {"role": "assistant", "content": "pos"}, "done": False}
    lines = [
        {**part, "logprobs": [{"token": "pos", "logprob": math.log(0.9)}]},
        {**part, "message": {**part["message"], "content": "itive"}, "logprobs": [{"token": "itive", "logprob": -0.1}]},
        {**part, "message": {**part["message"], "content": ""}, "done": True, "done_reason": "stop", "eval_count": 2},
    ]

    class Ollama(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join(json.dumps(line) for line in lines).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ollama) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        model = ChatOllama(model="tiny", logprobs=True, base_url=f"http://127.0.0.1:{server.server_port}")
        scorer = ChatModelScorer(chat_model=model, prompt=PROMPT, parser=PARSER, confidence="logprobs")
        (found,) = predictions(scorer, ["good"])
        awaited = (await scorer.ainvoke("good"))["prediction"]
        server.shutdown()
    assert (found.label, found.confidence) == ("positive", pytest.approx(0.9 * math.exp(-0.1)))
    assert awaited == found


def test_a_model_that_sends_no_log_probabilities_is_told_once(caplog, monkeypatch):
    monkeypatch.setattr("dsplus_chains.running.telling._told", set())
    some, _ = by_logprobs(lambda prompt: said("positive", -0.1) if "good" in prompt.to_string() else said("positive"))
    predictions(some, ["good", "bad"])
    assert caplog.messages == []
    none, _ = by_logprobs(AIMessage("positive"))
    for _ in range(2):
        predictions(none, ["good", "bad"])
    (told,) = caplog.messages
    assert "No log-probabilities came" in told


@pytest.mark.parametrize("parser", [PARSER, None])
@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut_off_or_refused_is_none(parser, reason):
    answer = said("positive", -0.01, finish_reason=reason)
    scorer, _ = by_logprobs(answer, parser=parser, labels=SENTIMENTS)
    assert predictions(scorer, ["good"]) == [Prediction(label=None)]


def test_an_answer_that_is_no_label_has_none():
    scorer, _ = by_logprobs(said("I cannot tell.", -0.01))
    assert predictions(scorer, ["good"]) == [Prediction(label=None)]
    scorer, _ = by_logprobs(said("Neutral", -0.01), parser=None, labels=SENTIMENTS)
    assert predictions(scorer, ["good"]) == [Prediction(label=None)]


@pytest.mark.parametrize(("labels", "other"), [([1, 0], 0), ([True, False], False), (["1", "0"], "0")])
def test_the_probabilities_of_choices_are_used(labels, other):
    logs = {str(labels[0]): math.log(0.75), str(labels[1]): math.log(0.25)}
    message = AIMessage(str(labels[0]), response_metadata={"choice_logprobs": logs})
    prompt = HintPromptBuilder(labels=labels, instruction="?", hints="none")
    scorer, _ = by_logprobs(message, prompt=prompt, parser=LabelParser(labels=labels))
    (found,) = predictions(scorer, ["good"])
    assert type(found.label) is type(labels[0])
    assert (found.label, found.confidence) == (labels[0], pytest.approx(0.75))
    assert found.probabilities[other] == pytest.approx(0.25)


def test_agreement_asks_all_samples_of_all_texts_in_one_batch():
    scorer, model = by_agreement(["positive", "Positive.", "negative", "negative", "negative", "negative"], samples=3)
    good, bad = predictions(scorer, ["good", "bad"])
    assert model.sizes == [6]
    assert [prompt.messages[-1].content.count("good") for prompt in model.inputs] == [1, 1, 1, 0, 0, 0]
    assert (good.label, good.confidence) == ("positive", pytest.approx(2 / 3))
    assert dict(good.probabilities) == pytest.approx({"positive": 2 / 3, "negative": 1 / 3})
    assert (bad.label, bad.confidence) == ("negative", 1.0)
    assert bad.probabilities["positive"] == 0


def test_a_tie_goes_to_the_first_and_its_confidence_says_so():
    scorer, _ = by_agreement(["negative", "positive", "positive", "negative"], samples=4)
    (found,) = predictions(scorer, ["good"])
    assert (found.label, found.confidence) == ("negative", 0.5)


def test_samples_without_a_label_count_against():
    scorer, _ = by_agreement(["positive", "hm", TimeoutError("late"), "positive", ""])
    (found,) = predictions(scorer, ["good"])
    assert (found.label, found.confidence) == ("positive", 0.4)
    assert sum(found.probabilities.values()) == pytest.approx(0.4)
    scorer, _ = by_agreement(["hm"] * 5)
    assert predictions(scorer, ["good"]) == [Prediction(label=None)]
    scorer, _ = by_agreement(["hm", TimeoutError("late"), "", "well", "hm"])
    assert predictions(scorer, ["good"]) == [Prediction(label=None)]


def test_free_text_agrees_but_for_case_and_white_space():
    answers = ["The  Alps", "the alps", "Jura", "THE\nALPS "]
    scorer, _ = by_agreement(answers, parser=None, prompt=TEMPLATE, samples=4)
    assert scorer.labels is None
    (found,) = predictions(scorer, ["Which mountains?"])
    assert (found.label, found.confidence) == ("The  Alps", 0.75)
    assert dict(found.probabilities) == {"The  Alps": 0.75, "Jura": 0.25}


def test_labels_that_differ_in_case_alone_stay_apart_and_same_is_ones_own():
    free, _ = by_agreement(["Bern", "bern"], parser=StrOutputParser(), samples=2)
    assert predictions(free, ["x"])[0].confidence == 1
    scorer, _ = by_agreement(["US", "us", "us"], parser=None, labels=["US", "us"], samples=3)
    assert predictions(scorer, ["x"])[0].label == "us"
    numbers = ["1.00", "one", "1.0", "2"]
    scorer, _ = by_agreement(
        numbers, parser=None, samples=4, same=lambda a, b: a.rstrip("0").rstrip(".") == b.rstrip("0").rstrip(".")
    )
    assert predictions(scorer, ["x"])[0].confidence == 0.5


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9))
def test_the_vote_is_the_mode(answers):
    found = from_votes(answers, same=lambda one, other: one == other, labels="abc")
    given_ = [answer for answer in answers if answer is not None]
    if not given_:
        assert found == Prediction(label=None)
        return
    assert found.label == max(dict.fromkeys(given_), key=given_.count)
    assert found.confidence == given_.count(found.label) / len(answers) == max(found.probabilities.values())
    assert sum(found.probabilities.values()) == pytest.approx(len(given_) / len(answers))


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_call_that_fails_costs_its_own_text_alone(way):
    def answer(prompt):
        if "poison" in prompt.messages[-1].content:
            raise TimeoutError("no answer")
        return said("positive", -0.1)

    scorer, model = by_logprobs(answer)
    texts = ["good", "poison", "", "fine"]
    if way == "batch":
        results = scorer.batch(texts, return_exceptions=True)
    else:
        results = await scorer.abatch(texts, return_exceptions=True)
    assert model.sizes == [3]
    assert isinstance(results[1], TimeoutError)
    assert isinstance(results[2], InvalidInputError)
    assert [results[row]["prediction"].label for row in (0, 3)] == ["positive", "positive"]
    scorer, _ = by_agreement([TimeoutError("late")] * 5)
    with pytest.raises(TimeoutError, match="late"):
        scorer.invoke("good")


def test_a_prompt_that_fails_costs_its_own_text_alone():
    def prompt(record):
        if "poison" in record["input"]:
            raise RuntimeError("no prompt")
        return record["input"]

    scorer, model = by_logprobs(said("positive", -0.1), prompt=prompt)
    results = scorer.batch(["poison", "good"], return_exceptions=True)
    assert isinstance(results[0], RuntimeError)
    assert results[1]["prediction"].label == "positive"
    assert model.inputs == ["good"]
    assert isinstance(scorer.batch(["poison"], return_exceptions=True)[0], RuntimeError)
    assert model.sizes == [1], "nothing to ask"


def test_a_parser_that_breaks_is_an_error_and_no_vote():
    scorer, _ = by_logprobs(said("positive", -0.1), parser=lambda message: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scorer.invoke("good")
    scorer, _ = by_logprobs(said("positive", -0.1), parser=lambda message: {"label": message.text})
    with pytest.raises(InvalidInputError, match=r"a dict with the keys \['label'\] but expected a string"):
        scorer.invoke("good")


def test_a_template_gets_the_record_and_one_variable_is_fed_from_the_input():
    scorer, model = by_logprobs(said("positive", -0.1), prompt=TEMPLATE)
    scorer.invoke("it broke")
    assert model.inputs[0].to_string() == "Human: Say it shorter: it broke"
    two = ChatPromptTemplate.from_template("In {language}: {input}")
    scorer, model = by_logprobs(said("positive", -0.1), prompt=two)
    scorer.invoke({"input": "it broke", "language": "Swiss"})
    assert model.inputs[0].to_string() == "Human: In Swiss: it broke"
    with pytest.raises(WiringError, match=r"the small model wants \['language'\]"):
        scorer.invoke("it broke")


async def test_the_chat_model_is_awaited_and_not_put_into_a_thread():
    threads = []

    async def native(prompt):
        threads.append(threading.current_thread())
        return said("positive", -0.1)

    def blocking(prompt):
        raise AssertionError("the synchronous side was called")

    from langchain_core.runnables import RunnableLambda

    model = RunnableLambda(blocking, afunc=native)
    scorer = ChatModelScorer(chat_model=model, prompt=PROMPT, parser=PARSER, confidence="logprobs")
    records = await scorer.abatch(["good", "fine"])
    assert [record["prediction"].label for record in records] == ["positive", "positive"]
    assert set(threads) == {threading.current_thread()}


class Parents(BaseCallbackHandler):
    """Records each run's parent and tags."""

    def __init__(self):
        self.chains, self.models = {}, []

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.chains[run_id] = parent_run_id

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, tags=None, **kwargs):
        self.models.append((parent_run_id, tags, kwargs["invocation_params"].get("stop")))


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_real_chat_model_is_traced_under_its_text_and_gets_the_call_s_arguments(way):
    model = FakeMessagesListChatModel(responses=[said("positive", -0.1)])
    scorer = ChatModelScorer(chat_model=model, prompt=PROMPT, parser=PARSER, confidence="agreement", samples=2)
    seen = Parents()
    config = {"callbacks": [seen], "tags": ["mine"]}
    if way == "batch":
        scorer.batch(["good", "fine"], config, stop=["."])
    else:
        await scorer.abatch(["good", "fine"], config, stop=["."])
    roots = [run for run, parent in seen.chains.items() if parent is None]
    assert len(roots) == 2
    assert sorted(str(parent) for parent, _, _ in seen.models) == sorted(str(root) for root in roots * 2)
    assert all({"mine", "small"} <= set(tags) and stop == ["."] for _, tags, stop in seen.models)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0.0}, {"temperature": 0.7, "seed": 1}])
def test_samples_that_cannot_differ_are_refused(settings):
    model = FakeListChatModel(responses=["positive"])
    given_ = {"prompt": PROMPT, "parser": PARSER}
    with pytest.raises(ValueError, match="would always agree"):
        ChatModelScorer(chat_model=model.bind(**settings).with_retry(), confidence="agreement", **given_)
    ChatModelScorer(chat_model=model.bind(**settings), confidence="logprobs", **given_)
    hot = model.bind(**settings).bind(temperature=0.7, seed=None)
    ChatModelScorer(chat_model=hot, confidence="agreement", **given_)


def test_a_prompt_without_variables_is_refused():
    prompt, model = ChatPromptTemplate.from_template("{{review}}: good or bad?"), FakeListChatModel(responses=["good"])
    with pytest.raises(ValueError, match="never shows the text"):
        ChatModelScorer(chat_model=model, prompt=prompt, confidence="logprobs")


# --- all of them -----------------------------------------------------------------------------------------------------


def scorers(folder):
    return [
        EstimatorScorer(classifier=fitted()),
        PipelineScorer(pipeline=tiny_pipeline(folder)),
        by_logprobs(said("positive", -0.1))[0],
    ]


def test_none_can_be_saved_without_pickle_and_an_earlier_bundle_stands(tmp_path, scorer):
    bundle = tmp_path / "bundle"
    Bundle(scorer=scorer).save(bundle)
    before = {path.name: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    for adapter in scorers(tmp_path):
        with pytest.raises(BundleError, match="save in"):
            adapter.save(tmp_path / "scorer")
        with pytest.raises(BundleError, match="save in"):
            Bundle(scorer=adapter).save(bundle)
    assert not (tmp_path / "scorer").exists()
    assert {path.name: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


async def test_each_stands_in_a_chain(tmp_path):
    large = Recording(lambda record: "large")
    for adapter in scorers(tmp_path):
        for threshold, source in ((0.0, "small"), (None, "large")):
            chain = adapter | ConfidenceBranch(large=large, threshold=threshold)
            records = [*chain.batch(["good", "bad"]), *await chain.abatch(["good", {"input": "bad", "id": 7}])]
            assert [record["source"] for record in records] == [source] * 4
            assert records[-1]["id"] == 7


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_unknown_keyword_is_refused(tmp_path, number):
    adapter = scorers(tmp_path)[number]
    assert type(adapter)(**dict(adapter)).invoke("good")["prediction"].label in SENTIMENTS
    with pytest.raises(ValueError, match="lables"):
        type(adapter)(**dict(adapter), lables=["a"])


def test_half_precision_may_overshoot():
    from dsplus_chains.scoring.estimator import read_table

    (row,) = read_table(np.array([[1.0005, 0.0]], dtype=np.float16), ("a", "b"), n_texts=1)
    assert row.confidence == 1.0

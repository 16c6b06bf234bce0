"""`ModelComposer`: one encode, one batch a chosen model, and the next best where a model fails."""

from __future__ import annotations

import json
import logging
import pickle
from functools import cache

import numpy as np
import pytest
from fakes import Recording, TinyEncoder
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from dsplus_chains import BundleError, InvalidInputError, ModelComposer, TrainingDataError, WiringError, decisions
from dsplus_chains.scoring.score_model import ScoreModel, known_mean

MATHS = ["sum", "prime", "root", "cube", "ratio"]
VERSE = ["rhyme", "ode", "verse", "stanza", "metre"]


def queries(n, seed=0):
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, 2, n)
    texts = [" ".join([*rng.choice((MATHS, VERSE)[topic], 3), f"q{row}"]) for row, topic in enumerate(topics)]
    scores = {"mathematician": np.where(topics == 0, 0.9, 0.2), "poet": np.where(topics == 1, 0.8, 0.1)}
    return texts, scores


@cache
def fitted():
    texts, scores = queries(120)
    costs = {"mathematician": 3, "poet": 1}
    return dict(
        ModelComposer.fit(
            texts, scores, models=dict.fromkeys(scores, str), costs=costs, encoder=TinyEncoder(dimensions=128)
        )
    )


def composer(mathematician=None, poet=None, **settings):
    models = {
        "mathematician": mathematician or Recording(lambda value: f"4 ({value})"),
        "poet": poet or Recording(lambda value: f"a poem ({value})"),
    }
    encoder = TinyEncoder(dimensions=128)
    return ModelComposer(**{**fitted(), "models": models, "encoder": encoder, **settings}), encoder, models


ASKED = ["sum prime root", "ode verse rhyme", "cube ratio sum", "stanza metre ode"]


def test_each_input_goes_to_who_is_good_at_it_by_one_encode_and_a_batch_a_model():
    made, encoder, models = composer()
    records = made.batch(ASKED)
    assert [record["source"] for record in records] == ["mathematician", "poet"] * 2
    assert records[0]["answer"] == "4 (sum prime root)"
    assert encoder.calls == [4]
    assert [model.sizes for model in models.values()] == [[2], [2]]
    choice = records[0]["choice"]
    assert choice.model == "mathematician"
    assert choice.foreseen["mathematician"] > choice.foreseen["poet"]
    assert choice.expected == pytest.approx(0.9, abs=0.1)
    assert records[0]["large"].value == records[0]["answer"]


async def test_awaited_it_is_the_same():
    made, encoder, models = composer()
    assert await made.abatch(ASKED) == made.batch(ASKED)
    assert encoder.calls == [4, 4]
    assert models["poet"].sizes == [2, 2]


def test_the_next_best_stands_in_for_a_model_that_fails(caplog):
    def ill(value):
        if "cube" in value:
            raise TimeoutError("no answer")
        return "4"

    made, _, models = composer(mathematician=Recording(ill))
    with caplog.at_level(logging.WARNING, "dsplus_chains"):
        records = made.batch(ASKED)
    assert [record["source"] for record in records] == ["mathematician", "poet", "poet", "poet"]
    assert records[2]["choice"].failed == {"mathematician": "TimeoutError: no answer"}
    assert records[2]["choice"].expected is None
    assert models["poet"].sizes == [2, 1]
    assert "'poet' stands in" in caplog.text


def test_a_row_that_all_models_fail_at_fails_alone_and_tells_of_each():
    def ill(value):
        if "cube" in value:
            raise TimeoutError("no answer")
        return "fine"

    made, _, _ = composer(mathematician=Recording(ill), poet=Recording(ill))
    first, _, third, _ = made.batch(ASKED, return_exceptions=True)
    assert first["answer"] == "fine"
    assert isinstance(third, TimeoutError)
    assert "Another model had failed before: TimeoutError: no answer" in third.__notes__


@pytest.mark.parametrize("error", [KeyError("mine"), WiringError("no such variable")])
def test_a_bug_is_no_outage(error):
    def bug(_value):
        raise error

    made, _, models = composer(mathematician=bug)
    with pytest.raises(type(error)):
        made.invoke(ASKED[0])
    assert models["poet"].sizes == []


def test_a_model_that_cannot_take_its_input_is_a_bug_and_no_outage():
    made, _, models = composer(mathematician=FakeListChatModel(responses=["4"]), input_key="ask")
    assert made.invoke(ASKED[1])["source"] == "poet"
    with pytest.raises(ValueError, match="Invalid input type"):
        made.invoke({"ask": ASKED[0]})
    assert models["poet"].sizes == [1]


def test_an_interrupt_is_raised():
    def stop(_value):
        raise KeyboardInterrupt

    made, _, models = composer(mathematician=stop)
    with pytest.raises(KeyboardInterrupt):
        made.batch(ASKED)
    assert 1 not in models["poet"].sizes


def test_a_cost_can_be_too_high_for_a_call():
    made, _, _ = composer()
    dear = made.configurable_fields(tradeoff=ConfigurableField(id="tradeoff"))
    frugal = dear.batch(ASKED, {"configurable": {"tradeoff": 5.0}})
    assert [record["source"] for record in frugal] == ["poet"] * 4
    assert [record["source"] for record in dear.batch(ASKED)] == ["mathematician", "poet"] * 2


def test_prompts_get_the_text_and_apps_what_the_composer_was_called_with():
    chat = Recording(lambda prompt: AIMessage(prompt.messages[-1].content.upper()))
    app = Recording(lambda value: value["id"])
    made, _, _ = composer(
        mathematician=ChatPromptTemplate.from_template("Solve: {input}") | chat, poet=app, input_key="ask"
    )
    given = [{"ask": text, "id": row} for row, text in enumerate(ASKED)]
    records = made.batch(given)
    assert records[0]["answer"].content == "SOLVE: SUM PRIME ROOT"
    assert records[1]["answer"] == 1
    assert app.inputs[0] is given[1]


async def test_decisions_are_heard_called_awaited_and_streamed():
    def ill(value):
        raise TimeoutError("no answer")

    made, _, _ = composer(tradeoff=0.01)
    with decisions() as seen:
        records = made.batch([ASKED[0], 7, ASKED[1]], return_exceptions=True)
        await made.ainvoke(ASKED[0])
        list(made.stream(ASKED[1]))
    assert [told["source"] for told in seen] == ["mathematician", "poet"] * 2
    expected = records[0]["choice"].expected
    assert seen[0] == {
        "source": "mathematician",
        "model": "mathematician",
        "expected": expected,
        "tradeoff": 0.01,
        **dict.fromkeys(["confidence", "threshold", "label"]),
    }
    made, _, _ = composer(mathematician=Recording(ill))
    with decisions() as seen:
        made.invoke(ASKED[0])
    assert [(told["source"], told["model"], told["expected"]) for told in seen] == [("poet", "poet", None)]


def test_a_saved_composer_chooses_as_before(tmp_path):
    made, _, models = composer(tradeoff=0.03, input_key="ask")
    pin = made.save(tmp_path / "herd")
    assert sorted(file.name for file in (tmp_path / "herd").iterdir()) == ["composer.json", "composer.safetensors"]
    encoder = TinyEncoder(dimensions=128)
    turned = dict(reversed(models.items()))  # the columns of the scores stay with their models
    loaded = ModelComposer.load(tmp_path / "herd", models=turned, encoder=encoder, expected_sha256=pin)
    given = [{"ask": text} for text in ASKED]
    assert loaded.batch(given) == made.batch(given)
    assert loaded.report() == made.report()
    assert loaded.within(1.5).tradeoff == made.within(1.5).tradeoff
    assert list(loaded.models) == list(models)
    assert loaded.save(tmp_path / "again") == pin


def test_missing_scores_are_still_missing_in_a_saved_composer(tmp_path):
    texts, scores = queries(60)
    scores["poet"] = np.where(np.arange(60) % 3, scores["poet"], np.nan)
    made = ModelComposer.fit(
        texts, scores, models=dict.fromkeys(scores, str), costs=dict.fromkeys(scores, 1), encoder=TinyEncoder()
    )
    made.save(tmp_path)
    loaded = ModelComposer.load(tmp_path, models=dict.fromkeys(scores, str), encoder=TinyEncoder())
    np.testing.assert_array_equal(loaded.known_scores, made.known_scores)
    assert loaded.batch(ASKED) == made.batch(ASKED)


def altered(folder, change):
    """The folder, with other settings."""
    file = folder / "composer.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    return {}


def cut(folder):
    """The folder, with other arrays than the settings name."""
    file = folder / "composer.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"1234")
    return {}


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (cut, "another SHA-256 than composer.json names"),
        (lambda folder: (folder / "composer.json").unlink() or {}, "no readable composer"),
        (lambda folder: altered(folder, lambda told: {**told, "format": 9}), "composer of format 9"),
        (lambda folder: altered(folder, lambda told: {**told, "tradeoff": -1}), "composer.json.*cannot be read"),
        (lambda folder: altered(folder, lambda told: {**told, "models": told["models"] * 2}), "give one for each"),
        (lambda folder: {"expected_sha256": "0" * 64}, "but expected 000"),
        (lambda folder: {"models": {"poet": str, "plumber": str}}, r"models \['plumber', 'poet'\].*give one for each"),
        (lambda folder: {"encoder": TinyEncoder(dimensions=127)}, "encodes otherwise"),
        (lambda folder: {"encoder": None}, "an encoder of your own"),
    ],
)
def test_what_is_no_composer_of_these_models_is_refused(tmp_path, harm, told):
    made, encoder, models = composer()
    made.save(tmp_path)
    with pytest.raises(BundleError, match=told):
        ModelComposer.load(tmp_path, **{"models": models, "encoder": encoder, **harm(tmp_path)})


def test_what_is_no_text_fails_alone():
    made, encoder, _ = composer()
    good, bad = made.batch([ASKED[0], 7], return_exceptions=True)
    assert good["source"] == "mathematician"
    assert isinstance(bad, InvalidInputError)
    assert encoder.calls == [1]
    assert made.batch([]) == []


def test_one_at_a_time_where_a_limit_says_so():
    made, _, models = composer()
    assert [record["source"] for record in made.batch(ASKED, {"max_concurrency": 1})] == ["mathematician", "poet"] * 2
    assert models["mathematician"].configs[0]["max_concurrency"] == 1


def test_the_report_is_out_of_fold():
    made, _, _ = composer()
    report = made.report()
    assert report.best_single.model == "mathematician"
    assert report.interval.low > 0.1
    assert report.score <= report.oracle
    assert made.report(tradeoff=5.0).shares == {"mathematician": 0.0, "poet": 1.0}
    assert made.out_of_fold.shape == (120, 2)


def test_a_mean_cost_can_be_asked_for():
    made, _, _ = composer()
    cheaper = made.within(1.5)
    assert made.report().cost > 1.5 >= cheaper.report().cost > 1
    assert made.within(1).report().shares["poet"] == 1.0
    for wrong in (float("nan"), float("inf"), -1, "1"):
        for asked in (made.within, made.report):
            with pytest.raises(InvalidInputError, match="expected a finite number of at least 0"):
                asked(wrong)


def test_pairs_of_texts_are_learned_as_they_are_asked():
    texts, scores = queries(120)
    pairs = [(text, "which?") for text in texts]
    models = {name: Recording(lambda value, name=name: name) for name in scores}
    encoder = TinyEncoder(dimensions=128)
    made = ModelComposer.fit(pairs, scores, models=models, costs=dict.fromkeys(scores, 1), encoder=encoder)
    chosen = [record["source"] for record in made.batch([("sum prime root", "which?"), ("ode verse rhyme", "which?")])]
    assert chosen == ["mathematician", "poet"]


def test_missing_scores_are_left_out():
    texts, scores = queries(150)
    rng = np.random.default_rng(1)
    holes = {name: np.where(rng.random(150) < 0.6, np.nan, column) for name, column in scores.items()}
    models = dict.fromkeys(scores, Recording(str))
    made = ModelComposer.fit(
        texts, holes, models=models, costs=dict.fromkeys(scores, 1), encoder=TinyEncoder(dimensions=128)
    )
    assert [record["source"] for record in made.batch(ASKED)] == ["mathematician", "poet"] * 2


def test_the_same_seed_gives_the_same_model():
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    scores = np.random.default_rng(1).random((60, 3))
    one, other = (ScoreModel.fit(vectors, scores, seed=3).predict(vectors) for _ in range(2))
    assert (one == other).all()
    assert not (one == ScoreModel.fit(vectors, scores, seed=4).predict(vectors)).all()


def test_neighbours_have_the_mean_of_their_known_scores():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(50, 6)).astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    scores = np.where(rng.random((50, 2)) < 0.3, np.nan, rng.random((50, 2)))
    near = np.stack([np.argsort(-(known @ known[row]))[:7] for row in range(5)])
    found = known_mean(scores[near], otherwise=np.zeros(2))
    assert found == pytest.approx(np.stack([np.nanmean(scores[rows], axis=0) for rows in near]))
    assert known_mean(np.full((1, 3, 2), np.nan), otherwise=np.array([0.1, 0.2])).tolist() == [[0.1, 0.2]]
    copied = pickle.loads(pickle.dumps(ScoreModel.fit(known, scores)))
    assert copied.predict(known).shape == (50, 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"costs": {"mathematician": 1}}, "'poet'"),
        ({"queries": ["a"] * 10, "scores": {"mathematician": [1] * 10, "poet": [0] * 10}}, "50 or more"),
        ({"scores": {"mathematician": [1.0] * 120}}, "'poet'"),
        ({"scores": np.full((120, 2), "good", dtype=object)}, "Got the score 'good' of 'mathematician'"),
        ({"queries": ["a"] * 119 + [7]}, "7"),
        ({"queries": [None, *["a"] * 119]}, "None"),
        ({"queries": "a text"}, "'a text'"),
        ({"models": {"mathematician": str}}, "two models or more"),
        ({"costs": {"mathematician": "cheap", "poet": 1}}, r"Got costs\['mathematician'\]='cheap' \(str\)"),
        ({"costs": {"mathematician": None, "poet": 1}}, "None"),
        ({"costs": {"mathematician": -1, "poet": 1}}, "at least 0"),
        ({"tradeoff": float("nan")}, "Got tradeoff=nan"),
    ],
)
def test_what_cannot_be_fitted_on_is_refused(change, told):
    texts, scores = queries(120)
    given = {
        "queries": texts,
        "scores": scores,
        "models": dict.fromkeys(scores, Recording(str)),
        "costs": dict.fromkeys(scores, 1),
        "encoder": TinyEncoder(),
        **change,
    }
    with pytest.raises(TrainingDataError, match=told):
        ModelComposer.fit(given.pop("queries"), given.pop("scores"), **given)
    assert not given["encoder"].calls


def test_one_model_is_no_choice():
    with pytest.raises(ValidationError, match="two Runnables or more"):
        ModelComposer(**{**fitted(), "models": {"mathematician": str}})


@pytest.mark.parametrize("given", [{"models": ["a", "b"]}, {"costs": [1, 2]}])
def test_models_and_costs_have_names(given):
    both = {"models": {"a": str, "b": str}, "costs": {"a": 1, "b": 2}, **given}
    with pytest.raises(TrainingDataError, match=r"Got models=.* and costs=.* but expected two dicts by name"):
        ModelComposer.fit(["x"] * 50, np.ones((50, 2)), **both)

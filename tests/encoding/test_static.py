"""Encoders without a window, number types, and how many texts go through a model at a time. No weights are needed."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from dsplus_chains import BundleError, InvalidInputError, SmallModelScorer
from dsplus_chains.encoding import sentence
from dsplus_chains.encoding.dtype import is_fast_in_bfloat16
from dsplus_chains.encoding.encoder import recipe_of
from dsplus_chains.encoding.loading import load_encoder
from dsplus_chains.encoding.sentence import ON_CPU, ON_GPU, SentenceEncoder
from dsplus_chains.scoring.stored_encoder import StoredEncoder, check_probe, probe_vector

WORDS = ["good", "bad", "phone", "price", "very", "[UNK]"]


@pytest.fixture
def folder(tmp_path):
    """A folder of static embeddings, as model2vec's models are."""
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(0).standard_normal((len(WORDS), 8)).astype(np.float32)
    place = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save(str(place))
    return str(place)


def test_a_folder_of_static_embeddings_is_an_encoder(folder):
    encoder = SentenceEncoder.from_pretrained(folder, device="cpu", local_files_only=True)
    texts = ["good phone", "bad price " * 3000, "é", "very good " * 5]
    assert np.array_equal(encoder.encode(texts), encoder.model.encode(texts))
    long = "good " * 5000
    assert not np.allclose(*encoder.encode([long, long + "bad " * 5000]), atol=1e-3), "the end of a long text counts"


def test_a_scorer_over_static_embeddings_is_fitted_saved_and_loaded(folder, tmp_path):
    texts = ["good phone", "very good price", "bad phone", "bad bad price"]
    scorer = SmallModelScorer.fit(texts, ["+", "+", "-", "-"], encoder=folder, device="cpu")
    scorer.save(tmp_path / "scorer")
    loaded = SmallModelScorer.load(tmp_path / "scorer", device="cpu")
    assert loaded.invoke("good good")["prediction"] == scorer.invoke("good good")["prediction"]
    assert loaded.invoke("good good")["prediction"].label == "+"


class Spy:
    """A model without a window, which keeps the batch sizes that it is called with."""

    tokenizer, max_seq_length = object(), float("inf")

    def __init__(self, device: str) -> None:
        self.device = SimpleNamespace(type=device)
        self.sizes: list[int] = []

    def __getitem__(self, _: int) -> object:
        return object()  # its first module, which is no transformer

    def encode(self, texts: list[str], *, batch_size: int, **_: object) -> np.ndarray:
        self.sizes.append(batch_size)
        return np.zeros((len(texts), 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("device", "given", "size"), [("cpu", None, ON_CPU), ("cuda", None, ON_GPU), ("mps", None, ON_GPU), ("cuda", 7, 7)]
)
def test_the_batch_size_suits_the_device(device, given, size):
    model = Spy(device)
    SentenceEncoder(model=model, name="spy", batch_size=given).encode(["a"])
    assert model.sizes == [size]


@pytest.mark.parametrize("fast", [True, False])
def test_in_bfloat16_weights_are_rounded_everywhere_and_products_where_that_is_fast(folder, fast, monkeypatch):
    monkeypatch.setattr(sentence, "is_fast_in_bfloat16", lambda _: fast)
    plain = SentenceEncoder.from_pretrained(folder, device="cpu")
    encoder = SentenceEncoder.from_pretrained(folder, device="cpu", dtype="bfloat16")
    kept = next(encoder.model.parameters())
    assert kept.dtype == (torch.bfloat16 if fast else torch.float32)
    exact = next(plain.model.parameters())
    assert torch.equal(kept.float(), exact.bfloat16().float())
    texts = ["good phone", "bad price very"]
    vectors = encoder.encode(texts)
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(plain.encode(texts), rel=2**-6, abs=2**-6)
    assert not np.array_equal(vectors, plain.encode(texts))


def test_a_scorer_of_bfloat16_is_loaded_where_a_processor_is_not_fast_in_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sentence, "is_fast_in_bfloat16", lambda _: True)
    encoder = SentenceEncoder.from_pretrained(folder, device="cpu", dtype="bfloat16")
    texts = ["good phone", "very good price", "bad phone", "bad bad price"]
    scorer = SmallModelScorer.fit(texts, ["+", "+", "-", "-"], encoder=encoder)
    scorer.save(tmp_path / "scorer")
    for fast in (True, False):
        monkeypatch.setattr(sentence, "is_fast_in_bfloat16", lambda _, fast=fast: fast)
        loaded = SmallModelScorer.load(tmp_path / "scorer", device="cpu")
        assert recipe_of(loaded.encoder) == {"kind": "sentence", "name": folder, "dtype": "bfloat16"}
        assert next(loaded.encoder.model.parameters()).dtype == (torch.bfloat16 if fast else torch.float32)
        told = [scorer.invoke("good good")["prediction"] for scorer in (scorer, loaded)]
        assert told[0].label == told[1].label == "+"
        assert told[0].confidence == pytest.approx(told[1].confidence, abs=0.02)


@pytest.mark.parametrize(("dtype", "is_near"), [("bfloat16", True), ("float32", False)])
def test_a_part_of_an_encoder_may_be_rounded_too(folder, dtype, is_near):
    encoder = SentenceEncoder.from_pretrained(folder, device="cpu")
    part = {"kind": "sentence", "name": folder, "dtype": dtype}
    told = StoredEncoder(encoder="union", encoder_recipe={"kind": "union", "encoders": [part]})
    with nullcontext() if is_near else pytest.raises(BundleError, match="encodes otherwise"):
        check_probe(encoder, probe_vector(encoder) + np.float32(0.003), told=told)


def test_an_unknown_number_type_is_refused_before_anything_is_loaded():
    with pytest.raises(
        InvalidInputError, match=r"Got dtype='float16' \(str\) but expected one of \['float32', 'bfloat16'\]"
    ):
        SentenceEncoder.from_pretrained("no/such/model", dtype="float16")
    recipe = {"kind": "sentence", "name": "auto", "dtype": "float16"}
    with pytest.raises(BundleError, match=r"cannot be read \(dtype"):
        load_encoder(recipe)


@pytest.mark.parametrize(
    ("able", "fast"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_a_processor_says_what_it_is_able_to_do(able, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert is_fast_in_bfloat16(torch.device("cpu")) == fast
    assert is_fast_in_bfloat16(torch.device("meta"))
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not is_fast_in_bfloat16(torch.device("cpu"))

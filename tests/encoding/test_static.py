"""Encoders without a window, and the number of texts that go through a model at a time. No weights are needed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from dsplus_chains import SmallModelScorer
from dsplus_chains.encoding.sentence import ON_CPU, ON_GPU, SentenceEncoder

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

"""Several encoders as one."""

import numpy as np
import pytest
from fakes import TinyEncoder

from dsplus_chains import EncoderUnion, SmallModelScorer
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.schema import BundleError, InvalidInputError
from dsplus_chains.scoring.members import network

TEXTS = ["good phone", "bad phone", "a good day"]


class TwoViews(TinyEncoder):
    views = (24, 40)


def test_vectors_stand_side_by_side_in_the_order_given():
    small, large = TinyEncoder(dimensions=8), TwoViews()
    both = EncoderUnion(encoders=[small, large])
    assert isinstance(both, Encoder)
    assert both.name == "tiny + tiny"
    assert both.views == (8, 24, 40)
    assert np.array_equal(both.encode(TEXTS), np.hstack([small.encode(TEXTS), large.encode(TEXTS)]))
    assert both.encode([]).shape == (0, 72)


def test_each_encoder_is_called_once_a_batch():
    parts = [TinyEncoder(), TinyEncoder()]
    EncoderUnion(encoders=parts).encode(TEXTS)
    assert [part.calls for part in parts] == [[3], [3]]


def test_a_scorer_fits_a_head_on_each_and_is_loaded_with_the_same_union(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "FEWEST_STEPS", 20)  # how good it is does not matter
    texts, labels = [f"{text} {n}" for n in range(20) for text in TEXTS], ["good", "bad", "good"] * 20
    small, large = TinyEncoder(dimensions=8), TwoViews()
    scorer = SmallModelScorer.fit(texts, labels, encoder=EncoderUnion(encoders=[small, large]))
    assert [member.start for member in scorer.classifier.members[:3]] == [0, 8, 32]
    scorer.save(tmp_path)
    again = SmallModelScorer.load(tmp_path, encoder=EncoderUnion(encoders=[small, large]))
    assert again.batch(TEXTS) == scorer.batch(TEXTS)
    with pytest.raises(BundleError, match="encodes otherwise"):
        SmallModelScorer.load(tmp_path, encoder=EncoderUnion(encoders=[large, small]))


def test_no_encoder_is_an_error():
    with pytest.raises(InvalidInputError, match="no encoders"):
        EncoderUnion(encoders=[])

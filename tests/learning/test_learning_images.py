"""Learning from decisions on images, of which a store keeps only the hashes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from digits import PixelEncoder, digits
from fakes import TinyEncoder

from dsplus_chains import Bundle, ConfidenceBranch, ExperienceStore, SmallModelScorer, TrainingDataError
from dsplus_chains.encoding import read_image
from dsplus_chains.learning import learn
from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.learning.image_decisions import with_images
from dsplus_chains.schema import InvalidInputError


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A bundle of few images, and a store with what a large model said of others."""
    pixels, labels = digits(520)
    rows = [(read_image(one), label) for one, label in zip(pixels, labels, strict=True) if label in "358"]
    gold, stream = rows[:60], rows[60:]
    scorer = SmallModelScorer.fit(*zip(*gold, strict=True), modality="image", encoder=PixelEncoder(), model="linear")
    truth = dict(rows)
    store = ExperienceStore(tmp_path_factory.mktemp("images") / "decisions.sqlite")
    chain = scorer | ConfidenceBranch(large=lambda image: truth[image], threshold=None, experience=store)
    chain.batch([image for image, _ in rows])
    store.flush()
    yield SimpleNamespace(
        bundle=Bundle(scorer=scorer, instruction="Which digit?"), store=store, gold=gold, stream=stream, pixels=pixels
    )
    store.close()


def test_images_that_are_given_are_learned_from(taught):
    gold = tuple(zip(*taught.gold, strict=True))
    learned = learn(taught.bundle, taught.store, gold=gold, images=list(taught.pixels))
    told = learned.metadata["learned"]
    assert (told["stream"], told["large_answers"]) == (len(taught.stream), len(taught.stream))
    assert told["labelled_with_large_answer"] == len(taught.gold)
    assert learned.scorer.modality == "image"
    (record,) = learned.scorer.batch([taught.stream[0][0]])
    assert record["prediction"].training  # it has learned from that image


def test_images_that_are_not_given_teach_nothing(taught):
    few = [image for image, _ in taught.stream[:20]]
    learned = learn(taught.bundle, taught.store, gold=tuple(zip(*taught.gold, strict=True)), images=few)
    assert learned.metadata["learned"]["stream"] == 20


@pytest.mark.parametrize("column", [np.asarray, lambda images: pd.Series(list(images))])
def test_images_may_come_in_any_column(taught, column):
    given = column(taught.pixels)
    learned = learn(taught.bundle, taught.store, gold=tuple(zip(*taught.gold, strict=True)), images=given)
    assert learned.metadata["learned"]["stream"] == len(taught.stream)


def test_an_encoder_of_images_reads_no_reasons(taught):
    gold = tuple(zip(*taught.gold, strict=True))
    with pytest.raises(InvalidInputError, match=r"rationale_weight=0\.5 and a small model of images.*leave it at 0"):
        learn(taught.bundle, taught.store, gold=gold, images=list(taught.pixels), rationale_weight=0.5)


def test_without_the_images_it_is_said_what_to_give(taught):
    with pytest.raises(TrainingDataError, match=r"keeps the hashes of images.*images=\[\.\.\.\]"):
        learn(taught.bundle, taught.store, gold=tuple(zip(*taught.gold, strict=True)))


def test_images_and_a_small_model_of_texts_do_not_fit():
    texts = [f"{word} {number}" for word in ("card", "loan") for number in range(4)]
    scorer = SmallModelScorer.fit(texts, [text.split()[0] for text in texts], encoder=TinyEncoder(), model="linear")
    with pytest.raises(InvalidInputError, match="small model of texts"):
        learn(Bundle(scorer=scorer, instruction="Which?"), [], images=[b"GIF89a"])


def test_a_decision_on_another_image_has_none():
    image, other = read_image(b"GIF89a"), read_image(b"GIF87a")
    rows = [Experience(text=None, text_hash=hash_of_input(one), time=0.0) for one in (other, image)]
    assert [row.text for row in with_images(rows, [b"GIF89a"])] == [None, image]
    assert with_images(rows, [image])[1].text.data == b"GIF89a"
    assert with_images([], []) == []

"""`NumberScorer`: numbers whose confidence is the probability of an error within the tolerance."""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
import pytest
from fakes import StructuredChat, TinyEncoder
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field

from dsplus_chains import InvalidInputError, NumberScorer, TrainingDataError, shunt
from dsplus_chains.calibration.tolerance import ErrorSpread
from dsplus_chains.integrations.number_field import bounds_of, fitting

GOOD, BAD = ["lovely", "great", "fine", "nice"], ["broken", "awful", "sad", "poor"]


def reviews(n: int, seed: int, *, whole: bool = True) -> tuple[list[str], list[float]]:
    """Reviews whose stars count their good words. Where one says "maybe", the stars are any."""
    draws = np.random.default_rng(seed)
    texts, stars = [], []
    for number in range(n):
        good, vague = int(draws.integers(0, 5)), draws.random() < 0.3
        words = [*draws.choice(GOOD, good), *draws.choice(BAD, 4 - good), *(["maybe"] if vague else []), f"n{number}"]
        noise = draws.uniform(-3, 3) if vague else draws.normal(0, 0.2)
        value = float(np.clip(1 + good + noise, 1, 5))
        texts.append(" ".join(draws.permutation(words)))
        stars.append(round(value) if whole else value)
    return texts, stars


@pytest.fixture(scope="module")
def encoder():
    return TinyEncoder(dimensions=128)


@pytest.fixture(scope="module")
def scorer(encoder):
    return NumberScorer.fit(*reviews(600, 0), tolerance=1, encoder=encoder)


# The maths, by hand


def test_a_confidence_counts_the_known_errors_within_the_tolerance():
    spread = ErrorSpread.fit(truths=[0, 1, 2, 4], values=[0, 0, 0, 0], difficulties=[1, 1, 1, 1])
    values, sure = spread.apply([10.0, 10.0, 10.0], [1.0, 0.5, 2.0], tolerance=1)
    assert values.tolist() == [10, 10, 10]
    assert sure.tolist() == [2 / 5, 3 / 5, 1 / 5]


def test_whole_numbers_are_rounded_before_they_are_compared():
    spread = ErrorSpread.fit(truths=[0.4, -0.4, 0.6], values=[0, 0, 0], difficulties=[1, 1, 1])
    values, sure = spread.bounded(whole=True, low=1, high=5).apply([3.0, 3.2, 9.0, -9.0], [1.0] * 4, tolerance=0)
    assert values.tolist() == [3, 3, 5, 1]
    assert sure.tolist() == [2 / 4, 1 / 4, 3 / 4, 3 / 4]  # 2.6, 3.4, 3.6 | 2.8, 3.6, 3.8 | what lies beyond is cut off


NUMBERS = st.lists(st.floats(-10, 10), min_size=1, max_size=30)


@given(NUMBERS, st.floats(-10, 10), st.floats(0.1, 5), st.floats(0, 5), st.floats(0, 5))
def test_confidence_rises_with_the_tolerance_and_is_never_one(errors, value, difficulty, tolerance, more):
    spread = ErrorSpread.fit(errors, [0.0] * len(errors), [1.0] * len(errors)).bounded(whole=True, low=-5, high=5)
    (answer,), (sure,) = spread.apply([value], [difficulty], tolerance=tolerance)
    _, (surer,) = spread.apply([value], [difficulty], tolerance=tolerance + more)
    assert 0 <= sure <= surer < 1
    assert -5 <= answer <= 5
    assert answer == round(answer)


@pytest.mark.parametrize(("truths", "difficulties"), [([], []), ([1.0], [0.0]), ([1.0], [np.nan])])
def test_a_spread_needs_rows_and_difficulties(truths, difficulties):
    with pytest.raises(InvalidInputError, match="expected some above 0"):
        ErrorSpread.fit(truths, truths, difficulties)


# The scorer


def test_confidence_is_calibrated_on_new_rows_and_tells_hard_inputs_from_easy_ones(scorer):
    texts, stars = reviews(1000, 1)
    said = [record["prediction"] for record in scorer.batch(texts)]
    sure = np.array([one.confidence for one in said])
    right = np.abs([one.value - star for one, star in zip(said, stars, strict=True)]) <= 1
    vague = np.array(["maybe" in text for text in texts])
    assert all(type(one.value) is int and 1 <= one.value <= 5 for one in said)
    assert sure.mean() == pytest.approx(right.mean(), abs=0.04)
    assert sure[~vague].mean() > sure[vague].mean() + 0.08
    surest = np.argsort(-sure)[:500]
    assert right[surest].mean() > right.mean() + 0.05
    assert right[surest].mean() == pytest.approx(sure[surest].mean(), abs=0.06)


def test_a_batch_is_one_encode_and_seen_texts_are_marked(scorer, encoder):
    texts, _ = reviews(600, 0)
    encoder.calls.clear()
    marks = [record["prediction"].training for record in scorer.batch([texts[0].upper(), "new words"])]
    assert encoder.calls == [2]
    assert marks == ["seen", None]


def test_numbers_that_are_not_whole_stay_so(encoder):
    texts, stars = reviews(200, 2, whole=False)
    prediction = NumberScorer.fit(texts, stars, tolerance=0.5, encoder=encoder).invoke("great fine nice")["prediction"]
    assert isinstance(prediction.value, float)
    assert prediction.label == str(prediction.value)


def test_copies_count_once(encoder):
    texts, stars = reviews(80, 3)
    once = NumberScorer.fit(texts, stars, tolerance=1, encoder=encoder)
    thrice = NumberScorer.fit(texts * 3, stars * 3, tolerance=1, encoder=encoder)
    assert len(thrice.spread.residuals) == len(once.spread.residuals) == 80
    assert np.abs(thrice.spread.residuals).mean() > 0.5 * np.abs(once.spread.residuals).mean()


def test_numbers_of_pairs(encoder):
    pairs = [(f"w{number % 7}", f"w{number % 5} n{number}") for number in range(120)]
    scorer = NumberScorer.fit(
        pairs, [float(one == other.split()[0]) for one, other in pairs], tolerance=0, encoder=encoder
    )
    assert scorer.pairs
    with pytest.raises(InvalidInputError, match="expected a pair"):
        scorer.invoke("w1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * 59, "60 texts and 59 values"),
        ([1.0, None, *[2.0] * 58], r"values\[1\]=None but expected a finite number"),
        ([1.0, 2.0, "5", *[2.0] * 57], r"values\[2\]='5'"),
        ([1.0, 2.0, 3.0, True, *[2.0] * 56], r"values\[3\]=True"),
        ([float("inf"), *[2.0] * 59], r"values\[0\]=inf"),
    ],
)
def test_what_is_no_number_is_refused_with_its_row(encoder, values, message):
    with pytest.raises(TrainingDataError, match=message):
        NumberScorer.fit([f"text {number}" for number in range(60)], values, tolerance=1, encoder=encoder)


def test_few_examples_are_refused(encoder):
    with pytest.raises(TrainingDataError, match="Got 20 different examples but expected 50"):
        NumberScorer.fit([f"text {number % 20}" for number in range(60)], [1.0] * 60, tolerance=1, encoder=encoder)


# As a field of an app's answer


class Review(BaseModel):
    """What a review says."""

    stars: int = Field(ge=2, lt=5)
    weight: float = Field(default=0.0, le=3.5)
    topic: Literal["sound", "price"] = "sound"


class ReviewDict(TypedDict):
    """What a review says."""

    stars: int


PROMPT = ChatPromptTemplate.from_template("{review}")


def around(target, scorer, threshold, field="stars", **settings):
    chat = StructuredChat(function=lambda prompt: "3")
    return shunt(PROMPT | chat.with_structured_output(target), fields={field: scorer}, threshold=threshold, **settings)


def test_a_field_of_whole_numbers_gets_whole_ones_within_its_bounds(encoder):
    texts, stars = reviews(300, 4, whole=False)
    scorer = NumberScorer.fit(texts, stars, tolerance=1, encoder=encoder)
    shunted = around(Review, scorer, 0, optional=["weight", "topic"])
    said = [shunted.invoke({"review": text}).stars for text in (" ".join(GOOD), " ".join(BAD), "great sad")]
    assert said[:2] == [4, 2]
    assert all(type(stars) is int for stars in said)


def test_a_field_of_any_number_is_bounded_and_a_dict_is_filled_too(encoder, scorer):
    texts, stars = reviews(300, 4, whole=False)
    weight = NumberScorer.fit(texts, stars, tolerance=1, encoder=encoder)
    shunted = around(Review, weight, 0, field="weight", with_record=True)
    assert shunted.scorer.scorers["weight"].spread.high == 3.5
    assert around(ReviewDict, scorer, 0).invoke({"review": " ".join(GOOD)}) == {"stars": 5}


def test_the_confidence_of_a_field_decides_who_is_asked(scorer):
    texts, _ = reviews(60, 5)
    sure = [record["prediction"].confidence for record in scorer.batch(texts)]
    shunted = around(ReviewDict, scorer, float(np.median(sure)), with_record=True)
    records = shunted.batch([{"review": text} for text in texts], return_exceptions=True)
    kept = [not isinstance(record, Exception) and record["source"] == "small" for record in records]
    assert kept == [confidence >= np.median(sure) for confidence in sure]


def test_a_model_that_knows_no_allowed_number_is_refused(scorer):
    class Big(BaseModel):
        stars: int = Field(gt=100)

    with pytest.raises(ValueError, match="numbers from 1 to 5 but expected some from 100 to inf"):
        around(Big, scorer, 0.9)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, (True, -np.inf, np.inf)),
        ({"type": "number", "minimum": 0, "maximum": 1}, (False, 0, 1)),
        ({"type": "number", "exclusiveMinimum": 0}, (False, np.nextafter(0, 1), np.inf)),
    ],
)
def test_bounds_are_read_off_the_schema(schema, expected):
    found = bounds_of(schema)
    assert found["whole"] == expected[0]
    assert (found["low"], found["high"]) == pytest.approx(expected[1:])


def test_a_field_of_whole_or_other_numbers_is_not_rounded():
    class Review(BaseModel):
        stars: int | float | None = None
        votes: int | None = None

    class Told:
        def bounded(self, **bounds):
            return bounds["whole"]

    assert [fitting(Told(), Review, name) for name in ("stars", "votes")] == [False, True]

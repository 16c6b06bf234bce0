"""The demo's data: sentences of Amazon reviews, each rated by 20 people."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dsplus_chains.demo.fetch import DemoDataError, Download, PackagedFile, fetch, open_member, pip_download
from dsplus_chains.schema import first_copies, text_hash

REVIEWS = PackagedFile(
    requirement="vaderSentiment==3.3.2",
    source=True,
    archive_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    member="vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
    sha256="d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
)
"""The archive inside the source distribution of vaderSentiment (MIT; Hutto and Gilbert 2014, after Hu and Liu 2004)."""

RATINGS = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
"""The file inside that archive: id, mean rating, text, separated by tabs."""

NEUTRAL = 0.5
"""Sentences with a mean rating this close to zero are neither positive nor negative."""


class ReviewSentence(BaseModel):
    """One sentence of a product review.

    Args:
        review: The number of the review that it is from.
        text: The sentence, in lower case.
        rating: The mean of 20 people's ratings, from -4 (most negative) to 4.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    review: str
    text: str = Field(min_length=1)
    rating: float = Field(ge=-4, le=4)

    @property
    def label(self) -> Literal["positive", "negative"]:
        """The overall judgement of the raters."""
        return "positive" if self.rating > 0 else "negative"


class ReviewSplit(BaseModel):
    """Sentences to learn from and sentences to test on. No review is in both.

    Args:
        train: Sentences for fitting and tuning.
        test: Sentences for the final count only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[ReviewSentence, ...]
    test: tuple[ReviewSentence, ...]


def load_reviews(
    *,
    neutral: float = NEUTRAL,
    distinct: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    download: Download = pip_download,
    file: PackagedFile = REVIEWS,
) -> tuple[ReviewSentence, ...]:
    """Load the sentences that are positive or negative. They are fetched the first time.

    Args:
        neutral: Sentences whose mean rating is at most this far from zero are dropped.
        distinct: Whether only the first of copies of a sentence is taken, so that no split has seen one of another.
        cache_dir: Where the archive (2 MB) is kept. None means the user's cache folder.
        download: A function that fetches the package's archive.
        file: The archive inside the package.

    Returns:
        The sentences, in the order of the file.

    Raises:
        DemoDataError: The data cannot be fetched, or is not the expected one.
    """
    with open_member(fetch(file, cache_dir=cache_dir, download=download), RATINGS) as inside:
        sentences = parse_reviews(inside.read().decode("utf-8"))
    kept = [sentence for sentence in sentences if abs(sentence.rating) > neutral]
    if not distinct:
        return tuple(kept)
    firsts = first_copies(text_hash(sentence.text) for sentence in kept)
    return tuple(sentence for number, sentence in enumerate(kept) if firsts[number] == number)


def parse_reviews(text: str) -> tuple[ReviewSentence, ...]:
    r"""Read the lines of the ratings file.

    Args:
        text: The file's content.

    Returns:
        One sentence a line.

    Raises:
        DemoDataError: A line does not have the expected form.

    Example:
        >>> [(sentence.review, sentence.label) for sentence in parse_reviews("7_1\t2.2\ti love it!\r\n")]
        [('7', 'positive')]
    """
    sentences = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            name, rating, sentence = line.split("\t", 2)
            sentences.append(ReviewSentence(review=name.partition("_")[0], text=sentence.strip(), rating=float(rating)))
        except ValueError as error:
            msg = f"Got line {number}: {line[:80]!r} but expected an id, a rating from -4 to 4, and a text, with tabs"
            raise DemoDataError(msg) from error
    return tuple(sentences)


def split_by_review(sentences: Sequence[ReviewSentence], *, test_share: float = 0.5, seed: int = 0) -> ReviewSplit:
    """Split so that all sentences of one review are on the same side.

    Args:
        sentences: The sentences.
        test_share: Share of the reviews (not of the sentences) for testing, between 0 and 1.
        seed: The same seed gives the same split.

    Returns:
        The two sides, each in the order of `sentences`.
    """
    if not 0 < test_share < 1:
        msg = f"Got test_share={test_share!r} but expected a number between 0 and 1"
        raise ValueError(msg)
    reviews = sorted({sentence.review for sentence in sentences})
    random.Random(seed).shuffle(reviews)  # noqa: S311  a split, not a secret
    held_out = set(reviews[: round(len(reviews) * test_share)])
    return ReviewSplit(
        train=tuple(sentence for sentence in sentences if sentence.review not in held_out),
        test=tuple(sentence for sentence in sentences if sentence.review in held_out),
    )

"""The review sentences: read, filtered, split by review."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from dsplus_chains.demo.fetch import DemoDataError, PackagedFile
from dsplus_chains.demo.reviews import RATINGS, ReviewSentence, load_reviews, parse_reviews, split_by_review

ROWS = [
    "1_1\t-0.9\tno picture.",
    "1_2\t-0.15\ta repost.",
    "1_3\t0.5\tso so.",
    "2_1\t2.85\ti love it!",
    "2_2\t-0.55\tmeh.",
]
LINES = "\r\n".join(ROWS) + "\r\n"
SOURCE = "reviews-1.0/data/ratings.tar.gz"


def tar(path: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def packaged(inner: bytes) -> PackagedFile:
    digest = hashlib.sha256(inner).hexdigest()
    return PackagedFile(requirement="reviews==1.0", source=True, archive_sha256="0" * 64, member=SOURCE, sha256=digest)


def serve(inner: bytes):
    def download(file: PackagedFile, folder: Path) -> Path:
        path = folder / "reviews-1.0.tar.gz"
        path.write_bytes(tar(SOURCE, inner))
        return path

    return download


def test_sentences_near_zero_are_dropped(tmp_path):
    inner = tar(RATINGS, LINES.encode())
    sentences = load_reviews(cache_dir=tmp_path, download=serve(inner), file=packaged(inner))

    assert [(one.review, one.label, one.text) for one in sentences] == [
        ("1", "negative", "no picture."),
        ("2", "positive", "i love it!"),
        ("2", "negative", "meh."),
    ]


def test_an_archive_without_the_ratings_is_refused(tmp_path):
    inner = tar("elsewhere.txt", LINES.encode())

    with pytest.raises(DemoDataError, match="amazonReviewSnippets_GroundTruth"):
        load_reviews(cache_dir=tmp_path, download=serve(inner), file=packaged(inner))


@pytest.mark.parametrize("line", ["1_1\t0.9", "1_1\tgood\ttext", "1_1\t7\ttext", "1_1\tnan\ttext", "1_1\t2\t  "])
def test_a_broken_line_is_named(line):
    with pytest.raises(DemoDataError, match="Got line 2: "):
        parse_reviews(f"1_0\t1.0\tfine\n{line}\n")


def sentences_of(reviews: int) -> list[ReviewSentence]:
    return [
        ReviewSentence(review=str(review), text=f"sentence {n}", rating=1.0)
        for review in range(reviews)
        for n in range(1 + review % 4)
    ]


def test_no_review_is_on_both_sides():
    sentences = sentences_of(40)
    split = split_by_review(sentences, test_share=0.25, seed=3)
    train, test = ({one.review for one in side} for side in (split.train, split.test))

    assert not train & test
    assert len(test) == 10
    assert len(split.train) + len(split.test) == len(sentences)


def test_the_seed_decides_the_split():
    sentences = sentences_of(40)

    assert split_by_review(sentences, seed=1) == split_by_review(sentences, seed=1)
    assert split_by_review(sentences, seed=1) != split_by_review(sentences, seed=2)


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_split_needs_two_sides(share):
    with pytest.raises(ValueError, match="Got test_share="):
        split_by_review(sentences_of(4), test_share=share)

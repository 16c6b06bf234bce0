"""Small skills: what they find, how sure they are of it, and what they cost."""

from __future__ import annotations

import pytest
from fakes import TinyEncoder
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains import (
    InvalidInputError,
    Keep,
    MapParts,
    MapSubtask,
    PatternExtractor,
    SentenceRanker,
    Subtask,
    SubtaskDecomposer,
    SubtaskResult,
)
from dsplus_chains.documents.ranking import word_overlap
from dsplus_chains.documents.reduce import verbatim

ORDER = r"\b[A-Z]-\d{4}\b"
STORY = "The box is nice. The battery died in May. Call the shop."


@pytest.mark.parametrize(
    ("text", "value", "confidence", "starts"),
    [
        ("Where is A-1234?", "A-1234", 1.0, [9]),
        ("A-1234, I said A-1234.", "A-1234", 1.0, [0, 15]),
        ("B-1111 or A-2222 or C-3333 or A-2222", "B-1111", 1 / 3, [0, 10, 20, 30]),
        ("no number", None, None, []),
        ("", None, None, []),
    ],
)
def test_one_expression_is_sure_if_there_is_one_to_choose_from(text, value, confidence, starts):
    found = PatternExtractor(patterns={"order": ORDER}).invoke(text)
    assert (found.value, found.confidence, found.source) == (value, confidence, "small")
    assert [passage.start for passage in found.passages] == starts
    assert all(text[passage.start : passage.end] == passage.text for passage in found.passages)


def test_several_expressions_give_a_dict_and_are_as_sure_as_the_least_sure():
    extractor = PatternExtractor(patterns={"order": ORDER, "price": r"\$(?P<value>\d+)"})
    both, one, none = extractor.batch([{"input": "$20 or $30 for A-1234"}, "A-1234", "nothing"])
    assert (both.value, both.confidence) == ({"order": "A-1234", "price": "20"}, 0.5)
    assert [(span.text, span.start) for span in both.passages] == [("20", 1), ("30", 8), ("A-1234", 15)]
    assert (one.value, one.confidence) == ({"order": "A-1234", "price": None}, None)
    assert (none.value, none.confidence) == (None, None)


def test_a_group_that_takes_no_part_and_empty_matches_do_not_count():
    found = PatternExtractor(patterns={"a": r"x+|(?P<value>y)", "b": "z*"}).invoke("xax")
    assert found == SubtaskResult(source="small")


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"order='\[', which does not compile"):
        PatternExtractor(patterns={"order": "["})
    with pytest.raises(ValueError, match="at least 1"):
        PatternExtractor(patterns={})
    with pytest.raises(InvalidInputError, match="Got a text of 11 characters but expected at most max_chars=10"):
        PatternExtractor(patterns={"order": ORDER}, max_chars=10).invoke("x" * 11)
    with pytest.raises(InvalidInputError, match=r"Got 7 \(int\) but expected a text to search"):
        PatternExtractor(patterns={"order": ORDER}).invoke(7)


def test_the_best_sentence_comes_verbatim_with_its_place():
    found = SentenceRanker(encoder=TinyEncoder()).invoke({"input": STORY, "question": "when was the battery dead"})
    assert found.value == "The battery died in May."
    (passage,) = found.passages
    assert (passage.number, STORY[passage.start : passage.end]) == (2, found.value)
    assert 0 < found.confidence < 1
    assert found.source == "small"


def test_the_score_by_hand():
    record = {"input": "ab cd. ab ab.", "question": "ab"}
    ranker = {
        weight: SentenceRanker(encoder=TinyEncoder(dimensions=4096), word_weight=weight, split=lambda t: t.split("."))
        for weight in (0.0, 0.5, 1.0)
    }
    assert ranker[0.0].invoke(record).value == " ab ab"
    assert ranker[0.0].invoke(record).confidence == pytest.approx(1.0)
    assert ranker[1.0].invoke(record).value == "ab cd"  # both have the word: the first
    first = {"input": "ab cd", "question": "ab ef"}
    assert ranker[0.0].invoke(first).confidence == pytest.approx(0.5)
    assert ranker[1.0].invoke(first).confidence == pytest.approx(0.5)
    assert ranker[0.5].invoke(first).confidence == pytest.approx(0.5)
    assert ranker[0.5].invoke({"input": "", "question": "ab"}).error == "there is nothing to read"


@given(st.text(max_size=30), st.text(max_size=30))
def test_words_in_common_are_a_share(query, text):
    assert 0 <= word_overlap(query, text) <= 1
    if word_overlap(query, query):
        assert word_overlap(query, query) == 1


def test_one_encode_for_the_whole_batch_and_each_text_once():
    encoder = TinyEncoder()
    records = [{"input": f"It broke. Number {i}.", "question": "What broke?"} for i in range(20)]
    SentenceRanker(encoder=encoder).batch(records)
    assert encoder.calls == [1 + 1 + 20]


@pytest.mark.parametrize("question", [None, "", 7])
def test_without_a_question_a_row_fails_alone(question):
    ranker = SentenceRanker(encoder=TinyEncoder())
    good, bad = ranker.batch(
        [{"input": STORY, "question": "May?"}, {"input": STORY, "question": question}], return_exceptions=True
    )
    assert good.value == "The battery died in May."
    assert isinstance(bad, InvalidInputError)
    assert "under 'question' but expected a question" in str(bad)


class Strict(TinyEncoder):
    """It encodes as Hugging Face's tokenizers do: one text with half of a character fails all."""

    def encode(self, texts):
        "".join(texts).encode()
        return super().encode(texts)


@pytest.mark.parametrize("query", ["question", lambda record: record["question"]])
def test_half_of_a_character_fails_its_row_alone(query):
    rows = [
        {"input": STORY, "question": "May?"},
        {"input": "It died \ud83d", "question": "May?"},
        {"input": STORY, "question": "May? \udc00"},
    ]
    ranker = SentenceRanker(encoder=Strict(), query=query)
    good, text, question = ranker.batch(rows, return_exceptions=True)
    assert good.value == "The battery died in May."
    told = "which holds half of a character (a lone surrogate); mend its decoding"
    assert isinstance(text, InvalidInputError)
    assert str(text) == rf"Got 'input': 'It died \ud83d', {told}"
    assert isinstance(question, InvalidInputError)
    where = "the question " if callable(query) else "'question': "
    assert str(question) == rf"Got {where}'May? \udc00', {told}"


def test_it_ranks_the_parts_of_long_inputs_with_one_encode_for_all():
    encoder = TinyEncoder()
    facts = MapParts(split="paragraphs", run=SentenceRanker(encoder=encoder), keep=Keep(top_k=1))
    stories = [f"Story {i}.\n\nThe battery of phone {i} died.\n\nThe end." for i in range(10)]
    results = facts.batch([{"input": story, "question": "Whose battery died?"} for story in stories])
    assert [result.value for result in results] == [f"[2] The battery of phone {i} died." for i in range(10)]
    assert len(encoder.calls) == 1


def test_a_sentence_about_what_another_subtask_found_is_a_few_lines():
    ranker = SentenceRanker(encoder=TinyEncoder(), query=lambda record: record["subtasks"]["part"].value)
    plan = [
        Subtask(name="part", run=PatternExtractor(patterns={"part": "battery|screen"})),
        MapSubtask(name="quote", split="sentences", run=ranker, keep=Keep(top_k=1), reduce=verbatim, needs=("part",)),
    ]
    found = SubtaskDecomposer(subtasks=plan, combine="{part}: {quote}").invoke(STORY)
    assert found["answer"] == "battery: The battery died in May."


def test_a_text_of_too_many_sentences_is_refused_alone():
    ranker = SentenceRanker(encoder=TinyEncoder(), query=lambda record: "a", max_parts=2)
    bad, good = ranker.batch(["One. Two. Three.", "One. Two."], return_exceptions=True)
    assert "in more than max_parts=2 parts" in str(bad)
    assert good.value


def test_many_sentences_take_several_encodes_and_the_results_are_the_same(monkeypatch):
    texts = ["One. Two. Three.", "", "Four.", "Five. Six."]
    ranker = SentenceRanker(encoder=TinyEncoder(), query=lambda record: "five")
    expected = ranker.batch(texts)
    monkeypatch.setattr("dsplus_chains.documents.ranking.AT_ONCE", 2)
    assert ranker.batch(texts) == expected

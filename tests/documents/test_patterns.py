"""The developer's own expressions: what they mean, and that none of them takes long."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
import regex
from clock import at_most
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains import DSPlusError, PatternExtractor, Subtask, SubtaskDecomposer
from dsplus_chains.documents.patterns import PatternTimeoutError, find_spans

EVIL = {
    "two runs in a run": (r"(?:(?:x+x+)+y|z)+$", "x" * 5_000),
    "either of two": (r"(?:a|aa)+$", "a" * 60 + "b"),
    "words in a run": (r"(?:\w+\s?)*;", "word " * 2_000),
    "a run of runs": (r"(?:x+)*y", "x" * 20_000),
    "three runs": (r"x*x*x*x*y", "x" * 5_000),
    "a run before each end": (r"\s+$", " " * 90_000 + "x"),
    "look ahead in a run": (r"(?:(?=(x+))\1x?)+y", "x" * 5_000),
    "twice the same": (r"(x+)(x+)\1\2y", "x" * 800),
    "an address": (r"^(?:[a-z0-9]+[._]?)+@", "a" * 60),
    "a number in braces": (r"(?:x{1,50}){1,50}y", "x" * 2_500),
    "all between quotes": (r"(?:\"[^\"]*\"?)*;", '"' * 3_000),
    "lazy ones": (r"(?:.*?,){25}P", "1," * 400),
}
"""Expressions that search for ever, or for as long as the square or the cube of the text."""


@pytest.mark.parametrize("name", EVIL)
def test_no_expression_takes_longer_than_it_may_and_only_its_text_fails(name):
    pattern, text = EVIL[name]
    extractor = PatternExtractor(patterns={"evil": pattern, "found": "word|b|x"}, timeout=0.1)
    with at_most(5, time.process_time):
        evil, good = extractor.batch([text, "b"], return_exceptions=True)
    assert isinstance(good, type(extractor.invoke("b")))
    assert good == extractor.invoke("b")
    if isinstance(evil, Exception):  # some of these are no trouble for the library
        assert type(evil) is PatternTimeoutError


def test_a_timeout_says_what_took_long_and_what_to_do():
    pattern, text = EVIL["two runs in a run"]
    with pytest.raises(
        PatternTimeoutError, match=r"'\(\?:\(\?:x\+x\+\)\+y\|z\)\+\$'.*5000 characters.*timeout=0\.05"
    ) as told:
        find_spans(text, pattern, timeout=0.05)
    assert isinstance(told.value, DSPlusError)
    assert isinstance(told.value, TimeoutError)
    assert isinstance(told.value.__cause__, TimeoutError)


def test_a_long_error_does_not_repeat_the_expression():
    pattern = "(?:(?:x+x+)+y|z)+$" + "|q" * 10_000
    with pytest.raises(PatternTimeoutError) as told:
        find_spans("x" * 5_000, pattern, timeout=0.05)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), None])
def test_a_bound_is_needed(wrong):
    with pytest.raises(ValueError, match="timeout"):
        PatternExtractor(patterns={"a": "a"}, timeout=wrong)


async def test_under_async_the_loop_is_not_blocked():
    pattern, text = EVIL["two runs in a run"]
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    beside = asyncio.create_task(tick())
    for seconds in (0.3, 3.0, 30.0):  # a busy machine lets the loop run less often
        slow = PatternExtractor(patterns={"a": pattern}, timeout=seconds)
        before = ticks
        (result,) = await slow.abatch([text], return_exceptions=True)
        assert isinstance(result, PatternTimeoutError)
        if ticks - before > 3:
            break
    else:
        pytest.fail("the loop was blocked")
    beside.cancel()


def test_in_a_plan_it_fails_its_input_alone_or_is_told():
    pattern, text = EVIL["two runs in a run"]
    slow = PatternExtractor(patterns={"a": pattern}, timeout=0.05)
    plan = [Subtask(name="order", run=slow, optional=True)]
    bad, good = SubtaskDecomposer(subtasks=plan, combine="{order}").batch([text, "xxxy"])
    assert bad["subtasks"]["order"].error.startswith("PatternTimeoutError: Got the expression")
    assert bad["answer"] == "unknown"
    assert good["answer"] == "xxxy"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\b[A-Z]-\d{4}\b", "Where is A-1234? B-12345, C-0001."),
        (r"(?i)order (?P<value>\w+)", "Order a1, ORDER b2"),
        (r"(?m)^- (?P<value>.+)$", "- one\n- two\nthree"),
        (r"(?s)<a>(?P<value>.*?)</a>", "<a>x\ny</a><a></a>"),
        (r"(?x) \d+ # digits", "12 and 3"),
        (r"x+|(?P<value>y)", "xax y"),
        (r"z*", "xzzx"),
        (r"(?<=\$)\d+(?:\.\d\d)?", "$12.50 or $3"),
        (r"(?P<a>['\"])(?P<value>.*?)(?P=a)", "say 'no' or \"yes\""),
        (r"[^\W\d_]+", "naïve Straße 7_x"),
        (r"(?a:\w+) \W", "né !"),
        (r"[\[\]&~|-]+", "a[b]--&&"),
        (r"(\d{2})[-/]\1", "12-12 12/13"),
        (r"\d++(?!%)", "12% 13"),
    ],
)
def test_an_expression_means_what_it_means_in_python(pattern, text):
    compiled = re.compile(pattern)
    group = "value" if "value" in compiled.groupindex else 0
    expected = [(found[group], found.start(group)) for found in compiled.finditer(text) if found[group]]
    assert [(span.text, span.start) for span in find_spans(text, pattern)] == expected


ATOMS = st.sampled_from(
    ["a", "b", r"\d", r"\w", r"\s", "[ab]", "[^a]", ".", r"\b", "^", "$", "(?:ab)", "(?=a)", "(?<!b)"]
)
REPEATS = st.sampled_from(["", "*", "+", "?", "{1,2}", "*?", "++"])


@given(st.lists(st.tuples(ATOMS, REPEATS), min_size=1, max_size=4), st.text(alphabet="ab1 _\n", max_size=12))
def test_a_small_expression_finds_what_python_finds(pieces, text):
    anchors = {r"\b", "^", "$", "(?=a)", "(?<!b)"}
    pattern = "".join(atom if atom in anchors else atom + times for atom, times in pieces)
    expected = [(found[0], found.start()) for found in re.compile(pattern).finditer(text) if found[0]]
    assert [(span.text, span.start) for span in find_spans(text, pattern)] == expected


def test_whatever_the_library_is_set_to_the_expressions_keep_their_meaning(monkeypatch):
    monkeypatch.setattr(regex.regex, "DEFAULT_VERSION", regex.VERSION1, raising=False)
    assert [span.text for span in find_spans("STRASSE straße", r"(?i)straße")] == ["straße"]  # version 1 folds ß to ss


def test_what_python_cannot_say_can_be_said():
    assert [span.text for span in find_spans("Éva and bob", r"\p{Lu}\w+")] == ["Éva"]

"""Two values are the same only if nobody who reads them can tell one from the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from dsplus_chains import Prediction, TextPair
from dsplus_chains.schema import identity_of

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(plain, plain)
def test_plain_values_are_the_same_iff_they_are_written_alike(one, other):
    assert (identity_of(one) == identity_of(other)) == (repr(one) == repr(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("a", b"a"),
        ([1, 2], (1, 2)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),  # a template may show the dict
        (HumanMessage("hello"), AIMessage("hello")),
        (HumanMessage("hello"), HumanMessage("hello", name="Ann")),
        (Prediction(label=1, confidence=0.5), Prediction(label=True, confidence=0.5)),
        (Prediction(value=["x"], confidence=0.5), Prediction(value=["y"], confidence=0.5)),
        (TextPair("a", "b"), str(TextPair("a", "b"))),
        (bytearray(b"a"), bytearray(b"a")),  # it cannot be hashed, so it is the same only as itself
    ],
)
def test_what_can_be_told_apart_is_not_the_same(one, other):
    assert identity_of(one) != identity_of(other)


def test_what_reads_alike_is_the_same():
    chat = [HumanMessage([{"type": "text", "text": "It broke."}])]
    again = [HumanMessage([{"type": "text", "text": "It broke."}])]
    assert identity_of({"messages": chat, "user": ("ann", 3)}) == identity_of({"messages": again, "user": ("ann", 3)})
    packed = bytearray(b"a")
    assert identity_of([packed]) == identity_of([packed])


def test_a_prediction_counts_by_its_answer():
    near = [Prediction(label="ham", confidence=confidence) for confidence in (0.5, 0.5000001)]
    assert identity_of(near[0]) == identity_of(near[1])
    assert identity_of(near[0]) != identity_of(Prediction(label="spam", confidence=0.5))

"""A copy of a Runnable with other fields (`model_copy`) works by these."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import FakeListChatModel

from dsplus_chains import LabelParser, MapSubtask
from dsplus_chains.integrations.part_asker import PartAsker
from dsplus_chains.running.batch_runnable import ComputingRunnable


class Lengths(ComputingRunnable[Any, Any]):
    """A Runnable without anything derived."""

    more: int = 0

    def _compute(self, inputs: list[Any]) -> list[Any]:
        return [len(text) + self.more for text in inputs]


def test_what_is_derived_from_fields_is_derived_anew():
    parser = LabelParser(labels=["spam", "ham"])
    assert parser.invoke("Label: ham.") == "ham"
    assert parser.model_copy(update={"labels": ("eggs", "rice")}).invoke("Label: eggs.") == "eggs"
    assert parser.invoke("Label: ham.") == "ham"
    mapped = MapSubtask(name="m", run=str.upper)
    assert mapped._parts.max_parts == mapped.max_parts
    assert mapped.model_copy(update={"max_parts": 3})._parts.max_parts == 3


def test_the_arms_of_an_app_are_not_those_of_another():
    one, two = FakeListChatModel(responses=["one"]), FakeListChatModel(responses=["two"])
    asker = PartAsker(app=one, target=dict, names=("a",))
    assert asker._arm(frozenset(), False) is one
    assert asker.model_copy(update={"app": two})._arm(frozenset(), False) is two


def test_a_copy_of_the_same_fields_is_equal_and_keeps_what_is_derived():
    parser = LabelParser(labels=["spam", "ham"])
    parser.invoke("Label: ham.")
    assert parser.model_copy()._forms is parser._forms
    assert parser.model_copy() == parser
    assert Lengths().model_copy(update={"more": 2}).batch(["a", "bb"]) == [3, 4]

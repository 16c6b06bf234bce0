from __future__ import annotations

import sys

import pytest

from dsplus_chains.evaluation.costs import count_tokens, price, spending


def usage(prompt, answer, **details):
    return {"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer, **details}


def test_one_unknown_usage_makes_the_sum_unknown():
    assert count_tokens([usage(90, 2), None]) is None
    assert count_tokens([]).total == 0


def test_what_the_large_model_alone_would_take_is_extrapolated():
    spent = spending([usage(90, 10), usage(110, 10)], n=10)
    assert (spent.tokens.total, spent.large_only_tokens, spent.large_only_estimated) == (220, 1100, True)
    assert spent.break_even_escalation_rate is None


def test_no_calls_cost_nothing_and_say_nothing_of_the_large_model():
    spent = spending([], n=10)
    assert (spent.tokens.total, spent.large_only_tokens) == (0, None)


def test_longer_prompts_lower_the_break_even_rate():
    # A call of the chain takes 200 tokens, one of the large model alone 100.
    spent = spending([usage(190, 10)] * 2, n=4, large_usage=[usage(90, 10)] * 4)
    assert (spent.large_only_tokens, spent.large_only_estimated) == (400, False)
    assert spent.break_even_escalation_rate == pytest.approx(0.5)


def test_a_price_is_that_of_the_library():
    genai_prices = pytest.importorskip("genai_prices")
    expected = genai_prices.calc_price(genai_prices.Usage(input_tokens=1000, output_tokens=100), "gpt-4o-mini")
    for name in ("gpt-4o-mini", "openai:gpt-4o-mini", "openai/gpt-4o-mini"):
        found = price([usage(400, 60), usage(600, 40)], name)
        assert found.usd == pytest.approx(float(expected.total_price))
        assert found.note is None
    assert price([], "gpt-4o-mini").usd == 0


def test_cached_tokens_are_cheaper():
    pytest.importorskip("genai_prices")
    cached = usage(1000, 0, input_token_details={"cache_read": 800})
    assert 0 < price([cached], "gpt-4o-mini").usd < price([usage(1000, 0)], "gpt-4o-mini").usd


@pytest.mark.parametrize("calls", [[usage(10, 1)], []])
@pytest.mark.parametrize("name", ["no-such-model", "nobody:gpt-4o-mini", "", "a:b/c"])
def test_an_unknown_model_has_no_price(name, calls):
    pytest.importorskip("genai_prices")
    found = price(calls, name)
    assert found.usd is None
    assert "no price for the model" in found.note


def test_what_else_is_unknown_is_said():
    assert "no model name" in price([usage(1, 1)], None).note
    assert "usage of some calls" in price([None], "gpt-4o-mini").note


def test_without_the_library_the_price_is_unknown_not_zero(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    found = price([usage(1, 1)], "gpt-4o-mini")
    assert found.usd is None
    assert "extra `report`" in found.note

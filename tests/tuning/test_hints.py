from __future__ import annotations

import json
import random
import re
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fakes import CountingChat, Recording, TinyEncoder
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from dsplus_chains import (
    DSPlusError,
    ExemplarSelector,
    InvalidInputError,
    Prediction,
    RunnableScorer,
    SQLiteAnswerCache,
    data_shunt,
    tune_hints,
    tune_threshold,
)
from dsplus_chains.calibration.intervals import sign_test
from dsplus_chains.running import Budget, Limits
from dsplus_chains.tuning.choice import MOST_LOST, Comparison, cheapest_unless_better, fewest_to_compare
from dsplus_chains.tuning.hint_choice import best_way
from dsplus_chains.tuning.hint_search import HintSearch
from dsplus_chains.tuning.tuned import Estimate

SENTIMENTS = ["positive", "negative"]
ASK = {"instruction": "Praise or complaint?"}


def small(text):
    """Sure of "sure", says "positive" to whatever is left, with a confidence that is in the text."""
    confidence = float(re.search(r"[\d.]+", text)[0])
    label = "negative" if "hinted negative" in text else "positive"
    other = "negative" if label == "positive" else "positive"
    return Prediction(label=label, confidence=confidence, probabilities={label: confidence, other: 1 - confidence})


SCORER = RunnableScorer(run=small, labels=SENTIMENTS)


def rows(n, *, kept=0):
    """Rows whose label the small model has right, but whose text does not tell; `kept` more of which it is sure."""
    draw = random.Random(0)
    labels = [draw.choice(SENTIMENTS) for _ in range(n + kept)]
    sure = [0.51 + 0.2 * number / n for number in range(n)] + [0.99] * kept
    texts = [f"{value:.4f} hinted {label}" for value, label in zip(sure, labels, strict=True)]
    order = draw.sample(range(len(texts)), len(texts))
    return [texts[row] for row in order], [labels[row] for row in order]


def view_of(prompt):
    """The small model's first guess, if the prompt tells of it."""
    found = re.search(r"estimates:\n- (\w+)", prompt)
    return found[1] if found else "positive"


def test_a_model_that_profits_from_hints_gets_them_and_one_that_does_not_is_asked_without():
    texts, labels = rows(80)
    trusting, stubborn = CountingChat(function=view_of), CountingChat(function=lambda _: "positive")
    search = tune_hints(SCORER, trusting, texts, labels, **ASK, fusion="replace")
    assert (search.best.hints, search.best.accuracy.value) == ("soft", 1.0)
    assert search.comparison.better > 20
    assert "better than the cheapest" in search.meaning
    search = tune_hints(SCORER, stubborn, texts, labels, **ASK, fusion="replace")
    assert (search.best.hints, search.comparison) == ("none", None)
    assert search.cells[0].tokens < search.cells[1].tokens
    assert search.best.broke == labels.count("negative")


def test_all_cells_see_the_same_rows_the_least_sure_ones_and_are_one_batch_each():
    texts, labels = rows(60, kept=40)
    examples = ExemplarSelector.fit(["0.9 fine", "0.9 poor"], SENTIMENTS, encoder=TinyEncoder())
    model = CountingChat(function=view_of)
    search = tune_hints(SCORER, model, texts, labels, **ASK, examples=examples, max_rows=50, exemplars=(0, 2))
    assert model.sizes == [50] * 4  # none and soft, without and with exemplars
    seen = [set(re.findall(r"<input>\n(.*)\n</input>", prompt)) for prompt in model.asked]
    batches = [set().union(*seen[start : start + 50]) for start in range(0, 200, 50)]
    least = sorted(range(100), key=lambda row: small(texts[row]).confidence)[:50]
    assert batches == [{texts[row] for row in least}] * 4
    assert search.rows == tuple(sorted(least))
    assert search.max_escalation == 0.5
    assert [(cell.hints, cell.exemplars, cell.fusion) for cell in search.cells] == [
        (hints, k, fusion) for k in (0, 2) for hints in ("none", "soft") for fusion in ("replace", "posterior")
    ]
    assert all("Solved examples" in prompt for prompt in model.asked[100:])
    assert not any("Solved examples" in prompt for prompt in model.asked[:100])
    assert all(len(cell.right) == 50 and cell.accuracy.n == 50 for cell in search.cells)


def test_ways_side_by_side_wait_for_no_other_and_are_worth_what_they_are_one_by_one():
    texts, labels = rows(40)
    one_by_one = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK, fusion="replace")
    together = threading.Barrier(2, timeout=60)
    first = f"{min(small(text).confidence for text in texts):.4f}"  # a row of each way

    def meet(prompt):
        if first in prompt:
            together.wait()
        return view_of(prompt)

    model = CountingChat(function=meet)
    search = tune_hints(SCORER, model, texts, labels, **ASK, fusion="replace", side_by_side=True)
    assert search == one_by_one
    with pytest.raises(DSPlusError, match="answered none"):
        tune_hints(SCORER, CountingChat(function=refuse), texts, labels, **ASK, side_by_side=True)


def refuse(prompt):
    raise ValueError("no, thank you")


def test_the_prompts_are_those_that_the_chain_will_have():
    texts, labels = rows(20)
    model = CountingChat(function=view_of)
    tune_hints(SCORER, model, texts, labels, **ASK, hints=["soft"])
    chained = CountingChat(function=view_of)
    data_shunt(SCORER, chained, **ASK, threshold=None, hints="soft").batch(texts)
    assert sorted(model.asked) == sorted(chained.asked)


def test_a_budget_is_kept_and_what_was_not_tried_is_said():
    texts, labels = rows(40)
    free = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK)
    first = free.cells[0].tokens
    assert free.tokens == first + free.cells[-1].tokens
    model = CountingChat(function=view_of)
    search = tune_hints(SCORER, model, texts, labels, **ASK, max_tokens=round(first * 1.9))
    assert len(model.asked) == 40
    assert {cell.hints for cell in search.cells} == {"none"}
    assert search.tokens == first
    assert any(what.startswith("soft hints (about ") for what in search.untried)
    assert "Not tried: soft hints" in search.meaning
    enough = tune_hints(
        SCORER, CountingChat(function=view_of), texts, labels, **ASK, max_tokens=round(free.tokens * 1.5)
    )
    assert enough == free


def test_a_budget_for_nothing_is_refused_before_anything_is_asked():
    texts, labels = rows(20)
    model = CountingChat(function=view_of)
    with pytest.raises(InvalidInputError, match="max_tokens=10 but none of these can be tried"):
        tune_hints(SCORER, model, texts, labels, **ASK, max_tokens=10)
    assert not model.asked


def test_hard_hints_are_not_tried_where_a_label_is_called_none_of_these():
    texts, labels = rows(20)
    settings = {**ASK, "top_k": 1, "aliases": {"None of these": "negative"}}
    search = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **settings)
    assert {cell.hints for cell in search.cells} == {"none", "soft"}
    assert any("none of these" in what for what in search.untried)
    model = CountingChat(function=view_of)
    with pytest.raises(ValueError, match="Give it another"):
        tune_hints(SCORER, model, texts, labels, **settings, hints=["hard"])
    assert not model.asked


def test_a_second_run_asks_nothing():
    texts, labels = rows(40)
    cache = SQLiteAnswerCache(":memory:")
    model = CountingChat(function=view_of, cache=cache)
    first = tune_hints(SCORER, model, texts, labels, **ASK)
    asked = len(model.asked)
    again = tune_hints(SCORER, model, texts, labels, **ASK)
    assert len(model.asked) == asked == 80
    assert again == first
    cache.close()


def test_where_the_large_model_fails_the_small_ones_answer_counts():
    texts, labels = rows(40)

    def half(prompt):
        if "0.5" in prompt.messages[-1].content:
            raise TimeoutError("too slow")
        return AIMessage(view_of(prompt.to_string()))

    search = tune_hints(SCORER, Recording(half), texts, labels, **ASK, hints=["soft"], fusion="replace")
    assert search.best.failed == sum("0.5" in text for text in texts) > 0
    assert search.best.accuracy.value == 1.0  # the small model has them right
    assert search.best.large_accuracy.value == 1 - search.best.failed / 40
    assert (search.best.fixed, search.best.broke) == (0, 0)
    assert "TimeoutError: too slow" in search.best.error
    assert search.tokens is None
    assert search.table()[1][6] == "?"


def test_a_model_that_never_answers_is_an_error_and_asked_once():
    texts, labels = rows(20)
    model = Recording(lambda _: AIMessage("who knows"))
    with pytest.raises(DSPlusError, match="answered none of 20 rows; the first failure was OutputParserException"):
        tune_hints(SCORER, model, texts, labels, **ASK, retries=0)
    assert model.sizes == [20]


LETTERS = tuple("abcdefghijkl")


def letters(n, seed=0):
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(len(LETTERS), 0.3), size=n)
    truth = [LETTERS[rng.choice(len(LETTERS), p=row)] for row in table]
    records = [
        {
            "input": f"text {number} of {label}",
            "prediction": Prediction(
                label=LETTERS[int(row.argmax())],
                confidence=float(row.max()),
                probabilities=dict(zip(LETTERS, row.tolist(), strict=True)),
            ),
        }
        for number, (row, label) in enumerate(zip(table, truth, strict=True))
    ]
    return records, truth


def test_with_many_labels_hard_hints_offer_a_conformal_set_and_cost_less():
    records, truth = letters(300)
    scorer = RunnableScorer(run=small, labels=LETTERS)

    def offered(prompt):
        told = re.search(r"of (\w)\n</input>", prompt)[1]
        return told if f"\n- {told}\n" in prompt else "none of these"

    model = CountingChat(function=offered)
    search = tune_hints(scorer, model, records, truth, **ASK, set_coverage=0.8, fusion="replace")
    by_mode = {cell.hints: cell for cell in search.cells}
    assert 0 < by_mode["hard"].set_level < 1
    assert by_mode["hard"].large_accuracy.value >= 0.8
    assert by_mode["hard"].tokens < by_mode["soft"].tokens
    assert by_mode["none"].accuracy.value == 1.0
    assert search.best.hints == "none", "hard hints cost less, but lose a fifth of the answers"
    assert model.sizes == [100] * 3


def test_hard_hints_are_left_out_where_there_is_nothing_to_prune():
    texts, labels = rows(30)
    search = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK)
    assert {cell.hints for cell in search.cells} == {"none", "soft"}
    assert "hard hints, which prune nothing among 2 labels" in search.untried
    alone = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK, hints=["hard"])
    assert alone.best.hints == "hard"


def test_hard_hints_are_left_out_where_too_few_rows_promise_anything():
    records, truth = letters(18)
    scorer, model = RunnableScorer(run=small, labels=LETTERS), CountingChat(function=lambda _: "a")
    search = tune_hints(scorer, model, records, truth, **ASK)
    assert {cell.hints for cell in search.cells} == {"none", "soft"}
    assert "Not tried: hard hints, which have to offer all 12 labels to hold the true one in 95.0 %" in search.meaning
    alone = tune_hints(scorer, model, records, truth, **ASK, hints=["hard"])
    assert (alone.best.hints, alone.best.set_level) == ("hard", 1.0)


def test_hard_hints_may_ask_again_over_all_labels_and_that_is_counted():
    records, truth = letters(300)
    scorer = RunnableScorer(run=small, labels=LETTERS)

    def offered(prompt):
        told = re.search(r"of (\w)\n</input>", prompt)[1]
        return told if f"\n- {told}\n" in prompt else "none of these"

    given = {**ASK, "set_coverage": 0.8, "fusion": "replace", "hints": ["hard"]}
    model = CountingChat(function=offered)
    once = tune_hints(scorer, CountingChat(function=offered), records, truth, **given)
    (cell,) = tune_hints(scorer, model, records, truth, **given, reask=True).cells
    first, again = model.sizes
    assert (first, again) == (100, once.best.failed)
    assert again > 0
    assert (cell.failed, cell.accuracy.value) == (0, 1.0)
    assert cell.tokens - once.best.tokens == sum(len(prompt) // 4 + 1 for prompt in model.asked[100:])
    assert cell.characters - once.best.characters > sum(len(prompt) for prompt in model.asked[100:])

    chained = CountingChat(function=offered)
    asked = [records[row] for row in once.rows]
    chain = data_shunt(
        RunnableScorer(run=lambda text: by_text[text], labels=LETTERS), chained, **ASK, threshold=None, hints="hard",
        set_level=cell.set_level, reask=True,
    )  # fmt: skip
    by_text = {record["input"]: record["prediction"] for record in asked}
    chain.batch(list(by_text))
    assert sorted(chained.asked) == sorted(model.asked), "the chain asks again in the same words"


def test_fusion_is_judged_by_weights_that_had_not_seen_the_row_and_costs_nothing():
    records, truth = letters(300)
    scorer = RunnableScorer(run=small, labels=LETTERS)
    draw = random.Random(1)
    said = {
        record["input"]: label if draw.random() < 0.6 else "a" for record, label in zip(records, truth, strict=True)
    }
    model = CountingChat(function=lambda prompt: said[re.search(r"<input>\n(.*)\n</input>", prompt)[1]])
    search = tune_hints(scorer, model, records, truth, **ASK, hints=["none"])
    replaced, fused = search.cells
    assert model.sizes == [100]
    assert fused.tokens == replaced.tokens
    assert fused.accuracy.value > replaced.accuracy.value
    assert search.best is fused
    tuned = tune_threshold(
        search.predictions, truth, search.large_answers, fusion="posterior", max_escalation=search.max_escalation
    )
    rows = {row for row in range(300) if search.predictions[row].confidence < tuned.threshold}
    assert rows <= set(search.rows)
    assert [search.large_answers[row] for row in search.rows] == list(fused.answers)
    assert tune_hints(scorer, model, records, truth, **ASK, hints=["none"], fusion="posterior").cells == (fused,)


@pytest.mark.parametrize(("ahead", "fusion"), [(-5, "posterior"), (0, "posterior"), (3, "posterior"), (5, "replace")])
def test_fusion_is_left_only_where_replacing_is_ahead_by_more_than_two_standard_errors(ahead, fusion):
    texts, labels = rows(80)
    replaced, fused = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK, hints=["none"]).cells
    assert (replaced.fusion, fused.fusion) == ("replace", "posterior")
    cells = [
        replace(cell, right=tuple(row >= wrong for row in range(80)))
        for cell, wrong in ((replaced, max(0, -ahead)), (fused, max(0, ahead)))
    ]
    assert best_way(cells)[0].fusion == fusion


def test_with_few_answers_there_is_no_fusion():
    texts, labels = rows(12)
    search = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK, fusion="posterior")
    assert {cell.fusion for cell in search.cells} == {"replace"}


def test_a_dearer_setting_has_to_be_better_by_more_than_chance():
    cheap = np.zeros(100, dtype=bool)
    costs = [1.0, 2.0, 3.0]
    for wins, taken in ((6, 0), (7, 1)):  # two dearer settings: p has to be at most 0.025
        dear = np.arange(100) < wins
        assert (sign_test(wins, 0) <= 0.025) == bool(taken)
        assert cheapest_unless_better(costs, [cheap, dear, dear]) == taken
    assert cheapest_unless_better([3.0, 2.0, 1.0], [np.arange(100) < 50, cheap, cheap]) == 0
    assert cheapest_unless_better([1.0, 1.0], [cheap, cheap]) == 0


def test_luck_alone_seldom_takes_anything_dearer():
    rng = np.random.default_rng(0)
    taken = [cheapest_unless_better(range(6), rng.random((6, 100)) < 0.8) for _ in range(300)]
    assert np.mean([number > 0 for number in taken]) <= 0.05


def test_what_is_not_told_apart_from_chance_is_said_so():
    texts, labels = rows(80)
    wrong = {text for text, label in zip(texts, labels, strict=True) if label == "negative"}
    few = sorted(wrong)[:2]

    def slightly(prompt):
        return view_of(prompt) if any(text in prompt for text in few) else "positive"

    search = tune_hints(SCORER, CountingChat(function=slightly), texts, labels, **ASK, fusion="replace")
    assert search.best.hints == "none"
    assert "Soft hints, replace was right on 2 more, which is not told apart from chance on 80 rows" in search.meaning


def test_the_table_can_be_read_and_the_numbers_are_plain_data():
    texts, labels = rows(40)
    search = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK)
    lines = str(search).splitlines()
    assert " ".join(lines[0].split()) == "hints exemplars fusion right 95 % large tokens fixed broke"
    assert lines[1].startswith("small alone")
    assert [line.startswith("→") for line in lines].count(True) == 1
    assert lines[-1] == search.meaning
    plain = json.loads(json.dumps(search.to_dict(), allow_nan=False))
    assert len(plain["cells"]) == 4
    assert plain["best"]["hints"] == search.best.hints
    assert {"accuracy", "tokens", "fixed", "broke", "large_accuracy"} <= set(plain["cells"][0])


def test_what_each_way_costs_and_what_the_chosen_one_saves_is_told_in_tokens_and_in_money():
    prices = pytest.importorskip("genai_prices")
    records, truth = letters(300)
    scorer = RunnableScorer(run=small, labels=LETTERS)
    described = {**ASK, "descriptions": {letter: f"the letter {letter}, at length" for letter in LETTERS}}

    def told(prompt):
        return re.search(r"of (\w)\n</input>", prompt)[1]

    model = CountingChat(function=told)
    search = tune_hints(
        scorer, model, records, truth, **described, hints=["none", "hard"], fusion="replace", set_coverage=0.5,
        retries=0, model_name="openai:gpt-4o-mini",
    )  # fmt: skip
    plain, hard = search.cells
    expected = sum(
        prices.calc_price(prices.Usage(input_tokens=len(text) // 4, output_tokens=1), "gpt-4o-mini").total_price
        for text in model.asked[:100]
    )
    assert plain.usd_per_1000 == pytest.approx(10 * float(expected))
    assert search.plain is plain
    best = replace(search, best=hard)
    assert best.saving == pytest.approx(1 - hard.usd_per_1000 / plain.usd_per_1000)
    assert 0 < best.saving < 1
    assert (
        f"It costs {10 * hard.tokens:,} tokens and {hard.usd_per_1000:.4g} US dollars per 1,000 rows. That is "
        f"{100 * best.saving:.1f} % less than with no hints and no exemplars ({10 * plain.tokens:,} tokens and"
    ) in best.meaning
    assert "% more than" in replace(search, best=replace(hard, usd_per_1000=2 * plain.usd_per_1000)).meaning
    assert "less than" not in replace(search, best=replace(plain, fusion="posterior")).meaning
    assert search.headings[6:8] == ("tokens", "$ per 1,000")
    assert [line[7] for line in search.table()] == ["0", f"{plain.usd_per_1000:.4g}", f"{hard.usd_per_1000:.4g}"]
    assert len({*map(len, [search.headings, *search.table()])}) == 1
    assert search.to_dict()["saving"] == search.saving


def test_without_a_price_tokens_alone_are_told_and_without_tokens_nothing():
    texts, labels = rows(40)
    search = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK, fusion="replace")
    assert search.best.usd_per_1000 is None
    assert "dollars" not in str(search)
    assert f"It costs {1000 * search.best.tokens / 40:,.0f} tokens per 1,000 rows." in search.meaning
    assert search.saving == 1 - search.best.tokens_a_row / search.plain.tokens_a_row < 0
    silent = Recording(lambda prompt: AIMessage(view_of(prompt.to_string())))
    search = tune_hints(SCORER, silent, texts, labels, **ASK, fusion="replace", model_name="gpt-4o-mini")
    assert search.saving is None
    assert "costs" not in search.meaning


def test_the_cheaper_way_is_the_one_that_costs_less_money_where_the_price_is_known():
    texts, labels = rows(40)
    few, many = tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK, fusion="replace").cells
    equal = [replace(cell, right=few.right) for cell in (few, many)]
    assert best_way(equal)[0].hints == "none"
    dear = [replace(cell, usd_per_1000=usd) for cell, usd in zip(equal, (2.0, 1.0), strict=True)]
    assert best_way(dear)[0].hints == "soft"


BLOCK = re.compile(r"<(q\d+-[0-9a-f]{6})>\n<input>\n(.*?)\n</input>", re.DOTALL)


def reader(prompt, *, wrong=()):
    """Says what each text hints at; in a group it gets some texts wrong."""
    said = {key: "negative" if "negative" in text else "positive" for key, text in BLOCK.findall(prompt)}
    if not said:
        return "negative" if "hinted negative" in prompt else "positive"
    texts = dict(BLOCK.findall(prompt))
    others = {"negative": "positive", "positive": "negative"}
    return "\n".join(f"{key}: {others[label] if texts[key] in wrong else label}" for key, label in said.items())


GROUPS = {**ASK, "hints": ["none"], "fusion": "replace", "max_rows": 200, "groups": (1, 10)}


def test_groups_are_taken_where_they_cost_less_and_are_shown_to_lose_next_to_nothing():
    texts, labels = rows(200)
    model = CountingChat(function=reader)
    search = tune_hints(SCORER, model, texts, labels, **GROUPS)
    assert model.sizes[:2] == [200, 20]
    assert (search.best.group, search.best.name) == (10, "no hints, groups of 10, replace")
    assert search.saving == 1 - search.best.tokens / search.plain.tokens > 0.5
    said = "groups of 10 was alone right on 0 rows and alone wrong on 0. So it may lose about 1.3 % of the answers"
    assert said in search.meaning
    assert search.headings[:4] == ("hints", "exemplars", "group", "fusion")
    assert len({*map(len, [search.headings, *search.table()])}) == 1
    once = tune_hints(SCORER, CountingChat(function=reader), texts, labels, **{**GROUPS, "groups": None}, group=10)
    assert [cell.way for cell in once.cells] == [("none", 0, 10)], "a task that groups is asked as it is"


@pytest.mark.parametrize(("wrong", "taken"), [(0, 10), (1, 1), (32, 1)])
def test_groups_that_may_lose_too_much_are_left_out_and_what_they_may_lose_is_said(wrong, taken):
    texts, labels = rows(200)
    model = CountingChat(function=lambda prompt: reader(prompt, wrong=texts[:wrong]))
    search = tune_hints(SCORER, model, texts, labels, **GROUPS)
    assert search.best.group == taken
    lost = Comparison(better=0, worse=wrong, p=1.0).may_lose(200)
    assert (lost <= MOST_LOST) == (taken == 10)
    assert (
        f"alone wrong on {wrong}. So it may lose about {100 * lost:.1f} % of the answers, and 2.0 % are allowed."
        in search.meaning
    )
    assert ("are allowed. That is too much." in search.meaning) == (taken == 1)


def test_groups_that_cost_no_less_or_whose_cost_is_not_known_are_left_out():
    texts, labels = rows(200)
    alone, grouped = tune_hints(SCORER, CountingChat(function=reader), texts, labels, **GROUPS).cells
    assert best_way([alone, grouped]).best is grouped
    assert best_way([alone, replace(grouped, tokens_a_row=alone.tokens_a_row)]).best is alone
    assert best_way([alone, replace(grouped, tokens_a_row=None)]).best is alone
    # A model that answers nobody in a group is asked about each row once more, and that counts.
    model = CountingChat(function=lambda prompt: "what?" if BLOCK.search(prompt) else reader(prompt))
    search = tune_hints(SCORER, model, texts, labels, **GROUPS)
    assert (search.best.group, search.cells[1].accuracy.value) == (1, 1.0)
    assert "It costs no less." in search.meaning


def test_groups_are_not_asked_for_where_nothing_could_be_shown_or_no_row_has_a_partner():
    texts, labels = rows(132)
    model = CountingChat(function=reader)
    search = tune_hints(SCORER, model, texts, labels, **GROUPS)
    assert model.sizes == [132]
    assert (
        "groups, which take at least 133 rows to be compared with single rows; got 132 with max_rows=200"
        in search.untried
    )
    texts, labels = rows(200)
    own = [("system", "{instruction}\n{labels}\nIt is about {input}"), ("human", "<input>\n{input}\n</input>")]
    model = CountingChat(function=reader)
    search = tune_hints(SCORER, model, texts, labels, **GROUPS, template=ChatPromptTemplate.from_messages(own))
    assert model.sizes == [200]
    assert "no hints, groups of 10, since no two prompts begin alike" in search.untried


def test_by_chance_a_group_that_loses_more_is_seldom_taken():
    """Where it truly loses 2 %, it is shown to lose no more in about one of 20 draws."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(400, [0.02, 0.04, 0.94], size=2000)
    shown = [Comparison(better=b, worse=w, p=1.0).may_lose(400) <= MOST_LOST for b, w, _ in draws.tolist()]
    assert 0.03 <= np.mean(shown) <= 0.07


@pytest.mark.parametrize("tests", [1, 6])
@pytest.mark.parametrize("most_lost", [0.005, 0.02, 0.1])
def test_with_fewer_rows_nothing_can_be_shown(most_lost, tests):
    fewest = fewest_to_compare(most_lost, tests=tests)
    same = Comparison(better=0, worse=0, p=1.0)
    assert same.may_lose(fewest, tests=tests) <= most_lost < same.may_lose(fewest - 1, tests=tests)


def test_several_ways_in_groups_take_more_rows():
    texts, labels = rows(200)
    model = CountingChat(function=reader)
    search = tune_hints(SCORER, model, texts, labels, **{**GROUPS, "hints": ["none", "soft"], "groups": (1, 5, 10)})
    assert model.sizes == [200, 200]
    fewest = fewest_to_compare(tests=4)
    assert any(f"take at least {fewest} rows" in what and "max_rows=200" in what for what in search.untried)


def test_without_max_rows_groups_are_measured():
    texts, labels = rows(500)
    settings = {name: value for name, value in GROUPS.items() if name != "max_rows"}
    search = tune_hints(SCORER, CountingChat(function=reader), texts, labels, **settings)
    assert (len(search.rows), search.best.group) == (400, 10)
    once = tune_hints(SCORER, CountingChat(function=reader), texts, labels, **{**settings, "groups": None})
    assert len(once.rows) == 100


def test_a_model_that_tells_no_tokens_is_not_asked_in_groups():
    texts, labels = rows(200)
    asked = []

    def untold(prompt):
        asked.append(prompt.to_string())
        return reader(asked[-1])

    search = tune_hints(SCORER, RunnableLambda(untold), texts, labels, **GROUPS)
    assert not any(map(BLOCK.search, asked))
    assert search.untried == ("no hints, groups of 10, since the model does not tell its tokens",)


def worded(cells, n=400, comparison=None):
    """What is said of these cells, the first of which is taken."""
    said = HintSearch(
        cells=tuple(cells),
        best=cells[0],
        comparison=comparison,
        rows=tuple(range(n)),
        predictions=(Prediction(label="positive", confidence=0.5),) * n,
        small_accuracy=Estimate.of(n // 2, n),
    )
    return said.meaning


@pytest.fixture(scope="module")
def measured():
    """A way without groups and one with groups, on 400 rows."""
    texts, labels = rows(400)
    return tune_hints(SCORER, CountingChat(function=reader), texts, labels, **{**GROUPS, "max_rows": 400}).cells


def test_a_dearer_way_that_is_better_beyond_chance_is_not_said_to_be_like_chance(measured):
    alone, grouped = measured
    flags = [True] * 400
    for worse, said in (
        (8, "8 more, which is beyond chance (p = 0.0078). But it costs more."),
        (2, "2 more, which is not told"),
    ):
        right = tuple([False] * worse + flags[worse:])
        meaning = worded([replace(grouped, right=right), replace(alone, right=tuple(flags))])
        assert said in meaning
    # On many rows, eight are little.
    n, few = 4000, [False] * 8 + [True] * 3992
    meaning = worded([replace(grouped, right=tuple(few)), replace(alone, right=(True,) * n)], n)
    assert "But it costs more, and the loss is within what is allowed." in meaning


def test_what_is_better_than_the_cheapest_is_named(measured):
    alone, grouped = measured
    better = Comparison(better=9, worse=0, p=0.004)
    assert "Without groups, no hints, replace is better than the cheapest" in worded(
        [grouped, alone], comparison=better
    )
    assert "It is better than the cheapest" in worded([alone, grouped], comparison=better)
    assert "It is better than the cheapest" in worded([grouped], comparison=better), "only groups were tried"


def test_a_reason_is_given_where_groups_are_refused(measured):
    alone, grouped = measured
    assert "are allowed. Its cost is not known." in worded([alone, replace(grouped, tokens_a_row=None)])
    assert "are allowed. It costs no less." in worded([alone, replace(grouped, tokens_a_row=alone.tokens_a_row)])


def test_rows_without_a_confidence_are_asked_about_first_and_integer_labels_stay_integers():
    scorer = RunnableScorer(run=small, labels=[0, 1])
    records = [{"input": f"t{n}", "prediction": Prediction(label=n % 2, confidence=0.5 + n / 100)} for n in range(30)]
    records[29] = {"input": "t29", "prediction": Prediction(label=None)}
    model = CountingChat(function=lambda prompt: str(int(re.search(r"t(\d+)\n", prompt)[1]) % 2))
    search = tune_hints(scorer, model, records, [n % 2 for n in range(30)], **ASK, hints=["none"], max_rows=5)
    assert search.rows == (0, 1, 2, 3, 29)
    assert search.best.answers == (0, 1, 0, 1, 1)
    assert search.best.fixed == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hints": ["loud"]}, r"hints=\['loud'\] but expected some of"),
        ({"hints": []}, r"hints=\[\]"),
        ({"hints": "soft"}, "hints='soft'"),
        ({"exemplars": (0, 4)}, "but no examples to choose from"),
        ({"exemplars": (-1,)}, "at least 0"),
        ({"exemplars": ()}, r"exemplars=\(\)"),
        ({"exemplars": 2}, "exemplars=2 but expected numbers of at least 0 in a list"),
        ({"groups": (0,)}, r"groups=\(0,\) but expected numbers of at least 1"),
        ({"groups": 10}, "groups=10"),
        ({"groups": (5, 10)}, "expected 1 among them"),
        ({"groups": (1, 10), "limits": Limits(deadline=9.0)}, "a deadline or a budget"),
        ({"groups": (10,), "limits": Limits(budget=Budget(max_tokens=9))}, "a deadline or a budget"),
        ({"fusion": "both"}, "fusion='both'"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"set_coverage": 2, "hints": ["hard"]}, "set_coverage=2"),
    ],
)
def test_strange_settings_are_refused_before_anything_is_asked(settings, message):
    records, truth = letters(30)
    model = CountingChat(function=view_of)
    with pytest.raises(ValueError, match=message):
        tune_hints(RunnableScorer(run=small, labels=LETTERS), model, records, truth, **{**ASK, **settings})
    assert not model.asked


def test_strange_rows_are_refused():
    model = CountingChat(function=view_of)
    with pytest.raises(InvalidInputError, match="1 labels"):
        tune_hints(SCORER, model, ["0.5 a", "0.6 b"], ["positive"], **ASK)
    with pytest.raises(InvalidInputError, match="at least one row"):
        tune_hints(SCORER, model, [], [], **ASK)
    with pytest.raises(InvalidInputError, match="names no labels"):
        tune_hints(RunnableScorer(run=small), model, ["0.5 a"], ["positive"], **ASK)


def test_columns_of_a_data_frame_are_taken():
    texts, labels = rows(40)
    frame = pd.DataFrame({"text": texts, "label": labels}, index=range(7, 7 + len(texts)))
    found = tune_hints(SCORER, CountingChat(function=view_of), frame["text"], frame["label"], **ASK)
    assert found.to_dict() == tune_hints(SCORER, CountingChat(function=view_of), texts, labels, **ASK).to_dict()

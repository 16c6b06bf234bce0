"""Rows that a chain was fitted or tuned on are counted and told where it is measured."""

from __future__ import annotations

import warnings

import pytest

from dsplus_chains import OverlapWarning, Prediction
from dsplus_chains.evaluation.measure import evaluate
from dsplus_chains.evaluation.overlap import overlap_of
from dsplus_chains.evaluation.report import write_report
from dsplus_chains.scoring import SeenTexts


def record(text, mark=None, *tiers):
    """A record of a chain, and of earlier small models in it."""
    flow = {
        "input": text,
        "prediction": Prediction(label="a", confidence=0.9, training=mark),
        "answer": "a",
        "source": "small",
    }
    return (
        {**flow, "tiers": [Prediction(label="a", confidence=0.5, training=tier) for tier in tiers]} if tiers else flow
    )


NEW = [record(f"new {row}") for row in range(8)]
FITTED, TUNED = "were fitted on by a small model", "were tuned on"
CASES = [
    ("all are new", NEW, [], []),
    ("one was fitted on", [*NEW, record("x", "seen")], [], [f"1 of 9 rows (11.1 %) {FITTED}"]),
    ("all were fitted on", [record("x", "seen")] * 3, [], [f"3 of 3 rows (100.0 %) {FITTED}"]),
    ("an earlier tier was fitted on it", [*NEW, record("x", None, "seen")], [], [f"1 of 9 rows (11.1 %) {FITTED}"]),
    ("both tiers were: it is one row", [*NEW, record("x", "seen", "seen")], [], [f"1 of 9 rows (11.1 %) {FITTED}"]),
    ("an earlier tier had not seen it", [record("x", None, None)], [], []),
    ("one was predicted out of fold", [record("x", "out_of_fold")], [], []),
    ("one was tuned on", [*NEW, record("x")], ["x"], [f"1 of 9 rows (11.1 %) {TUNED}"]),
    ("a near copy was tuned on", [*NEW, record("An X!")], ["  an x"], [f"1 of 9 rows (11.1 %) {TUNED}"]),
    ("others were tuned on", NEW, ["x", "y"], []),
    ("all were tuned on", NEW, [flow["input"] for flow in NEW], [f"8 of 8 rows (100.0 %) {TUNED}"]),
    (
        "fitted, and tuned",
        [record("x", "seen"), record("y"), record("z")],
        ["y", "z"],
        [f"1 of 3 rows (33.3 %) {FITTED}", f"2 of 3 rows (66.7 %) {TUNED}"],
    ),
]


@pytest.mark.parametrize(("records", "tuned", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_overlap_is_counted_and_told(records, tuned, told):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = evaluate(records, ["a"] * len(records), tuned_on=SeenTexts.of(tuned))
    heard = [str(warning.message) for warning in caught if warning.category is OverlapWarning]
    assert [text.partition(",")[0] for text in heard] == told
    assert set(heard) <= set(result.notes)


def test_what_no_chain_knows_is_not_guessed():
    assert overlap_of([{"answer": "a"}], None) == ()
    assert overlap_of([{"input": {"text": "x"}}], SeenTexts.of([{"text": "x"}])) != ()


def test_a_report_shows_the_overlap(tmp_path):
    with pytest.warns(OverlapWarning, match="fitted on"):
        result = evaluate([*NEW, record("x", "seen")], ["a"] * 9)
    write_report(result, tmp_path, title="A chain")
    assert "1 of 9 rows (11.1 %) were fitted on" in (tmp_path / "report.html").read_text()

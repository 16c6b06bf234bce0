"""A bundle knows its training and tuning texts. Commands tell of them, and guarantee nothing on them."""

from __future__ import annotations

import json

import pytest

COLUMNS = ("--text", "text", "--label", "label", "--large-column", "gpt", "-q")
NAMES = ("text", "label", "gpt")


def rows(n, *, start=0):
    """Rows whose texts are new."""
    return [
        (f"{word} toy number {number}", label, label)
        for number in range(start, start + n // 2)
        for word, label in (("good", "positive"), ("bad", "negative"))
    ]


SEEN = [("GOOD   phone!", "positive", "positive"), ("bad phone", "negative", "negative")]
CERTIFY = ("--objective", "max_risk", "--max-risk", "0.5")
TUNED = [
    # rows of the table, options, exit code, what is told
    (rows(40), (), 0, None),
    (rows(40), CERTIFY, 0, None),
    ([*rows(40), SEEN[0]], (), 0, "dsplus: warning: 1 of 41 tuning rows (2.4 %)"),
    ([*rows(40), SEEN[0]], CERTIFY, 2, "Got max_risk with 1 of 41 tuning rows (2.4 %) that trained the small model"),
    ([*rows(198), *SEEN], CERTIFY, 0, "dsplus: warning: 2 of 200 tuning rows (1.0 %)"),
    (SEEN * 10, (), 0, "dsplus: warning: 20 of 20 tuning rows (100.0 %)"),
    (SEEN * 10, CERTIFY, 2, "Got max_risk with 20 of 20 tuning rows"),
    (SEEN * 10, ("--max-risk", "0.5"), 2, "Got max_risk with 20 of 20 tuning rows"),
]


@pytest.mark.parametrize(("data", "options", "code", "told"), TUNED)
def test_tuning_on_training_rows_is_told_once_and_guarantees_nothing(fitted, table, dsplus, data, options, code, told):
    found, said = dsplus("tune", fitted, "--data", table("d.csv", NAMES, data), *COLUMNS, *options)
    assert found == code, said
    assert said.count("tuning rows (") == (told is not None), said
    assert told is None or told in said


def test_nothing_is_asked_where_a_guarantee_is_refused(fitted, table, dsplus, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    data = table("d.csv", NAMES, SEEN * 10)
    live = ("--large", "openai:gpt-x", "--base-url", server.base_url)
    code, said = dsplus("tune", fitted, "--data", data, *COLUMNS[:4], "-q", *live, *CERTIFY)
    assert (code, "Got max_risk with 20 of 20" in said) == (2, True), said
    assert server.asked == []


EVALUATED = [
    (rows(20, start=100), 0, 0),
    (rows(20), 0, 20),
    ([*rows(20, start=100), SEEN[0]], 1, 0),
    ([*rows(2), *rows(20, start=100), *SEEN], 2, 2),
]


@pytest.mark.parametrize(("data", "seen", "tuned"), EVALUATED)
def test_measuring_on_known_rows_is_told(fitted, table, dsplus, tmp_path, data, seen, tuned):
    dsplus("tune", fitted, "--data", table("d.csv", NAMES, rows(40)), *COLUMNS)
    numbers = tmp_path / "e.json"
    code, said = dsplus("evaluate", fitted, "--data", table("e.csv", NAMES, data), *COLUMNS, "--json", numbers)
    assert code == 0, said
    notes = " ".join(json.loads(numbers.read_text())["notes"])
    for number, what in ((seen, "were fitted on by a small model"), (tuned, "were tuned on")):
        assert (f"{number} of {len(data)} rows" in said and what in said) == (number > 0), said
        assert (what in notes) == (number > 0)

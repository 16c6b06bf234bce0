"""`dsplus bootstrap`, `learn`, `label` and `watch`: from logs to a bundle, and from its traffic to a better one."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import sys
from contextlib import closing
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from fakes import NamedEncoder

from dsplus_chains import Bundle, ExemplarSelector, ExperienceStore, SmallModelScorer, tune_threshold
from dsplus_chains.cli import app
from dsplus_chains.learning import bootstrap, record_answers
from dsplus_chains.learning.retuning import Aim as AimName
from dsplus_chains.schema import LargeAnswer

LABELS = ["card", "loan", "rent"]
WORDS = {label: [f"{label}{number}" for number in range(40)] for label in LABELS}
QUIET = ("-q",)


def rows(n, seed, right=0.95):
    """Texts, their labels, and what a large model says that is mostly right."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        label = LABELS[rng.integers(3)]
        words = [*rng.choice(WORDS[label], 2), rng.choice(WORDS[LABELS[rng.integers(3)]])]
        said = label if rng.random() < right else LABELS[rng.integers(3)]
        found.append((f"{' '.join(words)} {seed}x{number}", label, said))
    return found


@pytest.fixture
def logs(table):
    return table(
        "logs.csv", ["body", "truth", "gpt"], [*rows(120, 1), ("", "card", "card"), ("card1 what", "card", "")]
    )


@pytest.fixture(scope="module")
def bundle():
    """A tuned bundle of 120 labelled rows. A linear model learns fastest."""
    texts, labels, said = (list(column) for column in zip(*rows(120, 1), strict=True))
    encoder = NamedEncoder()
    scorer = SmallModelScorer.fit(texts, labels, encoder=encoder, model="linear")
    tuned = tune_threshold(scorer.out_of_fold, labels, said, texts=texts, out_of_fold=True, fusion="posterior")
    examples = ExemplarSelector.fit(texts, labels, encoder=encoder, predictions=scorer.out_of_fold)
    return Bundle(scorer=scorer, tuned=tuned, instruction="Which?", examples=examples)


@pytest.fixture
def start(bundle, tmp_path):
    bundle.save(tmp_path / "start")
    return tmp_path / "start"


def decide(bundle, path, texts, *, every=1, **view):
    """Records decisions, of which the large model makes each second one, and so on."""
    scored = bundle.scorer.batch([text for text, _, _ in texts])
    with ExperienceStore(path) as store:
        for number, ((text, _, said), record) in enumerate(zip(texts, scored, strict=True)):
            small = record["prediction"].model_copy(update=view)
            told = {"input": text, "prediction": small, "model_hash": bundle.scorer.model_hash}
            large = {"large": LargeAnswer(value=said), "source": "large", "answer": said}
            store.record({**told, **({"source": "small", "answer": "card"} if number % every else large)})
    return path


@pytest.fixture
def traffic(bundle, tmp_path):
    """A file of 80 decisions, half of them the large model's."""
    return decide(bundle, tmp_path / "e.sqlite", rows(80, 2), every=2)


def labels_in(path):
    with ExperienceStore(path) as store:
        return {row.text: row.gold for row in store.rows() if row.gold_origin == "label"}


def test_without_labels_all_figures_are_agreement(logs, dsplus, tmp_path):
    out = tmp_path / "b"
    given = ("--text", "body", "--answer", "gpt", "--instruction", "Which?", "--out", out, *QUIET)
    code, said = dsplus("bootstrap", logs, *given)
    assert code == 0, said
    assert "121 rows have a text; 1 others were left out, the first because of this: " in said
    assert "1 of them have no answer that can be read" in said
    assert "Fitted on 120 answers of the large model with 3 labels" in said
    assert "agree with the large model, which may be wrong" in said
    assert "accura" not in said
    bundle = Bundle.load(out)
    assert bundle.tuned.against == "large_answers"
    assert bundle.task.instruction == "Which?"
    assert set(bundle.scorer.labels) == set(LABELS)


@pytest.mark.parametrize("n_gold", [0, 60])
def test_what_an_app_has_answered_becomes_a_bundle(dsplus, tmp_path, n_gold):
    told = rows(120, 1)
    with ExperienceStore(tmp_path / "answers.sqlite") as store:
        app = record_answers({text: said for text, _, said in told}.__getitem__, store)
        app.batch([text for text, _, _ in told])
        store.add_gold([text for text, _, _ in told[:n_gold]], [label for _, label, _ in told[:n_gold]])
        bundle = bootstrap(store, instruction="Which?")
    given = ("bootstrap", tmp_path / "answers.sqlite", "--instruction", "Which?", "--out", tmp_path / "b", *QUIET)
    code, said = dsplus(*given)
    assert code == 0, said
    assert "120 decisions are kept; 0 of them have no answer of the large model" in said
    wanted = (
        "every figure is agreement with the large model" if not n_gold else "Fitted on 60 labelled rows with 3 labels"
    )
    assert wanted in said
    assert Bundle.load(tmp_path / "b").tuned == bundle.tuned


def test_the_answers_of_logs_are_kept_to_be_labelled(logs, dsplus, typed, tmp_path):
    out, kept = tmp_path / "b", tmp_path / "kept.sqlite"
    given = ("--text", "body", "--answer", "gpt", "--instruction", "Which?", "--out", out, "--experience", kept, *QUIET)
    code, said = dsplus("bootstrap", logs, *given)
    assert code == 0, said
    with ExperienceStore(kept) as store:
        assert len(store) == 120
        assert all(row.text and row.large in LABELS for row in store.rows())
    code, said = typed(("label", out, "--experience", kept, "--n", 2, *QUIET), "1\n2\n")
    assert (code, len(labels_in(kept))) == (0, 2), said
    assert "Given now: 2. In all, 2 labels are in" in said
    code, said = typed(("label", out, "--experience", kept, "--n", 1, *QUIET), "1\n")
    assert "Given now: 1. In all, 3 labels are in" in said
    code, said = dsplus("learn", out, "--experience", kept, "--out", tmp_path / "next", *QUIET)
    assert (code, f"give them by --gold FILE, or take `dsplus bootstrap {kept}`" in said) == (2, True), said
    assert dsplus("bootstrap", kept, "--instruction", "Which?", "--out", out, *QUIET)[0] == 0


def test_a_full_disk_under_the_kept_answers_is_one_line(logs, dsplus, tmp_path, monkeypatch):
    def full(*_args, **_settings):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ExperienceStore, "answered", full)
    given = ("--text", "body", "--answer", "gpt", "--instruction", "Which?", "--out", tmp_path / "b", *QUIET)
    code, said = dsplus("bootstrap", logs, *given, "--experience", tmp_path / "kept.sqlite")
    assert (code, "kept.sqlite, which SQLite cannot go on with (database or disk is full)" in said) == (2, True), said


def test_the_columns_of_the_labels_may_be_called_as_those_of_the_logs(table, dsplus, tmp_path):
    numbers = {"card": 1, "loan": 2, "rent": 3}
    told = [(text, numbers[label], numbers[said]) for text, label, said in rows(150, 1)]
    log = table("log.csv", ["body", "topic"], [(text, said) for text, _, said in told])
    gold = table("gold.csv", ["body", "topic"], [(text, label) for text, label, _ in told[:90]])
    given = (log, "--text", "body", "--answer", "topic", "--gold", gold, "--instruction", "Which?", *QUIET)
    code, said = dsplus("bootstrap", *given, "--out", tmp_path / "b", "--labels", "3,2,1")
    assert code == 0, said
    assert "Fitted on 90 labelled rows with 3 labels, and on 60 others, of which 60 have an answer" in said
    bundle = Bundle.load(tmp_path / "b")
    assert bundle.scorer.labels == (3, 2, 1)
    assert bundle.tuned.against == "labels"
    code, said = dsplus("bootstrap", *given, "--out", tmp_path / "b", "--labels", "1,2,3,4")
    assert (code, "no labelled row of ['4']" in said) == (2, True), said


def test_learn_writes_a_bundle_and_says_whether_it_may_be_used(start, traffic, dsplus, tmp_path):
    given = ("learn", start, "--experience", traffic, "--json", tmp_path / "v.json", *QUIET)
    code, said = dsplus(*given, "--out", tmp_path / "next")
    verdict = json.loads((tmp_path / "v.json").read_text())
    assert code == (0 if verdict["promoted"] else 4), said
    assert ("It is promoted" if verdict["promoted"] else "It is not promoted: ") in said
    assert all(reason in said for reason in verdict["reasons"])
    assert "Learned from 120 labelled rows, of which 0 have an answer" in said
    assert "from 80 others, of which 40 have one" in said
    learned = Bundle.load(tmp_path / "next")
    assert learned.metadata["learned"]["large_answers"] == 40
    assert learned.tuned.meaning in said
    _, strict = dsplus(*given, "--look", "50", "--out", tmp_path / "next")
    assert json.loads((tmp_path / "v.json").read_text())["level"] < verdict["level"]
    assert "Learned from" in strict


def test_what_is_better_beyond_chance_is_promoted(bundle, start, dsplus, tmp_path):
    much = decide(bundle, tmp_path / "much.sqlite", rows(600, 2))
    code, said = dsplus("learn", start, "--experience", much, "--out", tmp_path / "next", *QUIET)
    assert (code, "It is promoted: nothing speaks against it." in said) == (0, True), said
    assert "On 120 labelled rows that neither model had seen, accuracy goes from" in said


def test_what_cannot_be_judged_is_written_but_not_promoted(start, traffic, table, dsplus, tmp_path):
    others = table("gold.csv", ["text", "label"], [(text, label) for text, label, _ in rows(100, 9)])
    given = ("learn", start, "--experience", traffic, "--gold", others, "--out", tmp_path / "next", *QUIET)
    code, said = dsplus(*given, "--json", tmp_path / "v.json")
    verdict = json.loads((tmp_path / "v.json").read_text())
    assert (verdict["promoted"], verdict["look"]) == (False, 1)
    assert "it cannot be judged: Got 0 labelled texts" in verdict["reasons"][0]
    assert (code, "cannot be judged: Got 0 labelled texts" in said) == (4, True), said
    assert ("learn with --gold from" in said, "gold=" in said) == (True, False), said
    assert "The threshold stays. There are too few labelled rows for another one." in said
    assert Bundle.load(tmp_path / "next").metadata["rows"] == 100


def test_labelled_rows_may_come_from_a_file(start, traffic, table, dsplus, tmp_path):
    gold = table("gold.csv", ["text", "label"], [(text, label) for text, label, _ in rows(100, 1)])
    given = ("learn", start, "--experience", traffic, "--gold", gold, "--aim", "accuracy", *QUIET)
    code, said = dsplus(*given, "--out", tmp_path / "next")
    assert code in (0, 4), said
    assert "Learned from 100 labelled rows" in said
    assert Bundle.load(tmp_path / "next").metadata["learned"]["aim"] == "accuracy"


def test_the_weight_of_reasons_goes_to_learn(start, traffic, dsplus, tmp_path):
    given = ("learn", start, "--experience", traffic, "--out", tmp_path / "next", *QUIET)
    code, said = dsplus(*given, "--rationale-weight", "1")
    assert (code, "rationale_weight=1.0 and a small model without a network" in " ".join(said.split())) == (2, True), (
        said
    )
    code, said = dsplus(*given, "--rationale-weight", "-1")
    assert (code, "--rationale-weight" in said) == (2, True), said


def test_the_aims_of_the_command_are_those_of_the_library():
    from dsplus_chains.cli.learn_command import Aim

    assert tuple(Aim) == get_args(AimName)


@pytest.mark.parametrize(("gain", "told"), [(0.25, "falls by 0.2500 nats"), (-0.022, "rises by 0.0220 nats")])
def test_a_loss_that_rises_does_not_fall_by_less_than_nothing(gain, told, capsys):
    from dsplus_chains.cli.learn_command import _judge
    from dsplus_chains.learning.judging import Judgement

    numbers = Judgement(n=9, accuracy_before=0.5, accuracy_after=0.5, gain=gain, p_value=0.5, level=0.05, harmed=())
    _judge(SimpleNamespace(judgement=numbers, promoted=True))
    assert told in capsys.readouterr().out


def asked(said):
    """The texts that were shown."""
    return [line.partition(": ")[2] for line in said.splitlines() if " of 4: " in line]


def test_labels_are_given_one_after_the_other_and_kept(start, traffic, typed):
    given = ("label", start, "--experience", traffic, "--n", "4", *QUIET)
    code, said = typed(given, "1\n\n9\nx\n2\nq\n")
    assert code == 0, said
    first = asked(said)
    assert len(first) == 4
    labels = Bundle.load(start).scorer.labels
    assert labels_in(traffic) == {first[0]: labels[0], first[2]: labels[1]}
    assert "2 labels are in" in said
    assert "Got '9' but expected a number from 1 to 3" in said
    assert "Got 'x' but" in said
    before, _, after = said.partition(first[0])
    assert "small model says" not in before  # no view is told before the answer
    assert after.index("> ") < after.index("The small model says")
    code, said = typed(given, "")  # the end of the input ends
    assert code == 0, said
    assert asked(said) == [first[1]]
    code, said = typed((*given[:4], "--n", "1000", *QUIET), "\n" * 100)
    assert not {first[0], first[2]} & {line.partition(": ")[2] for line in said.splitlines()}
    assert len(labels_in(traffic)) == 2


def test_lines_from_a_pipe_are_labels_one_after_the_other(start, traffic, monkeypatch, capsys):
    """In the locale C.UTF-8 of a container, click reads standard input through another stream."""
    piped = io.TextIOWrapper(io.BytesIO(b"1\n2\n\n3\nq\n"), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", piped)
    app(["label", str(start), "--experience", str(traffic), "--n", "9", *QUIET], standalone_mode=False)
    assert "3 labels are in" in capsys.readouterr().out
    assert sorted(labels_in(traffic).values()) == LABELS


def test_an_integer_is_typed_as_itself(tmp_path, typed):
    texts, labels, said = (list(column) for column in zip(*rows(120, 1), strict=True))
    stars = {"card": 5, "loan": 1, "rent": -2}
    scorer = SmallModelScorer.fit(texts, [stars[label] for label in labels], encoder=NamedEncoder(), model="linear")
    Bundle(scorer=scorer, instruction="How many?").save(tmp_path / "stars")
    with ExperienceStore(tmp_path / "e.sqlite") as store:
        for text, _, said in rows(9, 2):
            store.answered(text, stars[said])
    given = ("label", tmp_path / "stars", "--experience", tmp_path / "e.sqlite", *QUIET)
    code, said = typed(given, "5\n2\n-2\n1\nq\n")
    assert code == 0, said
    assert "-2\n1\n5\nType a number." in said
    assert "Got '2' but expected one of [-2, 1, 5]" in said
    assert sorted(labels_in(tmp_path / "e.sqlite").values()) == [-2, 1, 5]


@pytest.mark.parametrize(
    ("names", "lines", "given"),
    [
        (("2", "1", "10"), "2\n3\n10\n1\nq\n", ["2", "10", "1"]),  # texts, as a table of logs has them
        (("2", "other", "1.5"), "2\n1\n1.5\nq\n", ["2", "other", "1.5"]),
    ],
)
def test_a_label_that_is_written_as_a_number_is_typed_as_itself(tmp_path, typed, names, lines, given):
    texts, labels, _ = (list(column) for column in zip(*rows(120, 1), strict=True))
    named = dict(zip(LABELS, names, strict=True))
    scorer = SmallModelScorer.fit(texts, [named[label] for label in labels], encoder=NamedEncoder(), model="linear")
    Bundle(scorer=scorer, instruction="Which?").save(tmp_path / "b")
    with ExperienceStore(tmp_path / "e.sqlite") as store:
        for text, _, said in rows(9, 2):
            store.answered(text, named[said])
    code, said = typed(("label", tmp_path / "b", "--experience", tmp_path / "e.sqlite", *QUIET), lines)
    assert code == 0, said
    assert re.findall(r"> (\S+)\. The small model says", said) == given
    assert sorted(labels_in(tmp_path / "e.sqlite").values()) == sorted(given)


def test_a_skipped_input_shows_nothing_of_what_the_models_said(start, traffic, typed):
    code, said = typed(("label", start, "--experience", traffic, "--n", "4", *QUIET), "\n?\n\n")
    assert code == 0, said
    assert "says" not in said
    assert said.count("1  ") == 2  # at the start, and where it was asked for
    assert labels_in(traffic) == {}


def test_if_all_is_labelled_it_says_so(start, tmp_path, typed):
    with ExperienceStore(tmp_path / "none.sqlite") as store:
        store.record({"input": "visa", "prediction": None, "answer": "card", "source": "small"})
    code, said = typed(("label", start, "--experience", tmp_path / "none.sqlite", *QUIET), "")
    assert (code, "waits for a true label" in said) == (0, True), said


def test_watch_tells_what_has_changed(bundle, start, traffic, dsplus, tmp_path):
    code, said = dsplus("watch", start, "--experience", traffic, "--json", tmp_path / "w.json")
    assert code == 0, said
    told = json.loads((tmp_path / "w.json").read_text())
    assert (told["recent"], told["before"]) == (40, 40)
    for name in ("escalation rate", "mean confidence", "estimated error", "disagreement"):
        assert name in said
    assert "Nothing has changed by more than chance explains." in said
    decide(bundle, traffic, rows(60, 3), confidence=0.4)
    code, said = dsplus("watch", start, "--experience", traffic, "--window", "60")
    assert code == 0, said
    assert "The figure 'escalation rate' rises from 50.0 % to 100.0 %" in said
    assert "The figure 'mean confidence' falls" in said


@pytest.mark.parametrize(("command", "told"), [("watch", "Nothing has changed"), ("learn", "romoted")])
def test_what_was_found_is_shown_before_a_file_fails(start, traffic, dsplus, full_disk, tmp_path, command, told):
    out = ("--out", tmp_path / "next") if command == "learn" else ()
    full_disk("w.json")
    code, said = dsplus(command, start, "--experience", traffic, *out, "--json", tmp_path / "w.json")
    assert (code, "w.json: No space left on device" in said, told in said) == (2, True, True), said


@pytest.mark.parametrize("command", ["learn", "label", "watch"])
def test_a_missing_file_is_one_line_and_none_is_made(start, dsplus, tmp_path, command):
    more = ("--out", tmp_path / "next") if command == "learn" else ()
    code, said = dsplus(command, start, "--experience", tmp_path / "none.sqlite", *more)
    assert (code, "no such file" in said) == (2, True), said
    assert not (tmp_path / "none.sqlite").exists()
    pinned = dsplus(command, start, "--experience", tmp_path / "none.sqlite", *more, "--sha256", "0" * 64)
    assert (pinned[0], "do not use it" in pinned[1]) == (2, True), pinned[1]


@pytest.mark.parametrize("command", ["label", "learn", "watch"])
def test_a_damaged_file_is_one_line(start, dsplus, tmp_path, command):
    path = tmp_path / "e.sqlite"
    with ExperienceStore(path) as store:
        store.add_gold([f"text {number}" for number in range(500)], ["card"] * 500)
    with path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"damage" * 4096)
    out = ("--out", tmp_path / "next") if command == "learn" else ()
    code, said = dsplus(command, start, "--experience", path, *out)
    assert (code, "e.sqlite, which SQLite cannot go on with (database disk image is malformed)" in said) == (2, True), (
        said
    )


def test_what_the_user_can_mend_is_one_line(start, traffic, logs, dsplus, tmp_path):
    known, out = ("--experience", traffic), ("--out", tmp_path / "x", *QUIET)
    asked_for = ("--instruction", "Which?", *out)
    cases = [
        (("learn", start, *known, "--out", start), "the old bundle judges the new one"),
        (("learn", start, *known, "--gold", logs, *out), "'text'"),
        (("learn", start, *known, "--images", tmp_path, *out), "reads texts; leave it out"),
        (("watch", start, *known, "--alpha", "2"), "alpha=2.0 but expected a number between 0 and 1"),
        (("bootstrap", logs, "--answer", "gpt", "--text", "nothing", *asked_for), "'nothing'"),
        (("bootstrap", logs, *known, *asked_for), "name a new one"),
        (("bootstrap", logs, "--image", "i", "--experience", tmp_path / "n", *asked_for), "images by their hashes"),
        (("bootstrap", logs, "--gold", logs, *asked_for), "expected --gold-text and --gold-label"),
        (("bootstrap", logs, "--text", "body", "--answer", "body", *asked_for), "free text"),
        (("bootstrap", logs, "--text", "body", "--answer", "gpt", "--instruction", "?", "--out", logs), "for a bundle"),
    ]
    for given, told in cases:
        code, said = dsplus(*given)
        assert (code, told in said) == (2, True), (given, said)
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", ["bootstrap", "learn", "label", "watch"])
def test_help_has_examples(command, dsplus):
    code, said = dsplus(command, "--help")
    assert code == 0
    assert f"dsplus {command} " in said.replace("Usage: dsplus", "")


def test_what_is_written_damages_neither_the_experience_nor_a_bundle(start, traffic, table, dsplus, tmp_path):
    gold = table("gold.csv", ["text", "label"], [(text, label) for text, label, _ in rows(30, 1)])
    before, out = (traffic.read_bytes(), gold.read_bytes()), tmp_path / "next"
    given = ("learn", start, "--experience", traffic, "--gold", gold, "--out", out, *QUIET, "--json")
    for arguments, message in (
        ((*given, traffic), "input as the output"),
        ((*given, gold), "input as the output"),
        ((*given, out / "verdict.json"), "inside the bundle"),
        ((*given, start / "verdict.json"), "inside the bundle"),
        (("watch", start, "--experience", traffic, "--json", traffic), "input as the output"),
        (("watch", start, "--experience", traffic, "--json", start / "w.json"), "inside the bundle"),
    ):
        code, said = dsplus(*arguments)
        assert (code, message in said) == (2, True), (arguments, said)
        assert ((traffic.read_bytes(), gold.read_bytes()), out.exists()) == (before, False)
    Bundle.load(start)


def test_the_database_of_another_program_is_no_experience(start, dsplus, tmp_path):
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as shop:
        shop.execute("CREATE TABLE orders (id)")
    before = path.read_bytes()
    for command in ("watch", "label"):
        code, said = dsplus(command, start, "--experience", path)
        assert (code, "of another program" in said, path.read_bytes()) == (2, True, before), said

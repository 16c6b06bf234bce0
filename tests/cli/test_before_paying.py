"""Every option is checked before the first call is paid, and `--plan` says what the calls will be."""

from __future__ import annotations

import re

import pytest

COLUMNS = ("--text", "text", "--label", "label")
ROWS = [("good phone", "positive"), ("bad phone", "negative"), ("hm well", "positive"), ("hm bad", "negative")] * 10


@pytest.fixture
def live(table, server):
    data = table("dev.csv", ["text", "label"], ROWS)
    return ("--data", data, "--large", "openai:fake", "--base-url", server.base_url, "-q")


BAD_TUNING = [
    (("--objective", "max_risk"), "Got --objective 'max_risk' without a bound but expected --max-risk beside it"),
    (("--objective", "max_cost"), "without a bound but expected --max-cost beside it"),
    (("--objective", "max_escalation"), "without a bound but expected --max-escalation beside it"),
    (("--max-risk", "2"), "Got --max-risk 2.0 but expected a number in [0, 1]"),
    (("--max-risk", "nan"), "expected a number in [0, 1]"),
    (("--max-escalation", "-0.5"), "expected a number in [0, 1]"),
    (("--max-cost", "-1"), "expected a number of at least 0"),
    (("--max-cost", "inf"), "leave it out for no bound"),
    (("--max-risk", "0.1", "--delta", "0"), "expected a number between 0 and 1"),
    (("--delta", "1.5"), "expected a number between 0 and 1"),
    (("--large-cost", "-1"), "Got --large-cost -1.0 but expected numbers of at least 0"),
    (("--large-cost", "nan"), "expected numbers of at least 0"),
    (("--max-risk", "0.0001"), "the least risk that 40 rows can certify"),
    (("--max-risk", "0.1", "--fusion", "posterior"), "the least risk that 20 rows can certify"),
    (("--exemplars", "few"), "expected a number such as 4"),
    (("--exemplars", "-1"), "expected a number such as 4"),
    (("--max-tokens", "9", "--max-risk", "0.2"), "--max-tokens with --max-risk"),
    (("--json", "{tmp}"), "expected a file"),
    (("--json", "{tmp}/dev.csv/x.json"), "no folder"),
    (("--delimiter", "::"), "one character"),
    (("--encoding", "klingon"), "name of an encoding"),
    (("--label", "lable"), "no column 'lable'"),
    (("--timeout", "nan"), "--timeout"),
]


def test_tune_asks_nothing_with_a_bad_option(fitted, live, dsplus, server, tmp_path):
    for options, message in BAD_TUNING:
        code, said = dsplus("tune", fitted, *live, *COLUMNS, *(option.format(tmp=tmp_path) for option in options))
        assert code == 2, (options, said)
        assert message in " ".join(said.split()), (options, said)
        assert not server.asked, options


BAD_EVALUATION = [
    (("--json", "{tmp}"), "expected a file"),
    (("--json", "{tmp}/dev.csv/x.json"), "no folder"),
    (("--report", "{tmp}/dev.csv"), "expected a folder"),
    (("--report", "{tmp}/dev.csv/report"), "no folder"),
    (("--label", "lable"), "no column 'lable'"),
    (("--timeout", "0"), "--timeout"),
]

BAD_RUN = [
    (("--out", "{tmp}"), "expected .csv"),
    (("--out", "{tmp}/dev.csv/o.csv"), "no folder"),
    (("--out", "{tmp}/o.xlsx"), "expected .csv"),
    (("--max-fallback-rate", "nan"), "--max-fallback-rate"),
    (("--batch-size", "0"), "--batch-size"),
    (("--batch-size", "99999999999999999999"), "--batch-size"),
    (("--concurrency", "99999999999999999999"), "--concurrency"),
    (("--text", "txt"), "no column 'txt'"),
]


def test_evaluate_and_run_ask_nothing_with_a_bad_option(tuned, live, dsplus, server, tmp_path):
    bundle, given = tuned(), ("--text", "text", "--out", tmp_path / "out.csv")
    cases = [("evaluate", COLUMNS, *case) for case in BAD_EVALUATION] + [("run", given, *case) for case in BAD_RUN]
    for command, columns, options, message in cases:
        code, said = dsplus(command, bundle, *live, *columns, *(option.format(tmp=tmp_path) for option in options))
        assert code == 2, (options, said)
        assert message in " ".join(said.split()), (options, said)
        assert not server.asked, options


def foretold(said):
    found = re.search(r"The plan: ([\d,]+) calls of the large model and about ([\d,]+) tokens", said)
    assert found, said
    return tuple(int(number.replace(",", "")) for number in found.groups())


def unchanged(folder):
    return sorted((str(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


WAYS = [
    ("run",),
    ("run", "--batch-size", "7"),
    ("evaluate",),
    ("evaluate", "--no-baselines"),
    ("tune",),
    ("tune", "--hints", "none"),
    ("tune", "--hints", "auto"),
    ("tune", "--hints", "auto", "--exemplars", "auto", "--max-rows", "10"),
    ("tune", "--hints", "soft", "--exemplars", "2"),
    ("tune", "--objective", "max_escalation", "--max-escalation", "0.5"),
]


def test_a_plan_foretells_the_calls_and_makes_none(tuned, live, dsplus, server, tmp_path):
    bundle = tuned("good phone", "hm well")
    for command, *options in WAYS:
        places = (*COLUMNS, "--json", tmp_path / "numbers.json")
        if command == "run":
            places = ("--text", "text", "--out", tmp_path / f"out{len(options)}.csv")
        given = (command, bundle, *live, *places, *options)
        before = unchanged(tmp_path)
        code, said = dsplus(*given, "--plan")
        assert code == 0, said
        calls, tokens = foretold(said)
        assert not server.asked
        assert unchanged(tmp_path) == before
        assert 0 < calls < tokens
        code, said = dsplus(*given)
        assert code == 0, said
        asked = len(server.asked)
        assert asked == calls or (command == "run" and asked < calls), "a journal answers equal texts"
        length = sum(map(len, server.prompts)) * calls / asked
        assert length / 6 < tokens < length / 2, given
        server.asked.clear()
        server.prompts.clear()


def test_a_plan_of_a_run_leaves_out_what_the_journal_holds(tuned, live, dsplus, server, tmp_path):
    given = ("run", tuned("good phone", "hm well"), *live, "--text", "text", "--out", tmp_path / "out.csv")
    assert dsplus(*given)[0] == 0
    assert foretold(dsplus(*given, "--plan")[1]) == (0, 0)


def test_a_plan_needs_no_key_but_the_name_of_a_model(fitted, live, dsplus, table):
    data = live[1]
    given = ("tune", fitted, "--data", data, *COLUMNS, "--plan", "-q")
    assert foretold(dsplus(*given, "--large", "openai:gpt")[1])[0] == 40
    for options, message in (
        (("--large", "gpt"), 'expected "smollm2" or "openai:NAME"'),
        (("--large-column", "label"), "--plan with --large-column"),
    ):
        code, said = dsplus(*given, *options)
        assert (code, message in said) == (2, True), said


IDLE = [
    ("tune", ("--answers", "{tmp}/a.sqlite")),
    ("tune", ("--base-url", "http://localhost:1/v1")),
    ("tune", ("--max-rows", "5")),
    ("evaluate", ("--answers", "{tmp}/a.sqlite")),
    ("evaluate", ("--base-url", "http://localhost:1/v1")),
    ("evaluate", ("--no-baselines",)),
    ("run", ("--base-url", "http://localhost:1/v1")),
    ("run", ("--retry-fallbacks",)),
]


def test_what_has_no_effect_on_logged_answers_is_refused(fitted, table, dsplus, tmp_path):
    data = table("dev.csv", ["text", "label", "gpt"], [(text, label, label) for text, label in ROWS])
    for command, options in IDLE:
        places = ("--text", "text", "--out", tmp_path / "out.csv") if command == "run" else COLUMNS
        given = (command, fitted, "--data", data, *places, "--large-column", "gpt", "-q")
        code, said = dsplus(*given, *(option.format(tmp=tmp_path) for option in options))
        assert (code, f"Got {options[0]} with --large-column, which asks for nothing; leave it out" in said) == (
            2,
            True,
        ), said
    code, said = dsplus("tune", fitted, "--data", data, *COLUMNS, "--large", "smollm2", "--base-url", "http://l/v1")
    assert (code, "--base-url with the embedded model" in said) == (2, True), said


def test_a_plan_keeps_to_the_budget(fitted, live, dsplus, server):
    everything = foretold(dsplus("tune", fitted, *live, *COLUMNS, "--max-rows", "5", "--plan")[1])
    budget = everything[1] // 2
    some = foretold(dsplus("tune", fitted, *live, *COLUMNS, "--max-rows", "5", "--max-tokens", budget, "--plan")[1])
    assert some[0] < everything[0]
    assert some[1] <= budget
    assert not server.asked


@pytest.mark.parametrize("command", ["tune", "evaluate", "run"])
def test_a_plan_takes_a_pin_and_fetches_only_what_may_be_fetched(tuned, live, dsplus, tmp_path, monkeypatch, command):
    from dsplus_chains.encoding import sentence

    bundle, load, local = tuned("good phone", "hm well"), sentence.SentenceEncoder.from_pretrained, []

    def recording(*args, local_files_only, **kwargs):
        local.append(local_files_only)
        return load(*args, **kwargs)

    monkeypatch.setattr(sentence.SentenceEncoder, "from_pretrained", staticmethod(recording))
    places = ("--text", "text", "--out", tmp_path / "out.csv") if command == "run" else COLUMNS
    given = (command, bundle, *live, *places, "--plan")
    code, said = dsplus(*given, "--sha256", "0" * 64)
    assert (code, "do not use it" in said) == (2, True), said
    for options in ((), ("--allow-download",)):
        assert dsplus(*given, *options)[0] == 0
    assert local == [True, False]


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_is_one_that_all_libraries_take(table, dsplus, tmp_path, seed):
    data = table("dev.csv", ["text", "label"], ROWS)
    for given in (
        ("fit", "--data", data, *COLUMNS, "--out", tmp_path / "b"),
        ("bootstrap", data, "--instruction", "Which?", "--out", tmp_path / "b"),
        ("learn", tmp_path, "--experience", data, "--out", tmp_path / "b"),
        ("demo",),
    ):
        code, said = dsplus(*given, "--seed", seed)
        assert (code, "--seed" in said, (tmp_path / "b").exists()) == (2, True, False), said


def test_an_instruction_says_something(table, dsplus, tmp_path):
    data = table("dev.csv", ["text", "label"], ROWS)
    for given in (("fit", "--data", data, *COLUMNS), ("bootstrap", data, "--answer", "label")):
        code, said = dsplus(*given, "--out", tmp_path / "b", "--instruction", " ", "-q")
        assert (code, "Got --instruction ' ' but expected what to decide" in said) == (2, True), said
        assert not (tmp_path / "b").exists()

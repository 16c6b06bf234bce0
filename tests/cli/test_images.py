"""Tables with paths of images."""

from __future__ import annotations

import json
import shutil

import pytest
from command_line import read
from digits import PixelEncoder, digits, written
from openai_server import openai_server

from dsplus_chains import Bundle, ConfidenceBranch, ExperienceStore
from dsplus_chains.encoding import image, read_image

PIXELS, LABELS = digits(130)
LABELS = ["odd" if int(label) % 2 else "even" for label in LABELS]


@pytest.fixture(autouse=True)
def pixels(monkeypatch):
    """No weights: whatever encoder of images a command names, it is this one."""

    class NamedEncoder(PixelEncoder):
        recipe = {"kind": "image", "name": "pixels"}  # noqa: RUF012

    monkeypatch.setattr(image.ImageEncoder, "from_pretrained", staticmethod(lambda *_args, **_kwargs: NamedEncoder()))


@pytest.fixture
def tables(table, tmp_path):
    """Training rows, tuning rows, and a server that knows each image by its bytes."""
    (tmp_path / "seen").mkdir()
    paths = written(tmp_path / "seen", PIXELS)
    rows = [(f"seen/{path.name}", label, label) for path, label in zip(paths, LABELS, strict=True)]
    names = ["path", "label", "gpt"]
    return table("train.csv", names, rows[:40]), table("dev.csv", names, rows[40:]), paths


def test_fit_tune_evaluate_and_run(tables, dsplus, tmp_path, monkeypatch):
    train, dev, paths = tables
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    bundle, out = tmp_path / "digits", tmp_path / "out.csv"
    monkeypatch.chdir("/")  # paths are relative to the table
    code, said = dsplus("fit", "--data", train, "--image", "path", "--label", "label", "--out", bundle, "--quiet")
    assert code == 0, said
    common = (bundle, "--data", dev, "--image", "path", "--label", "label", "--large-column", "gpt", "--quiet")
    code, said = dsplus("tune", *common)
    assert code == 0, said
    code, said = dsplus("evaluate", *common, "--json", tmp_path / "result.json")
    assert code == 0, said
    assert json.loads((tmp_path / "result.json").read_text())["n"] == 90
    kept = (bundle / "bundle.json").read_text() + (bundle / "scorer" / "scorer.json").read_text()
    assert "seen/" not in kept
    with openai_server(lambda _: "odd") as server:
        large = ("--large", "openai:m", "--base-url", server.base_url, "--quiet")
        run = ("run", bundle, "--data", dev, "--image", "path", "--out", out, *large)
        code, said = dsplus(*run, "--plan")
        assert code == 0, said
        code, said = dsplus(*run)
        assert code == 0, said
        bodies = [json.loads(body) for body in server.taken()]
        rows = read(out)
        assert list(rows[0]) == ["path", "label", "gpt", "answer", "source", "confidence", "error"]
        deferred = [row for row in rows if row["source"] != "small"]
        assert len(bodies) == len(deferred) > 0
        assert {body["messages"][1]["content"][0]["type"] for body in bodies} == {"image_url"}
        shutil.copy(paths[0], paths[50])  # another image under an old name is another run
        code, said = dsplus(*run)
        assert (code, "another run" in said) == (2, True), said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "expected one of them"),
        (("--image", "path", "--text", "path"), "expected one of them"),
        (("--image", "nothing"), "no column 'nothing'"),
        (("--image", "label"), "row 1, column 'label': Got "),
        (("--image", "path", "--prompt", "{text}?", "--encoder", "some/model"), "a prompt is about a text"),
    ],
)
def test_columns_that_cannot_be_read(tables, dsplus, tmp_path, options, told):
    code, said = dsplus("fit", "--data", tables[0], "--label", "label", "--out", tmp_path / "digits", *options)
    assert (code, told in said) == (2, True), said


def test_a_bundle_says_what_it_reads(tables, dsplus, tmp_path):
    train, dev, paths = tables
    bundle = tmp_path / "digits"
    assert dsplus("fit", "--data", train, "--image", "path", "--label", "label", "--out", bundle, "-q")[0] == 0
    asked = (bundle, "--data", dev, "--label", "label", "--large-column", "gpt", "-q")
    for command in ("tune", "evaluate"):
        code, said = dsplus(command, *asked, "--text", "path")
        assert (code, "the small model reads images" in said) == (2, True), said
    paths[60].unlink()
    code, said = dsplus("tune", *asked, "--image", "path")
    assert (code, "row 21, column 'path'" in said, "no file is there" in said) == (2, True, True), said


def test_bootstrap_learn_watch_and_label(tables, dsplus, typed, tmp_path):
    """From logged answers to a bundle, and from its traffic to the next one."""
    _, dev, paths = tables
    start, after, kept = tmp_path / "start", tmp_path / "after", tmp_path / "decisions.sqlite"
    told = ("--instruction", "Odd or even?", "--out", start, "--quiet")
    columns = ("--image", "path", "--answer", "gpt")
    code, said = dsplus("bootstrap", dev, *columns, "--gold", dev, "--gold-label", "label", *told)
    assert (code, "Fitted on 90 labelled rows with 2 labels" in said) == (0, True), said
    bundle = Bundle.load(start)
    truth = dict(zip(map(str, paths), LABELS, strict=True))
    with ExperienceStore(kept) as store:
        chain = bundle.scorer | ConfidenceBranch(large=truth.__getitem__, threshold=None, experience=store)
        chain.batch([str(path) for path in paths[:80]])
    given = ("learn", start, "--experience", kept, "--gold", dev, "--gold-text", "path", "--out", after, "--quiet")
    code, said = dsplus(*given)
    assert (code, "Got --images None but the small model reads images; name the folder" in said) == (2, True), said
    code, said = dsplus(*given, "--images", tmp_path / "seen")
    assert code in (0, 4), said
    assert "Learned from 90 labelled rows, of which 40 have an answer of the large model, and from 40 others" in said
    assert Bundle.load(after).scorer.modality == "image"
    code, said = dsplus("bootstrap", dev, *columns, "--text", "path", *told)
    assert (code, "expected one of them" in said) == (2, True), said
    code, said = dsplus("watch", start, "--experience", kept)
    assert (code, "The last 40 decisions" in said, "escalation rate" in said) == (0, True, True), said
    given = ("label", start, "--experience", kept, "--n", "2", "--quiet")
    code, said = dsplus(*given)
    assert (code, "Got --images None but the small model reads images; name the folder" in said) == (2, True), said
    (tmp_path / "empty").mkdir()
    code, said = dsplus(*given, "--images", tmp_path / "empty")
    assert (code, "keeps the hashes of images" in said) == (2, True), said
    code, said = typed((*given, "--images", tmp_path / "seen"), "1\n\n")
    assert code == 0, said
    shown = [line.partition(": ")[2] for line in said.splitlines() if " of 2: " in line]
    assert set(shown) <= set(map(str, paths[:40]))  # the others have a label
    with ExperienceStore(kept) as store:
        labelled = [row for row in store.rows() if row.gold_origin == "label"]
    assert [row.text for row in labelled] == [read_image(shown[0])]
    assert labelled[0].gold == bundle.scorer.labels[0]

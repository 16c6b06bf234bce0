"""The page itself: well formed, readable on any screen, with words for what is drawn."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dsplus_chains.evaluation.label_confusion import confusion_table, count_confusions
from dsplus_chains.evaluation.measure import evaluate
from dsplus_chains.evaluation.report import write_report
from dsplus_chains.schema import LargeAnswer, Prediction

pytest.importorskip("matplotlib")

VOID = {"meta", "br", "hr", "img", "path", "use", "rect", "line"}


class _Page(HTMLParser):
    """All elements as (tag, attributes, text), with a check that each one is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append([tag, dict(attrs), ""])
        if tag != "meta":
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]


def evaluation(n=300, labels=("a", "</td><script>b</script>", "card_payment_fee_charged"), text="good & <b>bad</b>"):
    rng = np.random.default_rng(1)
    records, large, true = [], [], []
    for _ in range(n):
        right, wrong = rng.permutation(len(labels))[:2]
        confidence = float(rng.uniform(0.4, 1))
        small = labels[right if rng.random() < confidence else wrong]
        answer = labels[right if rng.random() < 0.8 else wrong]
        large.append(answer)
        true.append(labels[right])
        flow = {"input": text, "prediction": Prediction(label=small, confidence=confidence)}
        asked = {"answer": answer, "source": "large", "large": LargeAnswer(value=answer)}
        records.append(flow | (asked if confidence < 0.7 else {"answer": small, "source": "small"}))
    return evaluate(records, true, large_answers=large, threshold=0.7)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_report(evaluation(), tmp_path_factory.mktemp("report"), title="A & <b>")


@pytest.fixture(scope="module")
def text(files):
    return files.html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return _Page(text)


def test_the_page_is_well_formed_and_each_id_is_there_once(page, text):
    assert [attributes["lang"] for attributes, _ in page.all("html")] == ["en"]
    ids = [attributes["id"] for _, attributes, _ in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)
    assert not page.all("script")
    assert page.all("title")[0][1] == "A & <b>"


def test_it_fits_a_small_screen_and_a_dark_one(page, text):
    (viewport,) = [attributes for attributes, _ in page.all("meta") if attributes.get("name") == "viewport"]
    assert viewport["content"] == "width=device-width, initial-scale=1"
    assert "color-scheme:light dark" in text
    assert "prefers-color-scheme:dark" in text
    body = text.partition("</style>")[2]
    assert not re.search(r"#(?:000000|ffffff|e4e4e4)", body)  # ink and paper of the plots are those of the page


def test_each_plot_says_what_it_shows(page, files):
    plots = page.all("svg")
    assert len(plots) == 3
    told = {
        attributes["id"]: text for tag in ("title", "desc") for attributes, text in page.all(tag) if "id" in attributes
    }
    for attributes, _ in plots:
        assert attributes["role"] == "img"
        assert all(told[name] for name in attributes["aria-labelledby"].split())
    alts = re.findall(r"!\[(.*?)\]\(.*?\.svg\)", files.markdown.read_text(encoding="utf-8"))
    assert len(alts) == 3
    assert all(len(alt.split()) > 5 for alt in alts)


def test_each_point_of_the_curve_tells_its_threshold(page, text):
    result = evaluation()
    pointed = [said for _, said in page.all("title") if said.startswith("threshold ")]
    assert len(pointed) == len(result.curve)
    assert pointed[0].startswith("threshold ask always: asked 100.0 %, right ")
    assert pointed[-1].startswith("threshold 0: asked 0.0 %, right ")
    assert "<h2>Thresholds</h2>" in text


def test_a_label_is_not_broken_and_a_long_text_is_folded(tmp_path):
    long = "<i>" + "x" * 5_000
    page = _Page(write_report(evaluation(40, text=long), tmp_path).html.read_text(encoding="utf-8"))
    folds = [said for _, said in page.all("summary")]
    assert folds
    assert max(map(len, folds)) < 200
    assert long in [said for _, said in page.all("details")]
    cells = [(attributes, said) for attributes, said in page.all("td") if said == "card_payment_fee_charged"]
    assert cells
    assert all("class" not in attributes for attributes, _ in cells)
    style = page.all("style")[0][1]
    assert re.search(r"th,td\{[^}]*overflow-wrap:normal", style)  # only running text may break anywhere
    assert re.search(r"\.prose\{overflow-wrap:anywhere", style)


def test_the_terms_on_the_page_are_explained_there(page):
    cells = [said for _, said in page.all("td")]
    measures = {"expected calibration error", "Brier score", "break-even escalation rate", "threshold", "oracle"}
    for name in measures:
        assert cells.count(name) >= 2, name  # where it is measured, and where it is explained


def test_the_matrix_adds_up():
    result = evaluation()
    header, rows = confusion_table(result.confusions, most=15)
    assert sum(int(cell) for row in rows for cell in row[1:]) == result.n
    right = sum(int(row[header.index(row[0])]) for row in rows)
    assert right / result.n == pytest.approx(result.accuracy)
    for report in result.per_label:
        (row,) = [row for row in rows if row[0] == str(report.label)]
        assert sum(map(int, row[1:])) == report.n


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_what_the_matrix_does_not_name_it_adds_up(most):
    labels = ["a", "b", "c", "d", "d", "d", True, 1]
    answers = ["a", "c", "b", None, "strange", "d", 1, True]
    header, rows = confusion_table(count_confusions(labels, answers), most=most)
    assert all(len(row) == len(header) for row in rows)
    assert len(header) <= most + 2
    assert sum(int(cell) for row in rows for cell in row[1:]) == len(labels)


def test_the_matrix_tells_true_from_one():
    header, rows = confusion_table(count_confusions([True, 1, 1], [1, 1, True]), most=9)
    assert header == ["label", "True", "1"]
    assert rows == [["True", "0", "1"], ["1", "1", "1"]]


def test_half_of_a_character_costs_no_report(tmp_path):
    sure = Prediction(label="ham", confidence=0.9)
    record = {"input": "x \ud83d", "prediction": sure, "answer": "ham", "source": "fallback", "error": "E: \ud83d"}
    files = write_report(evaluate([record] * 4, ["spam"] * 4), tmp_path / "report")
    assert "E: " in files.html.read_text(encoding="utf-8")


def test_an_answer_that_holds_a_list_is_counted_as_it_is_shown():
    found = count_confusions(["a", "a"], [("b", ["c"]), "a"])
    assert [(pair.answer, pair.n) for pair in found] == [("('b', ['c'])", 1), ("a", 1)]

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from dsplus_chains.evaluation.measure import evaluate
from dsplus_chains.evaluation.report import summary, write_report
from dsplus_chains.schema import ImageInput, LargeAnswer, Prediction, SubtaskResult


def evaluation(n=60):
    rng = np.random.default_rng(1)
    records, large = [], []
    for row in range(n):
        confidence = float(rng.uniform(0.5, 1))
        small = "a" if rng.random() < confidence else "b"
        answer = "a" if rng.random() < 0.8 else "<script>b</script>"
        large.append(answer)
        flow = {"input": f"<b>row</b> | {row}\nnext", "prediction": Prediction(label=small, confidence=confidence)}
        asked = {"answer": answer, "source": "large", "large": LargeAnswer(value=answer)}
        records.append(flow | (asked if confidence < 0.7 else {"answer": small, "source": "small"}))
    return evaluate(records, ["a"] * n, large_answers=large, threshold=0.7)


class _Resources(HTMLParser):
    found: list[str]

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in {"src", "href", "xlink:href"} and value]
        if tag in {"script", "link", "iframe"}:
            self.found.append(tag)


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    files = write_report(evaluation(), tmp_path / "new" / "folder")
    page = files.html.read_text(encoding="utf-8")
    parser = _Resources()
    parser.found = []
    parser.feed(page)
    assert [name for name in parser.found if not name.startswith("#")] == []
    assert page.count("<svg") == 3
    assert "&lt;b&gt;row&lt;/b&gt;" in page
    assert "<b>row" not in page


def test_an_input_cannot_break_the_markdown(tmp_path):
    pytest.importorskip("matplotlib")
    text = write_report(evaluation(), tmp_path).markdown.read_text(encoding="utf-8")
    tables = [block for block in re.split(r"\n\n+", text) if block.startswith("|")]
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert "<" not in text
    assert all((tmp_path / name).exists() for name in re.findall(r"\]\((.*?\.svg)\)", text))


def test_a_wrong_answer_on_an_image_is_shown_by_its_path(tmp_path):
    image = ImageInput(tmp_path / "photo.png", sha256=64 * "0", mime="image/png")
    record = {"input": image, "prediction": Prediction(label="a", confidence=0.9), "answer": "a", "source": "small"}
    page = write_report(evaluate([record], ["b"]), tmp_path).html.read_text(encoding="utf-8")
    assert str(tmp_path / "photo.png") in page
    assert "image:sha256" not in page


def test_the_numbers_are_beside_it(tmp_path):
    pytest.importorskip("matplotlib")
    result = evaluation()
    assert json.loads(write_report(result, tmp_path).json.read_text(encoding="utf-8")) == result.to_dict()


def test_equal_evaluations_give_equal_pages(tmp_path):
    pytest.importorskip("matplotlib")
    first, second = (write_report(evaluation(), tmp_path / name).html.read_bytes() for name in ("a", "b"))
    assert first == second


def test_an_evaluation_with_next_to_nothing_known(tmp_path):
    pytest.importorskip("matplotlib")
    bare = {"prediction": Prediction(label="a"), "answer": "a", "source": "large"}
    page = write_report(evaluate([bare], ["a"]), tmp_path).html.read_text(encoding="utf-8")
    assert "unknown" in page
    assert "nan" not in page.split("</svg>")[-1]


def test_the_summary_says_what_chance_can_explain():
    assert "which chance can explain (exact sign test, p = " in summary(evaluation(10))


def test_a_missing_matplotlib_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="extra `report`"):
        write_report(evaluation(), tmp_path)


def test_subtasks_have_a_table_of_their_own(tmp_path):
    pytest.importorskip("matplotlib")
    found = SubtaskResult(value="sport", source="small", seconds=0.25)
    flow = {"prediction": Prediction(label="a"), "answer": "a", "source": "small", "subtasks": {"topic": found}}
    text = write_report(evaluate([flow], ["a"]), tmp_path).markdown.read_text(encoding="utf-8")
    assert "## Subtasks" in text
    assert "| topic | 0 | 0 | 0.25 | 0.0 % | 0.0 % | 0.0 % |" in text
    assert "## Subtasks" not in write_report(evaluation(), tmp_path).markdown.read_text(encoding="utf-8")

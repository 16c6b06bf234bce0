"""What a notebook shows of an object: a small table, escaped, that runs nothing."""

from __future__ import annotations

import copy
import json
import pickle
from html.parser import HTMLParser

import pytest
from fakes import Recording, TinyEncoder, predict
from langchain_core.load import dumps

from dsplus_chains import (
    AnswerFusion,
    ConfidenceBranch,
    LargeAnswer,
    Prediction,
    RunnableScorer,
    SmallModelScorer,
    SubtaskResult,
    evaluate,
    tune_threshold,
)
from dsplus_chains.schema import folded, html_box, html_table, shown_record

HOSTILE = '<script>alert("x")</script></td></table>&amp;'
LABELS = [f"{HOSTILE}{number}" for number in range(300)]


def fitted(labels, n=40):
    rows = [(f"word{i % len(labels)} about {i} {HOSTILE * 50}", labels[i % len(labels)]) for i in range(n)]
    return SmallModelScorer.fit([text for text, _ in rows], [label for _, label in rows], encoder=TinyEncoder())


def predictions(n=200):
    return [
        Prediction(
            label=LABELS[row % 2], confidence=0.5 + row / 500, probabilities={LABELS[row % 2]: 0.9, LABELS[2]: 0.1}
        )
        for row in range(n)
    ]


def evaluation():
    records = [
        {"input": HOSTILE * 1_000, "prediction": row, "answer": row.label, "source": HOSTILE} for row in predictions()
    ]
    truth = [LABELS[row % 3] for row in range(200)]
    return evaluate(records, truth, large_answers=truth, threshold=dict.fromkeys(LABELS, 0.5))


def tuned(**options):
    truth = [LABELS[row % 3] for row in range(200)]
    return tune_threshold(predictions(), truth, truth, **options)


def record(**more):
    said = {"input": HOSTILE * 10_000, "prediction": predictions()[0], "answer": HOSTILE, "source": "large"}
    found = {HOSTILE: SubtaskResult(value=HOSTILE * 1_000)}
    keys = {f"{HOSTILE}{number}": number for number in range(500)}
    return shown_record({**said, "large": LargeAnswer(value=HOSTILE), "subtasks": found, **keys, **more})


VIEWS = {
    "scorer": lambda: fitted(LABELS[:3]),
    "scorer of any model": lambda: RunnableScorer(run=Recording(predict), labels=LABELS),
    "tuned threshold": tuned,
    "tuned by label": lambda: tuned(per_label=True),
    "tuned with fusion": lambda: tuned(fusion="posterior"),
    "evaluation": evaluation,
    "record": record,
    "record of an error": lambda: record(error=HOSTILE * 1_000, small_error=HOSTILE),
}


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open, self.text = set(), [], ""

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.open.append(tag)
        assert not attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def tags(html):
    page = _Tags()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.mark.parametrize("view", VIEWS)
def test_it_is_a_screen_high_well_formed_and_runs_nothing(view):
    html = VIEWS[view]()._repr_html_()
    page = tags(html)
    assert page.found <= {"div", "b", "p", "table", "tr", "td"}
    assert html.count("<tr>") <= 13
    assert len(page.text) < 13 * 400 + 1_000


def test_a_record_of_a_chain_is_a_dict_like_any_other():
    scorer = RunnableScorer(run=Recording(lambda text: Prediction(label="ham", confidence=0.6)), labels=["ham", "spam"])
    chain = scorer | ConfidenceBranch(large=Recording(lambda record: "spam"), threshold=0.9)
    found = chain.invoke("hello")
    assert isinstance(found, dict)
    assert dict(found) == found
    assert set(found) >= {"input", "prediction", "answer", "source"}
    said = tags(found._repr_html_()).text
    assert "hello" in said
    assert "spam" in said
    assert "ham (60 %)" in said
    again = pickle.loads(pickle.dumps(found))
    assert again == found == copy.deepcopy(found)
    assert again._repr_html_() == found._repr_html_()
    assert json.loads(dumps(found))["answer"] == "spam"
    assert repr(found) == repr(dict(found))


async def test_each_way_to_call_shows_the_record():
    scorer = RunnableScorer(run=Recording(lambda text: Prediction(label="ham", confidence=0.6)), labels=["ham", "spam"])
    outputs = [scorer.invoke("a"), *scorer.batch(["a"]), await scorer.ainvoke("a"), *(await scorer.abatch(["a"]))]
    assert all("ham (60 %)" in output._repr_html_() for output in outputs)


@pytest.mark.parametrize("output", [{"answer": "ham", "source": "page 3"}, {}, None, "text", 7, ["a"], ValueError("x")])
def test_what_is_no_record_is_left_alone(output):
    assert shown_record(output) is output


def test_a_fusion_keeps_the_view():
    unsure = Prediction(label="spam", confidence=0.55, probabilities={"spam": 0.55, "ham": 0.45})
    fusion = AnswerFusion.fit([unsure] * 8, ["spam", "ham"] * 4, ["spam", "ham"] * 4)
    said = {"prediction": unsure, "answer": "ham", "source": "large", "large": LargeAnswer(value="ham")}
    assert "fused" in fusion.invoke(said)._repr_html_()


def test_a_table_escapes_names_and_cells_and_folds_long_ones():
    html = html_table(["<a>", "b"], [["<x>", "y" * 500]], prose={"b"})
    assert "<a>" not in html
    assert "&lt;x&gt;" in html
    assert html.count("<details>") == 1
    assert folded("<b>" * 100).count("<b>") == 0


def test_a_box_tells_how_much_it_leaves_out():
    assert "and 8 more" in html_box("x", {str(number): number for number in range(20)})

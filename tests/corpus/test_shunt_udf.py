"""`ShuntUDF` over batches of Arrow, pandas and numpy, as engines hand them over."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fakes import CountingChat, Gauge, NamedEncoder, threshold_between
from langchain_openai import ChatOpenAI
from openai_server import openai_server

from dsplus_chains.corpus import ShuntUDF, label_table
from dsplus_chains.schema import BundleError, InvalidInputError, LargeModelError
from dsplus_chains.storage import Bundle
from dsplus_chains.tuning import tune_threshold

WORDS = {"positive": ("good", "nice", "fine"), "negative": ("bad", "poor", "ugly")}
THINGS = ("phone", "price", "sound")
ADDED = ["answer", "source", "confidence", "error"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    from dsplus_chains.encoding import sentence

    monkeypatch.setattr(sentence.SentenceEncoder, "from_pretrained", staticmethod(lambda *_, **__: NamedEncoder()))


@pytest.fixture
def made(tmp_path):
    """Makes a tuned bundle. Its threshold is between the confidences of two texts, or it keeps nothing."""

    def make(kept=None, deferred=None, labels=("positive", "negative"), name="bundle", **settings):
        texts = [f"{word} {thing}" for words in WORDS.values() for word in words for thing in THINGS]
        answers = [labels[0]] * 9 + [labels[1]] * 9
        bundle = Bundle.fit(texts, answers, instruction="Which?", **settings)
        records = bundle.scorer.batch(texts)
        tuned = tune_threshold([record["prediction"] for record in records], answers, answers)
        threshold = None
        if kept is not None:
            threshold = threshold_between(bundle.scorer, kept, deferred)
        bundle.with_tuned(replace(tuned, threshold=threshold)).save(tmp_path / name)
        return tmp_path / name

    return make


def say(prompt):
    text = prompt.split("<input>\n", 1)[1].split("\n</input>", 1)[0]
    return "who knows" if "shrug" in text else "negative" if "bad" in text else "positive"


TEXTS = ["good phone", "hm hm hm bad", None, "hm hm hm shrug"]


@pytest.mark.parametrize("kind", ["table", "record batch", "frame", "arrays"])
def test_a_batch_comes_back_as_what_it_was_with_its_columns_and_four_more(made, kind):
    columns = {"id": [7, 8, 9, 10], "text": TEXTS}
    batch = {
        "table": lambda: pa.table(columns),
        "record batch": lambda: pa.RecordBatch.from_pydict(columns),
        "frame": lambda: pd.DataFrame(columns, index=[3, 4, 5, 6]),
        "arrays": lambda: {name: np.array(cells, dtype=object) for name, cells in columns.items()},
    }[kind]()
    model = CountingChat(function=say)
    found = ShuntUDF(made("good phone", "hm hm hm bad"), model)(batch)
    assert type(found) is type(batch)
    rows = pd.DataFrame(found) if isinstance(found, dict) else found if kind == "frame" else found.to_pandas()
    assert list(rows.columns) == ["id", "text", *ADDED]
    assert list(rows["id"]) == columns["id"]
    assert list(rows["source"]) == ["small", "large", "large", "fallback"]
    assert list(rows["answer"])[:3] == ["positive", "negative", "positive"]
    assert pd.isna(rows["error"].iloc[0])
    assert "who knows" in rows["error"].iloc[3]
    assert all(0.5 <= one <= 1 for one in rows["confidence"].drop(rows.index[2]))
    if kind == "frame":
        assert list(rows.index) == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("labels", "kind"), [(("a", "b"), pa.string()), ((1, 0), pa.int64()), ((True, False), pa.bool_())]
)
def test_a_batch_of_no_row_or_of_gaps_alone_has_the_types_of_all_others(made, labels, kind):
    udf = ShuntUDF(made("good phone", "hm hm", labels=labels), CountingChat(function=lambda _: "who knows"))
    some = udf(pa.table({"text": ["good phone", "good phone"]}))
    none = udf(pa.table({"text": pa.array([], pa.string())}))
    gaps = udf(pa.table({"text": pa.array([3, 4], pa.int64())}))  # no text at all
    assert some.schema.field("answer").type == kind
    assert some.schema.types[1:] == none.schema.types[1:] == gaps.schema.types[1:]
    assert gaps.column("source").to_pylist() == ["error", "error"]
    assert gaps.column("answer").to_pylist() == [None, None]
    assert none.num_rows == 0


def test_a_batch_is_one_call_of_the_small_model_and_its_deferred_rows_are_asked_side_by_side(made):
    together = threading.Barrier(4, timeout=60)

    def wait(prompt):
        together.wait()
        return say(prompt)

    udf = ShuntUDF(made(), CountingChat(function=wait))
    found = udf(pa.table({"text": [f"hm good {number}" for number in range(4)]}))
    assert found.column("source").to_pylist() == ["large"] * 4
    calls = udf._loaded.scorer.encoder.calls
    before = len(calls)
    together.reset()
    udf(pa.table({"text": [f"hm bad {number}" for number in range(4)]}))
    assert calls[before:] == [4]


def test_threads_share_one_limit_and_one_small_model(made):
    gauge, full = Gauge(), threading.Event()

    def count(prompt):
        with gauge:
            if gauge.now >= 3:
                full.set()
            assert full.wait(50)
            time.sleep(0.02)  # one more would be seen
            return say(prompt)

    udf = ShuntUDF(made(), CountingChat(function=count), concurrency=3)
    batches = [pa.table({"id": range(6), "text": [f"hm good {n} {row}" for row in range(6)]}) for n in range(5)]
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(udf, batches))
    assert [one.column("text").to_pylist() for one in found] == [one.column("text").to_pylist() for one in batches]
    assert gauge.most == 3


def test_what_was_answered_before_a_crash_is_not_paid_for_again(made, tmp_path):
    """A second object stands for the worker that takes the place of a killed one."""
    batch = pa.table({"text": [f"hm bad {number}" for number in range(5)]})
    with openai_server(say) as server:
        large = partial(ChatOpenAI, model="m", base_url=server.base_url, api_key="none")
        udf = ShuntUDF(made(), large, answers=tmp_path / "answers.sqlite")
        first = pickle.loads(pickle.dumps(udf))(batch)
        assert len(server.bodies) == 5
        assert pickle.loads(pickle.dumps(udf))(batch) == first
        assert len(server.bodies) == 5


@pytest.mark.parametrize("wrapped", [lambda model: model.with_retry(), lambda model: model.bind(stop=["x"])])
def test_answers_of_a_wrapped_model_cannot_be_kept_and_that_is_told(made, tmp_path, wrapped):
    large = wrapped(CountingChat(function=say))
    with pytest.raises(InvalidInputError, match="expected a chat model itself"):
        ShuntUDF(made(), large, answers=tmp_path / "answers.sqlite")({"text": ["hm"]})
    (tmp_path / "in.csv").write_text("text\nhm\n")
    with pytest.raises(InvalidInputError, match="expected a chat model itself"):
        label_table(made(), tmp_path / "in.csv", text="text", out=tmp_path / "out.csv", large_model=large)
    assert ShuntUDF(made(), large)({"text": ["hm"]})["source"].tolist() == ["large"]


def test_only_the_settings_are_pickled_also_after_use(made):
    udf = ShuntUDF(made(), CountingChat(function=say))
    before = len(pickle.dumps(udf))
    udf(pa.table({"text": ["hm"]}))
    again = pickle.loads(pickle.dumps(udf))
    assert len(pickle.dumps(udf)) < before + 1000
    assert again.bundle == udf.bundle
    assert again(pa.table({"text": ["hm bad"]})).column("answer").to_pylist() == ["negative"]


def say_to_groups(prompt):
    """A line for each row of a group, the last row first. What is unseen has none."""
    blocks = re.findall(r"<(q\d+-[0-9a-f]{6})>\n<input>\n(.*?)\n</input>", prompt, re.DOTALL)
    told = [f"{key}: {'negative' if 'bad' in text else 'positive'}" for key, text in blocks if "unseen" not in text]
    return "\n".join(told[::-1]) if blocks else say(prompt)


def test_the_deferred_rows_of_a_batch_share_prompts_if_the_bundle_says_so(made, tmp_path):
    folder = made("good phone", "hm hm hm bad")
    Bundle.load(folder).with_task(group=3).save(folder)
    texts = ["good phone", *(f"hm hm hm {'bad' if row % 2 else 'shiny'} {row}" for row in range(6)), "hm hm hm unseen"]
    batch = pa.table({"text": texts, "id": range(8)})
    with openai_server(say_to_groups) as server:
        large = partial(ChatOpenAI, model="m", base_url=server.base_url, api_key="none")
        udf = ShuntUDF(folder, large, answers=tmp_path / "answers.sqlite")
        found = udf(batch)
        asked = [json.loads(body)["messages"][-1]["content"] for body in server.bodies]
        assert sorted(prompt.count("</input>") for prompt in asked) == [1, 2, 2, 3]
        assert [prompt.count("unseen") for prompt in asked if prompt.count("</input>") == 1] == [1]
        assert found.column("source").to_pylist() == ["small", *["large"] * 7]
        assert found.column("answer").to_pylist() == ["positive", *["positive", "negative"] * 3, "positive"]
        assert found.column("id").to_pylist() == [*range(8)]
        # A second object stands for the worker that takes the place of a killed one.
        assert pickle.loads(pickle.dumps(udf))(batch) == found
        assert len(server.bodies) == 4


def test_groups_are_made_within_a_batch_and_threads_do_not_mix_them(made):
    folder = made()
    Bundle.load(folder).with_task(group=4).save(folder)
    model = CountingChat(function=say_to_groups)
    udf = ShuntUDF(folder, model)
    batches = [pa.table({"text": [f"hm bad {n} {row}" for row in range(4)]}) for n in (2, 4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(udf, batches))
    assert [one.column("answer").to_pylist() for one in found] == [["negative"] * 4] * 2
    assert sorted("".join(re.findall(r"hm bad (\d)", prompt)) for prompt in model.asked) == ["2222", "4444"]


def test_pairs_stand_in_two_columns(made, tmp_path):
    texts = [(f"{word} {thing}", "it is so") for words in WORDS.values() for word in words for thing in THINGS]
    answers = ["positive"] * 9 + ["negative"] * 9
    bundle = Bundle.fit(texts, answers, instruction="Which?")
    predictions = [record["prediction"] for record in bundle.scorer.batch(texts)]
    tuned = tune_threshold(predictions, answers, answers)
    bundle.with_tuned(replace(tuned, threshold=0.0)).save(tmp_path / "pairs")
    udf = ShuntUDF(tmp_path / "pairs", CountingChat(function=say), text=("one", "two"))
    batch = pa.table({"one": [one for one, _ in texts], "two": ["it is so"] * len(texts)})
    assert udf(batch).column("answer").to_pylist() == [
        record["prediction"].label for record in bundle.scorer.batch(texts)
    ]


def test_wrong_batches_and_settings_are_refused(made):
    bundle = made()
    udf = ShuntUDF(bundle, CountingChat(function=say))
    with pytest.raises(InvalidInputError, match="without the column 'text'; its columns are 'txt'"):
        udf(pa.table({"txt": ["a"]}))
    with pytest.raises(InvalidInputError, match="with the column 'source'"):
        udf({"text": ["a"], "source": ["b"]})
    with pytest.raises(InvalidInputError, match=r"expected a table or record batch of Arrow"):
        udf([{"text": "a"}])
    with pytest.raises(InvalidInputError, match="the column 'text' twice"):
        udf(pd.DataFrame([["a", "b"]], columns=["text", "text"]))
    large = CountingChat(function=say)
    for setting in ({"concurrency": 0}, {"threads": 0}, {"timeout": 0}, {"text": ["text"]}, {"text": 3}):
        with pytest.raises(InvalidInputError, match=f"Got {next(iter(setting))}="):
            ShuntUDF(bundle, large, **setting)
    for wrong in ("openai:gpt-4o", None):
        with pytest.raises(InvalidInputError, match=r"expected a chat model, or a function that makes one"):
            ShuntUDF(bundle, wrong)
    with pytest.raises(BundleError):
        ShuntUDF(bundle, CountingChat(function=say), expected_sha256="0" * 64)(pa.table({"text": ["a"]}))


def test_a_wrong_key_stops_the_work_instead_of_labelling_all_with_the_small_models_guess(made):
    from fault_server import fault_server

    with fault_server(mode="401") as server:
        large = partial(ChatOpenAI, model="m", base_url=server.base_url, api_key="none", max_retries=0)
        with pytest.raises(LargeModelError, match="key is refused"):
            ShuntUDF(made(), large)(pa.table({"text": ["hm"] * 3}))


def test_it_needs_no_ray():
    code = (
        "import sys; sys.modules['ray'] = None; from dsplus_chains.corpus import ShuntUDF, label_table; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "fine\n"

"""The experience store: what is kept, what is lost, and that no answer is ever touched."""

from __future__ import annotations

import copy
import gc
import json
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from clock import PATIENCE, until
from fakes import predict
from hypothesis import given, settings
from hypothesis import strategies as st

from dsplus_chains import ExperienceStore, InvalidInputError, LargeAnswer, Prediction
from dsplus_chains.learning import Experience
from dsplus_chains.learning.experience_rows import COLUMNS, Decision, label_text, pack, unpack
from dsplus_chains.schema import TagsPrediction
from dsplus_chains.verifying import Verdict
from dsplus_chains.verifying.verified_prediction import VerifiedPrediction

SURE = Prediction(label="spam", confidence=0.9, probabilities={"spam": 0.9, "ham": 0.1})
USAGE = {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8}


@pytest.fixture
def store(tmp_path):
    with ExperienceStore(tmp_path / "store.sqlite") as made:
        yield made


def small(text="win a prize", **more):
    return {"input": text, "prediction": SURE, "answer": "spam", "source": "small", **more}


def large(text="hello", **more):
    said = LargeAnswer(value="ham", confidence=0.8, usage=USAGE)
    return {"input": text, "prediction": SURE, "answer": "ham", "source": "large", "large": said, **more}


def full_disk(store):
    """Let the file grow no further."""
    with store._file._database.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_decision_is_kept_with_all_that_was_known(store):
    before = time.time()
    fused = Prediction(label="ham", confidence=0.7, probabilities={"spam": 0.3, "ham": 0.7})
    store.record(large(answer="ham", source="fused", fused=fused, model_hash="m", task_hash="t"))
    store.record(small())
    one, two = store.rows()
    assert one == Experience(
        text="hello",
        text_hash=one.text_hash,
        prediction=SURE,
        large="ham",
        large_confidence=0.8,
        fused={"spam": 0.3, "ham": 0.7},
        answer="ham",
        source="fused",
        tokens=8,
        time=one.time,
        model_hash="m",
        task_hash="t",
    )
    assert before <= one.time <= two.time <= time.time()
    assert (two.large, two.tokens, two.fused, two.source) == (None, 0, None, "small")
    assert len(store) == 2
    assert len(list(store.rows(since=two.time))) == 1


@pytest.mark.parametrize("labels", [("a", "b"), (0, 1), (True, False)])
def test_labels_keep_their_type(store, labels):
    one, other = labels
    view = Prediction(label=one, confidence=0.6, probabilities={one: 0.6, other: 0.4})
    record = {"input": "x", "prediction": view, "answer": other, "source": "large", "large": LargeAnswer(value=other)}
    store.record({**record, "fused": view})
    store.correct("x", one)
    (row,) = store.rows()
    for found, label in ((row.prediction.label, one), (row.large, other), (row.answer, other), (row.gold, one)):
        assert found == label
        assert type(found) is type(label)
    assert row.prediction == view
    assert [type(label) for label in row.fused] == [type(one)] * 2


KINDS = [
    TagsPrediction(value=["spam"], confidence=0.9, by_tag={"spam": Prediction(label=True, confidence=0.9)}),
    VerifiedPrediction(label="spam", confidence=0.9, verdict=Verdict(score=1.0, report="from a@b.de"), generator="g"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_other_kinds_of_predictions_are_kept_as_predictions(tmp_path, kind):
    with ExperienceStore(tmp_path / "e.sqlite", redact=lambda text: text.replace("a@b.de", "…")) as store:
        store.record(small(prediction=kind))
        store.record(small())
        one, two = store.rows()
    assert (one.prediction.label, one.prediction.value, one.prediction.confidence) == (kind.label, kind.value, 0.9)
    assert two.prediction == SURE
    assert b"a@b.de" not in (tmp_path / "e.sqlite").read_bytes()


def test_a_prediction_with_more_than_is_known_of_one_is_read(store):
    packed = pack(Decision.of(small(), 1.0), keep_text=True, redact=lambda told: told)
    row = {**dict(zip(COLUMNS, packed, strict=True)), "gold": None, "gold_origin": None}
    row["prediction"] = json.dumps({**json.loads(row["prediction"]), "by_tag": {}})
    assert unpack(row).prediction == SURE


def test_what_a_failed_large_model_said_is_no_label(store):
    said = LargeAnswer(value="I would rather not say")
    store.record(small(source="fallback", large=said, error="OutputParserException: no label"))
    (row,) = store.rows()
    assert (row.large, row.answer, row.source, row.tokens) == (None, "spam", "fallback", None)


def test_the_label_of_an_apps_output_is_the_answer(store):
    store.record(large(answer={"kind": "ham"}, answer_label="ham"))
    store.record(large(answer=object(), answer_label=None))
    assert [row.answer for row in store.rows()] == ["ham", None]


@given(
    text=st.one_of(st.text(), st.none(), st.lists(st.text(), max_size=2)),
    answer=st.one_of(st.text(), st.integers(), st.booleans(), st.dictionaries(st.text(), st.integers(), max_size=2)),
    known=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_row_comes_back_as_it_went_in(text, answer, known):
    record = {"input": text, "answer": answer, "source": "large", "large": LargeAnswer(value=answer)}
    record |= {"prediction": predict("good")} if known else {}
    names = [field for field in Experience.__dataclass_fields__ if not field.startswith("gold")]
    assert sorted(COLUMNS) == sorted(names)
    packed = pack(Decision.of(record, 1.0), keep_text=True, redact=lambda told: told)
    with sqlite3.connect(":memory:") as connection:
        row = connection.execute(f"SELECT {', '.join('?' * len(packed))}", packed).fetchone()
    connection.close()
    found = unpack({**dict(zip(COLUMNS, row, strict=True)), "gold": label_text(True), "gold_origin": "gold"})
    assert (found.answer, found.large, found.gold) == (answer, answer, True)
    assert found.prediction == (predict("good") if known else None)
    assert found.text == (text.encode("utf-8", "replace").decode() if isinstance(text, str) else None)


def test_gold_is_attached_to_copies_and_added_for_what_was_not_seen(store):
    store.record(small("Win a prize!"))
    store.record(small("win a  PRIZE"))
    store.add_gold(["win a prize", "new to us"], ["ham", "spam"])
    store.add_gold(["other"], ["ham"], large_answers=["spam"], large_confidences=[0.7], origin="audit")
    rows = list(store.rows())
    assert [(row.text, row.gold, row.gold_origin) for row in rows] == [
        ("Win a prize!", "ham", "gold"),
        ("win a  PRIZE", "ham", "gold"),
        ("new to us", "spam", "gold"),
        ("other", "ham", "audit"),
    ]
    assert [(row.source, row.large, row.large_confidence) for row in rows[2:]] == [
        (None, None, None),
        (None, "spam", 0.7),
    ]
    store.correct("WIN a prize", "spam")
    assert [(row.gold, row.gold_origin) for row in store.rows()][:2] == [("spam", "gold")] * 2
    store.record(small("win a prize"))
    assert [row.gold for row in store.rows()][-1] == "spam"


def test_a_corrected_row_stays_in_its_sample(store):
    """Who corrects the errors that an audit has found would else leave only what was right in it."""
    texts = ["audited", "asked for", "found"]
    for text in texts:
        store.record(small(text))
    store.add_gold(["audited"], ["spam"], origin="audit")
    store.add_gold(["asked for"], ["spam"], origin="label")
    for text in texts:
        store.correct(text, "ham")
    assert [(row.gold, row.gold_origin) for row in store.rows()] == [
        ("ham", told) for told in ("audit", *["correction"] * 2)
    ]
    store.add_gold(texts, ["spam"] * 3, origin="audit")
    assert [(row.gold, row.gold_origin) for row in store.rows()] == [("spam", "audit")] * 3


def test_gold_of_another_length_or_without_a_label_is_refused(store):
    with pytest.raises(InvalidInputError, match="2 texts, 1 labels"):
        store.add_gold(["a", "b"], ["x"])
    with pytest.raises(InvalidInputError, match="no label in row 0"):
        store.correct("a", None)
    assert len(store) == 0
    assert store


def test_redaction_comes_before_anything_is_written(tmp_path):
    path = tmp_path / "store.sqlite"
    with ExperienceStore(path, redact=lambda text: text.replace("4711", "###")) as store:
        store.record(small("my number is 4711"))
        store.record(large("hello", answer="4711", large=LargeAnswer(value={"said": ["4711"]})))
        store.correct("4711 is new", "ham")
        rows = list(store.rows())
        assert [row.text for row in rows] == ["my number is ###", "hello", "### is new"]
        assert (rows[1].answer, rows[1].large) == ("###", {"said": ["###"]})
        for file in tmp_path.iterdir():
            assert b"4711" not in file.read_bytes()
        store.correct("my number is 4711", "ham")  # the hash is that of the text as it came
        assert next(iter(store.rows())).gold == "ham"


@pytest.mark.parametrize("label", [None, "ham"])
def test_redaction_reaches_the_value_of_a_prediction(tmp_path, label):
    written = Prediction(value={"card": "4711"}).label
    view = Prediction(value={"card": "4711"}, label=written if label is None else label, confidence=0.9)
    view = view.model_copy(update={"probabilities": {view.label: 0.9}})
    with ExperienceStore(tmp_path / "store.sqlite", redact=lambda text: text.replace("4711", "###")) as store:
        store.record({"input": "x", "prediction": view, "answer": view.value, "source": "small"})
        (row,) = store.rows()
        assert row.prediction.value == row.answer == {"card": "###"}
        assert row.prediction.label == (label or '{"card": "###"}')
        assert row.prediction.confidence == 0.9
        assert row.prediction.probabilities == ({"ham": 0.9} if label else None)
        for file in tmp_path.iterdir():
            assert b"4711" not in file.read_bytes()


def test_the_value_of_a_prediction_without_redaction_is_whole(store):
    view = Prediction(value={"card": "4711"}, confidence=0.9, probabilities={'{"card": "4711"}': 0.9})
    store.record({"input": "x", "prediction": view, "answer": view.value, "source": "small"})
    odd = Prediction(label="spam", value={"score": float("nan")})  # JSON has no such number
    store.record({"input": "x", "prediction": odd, "answer": "spam", "source": "small"})
    assert [row.prediction.label for row in store.rows()] == [view.label, "spam"]
    assert next(iter(store.rows())).prediction == view


def test_labels_of_the_small_model_are_not_redacted(tmp_path):
    with ExperienceStore(":memory:", redact=lambda text: "***") as store:
        store.record(small())
        (row,) = store.rows()
    assert (row.text, row.answer, row.prediction.label) == ("***", "spam", "spam")


def test_a_redaction_that_fails_keeps_the_hash_alone(caplog):
    def broken(text):
        raise RuntimeError("no model loaded")

    with ExperienceStore(":memory:", redact=broken) as kept:
        kept.record(small())
        kept.record(small())
        rows = list(kept.rows())
    assert [row.text for row in rows] == [None, None]
    assert all(row.text_hash for row in rows)
    assert caplog.text.count("redact= has failed") == 1


def test_texts_need_not_be_kept(tmp_path):
    with ExperienceStore(tmp_path / "hashes.sqlite", keep_text=False) as store:
        store.record(small("a secret thing"))
        (row,) = store.rows()
        assert row.text is None
        assert len(row.text_hash) == 16
        assert b"secret" not in (tmp_path / "hashes.sqlite").read_bytes()


def test_what_is_too_old_is_forgotten_with_its_label(store, tmp_path):
    store.record(small("long ago and far away"))
    store.correct("long ago and far away", "ham")
    time.sleep(0.01)
    assert store.forget(1.0) == 0
    assert store.forget(0.0) == 1
    assert list(store.rows()) == []
    for file in tmp_path.iterdir():
        assert b"far away" not in file.read_bytes()
    store.record(small("long ago and far away"))
    assert [row.gold for row in store.rows()] == [None]


def three_days_old(folder):
    """A file with one decision, of three days ago."""
    path = folder / "store.sqlite"
    with ExperienceStore(path) as store:
        store.record(small("old"))
        store.flush()
        with store._file._database.transaction() as connection:
            connection.execute("UPDATE decisions SET time = time - 3 * 86400")
    return path


def test_retention_needs_nobody_to_ask(tmp_path):
    path = three_days_old(tmp_path)
    with ExperienceStore(path, keep_days=2) as store:
        store.record(small("new"))
        assert [row.text for row in store.rows()] == ["new"]
    with pytest.raises(InvalidInputError, match="keep_days"):
        ExperienceStore(path, keep_days=0)


@pytest.mark.parametrize("look", [lambda store: list(store.rows()), len, lambda store: store.correct("new", "ham")])
def test_retention_does_not_wait_for_a_decision(tmp_path, look):
    path = three_days_old(tmp_path)
    with ExperienceStore(path, keep_days=2) as store:
        look(store)
    with ExperienceStore(path) as store:
        assert "old" not in {row.text for row in store.rows()}


def test_it_is_written_without_a_flush(tmp_path):
    with ExperienceStore(tmp_path / "a.sqlite") as store, ExperienceStore(tmp_path / "a.sqlite") as reader:
        for pause in (0.0, 0.5):  # the thread is idle the second time
            time.sleep(pause)
            n = len(reader)
            store.record(small())
            until(lambda n=n: len(reader) > n)
            assert len(reader) == n + 1


def test_a_full_disk_is_told_once_and_costs_no_answer(store, caplog):
    full_disk(store)
    for _ in range(3):
        store.record(small("long " * 5_000))
        store.flush()
    assert store.lost == 3
    assert caplog.text.count("could not keep a decision") == 1
    assert "full" in caplog.text
    with store._file._database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    store.record(small())
    assert len(store) == 1


def test_a_large_batch_waits(store):
    with store._queue._writing:  # it comes faster than it can be written
        for _ in range(20_000):
            store.record({"input": "x", "answer": "spam", "source": "small"})
    assert store.lost == 0


def test_a_full_queue_drops_and_counts(store, caplog, monkeypatch):
    monkeypatch.setattr(store._queue, "_most", 1_000)
    with store._queue._writing:  # as if the disk hung
        for _ in range(1_000 + 5):
            store.record(small())
        assert store.lost == 5
    assert len(store) == 1_000
    assert caplog.text.count("could not keep a decision") == 1


def test_what_is_no_record_is_refused_and_a_closed_store_loses(store):
    for wrong in (None, "text", {"answer": "a"}, 3):
        with pytest.raises(InvalidInputError, match=r"store\.record\(record\)"):
            store.record(wrong)
    store.close()
    store.record(small())
    assert store.lost == 1
    store.close()


def test_a_number_that_sqlite_cannot_hold_loses_its_row_alone(store):
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 1 << 70}
    store.record(large(large=LargeAnswer(value="ham", usage=usage)))
    store.record(small())
    assert [row.source for row in store.rows()] == ["small"]
    assert store.lost == 1


def test_a_callers_own_keys_do_no_harm(store):
    store.record(small(model_hash={"mine": 1}, task_hash=3, fused="mine", large=["mine"], prediction="mine"))
    store.record(small())
    one, _ = store.rows()
    assert (one.model_hash, one.task_hash, one.fused, one.large, one.prediction) == (None,) * 5
    assert store.lost == 0


def test_the_caller_may_go_on_with_the_record(store):
    record = small()
    store.record(record)
    record["answer"] = "changed"
    assert [row.answer for row in store.rows()] == ["spam"]
    view, said = Prediction(value={"tags": ["a"]}), LargeAnswer(value=[{"tags": ["a"]}])
    store.record({"input": "x", "prediction": view, "answer": view.value, "large": said, "source": "large"})
    view.value["tags"].append("b")
    said.value[0]["tags"].append("b")
    store.record({"input": "x", "answer": {"lock": threading.Lock()}, "source": "large"})  # cannot be copied
    one = list(store.rows())[1]
    assert one.answer == one.prediction.value == {"tags": ["a"]}
    assert one.large == [{"tags": ["a"]}]


def test_a_closed_store_says_so(tmp_path):
    made = ExperienceStore(tmp_path / "e.sqlite")
    made.close()
    made.close()
    for use in (lambda: list(made.rows()), lambda: len(made), lambda: made.correct("a", "b"), lambda: made.forget(1)):
        with pytest.raises(InvalidInputError, match=r"e\.sqlite', which is closed.*open it anew"):
            use()


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no folder '.*logs', so make it"):
        ExperienceStore(tmp_path / "logs" / "e.sqlite")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything may be written here")
def test_a_file_that_is_not_to_be_written_is_told(tmp_path):
    ExperienceStore(tmp_path / "e.sqlite").close()
    (tmp_path / "e.sqlite").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InvalidInputError, match="not to be written here"):
            ExperienceStore(tmp_path / "e.sqlite")
    finally:
        tmp_path.chmod(0o755)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("this is no database " * 100)
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        ExperienceStore(path)


@pytest.mark.parametrize("change", ["PRAGMA user_version = 7", "ALTER TABLE decisions DROP COLUMN task_hash"])
def test_a_file_of_another_release_is_refused(tmp_path, change):
    path = tmp_path / "store.sqlite"
    with ExperienceStore(path) as store:
        store.record(small())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.execute(change)
    with pytest.raises(InvalidInputError, match=r"tables of version \d but expected 2"):
        ExperienceStore(path)


def test_a_file_from_before_there_were_versions_is_read(tmp_path):
    path = tmp_path / "store.sqlite"
    with ExperienceStore(path) as store:
        store.record(small())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    with ExperienceStore(path) as store:
        assert len(store) == 1


def test_threads_lose_nothing(store):
    def decide(thread):
        for number in range(200):
            store.record(small(f"{thread} {number}"))

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row.text for row in store.rows()}) == 1_600
    assert store.lost == 0


def test_copies_share_the_store_and_pickles_open_its_file(store):
    assert copy.deepcopy(store) is store
    with pickle.loads(pickle.dumps(store)) as twin:
        twin.record(small())
    assert len(store) == 1
    assert repr(store) == f"ExperienceStore({store.path!r})"


def test_a_store_that_nobody_holds_is_written_and_its_thread_ends(tmp_path):
    before = set(threading.enumerate())
    store = ExperienceStore(tmp_path / "store.sqlite")
    (thread,) = [new for new in set(threading.enumerate()) - before if new.name == "dsplus-experience"]
    store.record(small())
    del store
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with ExperienceStore(tmp_path / "store.sqlite") as store:
        assert len(store) == 1


def test_a_store_that_its_own_thread_collects_is_written(tmp_path):
    path, writing, forgotten = tmp_path / "store.sqlite", threading.Event(), threading.Event()

    def redact(text):
        writing.set()
        forgotten.wait(PATIENCE)
        gc.collect()  # in the thread that writes, while it writes
        return text

    before = set(threading.enumerate())
    store = ExperienceStore(path, redact=redact)
    store.itself = store
    (thread,) = [new for new in set(threading.enumerate()) - before if new.name == "dsplus-experience"]
    store.record(small())
    assert writing.wait(PATIENCE)
    del store
    forgotten.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with ExperienceStore(path) as store:
        assert len(store) == 1


CHILD = """
import sys, time
from dsplus_chains import ExperienceStore
store = ExperienceStore(sys.argv[1])
for number in range(int(sys.argv[2])):
    store.record({"input": f"text {number}", "answer": "spam", "source": "small"})
    if sys.argv[3:]:
        print(number + 1, flush=True)
        time.sleep(0.002)
"""


def test_the_end_of_a_process_writes_what_waits(tmp_path):
    path = tmp_path / "store.sqlite"
    subprocess.run([sys.executable, "-c", CHILD, str(path), "50"], check=True)
    with ExperienceStore(path) as store:
        assert len(store) == 50


def test_a_kill_loses_less_than_a_second(tmp_path):
    path = tmp_path / "store.sqlite"
    command = [sys.executable, "-c", CHILD, str(path), "100000", "say"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        with ExperienceStore(path) as store:
            until(lambda: len(store) > 500)
        child.send_signal(signal.SIGKILL)
        recorded = int(child.stdout.read().split()[-1])
    with ExperienceStore(path) as store:
        kept = [row.text for row in store.rows()]
        assert kept == [f"text {number}" for number in range(len(kept))]
        assert recorded - len(kept) <= 500
        assert kept
        store.record(small())
        assert len(store) == len(kept) + 1


def test_two_processes_write_at_once(tmp_path):
    path = tmp_path / "store.sqlite"
    children = [subprocess.Popen([sys.executable, "-c", CHILD, str(path), "300", "say"], stdout=-3) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    with ExperienceStore(path) as store:
        assert len(store) == 600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_writes_its_own_and_nothing_twice(store):
    with store._queue._writing:  # what waits at the fork stays with the parent
        store.record(small("parent"))
        child = os.fork()
        if child == 0:
            try:
                store.record(small("child"))
                store.flush()
                store.record(small("child again"))
                with closing(sqlite3.connect(store.path)) as reader:  # its own thread writes
                    until(lambda: reader.execute("SELECT count(*) FROM decisions").fetchone() == (2,))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    assert sorted(row.text for row in store.rows()) == ["child", "child again", "parent"]


def decide(store, n):
    for number in range(n):
        store.record(small(f"text {number}"))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_worker_that_ends_writes_what_waits(store, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    child = multiprocessing.get_context(method).Process(target=decide, args=(store, 20))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert len(store) == 20


def test_a_spawned_process_gets_the_store_by_pickle(store):
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=store.add_gold, args=(["from elsewhere"], ["ham"]))
    child.start()
    child.join()
    assert [row.text for row in store.rows()] == ["from elsewhere"]


def test_parquet_holds_every_row(store, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    store.record(large())
    store.record(small())
    store.correct("hello", "ham")
    store.to_parquet(tmp_path / "out.parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["text"], row["label"], row["answer"], row["large"], row["gold"]) for row in rows] == [
        ("hello", "spam", "ham", "ham", "ham"),
        ("win a prize", "spam", "spam", None, None),
    ]
    parts = {"label", "probabilities", "confidence"}  # of the prediction
    assert {*rows[0]} - parts == {*Experience.__dataclass_fields__} - {"prediction"}
    assert json.loads(rows[0]["probabilities"]) == {"spam": 0.9, "ham": 0.1}
    store.record(large(answer={"kind": 1}, answer_label={"kind": 1}))
    store.to_parquet(tmp_path / "out.parquet")
    mixed = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["answer"] for row in mixed] == ["ham", "spam", '{"kind": 1}']


@pytest.mark.parametrize(
    "settings",
    [
        {"redact": "x"},
        {"keep_text": "no"},
        *({"keep_days": days} for days in ("3", True, -1, float("nan"))),
    ],
)
def test_a_setting_of_another_kind_is_refused_before_a_text_is_lost(settings):
    (name,) = settings
    with pytest.raises(InvalidInputError, match=f"{name}=.* but expected"):
        ExperienceStore(":memory:", **settings)


def test_what_is_no_age_no_time_and_no_text_is_refused_and_deletes_nothing(store):
    store.record(small())
    for age in (-1, "3", None, float("nan"), True):
        with pytest.raises(InvalidInputError, match="expected a number of days of at least 0"):
            store.forget(age)
    with pytest.raises(InvalidInputError, match="expected seconds since 1970"):
        store.rows(since="yesterday")
    for text in (None, 5, float("nan"), ["a"]):
        for add in (store.correct, store.answered):
            with pytest.raises(InvalidInputError, match="for a text but expected"):
                add(text, "ham")
    assert len(store) == 1
    assert store.forget(0) == 1

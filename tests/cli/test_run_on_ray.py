"""`dsplus run --engine ray`, and `ShuntUDF` in Ray Data. One small cluster serves all of these tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from functools import partial

import pytest
from command_line import TINY, read

from dsplus_chains.corpus import ShuntUDF, label_table
from dsplus_chains.corpus.pending_rows import PendingRow
from dsplus_chains.corpus.ray_scoring import scored_by_ray
from dsplus_chains.schema import BundleError

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow  # each worker loads torch anew

N = 60
WATCHED = f"""{TINY}
import os, time
encode = TinyEncoder.encode
def watched(self, texts):
    with open(PLACE, "a") as file:
        print(os.getpid(), file=file)
    if any("end the worker" in text for text in texts):
        os._exit(1)
    time.sleep(0.1)
    return encode(self, texts)
TinyEncoder.encode = watched
"""
"""In a worker, the tiny encoder takes its time, writes down who it is, and ends the process at one text."""


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """The file with the numbers of the processes that encode, one line a batch."""
    place = tmp_path_factory.mktemp("ray") / "processes"
    code = WATCHED

    def hook():
        exec(code, {"PLACE": str(place)})

    ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"worker_process_setup_hook": hook},
    )
    yield place
    ray.shutdown()


@pytest.fixture
def inputs(table):
    texts = ["good phone" if n % 3 == 0 else f"hm hm hm {'bad' if n % 2 else 'good'} {n}" for n in range(N)]
    return table("in.csv", ["id", "text"], enumerate(texts))


def arguments(bundle, data, out, server, *more):
    large = ("--large", "openai:fake", "--base-url", server.base_url)
    return (
        "run",
        bundle,
        "--data",
        data,
        "--text",
        "text",
        "--out",
        out,
        *large,
        "--quiet",
        "--batch-size",
        "5",
        *more,
    )


RAY = ("--engine", "ray", "--workers", "2")


def test_the_output_is_the_local_runs_and_other_processes_score(tuned, dsplus, server, inputs, processes, tmp_path):
    bundle = tuned("good phone", "hm hm hm bad")
    code, said = dsplus(*arguments(bundle, inputs, tmp_path / "local.csv", server))
    assert code == 0, said
    asked = Counter(server.asked)
    before = len(processes.read_text().split()) if processes.exists() else 0
    code, elsewhere = dsplus(*arguments(bundle, inputs, tmp_path / "ray.csv", server, *RAY))
    assert code == 0, elsewhere
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert {row["source"] for row in read(tmp_path / "ray.csv")} == {"small", "large"}
    assert elsewhere.replace("ray.csv", "local.csv") == said
    assert Counter(server.asked) == dict.fromkeys(asked, 2)
    workers = processes.read_text().split()[before:]
    assert len(set(workers)) == 2
    assert str(os.getpid()) not in workers


def test_a_run_may_be_continued_by_the_other_engine(tuned, dsplus, server, inputs, processes, tmp_path):
    bundle, out = tuned(), tmp_path / "out.csv"
    assert dsplus(*arguments(bundle, inputs, out, server, *RAY))[0] == 0
    first, workers = out.read_bytes(), processes.read_text()
    assert dsplus(*arguments(bundle, inputs, out, server))[0] == 0
    assert dsplus(*arguments(bundle, inputs, out, server, *RAY))[0] == 0
    assert out.read_bytes() == first
    assert Counter(server.asked) == {row["text"]: 1 for row in read(inputs)}
    assert processes.read_text() == workers, "with nothing left to do, there are no workers"


def test_a_killed_worker_loses_nothing_and_pays_for_nothing(tuned, dsplus, server, inputs, processes, tmp_path):
    bundle, out = tuned(), tmp_path / "out.csv"
    before = len(processes.read_text().split()) if processes.exists() else 0
    killed = []

    def kill():
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            if processes.exists() and len(found := processes.read_text().split()[before:]) >= 4:
                os.kill(int(found[-1]), signal.SIGKILL)
                killed.append(found[-1])
                return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    code, said = dsplus(*arguments(bundle, inputs, out, server, *RAY))
    thread.join()
    assert code == 0, said
    assert killed
    assert [int(row["id"]) for row in read(out)] == list(range(N))
    assert {row["source"] for row in read(out)} == {"large"}
    assert Counter(server.asked) == {row["text"]: 1 for row in read(inputs)}
    assert len(set(processes.read_text().split()[before:])) == 3, "another process took its place"


def test_rows_that_end_every_worker_end_the_run_and_what_was_answered_is_kept(
    tuned, dsplus, server, table, processes, tmp_path
):
    rows = [[f"good thing {number}"] for number in range(20)]
    data, out = table("in.csv", ["text"], [*rows, ["end the worker"]]), tmp_path / "out.csv"
    given = arguments(tuned(), data, out, server, "--engine", "ray", "--workers", "1")
    code, said = dsplus(*given)
    assert code == 2
    assert "A worker of Ray ended 4 times at the same rows" in said
    assert not out.exists()
    assert dsplus(*given)[0] == 2
    asked = Counter(server.asked)
    assert set(asked.values()) == {1}
    assert len(asked) >= 10


def test_more_workers_than_processors_are_refused_and_do_not_wait_for_ever(
    tuned, dsplus, server, inputs, processes, tmp_path
):
    given = arguments(tuned(), inputs, tmp_path / "out.csv", server, "--engine", "ray", "--workers", "9")
    code, said = dsplus(*given)
    assert (code, "the Ray cluster has 3 processors" in said) == (2, True), said


def test_what_a_worker_raises_is_raised_here(tuned, processes):
    batches = [[PendingRow(0, "good", {})]]
    with pytest.raises(BundleError, match="expected"):
        next(scored_by_ray(tuned(), batches, workers=1, expected_sha256="0" * 64))


def test_batches_are_taken_as_workers_are_free(tuned, processes):
    taken = []

    def batches():
        for number in range(100):
            taken.append(number)
            yield [PendingRow(number, "good", {})]

    scored = scored_by_ray(tuned(), batches(), workers=2)
    for done in range(1, 6):
        next(scored)
        assert len(taken) <= done + 4
    scored.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data's own
def test_blocks_of_a_lake_are_labelled_as_a_table_is(tuned, server, inputs, processes, tmp_path):
    import pandas as pd
    import ray.data

    langchain_openai = pytest.importorskip("langchain_openai")
    ray.data.DataContext.get_current().enable_progress_bars = False
    bundle = tuned("good phone", "hm hm hm bad")
    large = partial(langchain_openai.ChatOpenAI, model="fake", base_url=server.base_url, api_key="none", temperature=0)
    label_table(bundle, inputs, text="text", out=tmp_path / "local.csv", large_model=large())
    expected, asked = read(tmp_path / "local.csv"), len(server.asked)
    (tmp_path / "lake").mkdir()
    for number in range(20):
        pd.DataFrame(read(inputs)[3 * number : 3 * number + 3]).to_parquet(tmp_path / "lake" / f"{number:02}.parquet")
    rows = ray.data.read_parquet(str(tmp_path / "lake")).repartition(target_num_rows_per_block=10)
    found = rows.map_batches(
        ShuntUDF,
        fn_constructor_kwargs={"bundle": bundle, "large": large, "answers": tmp_path / "answers.sqlite"},
        batch_format="pyarrow",
        batch_size=10,
        concurrency=2,
    ).to_pandas()
    found = found.sort_values("id", key=lambda ids: ids.astype(int)).fillna("")
    shown = [{**row, "confidence": str(row["confidence"])} for row in found.to_dict("records")]
    assert shown == expected
    assert len(server.asked) == 2 * asked

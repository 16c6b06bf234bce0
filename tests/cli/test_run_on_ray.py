"""`dsplus run --engine ray`, and `ShuntUDF` in Ray Data. One small cluster serves all of these tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial

import pytest
from command_line import read
from ray_processes import workers_of

from dsplus_chains.corpus import ShuntUDF, WorkerError, label_table
from dsplus_chains.corpus.pending_rows import PendingRow
from dsplus_chains.corpus.ray_scoring import scored_by_ray
from dsplus_chains.schema import BundleError

ray = pytest.importorskip("ray")

# Each worker loads torch and the encoder anew; no patch of this process reaches it.
pytestmark = [pytest.mark.slow, pytest.mark.local]

N = 60
RAY = ("--engine", "ray", "--workers", "2")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=3, **quiet)
    yield
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


def exact(rows):
    """All but the confidences, of which the last digits depend on the number of threads."""
    return [{**row, "confidence": ""} for row in rows]


def confidences(rows):
    return [float(row["confidence"]) for row in rows]


def test_the_output_is_the_local_runs(tuned, dsplus, server, inputs, tmp_path):
    bundle = tuned("good phone", "hm hm hm bad")
    code, said = dsplus(*arguments(bundle, inputs, tmp_path / "local.csv", server))
    assert code == 0, said
    asked = Counter(server.asked)
    code, elsewhere = dsplus(*arguments(bundle, inputs, tmp_path / "ray.csv", server, *RAY))
    assert code == 0, elsewhere
    local, found = read(tmp_path / "local.csv"), read(tmp_path / "ray.csv")
    assert {row["source"] for row in found} == {"small", "large"}
    assert exact(found) == exact(local)
    assert list(found[0]) == list(local[0])
    assert confidences(found) == pytest.approx(confidences(local), abs=1e-5)
    assert elsewhere.replace("ray.csv", "local.csv") == said
    assert Counter(server.asked) == {text: 2 * times for text, times in asked.items()}


def test_a_killed_worker_loses_nothing_and_pays_for_nothing_and_the_other_engine_can_go_on(
    tuned, dsplus, server, inputs, tmp_path
):
    bundle, out = tuned(), tmp_path / "out.csv"
    server.delay = 0.05
    before, seen, killed = set(workers_of(os.getpid())), set(), []
    over = threading.Event()

    def kill():
        while not over.is_set():
            seen.update(set(workers_of(os.getpid())) - before)
            if server.asked and seen and not killed:
                killed.append(max(seen))
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    code, said = dsplus(*arguments(bundle, inputs, out, server, *RAY, "--concurrency", "1"))
    over.set()
    thread.join()
    assert code == 0, said
    assert killed
    assert [int(row["id"]) for row in read(out)] == list(range(N))
    assert {row["source"] for row in read(out)} == {"large"}
    asked = Counter(server.asked)
    assert asked == {row["text"]: 1 for row in read(inputs)}
    first = out.read_bytes()
    assert dsplus(*arguments(bundle, inputs, out, server))[0] == 0
    assert dsplus(*arguments(bundle, inputs, out, server, *RAY))[0] == 0
    assert out.read_bytes() == first
    assert Counter(server.asked) == asked


def test_workers_that_end_again_and_again_end_the_run(tuned):
    class Ending:
        name = "ending"

        def encode(self, texts):
            os._exit(1)

    scored = scored_by_ray(tuned(), [[PendingRow(0, "good", {})]], workers=1, encoder=Ending())
    with pytest.raises(WorkerError, match="ended 4 times at the same rows"):
        next(scored)


def test_more_workers_than_processors_are_refused_and_do_not_wait_for_ever(tuned, dsplus, server, inputs, tmp_path):
    given = arguments(tuned(), inputs, tmp_path / "out.csv", server, "--engine", "ray", "--workers", "9")
    code, said = dsplus(*given)
    assert (code, "the Ray cluster has 3 processors" in said) == (2, True), said
    assert not server.asked


def test_what_a_worker_raises_is_raised_here(tuned):
    batches = [[PendingRow(0, "good", {})]]
    with pytest.raises(BundleError, match="expected"):
        next(scored_by_ray(tuned(), batches, workers=1, expected_sha256="0" * 64))


def test_batches_are_taken_as_workers_are_free_and_ray_reports_nothing(tuned):
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
    reports = ray.remote(lambda: os.environ["RAY_USAGE_STATS_ENABLED"])
    assert ray.get(reports.remote()) == "0"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data's own
def test_blocks_of_a_lake_are_labelled_as_a_table_is(tuned, server, inputs, tmp_path):
    import pandas as pd
    import ray.data
    from langchain_openai import ChatOpenAI

    ray.data.DataContext.get_current().enable_progress_bars = False
    bundle = tuned("good phone", "hm hm hm bad")
    large = partial(ChatOpenAI, model="fake", base_url=server.base_url, api_key="none", temperature=0)
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
    shown = found.sort_values("id", key=lambda ids: ids.astype(int)).fillna("").to_dict("records")
    assert exact(shown) == exact(expected)
    assert confidences(shown) == pytest.approx(confidences(expected), abs=1e-5)
    assert len(server.asked) == 2 * asked


_LAKE = """
import sys
from functools import partial
import ray.data
from langchain_openai import ChatOpenAI
from ray.data.checkpoint import CheckpointConfig
from dsplus_chains.corpus import ShuntUDF

bundle, folder, url = sys.argv[1:]
ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
context = ray.data.DataContext.get_current()
context.enable_progress_bars = False
context.checkpoint_config = CheckpointConfig(id_column="id", checkpoint_path=f"{folder}/done")
large = partial(ChatOpenAI, model="fake", base_url=url, api_key="none", temperature=0)
rows = ray.data.read_parquet(f"{folder}/lake").repartition(target_num_rows_per_block=5)
rows.map_batches(
    ShuntUDF,
    fn_constructor_kwargs={"bundle": bundle, "large": large, "concurrency": 2},
    batch_format="pyarrow",
    batch_size=5,
    concurrency=1,
).write_parquet(f"{folder}/out")
"""


def test_with_a_checkpoint_of_ray_data_rows_that_a_killed_driver_has_written_are_not_asked_about_again(
    tuned, server, tmp_path
):
    import pandas as pd

    (tmp_path / "lake").mkdir()
    lake = pd.DataFrame({"id": range(N), "text": [f"hm hm hm bad {n}" for n in range(N)]})
    lake.to_parquet(tmp_path / "lake" / "rows.parquet")
    server.delay = 0.1
    command = [sys.executable, "-c", _LAKE, str(tuned()), str(tmp_path), server.base_url]

    def written():
        files = [file for file in tmp_path.glob("done/*.parquet") if "pending" not in file.name]
        return [lake["text"][number] for file in files for number in pd.read_parquet(file)["id"]]

    with subprocess.Popen(command, start_new_session=True) as run:  # and with it, all of its Ray
        deadline = time.monotonic() + 300
        while not written() and time.monotonic() < deadline:
            assert run.poll() is None
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
    time.sleep(1)  # requests under way come to their end
    before, first = len(server.asked), set(written())
    assert first
    subprocess.run(command, check=True, timeout=300)
    assert not first & set(server.asked[before:])
    found = pd.concat([pd.read_parquet(file) for file in tmp_path.glob("out/*.parquet")])
    assert sorted(found["id"]) == list(range(N))
    assert set(found["source"]) == {"large"}

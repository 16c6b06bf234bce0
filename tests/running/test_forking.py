"""A forked process works at once, whatever its parent has done before, and whoever held a lock at the fork."""

from __future__ import annotations

import copy
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from clock import PATIENCE

from dsplus_chains.running import telling
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.telling import tell_once
from dsplus_chains.running.usage import UsageCollector

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

SETUP = """
import multiprocessing, os, signal, sys, threading
sys.path.insert(0, {tests!r})
import torch
from fakes import TinyEncoder
from dsplus_chains import Bundle, SmallModelScorer
from dsplus_chains.encoding.neighbor_index import neighbor_index
from dsplus_chains.running.forking import ForkLock

TEXTS = [word + " thing " + str(number) for number in range(40) for word in ("good", "bad")]
LABELS = ["good", "bad"] * 40


class Busy(TinyEncoder):
    "An encoder whose work is shared by torch's threads, as that of a real one is."

    def encode(self, texts):
        torch.nn.functional.layer_norm(torch.ones(512, 512), (512,)) @ torch.ones(512, 512)
        return super().encode(texts)


def child(work):
    "Fork, and do the work in the child. Return its exit code."
    pid = os.fork()
    if not pid:
        signal.alarm(120)  # only one that hangs takes so long
        os._exit(int(work() == "wrong"))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


torch.set_num_threads(2)  # on one core, nothing would be shared
folder = sys.argv[1]
"""

STORY = """
def say(name, *codes):
    print(name, *codes, sep="|", flush=True)

def answer():
    return scorer.batch(TEXTS) == expected or "wrong"

def fit():
    return SmallModelScorer.fit(TEXTS, LABELS, encoder=Busy(), model="linear").batch(TEXTS) == expected or "wrong"

scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=Busy(), model="linear")
expected = scorer.batch(TEXTS)
Bundle(scorer=scorer).save(folder)
loaded = Bundle.load(folder, encoder=Busy()).scorer
say("after a load", child(lambda: loaded.batch(TEXTS) == expected or "wrong"))
answer()
say("after an answer", child(answer))
say("to load", child(lambda: Bundle.load(folder, encoder=Busy()).scorer.batch(TEXTS) == expected or "wrong"))
say("to fit", child(fit))
answer()
say("again", child(answer), child(answer))
say("in the child too", child(lambda: answer() if child(answer) == 0 else "wrong"))

codes = []
def forks():
    answer()
    codes.append(child(answer))
thread = threading.Thread(target=forks)
thread.start(), thread.join()
say("from a thread", *codes)

forked = multiprocessing.get_context("fork")
process = forked.Process(target=scorer.batch, args=(TEXTS,))
process.start(), process.join(120)
say("by multiprocessing", process.exitcode)
with forked.Pool(2) as pool:
    say("by a pool", int(pool.map_async(scorer.batch, [TEXTS] * 2).get(120) != [expected] * 2))

import faiss, numpy as np
vectors = np.random.default_rng(0).normal(size=(4000, 32)).astype(np.float32)
faiss.omp_set_num_threads(2)
search = neighbor_index(vectors)
search(vectors, 3)
say("after a search", child(lambda: search(vectors, 3)[1][7][0] == 7 or "wrong"))

held, leave, lock = threading.Event(), threading.Event(), ForkLock()
def hold():
    with lock:
        held.set()
        leave.wait(240)
thread = threading.Thread(target=hold)
thread.start(), held.wait()
def take():
    with lock:
        return "taken"
say("while another thread has a lock", child(take))
leave.set(), thread.join()
say("with a lock that nobody has", child(take), int(take() != "taken"))
"""

CASES = [line.split('"')[1] for line in STORY.splitlines() if line.lstrip().startswith('say("')]


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    whole = SETUP.format(tests=str(Path(__file__).parents[1])) + code
    # Waiting threads give up their core, which helps on a busy machine.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-W", "ignore", "-c", whole, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=environment)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The exit codes of the children of one process, by what happened before or meanwhile."""
    done = run(STORY, tmp_path_factory.mktemp("fork") / "b")
    lines = [line.split("|") for line in done.stdout.splitlines()]
    return {name: codes for name, *codes in lines}, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_a_forked_process_answers(case, told):
    codes, errors = told
    assert set(codes.get(case, ["it was not reached"])) == {"0"}, (codes, errors)


def test_tokenizers_print_nothing_and_the_environment_stays(tmp_path):
    code = """
from tokenizers import Tokenizer, models
tokenizer = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
tokenizer.encode_batch(["a"] * 100)
print(child(lambda: tokenizer.encode_batch(["a"] * 100)), os.environ.get("TOKENIZERS_PARALLELISM"))
"""
    done = run(code, tmp_path / "b")
    assert (done.stdout, done.stderr) == ("0 None\n", "")


@pytest.mark.local
def test_a_forked_process_answers_with_real_weights(tmp_path):
    code = """
Bundle(scorer=SmallModelScorer.fit(TEXTS, LABELS, model="linear")).save(folder)
scorer = Bundle.load(folder).scorer
print(child(lambda: scorer.batch(TEXTS)))
scorer.batch(TEXTS)
print(child(lambda: scorer.batch(TEXTS)))
"""
    done = run(code, tmp_path / "b")
    assert done.stdout == "0\n0\n", done.stderr


def test_a_copy_has_a_lock_of_its_own():
    lock = ForkLock()
    with lock:
        for other in (copy.deepcopy(lock), pickle.loads(pickle.dumps(lock))):
            assert other is not lock
            entering = threading.Thread(target=other.__enter__, daemon=True)
            entering.start()
            entering.join(PATIENCE)
            assert not entering.is_alive(), "the copy waits for the lock that it was copied from"


LOCKED = {
    "a warning": (telling, lambda _: tell_once("told in the child")),
    "a breaker": (CircuitBreaker(), lambda breaker: breaker.heard(TimeoutError("no answer"))),
    "a count of tokens": (UsageCollector(), lambda collector: collector.on_llm_error(TimeoutError("no answer"))),
}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that of Python 3.12, of threads like this one
@pytest.mark.parametrize("name", LOCKED)
def test_what_another_thread_was_at_is_free_in_a_forked_process(name):
    owner, use = LOCKED[name]
    lock = owner._lock
    held, leave = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            leave.wait(2 * PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()
    if not pid:
        signal.alarm(60)
        try:
            use(owner)
            os._exit(0)
        finally:
            os._exit(1)
    ended = os.waitpid(pid, 0)[1]
    leave.set()
    holder.join()
    assert os.waitstatus_to_exitcode(ended) == 0


def test_no_module_has_a_lock_that_a_fork_may_leave_closed():
    """The journal's is not to be used in a fork at all, since SQLite forbids it."""
    package = Path(telling.__file__).parents[1]
    plain = [
        path.name for path in package.rglob("*.py") if re.search(r"(?<!Fork)\bR?Lock\(\)", path.read_text("utf-8"))
    ]
    assert sorted(plain) == ["forking.py", "journal.py"]

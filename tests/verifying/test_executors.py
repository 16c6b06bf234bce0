"""No code passes a test that it does not solve, and none reaches the host, in any executor."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attacks import BOMBS, CHEATS, ESCAPES, TEST
from clock import PATIENCE, at_most, longer, until

from dsplus_chains import VerifiedScorer
from dsplus_chains.verifying import (
    BubblewrapExecutor,
    CodeTests,
    Executor,
    ExecutorError,
    Job,
    MontyExecutor,
    SandlockExecutor,
    UnsafeSubprocessExecutor,
)

BWRAP = os.environ.get("BWRAP") or shutil.which("bwrap")


def bubblewrap(seconds=1.0):
    """A sandbox of bubblewrap, or a skip that says why there is none."""
    executor = BubblewrapExecutor(bwrap=BWRAP or "bwrap", seconds=seconds)
    try:
        executor.run([Job(steps=("1",))])
    except ExecutorError as error:
        pytest.skip(str(error))
    return executor


def sandlock(seconds=1.0):
    """A sandbox of sandlock, or a skip that says why there is none."""
    executor = SandlockExecutor(seconds=seconds)
    try:
        executor.run([Job(steps=("1",))])
    except ExecutorError as error:
        pytest.skip(str(error))
    return executor


def monty(seconds=0.3):
    return MontyExecutor(seconds=seconds)


def unsafe(seconds=1.0):
    return UnsafeSubprocessExecutor(seconds=seconds)


SANDBOXES = {"monty": monty, "bubblewrap": bubblewrap, "sandlock": sandlock}
ALL = {**SANDBOXES, "unsafe": unsafe}


@pytest.fixture(params=ALL, scope="module")
def executor(request):
    """One that soon stops what does not end."""
    return ALL[request.param]()


@pytest.fixture(params=ALL, scope="module")
def patient(request):
    """One that stops nothing that ends, however busy the machine is."""
    return ALL[request.param](PATIENCE)


@pytest.fixture(params=SANDBOXES, scope="module")
def sandbox(request):
    return SANDBOXES[request.param]()


@pytest.fixture(params=SANDBOXES, scope="module")
def patient_sandbox(request):
    return SANDBOXES[request.param](PATIENCE)


def verdicts(executor, candidates, test=TEST, **settings):
    verifier = CodeTests(executor=executor, tests=lambda record: test, **settings)
    return verifier.batch([{"candidate": candidate} for candidate in candidates])


def test_there_are_enough_attacks():
    assert len(CHEATS) + len(ESCAPES) >= 50


def test_no_cheat_passes(executor):
    found = verdicts(executor, CHEATS.values())
    assert [name for name, verdict in zip(CHEATS, found, strict=True) if verdict.passed] == []


def test_no_attack_reaches_the_host(sandbox, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    canary.write_text("open sesame")
    monkeypatch.setenv("DSPLUS_CANARY", "sesame")
    with contextlib.suppress(OSError, AttributeError):  # not every file system has attributes
        os.setxattr(canary, "user.dsplus_canary", b"open sesame")
    before = canary.stat()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        numbers = {"clone": (56, 220), "add_key": (248, 217), "ioprio_set": (251, 30)}
        calls = {name: number[platform.machine() == "aarch64"] for name, number in numbers.items()}
        port, pid = server.getsockname()[1], os.getpid()
        told = {"canary": str(canary), "folder": str(tmp_path), "port": port, "pid": pid, **calls}
        jobs = [Job(setup=(code.format(**told),), steps=("str(f(2))",)) for code in ESCAPES.values()]
        found = sandbox.run(jobs)
        time.sleep(1.2)  # what lives on would write by now
        with pytest.raises(BlockingIOError):
            server.accept()
    after = canary.stat()
    assert canary.read_text() == "open sesame"
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary"]
    for name, (outcome,) in zip(ESCAPES, found, strict=True):
        said = f"{outcome.value} {outcome.detail}"
        assert "sesame" not in said, name
        assert "connected" not in said, name
        assert "reached" not in said, name
        if name in {"lists a folder", "loads the package", "asks for a page"}:
            assert outcome.status != "value", name


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("end", ["", "time.sleep(600)", "while True: os.write(3, b'x' * 10000)"])
def test_what_a_job_has_started_ends_with_it(sandbox, end):
    """A process that has left its group, its session or its parent ends as well, whatever ended the job."""
    name = secrets.token_hex(7)
    code = (
        "import ctypes, os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\n"
        "for way in range(3):\n    try: child = os.fork()\n    except OSError: continue\n"  # sandboxes do
        "    if child == 0:\n        os.setsid() if way else os.setpgid(0, 0)\n"
        "        if way == 2 and os.fork(): os._exit(0)\n        time.sleep(600)\n        os._exit(0)\n"
    )
    ((outcome,),) = sandbox.run([Job(setup=(code + end,), steps=("1",))])
    until(lambda: name not in names_of_processes())
    assert name not in names_of_processes()
    assert end == "" or outcome.status != "value"  # what does not end by itself has been ended


def names_of_processes():
    """The names of all threads of all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/task/*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(path.read_text().strip())
    return found


WAITS = (0.7, 7)
"""Seconds for which what a bomb has started lives. A busy machine may look too late."""


def most_at_once(executor, bomb, wait):
    """How many processes and threads a bomb has at once, seen from the outside."""
    name, most = secrets.token_hex(7), 0
    code = bomb.format(name=name, wait=wait, clone=(56, 220)[platform.machine() == "aarch64"])
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(executor.run, [Job(setup=(code,), steps=("f(2)",))])
        while not running.done():
            most = max(most, names_of_processes().count(name))
            time.sleep(0.02)
        running.result()
    return most


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_contained(sandbox, bomb):
    most = {MontyExecutor: 0, SandlockExecutor: 1}.get(type(sandbox), 32 if bomb == "threads" and os.getuid() else 1)
    for wait in WAITS:
        found = most_at_once(sandbox, BOMBS[bomb], wait)
        assert found <= most
        if found or not most:
            break
    assert (found > 0) == (most > 0)  # it has run


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_goes_off_where_there_is_no_sandbox(bomb):
    assert any(most_at_once(UnsafeSubprocessExecutor(), BOMBS[bomb], wait) > 10 for wait in WAITS)


def test_threads_run_in_bubblewrap_unless_you_are_root():
    code = "from concurrent.futures import ThreadPoolExecutor\ndef f(x): return list(ThreadPoolExecutor(4).map(abs, x))"
    ((outcome,),) = bubblewrap(PATIENCE).run([Job(setup=(code,), steps=("f([-1, -2, -3])",))])
    if os.getuid():
        assert outcome.value == [1, 2, 3]
    else:
        assert outcome.detail == "RuntimeError: can't start new thread"


def test_one_job_tells_nothing_to_the_next(patient):
    first, second = patient.run([Job(setup=("import math\nx = 1\nmath.pi = 3",), steps=("x",)), Job(steps=("x",))])
    assert first[0].status in {"value", "raised", "unsupported"}
    assert second[0].status == "raised"


def test_what_is_right_passes(patient):
    (verdict,) = verdicts(patient, ["def f(x):\n    print('working')\n    return 2 * x"])
    assert verdict.passed


@pytest.mark.parametrize(
    ("value", "expected"),
    [("(1, 2.5)", (1, 2.5)), ("{'a': {1, 2}, 'b': b'x'}", {"a": {1, 2}, "b": b"x"}), ("None", None), ("True", True)],
)
def test_plain_values_come_out_as_they_are(patient, value, expected):
    ((outcome,),) = patient.run([Job(setup=(f"def f(): return {value}",), steps=("f()",))])
    assert outcome.value == expected
    assert type(outcome.value) is type(expected)


def test_values_go_in(patient):
    ((outcome,),) = patient.run([Job(steps=("[a, *b]",), values={"a": (1, "x"), "b": [float("inf")]})])
    assert outcome.value == [(1, "x"), float("inf")]


@pytest.mark.parametrize("kind", ALL)
def test_time_is_that_of_the_processor(kind):
    """A job that only waits has used none; one that works is stopped, and the others are not."""
    jobs = [Job(steps=("while True: pass",)), Job(setup=("import time",), steps=("time.sleep(0.01)", "1"))]
    for one in longer(0.3 if kind == "monty" else 1):
        with one as seconds:
            (stopped,), (_, done) = ALL[kind](seconds).run(jobs)
            assert stopped.status == "limit"
            assert done.value == 1


def test_output_is_capped_while_it_is_read(patient):
    ((outcome,),) = patient.run([Job(setup=("def f(): return 'x' * 3 * 2**20",), steps=("f()",))])
    assert (outcome.status, "1048576 bytes" in outcome.detail) == ("limit", True)


def test_what_monty_prints_is_capped():
    ((outcome,),) = monty(1).run([Job(steps=("while True: print('x' * 10**5)",))])
    assert (outcome.status, "1048576 bytes" in outcome.detail) == ("limit", True)


def test_a_job_without_steps_and_no_jobs(patient):
    assert patient.run([]) == []
    assert patient.run([Job(setup=("x = 1",))]) == [()]


def test_code_beyond_monty_is_unsupported_and_not_failed():
    beyond = {
        "generators": "def g(x):\n    yield 2 * x\ndef f(x): return next(g(x))",
        "inheritance": "class A(dict): pass\ndef f(x): return 2 * x",
        "a module": "import heapq\ndef f(x): return 2 * x",
        "a method": "def f(x): return x.bit_length() + 2",
        "del": "def f(x):\n    y = [x]\n    del y[0]\n    return 4",
    }
    for name, verdict in zip(beyond, verdicts(MontyExecutor(), beyond.values()), strict=True):
        assert [check.status for check in verdict.checks] == ["unsupported"], name


def test_a_method_as_a_value_is_supported():
    codes = [
        "def f(x):\n    d = {4: 2, 3: 1}\n    return max(d, key=d.get)",
        "def f(x):\n    s = [4, 4, 3]\n    return sorted(set(s), key=s.count)[-1]",
        "def f(x): return list(map('aaaabb'.count, 'ab'))[0]",
    ]
    assert [verdict.passed for verdict in verdicts(MontyExecutor(), codes)] == [True] * 3


def test_code_that_is_no_python_has_failed(patient):
    (verdict,) = verdicts(patient, ["def f(x) return 2"])
    assert [check.status for check in verdict.checks] == ["failed"]


def test_without_a_sandbox_nothing_runs(tmp_path):
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').write('x')"
    with pytest.raises(ExecutorError, match="install bubblewrap"):
        BubblewrapExecutor(bwrap=str(tmp_path / "none")).run([Job(steps=(code,))])
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    refusing.chmod(0o755)
    with pytest.raises(ExecutorError, match="No permissions"):
        BubblewrapExecutor(bwrap=str(refusing)).run([Job(steps=(code,))])
    assert not marker.exists()


def test_without_sandlock_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sandlock", None)
    with pytest.raises(ExecutorError, match=r"pip install 'dsplus-chains\[sandlock\]'"):
        SandlockExecutor().run([Job(steps=("1",))])


def test_no_socket_opens_in_sandlock():
    families = [socket.AF_INET, socket.AF_UNIX, socket.AF_NETLINK]
    jobs = [Job(setup=("import socket",), steps=(f"str(socket.socket({int(family)}))",)) for family in families]
    assert [outcome.detail[:15] for (outcome,) in sandlock(PATIENCE).run(jobs)] == ["PermissionError"] * 3


def test_a_filter_that_the_kernel_does_not_take_is_said(monkeypatch):
    executor = sandlock()
    monkeypatch.setattr("dsplus_chains.verifying.sandlock_executor.filter_here", lambda shared: b"\xff" * 8)
    with pytest.raises(ExecutorError, match="filter of system calls: Invalid argument"):
        executor.run([Job(steps=("1",))])


@pytest.mark.parametrize("trick", ["", "import os, sys\nos.chmod('/', 0)", "import socket\nsocket.socket()"])
def test_a_job_that_ends_like_a_failed_start_is_none(patient_sandbox, trick):
    first, second = patient_sandbox.run(
        [Job(setup=(f"{trick}\nimport os\nos._exit(1)",), steps=("1",)), Job(steps=("2",))]
    )
    assert first[0].status != "value"
    assert second[0].value == 2


def test_a_machine_whose_calls_are_not_known_has_no_sandbox_of_cpython(monkeypatch):
    pytest.importorskip("sandlock")
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    for executor in (BubblewrapExecutor(bwrap=sys.executable), SandlockExecutor()):
        with pytest.raises(ExecutorError, match="kind 'abacus'"):
            executor.run([Job(steps=("1",))])


@pytest.mark.parametrize("on_error", ["raise", "defer"])
def test_a_scorer_whose_sandbox_does_not_start_says_so(tmp_path, on_error):
    verifier = CodeTests(executor=BubblewrapExecutor(bwrap=str(tmp_path / "none")), tests=lambda record: TEST)
    scorer = VerifiedScorer(generators={"a": lambda record: "f = abs"}, verifier=verifier, on_error=on_error)
    with pytest.raises(ExecutorError, match="install bubblewrap"):
        scorer.invoke("task")


@pytest.mark.parametrize("settings", [{"seconds": 0}, {"memory": -1}, {"output": 0}, {"workers": 0}, {"second": 1}])
@pytest.mark.parametrize("kind", [MontyExecutor, UnsafeSubprocessExecutor, BubblewrapExecutor, SandlockExecutor])
def test_settings_out_of_bounds_are_refused(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)
    assert isinstance(kind(), Executor)


BOMB = "x = [0]\nfor _ in range({}): x = [x, x]\ndef f(n): return x"


def test_values_that_only_look_plain_do_not_leave_monty():
    things = ["[range(3)]", "{1: lambda: 1}", "{A(): 1}", "([A()],)", "[{1: 2}.keys()]", "[iter([1])]", "{A()}"]
    found = MontyExecutor().run([Job(setup=("class A: pass",), steps=tuple(things)), Job(steps=("[1, {2: (3.5,)}]",))])
    assert [outcome.status for outcome in found[0]] == ["unsupported"] * len(things)
    assert found[1][0].value == [1, {2: (3.5,)}]


@pytest.mark.parametrize("code", [BOMB.format(18), BOMB.format(60), "x = []\nx.append(x)\ndef f(n): return x"])
def test_a_value_that_is_endless_outside_is_stopped_inside(code):
    with at_most(20, time.process_time):  # without a limit inside, this takes the host's memory
        (verdict,) = verdicts(MontyExecutor(seconds=2), [code])
    assert not verdict.passed


def test_code_that_rebinds_builtins_is_still_judged():
    (verdict,) = verdicts(
        MontyExecutor(), ["type = len = isinstance = list = 5\n_value = 6\ndef f(x): return x * x"], "assert f(2) == 4"
    )
    assert verdict.passed


@pytest.mark.parametrize(
    "code",
    [
        "def f(x): return map(str, [x])",
        "def f(x): return (str(y) for y in [x])",
        "def f(x):\n    found = filter(None, [str(x)])\n    return found",
        "f = lambda x: reversed([str(x)])",
        "def f(x): return [str(y) for y in [x]]\nreturn f",
        "def f(x): return '\0' and [str(x)]",
    ],
)
def test_what_cpython_would_not_take_does_not_pass(patient, code):
    (verdict,) = verdicts(patient, [code], "assert f(2) == ['2']")
    assert not verdict.passed


@pytest.mark.parametrize(
    "code",
    [
        "def f(x): return list(map(str, [x]))",
        "def f(x):\n    found = []\n    found += map(str, [x])\n    return found",
        "def f(x):\n    found = []\n    found.extend(str(y) for y in [x])\n    return sorted(zip(found, [1]))[0][:1]"
        "[0:1] and found",
        "def f(x): return [b for a, b in enumerate(map(str, reversed([x])))]",
        "def f(x):\n    a, = zip(*[[str(x)]])\n    return list(a)",
        "def zip(x): return [x]\ndef f(x): return zip(str(x))",
    ],
)
def test_lazy_values_are_used_as_in_cpython(patient, code):
    (verdict,) = verdicts(patient, [code], "assert f(2) == ['2']")
    assert verdict.passed, verdict.report

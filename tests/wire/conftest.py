"""A real OpenAI-compatible server with real weights: `transformers serve` over SmolLM2, on a free loopback port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsplus_chains.demo.fetch import default_cache_dir
from dsplus_chains.demo.weights import fetch_smollm2
from dsplus_chains.local.gguf import convert_gguf

READY_WITHIN = 900.0  # seconds; it takes 10 to 20 on two idle cores, nearly all of it imports
GIVE_UP = 60.0


@dataclass(frozen=True)
class WireServer:
    """A running server."""

    base_url: str
    model: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it without a warning, as a crash does: SIGKILL to its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(GIVE_UP)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, log: Path) -> Iterator[WireServer]:
    port = free_port()
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()"]
    command += ["serve", folder.name, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # the client needs the cores too
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    with log.open("wb") as output:
        # Started beside the folder, so that the model's name is the folder's and not a path.
        process = subprocess.Popen(
            command,
            cwd=folder.parent,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    server = WireServer(f"http://127.0.0.1:{port}/v1", folder.name, process)
    try:
        wait_until_ready(server, f"http://127.0.0.1:{port}/health", log)
        yield server
    finally:
        server.kill()


def wait_until_ready(server: WireServer, url: str, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(OSError), direct.open(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    state = f"ended with {server.process.poll()}" if server.process.poll() is not None else "is not ready"
    pytest.fail(f"the server {state} after {READY_WITHIN:.0f} s at most:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """SmolLM2 in transformers' own format, fetched and converted once per machine."""
    return convert_gguf(fetch_smollm2(), cache_dir=default_cache_dir())


@pytest.fixture(scope="session")
def openai_server(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    """One server for all tests that leave it alive."""
    with serving(smollm2_folder, tmp_path_factory.mktemp("server") / "log.txt") as server:
        yield server


@pytest.fixture
def start_openai_server(smollm2_folder: Path, tmp_path: Path) -> Iterator[Callable[[], WireServer]]:
    """Starts a server of the test's own, to be killed; whatever is still alive afterwards is stopped."""
    with contextlib.ExitStack() as running:
        started: list[WireServer] = []

        def start() -> WireServer:
            log = tmp_path / f"server{len(started)}.txt"
            started.append(running.enter_context(serving(smollm2_folder, log)))
            return started[-1]

        yield start

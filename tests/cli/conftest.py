"""A bundle, tables, and a server that speaks just enough of the OpenAI protocol."""

from __future__ import annotations

import csv
import errno
import json
import re
import threading
import time
from dataclasses import dataclass, field, replace

import pytest
from batch_server import batch_server
from fakes import NamedEncoder, threshold_between
from local_server import QuietHandler, listening
from typer.testing import CliRunner

TRAIN = [(f"{word} {thing}", label) for label, words in
         {"positive": ("good", "nice", "fine"), "negative": ("bad", "poor", "ugly")}.items()
         for word in words for thing in ("phone", "price", "sound")]  # fmt: skip


@dataclass
class Server:
    """Answers what the text says; it counts who asked what, and remembers whom it answered.

    A trusting one takes the small model's estimate, if it is told of it. What is not offered it does not say. After
    `most` answers it holds all other requests until it is let `go`.
    """

    delay: float = 0.0
    most: int | None = None
    failing: bool = False
    trusting: bool = False
    prompts: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    go: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(self, body):
        prompt = body["messages"][-1]["content"]
        text = prompt.split("<input>\n", 1)[1].split("\n</input>", 1)[0]
        whole = "\n\n".join(message["content"] for message in body["messages"])
        with self.lock:
            self.asked.append(text)
            self.prompts.append(whole)
            held = self.most is not None and len(self.asked) > self.most
        if held:
            self.go.wait(600)
        time.sleep(self.delay)
        if self.failing or "refuse" in text:
            return 400, {"error": {"message": "no, thank you", "type": "invalid_request_error"}}, text
        said = "who knows" if "shrug" in text else "negative" if "bad" in text else "positive"
        if self.trusting and (told := re.search(r"estimates:\n- (\w+)", prompt)):
            said = told[1]
        if "- none of these" in whole and f"- {said}\n" not in whole:
            said = "none of these"
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        return 200, {**head, "choices": [choice], "usage": usage}, text


@pytest.fixture
def server():
    state = Server()

    class Handler(QuietHandler):
        def do_POST(self):
            status, answer, text = state.reply(json.loads(self.body()))
            if self.answer(json.dumps(answer).encode(), status=status) and status == 200:
                with state.lock:
                    state.answered.append(text)

    with listening(Handler) as state.port:
        yield state
        state.go.set()


@pytest.fixture(autouse=True)
def tiny(monkeypatch, request):
    """No weights, but for tests marked local: whatever encoder a command names, it is this one.

    Networks learn in a few steps. How good they are is not asked here.
    """
    if request.node.get_closest_marker("local"):
        return
    from dsplus_chains.encoding import sentence
    from dsplus_chains.scoring.members import network

    monkeypatch.setattr(network, "FEWEST_STEPS", 20)
    loader = staticmethod(lambda *_args, **_kwargs: NamedEncoder())
    monkeypatch.setattr(sentence.SentenceEncoder, "from_pretrained", loader)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def table(tmp_path):
    """Writes rows as a CSV file."""

    def write(name, columns, rows):
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
        return path

    return write


@pytest.fixture
def dsplus():
    """Runs the command; gives its exit code and what it printed, on one line."""
    from dsplus_chains.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    return run


@pytest.fixture
def typed():
    """Runs a command with lines on its standard input."""
    from dsplus_chains.cli import app

    def run(arguments, lines):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=lines)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.output

    return run


@pytest.fixture
def fitted(tmp_path, table, dsplus):
    """A bundle that has not been tuned."""
    data = table("train.csv", ["text", "label"], TRAIN)
    code, said = dsplus("fit", "--data", data, "--text", "text", "--label", "label", "--out", tmp_path / "b", "-q")
    assert code == 0, said
    return tmp_path / "b"


@pytest.fixture
def tuned(fitted):
    """A bundle with a threshold between the confidences of two texts, or None."""

    def to(kept=None, deferred=None):
        from dsplus_chains.storage.bundle import Bundle
        from dsplus_chains.tuning.threshold_tuning import tune_threshold

        bundle = Bundle.load(fitted)
        records = bundle.scorer.batch([text for text, _ in TRAIN])
        labels = [label for _, label in TRAIN]
        found = tune_threshold([record["prediction"] for record in records], labels, labels)
        threshold = None
        if kept is not None:
            threshold = threshold_between(bundle.scorer, kept, deferred)
        bundle.with_tuned(replace(found, threshold=threshold)).save(fitted)
        return fitted

    return to


@pytest.fixture
def full_disk(monkeypatch):
    """Has no space for files whose names hold a certain part."""
    from dsplus_chains.storage import files

    sync = files._sync

    def under(part):
        def no_space(path):
            if part in path.name:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(path)

        monkeypatch.setattr(files, "_sync", no_space)

    return under


@pytest.fixture
def jobs(request):
    """A server of batch jobs, which a look has done. The module's `say` answers."""
    with batch_server(request.module.say) as running:
        running.looks = 1
        yield running

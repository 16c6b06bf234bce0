"""The `dsplus` command in a process of its own, with the tiny encoder, for tests that kill or interrupt it."""

from __future__ import annotations

import csv
import time
from pathlib import Path

TINY = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fakes import TinyEncoder
from dsplus_chains.encoding import sentence
TinyEncoder.recipe = {{"kind": "sentence", "name": "tiny"}}
sentence.SentenceEncoder.from_pretrained = staticmethod(lambda *args, **kwargs: TinyEncoder())
"""
"""What makes the tiny encoder the encoder of whatever follows."""

COMMAND = f"""{TINY}
from dsplus_chains.cli import app
app()
"""


def read(path):
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def wait_until(run, reached):
    """Wait until a process has come to a certain point. It must not end before, or never get there."""
    deadline = time.monotonic() + 600
    while not reached():
        if run.poll() is not None or time.monotonic() > deadline:
            run.kill()
            raise AssertionError(f"It did not get there. It ended with {run.poll()}.")
        time.sleep(0.01)
    assert run.poll() is None, "It has ended."

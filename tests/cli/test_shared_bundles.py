"""The commands on bundles of others, and with a server whose address holds a password."""

from __future__ import annotations

import pytest

from dsplus_chains.schema import hash_of_file

ROWS = [
    ("good phone", "positive", "positive"),
    ("bad phone", "negative", "negative"),
    ("hm bad", "negative", "negative"),
]
PASSWORD = "hunter2"


@pytest.fixture
def dev(table):
    return table("dev.csv", ["text", "label", "gpt"], ROWS * 5)


@pytest.fixture
def commands(dev, tmp_path):
    """The arguments of every command that loads a bundle, without the large model."""
    labelled = ("--data", dev, "--text", "text", "--label", "label")
    return {
        "tune": labelled,
        "evaluate": (*labelled, "--report", tmp_path / "report", "--json", tmp_path / "numbers.json"),
        "run": ("--data", dev, "--text", "text", "--out", tmp_path / "out.csv"),
    }


@pytest.mark.parametrize("command", ["tune", "evaluate", "run"])
def test_every_command_takes_a_pin(tuned, commands, dsplus, command):
    bundle = tuned()
    pin = hash_of_file(bundle / "bundle.json")
    given = (command, bundle, *commands[command], "--large-column", "gpt", "-q")
    code, said = dsplus(*given, "--sha256", "0" * 64)
    assert (code, "do not use it" in said) == (2, True)
    code, said = dsplus(*given, "--sha256", pin)
    assert code == 0, said
    if command == "tune":
        assert hash_of_file(bundle / "bundle.json") in said


def test_a_password_in_the_servers_address_is_written_nowhere(fitted, commands, dsplus, server, tmp_path):
    url = server.base_url.replace("http://", f"http://me:{PASSWORD}@")
    large = ("--large", "openai:fake", "--base-url", url, "-q")
    told = ""
    for command, given in commands.items():
        answers = () if command == "run" else ("--answers", tmp_path / "answers.sqlite")
        code, said = dsplus(command, fitted, *given, *large, *answers)
        assert code == 0, said
        told += said
    server.failing = True
    for command, given in commands.items():
        _, said = dsplus(command, fitted, *given, *large, *(("--retry-fallbacks",) if command == "run" else ()))
        told += said
    assert "127.0.0.1" in (fitted / "bundle.json").read_text()
    assert PASSWORD not in told
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path.name for path in files if PASSWORD.encode() in path.read_bytes()] == []


def test_an_error_names_no_password(fitted, commands, dsplus):
    large = ("--large", "openai:fake", "--base-url", f"http://me:{PASSWORD}@127.0.0.1:9/v1", "-q")
    for command in ("tune", "evaluate"):
        _, said = dsplus(command, fitted, *commands[command], *large, "--timeout", "3")
        assert PASSWORD not in said

"""Keys and passwords: found wherever they are in data, hidden in texts, and told from harmless words."""

from __future__ import annotations

import logging

import pytest
from clock import at_most
from fakes import TinyEncoder
from langchain_openai import ChatOpenAI

from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import BundleError, describe_error, hide_secrets, place_of_secret, without_secrets

SECRET = "hunter2hunter2hunter2"
DATA = [
    {"api_key": SECRET}, {"apiKey": SECRET}, {"OPENAI_API_KEY": SECRET}, {"openai-api-key": SECRET}, {"token": SECRET},
    {"hf_token": SECRET}, {"accessToken": SECRET}, {"X-Api-Key": SECRET}, {"password": SECRET}, {"passwd": SECRET},
    {"client_secret": SECRET}, {"headers": {"Authorization": SECRET}},
    {"headers": {"authorization": f"Bearer {SECRET}"}},
    {"headers": {"Proxy-Authorization": SECRET}}, {"headers": [{"Cookie": SECRET}]}, {"credentials": {"user": SECRET}},
    {"model": {"settings": [{"deep": {"api_key": SECRET}}]}}, {"base_url": f"http://me:{SECRET}@host:8000/v1"},
    {"base_url": f"https://{SECRET}@host/v1"}, {"urls": ["http://a", f"http://a:{SECRET}@b"]},
    {"url": f"https://host/v1?api_key={SECRET}&x=1"}, {"url": f"https://host/v1?x=1&sig={SECRET}"},
    {"note": f"sk-{SECRET}"}, {"note": f"asked with Bearer {SECRET}"}, {"aws_secret_access_key": SECRET},
    {"pwd": SECRET},
    {"base_url": f"http://me:{SECRET}@@host/v1"}, {"auth": ["me", SECRET]},
    {"sessionCookie": SECRET}, {"token": {"v": SECRET}},
]  # fmt: skip
HARMLESS = [
    {"max_tokens": 5}, {"tokens": 100}, {"token_limit": 3}, {"input_key": "text"}, {"key": "value"}, {"api_key": None},
    {"base_url": "http://localhost:8000/v1"}, {"note": "write to me@host.org"}, {"token_usage": {"prompt_tokens": 5}},
    {"url": "https://host/a?page=2&sort=up"}, {"author": "me"}, {"password": ""}, {"data_sha256": "0" * 64},
    {"name": "openai:gpt-4o-mini"}, {"monkey": "business"}, {"passage": "text"}, {"tokenizer": "fast"},
]  # fmt: skip


@pytest.fixture(scope="module")
def scorer():
    from dsplus_chains import SmallModelScorer

    return SmallModelScorer.fit(["good", "very good", "bad", "very bad"], list("aabb"), encoder=TinyEncoder())


@pytest.mark.parametrize("data", DATA, ids=range(len(DATA)))
def test_a_secret_is_found_and_never_reaches_a_bundle(data, scorer):
    from dsplus_chains.storage.bundle import Bundle

    assert place_of_secret(data) is not None
    assert SECRET not in str(without_secrets(data))
    for where in ("large", "metadata"):
        with pytest.raises(BundleError, match="no place for secrets") as caught:
            Bundle(scorer=scorer, **{where: data})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("data", HARMLESS, ids=range(len(HARMLESS)))
def test_harmless_data_stays_as_it_is(data):
    assert place_of_secret(data) is None
    assert without_secrets(data) == data


@pytest.mark.parametrize(
    "text",
    [
        f"no answer from http://me:{SECRET}@host/v1", f"redis://:{SECRET}@host refused", f"api_key={SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}", f'{{"api_key": "{SECRET}"}}',
        f"Incorrect API key provided: sk-{SECRET}.",
        f"Authorization: Basic {SECRET}", f"GET /v1?token={SECRET}&x=1", f"password : {SECRET}", f"x-api-key: {SECRET}",
        f"hf_{SECRET} is not valid", f"token='{SECRET}'", f"ghp_{SECRET}", f"eyJ{SECRET}.{SECRET}.{SECRET}",
    ],
)  # fmt: skip
def test_a_secret_is_hidden_in_errors_and_logs(text, caplog):
    assert SECRET not in hide_secrets(text)
    assert hide_secrets(hide_secrets(text)) == hide_secrets(text)
    assert SECRET not in describe_error(ConnectionError(text))
    with caplog.at_level(logging.WARNING, "dsplus_chains"):
        tell_once(text, "a secret", text)
    assert caplog.records
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["It took 5 tokens.", "Got max_tokens=5 but expected 3", "TimeoutError: no answer in 5 s", "key=5", "a@b.org"],
)
def test_other_texts_are_not_touched(text):
    assert hide_secrets(text) == text


def test_a_secret_of_the_large_model_is_in_no_repr(scorer):
    from dsplus_chains import data_shunt

    headers = {"Authorization": f"Bearer {SECRET}", "x-api-key": SECRET}
    url = f"http://me:{SECRET}@host/v1"
    model = ChatOpenAI(model="x", api_key=SECRET, base_url=url, default_headers=headers)
    chain = data_shunt(scorer, model, instruction="Which?", threshold=0.5)
    assert SECRET not in repr(chain) + str(chain)
    assert SECRET not in repr(chain.batch) + repr([chain])


@pytest.mark.parametrize(
    "text",
    ["://" * 200_000, "token" * 200_000, "eyJ-" * 200_000, "sk-" * 200_000, "token" + " " * 500_000, "a" * 2_000_000],
)  # fmt: skip
def test_hiding_takes_linear_time(text):
    with at_most(15):
        hidden = [hide_secrets(one) for one in (text, f"{text} Bearer {SECRET}")]
    assert len(hidden[0]) <= len(text)
    assert SECRET not in hidden[1]


@pytest.mark.parametrize(
    "sign", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x00", "\x08", "\r", "\x7f", "\u202e", "\u2066", "\x1bc"]
)
def test_escape_codes_of_an_error_are_shown_and_not_obeyed(sign, caplog):
    told = describe_error(ValueError(f"all{sign}gone"))
    with caplog.at_level(logging.WARNING, "dsplus_chains"):
        tell_once(f"all{sign}gone", "sign", sign)
    for text in (told, caplog.messages[0]):
        assert sign[0] not in text

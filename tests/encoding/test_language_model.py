"""The language model encoder, over a tiny random Llama: each number checked against the model called by hand."""

import numpy as np
import pytest
import torch
from tiny_llama import tiny_llama, tiny_tokenizer

from dsplus_chains import SmallModelScorer
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.language_model import LanguageModelEncoder
from dsplus_chains.schema import BundleError, InvalidInputError

TEXTS = ["very good phone", "bad", "the card is lost", "price good good good good very"]
PROMPT = "phone : {text} is good :"


@pytest.fixture
def encoder():
    return LanguageModelEncoder(model=tiny_llama().model.eval(), tokenizer=tiny_tokenizer(), prompt=PROMPT)


def by_hand(encoder, text):
    before, text_ids, after = (encoder.tokenizer(part)["input_ids"] for part in ("phone :", text, "is good :"))
    ids = before + text_ids + after
    with torch.inference_mode():
        layers = encoder.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    mean, last = (
        layers[1][0, len(before) : len(before + text_ids)].mean(0),
        layers[2][0, -1],
    )  # two layers: two thirds up is 1
    return np.concatenate([mean / mean.norm(), last / last.norm()])


def test_a_vector_is_the_texts_mean_and_the_last_token_of_the_prompt(encoder):
    expected = [by_hand(encoder, text) for text in TEXTS]
    assert np.allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_a_batch_and_single_texts_agree_in_any_order(encoder):
    together = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        assert np.allclose(encoder.encode([text])[0], together[row], atol=1e-5)
    assert np.allclose(encoder.encode(TEXTS[::-1]), together[::-1], atol=1e-5)
    assert encoder.encode([]).shape == (0, 64)


@pytest.mark.parametrize(
    ("prompt", "text", "span"),
    [
        ("{text} is good :", "very good phone", slice(1, 3)),  # the very first token tells nothing of a text
        ("{text} is good :", "phone", slice(0, 1)),  # but is all there is
        ("phone : {text} is good :", "phone", slice(2, 3)),
        ("phone : {text} is good :", "", slice(1, 2)),
        ("{text} is good :", "", slice(0, 1)),
    ],
)
def test_the_mean_is_over_the_text_alone(encoder, prompt, text, span):
    other = LanguageModelEncoder(model=encoder.model, tokenizer=encoder.tokenizer, prompt=prompt)
    ids = encoder.tokenizer(prompt.format(text=text))["input_ids"]
    with torch.inference_mode():
        layer = encoder.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[1]
    mean = layer[0, span].mean(0)
    assert np.allclose(other.encode([text])[0, :32], mean / mean.norm(), atol=1e-5)


def test_an_empty_text_without_a_prompt_is_a_vector_too(encoder):
    bare = LanguageModelEncoder(model=encoder.model, tokenizer=encoder.tokenizer, prompt="{text}")
    assert np.isfinite(bare.encode(["", "good"])).all()


def test_a_text_that_spells_a_special_token_is_text(encoder):
    encoder.tokenizer.add_special_tokens({"additional_special_tokens": ["price"]})  # found within words too
    assert encoder.tokenizer("badprice")["input_ids"] == encoder.tokenizer("bad price")["input_ids"]
    assert np.allclose(encoder.encode(["badprice"]), encoder.encode(["unknown"]), atol=1e-5)


def saved(folder, **tokens):
    tiny_llama().save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    for name, value in tokens.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_with_a_reply_the_prompt_is_a_message_in_the_models_own_format(encoder, tmp_path):
    chat = LanguageModelEncoder.from_pretrained(
        saved(tmp_path), prompt="phone : {text} is it good", reply="it is", device="cpu"
    )
    plain = "user : phone : {text} is it good <end> assistant : it is"
    expected = LanguageModelEncoder(model=encoder.model, tokenizer=encoder.tokenizer, prompt=plain)
    assert chat.prompt == plain
    assert np.allclose(chat.encode(TEXTS), expected.encode(TEXTS), atol=1e-5)


def test_a_reply_needs_a_chat_format(tmp_path):
    with pytest.raises(InvalidInputError, match="Got a reply but the model's tokenizer knows no chat format"):
        LanguageModelEncoder.from_pretrained(saved(tmp_path, chat_template=None), prompt="{text}", reply="")


def test_what_is_asked_changes_one_half_of_the_vector(encoder):
    other = LanguageModelEncoder(model=encoder.model, tokenizer=encoder.tokenizer, prompt="phone : {text} bad price")
    one, two = encoder.encode(TEXTS), other.encode(TEXTS)
    assert np.allclose(one[:, :32], two[:, :32], atol=1e-5)
    assert not np.allclose(one[:, 32:], two[:, 32:], atol=1e-2)


def test_a_long_text_is_read_from_its_beginning():
    short = LanguageModelEncoder(
        model=tiny_llama().model.eval(), tokenizer=tiny_tokenizer(), prompt="{text}", max_tokens=2
    )
    assert np.allclose(short.encode(["good price bad bad"]), short.encode(["good price"]), atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"max_tokens": 0}, {"batch_size": 0}, {"prompt": "good " * 128 + "{text}"}, {"prompt": "good"}]
)
def test_what_does_not_fit_is_refused(settings):
    with pytest.raises(InvalidInputError, match=r"^Got (batch_size=|the prompt)"):
        LanguageModelEncoder(
            **{"model": tiny_llama().model, "tokenizer": tiny_tokenizer(), "prompt": "{text}", **settings}
        )


def test_a_text_longer_than_the_window_leaves_room_for_the_prompt(encoder):
    assert np.allclose(encoder.encode(["good " * 300]), encoder.encode(["good " * 123]), atol=1e-5)


def test_a_causal_model_works_as_well(encoder):
    whole = LanguageModelEncoder(model=tiny_llama().eval(), tokenizer=tiny_tokenizer(), prompt=PROMPT)
    assert np.allclose(whole.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)


def test_it_loads_what_transformers_saved_and_feeds_a_scorer(encoder, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = LanguageModelEncoder.from_pretrained(
        str(tmp_path), prompt=PROMPT, device="cpu", max_tokens=100, batch_size=2
    )
    assert isinstance(loaded, Encoder)
    assert np.allclose(loaded.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)
    scorer = SmallModelScorer.fit(["good", "very good", "bad", "very bad"], ["+", "+", "-", "-"], encoder=loaded)
    scorer.save(tmp_path / "scorer")
    again = SmallModelScorer.load(tmp_path / "scorer", device="cpu")
    assert again.invoke("good phone") == scorer.invoke("good phone")
    assert again.encoder.recipe == loaded.recipe


def test_one_whose_weights_nobody_can_find_says_so(encoder, tmp_path):
    scorer = SmallModelScorer.fit(["good", "very good", "bad", "very bad"], ["+", "+", "-", "-"], encoder=encoder)
    scorer.save(tmp_path)
    with pytest.raises(BundleError, match="an encoder of your own, 'language model'"):
        SmallModelScorer.load(tmp_path)
    assert SmallModelScorer.load(tmp_path, encoder=encoder).invoke("bad") == scorer.invoke("bad")


def test_weights_are_read_as_numbers_that_it_knows(tmp_path):
    with pytest.raises(
        InvalidInputError, match=r"Got dtype='float8' \(str\) but expected one of \['float32', 'bfloat16'\]"
    ):
        LanguageModelEncoder.from_pretrained(saved(tmp_path), prompt="{text}", dtype="float8")

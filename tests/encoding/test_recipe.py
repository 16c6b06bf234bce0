"""How encoders are made again."""

import numpy as np
import pytest
from fakes import TinyEncoder
from tiny_llama import tiny_llama, tiny_tokenizer

from dsplus_chains import EncoderUnion
from dsplus_chains.encoding.encoder import recipe_of
from dsplus_chains.encoding.language_model import LanguageModelEncoder
from dsplus_chains.encoding.loading import load_encoder
from dsplus_chains.schema import BundleError


@pytest.fixture
def folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_union_is_made_again_from_plain_data(folder):
    one = LanguageModelEncoder.from_pretrained(folder, prompt="phone : {text} is", device="cpu", max_tokens=3)
    two = LanguageModelEncoder.from_pretrained(
        folder, prompt="{text}", reply="it is", device="cpu", dtype="bfloat16", batch_size=2
    )
    union = EncoderUnion(encoders=[one, two])
    recipe = recipe_of(union)
    assert [part["max_tokens"] for part in recipe["encoders"]] == [3, 1024]
    assert [part["dtype"] for part in recipe["encoders"]] == ["float32", "bfloat16"]
    again = load_encoder(recipe, device="cpu")
    texts = ["good phone price card", "bad"]
    assert np.array_equal(again.encode(texts), union.encode(texts))
    assert recipe_of(again) == recipe


def test_where_one_cannot_be_made_again_the_union_cannot():
    assert recipe_of(TinyEncoder()) is None
    assert recipe_of(EncoderUnion(encoders=[TinyEncoder()])) is None


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"kind": "telepathy"}, "of kind 'telepathy', which this version does not know"),
        ({}, "of kind None"),
        ({"kind": "union"}, r"cannot be read \(KeyError\('encoders'\)\)"),
        ({"kind": "sentence", "name": "auto", "trust": True}, "cannot be read"),
        ({"kind": "union", "encoders": [{"kind": 7}]}, "of kind 7"),
    ],
)
def test_what_is_no_recipe_is_refused(recipe, told):
    with pytest.raises(BundleError, match=told):
        load_encoder(recipe)

"""Networks of timm by name. Where timm is missing, what it says of that is tested alone."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from digits import digits

from dsplus_chains import Bundle, SmallModelScorer
from dsplus_chains.encoding import ImageEncoder, load_encoder, picture_of
from dsplus_chains.encoding.encoder import recipe_of
from dsplus_chains.encoding.timm_network import is_of_timm
from dsplus_chains.schema import BundleError, InvalidInputError

LOCAL = {"device": "cpu", "local_files_only": True}


@pytest.fixture
def timm():
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm is not here: {error}")
    return timm


@pytest.fixture
def folder(timm, tmp_path):
    """A small network with random weights, as timm saves it. Its statistics are those of noise, so that none is 0."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=10)
    network(torch.rand(8, 3, 160, 160))
    timm.models.save_for_hf(network, tmp_path / "network", safe_serialization=True)
    return tmp_path / "network"


def test_who_loads_a_folder_is_told_by_its_settings(tmp_path):
    told = {"architecture": "test_vit", "pretrained_cfg": {}}
    for settings, expected in [(told, True), ({**told, "model_type": "timm_wrapper"}, False), ({}, False), ([], False)]:
        (tmp_path / "config.json").write_text(json.dumps(settings))
        assert is_of_timm(str(tmp_path)) == expected
    (tmp_path / "config.json").write_text("no settings")
    assert not is_of_timm(str(tmp_path))
    assert not is_of_timm("auto")


def test_without_timm_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'dsplus-chains\[timm\]'"):
        ImageEncoder.from_pretrained("timm/resnet18.tv_in1k", **LOCAL)
    with pytest.raises(BundleError, match=r"dsplus-chains\[timm\]"):
        load_encoder({"kind": "image", "name": "timm/resnet18.tv_in1k"})
    monkeypatch.delitem(sys.modules, "timm")
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"nms does not exist\); install the torchvision that was built for your"):
        ImageEncoder.from_pretrained("timm/resnet18.tv_in1k", **LOCAL)


def test_vectors_are_those_of_timm(timm, folder):
    from sklearn.datasets import load_sample_images

    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    photographs = load_sample_images().images
    with torch.inference_mode():
        expected = network(torch.stack([prepare(picture_of(one)) for one in photographs])).numpy()
    found = ImageEncoder.from_pretrained(str(folder), **LOCAL).encode(photographs)
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected[0] - expected[1])


def test_a_bundle_finds_its_network_again(folder, tmp_path):
    pixels, labels = digits(120)
    scorer = SmallModelScorer.fit(pixels, labels, modality="image", encoder=str(folder), model="linear")
    assert recipe_of(scorer.encoder) == {"kind": "image", "name": str(folder)}
    Bundle(scorer=scorer, instruction="Which digit?").save(tmp_path / "bundle")
    again = Bundle.load(tmp_path / "bundle").scorer
    for before, after in zip(scorer.batch(list(pixels[:5])), again.batch(list(pixels[:5])), strict=True):
        assert after["prediction"].probabilities == pytest.approx(before["prediction"].probabilities)


def test_names_are_those_of_the_hub(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BundleError, match="allow_download=True"):
        load_encoder({"kind": "image", "name": "timm/small"})
    kept = tmp_path / "cache" / "models--timm--small"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots").mkdir()
    folder.rename(kept / "snapshots" / ("0" * 40))
    encoder = load_encoder({"kind": "image", "name": "timm/small"}, device="cpu")
    assert encoder.encode(digits(2)[0]).shape == (2, 256)


def test_weights_that_could_run_code_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidInputError, match=r"without model.safetensors"):
        ImageEncoder.from_pretrained(str(folder), **LOCAL)


def test_pictures_are_squares_in_three_colours(timm, tmp_path):
    network = timm.create_model("test_efficientnet", in_chans=1)
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    with pytest.raises(InvalidInputError, match="whose pictures are 1 x 160 x 160"):
        ImageEncoder.from_pretrained(str(tmp_path), **LOCAL)

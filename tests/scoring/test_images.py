"""Small models of images."""

import base64
import json
import shutil
import warnings

import numpy as np
import pytest
from digits import PixelEncoder, digits, written
from fakes import Recording, TinyEncoder

from dsplus_chains import (
    Bundle,
    ConfidenceBranch,
    ExperienceStore,
    LabelMask,
    MultiLabelScorer,
    NumberScorer,
    PipelineScorer,
    RunnableScorer,
    SmallModelScorer,
    data_shunt,
    evaluate,
)
from dsplus_chains.encoding import read_image
from dsplus_chains.schema import BundleError, InvalidInputError, Prediction, TrainingDataError, TrainingDataWarning

PIXELS, LABELS = digits(240)
MORE, TRUE = digits(400)[0][240:], digits(400)[1][240:]
FEW = {"encoder": PixelEncoder(), "model": "linear"}
"""The linear head alone, which fits faster."""


@pytest.fixture(scope="module")
def scorer():
    return SmallModelScorer.fit(PIXELS, LABELS, modality="image", **FEW)


def accuracy(scorer, images, labels):
    return np.mean(
        [record["prediction"].label == label for record, label in zip(scorer.batch(images), labels, strict=True)]
    )


def test_a_small_model_reads_digits_and_has_no_words():
    scorer = SmallModelScorer.fit(PIXELS, LABELS, modality="image", encoder=PixelEncoder())
    assert [report.name for report in scorer.classifier.reports] == ["linear", "mlp", "neighbors"]
    assert accuracy(scorer, list(MORE), TRUE) > 0.9
    assert scorer.track_record is not None
    assert scorer.classifier.own_distances is not None


def test_the_path_tells_nothing(tmp_path):
    """Each label has a folder of its own, and the pixels are noise. Read as text, the folder's name would tell all."""
    noise = np.random.default_rng(0).integers(0, 255, (80, 8, 8), dtype=np.uint8)
    labels = [str(row % 2) for row in range(80)]
    paths = []
    for label, path in zip(labels, written(tmp_path, noise), strict=True):
        (tmp_path / label).mkdir(exist_ok=True)
        paths.append(str(path.rename(tmp_path / label / path.name)))
    fitted = SmallModelScorer.fit(paths, labels, modality="image", **FEW)
    assert (fitted.held_out.logs.argmax(axis=1) == fitted.held_out.targets).mean() < 0.7


def test_copies_are_found_by_their_bytes(tmp_path):
    pixels, labels = digits(60)
    paths = written(tmp_path, pixels)
    copies = [tmp_path / f"again{row}.png" for row in range(30)]
    for path, copy in zip(paths, copies, strict=False):
        shutil.copy(path, copy)
    fitted = SmallModelScorer.fit([*paths, *copies], labels + labels[:30], modality="image", **FEW)
    assert fitted.training_rows.summary[0].startswith("copies: 30 of 90 rows")
    assert [prediction.training for prediction in fitted.out_of_fold].count("copy") == 30
    elsewhere = tmp_path / "elsewhere.bin"
    shutil.copy(paths[0], elsewhere)
    (tmp_path / "new").mkdir()
    new = written(tmp_path / "new", MORE[:1])[0]
    assert [record["prediction"].training for record in fitted.batch([elsewhere, new])] == ["seen", None]
    assert fitted.training_of([elsewhere, str(new), elsewhere.read_bytes()]) == ["seen", None, "seen"]
    with pytest.warns(TrainingDataWarning, match="with several labels, such as <image '0000.png'"):
        SmallModelScorer.fit([*paths[:4], *copies[:1]], ["a", "a", "b", "b", "b"], modality="image", **FEW)


def test_a_record_is_light_and_knows_what_it_was_called_with(scorer):
    data = read_image(MORE[0]).data
    stored = {"bytes": data, "path": None}
    assert scorer.invoke(stored)["prediction"] == scorer.invoke({"input": stored})["prediction"]
    block = {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": "image/png"}
    for value in (MORE[0], data, block):
        record = scorer.invoke(value)
        assert set(record) == {"input", "prediction"}
        assert len(json.dumps({"input": record["input"]})) < 100
        large = Recording(lambda given: "7")
        (scorer | ConfidenceBranch(large=large, threshold=None)).invoke(value)
        assert large.inputs[0] is value
    record = scorer.model_copy(update={"input_key": "photo"}).invoke({"photo": block, "id": 7})
    assert set(record) == {"input", "photo", "id", "prediction"}
    assert record["photo"] is record["input"]
    assert len(repr(record)) < 2000


def test_faulty_rows_fail_alone(scorer, tmp_path):
    rows = [MORE[0], "https://example.com/a.png", tmp_path / "none.png", {"image": MORE[0]}, "text", MORE[1]]
    results = scorer.batch(rows, return_exceptions=True)
    assert [isinstance(result, InvalidInputError) for result in results] == [False, True, True, True, True, False]
    assert "expected the image under 'input'" in str(results[3])
    half = tmp_path / "half.png"
    half.write_bytes(read_image(MORE[2]).data[:50])
    deferring = scorer.deferring()
    found = deferring.batch([MORE[0], half])
    assert found[0]["prediction"].label is not None
    assert (found[1]["prediction"].label, "cannot be decoded" in found[1]["small_error"]) == (None, True)
    with pytest.raises(InvalidInputError, match="something else under 'input'"):
        scorer.model_copy(update={"input_key": "photo"}).invoke({"photo": MORE[0], "input": MORE[1]})


async def test_a_broken_image_costs_the_others_nothing(scorer, tmp_path):
    places = [tmp_path / f"{number}.png" for number in range(8)]
    for place in places:
        place.write_bytes(read_image(MORE[2]).data[: 50 + places.index(place)])
    rows = [MORE[0], *places, MORE[1]]
    alone = [record["prediction"] for record in scorer.batch([MORE[0], MORE[1]])]
    for used in (scorer, scorer.deferring()):
        for way in (used.batch(rows, return_exceptions=True), await used.abatch(rows, return_exceptions=True)):
            assert [way[0]["prediction"], way[-1]["prediction"]] == alone
            told = [str(one if isinstance(one, Exception) else one["small_error"]) for one in way[1:-1]]
            assert all(place.name in said for place, said in zip(places, told, strict=True))
    scorer.encoder.calls.clear()
    scorer.batch(rows, return_exceptions=True)
    assert scorer.encoder.calls == [10, 2]
    assert all(isinstance(one, InvalidInputError) for one in scorer.batch(places[:2], return_exceptions=True))


async def test_all_ways_to_call_agree(scorer):
    known = [record["prediction"] for record in scorer.batch(list(MORE[:8]))]
    one_by_one = [scorer.invoke(one)["prediction"] for one in MORE[:8]]
    awaited = [record["prediction"] for record in await scorer.abatch(list(MORE[:8]))]
    assert [one.label for one in known] == [one.label for one in one_by_one] == [one.label for one in awaited]
    scorer.encoder.calls.clear()
    scorer.batch(list(MORE[:8]))
    assert scorer.encoder.calls == [8]


def test_saved_and_loaded(scorer, tmp_path):
    scorer.save(tmp_path / "scorer")
    with pytest.raises(BundleError, match="an encoder of your own"):
        SmallModelScorer.load(tmp_path / "scorer")
    with pytest.raises(BundleError, match="reads texts"):
        SmallModelScorer.load(tmp_path / "scorer", encoder=TinyEncoder())
    again = SmallModelScorer.load(tmp_path / "scorer", encoder=PixelEncoder())
    assert again.modality == "image"
    assert again.model_hash == scorer.model_hash
    images = list(MORE[:20])
    assert [one["prediction"] for one in again.batch(images)] == [one["prediction"] for one in scorer.batch(images)]
    assert again.training_of(list(PIXELS[:2])) == ["seen", "seen"]
    with pytest.raises(BundleError, match="encodes otherwise"):
        SmallModelScorer.load(tmp_path / "scorer", encoder=Turned())


class Turned(PixelEncoder):
    """Sees everything upside down."""

    def encode(self, images):
        return super().encode(images)[:, ::-1]


def test_a_saved_model_of_texts_says_nothing_of_images(tmp_path, scorer):
    texts = [f"good {word}" for word in "abc"] + [f"bad {word}" for word in "abc"]
    fitted = SmallModelScorer.fit(texts, ["good"] * 3 + ["bad"] * 3, encoder=TinyEncoder())
    fitted.save(tmp_path / "texts")
    assert "modality" not in (tmp_path / "texts" / "scorer.json").read_text()
    scorer.save(tmp_path / "images")
    assert json.loads((tmp_path / "images" / "scorer.json").read_text())["classifier"]["modality"] == "image"


def test_a_bundle_holds_no_image_and_names_rows_by_their_bytes(tmp_path):
    one, other = (tmp_path / name for name in ("one", "other"))
    made = []
    for folder in (one, other):
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made.append(
                Bundle.fit(
                    written(folder, PIXELS[:48]),
                    ["odd" if int(label) % 2 else "even" for label in LABELS[:48]],
                    modality="image",
                    encoder=PixelEncoder(),
                    instruction="Which digit?",
                )
            )
    hashes = [bundle.metadata["data_sha256"] for bundle in made]
    assert hashes[0] == hashes[1]
    assert made[0].task.examples is None
    made[0].save(tmp_path / "bundle")
    assert str(one) not in "".join(path.read_text() for path in (tmp_path / "bundle").rglob("*.json"))
    loaded = Bundle.load(tmp_path / "bundle", encoder=PixelEncoder())
    assert loaded.scorer.invoke(PIXELS[0])["prediction"].training is None  # files have other bytes


def test_the_experience_store_keeps_the_hash(scorer, tmp_path):
    path = written(tmp_path, MORE[:1])[0]
    with ExperienceStore(tmp_path / "kept.sqlite") as store:
        chain = data_shunt(scorer, lambda prompt: "7", instruction="Which digit?", threshold=0.0, experience=store)
        chain.batch([path, str(path), path.read_bytes()])
        store.flush()
        rows = list(store.rows())
    assert {row.text for row in rows} == {str(read_image(path))}
    assert len({row.text_hash for row in rows}) == 1
    with pytest.raises(InvalidInputError, match="only names an image"):
        scorer.invoke(rows[0].text)


def test_other_scorers_of_images():
    dark = RunnableScorer(run=lambda image: Prediction(label=image.mime, confidence=1.0), modality="image")
    assert dark.invoke(MORE[0])["prediction"].label == "image/png"
    tags = [["odd"] if int(label) % 2 else [] for label in LABELS]
    tagger = MultiLabelScorer.fit(PIXELS, tags, modality="image", **FEW)
    found = [
        record["prediction"].value == (["odd"] if int(label) % 2 else [])
        for record, label in zip(tagger.batch(list(MORE)), TRUE, strict=True)
    ]
    assert np.mean(found) > 0.85
    brightness = PIXELS.mean(axis=(1, 2))
    number = NumberScorer.fit(PIXELS, brightness, tolerance=3, modality="image", encoder=PixelEncoder())
    assert abs(number.invoke(MORE[0])["prediction"].value - MORE[0].mean()) < 3


def test_what_does_not_go_together_is_refused(scorer):
    with pytest.raises(InvalidInputError, match="which reads images"):
        SmallModelScorer.fit(["a", "b"] * 2, ["a", "b"] * 2, encoder=PixelEncoder())
    with pytest.raises(InvalidInputError, match="which reads texts"):
        SmallModelScorer.fit(PIXELS, LABELS, modality="image", encoder=TinyEncoder())
    with pytest.raises(ValueError, match="must agree"):
        SmallModelScorer(labels=scorer.labels, classifier=scorer.classifier)
    with pytest.raises(ValueError, match="no pairs of images"):
        RunnableScorer(run=lambda image: None, modality="image", input_key=("a", "b"))
    with pytest.raises(ValueError, match="modality"):
        RunnableScorer(run=lambda image: None, modality="sound")
    with pytest.raises(TrainingDataError, match=r"nothing is fetched.*in images\[1\]"):
        SmallModelScorer.fit([PIXELS[0], "http://a/b.png"], ["a", "b"], modality="image", encoder=PixelEncoder())


def test_a_chain_of_images_is_measured(scorer):
    chain = data_shunt(scorer, lambda prompt: "0", instruction="Which digit?", threshold=0.0)
    result = evaluate(chain.batch([*MORE, *PIXELS[:3]]), [*TRUE, *LABELS[:3]])
    assert result.accuracy > 0.9


def test_what_begins_with_a_scorer_of_images_reads_images(scorer):
    masked = scorer | LabelMask(labels=["0"])
    chain = data_shunt(
        [scorer, masked.with_retry()], lambda prompt: "0", labels=list(scorer.labels), instruction="?", threshold=[1, 0]
    )
    assert chain.invoke(MORE[0])["source"] == "small-2"
    alone = data_shunt(masked, lambda prompt: "0", labels=list(scorer.labels), instruction="?", threshold=0.0)
    assert alone.invoke(MORE[0])["source"] == "small"


def test_a_pipeline_of_images(tmp_path):
    import torch
    from transformers import ViTConfig, ViTForImageClassification, pipeline
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = dict(enumerate("abcdefg"))
    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, id2label=names, **sizes)).eval()
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16})
    made = pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    first, second = (
        record["prediction"] for record in PipelineScorer(pipeline=made, modality="image").batch(list(MORE[:2]))
    )
    assert set(first.probabilities) == set(names.values())
    assert sum(second.probabilities.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="'text-classification'"):
        PipelineScorer(pipeline=made)
    made.save_pretrained(tmp_path)
    loaded = PipelineScorer.load(tmp_path, modality="image", device="cpu")
    (again,) = (record["prediction"] for record in loaded.batch([MORE[0]]))
    assert again.probabilities == pytest.approx(first.probabilities)


def test_a_checkpoint_keeps_an_image(tmp_path):
    from dsplus_chains.integrations import checkpoint_serde

    serde = checkpoint_serde()
    for image in (read_image(MORE[0]), read_image(written(tmp_path, MORE[:1])[0])):
        again = serde.loads_typed(serde.dumps_typed({"input": image}))["input"]
        assert (again, type(again), again.data) == (image, type(image), image.data)


def test_what_is_dumped_of_texts_says_nothing_of_images():
    from langchain_core.load import dumps

    chain = data_shunt(lambda text: None, lambda prompt: "a", labels=["a", "b"], instruction="?", threshold=0.9)
    assert "modality" not in dumps(chain)

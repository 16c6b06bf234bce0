"""Learning from decisions on images, of which a store keeps only the hashes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from digits import PixelEncoder, digits, written
from fakes import TinyEncoder

from dsplus_chains import Bundle, ConfidenceBranch, ExperienceStore, SmallModelScorer, TrainingDataError
from dsplus_chains.encoding import ImageEncoder, read_image
from dsplus_chains.learning import bootstrap, learn, least_sure, read_logs, watch
from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.learning.image_decisions import with_images
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.tables.table_error import TableError

READING = {"modality": "image", "encoder": PixelEncoder()}


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A bundle of few images, and a store with what a large model said of others."""
    pixels, labels = digits(520)
    rows = [(read_image(one), label) for one, label in zip(pixels, labels, strict=True) if label in "358"]
    gold, stream = rows[:60], rows[60:]
    scorer = SmallModelScorer.fit(*zip(*gold, strict=True), modality="image", encoder=PixelEncoder(), model="linear")
    truth = dict(rows)
    store = ExperienceStore(tmp_path_factory.mktemp("images") / "decisions.sqlite")
    chain = scorer | ConfidenceBranch(large=lambda image: truth[image], threshold=None, experience=store)
    chain.batch([image for image, _ in rows])
    store.flush()
    yield SimpleNamespace(
        bundle=Bundle(scorer=scorer, instruction="Which digit?"), store=store, gold=gold, stream=stream, pixels=pixels
    )
    store.close()


def test_images_that_are_given_are_learned_from(taught):
    gold = tuple(zip(*taught.gold, strict=True))
    learned = learn(taught.bundle, taught.store, gold=gold, images=list(taught.pixels))
    told = learned.metadata["learned"]
    assert (told["stream"], told["large_answers"]) == (len(taught.stream), len(taught.stream))
    assert told["labelled_with_large_answer"] == len(taught.gold)
    assert learned.scorer.modality == "image"
    (record,) = learned.scorer.batch([taught.stream[0][0]])
    assert record["prediction"].training  # it has learned from that image


def test_images_that_are_not_given_teach_nothing(taught):
    few = [image for image, _ in taught.stream[:20]]
    learned = learn(taught.bundle, taught.store, gold=tuple(zip(*taught.gold, strict=True)), images=few)
    assert learned.metadata["learned"]["stream"] == 20


@pytest.mark.parametrize("column", [np.asarray, lambda images: pd.Series(list(images))])
def test_images_may_come_in_any_column(taught, column):
    given = column(taught.pixels)
    learned = learn(taught.bundle, taught.store, gold=tuple(zip(*taught.gold, strict=True)), images=given)
    assert learned.metadata["learned"]["stream"] == len(taught.stream)


def test_an_encoder_of_images_reads_no_reasons(taught):
    gold = tuple(zip(*taught.gold, strict=True))
    with pytest.raises(InvalidInputError, match=r"rationale_weight=0\.5 and a small model of images.*leave it at 0"):
        learn(taught.bundle, taught.store, gold=gold, images=list(taught.pixels), rationale_weight=0.5)


def test_without_the_images_it_is_said_what_to_give(taught):
    with pytest.raises(TrainingDataError, match=r"keeps the hashes of images.*images=\[\.\.\.\]"):
        learn(taught.bundle, taught.store, gold=tuple(zip(*taught.gold, strict=True)))


def test_images_and_a_small_model_of_texts_do_not_fit():
    texts = [f"{word} {number}" for word in ("card", "loan") for number in range(4)]
    scorer = SmallModelScorer.fit(texts, [text.split()[0] for text in texts], encoder=TinyEncoder(), model="linear")
    with pytest.raises(InvalidInputError, match="small model of texts"):
        learn(Bundle(scorer=scorer, instruction="Which?"), [], images=[b"GIF89a"])
    with pytest.raises(InvalidInputError, match="small model of texts"):
        least_sure(Bundle(scorer=scorer, instruction="Which?"), [], images=[b"GIF89a"])


def test_a_decision_on_another_image_has_none():
    image, other = read_image(b"GIF89a"), read_image(b"GIF87a")
    rows = [Experience(text=None, text_hash=hash_of_input(one), time=0.0) for one in (other, image)]
    assert [row.text for row in with_images(rows, [b"GIF89a"])] == [None, image]
    assert with_images(rows, [image])[1].text.data == b"GIF89a"
    assert with_images([], []) == []


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A table with paths of images and a large model's answers, every tenth of which is wrong."""
    pixels, labels = digits(300)
    rows = [(one, label) for one, label in zip(pixels, labels, strict=True) if label in "358"]
    folder = tmp_path_factory.mktemp("logged")
    (folder / "seen").mkdir()
    paths = written(folder / "seen", np.stack([one for one, _ in rows]))
    said = [label if row % 10 else "3" for row, (_, label) in enumerate(rows)]
    table = pd.DataFrame({"path": [f"seen/{path.name}" for path in paths], "said": said})
    table.to_csv(folder / "log.csv", index=False)
    return SimpleNamespace(folder=folder, paths=paths, said=said, truth=[label for _, label in rows])


def right(bundle, logged, rows):
    records = bundle.scorer.batch([logged.paths[row] for row in rows])
    return np.mean([one["prediction"].label == logged.truth[row] for one, row in zip(records, rows, strict=True)])


def test_a_bundle_from_logged_answers_on_images(logged):
    bundle = bootstrap({"text": logged.paths[:60], "answer": logged.said[:60]}, **READING)
    assert (bundle.scorer.modality, bundle.tuned.against, bundle.task.examples) == ("image", "large_answers", None)
    assert right(bundle, logged, range(60, len(logged.paths))) > 0.8


def test_real_weights_learn_from_logged_answers(logged):
    """So few rows are for a linear model."""
    from lite0 import Features

    encoder = ImageEncoder.of_network(Features(), name="lite0", size=64, crop=1.0, mean=[127 / 255] * 3, std=[0.5] * 3)
    bundle = bootstrap({"text": logged.paths[:49], "answer": logged.said[:49]}, modality="image", encoder=encoder)
    assert right(bundle, logged, range(49, len(logged.paths))) > 0.6


def test_labelled_images_tell_how_often_the_large_model_is_right(logged):
    logs = read_logs(logged.folder / "log.csv", text="path", answer="said", modality="image")
    assert [image.data for image in logs.texts] == [path.read_bytes() for path in logged.paths]
    bundle = bootstrap(logs, (logged.paths[:60], logged.truth[:60]), labels=["3", "5", "8"], **READING)
    assert bundle.tuned.against == "labels"
    told = bundle.metadata["learned"]
    assert (told["labelled_with_large_answer"], told["stream"]) == (60, len(logs) - 60)
    assert right(bundle, logged, range(60, len(logs))) > 0.9


def test_the_images_that_the_models_are_least_sure_of_come_first(taught):
    images = [image for image, _ in taught.stream]
    found = least_sure(taught.bundle, taught.store, 30, images=[*images, b"GIF89a"])
    assert all(doubt.row.text in images and doubt.row.text.data for doubt in found)  # none has a label already
    assert [doubt.both.confidence for doubt in found] == sorted(doubt.both.confidence for doubt in found)
    few = least_sure(taught.bundle, taught.store, 30, images=images[:20])
    assert {doubt.row.text for doubt in few} == set(images[:20])
    with pytest.raises(TrainingDataError, match=r"keeps the hashes of images.*images=\[\.\.\.\]"):
        least_sure(taught.bundle, taught.store)


def test_images_are_found_where_the_store_keeps_no_text(taught):
    image, label = taught.stream[0]
    with ExperienceStore(":memory:", keep_text=False) as store:
        chain = taught.bundle.scorer | ConfidenceBranch(large=lambda _: label, threshold=None, experience=store)
        chain.invoke(image)
        (doubt,) = least_sure(taught.bundle, store, images=[image])
        store.attach(doubt.row, label, origin="label")
        assert (doubt.row.text, least_sure(taught.bundle, store, images=[image])) == (image, [])


def test_decisions_on_images_are_watched_without_the_images(taught):
    found = watch(taught.bundle, taught.store)
    assert found.recent + found.before == len(taught.gold) + len(taught.stream)
    assert found.escalation_rate.recent.value == 1


def test_a_store_keeps_hashes_and_gets_the_images_again(taught):
    gold = tuple(zip(*taught.gold, strict=True))
    told = bootstrap(taught.store, gold, images=taught.pixels, **READING).metadata["learned"]
    assert (told["labelled_with_large_answer"], told["stream"]) == (len(taught.gold), len(taught.stream))
    with pytest.raises(TrainingDataError, match=r"keeps the hashes of images.*images=\[\.\.\.\]"):
        bootstrap(taught.store, gold, **READING)
    with pytest.raises(InvalidInputError, match='say modality="image"'):
        bootstrap(taught.store, gold, images=[])


def test_logs_of_images_are_learned_from_as_they_are(taught):
    images, labels = (list(column) for column in zip(*taught.gold, *taught.stream, strict=True))
    logs = SimpleNamespace(texts=images, answers=labels, confidences=[None] * len(images), times=[0.0] * len(images))
    learned = learn(taught.bundle, logs, gold=tuple(zip(*taught.gold, strict=True)))
    assert learned.metadata["learned"]["large_answers"] == len(taught.stream)


def test_rows_of_a_log_without_their_image_are_left_out(logged, tmp_path):
    pd.DataFrame({"path": [str(logged.paths[0]), "gone.png", None], "said": ["3", "5", "8"]}).to_csv(
        tmp_path / "log.csv", index=False
    )
    logs = read_logs(tmp_path / "log.csv", text="path", answer="said", modality="image")
    assert len(logs) == 1
    assert ["row 2, column 'path'" in logs.skipped[0], "no file is there" in logs.skipped[0]] == [True, True]
    assert "row 3" in logs.skipped[1]
    (tmp_path / "runs.jsonl").write_text('{"inputs": {"path": "x.png"}, "outputs": {"said": "3"}}\n')
    with pytest.raises(TableError, match="'langsmith' but expected a table with a column of paths"):
        read_logs(tmp_path / "runs.jsonl", modality="image")

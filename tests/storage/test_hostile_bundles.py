"""Bundles that somebody else has changed, with hashes to match. Each is refused, and no code of it is run."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from fakes import TinyEncoder
from safetensors.numpy import load, save

from dsplus_chains.calibration.calibration_maps import IsotonicCalibration
from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.encoding.recipes import read_recipe
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError, hash_of_bytes
from dsplus_chains.scoring.ensemble import EnsembleClassifier, MemberReport
from dsplus_chains.scoring.members import network
from dsplus_chains.scoring.members.heads import HEADS
from dsplus_chains.scoring.members.lexical import LexicalFeatures, LexicalMember
from dsplus_chains.scoring.members.linear import LinearMember
from dsplus_chains.scoring.members.neighbors import NeighborMember
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.tuning.threshold_tuning import tune_threshold

TEXTS = ["good phone", "good price", "nice and good", "bad phone", "bad price", "bad and ugly"]
TARGETS = np.array([0, 0, 0, 1, 1, 1])
LABELS = ["positive", "negative"]
TRUTH = [LABELS[target] for target in TARGETS]


def load_bundle(folder, **settings):
    return Bundle.load(folder, **{"encoder": TinyEncoder(), **settings})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bundle that has every part that a bundle may have."""
    encoder = TinyEncoder()
    vectors = encoder.encode(TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FEWEST_STEPS", 5)
        mlp, *others = (
            head.fit(vectors, TARGETS, 2, copies=2 if name == "majority_kernels" else 1) for name, head in HEADS.items()
        )
    members = (
        LinearMember.fit(vectors, TARGETS, 2),
        LexicalMember.fit(LexicalFeatures.fit(TEXTS), TARGETS, 2),
        mlp,
        NeighborMember.fit(vectors, TARGETS, 2),
        *others,
    )
    curve = ((0.1, 0.5, 0.9), (0.2, 0.5, 0.8))
    classifier = EnsembleClassifier(
        encoder=encoder,
        members=members,
        weights=np.full(len(members), 0.25),
        reports=tuple(MemberReport(name=member.kind, weight=0.25, accuracy=0.9, log_loss=0.3) for member in members),
        calibrator=IsotonicCalibration(curves=(curve, curve)),
        own_distances=np.linspace(0, 0.5, 6),
    )
    record = TrackRecord(confidences=(0.6, 0.8), shares=(0.5, 0.9))
    scorer = SmallModelScorer(labels=LABELS, classifier=classifier, track_record=record)
    predictions = [record["prediction"] for record in scorer.batch(TEXTS * 5)]
    tuned = tune_threshold(predictions, TRUTH * 5, TRUTH * 5, objective="accuracy", max_ood_score=0.9)
    fusion = AnswerFusion.fit(predictions, TRUTH * 5, (TRUTH * 5)[::-1])
    examples = ExemplarSelector.fit(TEXTS, TRUTH, encoder=encoder, vectors=vectors * 0.5)
    bundle = Bundle(
        scorer=scorer, tuned=replace(tuned, fusion=fusion), examples=examples, exemplars=2,
        descriptions={"positive": "praise"}, aliases={"pos": "positive"}, large={"name": "openai:x"}, metadata={"a": 1},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whole") / "b"
    bundle.save(folder)
    return folder


def rewrite(folder, name, content):
    """Put other content into a file of a bundle, and the right hashes into the others."""
    (folder / name).write_bytes(content)
    own = folder / "scorer" / "scorer.json"
    if name == "scorer/scorer.safetensors":
        settings = json.loads(own.read_bytes())
        settings["sha256"] = hash_of_bytes(content)
        own.write_text(json.dumps(settings))
    manifest = json.loads((folder / "bundle.json").read_bytes()) if name != "bundle.json" else None
    if manifest is not None:
        for listed in manifest["files"]:
            manifest["files"][listed]["sha256"] = hash_of_bytes((folder / listed).read_bytes())
        (folder / "bundle.json").write_text(json.dumps(manifest))


def places_in(value, place=()):
    """Every place in JSON data, as the keys that lead there."""
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places_in(inner, (*place, key))


def put(value, place, new):
    """The same data with another value at a place. A function changes the value that is there."""
    if not place:
        return new(value) if callable(new) else new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[place[0]] = put(copied[place[0]], place[1:], new) if len(place) > 1 or callable(new) else new
    return copied


DEEP = "DEEP"
"""Stands for so many lists inside one another that reading them recursively would fail."""
WRONG = [None, True, 7.5, -3, "x", [], {}, [[1]], {"a": 1}, 10**400, DEEP]
FREE = {"metadata", "versions", "meaning", "report", "constraints", "encoder", "data_hash", "model_hash", "large"}
"""Names under which other values harm nothing."""


def is_refusable(place, old, new):
    """Whether a value of this type can never stand there."""
    if any(name in FREE for name in place):
        return False
    if isinstance(old, bool) or isinstance(new, bool) or old is None or new is None:
        return False
    if new == 10**400 or new == DEEP:
        return True
    kinds = [(int, float), (str,), (list,), (dict,)]
    return not any(isinstance(old, kind) and isinstance(new, kind) for kind in kinds)


def packed(value):
    return json.dumps(value).replace(f'"{DEEP}"', "[" * 5000 + "]" * 5000).encode()


JSON_FILES = ["bundle.json", "scorer/scorer.json", "tuned.json", "examples/examples.json"]


@pytest.mark.parametrize("seed", range(12))
def test_other_types_anywhere_are_refused(whole, tmp_path, seed):
    """Twelve times sixteen changes. Each puts a value of another type into a place drawn at random."""
    draw = random.Random(seed)
    shutil.copytree(whole, tmp_path / "b")
    folder, count = tmp_path / "b", 0
    while count < 16:
        name = draw.choice(JSON_FILES)
        before = {path: (folder / path).read_bytes() for path in JSON_FILES}
        value = json.loads(before[name])
        place = draw.choice(list(places_in(value)))
        old = value
        for key in place:
            old = old[key]
        new = draw.choice(WRONG)
        if not is_refusable(place, old, new):
            continue
        rewrite(folder, name, packed(put(value, place, new)))
        with pytest.raises(BundleError):
            load_bundle(folder)
        for path, content in before.items():
            (folder / path).write_bytes(content)
        count += 1
    load_bundle(folder)


S, T, E, B = "scorer/scorer.json", "tuned.json", "examples/examples.json", "bundle.json"
CLASSIFIER = ("classifier",)
MEMBERS = ("classifier", "members")
CHANGES = [
    (S, ("labels",), []), (S, ("labels",), ["a"]), (S, ("labels",), ["a", "a"]), (S, ("labels",), ["a", 1]),
    (S, ("labels",), ["a", " "]), (S, ("labels",), ["a", "b", "c"]), (S, ("labels",), "ab"), (S, ("format",), 3),
    (S, ("format",), 2.5), (S, ("input_key",), ""), (S, ("track_record",), {}), (S, MEMBERS, []),
    (S, ("track_record", "confidences"), [0.9, 0.1]), (S, ("track_record", "shares"), [0.5, 2]),
    (S, ("track_record", "shares"), [0.5]), (S, ("track_record", "shares"), ["0.5", "0.9"]),
    (S, (*MEMBERS, 0, "kind"), "os.system"), (S, (*MEMBERS, 0, "kind"), "mlp"), (S, (*MEMBERS, 0, "kind"), "lexical"),
    (S, (*MEMBERS, 0, "settings", "start"), 60), (S, (*MEMBERS, 0, "settings", "start"), -1),
    (S, (*MEMBERS, 0, "settings", "start"), 0.5), (S, (*MEMBERS, 0, "settings", "start"), 10**30),
    (S, (*MEMBERS, 1, "settings", "vocabularies"), []), (S, (*MEMBERS, 1, "settings", "vocabularies", 0), []),
    (S, (*MEMBERS, 1, "settings", "vocabularies", 0, 0), 5), (S, (*MEMBERS, 1, "settings"), {}),
    (S, (*MEMBERS, 1, "settings", "vocabularies", 0), lambda old: [*old, "more"]),
    (S, (*MEMBERS, 1, "settings", "vocabularies", 0), lambda old: [old[0], *old[:-1]]),
    (S, (*MEMBERS, 2, "settings", "scale"), 0), (S, (*MEMBERS, 2, "settings", "scale"), "1"),
    (S, (*MEMBERS, 3, "settings", "k"), 0), (S, (*MEMBERS, 3, "settings", "n_classes"), 3),
    (S, (*MEMBERS, 3, "settings", "sharpness"), -1), (S, (*MEMBERS, 3, "settings"), {}),
    *((S, (*MEMBERS, 4, "settings", "copies"), wrong) for wrong in (0, 3, 10**30, 2.0, "2", True, None)),
    (S, (*MEMBERS, 2, "settings", "copies"), 2), (S, (*MEMBERS, 2, "kind"), "pangu_pi"),
    (S, (*MEMBERS, 5, "kind"), "mlp"), (S, (*MEMBERS, 6, "kind"), "mlp"), (S, (*MEMBERS, 6, "settings"), {}),
    (S, MEMBERS, lambda old: old[:2]), (S, MEMBERS, lambda old: old[::-1]), (S, MEMBERS, lambda old: old * 50),
    (S, (*CLASSIFIER, "calibration"), {"kind": "temperature"}), (S, (*CLASSIFIER, "calibration"), {}),
    (S, (*CLASSIFIER, "calibration"), {"kind": "temperature", "temperature": 0}),
    (S, (*CLASSIFIER, "calibration"), {"kind": "vector", "weights": [1], "biases": [0, 0]}),
    (S, (*CLASSIFIER, "calibration", "curves"), []), (S, (*CLASSIFIER, "calibration", "curves", 0), [[0.1], []]),
    (S, (*CLASSIFIER, "calibration", "curves", 0), [[0.9, 0.1], [0.1, 0.9]]),
    (T, ("threshold",), 2), (T, ("threshold",), [["a"]]), (T, ("threshold",), [[["a"], 0.5]]), (T, ("curve", 0), {}),
    (T, ("n",), -1), (T, ("delta",), 2), (T, ("risk",), "none"), (T, ("fusion",), {}), (T, ("fusion", "labels"), ["a"]),
    (T, ("chain_accuracy", "value"), 2), (T, ("chain_accuracy",), []), (T, ("max_ood_score",), -1), (T, (), []),
    (T, ("fusion", "posterior", "counts"), [[5, 0, 1]]), (T, ("fusion", "posterior", "counts"), [[-1, 0, 1]]),
    (T, ("fusion", "posterior", "counts"), [[0, 0]]), (T, ("fusion", "posterior", "n_labels"), 10**9),
    (T, ("fusion", "posterior", "confusable"), [[0.5]]), (T, ("fusion", "posterior", "smoothing"), 0),
    (T, ("fusion", "posterior", "small_weights"), [1]), (T, ("set_level",), 2), (T, ("unknown",), 1),
    (E, ("k",), 0), (E, ("diversity",), 2), (E, ("per_label",), 0), (E, ("rows",), []), (E, ("rows", 0), []),
    (E, ("rows", 0), ["text"]), (E, ("rows", 0), [1, "positive"]), (E, ("rows", 0), ["text", 1]),
    (E, ("rows", 0), ["text", ["positive"]]), (E, ("rows", 0), ["text", "positive", "positive", 5]),
    (E, ("rows", 0), ["text", "positive", "positive"]), (E, ("rows",), lambda old: old[:-1]), (E, ("input_key",), ""),
    (B, ("format",), 2), (B, ("format",), True), (B, ("format",), 1.0), (B, ("files",), []), (B, (), [1]),
    (B, ("files", T), "x"), (B, ("files", T, "sha256"), "X" * 64), (B, ("settings",), None), (B, ("metadata",), None),
    (B, ("settings", "top_k"), 0), (B, ("settings", "top_k"), "5"), (B, ("settings", "hints"), "loud"),
    (B, ("settings", "template"), [["robot", "x"]]), (B, ("settings", "template"), [["human", "{"]]),
    (B, ("settings", "template"), [["human", "{input.__class__}"]]), (B, ("settings", "exemplars"), -1),
    (B, ("settings", "descriptions"), [["unknown", "x"]]), (B, ("settings", "aliases"), [["pos", "unknown"]]),
    (B, ("settings", "large"), [1]), (B, ("settings", "evil"), 1), (B, ("settings", "retries"), 100),
    (B, ("settings", "instruction"), ""), (B, ("settings", "strong_labels"), ["unknown"]), (B, ("versions",), [1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "place", "new"), CHANGES)
def test_values_that_no_save_writes_are_refused(whole, tmp_path, name, place, new):
    shutil.copytree(whole, tmp_path / "b")
    value = json.loads((whole / name).read_bytes())
    rewrite(tmp_path / "b", name, packed(put(value, place, new)))
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "b")


BYTES = [
    b"", b"\x00", b"{", b"[" * 100_000, b'{"a": NaN}', b'{"format": 2, "format": 2}', b"\xff\xfe", b'"\\ud800"',
    b"1" * 5000, b"[1e999]", b"null", (b'{"a":' * 3000) + b"1" + b"}" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("name", [*JSON_FILES, "scorer/scorer.safetensors", "examples/vectors.safetensors"])
@pytest.mark.parametrize("content", BYTES, ids=range(len(BYTES)))
def test_other_bytes_are_refused(whole, tmp_path, name, content):
    shutil.copytree(whole, tmp_path / "b")
    rewrite(tmp_path / "b", name, content)
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("seed", range(30))
def test_other_arrays_are_refused(whole, tmp_path, seed):
    """An array that is missing, of another type or shape, or with a number that is not finite."""
    draw = random.Random(seed)
    shutil.copytree(whole, tmp_path / "b")
    name = draw.choice(["scorer/scorer.safetensors"] * 5 + ["examples/vectors.safetensors"])
    arrays = load((whole / name).read_bytes())
    key = draw.choice([key for key in sorted(arrays) if key != "own_distances"])
    array = arrays.pop(key)
    harm = draw.choice(["missing", "text", "cut", "flat", "nan", "bool", "empty"])
    if harm == "nan" and array.dtype.kind == "f":
        arrays[key] = np.full_like(array, np.nan)
    elif harm == "cut":
        arrays[key] = np.ascontiguousarray(array[:-1])
    elif harm == "flat":
        arrays[key] = array.reshape(1, *array.shape)
    elif harm == "empty":
        arrays[key] = np.empty((0, *array.shape[1:]), dtype=array.dtype)
    elif harm != "missing":
        arrays[key] = array.astype(bool if harm == "bool" else np.uint8)
    rewrite(tmp_path / "b", name, save(arrays))
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "b")


def linked(folder):
    (folder / "tuned.json").rename(folder.parent / "elsewhere.json")
    (folder / "tuned.json").symlink_to(folder.parent / "elsewhere.json")


def linked_folder(folder):
    (folder / "scorer").rename(folder.parent / "elsewhere")
    (folder / "scorer").symlink_to(folder.parent / "elsewhere")


def linked_manifest(folder):
    (folder / "bundle.json").rename(folder.parent / "elsewhere.json")
    (folder / "bundle.json").symlink_to(folder.parent / "elsewhere.json")


def piped(folder):
    (folder / "tuned.json").unlink()
    os.mkfifo(folder / "tuned.json")


def replaced_by_a_folder(folder):
    (folder / "tuned.json").unlink()
    (folder / "tuned.json").mkdir()


def listed_code(folder):
    (folder / "scorer" / "modeling.py").write_text("raise SystemExit")
    manifest = json.loads((folder / "bundle.json").read_bytes())
    manifest["files"]["scorer/modeling.py"] = {"sha256": hash_of_bytes(b"raise SystemExit")}
    (folder / "bundle.json").write_text(json.dumps(manifest))


PATHS = [
    linked, linked_folder, piped, replaced_by_a_folder, listed_code,
    lambda folder: (folder / "more.txt").write_text("x"),
    lambda folder: (folder / "scorer" / "modules.json").write_text("[]"),
    lambda folder: (folder / ".link").symlink_to("/etc/hosts"),
    lambda folder: os.mkfifo(folder / "pipe"),
    lambda folder: os.mkfifo(folder / ".pipe"),
    lambda folder: (folder / "examples" / "loop").symlink_to(folder),
    linked_manifest,
    lambda folder: ((folder / "bundle.json").unlink(), os.mkfifo(folder / "bundle.json")),
]  # fmt: skip


@pytest.mark.parametrize("harm", PATHS, ids=range(len(PATHS)))
def test_what_is_no_plain_file_of_a_bundle_is_refused(whole, tmp_path, harm):
    shutil.copytree(whole, tmp_path / "b")
    harm(tmp_path / "b")
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "b")


RECIPES = [
    {}, {"kind": "telepathy"}, {"kind": 7}, {"kind": "sentence"}, {"kind": "sentence", "name": ""},
    {"kind": "sentence", "name": 5}, {"kind": "sentence", "name": "no/such/name"},
    {"kind": "sentence", "name": "a/../b"},
    {"kind": "sentence", "name": "https://host/model"}, {"kind": "sentence", "name": "\x00"},
    {"kind": "sentence", "name": "x" * 5000}, {"kind": "sentence", "name": "auto", "trust_remote_code": True},
    {"kind": "sentence", "name": "somebody/never-here-0123"}, {"kind": "sentence", "name": "never-here-0123"},
    {"kind": "language model", "name": "somebody/never-here-0123", "prompt": "{text}"}, {"kind": "language model"},
    {"kind": "language model", "name": "auto", "prompt": "x", "dtype": "pickle"}, {"kind": "union", "encoders": []},
    {"kind": "union", "encoders": [5]}, {"kind": "union", "encoders": "ab"},
    {"kind": "union", "encoders": [{"kind": "union", "encoders": [{"kind": "union", "encoders": [{}]}]}]},
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_an_encoder_that_is_not_here_is_not_fetched(whole, tmp_path, recipe):
    shutil.copytree(whole, tmp_path / "b")
    value = json.loads((whole / S).read_bytes())
    rewrite(tmp_path / "b", S, packed(put(value, ("classifier", "encoder_recipe"), recipe)))
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "b", encoder=None)


@pytest.mark.parametrize("where", ["b", "b/scorer", "link", "b/scorer/../scorer"])
def test_an_encoder_inside_the_bundle_is_refused(whole, tmp_path, where, monkeypatch):
    shutil.copytree(whole, tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "b" / "scorer")
    recipe = {"kind": "sentence", "name": str(tmp_path / where)}
    with pytest.raises(BundleError, match="inside the bundle itself"):
        read_recipe(recipe, outside=tmp_path / "b")
    value = json.loads((whole / S).read_bytes())
    rewrite(tmp_path / "b", S, packed(put(value, ("classifier", "encoder_recipe"), recipe)))
    with pytest.raises(BundleError, match="inside the bundle itself"):
        load_bundle(tmp_path / "b", encoder=None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="inside the bundle itself"):
        read_recipe({**recipe, "name": where}, outside=tmp_path / "b")


@pytest.mark.parametrize("allowed", [False, True])
def test_a_name_is_looked_up_on_the_hub_only_if_that_is_allowed(monkeypatch, allowed):
    from dsplus_chains.encoding import loading, sentence

    asked = []

    class Recorder:
        def __init__(self, name, **how):
            asked.append((name, how["local_files_only"], how["trust_remote_code"]))

    monkeypatch.setattr(sentence, "SentenceTransformer", Recorder)
    loading.load_encoder({"kind": "sentence", "name": "somebody/model"}, allow_download=allowed)
    assert asked == [("somebody/model", not allowed, False)]


def test_a_load_during_saves_gets_a_whole_bundle(whole, tmp_path):
    bundle = load_bundle(whole)
    bundle.save(tmp_path / "b")
    faults, stop = [], threading.Event()

    def keep_loading():
        while not stop.is_set():
            try:
                load_bundle(tmp_path / "b")
            except BaseException as error:
                faults.append(error)

    reader = threading.Thread(target=keep_loading)
    reader.start()
    for number in range(15):
        bundle.with_task(instruction=f"Question {number}?").save(tmp_path / "b")
    stop.set()
    reader.join()
    assert faults == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


def test_what_killed_saves_left_is_cleaned_and_what_living_ones_write_stays(whole, tmp_path):
    from dsplus_chains.storage.files import replacing_folder

    bundle = load_bundle(whole)
    for number in range(3):
        shutil.copytree(whole, tmp_path / f".b.partial-{number}")
    (tmp_path / ".b.partial-file").write_text("half")
    (tmp_path / ".c.partial-1").mkdir()
    with replacing_folder(tmp_path / "b") as living:
        bundle.save(tmp_path / "b")
        assert living.is_dir()
        assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, ".c.partial-1", "b"]
        shutil.copytree(tmp_path / "b", living, dirs_exist_ok=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c.partial-1", "b"]
    load_bundle(tmp_path / "b")

"""Learning from the large model's reasons: nothing without them, the hidden layer alone with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from fakes import TinyEncoder
from torch import nn

from dsplus_chains import Bundle, ExperienceStore, LargeAnswer, TrainingDataError
from dsplus_chains.learning import Experience, learn
from dsplus_chains.learning.experience import hash_of_input
from dsplus_chains.learning.lesson import Lesson, LessonRow
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.scoring.members import network
from dsplus_chains.scoring.members.head import one_cycle, one_thread
from dsplus_chains.scoring.members.heads import HEADS
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.members.mlp import plain
from dsplus_chains.scoring.members.rationales import Rationales

LABELS = ("card", "loan", "rent")


def rows(n, seed):
    """Texts of two telling words of forty, and their labels."""
    rng = np.random.default_rng(seed)
    labels = [LABELS[number] for number in rng.integers(0, 3, n)]
    return [
        f"{label}{rng.integers(40)} {label}{rng.integers(40)} {seed}x{at}" for at, label in enumerate(labels)
    ], labels


def told(texts, said, *, reasons=True, gold=None):
    """Decisions, in which the large model gives a reason for what it says."""
    return [
        Experience(
            text=text,
            text_hash=hash_of_input(text),
            large=one,
            rationale=f"speaks of a {one}" if reasons else None,
            gold=true,
            time=0.0,
        )
        for text, one, true in zip(texts, said, gold or [None] * len(texts), strict=True)
    ]


@pytest.fixture(scope="module")
def known():
    (texts, labels), (stream, said) = rows(60, 1), rows(60, 2)
    return {on: told(texts, labels, gold=labels, reasons=on) + told(stream, said, reasons=on) for on in (True, False)}


@pytest.fixture(scope="module")
def bundle():
    return Bundle.fit(*rows(60, 1), encoder=TinyEncoder(dimensions=32), instruction="Which?")


@pytest.fixture(autouse=True, scope="module")
def _short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FEWEST_STEPS", 60)
        yield


@pytest.fixture(scope="module")
def learned(bundle, known):
    return learn(bundle, known[True], rationale_weight=5)


@pytest.fixture(scope="module")
def without(bundle, known):
    return learn(bundle, known[True])


def said(bundle):
    """What each member says of new texts, by its kind."""
    batch = TextBatch(rows(40, 3)[0], bundle.scorer.encoder)
    return {member.kind: member.log_proba(batch) for member in bundle.scorer.classifier.members}


def test_reasons_with_no_weight_change_nothing(bundle, known, without):
    other = learn(bundle, known[False], rationale_weight=0)
    assert all(np.array_equal(said(without)[kind], told) for kind, told in said(other).items())
    assert without.metadata["learned"] == other.metadata["learned"]


def test_reasons_change_the_network_and_leave_it_its_size(without, learned):
    one, other = said(without), said(learned)
    assert np.abs(np.exp(one["mlp"]) - np.exp(other["mlp"])).max() > 1e-3
    state = [
        next(member for member in each.scorer.classifier.members if member.kind == "mlp") for each in (without, learned)
    ]
    assert [one.shape for one in state[0].nets[0].parameters()] == [one.shape for one in state[1].nets[0].parameters()]
    assert learned.metadata["learned"]["rationales"] == 120


def test_a_bundle_that_learned_from_reasons_is_kept(learned, tmp_path):
    learned.save(tmp_path / "b")
    loaded = Bundle.load(tmp_path / "b", encoder=TinyEncoder(dimensions=32))
    assert all(np.allclose(said(learned)[kind], told, atol=1e-6) for kind, told in said(loaded).items())


def test_with_steps_the_reasons_of_labelled_rows_count(bundle, known):
    one, other = (said(learn(bundle, known[True], method="2cd", eps=0.5, rationale_weight=w)) for w in (0, 5))
    assert np.abs(np.exp(one["mlp"]) - np.exp(other["mlp"])).max() > 1e-3


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_is_a_number_from_zero_on(bundle, known, weight):
    with pytest.raises(InvalidInputError, match="rationale_weight"):
        learn(bundle, known[True], rationale_weight=weight)


def test_no_reason_and_no_hidden_layer_are_told(bundle, known):
    with pytest.raises(TrainingDataError, match="no reason"):
        learn(bundle, known[False], rationale_weight=1)
    settings = {"encoder": TinyEncoder(dimensions=32), "instruction": "Which?"}
    linear = Bundle.fit(*rows(60, 1), **settings, model="linear")
    with pytest.raises(InvalidInputError, match="without a network"):
        learn(linear, known[True], rationale_weight=1)
    experts = Bundle.fit(*rows(60, 1), **settings, head="prototyped_experts")
    with pytest.raises(InvalidInputError, match="shared hidden layer"):
        learn(experts, known[True], rationale_weight=1)


def test_a_reason_for_what_is_known_to_be_wrong_is_not_learned_from():
    row = LessonRow(text="a", label="card", answer="card", rationale="it is a card")
    assert row.reason == "it is a card"
    assert replace(row, label=None).reason == "it is a card"
    assert replace(row, answer="loan").reason is None
    texts, labels = rows(6, 4)
    lesson = Lesson.of(
        told(texts, ["card"] * 6), labels=LABELS, gold_texts=texts + list(LABELS), gold_labels=[*labels, *LABELS]
    )
    assert lesson.reasons == labels.count("card")


def test_the_last_answer_brings_its_reason():
    (one,) = told(["a"], ["card"])
    later = [replace(one, large="loan", rationale="it is a loan"), replace(one, large=None, rationale=None)]
    (row,) = Lesson.of([one, *later], labels=LABELS, gold_texts=LABELS, gold_labels=LABELS).stream
    assert (row.answer, row.rationale) == ("loan", "it is a loan")


RECORD = {
    "input": "my card",
    "answer": "card",
    "source": "large",
    "large": LargeAnswer(value="card", rationale="my card broke"),
}


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, "my card broke"),
        ({"redact": lambda text: text.replace("my", "***")}, "*** card broke"),
        ({"redact": lambda text: None}, None),
        ({"redact": lambda text: 1 / 0}, None),
        ({"keep_text": False}, None),
    ],
)
def test_a_store_keeps_the_reason_with_its_text_and_as_redacted(settings, kept):
    with ExperienceStore(":memory:", **settings) as store:
        store.record(RECORD)
        (row,) = store.rows()
    assert (row.rationale, row.large) == (kept, "card") if "redact" not in settings else row.rationale == kept


def test_a_reason_with_half_a_character_is_kept_and_exported(tmp_path):
    with ExperienceStore(tmp_path / "a.sqlite") as store:
        store.record({**RECORD, "large": LargeAnswer(value="card", rationale="\ud800")})
        store.to_parquet(tmp_path / "a.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet")["rationale"].to_pylist() == ["?"]


def reasons(weight=1.0):
    """Four rows in two dimensions, of which two have a reason."""
    return Rationales(
        vectors=np.array([[1, 0], [np.nan, np.nan], [3, 4], [np.nan, np.nan]], dtype=np.float32), weight=weight
    )


def test_the_loss_of_both_heads_is_that_of_a_computation_by_hand():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    x, labels = torch.eye(4)[:, :3], torch.tensor([0, 1, 0, 1])
    both, loss = reasons(0.5).beside(net, x, lambda logits, at: nn.functional.cross_entropy(logits, labels[at]))
    second = both[1]
    # the mean of the vectors is (2, 2); less it they are (-1, -2) and (1, 2), whose root mean square is sqrt(2.5)
    targets = torch.tensor([[-1.0, -2.0], [0, 0], [1, 2], [0, 0]]) / 2.5**0.5
    hidden, said = net[0](x).detach(), net(x).detach()
    of_labels = nn.functional.cross_entropy(said, labels)
    distances = [float((second(hidden[at]) - targets[at]).square().mean().detach()) for at in (0, 2)]
    assert float(loss(torch.arange(4)).detach()) == pytest.approx(float(of_labels) + 0.5 * sum(distances) / 4, rel=1e-5)
    alone = loss(torch.tensor([1, 3])).detach()
    assert float(alone) == pytest.approx(float(nn.functional.cross_entropy(said[[1, 3]], labels[[1, 3]])), rel=1e-6)


def test_rows_without_any_reason_have_no_second_head():
    assert reasons().part(np.array([1, 3])) is None
    assert reasons().part(np.array([0, 1])) is not None


@pytest.mark.parametrize("name", ["mlp", "majority_kernels", "pangu_pi"])
def test_the_networks_own_draws_stay(name):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 8)).astype(np.float32), rng.integers(0, 3, 40)
    vectors = np.where(np.arange(40)[:, None] % 2 == 0, rng.normal(size=(40, 5)), np.nan).astype(np.float32)
    light = Rationales(vectors=vectors, weight=1e-30)
    one, other = (HEADS[name].fit(x, labels, 3, rationales=given, copies=2) for given in (None, light))
    assert [len(net.state_dict()) for net in one.nets] == [len(net.state_dict()) for net in other.nets]
    for mine, own in zip(one.nets, other.nets, strict=True):
        for key, value in mine.state_dict().items():
            assert torch.allclose(value, own.state_dict()[key], atol=1e-6)


def test_the_second_head_learns_what_the_hidden_layer_can_tell():
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    vectors = (x[:, :2] ** 2).numpy()
    net = plain(6, 2, hidden=64)
    both, loss = Rationales(vectors=vectors, weight=1.0).beside(net, x, lambda logits, at: logits.sum() * 0)
    before = float(loss(torch.arange(200)).detach())
    with one_thread():
        one_cycle(both, loss, 200, steps=300, size=50, rate=0.01)
    both.eval()
    assert float(loss(torch.arange(200)).detach()) < 0.5 < before

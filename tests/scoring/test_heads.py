"""The heads of the small model's network: what each is when nothing is added, and how copies are averaged."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from fakes import TinyEncoder
from torch import nn

from dsplus_chains.cli.fit_command import Head
from dsplus_chains.learning import bootstrap
from dsplus_chains.schema import TrainingDataError
from dsplus_chains.scoring.members import network
from dsplus_chains.scoring.members.fitting import MEMBERS
from dsplus_chains.scoring.members.heads import HEADS, HeadName, head_among
from dsplus_chains.scoring.members.majority_kernels import MajorityKernelsMember, MajorityLinear
from dsplus_chains.scoring.members.mlp import plain
from dsplus_chains.scoring.members.pangu_pi import PanguPiBlock, SeriesActivation
from dsplus_chains.scoring.members.prototyped_experts import PrototypedExperts
from dsplus_chains.scoring.members.steps import Steps
from dsplus_chains.scoring.multi_label import MultiLabelScorer
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.storage.bundle import Bundle

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(120, 16)).astype(np.float32)
TARGETS = (VECTORS[:, 0] + VECTORS[:, 1] ** 2 > 1).astype(np.int64) + (VECTORS[:, 2] > 1)
X = torch.from_numpy(VECTORS)
TEXTS = [f"{word} thing number {i}" for i in range(20) for word in ("good", "bad", "odd")]
LABELS = ["positive", "negative", "neutral"] * 20


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(network, "FEWEST_STEPS", 150)


every_head = pytest.mark.parametrize("head", HEADS)


def sizes(net):
    return [tuple(parameter.shape) for parameter in net.parameters()]


def sure(member, vectors=VECTORS):
    return member.log_proba(SimpleNamespace(vectors=vectors))


def test_every_name_of_a_head_is_known_everywhere():
    names = list(get_args(HeadName))
    assert names == list(HEADS) == [head.kind for head in HEADS.values()] == [one.value for one in Head]
    assert all(MEMBERS[name] is head for name, head in HEADS.items())


@pytest.mark.parametrize("kernels", [1, 2, 3, 5])
def test_the_exported_mean_kernel_gives_the_evaluated_logits_at_plain_size(kernels):
    torch.manual_seed(kernels)
    net = plain(16, 3, linear=lambda inputs, outputs: MajorityLinear(inputs, outputs, kernels)).eval()
    kept = MajorityKernelsMember.deployed(net)
    assert torch.equal(kept(X), net(X))
    assert sizes(kept) == sizes(plain(16, 3))
    assert sum(one.numel() for one in net.parameters()) == kernels * sum(one.numel() for one in kept.parameters())
    by_hand = nn.functional.linear(X, sum(net[1].weights) / kernels, sum(net[1].biases) / kernels)
    assert torch.allclose(net[1](X), by_hand, atol=1e-5)


def test_training_draws_another_mean_of_the_kernels_each_time():
    layer = MajorityLinear(1, 1, kernels=2)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([[[0.0]], [[1.0]]]))
        layer.biases.copy_(torch.tensor([[0.0], [10.0]]))
        drawn = torch.stack([layer(torch.ones(1, 1))[0, 0] for _ in range(2000)]) / 11  # the share of the second one
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert len(drawn.unique()) > 1990
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.std() == pytest.approx(12**-0.5, abs=0.03)  # of two shares, one is uniform


def test_one_activation_without_shortcut_is_the_plain_block():
    block = PanguPiBlock(16, activations=1, shortcut=False)
    same = plain(16, 16)
    same.load_state_dict({name: one for name, one in block.mlp.state_dict().items() if not name.startswith("2.")})
    assert (block.mlp[2].slopes == 1).all()
    assert (block.mlp[2].shifts == 0).all()
    assert torch.equal(block.eval()(X), same.eval()(X))
    torch.manual_seed(1)
    dropped = block.train()(X)
    torch.manual_seed(1)
    assert torch.equal(dropped, same.train()(X))


def test_the_series_is_a_sum_and_the_shortcuts_are_added():
    series = SeriesActivation(4, 2)
    with torch.no_grad():
        series.slopes[1], series.shifts[1] = 2.0, -1.0
    x = torch.randn(5, 4)
    gelu = nn.functional.gelu
    assert torch.allclose(series(x), gelu(x) + gelu(2 * x - 1))
    block = PanguPiBlock(64).eval()
    assert torch.allclose(block(z := torch.randn(3, 64)), block.mlp(z) + z + block.way(z))
    assert block.way[0].out_features == 2
    assert PanguPiBlock(16).way[0].out_features == 1
    starts = SeriesActivation(4, 3).slopes
    assert not torch.equal(starts[1], starts[0])
    assert not torch.equal(starts[1], starts[2])


@pytest.mark.parametrize(("experts", "groups"), [(8, 2), (8, 4), (4, 1), (6, 3)])
def test_exactly_one_expert_of_each_group_runs(experts, groups):
    torch.manual_seed(0)
    net = PrototypedExperts(16, 3, experts=experts, groups=groups).eval()
    assert [len(group.experts) for group in net.groups] == [experts // groups] * groups
    ran = []
    for g, group in enumerate(net.groups):
        for i, expert in enumerate(group.experts):
            expert.register_forward_hook(lambda _, seen, said, who=(g, i): ran.append((who, len(seen[0]))))
    for row in range(20):
        ran.clear()
        alone = net(X[row : row + 1])
        assert sorted(g for (g, _), _ in ran) == list(range(groups))
        expected = sum(
            (p := group.gate(X[row]).softmax(0)).max() * group.experts[p.argmax()](X[row]) for group in net.groups
        )
        assert torch.allclose(alone[0], expected, atol=1e-5)
    ran.clear()
    together = net(X)
    assert sum(rows for _, rows in ran) == groups * len(X)
    assert torch.allclose(together[:20], torch.cat([net(X[row : row + 1]) for row in range(20)]), atol=1e-5)


def test_a_group_of_one_expert_weighs_it_fully():
    torch.manual_seed(0)
    net = PrototypedExperts(16, 3, experts=3, groups=3).eval()
    assert torch.allclose(net(X), sum(group.experts[0](X) for group in net.groups), atol=1e-6)
    one = PrototypedExperts(16, 3, experts=1, groups=1).eval()
    assert torch.equal(one(X), one.groups[0].experts[0](X))
    assert sizes(one.groups[0].experts[0]) == sizes(plain(16, 3))


@every_head
def test_a_head_learns_what_is_there_and_leaves_the_random_state(head):
    before = torch.random.get_rng_state()
    member = HEADS[head].fit(VECTORS, TARGETS, 3, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (sure(member).argmax(axis=1) == TARGETS).mean() > 0.8 > (TARGETS == 0).mean() + 0.2
    assert np.allclose(np.exp(sure(member)).sum(axis=1), 1)
    assert (sure(HEADS[head].fit(VECTORS, TARGETS, 3, seed=3)) == sure(member)).all()
    assert (sure(HEADS[head].fit(VECTORS, TARGETS, 3, seed=4)) != sure(member)).any()


@every_head
def test_copies_are_averaged_and_the_first_is_the_one_that_stands_alone(head):
    one, three = (HEADS[head].fit(VECTORS, TARGETS, 3, copies=copies) for copies in (1, 3))
    parts = [replace(three, nets=(net,)) for net in three.nets]
    assert (sure(parts[0]) == sure(one)).all()
    assert all((sure(parts[0]) != sure(part)).any() for part in parts[1:])
    product = np.exp(sum(map(sure, parts)) / 3)  # the geometric mean of the probabilities
    assert np.allclose(np.exp(sure(three)), product / product.sum(axis=1, keepdims=True), atol=1e-5)


@every_head
def test_a_head_takes_further_steps_with_each_copy(head, monkeypatch):
    monkeypatch.setattr(network, "STEP_EPOCHS", 2)
    two = HEADS[head].fit(VECTORS, TARGETS, 3, copies=2)
    one, before, rows = replace(two, nets=two.nets[:1]), sure(two), np.arange(60)
    steps = Steps(taught=rows, targets=np.eye(3)[TARGETS[rows]], replayed=rows + 60, beliefs=np.exp(before)[60:])
    stepped = two.stepped(VECTORS, steps)
    assert (sure(two) == before).all(), "the first networks are as they were"
    assert all((a(X) != b(X)).any() for a, b in zip(two.nets, stepped.nets, strict=True))
    assert (sure(replace(stepped, nets=stepped.nets[:1])) == sure(one.stepped(VECTORS, steps))).all()
    assert not any(parameter.requires_grad for net in stepped.nets for parameter in net.parameters())


@pytest.mark.parametrize(("head", "copies"), [("majority_kernels", 1), ("pangu_pi", 1), ("prototyped_experts", 2)])
def test_a_scorer_reports_keeps_and_finds_its_head(head, copies, tmp_path):
    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder(), head=head, copies=copies)
    assert [member.kind for member in scorer.classifier.members] == ["linear", head, "lexical", "neighbors"]
    name = head if copies == 1 else f"{head}, {copies} copies"
    assert scorer.summary.splitlines()[1].startswith(f"{name}: right on ")
    asked = ["a good day", "a bad day", "an odd day"]
    records = scorer.batch(asked)
    assert [record["prediction"].label for record in records] == ["positive", "negative", "neutral"]
    scorer.save(tmp_path)
    loaded = SmallModelScorer.load(tmp_path, encoder=TinyEncoder())
    assert (loaded.summary, loaded.model_hash) == (scorer.summary, scorer.model_hash)
    assert head_among(loaded.classifier.members) == (head, copies)
    for a, b in zip(records, loaded.batch(asked), strict=True):
        assert a["prediction"].confidence == pytest.approx(b["prediction"].confidence, abs=1e-6)


def test_each_tag_has_the_head_that_was_asked_for():
    tags = [[label] if label != "neutral" else [] for label in LABELS]
    scorer = MultiLabelScorer.fit(TEXTS, tags, encoder=TinyEncoder(), head="pangu_pi", copies=2)
    assert [head_among(one.members) for one in scorer.heads.values()] == [("pangu_pi", 2)] * 2
    assert [record["prediction"].value for record in scorer.batch(["a good day", "odd"])] == [["positive"], []]
    with pytest.raises(TrainingDataError, match="no network"):
        MultiLabelScorer.fit(TEXTS, tags, encoder=TinyEncoder(), head="pangu_pi", model="linear")


@pytest.mark.parametrize("gold", [None, (TEXTS, LABELS)])
def test_a_bundle_from_answers_has_the_head_that_was_asked_for(gold):
    answers = {"text": TEXTS, "answer": LABELS}
    found = bootstrap(answers, gold, encoder=TinyEncoder(), head="pangu_pi", copies=2, keep_examples=False)
    assert head_among(found.scorer.classifier.members) == ("pangu_pi", 2)


def test_majority_kernels_take_no_more_room_than_the_plain_network():
    states = [HEADS[head].fit(VECTORS, TARGETS, 3).state()[1] for head in ("mlp", "majority_kernels")]
    shapes = [{name: array.shape for name, array in arrays.items()} for arrays in states]
    assert shapes[0] == shapes[1]


def test_one_plain_network_is_the_default_and_is_kept_as_before():
    for fit in (SmallModelScorer.fit, Bundle.fit, MultiLabelScorer.fit, bootstrap):
        told = signature(fit).parameters
        assert (told["head"].default, told["copies"].default) == ("mlp", 1) == head_among(())
    settings, arrays = HEADS["mlp"].fit(VECTORS, TARGETS, 3).state()
    assert set(settings) == {"scale"}
    assert set(arrays) == {"center", "net.1.weight", "net.1.bias", "net.4.weight", "net.4.bias"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"head": "transformer"}, "Got head='transformer' .* one of .*'pangu_pi'"),
        ({"head": ["mlp"]}, "Got head=.* one of"),
        ({"head": None}, "Got head=None .* one of"),
        ({"model": "quadratic"}, "Got model='quadratic' .* one of"),
        ({"calibration": "none"}, "Got calibration='none' .* one of"),
        ({"copies": 0}, "Got copies=0 .* positive integer"),
        ({"copies": 2.0}, "Got copies=2.0 .* positive integer"),
        ({"model": "linear", "head": "pangu_pi"}, "no network"),
        ({"model": "linear", "copies": 2}, "no network"),
    ],
)
def test_settings_that_there_are_not_are_refused_before_any_work(settings, said):
    encoder = TinyEncoder()
    with pytest.raises(TrainingDataError, match=said):
        SmallModelScorer.fit(TEXTS, LABELS, encoder=encoder, **settings)
    assert not encoder.calls


def test_few_examples_have_the_linear_head_alone_whatever_was_asked_for():
    scorer = SmallModelScorer.fit(TEXTS[:12], LABELS[:12], encoder=TinyEncoder(), head="pangu_pi", copies=2)
    assert [member.kind for member in scorer.classifier.members] == ["linear"]

"""Learning from what the large model answered: the small model gets better, and nothing is forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from fakes import TinyEncoder
from sklearn.dummy import DummyClassifier

from dsplus_chains import (
    Bundle,
    BundleError,
    ExperienceStore,
    LargeAnswer,
    Prediction,
    SmallModelScorer,
    TrainingDataError,
    TrainingDataWarning,
    tune_threshold,
)
from dsplus_chains.learning import Versions, bootstrap, learn, least_sure, promote, watch
from dsplus_chains.learning.decisions import decisions_in, labelled_in
from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.schema import DSPlusError, InvalidInputError, as_pair
from dsplus_chains.scoring import EstimatorScorer
from dsplus_chains.scoring.members import network
from dsplus_chains.scoring.members.heads import head_among
from dsplus_chains.scoring.members.member import TextBatch

WORDS = {label: [f"{label}{number}" for number in range(40)] for label in ("card", "loan", "rent")}
LABELS = list(WORDS)


def rows(n, seed):
    """Texts of three telling words and one that may mislead, and their labels."""
    rng = np.random.default_rng(seed)
    labels = [LABELS[number] for number in rng.integers(0, 3, n)]
    texts = [" ".join([*rng.choice(WORDS[label], 3), rng.choice(WORDS[LABELS[rng.integers(3)]])]) for label in labels]
    return [f"{text} {number}{seed}" for number, text in enumerate(texts)], labels


def answers(labels, seed, right=0.9):
    """What a large model says that is right on most rows."""
    rng = np.random.default_rng(seed)
    return [label if rng.random() < right else LABELS[rng.integers(3)] for label in labels]


def experience(texts, said, gold=None):
    gold = [None] * len(texts) if gold is None else gold
    return [
        Experience(text=text, text_hash=hash_of_input(text), large=one, gold=true, time=0.0)
        for text, one, true in zip(texts, said, gold, strict=True)
    ]


@pytest.fixture(scope="module")
def gold():
    texts, labels = rows(60, seed=1)
    return SimpleNamespace(texts=texts, labels=labels, answers=answers(labels, 1))


@pytest.fixture(scope="module")
def bundle(gold):
    scorer = SmallModelScorer.fit(gold.texts, gold.labels, encoder=TinyEncoder(dimensions=256), model="linear")
    tuned = tune_threshold(scorer.out_of_fold, gold.labels, gold.answers, texts=gold.texts, fusion="posterior")
    return Bundle(scorer=scorer, tuned=tuned, instruction="Which?")


@pytest.fixture(scope="module")
def stream():
    texts, labels = rows(300, seed=2)
    return SimpleNamespace(texts=texts, labels=labels, answers=answers(labels, 2))


@pytest.fixture(scope="module")
def learned(bundle, gold, stream):
    known = experience(stream.texts, stream.answers) + experience(gold.texts, gold.answers, gold.labels)
    return learn(bundle, known, gold=(gold.texts, gold.labels))


def accuracy(bundle, texts, labels):
    return np.mean(
        [row["prediction"].label == one for row, one in zip(bundle.scorer.batch(texts), labels, strict=True)]
    )


def test_the_small_model_gets_better(bundle, learned):
    texts, labels = rows(400, seed=3)
    assert accuracy(learned, texts, labels) > accuracy(bundle, texts, labels) + 0.02


def test_the_network_learns_by_steps_and_the_other_members_stay(gold, stream):
    scorer = SmallModelScorer.fit(gold.texts, gold.labels, encoder=TinyEncoder(dimensions=256))
    start = Bundle(scorer=scorer, instruction="Which?")
    known = experience(stream.texts, stream.answers)
    after = learn(start, known, gold=(gold.texts, gold.labels), method="2cd", eps=0.5)
    assert after.metadata["learned"]["method"] == "2cd"
    moved = {
        one.kind: np.abs(np.exp(one.log_proba(texts)) - np.exp(other.log_proba(texts))).max()
        for texts in [TextBatch(stream.texts, scorer.encoder)]
        for one, other in zip(scorer.classifier.members, after.scorer.classifier.members, strict=True)
    }
    assert moved["linear"] < 0.005  # it is fitted on the same labels, in another order
    assert moved["mlp"] > 0.05  # it took steps
    assert after.scorer.out_of_fold is not None


@pytest.mark.parametrize("method", ["2cd", "refit"])
@pytest.mark.parametrize(("head", "copies"), [("majority_kernels", 1), ("pangu_pi", 1), ("prototyped_experts", 2)])
def test_each_head_learns_and_stays(gold, stream, head, copies, method, monkeypatch):
    monkeypatch.setattr(network, "FEWEST_STEPS", 20)
    monkeypatch.setattr(network, "STEP_EPOCHS", 1)
    start = Bundle.fit(gold.texts, gold.labels, encoder=TinyEncoder(dimensions=32), head=head, copies=copies)
    known = experience(stream.texts[:60], stream.answers[:60]) + experience(gold.texts, gold.answers, gold.labels)
    after = learn(start, known, gold=(gold.texts, gold.labels), method=method, eps=0.5)
    assert head_among(after.scorer.classifier.members) == (head, copies)
    one, other = (bundle.scorer.classifier.members[1] for bundle in (start, after))
    seen = TextBatch(stream.texts, start.scorer.encoder)
    assert np.abs(np.exp(one.log_proba(seen)) - np.exp(other.log_proba(seen))).max() > 1e-3


def test_steps_need_a_network_and_a_gate_that_can_be_passed(bundle, gold, stream):
    known, labelled = experience(stream.texts, stream.answers), (gold.texts, gold.labels)
    with pytest.raises(InvalidInputError, match="without a network"):
        learn(bundle, known, gold=labelled, method="2cd")
    with pytest.raises(InvalidInputError, match="eps"):
        learn(bundle, known, gold=labelled, eps=1.0)


def test_what_it_learned_from_is_told_and_kept(learned, tmp_path):
    assert learned.metadata["learned"]["large_answers"] == 300
    assert learned.metadata["learned"]["stream"] == 300
    learned.save(tmp_path / "b")
    loaded = Bundle.load(tmp_path / "b", encoder=TinyEncoder(dimensions=256))
    assert (
        loaded.scorer.invoke("card1 card2")["prediction"].label
        == learned.scorer.invoke("card1 card2")["prediction"].label
    )
    for name in ("texts", "targets"):
        assert np.array_equal(getattr(loaded.scorer.held_out, name), getattr(learned.scorer.held_out, name))
    assert np.allclose(loaded.scorer.held_out.logs, learned.scorer.held_out.logs, atol=1e-5)


def test_texts_of_the_stream_count_as_seen(learned, stream):
    assert learned.scorer.invoke(stream.texts[0])["prediction"].training == "seen"


def test_the_order_of_the_labels_stays(bundle, gold, stream):
    known = experience(stream.texts, stream.answers) + experience(gold.texts, gold.answers)
    backwards = (gold.texts[::-1], gold.labels[::-1])
    assert learn(bundle, known, gold=backwards).scorer.labels == bundle.scorer.labels


def test_true_labels_in_the_experience_join_the_labelled_rows(gold, stream):
    known = experience(stream.texts[:5], stream.answers[:5], ["card", None, "loan", None, None])
    known += experience(stream.texts[:1], [None], ["rent"])  # mended later
    lesson = Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)
    assert len([row.text for row in lesson.gold]) == 62
    told = dict(zip([row.text for row in lesson.gold], [row.label for row in lesson.gold], strict=True))
    assert (told[stream.texts[0]], told[stream.texts[2]]) == ("rent", "loan")
    assert [row.text for row in lesson.stream] == [stream.texts[1], stream.texts[3], stream.texts[4]]


def test_a_text_is_once_in_the_lesson_and_its_last_answer_counts(gold):
    known = experience(["Same text.", "same TEXT", gold.texts[0]], ["card", "loan", "rent"])
    lesson = Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)
    assert [row.answer for row in lesson.stream] == ["loan"]
    assert (
        dict(zip([row.text for row in lesson.gold], [row.answer for row in lesson.gold], strict=True))[gold.texts[0]]
        == "rent"
    )


def test_an_answer_that_is_no_label_teaches_nothing(gold):
    known = experience(["one", "two", "three"], ["no idea", ["card"], True])
    lesson = Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)
    assert lesson.numbers(row.answer for row in lesson.stream).tolist() == [-1, -1, -1]


def test_answers_are_read_as_a_chain_reads_them(bundle, gold, stream, learned):
    """Else answers with a full stop are lost, and what a model says at last takes the place of its label."""
    written = [f"{said.upper()}." if number % 2 else f"It is {said}." for number, said in enumerate(stream.answers)]
    known = [
        *experience(stream.texts, written),
        *experience(gold.texts, [f" {said}" for said in gold.answers]),
        *experience(stream.texts[:9], ["Sorry, I cannot help with that."] * 9),
    ]
    with pytest.warns(
        TrainingDataWarning, match=r"Got 9 of 369 answers .*, such as 'Sorry, I cannot.*count as no answer"
    ):
        found = learn(bundle, known, gold=(gold.texts, gold.labels))
    assert found.scorer.model_hash == learned.scorer.model_hash
    assert found.metadata["learned"]["large_answers"] == 300
    with pytest.warns(TrainingDataWarning, match="9 of 369"):
        doubts = least_sure(bundle, known, 1000)
    assert {doubt.row.text: doubt.large for doubt in doubts} == dict(zip(stream.texts, stream.answers, strict=True))


@pytest.mark.parametrize("gold_of", [lambda one: f" {one} ", lambda one: one])
def test_true_labels_are_read_as_those_of_a_table_are(gold, gold_of):
    number_of = {label: number for number, label in enumerate(LABELS)}
    known = [replace(row, gold=gold_of(str(row.gold))) for row in experience(["new one"], [None], [2])]
    written = [gold_of(str(number_of[label])) for label in gold.labels]
    lesson = Lesson.of(known, labels=[0, 1, 2], gold_texts=gold.texts, gold_labels=written)
    assert {row.text: row.label for row in lesson.gold} == {
        "new one": 2,
        **{text: number_of[label] for text, label in zip(gold.texts, gold.labels, strict=True)},
    }


@pytest.mark.parametrize("wrong", ["taxi", 7, 0.5, {"kind": "card"}, ["card"]])
def test_a_true_label_that_is_none_is_told_with_its_text(gold, wrong):
    known = experience(["new one"], ["card"], [wrong])
    with pytest.raises(TrainingDataError, match=r"the first one of 'new one'.*store.correct"):
        Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)


@pytest.mark.parametrize(
    ("known", "gold_rows", "told"),
    [
        ([], None, "expected some; record more"),
        (experience(["new one"], ["card"]), ([], []), "no labelled row of"),
        (experience(["new one"], ["card"], ["taxi"]), None, "true labels \\['taxi'\\]"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(bundle, gold, known, gold_rows, told):
    with pytest.raises(TrainingDataError, match=told):
        learn(bundle, known, gold=(gold.texts, gold.labels) if gold_rows is None else gold_rows)


def test_nothing_is_learned_from_a_model_of_unknown_worth(bundle, gold, stream):
    untuned = Bundle(scorer=bundle.scorer, instruction="Which?")
    bundle.scorer.encoder.calls.clear()
    with pytest.raises(TrainingDataError, match="how often the large model is right"):
        learn(untuned, experience(stream.texts, stream.answers), gold=(gold.texts, gold.labels))
    assert not bundle.scorer.encoder.calls  # it is told before any work


def test_a_certificate_is_not_handed_on(bundle, gold, stream):
    fresh, labels = rows(400, seed=5)
    views = [record["prediction"] for record in bundle.scorer.batch(fresh)]
    tuned = tune_threshold(views, labels, labels, objective="max_risk", max_risk=0.3)
    known = experience(stream.texts, stream.answers) + experience(gold.texts, gold.answers)
    assert learn(bundle.with_tuned(tuned), known, gold=(gold.texts, gold.labels)).tuned is None


def test_a_candidate_is_promoted_kept_and_put_back(bundle, learned, tmp_path):
    found = promote(learned, bundle)
    assert found.promoted == (not found.reasons)
    assert found.bundle is (learned if found.promoted else bundle)
    versions = Versions(tmp_path / "versions")
    assert versions.current is None
    assert versions.add(bundle) == 1
    again = versions.promote(learned, encoder=TinyEncoder(dimensions=256))
    assert again.promoted == found.promoted
    assert versions.numbers == [1, 2]
    assert versions.current == (2 if found.promoted else 1)
    assert versions.decisions[0]["candidate"] == 2
    second = versions.promote(learned, encoder=TinyEncoder(dimensions=256))
    assert second.judgement.level < again.judgement.level
    if found.promoted:
        assert versions.rollback() == 1
    assert versions.load(encoder=TinyEncoder(dimensions=256)).tuned.threshold == bundle.tuned.threshold
    with pytest.raises(InvalidInputError, match="earlier one"):
        versions.rollback()


def test_models_of_other_rows_or_labels_are_not_compared(bundle):
    texts, labels = rows(60, seed=9)
    other = Bundle(
        scorer=SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(dimensions=256), model="linear"), instruction="?"
    )
    with pytest.raises(InvalidInputError, match=r"labelled texts that both models know|other labels"):
        promote(other, bundle)


def test_without_labels_a_bundle_is_judged_by_agreement_and_says_so(stream):
    frame = {"text": stream.texts, "answer": stream.answers}
    found = bootstrap(frame, instruction="Which?", encoder=TinyEncoder(dimensions=256))
    assert found.tuned.against == "large_answers"
    assert "agree with the large model, which may be wrong" in found.tuned.meaning
    assert "were right" not in found.tuned.meaning
    assert found.metadata["labelled_by"] == "the large model"
    assert type(found.tuned).from_dict(found.tuned.to_dict()).against == "large_answers"


def test_with_labels_a_bundle_is_judged_by_them(gold, stream):
    logs = SimpleNamespace(
        texts=stream.texts + gold.texts,
        answers=[*(f"It is {one}." for one in stream.answers), *gold.answers],
        confidences=[None] * 360,
        times=[None] * 360,
    )
    found = bootstrap(
        logs, (gold.texts, gold.labels), labels=LABELS, instruction="Which?", encoder=TinyEncoder(dimensions=256)
    )
    assert found.tuned.against == "labels"
    assert found.metadata["learned"]["large_answers"] >= 299
    texts, labels = rows(400, seed=3)
    assert accuracy(found, texts, labels) > 0.8
    assert len(found.task.examples.exemplars) == 60


def test_free_text_is_no_label(stream):
    frame = {"text": stream.texts[:4], "answer": ["one thing", "another thing", "a third", "a fourth"]}
    with pytest.raises(TrainingDataError, match="free text"):
        bootstrap(frame, instruction="Which?", encoder=TinyEncoder(dimensions=256))


def test_answers_that_read_alike_are_one_label(stream):
    said = [
        one.upper() if number % 4 == 0 else f"{one}." if number % 4 == 1 else one
        for number, one in enumerate(stream.answers)
    ]
    frame = {"text": stream.texts, "answer": said}
    told = r"read alike, such as '(\w+)' \(\d+ times\) and '(?i:\1\.?)' .*count as '\1'"
    with pytest.warns(TrainingDataWarning, match=told):
        found = bootstrap(frame, instruction="Which?", encoder=TinyEncoder(dimensions=256))
    assert sorted(found.scorer.labels) == LABELS
    assert found.metadata["rows"] == 300


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("e.sqlite", "Got 'e.sqlite' .*ExperienceStore\\(path\\) opens"),
        (["a", "b"], "Got 'a' "),
        ((["a"], ["b"]), "expected an ExperienceStore"),
        (None, "Got None"),
        ({"text": ["a", "b"], "answer": ["x"]}, "2 texts and 1 answers"),
        ({"text": ["a"], "answers": ["x"]}, "no column 'answer'"),
    ],
)
def test_what_holds_no_decisions_is_told(bundle, source, told):
    for use in (lambda: bootstrap(source), lambda: learn(bundle, source), lambda: least_sure(bundle, source)):
        with pytest.raises(DSPlusError, match=told):
            use()
    with pytest.raises(DSPlusError, match=told):
        watch(bundle, source)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda bundle: learn("intents", []), "bundle='intents'.*an object of Bundle"),
        (lambda bundle: least_sure(bundle.scorer, []), "an object of Bundle"),
        (lambda bundle: watch("intents", []), "bundle='intents'"),
        (lambda bundle: promote("intents", bundle), "candidate='intents'"),
        (lambda bundle: promote(bundle, None), "incumbent=None"),
        (lambda bundle: promote(bundle, bundle, look=1.5), "look=1.5"),
        (lambda bundle: promote(bundle, bundle, alpha="x"), "alpha='x'"),
        (lambda bundle: least_sure(bundle, [], -1), "n=-1"),
        (lambda bundle: watch(bundle, [], window="3"), "window='3'"),
        (lambda bundle: watch(bundle, [], alpha="x"), "alpha='x'"),
        (lambda bundle: learn(bundle, [], eps="x"), "eps='x'"),
        (lambda bundle: learn(bundle, [], rationale_weight="x"), "rationale_weight='x'"),
    ],
)
def test_what_is_of_another_kind_is_told_in_words(bundle, use, told):
    with pytest.raises(InvalidInputError, match=told):
        use(bundle)


def test_only_a_small_model_that_was_fitted_here_learns():
    other = EstimatorScorer(classifier=DummyClassifier().fit([["a"], ["b"]], ["card", "loan"]))
    with pytest.raises(InvalidInputError, match=r"bundle\.scorer=.*an object of SmallModelScorer"):
        learn(Bundle(scorer=other, instruction="Which?"), experience(["a"], ["card"]))


PAIRS = [("which card?", "a card"), ("which loan?", "a rent")]


@pytest.mark.parametrize("kind", [list, tuple], ids=["pairs of lists", "pairs of tuples"])
def test_pairs_of_texts_are_decisions_and_labels(kind):
    table = {"text": [*(kind(pair) for pair in PAIRS), None], "answer": ["yes", "no", "no"]}
    assert [(row.text, row.large) for row in decisions_in(table)] == list(
        zip(map(as_pair, PAIRS), ["yes", "no"], strict=True)
    )
    with ExperienceStore(":memory:") as store:
        store.answered(kind(PAIRS[0]), "yes")
        store.add_gold([kind(pair) for pair in PAIRS], ["yes", "no"])
        lesson = Lesson.of(decisions_in(store), labels=["yes", "no"], gold_texts=PAIRS, gold_labels=["yes", "no"])
    assert [(row.label, row.answer) for row in lesson.gold] == [("yes", "yes"), ("no", None)]
    assert lesson.stream == ()


def test_a_table_of_arrow_is_a_data_frame():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"text": ["a", "b", None], "answer": ["x", None, "x"], "label": ["x", "y", "y"]})
    assert [(row.text, row.large) for row in decisions_in(table)] == [("a", "x"), ("b", None)]
    assert labelled_in(table.slice(0, 2)) == (["a", "b"], ["x", "y"])


def test_a_cell_that_is_no_text_is_told_and_not_lost():
    with pytest.raises(InvalidInputError, match=r"Got 5 .int. for a text"):
        decisions_in({"text": ["a", 5], "answer": ["x", "y"]})


def test_a_column_may_be_called_answers():
    frame = pandas.DataFrame({"text": ["a", "b"], "answers": ["x", "y"]})
    assert [row.large for row in decisions_in(frame, answer="answers")] == ["x", "y"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"labels": "abc"}, "labels='abc'.*expected a list"),
        ({"labels": []}, "labels=\\[\\]"),
        ({"min_gain": "x"}, "min_gain='x'"),
        ({"instrution": "?"}, "instrution"),
        ({"gold": (["a"], [None])}, "no label in row 0"),
    ],
)
def test_wrong_settings_of_bootstrap_are_told_before_any_work(stream, settings, told):
    encoder = TinyEncoder()
    with pytest.raises(ValueError, match=told):
        bootstrap({"text": stream.texts, "answer": stream.answers}, encoder=encoder, **settings)
    assert not encoder.calls


def test_answers_that_no_labelled_row_has_are_left_out(gold, stream):
    said = ["taxi" if number % 10 == 0 else answer for number, answer in enumerate(stream.answers)]
    frame = {"text": stream.texts + gold.texts, "answer": said + gold.answers}
    known = {"text": gold.texts, "label": gold.labels}
    with pytest.warns(
        TrainingDataWarning, match=r"Got 30 of 360 answers that are none of the labels .*, such as 'taxi'"
    ):
        found = bootstrap(frame, known, encoder=TinyEncoder(dimensions=256))
    assert sorted(found.scorer.labels) == LABELS
    assert found.metadata["learned"]["large_answers"] == 270


def test_labelled_rows_that_are_no_columns_are_refused(bundle, gold):
    with pytest.raises(TrainingDataError, match="one length"):
        learn(bundle, [], gold=(gold.texts, gold.labels[:-1]))


def test_labels_of_rows_that_were_chosen_for_being_hard_teach_and_judge_nothing(gold, stream):
    known = [
        replace(row, gold=label, gold_origin=origin)
        for row, label, origin in zip(
            experience(stream.texts[:3], stream.answers[:3]),
            stream.labels,
            ["label", "correction", "audit"],
            strict=False,
        )
    ]
    lesson = Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)
    assert (len(lesson.gold), [row.label for row in lesson.stream]) == (61, stream.labels[:2])


def test_a_corrected_label_counts(gold):
    other = next(label for label in LABELS if label != gold.labels[5])
    known = [replace(row, gold_origin="correction") for row in experience(gold.texts[5:6], [None], [other])]
    lesson = Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)
    assert {row.text: row.label for row in lesson.gold}[gold.texts[5]] == other


def test_a_redacted_text_is_one_row(gold):
    known = [
        Experience(text=text, text_hash=hash_of_input(f"{text} {number}"), large="card", time=0.0)
        for number, text in enumerate([gold.texts[0], "a <name>", "a <name>"])
    ]
    lesson = Lesson.of(known, labels=LABELS, gold_texts=gold.texts, gold_labels=gold.labels)
    assert [row.text for row in lesson.stream] == ["a <name>"]
    assert {row.text: row.answer for row in lesson.gold}[gold.texts[0]] == "card"


def test_large_answers_never_become_the_truth(stream):
    found = bootstrap({"text": stream.texts, "answer": stream.answers}, encoder=TinyEncoder(dimensions=256))
    with pytest.raises(TrainingDataError, match="no labelled row of"):
        learn(found, experience(stream.texts, stream.answers))


def test_a_few_corrections_teach_in_the_place_of_wrong_answers_and_judge_nothing(stream):
    """An answer that is always wrong of one kind of text is put right by fewer labels than can judge."""
    odd = [f"meter reading {number}" for number in range(12)]
    known = experience(stream.texts, stream.answers) + experience(odd[:8], ["card"] * 8)
    corrected = known + [
        replace(row, large=None, gold="rent", gold_origin="correction") for row in experience(odd[:8], [None] * 8)
    ]
    before, after = (bootstrap(rows, labels=LABELS, encoder=TinyEncoder(dimensions=256)) for rows in (known, corrected))
    told = [[one["prediction"].label for one in found.scorer.batch(odd[8:])] for found in (before, after)]
    assert told == [["card"] * 4, ["rent"] * 4]
    assert (before.tuned.n, after.tuned.n, after.tuned.against) == (308, 300, "large_answers")


def test_a_correction_to_no_label_is_told_and_teaches_nothing(stream):
    known = experience(stream.texts, stream.answers)
    known[0] = replace(known[0], gold="taxi", gold_origin="correction")
    with pytest.warns(TrainingDataWarning, match="none of the labels, such as 'taxi'; their rows are left out"):
        found = bootstrap(known, labels=LABELS, encoder=TinyEncoder(dimensions=256))
    assert found.metadata["rows"] == 299


def test_large_answers_judge_no_candidate(gold, stream):
    """The rows on which the large model is wrong count as well, and by their true label."""
    said = [LABELS[(LABELS.index(one) + 1) % 3] for one in gold.labels[:30]] + gold.labels[30:]
    known = experience(stream.texts, stream.answers) + experience(gold.texts, said)
    start = bootstrap(known, labels=LABELS, encoder=TinyEncoder(dimensions=256))
    candidate = learn(start, known, gold=(gold.texts, gold.labels))
    assert start.scorer.track_record is not None  # a hint calls it how often the small model is right
    assert [one.task.track_record for one in (start, candidate)] == [None, "auto"]
    held = start.scorer.held_out
    views = {
        f"{text:016x}": LABELS[view] for text, view in zip(held.texts.tolist(), held.logs.argmax(axis=1), strict=True)
    }
    right = np.mean([views[hash_of_input(text)] == true for text, true in zip(gold.texts, gold.labels, strict=True)])
    for one, other in ((candidate, start), (start, candidate)):
        found = promote(one, other).judgement
        assert found.n == 60
        shown = found.accuracy_after if one is start else found.accuracy_before
        assert shown == right
    with pytest.raises(InvalidInputError, match="fitted on what the large model answered"):
        promote(start, start)


def test_a_store_with_true_labels_needs_no_others(gold, stream, tmp_path):
    with ExperienceStore(tmp_path / "e.sqlite", keep_text=True) as store:
        store.add_gold(gold.texts, gold.labels, large_answers=gold.answers)
        for text, said in zip(stream.texts, stream.answers, strict=True):
            large = LargeAnswer(value=said)
            store.record(
                {"input": text, "prediction": Prediction(label=None), "answer": said, "source": "large", "large": large}
            )
        found = bootstrap(store, encoder=TinyEncoder(dimensions=256))
    assert found.tuned.against == "labels"
    assert found.metadata["learned"]["large_answers"] == 300


def test_labels_keep_their_order_and_rare_answers_stop_nothing(stream):
    frame = {"text": [*stream.texts, "a lone one"], "answer": [*stream.answers, "none"]}
    labels = ["rent", "loan", "card", "none"]
    with pytest.warns(TrainingDataWarning, match="none"):
        found = bootstrap(frame, labels=labels, encoder=TinyEncoder(dimensions=256))
    assert found.scorer.labels == ("rent", "loan", "card")


def test_a_bound_on_cost_stays_what_it_allowed(bundle, gold, stream):
    views = bundle.scorer.out_of_fold
    tuned = tune_threshold(
        views, gold.labels, gold.answers, texts=gold.texts, objective="max_cost", max_cost=10.0, large_cost=30.0
    )
    known = experience(stream.texts, stream.answers) + experience(gold.texts, gold.answers)
    after = learn(bundle.with_tuned(tuned), known, gold=(gold.texts, gold.labels), aim="accuracy").tuned
    assert after.escalation_rate.value <= tuned.escalation_rate.value + 1e-9


def test_versions_survive_each_other(bundle, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: Versions(tmp_path).add(bundle), range(4)))
    assert sorted(numbers) == [1, 2, 3, 4]
    assert len(Versions(tmp_path)._used) == 4


@pytest.mark.parametrize("content", ["{bad", "[]", '{"used": 5}', '{"used": [{}]}', '{"decisions": null}'])
def test_a_damaged_record_of_versions_is_named(tmp_path, content):
    (tmp_path / "versions.json").write_text(content)
    with pytest.raises(BundleError, match=r"versions\.json', which does not tell the versions in use"):
        _ = Versions(tmp_path).current


def test_what_a_chain_was_tuned_for_is_kept(bundle, gold, stream):
    views = bundle.scorer.out_of_fold
    tuned = tune_threshold(views, gold.labels, gold.answers, texts=gold.texts, min_gain=0.4, fusion="posterior")
    known = experience(stream.texts, stream.answers) + experience(gold.texts, gold.answers)
    after = learn(bundle.with_tuned(tuned), known, gold=(gold.texts, gold.labels), aim="accuracy").tuned
    assert (after.objective, after.min_gain) == ("accuracy", 0.4)
    assert type(after).from_dict(after.to_dict()).min_gain == 0.4
    plain = learn(bundle, known, gold=(gold.texts, gold.labels), aim="accuracy").tuned
    assert after.escalation_rate.value < plain.escalation_rate.value


def test_the_last_answer_is_the_latest_however_a_log_is_sorted():
    logs = SimpleNamespace(texts=["a", "a"], answers=["new", "old"], confidences=[None] * 2, times=[2.0, 1.0])
    assert [row.large for row in decisions_in(logs)] == ["old", "new"]


def test_copies_of_two_texts_are_too_few_and_that_is_told():
    logged = {"text": ["a", "b"] * 2, "answer": ["p", "n"] * 2}
    with pytest.raises(TrainingDataError, match=r"Got 2 different texts with an answer.*copies of a text count once"):
        bootstrap(logged, instruction="Which?", encoder=TinyEncoder())

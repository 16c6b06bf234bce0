"""What OpenTelemetry's own SDK exports of a decision."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import pytest
from fakes import CountingChat, DownChat, predict
from langchain_core.output_parsers import StrOutputParser
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dsplus_chains import ConfidenceBranch, RunnableScorer, shunt
from dsplus_chains.integrations.deciding import deciding
from dsplus_chains.schema import InvalidInputError, Prediction

SURE, UNSURE = "good", "good?"
"""What `predict` is 95 % sure of, and what it is 60 % sure of."""


def branch(large=None, **more):
    arm = (CountingChat(function=lambda _: "negative") if large is None else large) | StrOutputParser()
    return RunnableScorer(run=predict) | ConfidenceBranch(large=arm, threshold=0.9, **more)


def around_app(**more):
    app = CountingChat(function=lambda _: "negative") | StrOutputParser()
    return shunt(app, predict, labels=["positive", "negative"], **{"threshold": 0.9, **more})


SHAPES = pytest.mark.parametrize("make", [branch, around_app])


@pytest.fixture(scope="module")
def meter():
    """A process has one meter provider. It is set after the first decision, as some apps do."""
    branch().invoke(UNSURE)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


@pytest.fixture
def counted(meter):
    """A function that tells by how much the counters went up, by name and by the value of their one attribute."""
    before = read(meter)
    return lambda: dict(read(meter) - before)


def read(meter):
    data = meter.get_metrics_data()
    scopes = [scope for one in data.resource_metrics for scope in one.scope_metrics] if data else []
    found = [(metric, point) for scope in scopes for metric in scope.metrics for point in metric.data.data_points]
    return Counter({(metric.name, *point.attributes.values()): point.value for metric, point in found})


@pytest.fixture
def span():
    """A function that runs another one inside of a span, and returns the one span that was exported."""

    def traced(run):
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("app").start_as_current_span("request"):
            run()
        (exported,) = exporter.get_finished_spans()
        return dict(exported.attributes)

    return traced


@SHAPES
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_span_tells_who_answered_and_how_sure_the_small_model_was(make, way, span):
    run = {"invoke": lambda text: make().invoke(text), "stream": lambda text: list(make().stream(text))}[way]
    told = {"dsplus.confidence": 0.95, "dsplus.threshold": 0.9, "dsplus.label": "positive"}
    assert span(lambda: run(SURE)) == {"dsplus.source": "small", **told}
    assert span(lambda: run(UNSURE)) == {"dsplus.source": "large", **told, "dsplus.confidence": 0.6}


@SHAPES
async def test_so_it_does_when_it_is_awaited(make):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("app").start_as_current_span("request"):
        await make().ainvoke(SURE)
        with provider.get_tracer("app").start_as_current_span("inner"):
            async for _ in make().astream(UNSURE):
                pass
    inner, outer = exporter.get_finished_spans()
    assert (inner.attributes["dsplus.source"], outer.attributes["dsplus.source"]) == ("large", "small")


@SHAPES
def test_a_batch_tells_of_each_row(make, span):
    told = span(lambda: make().batch([SURE, UNSURE, SURE]))
    assert told == {"dsplus.source": ("small", "large", "small"), "dsplus.confidence": (0.95, 0.6, 0.95)}


def test_what_is_not_known_is_left_out(span):
    blind = ConfidenceBranch(large=lambda _: "negative", threshold=None)
    record = {"input": "hi", "prediction": Prediction(label=None)}
    assert span(lambda: blind.invoke(record)) == {"dsplus.source": "large"}
    _, confidence = span(lambda: blind.batch([record, record]))["dsplus.confidence"]
    assert math.isnan(confidence)
    with pytest.raises(InvalidInputError):
        span(lambda: blind.invoke({"input": "no prediction"}))


def test_a_shunt_that_only_decides_tells_it_too(span, counted):
    decider, _ = deciding(predict, threshold=0.9, labels=["positive", "negative"])
    assert span(lambda: decider.invoke(UNSURE))["dsplus.source"] == "large"
    assert counted() == {("dsplus.decisions", "large"): 1}


@SHAPES
def test_counters_count_answers_by_source_and_tokens_by_kind(make, counted):
    make().batch([SURE, UNSURE, SURE])
    tokens = {("dsplus.tokens", "input"): len(f"{UNSURE}") // 4, ("dsplus.tokens", "output"): 1}
    assert counted() == {("dsplus.decisions", "small"): 2, ("dsplus.decisions", "large"): 1, **tokens}
    list(make().stream(UNSURE))
    assert counted()["dsplus.decisions", "large"] == 2
    assert counted()["dsplus.tokens", "output"] == 2


def test_a_fallback_is_counted_as_one(counted):
    branch(DownChat(function=str)).invoke(UNSURE)
    assert counted() == {("dsplus.decisions", "fallback"): 1}


def test_a_gate_inside_of_another_ones_arm_is_counted_once(counted, span):
    large = CountingChat(function=lambda _: "negative") | StrOutputParser()
    middle = RunnableScorer(run=predict) | ConfidenceBranch(large=large, threshold=0.99, wants="input", tier="medium")
    tiers = RunnableScorer(run=predict) | ConfidenceBranch(large=middle, threshold=0.9)
    assert span(lambda: tiers.invoke(UNSURE))["dsplus.source"] == "large"
    told = counted()
    assert (told["dsplus.decisions", "large"], told["dsplus.tokens", "output"]) == (1, 1)


def test_an_app_without_opentelemetry_needs_none():
    code = (
        "import sys\nsys.modules['opentelemetry'] = None\nfrom dsplus_chains import ConfidenceBranch, Prediction\n"
        "branch = ConfidenceBranch(large=lambda text: 'ham', threshold=0.9)\n"
        "record = {'input': 'hi', 'prediction': Prediction(label='spam', confidence=0.95)}\n"
        "unsure = {**record, 'prediction': Prediction(label=None)}\n"
        "print(*(row['answer'] for row in branch.batch([record, unsure])))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["spam", "ham"]

"""Whatever is wired to whatever: a cancellation or Ctrl-C inside is raised, and is never an answer."""

from __future__ import annotations

import asyncio
import json
import signal
import threading

import pytest
from clock import PATIENCE, auntil
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from pydantic import Field

from dsplus_chains import (
    ChatModelScorer,
    ConfidenceBranch,
    HintPromptBuilder,
    LabelAsker,
    LabelParser,
    LargeAnswer,
    MapParts,
    MapSubtask,
    OverrideExplainer,
    Prediction,
    RunnableScorer,
    Skill,
    Subtask,
    SubtaskDecomposer,
    SubtaskPlanner,
    VerifiedScorer,
    data_shunt,
)
from dsplus_chains.running.breaker import CircuitBreaker

LABELS = ["positive", "negative"]


class Slow(BaseChatModel):
    """A chat model that never answers, or that Ctrl-C hits."""

    interrupts: bool = False
    asked: list[None] = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "slow"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.interrupts:
            raise KeyboardInterrupt
        return ChatResult(generations=[ChatGeneration(message=AIMessage("positive"))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.interrupts:
            raise KeyboardInterrupt
        self.asked.append(None)
        await asyncio.sleep(10)  # `assign` waits for it even where it is cancelled
        return ChatResult(generations=[ChatGeneration(message=AIMessage("positive"))])


def unsure(text):
    return Prediction(label="positive", confidence=0.5, probabilities={"positive": 0.5, "negative": 0.5})


def shunt(llm, **settings):
    return data_shunt(unsure, llm, labels=LABELS, instruction="Which?", threshold=0.9, **settings)


def prompt():
    return HintPromptBuilder(labels=LABELS, instruction="Which?", hints="none")


def branch(llm):
    return ConfidenceBranch(large=prompt() | llm | LabelParser(labels=LABELS), threshold=0.9)


def asker(llm):
    return LabelAsker(model=llm, parser=LabelParser(labels=LABELS))


def explained(llm):
    explainer = OverrideExplainer(model=llm, labels=LABELS, instruction="Which?")
    said = LargeAnswer(value="negative")
    overridden = {"prediction": unsure(""), "answer": "negative", "source": "large", "large": said}
    return RunnableLambda(lambda text: {"input": text, **overridden}) | explainer


def planner(llm):
    words = Skill(name="words", description="Counts the words.", run=len, select="input")
    return SubtaskPlanner(llm, skills=[words], cache=None)


def planned(llm):
    """The plan is given; the large model combines its results."""
    plan = json.dumps({"steps": [{"name": "size", "skill": "words"}]})
    return RunnableLambda(lambda text: {"input": text, "plan": plan}) | planner(llm)


WIRINGS = {
    "branch": lambda llm: RunnableScorer(run=unsure) | branch(llm),
    "chain": shunt,
    "chain without a second question": lambda llm: shunt(llm, retries=0),
    "chain with limits": lambda llm: shunt(llm, timeout=60, deadline=60, breaker=CircuitBreaker()),
    "tiers": lambda llm: data_shunt([unsure, unsure], llm, labels=LABELS, instruction="Which?", threshold=[0.9, 0.9]),
    "pick": lambda llm: shunt(llm).pick("answer"),
    "assign": lambda llm: shunt(llm).assign(more=lambda record: 1),
    "fallbacks and retries": lambda llm: shunt(llm.with_retry().with_fallbacks([llm])),
    "hard hints asked again": lambda llm: shunt(llm, hints="hard", top_k=1, reask=True),
    "asker": asker,
    "explainer": explained,
    "decomposer's subtask": lambda llm: SubtaskDecomposer(
        subtasks=[Subtask(name="tone", run=prompt() | llm, optional=True)], combine="{tone}"
    ),
    "decomposer's combining step": lambda llm: SubtaskDecomposer(
        subtasks=[Subtask(name="size", run=len, select="input")], combine=prompt() | llm
    ),
    "a shunt as a subtask": lambda llm: SubtaskDecomposer(
        subtasks=[Subtask(name="tone", run=shunt(llm), select="input")], combine="{tone}"
    ),
    "parts": lambda llm: MapParts(split="sentences", run=prompt() | llm),
    "parts' reduction": lambda llm: MapParts(split="sentences", run=unsure, reduce=(lambda parts: "x") | asker(llm)),
    "parts as a subtask": lambda llm: SubtaskDecomposer(
        subtasks=[MapSubtask(name="facts", split="sentences", run=shunt(llm))], combine="{facts}"
    ),
    "scorer over a chain": lambda llm: RunnableScorer(
        run=prompt() | llm | (lambda message: Prediction(label=message.text, confidence=1.0)), on_error="defer"
    ),
    "scorer over a chat model": lambda llm: ChatModelScorer(
        chat_model=llm, prompt=prompt(), parser=LabelParser(labels=LABELS), confidence="logprobs", on_error="defer"
    ),
    "candidates of a verified scorer": lambda llm: VerifiedScorer(
        generators={"chat": prompt() | llm}, verifier=lambda record: True, on_error="defer"
    ),
    "verifier of a verified scorer": lambda llm: VerifiedScorer(
        generators={"fixed": lambda record: "positive"}, verifier=prompt() | llm | (lambda message: True)
    ),
    "small side of a chain": lambda llm: data_shunt(
        ChatModelScorer(chat_model=llm, prompt=prompt(), parser=LabelParser(labels=LABELS), confidence="logprobs"),
        lambda _: "positive",
        labels=LABELS,
        instruction="Which?",
        threshold=0.9,
    ),
    "planner": planner,
    "planner's combining step": planned,
}
TEXT = "It broke. It is bad."


@pytest.fixture(params=WIRINGS)
def wire(request):
    return WIRINGS[request.param]


async def stream(chain):
    return [chunk async for chunk in chain.astream(TEXT)]


WAYS = {
    "ainvoke": lambda chain: chain.ainvoke(TEXT),
    "abatch": lambda chain: chain.abatch([TEXT, TEXT]),
    "astream": stream,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_time_out_around_it_is_a_time_out(wire, way):
    chain = wire(Slow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await WAYS[way](chain)


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_that_is_cancelled_is_cancelled(wire, way):
    model = Slow()
    task = asyncio.ensure_future(WAYS[way](wire(model)))
    await auntil(lambda: model.asked or task.done())
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


SYNC = {
    "invoke": lambda chain: chain.invoke(TEXT),
    "batch": lambda chain: chain.batch([TEXT, TEXT]),
    "stream": lambda chain: list(chain.stream(TEXT)),
}


@pytest.mark.parametrize("way", SYNC)
def test_ctrl_c_in_a_call_is_raised(wire, way):
    with pytest.raises(KeyboardInterrupt):
        SYNC[way](wire(Slow(interrupts=True)))


@pytest.mark.parametrize("limits", [{}, {"timeout": 60.0}])
def test_ctrl_c_while_threads_wait_is_raised(limits):
    """The signal reaches the thread that waits for the others."""
    entered, sent = threading.Event(), threading.Event()

    def waits(prompt):
        entered.set()
        assert sent.wait(PATIENCE)
        return "positive"

    chain = shunt(RunnableLambda(waits), **limits)

    def interrupt():
        entered.wait(PATIENCE)
        signal.pthread_kill(main, signal.SIGINT)  # the thread gets it before it goes on with an answer
        sent.set()

    main = threading.main_thread().ident
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        chain.batch(["a", "b", "c"])

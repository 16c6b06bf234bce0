"""Where nobody hears a chain, it makes no runs. Nothing else may differ."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_debug
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSequence

from dsplus_chains import ConfidenceBranch, Prediction, data_shunt, decisions
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import BatchSizeError, Configs, Flow, Manager
from dsplus_chains.running.sequence import QuietSequence
from dsplus_chains.running.unheard import unheard

TEXTS = ["broke at once", "well, it is a phone", "fails to be read", "fine, I think"]


class Listener(BaseCallbackHandler):
    """Hears all chain runs."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, Any, Any]] = []
        self.tags: list[list[str]] = []

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, tags: Any = None, **told: Any
    ) -> None:
        self.begun.append((told["name"], run_id, parent_run_id))
        self.tags.append(tags)


class ModelListener(BaseCallbackHandler):
    """Hears the model alone."""

    ignore_chain = ignore_custom_event = True

    def __init__(self) -> None:
        self.tags: list[list[str]] = []
        self.metadata: list[dict[str, Any]] = []

    def on_chat_model_start(self, *_: Any, tags: Any, metadata: Any, **__: Any) -> None:
        self.tags.append(tags)
        self.metadata.append(metadata)


class Seeing(BatchRunnable[Any, Any]):
    """Keeps the run managers and configs that it was given."""

    seen: list[tuple[list[Manager], Configs]]

    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        self.seen.append((run_manager, config))
        return inputs
        yield


def small(text: str) -> Prediction:
    if "fails" in text:
        raise RuntimeError(text)
    return Prediction(label="negative", confidence=0.97 if "broke" in text else 0.5)


def chain(model: Any = None) -> Any:
    return data_shunt(
        small,
        model or FakeListChatModel(responses=["Positive."]),
        labels=["positive", "negative"],
        instruction="Positive or negative?",
        threshold=0.9,
    )


def plain(records: list[Any]) -> list[Any]:
    return [repr(dict(record)) if isinstance(record, dict) else repr(record) for record in records]


def test_only_a_heard_batch_has_a_run_for_each_row():
    seeing = Seeing(seen=[])
    assert seeing.batch([1, 2]) == seeing.batch([1, 2], {"callbacks": [Listener()]}) == [1, 2]
    (quiet, _), (heard, _) = seeing.seen
    assert quiet[0] is quiet[1]
    assert heard[0] is not heard[1]
    assert heard[0].run_id != heard[1].run_id


@pytest.mark.parametrize("how", ["batch", "abatch", "invoke", "ainvoke"])
def test_heard_and_unheard_chains_answer_alike(how):
    def call(config: RunnableConfig | None) -> list[Any]:
        run = chain()
        match how:
            case "batch":
                return run.batch(TEXTS, config, return_exceptions=True)
            case "abatch":
                return asyncio.run(run.abatch(TEXTS, config, return_exceptions=True))
            case "invoke":
                return [run.invoke(text, config) for text in TEXTS]
            case _:
                return [asyncio.run(run.ainvoke(text, config)) for text in TEXTS]

    listener = Listener()
    assert plain(call(None)) == plain(call({"callbacks": [listener]}))
    names = {name for name, _, _ in listener.begun}
    assert {"RunnableSequence", "ConfidenceBranch", "HintPromptBuilder", "LabelAsker", "LabelParser"} <= names


def test_a_sequence_of_ours_is_traced_as_langchains_is():
    ours, theirs = Listener(), Listener()
    steps = [Seeing(seen=[]), RunnableLambda(lambda value: value + 1)]
    for sequence, listener in ((steps[0] | steps[1], ours), (RunnableSequence(*steps), theirs)):
        assert sequence.batch([1, 2], {"callbacks": [listener], "tags": ["mine"]}) == [2, 3]
    assert [name for name, _, _ in ours.begun] == [name for name, _, _ in theirs.begun]
    assert ours.tags == theirs.tags


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_row_that_fails_goes_no_further(asynchronous):
    def odd(value: int) -> int:
        if value % 2:
            raise ValueError(value)
        return value

    asked: list[int] = []
    sequence = RunnableLambda(odd) | Seeing(seen=[]) | RunnableLambda(lambda value: asked.append(value) or value)
    assert not isinstance(sequence, QuietSequence)
    for run in (sequence, QuietSequence(*sequence.steps)):
        batch = run.batch if not asynchronous else lambda *args, **kwargs: asyncio.run(run.abatch(*args, **kwargs))  # noqa: B023
        outputs = batch([1, 2, 3, 4], return_exceptions=True)
        assert list(map(repr, outputs)) == ["ValueError(1)", "2", "ValueError(3)", "4"]
        with pytest.raises(ValueError, match="1"):
            batch([1, 2, 3])
    assert sorted(asked) == [2, 2, 4, 4]


def test_who_hears_is_heard():
    quiet: dict[str, Any] = {}
    assert unheard(quiet, 2, awaits=False) is not None
    assert unheard([quiet, quiet], 2, awaits=True) is not None
    assert unheard({"callbacks": [ModelListener()]}, 2, awaits=False) is not None
    assert unheard({"callbacks": [Listener()]}, 2, awaits=False) is None
    assert unheard([quiet, {"callbacks": [Listener()]}], 2, awaits=True) is None
    assert unheard({"run_id": "4c4b7b0e-5ab9-4f0f-8b77-0a4ba1a3f0a5"}, 1, awaits=False) is None
    assert unheard(quiet, 0, awaits=False) is None
    with decisions():
        assert unheard(quiet, 2, awaits=False) is None
    set_debug(True)
    try:
        assert unheard(quiet, 2, awaits=False) is None
    finally:
        set_debug(False)


def test_decisions_within_an_arm_are_heard():
    """The chain around it has found that nobody hears. That must not count for what opens a block of its own."""
    heard: list[int] = []
    inner = ConfidenceBranch(large=lambda _: "ham", threshold=0.9)
    record = {"input": "hi", "prediction": Prediction(label="spam", confidence=0.95)}

    def arm(_: Any, config: RunnableConfig) -> str:
        with decisions() as seen:
            inner.invoke(record)
            inner.batch([record], config)
        heard.append(len(seen))
        return "spam"

    unsure = {"input": "hi", "prediction": Prediction(label="spam", confidence=0.5)}
    branch = ConfidenceBranch(large=RunnableLambda(arm), threshold=0.9)
    (Seeing(seen=[]) | branch).invoke(unsure)
    branch.batch([unsure])
    assert heard == [2, 2]


@pytest.mark.parametrize("listens", [False, True])
def test_tags_metadata_and_callbacks_reach_the_model(listens):
    inside, passed = ModelListener(), ModelListener()
    model = FakeListChatModel(responses=["Positive."], callbacks=[inside])
    callbacks: list[Any] = [passed, *([Listener()] if listens else [])]
    chain(model).batch(TEXTS[1:2], {"callbacks": callbacks, "tags": ["mine"], "metadata": {"user": 7}})
    for listener in (inside, passed):
        assert "mine" in listener.tags[0]
        assert listener.metadata[0]["user"] == 7


def test_what_a_step_calls_without_a_config_gets_that_of_the_chain():
    seeing = Seeing(seen=[])

    class Calling(BatchRunnable[Any, Any]):
        def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
            return [seeing.invoke(value) for value in inputs]
            yield

    config: RunnableConfig = {"configurable": {"user": 7}, "metadata": {"key": 1}}
    assert (Seeing(seen=[]) | Calling()).invoke(1, config) == 1
    assert seeing.seen[0][1][0]["configurable"] == {"user": 7}
    asyncio.run((Seeing(seen=[]) | Calling()).ainvoke(1, config))
    assert seeing.seen[1][1][0]["metadata"]["key"] == 1


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("awaits", [False, True])
def test_what_a_step_sets_in_the_context_is_seen_by_it_alone(awaits, listens):
    variable: ContextVar[str] = ContextVar("variable", default="")

    class Setting(Runnable[Any, Any]):
        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            seen = variable.get()
            variable.set("set by a step")
            return [*input, seen]

        async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return self.invoke(input)

    async def awaited() -> tuple[Any, str]:
        return await sequence.ainvoke([], config), variable.get()

    sequence = Seeing(seen=[]) | Setting() | Setting()
    assert isinstance(sequence, QuietSequence)
    config: RunnableConfig = {"callbacks": [Listener()]} if listens else {}
    seen, left = asyncio.run(awaited()) if awaits else (sequence.invoke([], config), variable.get())
    assert (seen, left) == (["", ""], "")


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("awaits", [False, True])
def test_an_interrupt_is_raised_whether_anybody_hears(awaits, listens):
    class Stopping(Seeing):
        def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
            raise SystemExit
            yield

    sequence = Seeing(seen=[]) | Stopping(seen=[])
    config: RunnableConfig = {"callbacks": [Listener()]} if listens else {}

    def call() -> list[Any]:
        if awaits:
            return asyncio.run(sequence.abatch([1, 2], config, return_exceptions=True))
        return sequence.batch([1, 2], config, return_exceptions=True)

    with pytest.raises(SystemExit):
        call()


@pytest.mark.parametrize("awaits", [False, True])
def test_a_step_that_loses_a_row_is_an_error_and_no_output_of_an_earlier_step(awaits):
    class Losing(RunnableLambda):
        def batch(self, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
            return inputs[1:]

        async def abatch(self, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
            return inputs[1:]

    sequence = Seeing(seen=[]) | Losing(lambda value: value)

    def call(return_exceptions: bool) -> list[Any]:
        if awaits:
            return asyncio.run(sequence.abatch([1, 2], return_exceptions=return_exceptions))
        return sequence.batch([1, 2], return_exceptions=return_exceptions)

    with pytest.raises(BatchSizeError, match="got 2 inputs but returned 1"):
        call(return_exceptions=False)
    assert [type(output) for output in call(return_exceptions=True)] == [BatchSizeError, BatchSizeError]


def test_a_subclass_with_a_batch_of_its_own_gets_a_config():
    class Own(Seeing):
        def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
            assert isinstance(config, dict | list)
            return super().batch(inputs, config, **kwargs)

    assert (Seeing(seen=[]) | Own(seen=[])).batch([1, 2]) == [1, 2]


def test_a_sequence_goes_on_as_one_of_ours():
    steps = [chain().first, chain().last]
    ours, theirs = QuietSequence(*steps), RunnableSequence(*steps)
    assert (ours | theirs).steps == [*steps, *steps]
    assert isinstance(theirs | ours, QuietSequence)
    assert isinstance(ours.pipe(steps[0], name="named") | steps[0], QuietSequence)
    assert (ours.pipe(steps[0], name="named") | steps[0]).name == "named"

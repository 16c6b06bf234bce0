"""A shunt around an app that keeps the messages of a session."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.history import RunnableWithMessageHistory
from typing_extensions import override

from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_steps import wrapped_by
from dsplus_chains.running.flow import Ask, Configs

LABEL_KEY = "dsplus_label"
"""The configurable value that carries the label of a row to what writes its output."""


class HistoryShunt(AppShunt):
    """A shunt around a `RunnableWithMessageHistory`. What the small model answers is put into the history, too.

    The human turn in the history is then the text that the small model read.

    Args:
        small: What writes the small model's answers. See `remembering`.
        key: The key of a dict under which the app takes the human turn. None if it takes messages.
    """

    small: Runnable[Any, Any]
    key: str | None

    @override
    def _writing(self, records: list[dict[str, Any]], configs: Configs) -> Ask:
        told = [
            merge_configs(config, {"configurable": {LABEL_KEY: record["answer"]}})
            for record, config in zip(records, configs, strict=True)
        ]
        turns = [HumanMessage(str(record["input"])) for record in records]
        return Ask(self.small, [[turn] if self.key is None else {self.key: turn} for turn in turns], told)


def history_in(app: Runnable[Any, Any]) -> tuple[RunnableWithMessageHistory | None, RunnableConfig]:
    """What keeps the messages in an app, which may be wrapped, and the configurable values of its wrappings."""
    inner: Runnable[Any, Any] | None = app
    config: RunnableConfig = {}
    while inner is not None and not isinstance(inner, RunnableWithMessageHistory):
        own = inner.config.get("configurable", {}) if isinstance(inner, RunnableBindingBase) else {}
        config = merge_configs({"configurable": own}, config)
        inner = wrapped_by(inner)
    return inner, config


def remembering(app: RunnableWithMessageHistory, write: Callable[[Any], Any]) -> Runnable[Any, Any]:
    """What writes a label's output, with the history of an app.

    Args:
        app: The app.
        write: The function from a label to an output.
    """

    def said(_: Any, config: RunnableConfig) -> Any:
        return write(config["configurable"][LABEL_KEY])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # who has made the app was told
        return RunnableWithMessageHistory(
            RunnableLambda(said, name="small"),
            app.get_session_history,
            input_messages_key=app.input_messages_key,
            output_messages_key=app.output_messages_key,
            history_messages_key=app.history_messages_key,
            history_factory_config=app.history_factory_config,
        )

"""`LabelPrompt`: a prompt that tells what it may be answered with."""

from __future__ import annotations

from langchain_core.prompt_values import ChatPromptValue
from typing_extensions import override


class LabelPrompt(ChatPromptValue):
    """A `ChatPromptValue` that knows which labels it offers, for whoever holds the model to them or asks again.

    Args:
        messages: The prompt itself.
        offered: The labels to choose from, as they are written in it; in one order, so that the same ones are the same
            schema, whichever is the likeliest.
        escape: Whether it offers "none of these" as well.
    """

    offered: tuple[str, ...]
    escape: bool = False

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return cls.__module__.split(".")

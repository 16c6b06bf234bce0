"""`LabelPrompt` is a prompt that knows its possible answers."""

from __future__ import annotations

from langchain_core.prompt_values import ChatPromptValue
from typing_extensions import override


class LabelPrompt(ChatPromptValue):
    """A `ChatPromptValue` that knows which labels it offers.

    Other parts use this to hold the model to them, or to ask again.

    Args:
        messages: The prompt itself.
        offered: The labels to choose from, as the prompt writes them. They have a fixed order. So equal offers give
            equal schemas, whichever label is the likeliest.
        escape: Whether it offers "none of these" as well.
    """

    offered: tuple[str, ...]
    escape: bool = False

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return cls.__module__.split(".")

"""`LabelPrompt` is a prompt that knows its possible answers. An `Offer` is what it says of them."""

from __future__ import annotations

from typing import NamedTuple

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


class Offer(NamedTuple):
    """What a prompt says of the labels that it offers."""

    listed: str
    """The labels as a list."""
    pruned: str
    """The block of the labels, where each input has its own. Else it is empty."""
    system: str
    """The system message."""
    names: tuple[str, ...]
    """The labels as texts, in their own order."""

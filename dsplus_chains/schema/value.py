"""`Value` is the base of this package's frozen values."""

from __future__ import annotations

from langchain_core.load.serializable import Serializable
from pydantic import ConfigDict
from typing_extensions import override


class Value(Serializable):
    """A frozen value that LangChain can serialise."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

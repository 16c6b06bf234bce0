"""`Value` is the base of this package's frozen values."""

from __future__ import annotations

from typing import Any

from langchain_core.load.serializable import Serializable
from pydantic import ConfigDict
from typing_extensions import override

from dsplus_chains.schema.reprs import brief_args


class Value(Serializable):
    """A frozen value that LangChain can serialise."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @override
    def __repr_args__(self) -> Any:
        """The fields, briefly."""
        return brief_args(super().__repr_args__())

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

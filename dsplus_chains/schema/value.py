"""What is dumped by value: the base of this package's Runnables, and `Value`, that of its frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.load.serializable import Serializable, SerializedConstructor, SerializedNotImplemented
from pydantic import ConfigDict
from typing_extensions import override

from dsplus_chains.schema.pairs import as_pairs
from dsplus_chains.schema.reprs import brief_args


class Dumpable(Serializable):
    """What LangChain's `dumps` writes as the arguments that it was made with. `loads` makes it again.

    What was not given is not written. Parts of other libraries are written if LangChain can write them. A part that
    cannot be written, such as a function, is named by its `repr`, and `loads` refuses it.
    """

    @override
    def __repr_args__(self) -> Any:
        """The fields, briefly."""
        return brief_args(super().__repr_args__())

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        dumped = super().to_json()
        if dumped["type"] == "constructor":
            given = {name: value for name, value in dumped["kwargs"].items() if name in self.model_fields_set}
            dumped["kwargs"] = {name: as_plain(value) for name, value in given.items()}
        return dumped


class Value(Dumpable):
    """A frozen value that LangChain can serialise."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def as_plain(value: Any) -> Any:
    """A field's value in a form that JSON can hold, if there is one, else as it is.

    A JSON object cannot have numbers as keys, so such a mapping becomes pairs. A set becomes a list.

    Args:
        value: Any value. What has `to_dict` becomes what that returns.

    Example:
        >>> as_plain({1: 0.5, 2: 0.6}), as_plain({"spam": 0.9}), as_plain(frozenset({"b", "a"}))
        ([[1, 0.5], [2, 0.6]], {'spam': 0.9}, ['a', 'b'])
    """
    if isinstance(value, Mapping):
        plain = {key: as_plain(item) for key, item in value.items()}
        return plain if all(isinstance(key, str) for key in plain) else as_pairs(plain)
    if isinstance(value, (frozenset, set)):
        return sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    to_dict = None if isinstance(value, Serializable) else getattr(value, "to_dict", None)
    return to_dict() if callable(to_dict) else value

"""The fields of what an app answers with, and which of them can hold a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, Union, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import ReadOnly, TypeAliasType, get_type_hints, is_typeddict


class OutputField(NamedTuple):
    """One field of an app's output."""

    options: tuple[Any, ...] | None
    """The values that it may have. None: any."""
    needed: bool
    """Whether the output must have it."""
    kind: Any = Any
    """The type of its values. `Any` if it does not say, or if the class of the output sees to it."""


def plain_type(hint: Any) -> Any:
    """The type that is meant, without a description (`Annotated`), another name (`NewType`), and None beside it.

    Example:
        >>> plain_type(Annotated[str, "a label"]), plain_type(int | None)
        (<class 'str'>, <class 'int'>)
    """
    if get_origin(hint) is Annotated:
        return plain_type(get_args(hint)[0])
    named = getattr(hint, "__supertype__", None) or (hint.__value__ if isinstance(hint, TypeAliasType) else None)
    if named is not None:
        return plain_type(named)
    parts = [part for part in get_args(hint) if part is not NoneType]
    return plain_type(parts[0]) if get_origin(hint) in {Union, UnionType} and len(parts) == 1 else hint


def output_fields(schema: Any) -> dict[str, OutputField] | None:
    """The fields of a pydantic class, a dataclass, a TypedDict or a JSON schema. None if it is none of them.

    Example:
        >>> @dataclasses.dataclass
        ... class Ticket:
        ...     kind: Literal["bug", "wish"]
        ...     note: str = ""
        >>> output_fields(Ticket)["kind"]
        OutputField(options=('bug', 'wish'), needed=True, kind=typing.Literal['bug', 'wish'])
    """
    for is_one, fields_of in _KINDS:
        if is_one(schema):
            return fields_of(schema)
    return None


def _of_json(schema: Mapping[str, Any]) -> dict[str, OutputField] | None:
    inner = _inside(schema)
    properties = inner.get("properties")
    if not isinstance(properties, Mapping) or not all(
        isinstance(part, (Mapping, bool)) for part in properties.values()
    ):
        return None
    needed, defined = set(inner.get("required", ())), inner.get("$defs", {})
    return {
        name: OutputField(_json_options(part, defined), name in needed, _json_kind(part, defined))
        for name, part in properties.items()
    }


def _of_model(schema: type[BaseModel]) -> dict[str, OutputField]:
    parts = schema.model_fields.items()
    return {name: OutputField(options_of(part.annotation), part.is_required()) for name, part in parts}


def _of_dataclass(schema: Any) -> dict[str, OutputField]:
    hints, missing = get_type_hints(schema), dataclasses.MISSING
    is_checked = hasattr(schema, "__pydantic_validator__")
    return {
        part.name: OutputField(
            options_of(hints[part.name]),
            part.default is missing and part.default_factory is missing,
            Any if is_checked else hints[part.name],
        )
        for part in dataclasses.fields(schema)
    }


def _of_typed_dict(schema: Any) -> dict[str, OutputField]:
    hints, told = get_type_hints(schema), get_type_hints(schema, include_extras=True)
    return {
        name: OutputField(options_of(hint), _is_needed(schema, name, told[name]), hint) for name, hint in hints.items()
    }


def _is_needed(schema: Any, name: str, hint: Any) -> bool:
    """Whether a TypedDict must have a field. Its own list is wrong after `from __future__ import annotations`."""
    origin = get_origin(hint)
    if origin in {ReadOnly, Annotated}:
        return _is_needed(schema, name, get_args(hint)[0])
    return origin is Required or (origin is not NotRequired and name in schema.__required_keys__)


_OF_JSON = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": NoneType,
    "number": int | float,
    "object": dict,
    "string": str,
}
"""What values of JSON are in Python, by the names of their types."""

_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], dict[str, OutputField] | None]], ...] = (
    (lambda schema: isinstance(schema, Mapping), _of_json),
    (lambda schema: isinstance(schema, type) and issubclass(schema, BaseModel), _of_model),
    (lambda schema: isinstance(schema, type) and dataclasses.is_dataclass(schema), _of_dataclass),
    (is_typeddict, _of_typed_dict),
)


def _inside(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema in the forms in which providers take one."""
    for key in ("function", "parameters", "schema", "input_schema"):
        inner = schema.get(key)
        schema = inner if isinstance(inner, Mapping) else schema
    return schema


def options_of(hint: Any) -> tuple[Any, ...] | None:
    """The values that a type allows, if it says them."""
    hint = plain_type(hint)
    if hint is bool:
        return (True, False)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(hint)
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in {Union, UnionType}:
        parts = [options_of(part) for part in get_args(hint) if part is not NoneType]
        known = [part for part in parts if part is not None]
        return tuple(value for part in known for value in part) if known and len(known) == len(parts) else None
    return None


def _json_options(part: Mapping[str, Any] | bool, defined: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The values that a part of a JSON schema allows, if it says them."""
    if isinstance(part, bool):  # true allows anything
        return None
    if "$ref" in part:
        return _json_options(defined.get(str(part["$ref"]).rsplit("/", 1)[-1], {}), defined)
    if "enum" in part:
        return tuple(part["enum"])
    if "const" in part:
        return (part["const"],)
    return (True, False) if part.get("type") == "boolean" else None


def _json_kind(part: Mapping[str, Any] | bool, defined: Mapping[str, Any]) -> Any:
    """The type of the values that a part of a JSON schema allows. `Any` if it does not say."""
    if isinstance(part, bool):
        return Any
    if "$ref" in part:
        return _json_kind(defined.get(str(part["$ref"]).rsplit("/", 1)[-1], {}), defined)
    told = part.get("type", [])
    kinds: list[Any] = [_OF_JSON.get(name, Any) for name in (told if isinstance(told, list) else [told])]
    kinds += [_json_kind(other, defined) for key in ("anyOf", "oneOf") for other in part.get(key, ())]
    return Any if not kinds or Any in kinds else reduce(or_, kinds)

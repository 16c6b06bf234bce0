"""How a label becomes what an app answers with, and how such an answer is read as a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable

from dsplus_chains.integrations.dotted_path import at_path
from dsplus_chains.integrations.field_value import option_of, value_of
from dsplus_chains.integrations.output_field import OutputField, options_of, output_fields, plain_type
from dsplus_chains.integrations.output_type import ends_in_text_parser, output_type, said_type
from dsplus_chains.integrations.part_schema import key_of
from dsplus_chains.integrations.small_message import settled, small_message, text_of
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import InvalidInputError, as_label, same_label, shown, what_came


class AppOutput(NamedTuple):
    """The two directions between labels and an app's outputs."""

    write: Callable[[Any], Any]
    """From a label to an output."""
    read: Callable[[Any], Any]
    """From an output to a label. None if the output stands for none."""
    made: list[Any]
    """The output of each label."""


def app_output(app: Runnable[Any, Any], labels: Sequence[Any], *, output: Any, read: Any) -> AppOutput:
    """Both directions for an app, checked on every label.

    Args:
        app: The app.
        labels: The labels. Without them nothing is checked, and a text is read as it is.
        output: "auto", a class, a JSON schema, a dict of outputs by label, or a function from a label to an output.
        read: "auto", the path of the label in an output, a Runnable that parses outputs, or a function.

    Raises:
        ValueError: It cannot be told how a label becomes an output, or is read in one. Or a label is read as another.
    """
    is_auto = isinstance(output, str) and output == "auto"
    schema = output_type(app) if is_auto else plain_type(output)
    field = read if isinstance(read, str) and read != "auto" else None
    write = _parsed_text if schema is str and ends_in_text_parser(app) else _writer(schema, labels, field, app)
    made = _outputs(write, labels)
    found = AppOutput(write, _reader(read, labels, made), made)
    for label, value in zip(labels, made, strict=True):
        if not same_label(said := found.read(value), label):
            msg = (
                f"Got an output that stands for the label {label!r} but is read as {said!r}: {shown(value)}. Give "
                "output= and read= that agree"
            )
            raise ValueError(msg)
    return found


def shadow_output(app: Runnable[Any, Any], labels: Sequence[Any], *, read: Any) -> AppOutput:
    """Both directions for an app that always answers, so that no label has to become an output.

    Args:
        app: The app.
        labels: The labels. Without them a text is read as it is.
        read: See `app_output`.
    """
    try:
        return app_output(app, labels, output="auto", read=read)
    except ValueError:  # nobody can tell how to write a label, or how it would be read
        return AppOutput(as_label, _reader(read, labels, ()), [])


def label_writer(output: Any, labels: Sequence[Any]) -> Callable[[Any], Any]:
    """The function from a label to an output, tried on every label.

    Args:
        output: A class, a JSON schema, a dict of outputs by label, or a function.
        labels: The labels.

    Raises:
        ValueError: It cannot be told how a label becomes an output, or a label becomes none.
    """
    write = _writer(plain_type(output), labels, None)
    _outputs(write, labels)
    return write


def _outputs(write: Callable[[Any], Any], labels: Sequence[Any]) -> list[Any]:
    made = []
    for label in labels:
        try:
            made.append(settled(write(label)))
        except Exception as error:
            msg = f"Got the label {label!r} but output= makes no output of it: {type(error).__name__}: {error}"
            raise ValueError(msg) from error
    return made


def _writer(
    schema: Any, labels: Sequence[Any], field: str | None, app: Runnable[Any, Any] | None = None
) -> Callable[[Any], Any]:
    """The function from a label to an output of a type. For an error, the app tells what it answers with."""
    if isinstance(schema, type) and schema in _PLAIN:
        return _PLAIN[schema]
    options = options_of(schema)
    if options is not None:
        return partial(option_of, options)
    names_labels = isinstance(schema, Mapping) and bool(labels) and all(label in schema for label in labels)
    fields = None if names_labels else output_fields(schema)
    if isinstance(schema, Mapping) and fields is None:
        return partial(_looked_up, [(as_label(label), output) for label, output in schema.items()])
    if fields is not None:
        name = _label_field(fields, field, schema)
        return partial(_built, dict if isinstance(schema, Mapping) else schema, name, fields[name])
    if callable(schema) and schema is not Any:
        made: Callable[[Any], Any] = schema
        return made
    said = Any if app is None else said_type(app)
    got = (
        f"Got output={what_came(schema)}, of which no label is made"
        if schema is not Any
        else "Cannot tell what the app answers with"
        if said is Any
        else f"Got an app that answers with {said.__name__ if isinstance(said, type) else said}, which no label is"
    )
    msg = (
        f"{got}. Say how a label becomes its output with output=: a class, a dict of "
        "outputs by label, or a function. An app whose last step is a parser, or a function with a return type, tells. "
        "In an agent use ShuntMiddleware, and in a graph shunt_node, so that the small model's turn is in the state too"
    )
    raise ValueError(msg)


def _built(kind: Any, name: str, field: OutputField, label: Any) -> Any:
    """The object whose field stands for the label.

    Raises:
        InvalidInputError: The field holds no such label. Or the class takes it under another name, and so would leave
            the label out.
    """
    declared = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
    key = key_of(name, declared[name]) if name in declared else name
    made = kind(**{key: value_of(field, label)})
    if name not in getattr(made, "model_fields_set", {name}):
        msg = f"{kind.__name__} does not take {name!r} under {key!r}; give output= as a function"
        raise InvalidInputError(msg)
    return made


def _parsed_text(label: Any) -> str:
    return text_of(small_message(label))


def _looked_up(known: Sequence[tuple[Any, Any]], label: Any) -> Any:
    """The output of a label.

    Raises:
        InvalidInputError: There is none.
    """
    for one, output in known:
        if same_label(one, label):
            return _unnamed(deepcopy(output))  # a graph writes into the messages that it gets
    msg = f"Got the label {label!r} but the dict has the labels {[one for one, _ in known][:10]}"
    raise InvalidInputError(msg)


def _unnamed(output: Any) -> Any:
    """An output whose messages have no id. With one and the same, a later answer would take an earlier one's place."""
    if isinstance(output, AIMessage):
        output.id = None
    elif isinstance(output, (Mapping, list, tuple)):
        for part in output.values() if isinstance(output, Mapping) else output:
            _unnamed(part)
    return output


_PLAIN: dict[Any, Callable[[Any], Any]] = {str: str, int: int, AIMessage: small_message}
"""How a label becomes an output that has no fields."""


def _label_field(fields: Mapping[str, OutputField], field: str | None, schema: Any) -> str:
    """The one field of an output that holds the label.

    Raises:
        ValueError: There is none, or there are others that must be filled.
    """
    named = getattr(schema, "__name__", "the schema")
    could = [name for name, part in fields.items() if part.options is not None] or list(fields)
    name = field if field is not None else could[0] if len(could) == 1 else None
    if name is None or name not in fields:
        msg = (
            f"Got {named} with the fields {sorted(fields)}, and cannot tell which one holds the label. Name it in read="
        )
        raise ValueError(msg)
    if others := [other for other, part in fields.items() if part.needed and other != name]:
        msg = (
            f"Got {named}, whose fields {sorted(others)} a label alone cannot fill. Give output= as a function, or "
            f"fields= with a scorer for each field that a small model can answer"
        )
        raise ValueError(msg)
    return name


def _reader(read: Any, labels: Sequence[Any], made: Sequence[Any]) -> Callable[[Any], Any]:
    """The function from an output to the label that it stands for."""
    if isinstance(read, str) and read != "auto":
        return partial(_read_by, partial(_at, read), labels, [_at(read, value) for value in made])
    if isinstance(read, Runnable):
        return partial(_read_by, partial(_parsed, read), labels, ())
    if callable(read):
        return partial(_read_by, read, labels, ())
    if not isinstance(read, str):
        msg = f'Got read={what_came(read)} but expected "auto", the path of a field, a parser or a function'
        raise InvalidInputError(msg)
    parser = LabelParser(labels=list(labels)) if labels else None
    return partial(_read_any, parser=parser, labels=labels, made=made)


def _read_any(output: Any, *, parser: LabelParser | None, labels: Sequence[Any], made: Sequence[Any]) -> Any:
    """The label of an output that equals what one is written as, or of a text."""
    label = _known(output, labels, made)
    if label is not None or not isinstance(output, (str, BaseMessage)):
        return label
    if parser is None:
        return as_label(output if isinstance(output, str) else output.text)
    return _parsed(parser, output)


def _known(value: Any, labels: Sequence[Any], made: Sequence[Any]) -> Any:
    """The label that a value is, or is written as. None if it is no label."""
    plain = as_label(value.value if isinstance(value, Enum) else value)
    for label in labels:
        if same_label(label, plain):
            return label
    for label, output in zip(labels, made, strict=False):
        if type(output) is type(value) and output == value:
            return label
    return plain if not labels and isinstance(plain, (str, int)) else None


def _read_by(find: Callable[[Any], Any], labels: Sequence[Any], made: Sequence[Any], output: Any) -> Any:
    """The label of what is found in an output."""
    return _known(find(output), labels, made)


def _at(path: str, output: Any) -> Any:
    try:
        return at_path(output, path, how="")
    except InvalidInputError:
        return None


def _parsed(parser: Runnable[Any, Any], output: Any) -> Any:
    try:
        return parser.invoke(output, {"callbacks": []})
    except (OutputParserException, InvalidInputError, ValueError):
        return None

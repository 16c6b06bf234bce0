"""`structured_shunt` puts small models before an app with structured output, one for each field."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from enum import Enum
from functools import partial
from typing import Any

from langchain_core.runnables import Runnable
from pydantic import BaseModel, ValidationError

from dsplus_chains.integrations.field_value import value_of
from dsplus_chains.integrations.fields_scorer import FieldsScorer
from dsplus_chains.integrations.number_field import fitting
from dsplus_chains.integrations.output_field import OutputField, output_fields, plain_type
from dsplus_chains.integrations.part_asker import PartAsker
from dsplus_chains.integrations.part_schema import fields_in, key_of, whole_of
from dsplus_chains.integrations.structured_shunt import StructuredShunt
from dsplus_chains.schema import InvalidInputError, check_threshold_labels, what_came
from dsplus_chains.scoring.coercing import as_scorer


def structured_shunt(
    app: Runnable[Any, Any],
    fields: Mapping[str, Any],
    *,
    target: Any,
    threshold: Any,
    optional: Collection[str] = (),
    rest_prompt: Runnable[Any, Any] | None = None,
    **settings: Any,
) -> StructuredShunt:
    """A `StructuredShunt` around an app. `shunt` calls it, where it is given `fields`.

    Args:
        app: The app. It ends in ``chat_model.with_structured_output(...)``.
        fields: The small model of each field that one can answer.
        target: What the app answers with.
        threshold: One threshold, or a dict by field.
        optional: The fields for whose sake alone nobody is asked. They have a default.
        rest_prompt: See `PartAsker`.
        **settings: The other fields of the shunt.

    Raises:
        ValueError: A field is not there, a label stands for none of its values, or the app cannot be asked for a part.
    """
    target = plain_type(target)
    known = output_fields(target)
    if known is None:
        said = "does not tell what it answers with" if target is Any else f"answers with {what_came(target)}"
        msg = f"Got fields= but an app that {said}. Name its class or JSON schema, such as output=Ticket"
        raise ValueError(msg)
    asker = PartAsker(app=app, target=target, names=tuple(known), rest_prompt=rest_prompt)
    asker.check()
    _check(known, fields, optional, threshold)
    scorers, made = {}, dict[int, Any]()
    fields = {name: fitting(scorer, target, name) for name, scorer in fields.items()}
    for name, scorer in fields.items():
        if id(scorer) not in made:  # one that answers several fields stays one
            made[id(scorer)] = as_scorer(scorer, labels=None, input_key="input", on_error="defer")
        scorers[name], inner = made[id(scorer)]
        if name not in (tags := getattr(inner, "tags", (name,))):
            msg = f"Got a MultiLabelScorer for the field {name!r} but expected one of its tags, which are {tags}"
            raise ValueError(msg)
        labels = getattr(inner, "labels", None) or ()
        _check_labels(target, name, known[name], labels)
        if isinstance(threshold, Mapping):
            check_threshold_labels(threshold[name], labels, of=f" of the field {name!r}")
    return StructuredShunt(
        name="shunt",
        large=asker,
        scorer=FieldsScorer(
            scorers=scorers,
            known={name: known[name] for name in scorers},
            complete={*known} <= {*fields, *optional},
        ),
        write=partial(whole_of, target),
        read=partial(fields_in, names=tuple(fields)),
        threshold=threshold,
        **settings,
    )


def _check(known: Mapping[str, OutputField], fields: Any, optional: Collection[str], threshold: Any) -> None:
    """Check the names.

    Raises:
        ValueError: One is wrong.
    """
    if not isinstance(fields, Mapping) or not fields:
        msg = f'Got fields={what_came(fields)} but expected small models by field, such as {{"category": scorer}}'
        raise ValueError(msg)
    for said, names in {"fields": fields, "optional": optional}.items():
        if unknown := [name for name in names if name not in known]:
            msg = f"Got {said} for {unknown} but expected fields of the app's output, which are {sorted(known)}"
            raise ValueError(msg)
    if needed := [name for name in optional if known[name].needed or name in fields]:
        msg = f"Got optional={needed} but expected fields that have a default, and no small model"
        raise ValueError(msg)
    if isinstance(threshold, Mapping) and {*threshold} != {*fields}:
        msg = f"Got thresholds for {sorted(map(str, threshold))} but expected one for each of {sorted(fields)}"
        raise ValueError(msg)


def _check_labels(target: Any, name: str, field: OutputField, labels: Collection[Any]) -> None:
    """Check that each label stands for a value of its field.

    Raises:
        ValueError: One does not.
    """
    for label in labels:
        try:
            value = value_of(field, label)
            _check_held(target, name, value.value if isinstance(value, Enum) else value)
        except InvalidInputError as error:
            msg = f"Got a small model for the field {name!r} with the label {label!r}, but {error}"
            raise ValueError(msg) from error


def _check_held(target: Any, name: str, value: Any) -> None:
    """Check that a field of a pydantic class can hold a value. What the other fields lack does not matter here.

    Raises:
        InvalidInputError: It cannot.
    """
    if not (isinstance(target, type) and issubclass(target, BaseModel)):
        return
    key = key_of(name, target.model_fields[name])
    try:
        target.model_validate_json(json.dumps({key: value}))
    except ValidationError as error:
        told = [part["msg"] for part in error.errors() if part["loc"][:1] == (key,) and part["type"] != "missing"]
        if told:
            msg = f"the field cannot hold it: {told[0]}"
            raise InvalidInputError(msg) from error
    except Exception:  # a validator of the whole may raise anything where fields are missing
        return

"""`SchemaVerifier` checks that a candidate is an object of a schema."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import WiringError, shorten, what_came
from dsplus_chains.verifying.candidate_verdict import Check, Verdict, checked_record
from dsplus_chains.verifying.fenced_code import code_in


class SchemaVerifier(ComputingRunnable[Any, Verdict]):
    """A verifier that checks a candidate's form: a pydantic class, or a JSON schema.

    It takes a record with a `candidate`, which may be JSON text, fenced as in Markdown or not. Its verdict has one
    check, and the report lists what is wrong. It says nothing of whether the content is true.

    Args:
        form: A pydantic class, or a JSON schema as a dict. The latter needs the package `jsonschema`. A `$ref` may lead
            to another place in the schema. Nothing is fetched. A `format` is not checked.
        strict: Whether pydantic must not convert values, such as "1" to 1. In JSON text, a date is a text all the same.

    Raises:
        InvalidInputError: The input has no `candidate`.
        ValueError: The dict is no JSON schema, or `jsonschema` is missing.
        WiringError: A `$ref` of the schema leads nowhere.

    Example:
        >>> class Person(BaseModel):
        ...     name: str
        ...     age: int
        >>> verifier = SchemaVerifier(form=Person)
        >>> verifier.invoke({"candidate": '{"name": "Ada", "age": 36}'}).passed
        True
        >>> verifier.invoke({"candidate": '{"name": "Ada"}'}).report
        'form: failed (age: Field required)'
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = Verdict

    form: type[BaseModel] | dict[str, Any]
    strict: bool = False

    @override
    def model_post_init(self, context: Any, /) -> None:
        """Refuse what is no schema at once."""
        super().model_post_init(context)
        if isinstance(self.form, dict):
            _validator(self.form)

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        validator = _validator(self.form) if isinstance(self.form, dict) else None
        return by_row(lambda record: self._verdict(record, validator), inputs)

    def _verdict(self, record: Any, validator: Any) -> Verdict:
        checked_record(record)
        faults = self._faults(record["candidate"], validator)
        said = shorten("; ".join(faults), 500)
        return Verdict(checks=(Check(name="form", status="failed" if faults else "passed", detail=said),))

    def _faults(self, candidate: Any, validator: Any) -> list[str]:
        """What is wrong with a candidate."""
        is_text = isinstance(candidate, str)
        try:
            value = _json_in(candidate) if is_text else candidate
            if isinstance(self.form, dict):
                return _misfits(value, validator)
            if is_text:
                self.form.model_validate_json(json.dumps(value), strict=self.strict)
            else:
                self.form.model_validate(value, strict=self.strict)
        except ValidationError as error:
            return [f"{'.'.join(map(str, one['loc'])) or 'all'}: {one['msg']}" for one in error.errors()]
        except WiringError:
            raise
        except ValueError as error:
            return [f"it is no JSON: {error}"]
        except RecursionError:
            return ["it is nested too deep"]
        return []


def _json_in(text: str) -> Any:
    """The value of JSON text, which may be fenced.

    Raises:
        ValueError: It is no JSON. NaN and infinite numbers are none.
    """

    def refuse(name: str) -> Any:
        msg = f"it holds {name}"
        raise ValueError(msg)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return json.loads(code_in(text), parse_constant=refuse)


def _misfits(value: Any, validator: Any) -> list[str]:
    """Where a value does not fit a JSON schema.

    Raises:
        WiringError: The schema refers to something that is not in it.
    """
    from referencing.exceptions import Unresolvable

    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    try:
        found = sorted(validator.iter_errors(plain), key=lambda error: list(map(str, error.path)))
    except Unresolvable as error:
        msg = (
            f"Got a JSON schema with a $ref that leads nowhere ({error}) but expected one to a place in it; put what "
            "it means under $defs, since nothing is fetched"
        )
        raise WiringError(msg) from error
    return [f"{error.json_path}: {error.message}" for error in found]


def _validator(schema: dict[str, Any]) -> Any:
    """What checks values by a JSON schema.

    Raises:
        ValueError: It is no JSON schema, or `jsonschema` is missing.
    """
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
        from jsonschema_specifications import REGISTRY
    except ImportError as error:
        msg = "A JSON schema needs the package jsonschema; install dsplus-chains[code], or give a pydantic class"
        raise ValueError(msg) from error
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        msg = f"Got form={what_came(schema)} but expected a JSON schema ({error.message})"
        raise ValueError(msg) from error
    return kind(schema, registry=REGISTRY)  # without one, it fetches what a $ref names

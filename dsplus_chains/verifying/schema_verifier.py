"""`SchemaVerifier` checks that a candidate is an object of a schema."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import shorten, what_came
from dsplus_chains.verifying.candidate_verdict import Check, Verdict, checked_record


class SchemaVerifier(ComputingRunnable[Any, Verdict]):
    """A verifier that checks a candidate's form: a pydantic class, or a JSON schema.

    It takes a record with a `candidate`, which may be JSON text, fenced as in Markdown or not. Its verdict has one
    check, and the report lists what is wrong. It says nothing of whether the content is true.

    Args:
        form: A pydantic class, or a JSON schema as a dict. The latter needs the package `jsonschema`.
        strict: Whether pydantic must not convert values, such as "1" to 1.

    Raises:
        InvalidInputError: The input has no `candidate`.
        ValueError: The dict is no JSON schema, or `jsonschema` is missing.

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
        if isinstance(candidate, str):
            try:
                candidate = parse_json_markdown(candidate, parser=json.loads)
            except (ValueError, RecursionError) as error:
                return [f"it is no JSON: {error}"]
        if isinstance(self.form, dict):
            found = sorted(validator.iter_errors(candidate), key=lambda error: list(map(str, error.path)))
            return [f"{error.json_path}: {error.message}" for error in found]
        try:
            self.form.model_validate(candidate, strict=self.strict)
        except ValidationError as error:
            return [f"{'.'.join(map(str, one['loc'])) or 'all'}: {one['msg']}" for one in error.errors()]
        return []


def _validator(schema: dict[str, Any]) -> Any:
    """What checks values by a JSON schema.

    Raises:
        ValueError: It is no JSON schema, or `jsonschema` is missing.
    """
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
    except ImportError as error:
        msg = "A JSON schema needs the package jsonschema; install dsplus-chains[code], or give a pydantic class"
        raise ValueError(msg) from error
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        msg = f"Got form={what_came(schema)} but expected a JSON schema ({error.message})"
        raise ValueError(msg) from error
    return kind(schema)

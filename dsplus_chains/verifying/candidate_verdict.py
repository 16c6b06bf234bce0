"""`Verdict` says what a verifier found out about one candidate answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import model_validator

from dsplus_chains.schema import Confidence, InvalidInputError, WiringError, as_label, what_came
from dsplus_chains.schema.value import Value

CheckStatus: TypeAlias = Literal["passed", "failed", "unsupported"]
"""The result of one check. "unsupported" means that it could not be made, which says nothing of the candidate."""


Reader: TypeAlias = str | Callable[[Mapping[str, Any]], Any]
"""A key of the record, or a function of the record."""


class Verifies(Protocol):
    """A verifier: a Runnable, or a function, that checks one candidate.

    It gets the record of a row with two more keys. `candidate` is the answer to check. `candidates` are all answers to
    that row, with None where there is none. It returns a `Verdict`, a bool, or a score in [0, 1].
    """

    def __call__(self, record: Mapping[str, Any], /) -> Any:
        """Check the candidate of a record."""
        ...


class Check(Value):
    """One check of a candidate.

    Args:
        name: What was checked, such as the text of a test. Checks of the same name are the same test.
        status: Whether it "passed", "failed", or could not be made ("unsupported").
        detail: Why it did not pass, for people and models to read.

    Example:
        >>> str(Check(name="assert f(1) == 2", status="failed", detail="got 3"))
        'assert f(1) == 2: failed (got 3)'
    """

    name: str
    status: CheckStatus
    detail: str = ""

    def __str__(self) -> str:
        """One line of a report."""
        return f"{self.name}: {self.status}" + (f" ({self.detail})" if self.detail else "")


class Verdict(Value):
    """What a verifier found out about one candidate.

    Args:
        checks: The checks that were made, in order.
        score: How good the candidate is, in [0, 1]. By default it is the share of checks passed. It is None if there
            is none, or one could not be made.
        report: What is wrong, for the large model to read. By default it lists the checks that did not pass.

    Example:
        >>> good, bad = Check(name="a", status="passed"), Check(name="b", status="failed", detail="got 3")
        >>> verdict = Verdict(checks=(good, bad))
        >>> verdict.score, verdict.passed, verdict.report
        (0.5, False, 'b: failed (got 3)')
    """

    checks: tuple[Check, ...] = ()
    score: Confidence = None
    report: str = ""

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        checks = [check for check in data.get("checks", ()) if isinstance(check, Check)]
        derived: dict[str, Any] = {
            "report": "\n".join(str(check) for check in checks if check.status != "passed"),
        }
        if checks and not any(check.status == "unsupported" for check in checks):
            derived["score"] = sum(check.status == "passed" for check in checks) / len(checks)
        return {**derived, **data}

    @property
    def passed(self) -> bool:
        """Whether there are checks, and all passed. Without checks, whether the score is 1."""
        return all(check.status == "passed" for check in self.checks) if self.checks else self.score == 1

    @property
    def is_supported(self) -> bool:
        """Whether all checks could be made."""
        return all(check.status != "unsupported" for check in self.checks)


def checked_record(record: Any) -> Mapping[str, Any]:
    """A verifier's input, if it is a record with a candidate.

    Raises:
        InvalidInputError: It is none.
    """
    if isinstance(record, Mapping) and "candidate" in record:
        return record
    msg = f"Got {what_came(record)} but expected a record with a 'candidate', as VerifiedScorer makes it"
    raise InvalidInputError(msg)


def read_from(record: Mapping[str, Any], reader: Reader, setting: str) -> Any:
    """What a verifier needs of a record beside the candidate.

    Args:
        record: The record.
        reader: A key of it, or a function of it.
        setting: The verifier's setting that names it, for the error.

    Raises:
        InvalidInputError: The record lacks the key.
    """
    if not isinstance(reader, str):
        return reader(record)
    if reader in record:
        return record[reader]
    msg = f"Got {what_came(record)} but expected the {setting} under {reader!r}; name its key with {setting}=..."
    raise InvalidInputError(msg)


def as_verdict(output: Any) -> Verdict:
    """A verifier's output as a verdict. A bool is one check, and a number is a score.

    Raises:
        WiringError: It is none of these.

    Example:
        >>> as_verdict(True).passed, as_verdict(0.25).score
        (True, 0.25)
    """
    if isinstance(output, Verdict):
        return output
    if getattr(output, "ndim", None) == 0:  # NumPy's own bool or number
        output = as_label(output)
    if isinstance(output, bool):
        return Verdict(checks=(Check(name="check", status="passed" if output else "failed"),))
    if isinstance(output, (int, float)) and 0 <= output <= 1:
        return Verdict(score=float(output))
    msg = f"Got {what_came(output)} from the verifier but expected a Verdict, True or False, or a score in [0, 1]"
    raise WiringError(msg)

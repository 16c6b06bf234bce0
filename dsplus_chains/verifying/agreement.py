"""`Agreement` checks a candidate by the others that say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import InvalidInputError, canonical_text, what_came
from dsplus_chains.verifying.candidate_verdict import Verdict


class Agreement(ComputingRunnable[Any, Verdict]):
    """A verifier whose score is the share of all candidates of a row that agree with this one.

    It takes a record with a `candidate` and all `candidates`. The candidates may come from several samples, prompts and
    models. A candidate that is missing agrees with nothing, and counts.

    Args:
        normaliser: Function from a candidate to what is compared, such as the number at its end. If it returns None,
            the candidate agrees with nothing. Without a function, case and white space do not count. In a batch it is
            called once for each candidate.

    Raises:
        InvalidInputError: The input has no `candidate`, or is not one of its `candidates`.

    Source: self-consistency (Wang et al. 2022, arXiv 2203.11171).

    Example:
        >>> candidates = ["It is 12.", "12", "About 13", None]
        >>> agreement = Agreement(normaliser=lambda text: text.strip(".").split()[-1])
        >>> agreement.invoke({"candidate": "12", "candidates": candidates}).score
        0.5
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = Verdict

    normaliser: Callable[[Any], Any] | None = None

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        known: dict[int, tuple[Any, str | None]] = {}
        return by_row(lambda record: self._verdict(record, known), inputs)

    def _verdict(self, record: Any, known: dict[int, tuple[Any, str | None]]) -> Verdict:
        is_record = isinstance(record, Mapping) and "candidate" in record
        if not is_record or isinstance(record.get("candidates"), str) or not record.get("candidates"):
            msg = f"Got {what_came(record)} but expected a record with a 'candidate' and all 'candidates' of its row"
            raise InvalidInputError(msg)
        candidates = record["candidates"]
        own = self._key(record["candidate"], known)
        if own is None:
            return Verdict(score=0.0, report="It says nothing that can be compared.")
        keys = [None if candidate is None else self._key(candidate, known) for candidate in candidates]
        n = keys.count(own)
        return Verdict(score=n / len(keys), report=f"{n} of {len(keys)} answers agree.")

    def _key(self, candidate: Any, known: dict[int, tuple[Any, str | None]]) -> str | None:
        """What is compared, as a text. It is kept by the object, together with that, so that no other takes its id."""
        if id(candidate) not in known:
            found = _plain(candidate) if self.normaliser is None else self.normaliser(candidate)
            known[id(candidate)] = candidate, None if found is None else str(canonical_text(found))
        return known[id(candidate)][1]


def _plain(candidate: Any) -> str:
    return " ".join(str(canonical_text(candidate)).casefold().split())

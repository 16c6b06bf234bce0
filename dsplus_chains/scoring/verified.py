"""`VerifiedScorer` lets small models write candidates, and keeps the best one that passes a check."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BaseModel, Field, SkipValidation
from typing_extensions import override

from dsplus_chains.running.arm import OverRecord, feed, leading_prompt
from dsplus_chains.running.batch_runnable import by_row
from dsplus_chains.running.endings import is_whole
from dsplus_chains.running.flow import Ask, Configs, Manager
from dsplus_chains.running.telling import LOGGER
from dsplus_chains.running.usage import UsageCollector, as_drafts, watched
from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    WiringError,
    canonical_text,
    describe_error,
    label_key,
    what_came,
)
from dsplus_chains.scoring.base_scorer import BaseScorer, is_bug
from dsplus_chains.verifying.candidate_verdict import Verdict, as_verdict
from dsplus_chains.verifying.solution_table import best_pair, table_of
from dsplus_chains.verifying.verified_prediction import VerifiedPrediction

if TYPE_CHECKING:
    from dsplus_chains.calibration.calibration_maps import Calibration
else:
    Calibration = Any  # its module loads scipy

Same = Callable[[Any, Any], bool]


class _Candidate(NamedTuple):
    """What one generator wrote for one row, or the error in its place."""

    row: int
    generator: str
    value: Any


class VerifiedScorer(BaseScorer):
    """Lets small models write candidates, checks them, and predicts the best one.

    It takes a text, or a dict that holds one. It returns the record with a `VerifiedPrediction`, whose `value` is the
    best candidate. All candidates of all rows are one batch a generator, and one batch of the verifier. `attempt` in
    the record is the candidate and its report, fenced, for a template of the large model's prompt.

    The verdicts of a row make a table. It has a line for each candidate that was asked for, and a column for a check.
    A candidate and a check that it passes are a pair. The pair explains the candidate's passed checks, times the
    candidates that pass the check. The candidate of the best pair wins. The confidence is that product over the size of
    the table. In a tie the earlier candidate wins, in the order of the generators. If no pair passes, the first
    candidate stands with confidence 0. If a check could not be made, it has no confidence, and is deferred. Verdicts
    without checks are compared by their score, which is then the confidence.

    A generator that fails costs its candidates, and a verifier that fails costs its verdicts. A warning tells. A row
    fails only if every generator has failed. A candidate that failed to come, or has no verdict, passes no check.

    Args:
        generators: Runnables that write candidates, by name. Each gets the record. A prompt with one variable gets
            `{input}` for it. A candidate is a text, or another JSON value, such as what an object's `model_dump` gives.
        samples: Number of candidates from each generator for each row. The samples must be able to differ, so use a
            temperature above 0, and no cache.
        verifier: Runnable or function that checks a candidate; see `Verifies`.
        same: Function that tells whether two candidates are the same. Those are checked once, and count as often as
            they came. None compares their text.
        calibration: Map from the confidence to the probability of being right; see `calibrated`.
        input_key: The key of a dict under which the text is.

    Source: the choice is that of Chen et al., "Model Cascading for Code" (arXiv 2405.15842).

    Example:
        >>> scorer = VerifiedScorer(
        ...     generators={"small": lambda record: record["input"].upper()},
        ...     verifier=lambda record: record["candidate"] == "HAM",
        ... )
        >>> scorer.batch(["ham", "spam"])[0]["prediction"].value
        'HAM'
        >>> [record["prediction"].confidence for record in scorer.batch(["ham", "spam"])]
        [1.0, 0.0]
    """

    reads_record: ClassVar[bool] = True

    generators: Annotated[dict[str, OverRecord], Field(min_length=1)]
    samples: int = Field(default=1, ge=1)
    verifier: OverRecord
    same: Same | None = None
    calibration: SkipValidation[Calibration | None] = None

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        parts = [*self.generators.values(), self.verifier]
        return get_unique_config_specs(spec for part in parts for spec in part.config_specs)

    def calibrated(self, predictions: Sequence[Prediction], right: Sequence[bool]) -> Self:
        """The same scorer, whose confidence is the share of such answers that were right in your data.

        Args:
            predictions: What this scorer, not yet calibrated, predicted for rows of yours. Those without a confidence
                are left out.
            right: Whether each one was right.

        Raises:
            InvalidInputError: The lengths differ, or no prediction has a confidence.
        """
        from dsplus_chains.calibration.calibrators import fit_isotonic

        if len(predictions) != len(right):
            msg = f"Got {len(predictions)} predictions and {len(right)} values of right but expected one for each"
            raise InvalidInputError(msg)
        pairs = [
            (known.confidence, bool(is_right))
            for known, is_right in zip(predictions, right, strict=True)
            if known.confidence is not None
        ]
        if not pairs:
            msg = f"Got {len(predictions)} predictions without a confidence but expected one or more to calibrate by"
            raise InvalidInputError(msg)
        confidences, targets = np.array([pair[0] for pair in pairs]), np.array([int(pair[1]) for pair in pairs])
        fitted = fit_isotonic(np.stack([1 - confidences, confidences], axis=1), targets, per_label=True)
        return self.model_copy(update={"calibration": fitted})

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        return [record["prediction"] for record in self.batch(texts)]

    @override
    def _predicted(self, record: dict[str, Any], prediction: Prediction) -> dict[str, Any]:
        known = super()._predicted(record, prediction)
        return {**known, "attempt": prediction.attempt} if isinstance(prediction, VerifiedPrediction) else known

    @override
    def _predictions(
        self, records: list[dict[str, Any]], managers: list[Manager], configs: Configs, kwargs: dict[str, Any]
    ) -> Generator[Any, Any, list[Any]]:
        spent = [UsageCollector() for _ in records]

        def ask(runnable: Runnable[Any, Any], pairs: list[tuple[int, Any]], tag: str, **more: Any) -> Ask:
            children = [as_drafts(watched(configs[row], managers[row], tag, spent[row])) for row, _ in pairs]
            return Ask(runnable, [value for _, value in pairs], children, more)

        written: list[list[_Candidate]] = [[] for _ in records]
        for name, generator in self.generators.items():
            fed = by_row(_feeder(generator, name), records)
            pairs = [(row, one) for row, one in enumerate(fed) if not isinstance(one, Exception)] * self.samples
            pairs.sort(key=lambda pair: pair[0])
            outputs = (yield ask(generator, pairs, "small", **kwargs)).outputs
            said = [(row, one) for row, one in enumerate(fed) if isinstance(one, Exception)]
            for row, output in (*said, *((row, one) for (row, _), one in zip(pairs, outputs, strict=True))):
                (candidate,) = by_row(_candidate, [output])
                written[row].append(_Candidate(row, name, candidate))
        _tell("generators", [one.value for row in written for one in row])
        owners = by_row(self._first_of_its_kind, written)
        sound = [(row, owner) for row, owner in enumerate(owners) if not isinstance(owner, Exception)]
        checked = [(row, number) for row, owner in sound for number in dict.fromkeys(owner) if number >= 0]
        asked = [(row, _question(records[row], written[row], number)) for row, number in checked]
        outputs = (yield ask(self.verifier, asked, "verifier")).outputs
        verdicts = dict(zip(checked, by_row(_verdict, outputs), strict=True))
        _tell("verifier", list(verdicts.values()))
        found: list[Any] = list(owners)  # the error where `same` has failed
        for number, owner in sound:
            found[number] = self._best(written[number], [verdicts.get((number, at)) for at in owner], spent[number])
        return found

    def _first_of_its_kind(self, row: list[_Candidate]) -> list[int]:
        """The place of the first candidate that is the same as each, or -1 where there is none."""
        found: list[int] = []
        firsts: dict[Any, int] = {}
        for place, one in enumerate(row):
            if one.value is None or isinstance(one.value, Exception):
                found.append(-1)
            elif self.same is None:
                found.append(firsts.setdefault(label_key(canonical_text(one.value)), place))
            else:
                earlier = (known for known in firsts if self.same(row[known].value, one.value))
                found.append(next(earlier, place))
                firsts.setdefault(found[-1], place)
        return found

    def _best(
        self, row: list[_Candidate], verdicts: list[Any], spent: UsageCollector
    ) -> VerifiedPrediction | Exception:
        """The prediction for one row, or the row's error."""
        errors = [one.value for one in row if isinstance(one.value, Exception)]
        bugs = [one for one in (*errors, *verdicts) if isinstance(one, Exception) and is_bug(one)]
        if bugs or len(errors) == len(row):
            return (bugs or errors)[0]
        known = [one if isinstance(one, Verdict) else None for one in verdicts]
        place, confidence = _choice(row, known)
        if place is None:
            return VerifiedPrediction(label=None, usage=spent.usage, calls=spent.calls)
        return VerifiedPrediction(
            label=canonical_text(row[place].value),
            value=row[place].value,
            confidence=self._calibrated(confidence),
            verdict=known[place],
            generator=row[place].generator,
            usage=spent.usage,
            calls=spent.calls,
        )

    def _calibrated(self, confidence: float | None) -> float | None:
        if confidence is None or self.calibration is None:
            return confidence
        return float(self.calibration.apply([[1 - confidence, confidence]])[0, 1])


def _choice(row: list[_Candidate], verdicts: list[Verdict | None]) -> tuple[int | None, float | None]:
    """The place of the best candidate, and how sure one may be of it."""
    there = [place for place, one in enumerate(row) if not (one.value is None or isinstance(one.value, Exception))]
    first = next(iter(there), None)
    if any(verdict is not None and verdict.checks for verdict in verdicts):
        solution, explained = best_pair(table_of(verdicts))
        if solution is not None:
            return solution, explained
        verdicts_there = [verdicts[place] for place in there]
        is_known = all(verdict is not None and verdict.is_supported for verdict in verdicts_there)
        return first, 0.0 if is_known else None
    scores = [
        (verdict.score, -place) for place, verdict in enumerate(verdicts) if verdict and verdict.score is not None
    ]
    if not scores:
        return first, None
    score, place = max(scores)
    return -place, score


def _feeder(generator: Runnable[Any, Any], name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    prompt = leading_prompt(generator)
    return lambda record: feed(prompt, record, whose=f"the generator {name!r}")


def _candidate(output: Any) -> Any:
    """The candidate in a generator's output. None where it is blank, refused or cut off.

    Raises:
        WiringError: It is an object of pydantic, which no `Prediction` holds.
    """
    if isinstance(output, Exception):
        raise output
    if isinstance(output, Prediction):
        return output.value
    if isinstance(output, BaseMessage):
        output = str(output.text) if is_whole(output) else None
    if isinstance(output, BaseModel):
        msg = (
            f"Got {what_came(output)} from a generator but expected a text or another JSON value; let the generator "
            "end in the object's model_dump()"
        )
        raise WiringError(msg)
    canonical_text(output)  # refuses what a Prediction cannot hold
    return None if isinstance(output, str) and not output.strip() else output


def _question(record: Mapping[str, Any], row: list[_Candidate], number: int) -> dict[str, Any]:
    """What the verifier is asked about one candidate."""
    values = [None if isinstance(one.value, Exception) else one.value for one in row]
    return {**record, "candidate": values[number], "candidates": values}


def _verdict(output: Any) -> Verdict:
    if isinstance(output, Exception):
        raise output
    return as_verdict(output)


def _tell(who: str, outputs: list[Any]) -> None:
    errors = [output for output in outputs if isinstance(output, Exception)]
    if errors:
        said = describe_error(errors[0])
        LOGGER.warning("The %s failed at %d of %d candidates: %s", who, len(errors), len(outputs), said)

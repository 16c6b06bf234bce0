"""`EntailmentVerifier` checks whether a candidate follows from a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.schema import WiringError, canonical_text, percent, what_came
from dsplus_chains.verifying.candidate_verdict import Reader, Verdict, checked_record, read_from


class EntailmentVerifier(ComputingRunnable[Any, Verdict]):
    """A verifier whose score is the probability that a candidate follows from its context.

    It takes a record with a `candidate` and a context. All candidates of a batch are one call of the model. A pipeline
    cuts a context that is too long for its model, so give it the passages that matter.

    Args:
        nli: A text-classification pipeline of `transformers` with a model for natural language inference. Or any
            function that takes a list of ``{"text": context, "text_pair": statement}``. It returns for each one a list
            of ``{"label": ..., "score": ...}``.
        context: Key of the record, or a function of it, for the text that the candidate must follow from.
        statement: Function from the record to the statement that is checked, such as the question with its answer. None
            takes the candidate.
        entails: The model's label for what follows. Case does not count.

    Raises:
        InvalidInputError: The input has no `candidate` or no context.
        WiringError: The model does not return such lists, or does not know the label. Or a score is no probability.

    Example:
        >>> def nli(pairs, **settings):
        ...     held = [float(pair["text_pair"] in pair["text"]) for pair in pairs]
        ...     return [[{"label": "entailment", "score": h}, {"label": "neutral", "score": 1 - h}] for h in held]
        >>> verifier = EntailmentVerifier(nli=nli, context="page")
        >>> verifier.invoke({"candidate": "it rains", "page": "Today it rains."}).score
        1.0
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = Verdict

    nli: Callable[..., Any]
    context: Reader = "input"
    statement: Callable[[Mapping[str, Any]], str] | None = None
    entails: str = Field(default="entailment", min_length=1)

    _lock: ForkLock = PrivateAttr(default_factory=ForkLock)

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        pairs = by_row(self._pair, inputs)
        sound = [pair for pair in pairs if not isinstance(pair, Exception)]
        with self._lock:  # fast tokenizers refuse to be used from two threads at once
            said = self.nli(sound, top_k=None, truncation=True) if sound else []
        if not isinstance(said, Iterable):
            msg = f"Got {what_came(said)} from the model but expected a list, with one result for each pair"
            raise WiringError(msg)
        said = list(said)
        if len(said) != len(sound):
            msg = f"Got {len(said)} results of the model for {len(sound)} pairs but expected one for each"
            raise WiringError(msg)
        found = iter(by_row(self._verdict, said))
        return [pair if isinstance(pair, Exception) else next(found) for pair in pairs]

    def _pair(self, record: Any) -> dict[str, str]:
        checked_record(record)
        context = read_from(record, self.context, "context")
        statement = canonical_text(record["candidate"]) if self.statement is None else self.statement(record)
        return {"text": str(context), "text_pair": str(statement)}

    def _verdict(self, scores: Any) -> Verdict:
        try:
            known = {str(one["label"]).casefold(): float(one["score"]) for one in scores}
        except (TypeError, KeyError, ValueError) as error:
            msg = f"Got {what_came(scores)} from the model but expected a list of labels and their scores"
            raise WiringError(msg) from error
        if self.entails.casefold() not in known:
            msg = (
                f"Got the labels {sorted(known)} from the model but expected {self.entails!r} among them; set entails="
            )
            raise WiringError(msg)
        score = known[self.entails.casefold()]
        if math.isnan(score):
            return Verdict(report="The model gave no probability.")
        if not 0 <= score <= 1 + 1e-6:
            msg = (
                f"Got the score {score:g} of {self.entails!r} from the model but expected a probability in [0, 1]; let "
                'a pipeline apply "softmax" (function_to_apply)'
            )
            raise WiringError(msg)
        return Verdict(score=score, report=f"It follows from the text with a probability of {percent(score)}.")

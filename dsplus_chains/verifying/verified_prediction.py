"""`VerifiedPrediction` is a small model's answer with what its verifier said of it."""

from __future__ import annotations

from langchain_core.messages.ai import UsageMetadata
from pydantic import Field

from dsplus_chains.schema import Prediction, fence
from dsplus_chains.verifying.candidate_verdict import Verdict


class VerifiedPrediction(Prediction):
    """The best candidate for an input, as its `value`, and how sure one may be of it.

    Args:
        verdict: What the verifier found out about it. None if the verifier failed.
        generator: Name of the generator that wrote it.
        usage: Tokens of all calls that wrote and checked candidates for this input. None if one did not tell.
        calls: Number of these calls.
    """

    verdict: Verdict | None = None
    generator: str | None = None
    usage: UsageMetadata | None = None
    calls: int = Field(default=0, ge=0)

    @property
    def attempt(self) -> str:
        """The candidate and its report for a prompt, fenced. It is empty without a candidate.

        Example:
            >>> print(VerifiedPrediction(value="x = 1", verdict=Verdict(score=0.0, report="x should be 2")).attempt)
            <candidate>
            x = 1
            </candidate>
            <report>
            x should be 2
            </report>
        """
        if self.label is None:
            return ""
        shown = self.value if isinstance(self.value, str) else self.label
        report = "" if self.verdict is None else self.verdict.report
        return "\n".join([fence(str(shown), tag="candidate"), *([fence(report, tag="report")] if report else [])])

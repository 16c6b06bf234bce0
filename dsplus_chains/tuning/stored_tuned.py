"""`StoredTuned` is the result of tuning as a file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field

from dsplus_chains.schema import Stored, as_threshold

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Cost: TypeAlias = Annotated[float, Field(ge=0)]


class StoredEstimate(Stored, extra="forbid"):
    """A measured share, as a file holds it."""

    value: Share | None
    low: Share
    high: Share
    n: int = Field(ge=0)
    level: float = Field(default=0.95, gt=0, lt=1)


class StoredPoint(Stored, extra="forbid"):
    """A point of the curve, as a file holds it."""

    threshold: Share | None
    escalation_rate: Share
    accuracy: Share
    kept_accuracy: Share | None
    cost: Cost
    certified: bool | None = None


class StoredTuned(Stored, extra="forbid"):
    """What `TunedThreshold.to_dict` writes.

    Raises:
        pydantic.ValidationError: A field is missing, unknown, or out of range.
    """

    threshold: Annotated[float | list[Any] | tuple[Any, ...] | Mapping[Any, Any] | None, AfterValidator(as_threshold)]
    objective: str
    constraints: dict[str, float]
    risk: str | None
    delta: float | None = Field(gt=0, lt=1)
    n: int = Field(ge=0)
    data_hash: str
    model_hash: str | None
    chain_accuracy: StoredEstimate
    kept_accuracy: StoredEstimate
    escalation_rate: StoredEstimate
    small_accuracy: StoredEstimate
    large_accuracy: StoredEstimate
    cost: Cost
    curve: list[StoredPoint] | tuple[StoredPoint, ...]
    fusion: dict[str, Any] | None = None
    fusion_rows: int = Field(default=0, ge=0)
    max_ood_score: float | None = Field(default=None, ge=0)
    set_coverage: float | None = Field(default=None, gt=0, lt=1)
    set_level: float | None = Field(default=None, gt=0, le=1)
    unanswered: int = Field(default=0, ge=0)
    unread: int = Field(default=0, ge=0)
    strange: int = Field(default=0, ge=0)
    tuned_on: str | None = None
    overlap: int = Field(default=0, ge=0)
    min_gain: float = Field(default=0.05, ge=0, le=1)
    against: Literal["labels", "large_answers"] = "labels"
    meaning: str = ""

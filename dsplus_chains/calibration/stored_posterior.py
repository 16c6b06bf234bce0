"""`StoredPosterior` is a posterior as a file holds it."""

from __future__ import annotations

from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

from dsplus_chains.schema import Stored

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Weights: TypeAlias = Annotated[list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=2, max_length=2)]
Cell: TypeAlias = Annotated[list[Annotated[int, Field(ge=0, le=2**53)]], Field(min_length=3, max_length=3)]


class StoredPosterior(Stored):
    """What `Posterior.to_dict` writes. The counts are cells of [true label, answer, count].

    Raises:
        pydantic.ValidationError: A field is missing or out of range, or the numbers of labels differ.
    """

    n_labels: int = Field(ge=1)
    counts: list[Cell]
    smoothing: float = Field(gt=0)
    small_weights: Weights
    large_weights: Weights
    confusable: list[list[Share]]
    confusable_share: Share
    confidence_weight: float = Field(default=0.0, ge=-100, le=100)
    confidence_center: float = 0.0
    confidence_scale: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        # The table has as many numbers as the file, so a file cannot ask for more memory than it takes itself.
        if {len(self.confusable), *map(len, self.confusable)} != {self.n_labels}:
            msg = f"Got n_labels={self.n_labels} but a table of {len(self.confusable)} rows"
            raise ValueError(msg)
        if any(max(cell[:2]) >= self.n_labels for cell in self.counts):
            msg = f"Got a count of a label beyond the {self.n_labels} that there are"
            raise ValueError(msg)
        return self

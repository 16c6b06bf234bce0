"""What is kept of a scorer on disk."""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from numpy.typing import NDArray
from pydantic import Field, model_validator

from dsplus_chains.schema import Labels, Stored, hash_of_bytes
from dsplus_chains.scoring.early_exit import StoredExit
from dsplus_chains.scoring.record_start import Key
from dsplus_chains.scoring.state_files import StateFiles
from dsplus_chains.scoring.stored_encoder import StoredEncoder

S = TypeVar("S", bound=Stored)

FORMAT = 2
LABEL = "label"
"""What a scorer predicts whose file does not say it."""


class StoredReport(Stored):
    """The worth of a member, as a file holds it."""

    accuracy: float | None = Field(default=None, ge=0, le=1)
    log_loss: float | None = Field(default=None, ge=0)


class StoredMember(Stored):
    """A member, as a file holds it. Its own class reads its settings."""

    kind: str
    settings: dict[str, Any]
    report: StoredReport | None = None


class StoredClassifier(StoredEncoder):
    """A classifier, as a file holds it."""

    members: list[StoredMember] = Field(min_length=1, max_length=100)
    calibration: dict[str, Any] | None = None
    early_exit: StoredExit | None = None


class StoredRows(Stored):
    """What is kept of the training rows, as a file holds it."""

    n: int = Field(ge=1)
    conflicting: int = Field(ge=0)


class StoredState(Stored):
    """What the file of every scorer holds."""

    predicts: str = LABEL  # missing where it is a label
    input_key: Key | Annotated[list[Key], Field(min_length=2, max_length=2)]
    training_rows: StoredRows | None = None  # missing in a folder from before texts were remembered


class StoredScorer(StoredState):
    """A scorer of one label, as a file holds it."""

    labels: Labels
    track_record: dict[str, Any] | None = None  # missing in a folder from before there were track records
    classifier: StoredClassifier


class StoredTags(StoredState):
    """A scorer of tags, as a file holds it. Its heads share an encoder."""

    tags: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=10_000)
    heads: list[StoredClassifier] = Field(min_length=1)
    joint: dict[str, Any] | None = None
    same: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_head_a_tag(self) -> Self:
        if not len(set(self.tags)) == len(self.tags) == len(self.heads):
            msg = f"got {len(self.heads)} heads for {len(set(self.tags))} tags but expected one for each"
            raise ValueError(msg)
        return self


class StoredNumber(StoredState, StoredEncoder):
    """A scorer of a number, as a file holds it."""

    tolerance: float = Field(ge=0)
    whole: bool
    low: float
    high: float
    curve: dict[str, Any]


def scorer_files(stored: type[S], predicts: str = LABEL) -> StateFiles[S]:
    """The files of scorers that predict the same, in this form."""
    return StateFiles(what="scorer", format=FORMAT, stored=stored, predicts=predicts, unsaid=LABEL)


SETTINGS, ARRAYS = scorer_files(StoredScorer).settings, scorer_files(StoredScorer).arrays


def share_equal(arrays: dict[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The different ones among arrays, and for each further one the name of its equal.

    Example:
        >>> import numpy as np
        >>> kept, same = share_equal({"a": np.zeros(2), "b": np.zeros(2), "c": np.ones(2)})
        >>> list(kept), same
        (['a', 'c'], {'b': 'a'})
    """
    first: dict[str, str] = {}
    names = {
        name: first.setdefault(f"{array.dtype} {array.shape} {hash_of_bytes(array.tobytes())}", name)
        for name, array in arrays.items()
    }
    kept = {name: arrays[name] for name, equal in names.items() if name == equal}
    return kept, {name: equal for name, equal in names.items() if name != equal}

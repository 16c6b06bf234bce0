"""What is kept of a scorer on disk."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import Labels, Stored
from dsplus_chains.scoring.early_exit import StoredExit
from dsplus_chains.scoring.record_start import Key
from dsplus_chains.scoring.state_files import StateFiles


class StoredReport(Stored):
    """The worth of a member, as a file holds it."""

    accuracy: float | None = Field(default=None, ge=0, le=1)
    log_loss: float | None = Field(default=None, ge=0)


class StoredMember(Stored):
    """A member, as a file holds it. Its own class reads its settings."""

    kind: str
    settings: dict[str, Any]
    report: StoredReport | None = None


class StoredClassifier(Stored):
    """A classifier, as a file holds it."""

    encoder: str
    encoder_recipe: dict[str, Any] | None
    pairs: bool = False  # missing where single texts are read
    modality: Modality = "text"  # missing where texts are read
    members: list[StoredMember] = Field(min_length=1, max_length=100)
    calibration: dict[str, Any] | None = None
    early_exit: StoredExit | None = None


class StoredRows(Stored):
    """What is kept of the training rows, as a file holds it."""

    n: int = Field(ge=1)
    conflicting: int = Field(ge=0)


class StoredScorer(Stored):
    """A scorer, as a file holds it."""

    labels: Labels
    input_key: Key | Annotated[list[Key], Field(min_length=2, max_length=2)]
    track_record: dict[str, Any] | None = None  # missing in a folder from before there were track records
    training_rows: StoredRows | None = None  # missing in a folder from before texts were remembered
    classifier: StoredClassifier


SCORER_STATE = StateFiles(what="scorer", format=2, stored=StoredScorer)
SETTINGS, ARRAYS = SCORER_STATE.settings, SCORER_STATE.arrays

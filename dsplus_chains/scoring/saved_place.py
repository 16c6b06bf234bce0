"""`SavedPlace` says where a scorer was read from. A dumped chain names that instead of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from dsplus_chains.schema import BundleError, hash_of_bytes
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.restoring import restore
from dsplus_chains.scoring.state import SCORER_STATE, SETTINGS

INNER = "scorer"
"""The folder of the scorer in a bundle."""


NOT_SAVED = (
    "Got a scorer to dump that was not read from a folder, and weights do not go into JSON. Save it first "
    "(scorer.save(path), or Bundle.save), and dump a chain with the one that SmallModelScorer.load(path) or "
    "Bundle.load(path) reads"
)


class SavedPlace(BaseModel):
    """Where a scorer was read from, and what was there.

    Args:
        folder: The folder of the bundle, or of the scorer alone.
        sha256: SHA-256 of `scorer.json`, which itself names that of the arrays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of(cls, folder: Path, settings: bytes) -> Self:
        """The place of the scorer whose settings were read from a folder."""
        return cls(folder=str(folder.resolve()), sha256=hash_of_bytes(settings))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump()

    def read(self) -> dict[str, Any]:
        """The fields of the scorer that lies there. Nothing is fetched.

        Raises:
            BundleError: There is none, or another one. Or its encoder is not on this machine.
        """
        folder = Path(self.folder)
        settings, arrays = SCORER_STATE.read(folder / INNER if (folder / INNER).is_dir() else folder)
        if (found := hash_of_bytes(settings)) != self.sha256:
            msg = (
                f"Got {self.folder!r}, whose {SETTINGS} has the SHA-256 {found}, but the dumped chain has a scorer of "
                f"{self.sha256}; put that one back, or dump the chain anew"
            )
            raise BundleError(msg)
        return {**restore(settings, arrays, place=folder), "saved": self}


class SavedScorer(BaseScorer):
    """A scorer whose weights lie in a folder. LangChain's `dumps` writes the folder in place of the weights.

    Args:
        saved: Where it was read from. None for one that was fitted in this process.
    """

    saved: SavedPlace | None = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _read_what_was_saved(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "classifier" in data or data.get("saved") is None:
            return data
        return {**SavedPlace.model_validate(data["saved"]).read(), **data}

    @override
    def to_json(self) -> Any:
        if self.saved is None:
            raise BundleError(NOT_SAVED)
        dumped: Any = super().to_json()
        named = {"saved", *BaseScorer.model_fields} & set(dumped["kwargs"]) - {
            "modality"
        }  # the folder tells what it reads
        return {**dumped, "kwargs": {name: dumped["kwargs"][name] for name in named}}

"""`SavedPlace` says where a scorer was read from. A dumped chain names that instead of the weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from dsplus_chains.schema import BundleError
from dsplus_chains.scoring.base_scorer import BaseScorer

INNER = "scorer"
"""The folder of the scorer in a bundle."""


class SavedPlace(BaseModel):
    """Where a scorer was read from, and what was there.

    Args:
        folder: The folder of the bundle, or of the scorer alone.
        sha256: SHA-256 of the file that names those of all others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of(cls, folder: Path, sha256: str) -> Self:
        """The place of what was read from a folder."""
        return cls(folder=str(folder.resolve()), sha256=sha256)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump()

    def check(self, sha256: str) -> None:
        """Refuse what lies there now, if it is not what was read then.

        Raises:
            BundleError: It is something else.
        """
        if sha256 != self.sha256:
            msg = (
                f"Got {self.folder!r}, whose scorer has the SHA-256 {sha256}, but the dumped chain has one of "
                f"{self.sha256}; put that one back, or dump the chain anew"
            )
            raise BundleError(msg)


class SavedScorer(BaseScorer):
    """A scorer whose weights lie in a folder. LangChain's `dumps` writes the folder in place of the weights.

    A subclass says how they are read from there. What may be set beside them stands in `beside_the_folder`.

    Args:
        saved: Where it was read from. None for one that was made in this process.
    """

    beside_the_folder: ClassVar[frozenset[str]] = frozenset(BaseScorer.model_fields) - {"modality"}
    """Fields that are dumped by value, since the folder does not tell them, or may be overruled."""

    saved: SavedPlace | None = Field(default=None, repr=False)

    @classmethod
    @abstractmethod
    def _made_again(cls, place: SavedPlace, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the scorer that lies in a place. Nothing is fetched, and no code of it is run.

        Args:
            place: The place. What lies there must have its SHA-256.
            given: The fields that were dumped beside it. They overrule those of the folder.

        Raises:
            BundleError: There is none, or another one. Or its encoder is not on this machine.
        """

    @abstractmethod
    def _advice(self) -> str:
        """How to come to a scorer of this class that was read from a folder, in a sentence without a stop."""

    @model_validator(mode="before")
    @classmethod
    def _read_what_was_saved(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("saved") is None:
            return data
        if any(field.is_required() and name in data for name, field in cls.model_fields.items()):
            return data  # the weights are given
        return cls._made_again(SavedPlace.model_validate(data["saved"]), data)

    @override
    def to_json(self) -> Any:
        if self.saved is None:
            msg = (
                "Got a scorer to dump that was not read from a folder, and weights do not go into JSON. "
                f"{self._advice()}"
            )
            raise BundleError(msg)
        dumped: Any = super().to_json()
        named = {"saved", *self.beside_the_folder} & set(dumped["kwargs"])
        return {**dumped, "kwargs": {name: dumped["kwargs"][name] for name in named}}

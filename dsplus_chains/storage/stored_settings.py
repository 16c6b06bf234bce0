"""`StoredSettings` and `StoredExamples` are parts of a bundle as its files hold them."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from dsplus_chains.schema import Label, Stored

Pairs: TypeAlias = list[Annotated[list[Any], Field(min_length=2, max_length=2)]]
Row: TypeAlias = Annotated[list[Any], Field(min_length=2, max_length=4)]


class StoredSettings(Stored, extra="allow"):
    """The settings of a bundle. Only their types are exact. `LabelTask` knows which there are, and what they mean.

    Raises:
        pydantic.ValidationError: A setting is of another type.
    """

    large: dict[str, Any] = Field(default_factory=dict)
    instruction: str = ""
    descriptions: Pairs | dict[str, str] | None = None
    aliases: Pairs | dict[str, Any] | None = None
    hints: str = ""
    top_k: int = 1
    track_record: dict[str, Any] | str | None = None
    set_level: float | None = None
    strong_labels: list[Label] | None = None
    exemplars: int = 0
    structured: bool = False
    retries: int = 0
    reask: bool = False
    rationale: bool = False
    group: int = 1
    template: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = None


class StoredManifest(Stored):
    """What `bundle.json` says beside its files.

    Raises:
        pydantic.ValidationError: Something is missing, or of another type.
    """

    settings: StoredSettings
    metadata: dict[str, Any]
    versions: dict[str, str] = Field(default_factory=dict)


class StoredExamples(Stored):
    """The examples of a bundle, as rows of [text, label, the small model's label, its confidence].

    Raises:
        pydantic.ValidationError: Something is missing, or of another type.
    """

    k: int = Field(ge=1)
    diversity: float = Field(ge=0, le=1)
    per_label: int | None = Field(ge=1)
    input_key: str = Field(min_length=1)
    rows: list[Row] = Field(min_length=1)

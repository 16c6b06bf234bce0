"""`StateScorer` is a scorer whose parts are settings and arrays. It has a folder, and can be dumped by its place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from langchain_core.embeddings import Embeddings
from pydantic import InstanceOf, ValidationError
from typing_extensions import override

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.schema import BundleError, describe_error, first_fault, hash_of_bytes
from dsplus_chains.scoring.members.member import Arrays
from dsplus_chains.scoring.saved_place import INNER, SavedPlace, SavedScorer
from dsplus_chains.scoring.state import LABEL, StoredState, scorer_files
from dsplus_chains.scoring.state_files import StateFiles
from dsplus_chains.scoring.stored_encoder import StoredEncoder, encoder_finder
from dsplus_chains.scoring.training_rows import TrainingRows


class StateScorer(SavedScorer):
    """A scorer that is kept as JSON and safetensors, without pickle.

    A subclass says what is kept (`_state`), what form that has (`stored`), and how the parts are made again
    (`_restored`).

    Args:
        training_rows: What it was fitted on. Predictions for these texts are marked (`Prediction.training`). None if
            that is not known.
    """

    predicts: ClassVar[str] = LABEL
    """What it predicts. A folder is read by the class that predicts the same."""
    stored: ClassVar[type[StoredState]]
    """The form of its settings."""

    training_rows: InstanceOf[TrainingRows] | None = None

    @classmethod
    def _files(cls) -> StateFiles[StoredState]:
        return scorer_files(cls.stored, cls.predicts)

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], Arrays]:
        """The settings and the arrays of the scorer. Those of the training rows come from `_rows_state`."""

    @classmethod
    @abstractmethod
    def _stored_encoder(cls, told: Any) -> StoredEncoder:
        """What the settings tell of the encoder."""

    @classmethod
    @abstractmethod
    def _restored(cls, told: Any, arrays: Arrays, find_encoder: Callable[[], Encoder]) -> dict[str, Any]:
        """The fields of the scorer, but for `training_rows` and `input_key`.

        Args:
            told: The settings, in the form `stored`.
            arrays: The arrays.
            find_encoder: A function that finds the encoder. Call it last, once everything else is known to be sound.

        Raises:
            BundleError: The parts do not fit each other, or the encoder is another one.
            ValueError: A setting is missing, or out of range.
        """

    def save(self, path: str | Path) -> None:
        """Write the scorer into a folder, with settings as JSON and arrays as safetensors, without pickle.

        The encoder's weights are not written. The folder holds how to load the encoder (name, prompt), and a probe that
        tells it from another one.
        """
        self._files().write(Path(path), *self._state())

    @cached_property
    def model_hash(self) -> str | None:
        """SHA-256 of the `scorer.json` of `save`, with a hash of the arrays in it. None if it cannot be saved."""
        try:
            return hash_of_bytes(self._files().pack(*self._state())[0])
        except BundleError:
            return None

    def _rows_state(self) -> tuple[dict[str, Any] | None, Arrays]:
        return (None, {}) if self.training_rows is None else self.training_rows.state()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        encoder: str | Encoder | Embeddings | None = None,
        device: str | None = None,
        allow_download: bool = False,
    ) -> Self:
        """Read a scorer that `save` wrote.

        Args:
            path: The folder.
            encoder: The encoder or its new place, if that has changed since the scorer was fitted.
            device: Device of the encoder. None takes the best one available.
            allow_download: Whether an encoder that the folder names may be fetched from the hub.

        Raises:
            BundleError: The folder holds no scorer, is damaged, or comes from an incompatible version. Or the encoder
                is another one, or would have to be fetched.
        """
        return cls.of_files(
            *cls._files().read(Path(path)),
            place=Path(path),
            encoder=encoder,
            device=device,
            allow_download=allow_download,
        )

    @classmethod
    def of_files(cls, settings: bytes, arrays: bytes, *, place: Path, **how: Any) -> Self:
        """The scorer with this content of its files.

        Args:
            settings: The content of `scorer.json`.
            arrays: The content of `scorer.safetensors`.
            place: The folder that they come from.
            **how: How the encoder is found. See `load`.

        Raises:
            BundleError: As `load` says.
        """
        return cls(**cls._parts(settings, arrays, place=place, **how))

    @classmethod
    @override
    def _made_again(cls, place: SavedPlace, given: Mapping[str, Any]) -> dict[str, Any]:
        folder = Path(place.folder)
        settings, arrays = cls._files().read(folder / INNER if (folder / INNER).is_dir() else folder)
        place.check(hash_of_bytes(settings))
        return {**cls._parts(settings, arrays, place=folder), **given}

    @classmethod
    def _parts(
        cls,
        settings: bytes,
        arrays: bytes,
        *,
        place: Path,
        encoder: str | Encoder | Embeddings | None = None,
        device: str | None = None,
        allow_download: bool = False,
    ) -> dict[str, Any]:
        """The fields of the scorer. Everything is checked, because somebody else may have written the files."""
        told, tables = cls._files().unpack(settings, arrays, place=place)
        told_encoder = cls._stored_encoder(told)
        find = encoder_finder(told_encoder, place=place, encoder=encoder, device=device, allow_download=allow_download)
        try:
            rows = None if told.training_rows is None else TrainingRows.from_state(dict(told.training_rows), tables)
            parts = cls._restored(told, tables, find)
        except BundleError:
            raise
        except Exception as error:  # somebody else may have written anything
            reason = first_fault(error) if isinstance(error, ValidationError) else describe_error(error)
            msg = f"Got a scorer in {str(place)!r} that cannot be read ({reason}); fit anew"
            raise BundleError(msg) from error
        saved = SavedPlace.of(place, hash_of_bytes(settings))
        return {**parts, "training_rows": rows, "input_key": told.input_key, "saved": saved}

    @override
    def _advice(self) -> str:
        name = type(self).__name__
        bundle = (", or Bundle.save", " or Bundle.load(path)") if self.predicts == LABEL else ("", "")
        return (
            f"Save it first (scorer.save(path){bundle[0]}), and dump a chain with the one that "
            f"{name}.load(path){bundle[1]} reads"
        )

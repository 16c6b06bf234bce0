"""What is kept of a `ModelComposer` on disk: all but its models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import Field

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.schema import BundleError, Stored, hash_of_bytes
from dsplus_chains.scoring.members.stored_arrays import StoredArrays
from dsplus_chains.scoring.score_model import ScoreModel
from dsplus_chains.scoring.state_files import StateFiles
from dsplus_chains.scoring.stored_encoder import StoredEncoder, check_probe, encoder_finder, encoder_state, probe_vector

if TYPE_CHECKING:
    from dsplus_chains.gating.composer import ModelComposer


class StoredChoice(Stored):
    """A model to choose, as a file holds it."""

    name: str
    cost: float = Field(ge=0)


class StoredComposer(StoredEncoder):
    """A composer, as a file holds it."""

    models: list[StoredChoice] = Field(min_length=2, max_length=1000)
    tradeoff: float = Field(ge=0)
    input_key: str = Field(min_length=1)


COMPOSER_STATE = StateFiles(what="composer", format=1, stored=StoredComposer)


def composer_state(composer: ModelComposer) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The settings and the arrays of a composer."""
    settings = {
        "models": [{"name": name, "cost": composer.costs[name]} for name in composer.models],
        "tradeoff": composer.tradeoff,
        "input_key": composer.input_key,
        **encoder_state(composer.encoder),
    }
    arrays = {f"score_model.{name}": array for name, array in composer.score_model.arrays().items()}
    known = {"known_scores": composer.known_scores, "out_of_fold": composer.out_of_fold}
    return settings, {**arrays, **known, "probe": probe_vector(composer.encoder)}


def restore_composer(
    path: Path,
    *,
    models: Mapping[str, Any],
    expected_sha256: str | None,
    encoder: str | Encoder | Embeddings | None,
    device: str | None,
    allow_download: bool,
) -> dict[str, Any]:
    """The fields of a composer, from the folder that it was saved in. See `ModelComposer.load`."""
    settings, packed = COMPOSER_STATE.read(path)
    if expected_sha256 is not None and (found := hash_of_bytes(settings)) != expected_sha256.strip().lower():
        msg = f"Got a composer of SHA-256 {found} in {str(path)!r} but expected {expected_sha256}; do not use it"
        raise BundleError(msg)
    told, tables = COMPOSER_STATE.unpack(settings, packed, place=path)
    names = [each.name for each in told.models]
    if set(models) != set(names) or len(set(names)) != len(names):
        msg = f"Got models {sorted(models)} but the composer in {str(path)!r} chooses of {names}; give one for each"
        raise BundleError(msg)
    stored = StoredArrays(arrays=tables, n_classes=len(names), width=len(tables.get("probe", ())))
    expected = stored.floats("probe", (None,))
    score_model = ScoreModel.from_arrays(stored.part("score_model."))
    known = stored.floats("known_scores", (None, len(names)), gaps=True)
    out_of_fold = stored.floats("out_of_fold", known.shape)
    used = encoder_finder(told, place=path, encoder=encoder, device=device, allow_download=allow_download)()
    check_probe(used, expected, told=told)
    return {
        "models": {name: models[name] for name in names},
        "costs": {each.name: each.cost for each in told.models},
        "encoder": used,
        "score_model": score_model,
        "known_scores": known,
        "out_of_fold": out_of_fold,
        "tradeoff": told.tradeoff,
        "input_key": told.input_key,
    }

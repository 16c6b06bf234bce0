"""`Versions` are the bundles of one chain, in a folder. The current one may be replaced, and put back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsplus_chains.learning.promotion import Promotion, promote
from dsplus_chains.schema import BundleError, InvalidInputError, read_json
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.files import held, replacing_file

_STATE, _LOCK = "versions.json", ".lock"


class Versions:
    """Bundles by number in a folder, which of them is in use, and every decision on a candidate.

    Nothing is deleted. The current version and the decision change in one step. So a reader, or what a kill has left,
    finds both or neither. Processes that share the folder take turns.

    Args:
        path: The folder. It is made if it is missing.

    Example:
        >>> versions = Versions("intents")  # doctest: +SKIP
        >>> versions.add(bundle)  # doctest: +SKIP
        1
        >>> versions.promote(learn(versions.load(), store)).promoted  # doctest: +SKIP
        True
        >>> versions.rollback()  # doctest: +SKIP
        1
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all versions, rising."""
        return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdecimal())

    @property
    def current(self) -> int | None:
        """The number of the version in use. None before the first."""
        used = self._used
        return used[-1]["version"] if used else None

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """All decisions on candidates, as plain data, in the order in which they were made."""
        return list(self._state["decisions"])

    def load(self, number: int | None = None, **how: Any) -> Bundle:
        """Read a version.

        Args:
            number: Its number. None takes the one in use.
            **how: How it is read. See `Bundle.load`. The hash of the one in use is checked in any case.

        Raises:
            BundleError: There is no such version, or it is damaged.
        """
        wanted = self.current if number is None else number
        if wanted is None or wanted not in self.numbers:
            msg = (
                f"Got version {wanted} of {str(self.path)!r} but it holds {self.numbers}; versions.add(bundle) adds one"
            )
            raise BundleError(msg)
        known = {entry["version"]: entry["sha256"] for entry in self._used}
        return Bundle.load(self.path / str(wanted), **{"expected_sha256": known.get(wanted), **how})

    def add(self, bundle: Bundle, *, use: bool = True) -> int:
        """Write a bundle as the next version.

        Args:
            bundle: The bundle.
            use: Whether it comes into use.

        Returns:
            Its number.
        """
        with held(self.path / _LOCK):
            number, pin = self._saved(bundle)
            if use:
                self._write(used=[*self._used, {"version": number, "sha256": pin}])
        return number

    def promote(self, candidate: Bundle, *, alpha: float = 0.05, **how: Any) -> Promotion:
        """Decide on a candidate, write it and the decision, and use it if it is promoted. See `promote`.

        Each look at the same labelled rows is counted, and makes the next one stricter.

        Args:
            candidate: The bundle that has learned.
            alpha: Chance that in all looks together a candidate is promoted that is not better.
            **how: How the version in use is read. See `Bundle.load`.
        """
        with held(self.path / _LOCK):
            state, before = self._state, self.current
            found = promote(candidate, self.load(**how), alpha=alpha, look=len(state["decisions"]) + 1)
            number, pin = self._saved(candidate)
            told = {"candidate": number, "incumbent": before, **found.to_dict()}
            used = [*state["used"], *([{"version": number, "sha256": pin}] if found.promoted else [])]
            self._write(used=used, decisions=[*state["decisions"], told])
        return found

    def rollback(self) -> int:
        """Use the version again that was in use before this one.

        Returns:
            Its number.

        Raises:
            InvalidInputError: There was none before.
        """
        with held(self.path / _LOCK):
            used = self._used
            if len(used) < 2:
                msg = f"Got a rollback of version {self.current} but expected an earlier one that was in use"
                raise InvalidInputError(msg)
            self._write(used=used[:-1])
        return int(used[-2]["version"])

    @property
    def _state(self) -> dict[str, list[dict[str, Any]]]:
        """The versions that came into use and were not put back, and the decisions. One file holds both."""
        file = self.path / _STATE
        empty: dict[str, list[dict[str, Any]]] = {"used": [], "decisions": []}
        try:
            found = {**empty, **(read_json(file.read_bytes()) if file.exists() else {})}
            _ = [entry["version"] for entry in found["used"]], list(found["decisions"])
        except (BundleError, TypeError, KeyError) as error:
            msg = (
                f"Got {str(file)!r}, which does not tell the versions in use; put back a copy of it, or remove it "
                "and add the version to use again"
            )
            raise BundleError(msg) from error
        return found

    @property
    def _used(self) -> list[dict[str, Any]]:
        return self._state["used"]

    def _saved(self, bundle: Bundle) -> tuple[int, str]:
        """The number under which a bundle was written, and its hash."""
        number = max(self.numbers, default=0) + 1
        return number, bundle.save(self.path / str(number))

    def _write(self, **changes: Any) -> None:
        with replacing_file(self.path / _STATE) as partial:
            partial.write_text(json.dumps({**self._state, **changes}, indent=2, ensure_ascii=False), encoding="utf-8")

"""Two paths change places in one step, where the system can do that."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_HERE = -100
"""Linux's AT_FDCWD. Relative paths start where the process is."""
_SWAP = 2
"""Linux's RENAME_EXCHANGE and macOS's RENAME_SWAP."""


def exchange(one: Path, other: Path) -> bool:
    """Let two existing paths change places, so that at no moment one of them is missing.

    Returns:
        Whether that was done. It is not on Windows, on some file systems, and where a path is missing.
    """
    if not one.exists() or not other.exists() or sys.platform == "win32":
        return False
    library = ctypes.CDLL(None)
    names = os.fsencode(one), os.fsencode(other)
    if (linux := getattr(library, "renameat2", None)) is not None:
        return bool(linux(_HERE, names[0], _HERE, names[1], _SWAP) == 0)
    if (macos := getattr(library, "renamex_np", None)) is not None:
        return bool(macos(*names, _SWAP) == 0)
    return False

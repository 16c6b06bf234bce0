"""What a sandbox must let CPython read, so that it starts."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")


def interpreter() -> Path:
    """The file of this Python."""
    return Path(sys.executable).resolve()


def readable() -> list[str]:
    """The files and folders that this Python needs: the system's libraries, its own, and its standard library."""
    own = sorted((interpreter().parent.parent / "lib").glob("libpython*"))  # where a Python of its own folder keeps it
    paths = [*_SYSTEM, str(interpreter()), sysconfig.get_paths()["stdlib"], *map(str, own)]
    return [path for path in dict.fromkeys(paths) if Path(path).exists()]

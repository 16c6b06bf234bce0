"""SHA-256 of plain data, texts and files, which tells whether two are the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def hash_of(data: Any) -> str:
    """SHA-256 of plain data, in hexadecimal. Values that JSON cannot hold count by their `repr`.

    Example:
        >>> hash_of(["a", 1])[:8], hash_of(["a", "1"])[:8]
        ('2657442b', 'b3435906')
    """
    return hash_of_text(json.dumps(data, ensure_ascii=False, default=repr))


def hash_of_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal. Half of a character (a lone surrogate) counts as itself."""
    return hash_of_bytes(text.encode("utf-8", "surrogatepass"))


def hash_of_bytes(packed: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(packed).hexdigest()


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

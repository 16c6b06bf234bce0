"""Where a bundle comes from: its date, its rows, and the versions of its libraries."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dsplus_chains.schema import hash_of

_LIBRARIES = (
    "dsplus-chains",
    "faiss-cpu",
    "langchain-core",
    "numpy",
    "safetensors",
    "scikit-learn",
    "sentence-transformers",
    "torch",
)


def provenance(texts: list[str], labels: list[Any], **more: Any) -> dict[str, Any]:
    """Where a small model comes from, for `Bundle.metadata`: the time, the number of rows and a hash of them.

    Args:
        texts: The training texts.
        labels: Their labels.
        **more: Further plain data, such as the seed.

    Example:
        >>> found = provenance(["a", "b"], ["x", "y"], seed=0)
        >>> found["rows"], found["labels"], found["seed"]
        (2, 2, 0)
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": len(texts),
        "labels": len(set(labels)),
        "data_sha256": hash_of([texts, labels]),
        **more,
    }


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries of a bundle, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

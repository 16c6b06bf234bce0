"""Keys and passwords are found in data, and hidden in texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DEEPEST = 64
"""Most levels of lists and objects inside one another that are searched."""
HIDDEN = "…"
"""What stands in the place of a secret."""

_NAMES = (
    "apikey", "accesskey", "privatekey", "secretkey", "accountkey", "authkey", "subscriptionkey", "signingkey",
    "secret", "password", "passwd", "passphrase", "authorization", "credential", "cookie", "bearer", "connectionstring",
)  # fmt: skip
_LAST_NAMES = ("token", "pwd", "jwt", "auth", "sig", "signature")
_PAIR = (
    r"(?:api|access|private|secret|account|auth|subscription|signing)[-_ ]?key|token|secret|password|passwd|passphrase"
    r"|pwd|authorization|credentials?|cookie"
)
_SHAPES = (
    (re.compile(r"(://)[^\s/?#]*(?=@)"), rf"\1{HIDDEN}"),  # user:password@ in a URL
    (re.compile(rf"([?&](?:{_PAIR}|key|sig|signature|code|jwt)=)[^&\s\"'#]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\b((?:Bearer|Basic)\s+)[\w.~+/=-]{12,}", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"(?<![\w-])(?:(?:sk|pk|rk)[-_]|gh[oprsu]_|github_pat_|hf_|xox[abeprs]-)[\w-]{10,}"), HIDDEN),
    (re.compile(r"(?<![\w-])(?:AKIA|ASIA|AIza)[\w-]{12,}"), HIDDEN),
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), HIDDEN),  # a JSON web token
)
_NAMED = re.compile(
    rf"((?:{_PAIR})[\"']?\s*[:=]\s*(?:(?:bearer|basic)\s+)?[\"']?)(?!SecretStr|None\b|\*|{HIDDEN})[^\s\"',;&)}}\]]+",
    re.I,
)


def hide_secrets(text: str) -> str:
    """A text for a message or a log, with keys and passwords hidden.

    Example:
        >>> hide_secrets("no answer from http://me:pass@host/v1 with api_key=123")
        'no answer from http://…@host/v1 with api_key=…'
    """
    return _NAMED.sub(rf"\1{HIDDEN}", _hide_shapes(text))


def without_secrets(data: Any) -> Any:
    """Plain data with keys and passwords hidden, wherever they are in it.

    Example:
        >>> without_secrets({"url": "http://me:pass@host", "headers": {"Authorization": "x"}, "max_tokens": 5})
        {'url': 'http://…@host', 'headers': {'Authorization': '…'}, 'max_tokens': 5}
    """
    if isinstance(data, Mapping):
        return {name: HIDDEN if is_secret(name, value) else without_secrets(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [without_secrets(value) for value in data]
    return _hide_shapes(data) if isinstance(data, str) else data


def place_of_secret(data: Any) -> str | None:
    """Where plain data holds a key or a password. None if it holds none.

    Example:
        >>> place_of_secret({"model": {"headers": [{"Authorization": "x"}]}}), place_of_secret({"max_tokens": 5})
        ('model.headers.0.Authorization', None)
    """
    waiting: list[tuple[str, Any]] = [("", data)]
    for place, value in waiting:
        if place.count(".") > DEEPEST:  # a loop, perhaps, which no file can hold
            continue
        if isinstance(value, str) and value != _hide_shapes(value):
            return place or "text"
        inside = value.items() if isinstance(value, Mapping) else enumerate(value) if _is_list(value) else ()
        for name, inner in inside:
            where = f"{place}.{name}" if place else str(name)
            if is_secret(name, inner):
                return where
            waiting.append((where, inner))
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _hide_shapes(text: str) -> str:
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def is_secret(name: Any, value: Any) -> bool:
    """Whether a value is a secret by its name. The number of tokens is none."""
    known = value is None or isinstance(value, bool) or (isinstance(value, str) and value in {"", HIDDEN})
    if known or not isinstance(name, str):
        return False
    compact = re.sub(r"[^a-z]", "", name.lower())
    return any(secret in compact for secret in _NAMES) or compact.endswith(_LAST_NAMES)

"""What runs inside a sandbox of CPython, and how plain values get in and out.

The sandbox gets the text of this module. So it imports the standard library only, and nothing of the package.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from typing import Any

SCALARS = (bool, int, str, type(None))
KINDS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class NotPlainError(TypeError):
    """A value that is no plain value."""


def encoded(value: Any) -> Any:
    """A plain value as JSON data.

    Raises:
        NotPlainError: It is no plain value, such as an object whose `__eq__` may say anything.

    Example:
        >>> encoded((1, {"a": float("inf")}))
        ['tuple', [1, ['dict', [['a', ['float', 'inf']]]]]]
    """
    kind = type(value)  # a subclass may compare as it likes
    if kind in SCALARS:
        return value
    if kind is float or kind is complex:
        return [kind.__name__, repr(value)]
    if kind is bytes:
        return ["bytes", value.hex()]
    if kind is dict:
        return ["dict", [[encoded(key), encoded(item)] for key, item in value.items()]]
    if kind in KINDS.values():
        return [kind.__name__, [encoded(item) for item in value]]
    bases: tuple[Any, ...] = (dict, list, tuple, set)
    known = next((base for base in bases if isinstance(value, base)), None)
    if known is not None and kind.__eq__ == known.__eq__:  # a Counter, a defaultdict, a named tuple
        return encoded(known(value))
    raise NotPlainError(kind.__name__)


def decoded(data: Any) -> Any:
    """The plain value that `encoded` has written.

    Raises:
        ValueError: The data was written by something else.

    Example:
        >>> decoded(["set", [1, ["float", "0.5"]]]) == {1, 0.5}
        True
    """
    if type(data) in SCALARS:
        return data
    if not isinstance(data, list) or len(data) != 2:
        msg = "no plain value"
        raise ValueError(msg)
    kind, content = data
    if kind == "float":
        return float(content)
    if kind == "complex":
        return complex(content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "dict":
        return {decoded(key): decoded(item) for key, item in content}
    return KINDS[kind](map(decoded, content))


def run(job: dict[str, Any], limits: dict[str, int], tell: Any) -> None:
    """Run a job, and tell one line for each step."""
    space: dict[str, Any] = {"__name__": "__main__"}
    space.update({name: decoded(value) for name, value in job["values"].items()})
    set_limits(limits)
    for number, piece in enumerate([*job["setup"], *job["steps"]], start=-len(job["setup"])):
        try:
            value = executed(piece, space)
            said = ["value", encoded(value)] if number >= 0 else None
        except NotPlainError as error:
            said = ["unsupported", f"its value is of type {error}"]
        except MemoryError:
            said = ["limit", "MemoryError"]
        except BaseException as error:
            said = ["raised", f"{type(error).__name__}: {str(error)[:300]}"]
            if number < 0:
                tell([said] * len(job["steps"]))
                return
        if number >= 0:
            tell([said])


def executed(piece: str, space: dict[str, Any]) -> Any:
    """Execute a piece of code. The result is the value of its last expression, or None."""
    tree = ast.parse(piece)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    exec(compile(tree, "<code>", "exec"), space)  # noqa: S102  in the sandbox
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "<code>", "eval"), space)  # noqa: S307


def set_limits(limits: dict[str, int]) -> None:
    """Lower the limits of this process, for good."""
    import resource

    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def put_under(program: bytes) -> None:
    """Put this process under a filter of system calls, for good. The process ends if the kernel does not take it."""
    import ctypes

    class Filter(ctypes.Structure):
        _fields_ = (("steps", ctypes.c_ushort), ("program", ctypes.c_char_p))

    kernel = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, by_filter = 38, 22, 2
    told = Filter(len(program) // 8, program)
    if kernel.prctl(no_new_privileges, 1, 0, 0, 0) or kernel.prctl(seccomp, by_filter, ctypes.byref(told), 0, 0):
        sys.exit(f"the kernel does not take the filter of system calls: {os.strerror(ctypes.get_errno())}")


def main() -> None:
    """Read a job from the standard input, and tell what came of it on what was the standard output.

    The command line may have a filter of system calls, in hexadecimal digits.
    """
    for program in sys.argv[1:]:
        put_under(bytes.fromhex(program))
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    asked = json.loads(sys.stdin.buffer.read())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)

    def tell(lines: list[Any]) -> None:
        told.write("".join(json.dumps(line) + "\n" for line in lines))
        told.flush()

    run(asked["job"], asked["limits"], tell)
    told.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

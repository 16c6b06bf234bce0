"""How an interpreter tells, before a value leaves it, whether the value is plain and small."""

from __future__ import annotations

import secrets

_CHECK = """
def {name}(value, most, type=type, len=len, list=list, isinstance=isinstance, dict=dict, text=(str, bytes),
           many=(list, tuple, set, frozenset), plain=(bool, int, float, complex)):
    left, size = [value], 0
    while left:
        one = left.pop()
        size += 3
        if isinstance(one, text):
            size += len(one)
        elif isinstance(one, dict):
            size += 10
            left.extend(list(one.keys()))
            left.extend(list(one.values()))
        elif isinstance(one, many):
            size += 10
            left.extend(list(one))
        elif one is not None and not isinstance(one, plain):
            return 'its value is of type ' + type(one).__name__
        if size > most:
            return ''
    return None
"""


class PlainCheck:
    """A check of values that runs beside the code that made them, within its limits of time and memory.

    A value that holds itself, or one thing many times, is small inside and endless outside. Other values are objects
    that would leave as their text. The check has a name that no code can know, and keeps the builtins that it needs.

    Args:
        most: The most bytes of a value, as `sandbox_child.encoded` writes it. Fewer are counted than are written.
    """

    def __init__(self, most: int) -> None:
        self._name = f"_plain_{secrets.token_hex(8)}"
        self._most = most

    @property
    def definition(self) -> str:
        """The code that defines the check. It must come first."""
        return _CHECK.format(name=self._name)

    def around(self, expression: str) -> str:
        """Code for an expression. Its value is a pair: what is wrong with the value, or None, and then the value.

        What is wrong is empty if the value is too large.
        """
        value, why = f"{self._name}_value", f"{self._name}_why"
        given = f"{value} = (\n{expression.strip()}\n)\n{why} = {self._name}({value}, {self._most})\n"
        return f"{given}({why}, {value} if {why} is None else None)"

"""The syntax tree of a piece of Python, whatever else runs in the process at that time.

CPython 3.11's parser counts the depth of a tree in one place for the whole process. If the garbage collector runs in
between, and a finalizer or another thread parses too, the first parse ends with a `SystemError`, although its code is
right (python/cpython issue 106905). So that parse is done again.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 10
_ParsedT = TypeVar("_ParsedT")


def syntax_tree(code: str) -> ast.Module:
    """Parse statements as `ast.parse` does, and again if another parse disturbed it.

    Args:
        code: Statements of Python.

    Returns:
        The module's tree.

    Raises:
        SyntaxError: The code is no Python.
        ValueError: The code holds a null byte.
        RecursionError: The code is nested too deep. The parser says `MemoryError` for some of it.

    Example:
        >>> len(syntax_tree("a = 1; b = 2").body)
        2
    """
    return _undisturbed(lambda: ast.parse(code))


def expression_tree(code: str) -> ast.expr:
    """Parse one expression as `ast.parse` does, and again if another parse disturbed it.

    Args:
        code: One expression of Python.

    Returns:
        The expression's tree.

    Raises:
        SyntaxError: The code is no expression. The other errors are those of `syntax_tree`.

    Example:
        >>> type(expression_tree("a + 1")).__name__
        'BinOp'
    """
    return _undisturbed(lambda: ast.parse(code, mode="eval")).body


def symbol_table(code: str) -> symtable.SymbolTable:
    """Find the scopes of names as `symtable` does, and again if another parse disturbed it.

    Args:
        code: Statements of Python.

    Returns:
        The module's scope.

    Raises:
        SyntaxError: The code is no Python. The other errors are those of `syntax_tree`.

    Example:
        >>> [scope.get_name() for scope in symbol_table("def f(): pass").get_children()]
        ['f']
    """
    return _undisturbed(lambda: symtable.symtable(code, "code", "exec"))


def _undisturbed(parse: Callable[[], _ParsedT]) -> _ParsedT:
    for _ in range(_ATTEMPTS - 1):
        try:
            return parse()
        except SystemError:
            continue
    return parse()

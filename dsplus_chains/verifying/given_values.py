"""Which statements of a test the candidate needs, because they make what it is given."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from dsplus_chains.verifying.syntax_names import bound_by, changed_by, loaded_by

_BY_CHANCE = {"datetime", "random", "secrets", "time", "uuid"}
"""Modules whose values may be others in another sandbox."""


class SharedValueError(ValueError):
    """A value of a test holds what the candidate is given, and what is expected of it."""


def giving_statements(
    statements: Sequence[ast.stmt], asked: Sequence[ast.AST], judged: Sequence[ast.AST]
) -> list[ast.stmt]:
    """The statements that make what the candidate is given, and imports. What makes an expected value is left out.

    Args:
        statements: Those of a test in which nothing is the candidate's.
        asked: What is evaluated in the candidate's sandbox.
        judged: The assertions, with a name in the place of each expression that is asked.

    Raises:
        SharedValueError: The candidate would need a variable that what is expected is taken from too. One that is
            itself an argument may be, for the candidate gets its value anyway, unless it is drawn by chance.

    Example:
        >>> statements = ast.parse("x = 2; y = x + 1; wanted = 4").body
        >>> found = giving_statements(statements, [ast.parse("f(y)")], [ast.parse("_v0 == wanted")])
        >>> [ast.unparse(one) for one in found]
        ['x = 2', 'y = x + 1']
    """
    bound = {name for statement in statements for name in bound_by(statement)}
    needed = _traced(loaded_by(*asked) & bound, statements, bound)
    expected = _traced(loaded_by(*judged) & bound, statements, bound)
    imports = [one for one in statements if isinstance(one, ast.Import | ast.ImportFrom)]
    giving = [one for one in statements if one in imports or changed_by(one) & needed]
    held = {name for one in giving for name in changed_by(one)} - {name for one in imports for name in bound_by(one)}
    both = held & expected
    by_chance = {name for one in imports if _modules(one) & _BY_CHANCE for name in bound_by(one)}
    if apart := both if needed & by_chance else both - arguments_in(*asked):
        msg = f"{', '.join(sorted(apart))} holds both what is given and what is expected"
        raise SharedValueError(msg)
    return giving


def _modules(statement: ast.Import | ast.ImportFrom) -> set[str]:
    names = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else [one.name for one in statement.names]
    return {name.split(".")[0] for name in names}


def _traced(names: set[str], statements: Sequence[ast.stmt], bound: set[str]) -> set[str]:
    """The names, and all those that their values come from."""
    while more := {name for one in statements if changed_by(one) & names for name in loaded_by(one) & bound} - names:
        names |= more
    return names


def arguments_in(*nodes: ast.AST) -> set[str]:
    """The names that are arguments as they stand. What is called may change their values.

    Example:
        >>> sorted(arguments_in(ast.parse("f(a, b[0], key=c)")))
        ['a', 'c']
    """
    calls = [part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Call)]
    given = [argument for call in calls for argument in (*call.args, *(one.value for one in call.keywords))]
    return {argument.id for argument in given if isinstance(argument, ast.Name)}

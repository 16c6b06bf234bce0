"""Which names a piece of Python loads, binds or may change."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from dsplus_chains.verifying.syntax_tree import symbol_table


def names_in(node: ast.AST) -> set[str]:
    """All names in a piece of code."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def loaded_by(*nodes: ast.AST) -> set[str]:
    """The names whose values pieces of code use."""
    parts = (part for node in nodes for part in ast.walk(node))
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def free_in(statements: Sequence[ast.stmt]) -> set[str]:
    """The names that statements take from outside of their functions, classes and loops.

    Raises:
        SyntaxError: It is no Python, though it can be parsed.

    Example:
        >>> sorted(free_in(ast.parse("def g(x): return f(x) + y").body))
        ['f', 'y']
    """
    found: set[str] = set()
    tables = [symbol_table("\n".join(map(ast.unparse, statements)))]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        is_top = table.get_type() == "module"
        found |= {one.get_name() for one in table.get_symbols() if one.is_referenced() and (is_top or one.is_global())}
    return found


def bound_by(statement: ast.stmt) -> set[str]:
    """The names that a statement binds where it stands.

    Example:
        >>> sorted(bound_by(ast.parse("a, b = c").body[0]))
        ['a', 'b']
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    found = {part.id for part in ast.walk(statement) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    imports = [part for part in ast.walk(statement) if isinstance(part, ast.Import | ast.ImportFrom)]
    return found | {(alias.asname or alias.name).split(".")[0] for part in imports for alias in part.names}


def changed_by(statement: ast.stmt) -> set[str]:
    r"""The names that a statement binds, or whose values it may change.

    Example:
        >>> [sorted(changed_by(one)) for one in ast.parse("a = b\na[0] = b\na.append(b)").body]
        [['a'], ['a'], ['a', 'b']]
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return bound_by(statement)
    if isinstance(statement, ast.Assign):
        return {name for target in statement.targets for name in names_in(target)}
    return names_in(statement.target) if isinstance(statement, ast.AnnAssign) else names_in(statement)

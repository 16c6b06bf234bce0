"""Code whose lazy values stay lazy, for an interpreter that makes lists of them."""

from __future__ import annotations

import ast

from typing_extensions import override

from dsplus_chains.verifying.syntax_tree import syntax_tree

_LAZY = frozenset({"enumerate", "filter", "map", "reversed", "zip"})


def lazily(code: str) -> str:
    r"""The same code, in which what is an iterator in CPython is one.

    So ``return map(str, x)`` becomes ``return iter(map(str, x))``, which is no list.

    Args:
        code: Statements. Code that is no Python, or has no lazy value, is returned as it is.

    Example:
        >>> lazily("def f(x): return zip(x, (y for y in x))")
        'def f(x):\n    return iter(zip(x, iter((y for y in x))))'
        >>> lazily("def zip(x): return x")
        'def zip(x): return x'
    """
    try:
        tree: ast.AST = syntax_tree(code)
        bound = {name for node in ast.walk(tree) for name in _bound(node)}
        maker = _Maker(_LAZY - bound)
        tree = maker.visit(tree)
        return ast.unparse(ast.fix_missing_locations(tree)) if maker.is_used and "iter" not in bound else code
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code


class _Maker(ast.NodeTransformer):
    """Makes iterators of lazy values, but for what is added to a list in place."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.is_used = False

    @override
    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.AugAssign):
            self.generic_visit(node.value)
            return node
        self.generic_visit(node)
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._names
        if not isinstance(node, ast.expr) or not (is_call or isinstance(node, ast.GeneratorExp)):
            return node
        self.is_used = True
        return ast.Call(func=ast.Name(id="iter", ctx=ast.Load()), args=[node], keywords=[])


def _bound(node: ast.AST) -> set[str]:
    """The names that a node binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.alias):
        return {node.asname or node.name}
    return {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()

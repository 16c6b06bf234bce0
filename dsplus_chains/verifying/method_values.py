"""Code whose methods are used as values, written for an interpreter that only calls them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

from typing_extensions import override

from dsplus_chains.verifying.executor import Job, Outcome
from dsplus_chains.verifying.syntax_tree import expression_tree, syntax_tree


def called_methods(job: Job, outcomes: Iterable[Outcome]) -> Job | None:
    """The same job, in which a method that was lacking as a value is a function that calls it.

    So ``max(counts, key=counts.get)`` becomes ``max(counts, key=lambda *a: counts.get(*a))``.

    Args:
        job: A job that has been run.
        outcomes: What came of it.

    Returns:
        The job, or None if no method was lacking, or it is used as a value nowhere.

    Example:
        >>> lacking = Outcome(status="unsupported", detail="AttributeError: 'dict' object has no attribute 'get'")
        >>> called_methods(Job(steps=("max(d, key=d.get)",)), [lacking]).steps
        ('max(d, key=lambda *a: d.get(*a))',)
    """
    said = (re.match(r"AttributeError: '\w+' object has no attribute '(\w+)'", one.detail) for one in outcomes)
    names = {found[1] for found in said if found is not None}
    try:
        setup, steps = (tuple(_rewritten(piece, names) for piece in part) for part in (job.setup, job.steps))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    is_changed = names and any("lambda *a: " in piece for piece in (*setup, *steps))
    return Job(setup=setup, steps=steps, values=job.values) if is_changed else None


def _rewritten(piece: str, names: set[str]) -> str:
    return ast.unparse(_Caller(names).visit(syntax_tree(piece)))


class _Caller(ast.NodeTransformer):
    """Puts a function in the place of each method that is not called at once."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    @override
    def visit_Call(self, node: ast.Call) -> ast.Call:
        if isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
        else:
            node.func = self.visit(node.func)
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    @override
    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        of_self = isinstance(node.value, ast.Name) and node.value.id == "self"  # may be data of that name
        if node.attr not in self._names or of_self or not isinstance(node.ctx, ast.Load):
            return node
        function: Any = expression_tree("lambda *a: method(*a)")
        function.body.func = node
        called: ast.expr = function
        return called

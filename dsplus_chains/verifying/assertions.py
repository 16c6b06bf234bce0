"""How a test is cut in two, so that code cannot judge itself.

What belongs to the candidate is evaluated in the candidate's sandbox, and leaves it as plain values. The assertion is
judged elsewhere, by these values. So the candidate's sandbox holds no expected value, no assertion and no verdict.
There is nothing in it to forge. What it can do is to answer.
"""

from __future__ import annotations

import ast
import builtins
import copy
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from dsplus_chains.verifying.given_values import SharedValueError, arguments_in, giving_statements
from dsplus_chains.verifying.syntax_names import bound_by, free_in, names_in
from dsplus_chains.verifying.syntax_tree import expression_tree, syntax_tree

_SHAPING = {"dict", "frozenset", "iter", "len", "list", "next", "round", "set", "sorted", "str", "sum", "tuple"}
"""Builtins that turn a result into a plain one. They run beside the candidate, which learns nothing by that."""
_BUILTINS = frozenset(dir(builtins))
_ASKING = frozenset(
    name
    for kind in (str, bytes, float, set, list, dict)
    for name in dir(kind)
    if name.startswith("is") or name in {"startswith", "endswith", "__eq__", "__ne__", "__contains__"}
)
"""Methods by which plain values answer with yes or no. An object of the candidate's would always say yes."""


class UnjudgeableError(ValueError):
    """A test that cannot be cut in two."""


@dataclass(frozen=True, kw_only=True)
class CutTest:
    """A test in two parts.

    Args:
        asked: Expressions and statements for the candidate's sandbox, in order.
        names: Name of the value of each expression in `asked`. None for a statement.
        judged: Expressions and statements for elsewhere, over these names.
    """

    asked: tuple[str, ...]
    names: tuple[str | None, ...]
    judged: tuple[str, ...]


def cut_test(
    test: str, *, known: Collection[str] = (), entry_points: Collection[str] = (), prefix: str = "_v"
) -> CutTest:
    """Cut a test in two.

    A name is the candidate's if it is neither a builtin nor known. So is an expression that begins with such a name.
    So is a variable of the test that a statement with such a name binds, or gives as an argument. What an argument of
    the candidate's is made of is done in both parts. Each part has its own copy, so that a candidate changes no
    expected value.

    Args:
        test: Statements with at least one ``assert``. A function ``def check(candidate)`` that is called once is taken
            apart. One that nothing calls is called with the one entry point, as HumanEval's runner does. So is
            ``def test_this()``, as pytest does.
        known: Names that the prelude binds.
        entry_points: Names that are the candidate's although they are builtins or known.
        prefix: Start of the names of values.

    Raises:
        UnjudgeableError: It is no Python, or asserts nothing. Or an assertion is inside of a block, or depends on the
            candidate in another way than by a value.

    Example:
        >>> cut = cut_test("assert sorted(f(2)) == [1, 2]")
        >>> cut.asked, cut.judged
        (('sorted(f(2))',), ('_v0 == [1, 2]',))
    """
    try:
        body = _flat(_with_calls(syntax_tree(test).body, entry_points))
        free = free_in(body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        msg = f"the test is no Python ({error})"
        raise UnjudgeableError(msg) from error
    others = [statement for statement in body if not isinstance(statement, ast.Assert)]
    if len(others) == len(body) or any(isinstance(node, ast.Assert) for one in others for node in ast.walk(one)):
        msg = "it has no assertion of its own, but for those inside of a block"
        raise UnjudgeableError(msg)
    bound = {name for statement in others for name in bound_by(statement)}
    own = free - bound - (_BUILTINS | set(known)) | set(entry_points)
    modules = _modules(body) & own - set(entry_points)
    body = [*(ast.Import(names=[ast.alias(name=name)]) for name in sorted(modules)), *body]
    own -= modules
    while grown := {name for one in others if names_in(one) & own for name in _handed_over(one) & bound} - own:
        own |= grown
    giving = _giving(body, own)
    asked: list[str] = []
    names: list[str | None] = []
    judged: list[str] = []
    for statement in body:
        if isinstance(statement, ast.Assert):
            cutter = _Cutter(own, prefix, asked, names, _inner(statement.test))
            judged.append(ast.unparse(cutter.visit(statement.test)))
            continue
        # The value of a call that stands alone, such as of `print`, says nothing.
        piece = (f"{prefix}said = " if isinstance(statement, ast.Expr) else "") + ast.unparse(statement)
        is_own = bool(names_in(statement) & own)
        if is_own or statement in giving:
            asked.append(piece)
            names.append(None)
        if not is_own:
            judged.append(piece)
    return CutTest(asked=tuple(asked), names=tuple(names), judged=tuple(judged))


def _handed_over(statement: ast.stmt) -> set[str]:
    """The names that are the candidate's after a statement of its own."""
    return bound_by(statement) | arguments_in(statement)


def _giving(body: Sequence[ast.stmt], own: set[str]) -> list[ast.stmt]:
    """The statements that are nobody's, but that the candidate's arguments may need.

    Raises:
        UnjudgeableError: An expected value is in one of them, too.
    """
    parts: list[str] = []
    tests = [copy.deepcopy(one.test) for one in body if isinstance(one, ast.Assert)]
    judged = [_Cutter(own, "_v", parts, [], _inner(test)).visit(test) for test in tests]
    others = [one for one in body if not isinstance(one, ast.Assert)]
    asked = [*map(expression_tree, parts), *(one for one in others if names_in(one) & own)]
    try:
        return giving_statements([one for one in others if not names_in(one) & own], asked, judged)
    except SharedValueError as error:
        raise UnjudgeableError(str(error)) from error


def judged_here(expression: str, values: dict[str, Any]) -> bool | None:
    """Whether an assertion holds, if it only compares values with literals. None if it does more.

    Example:
        >>> judged_here("_v0 == [1, 2]", {"_v0": [1, 2]}), judged_here("abs(_v0) < 1", {"_v0": 0})
        (True, None)
    """
    node: ast.expr = expression_tree(expression)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = judged_here(ast.unparse(node.operand), values)
        return None if inner is None else not inner
    try:
        if not isinstance(node, ast.Compare):
            return bool(_plain(node, values))
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            is_equal = _plain(node.left, values) == _plain(node.comparators[0], values)
            return bool(is_equal) == isinstance(node.ops[0], ast.Eq)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None
    return None


def bound_names(code: str) -> set[str]:
    """The names that a piece of code binds at its top level."""
    return {name for statement in syntax_tree(code).body for name in bound_by(statement)}


def _plain(node: ast.expr, values: dict[str, Any]) -> Any:
    return values[node.id] if isinstance(node, ast.Name) and node.id in values else ast.literal_eval(node)


class _Cutter(ast.NodeTransformer):
    """Puts a name in the place of each expression that is the candidate's."""

    def __init__(self, own: set[str], prefix: str, asked: list[str], names: list[str | None], inner: set[str]) -> None:
        self._own, self._prefix, self._asked, self._names, self._inner = own, prefix, asked, names, inner

    @override
    def visit(self, node: ast.AST) -> Any:
        method = _question(node)
        if method is not None:
            method.value = self.visit(method.value)
            for part in ("args", "keywords"):
                setattr(node, part, [self.visit(one) for one in getattr(node, part)])
            return node
        if not (isinstance(node, ast.expr) and self._is_own(node)):
            return self.generic_visit(node)
        if free_in([ast.Expr(node)]) & self._inner:
            msg = f"{ast.unparse(node)} depends on a loop inside of the assertion"
            raise UnjudgeableError(msg)
        name = f"{self._prefix}{len(self._asked)}"
        self._asked.append(ast.unparse(node))
        self._names.append(name)
        return ast.copy_location(ast.Name(id=name, ctx=ast.Load()), node)

    def _is_own(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._own
        if isinstance(node, ast.Attribute | ast.Subscript):
            return self._is_own(node.value)
        if not isinstance(node, ast.Call) or _question(node):
            return False
        is_shaping = isinstance(node.func, ast.Name) and node.func.id in _SHAPING and len(node.args) > 0
        return self._is_own(node.func) or (is_shaping and self._is_own(node.args[0]))


def _question(node: ast.AST) -> ast.Attribute | None:
    """The method, if something is asked that a plain value can answer elsewhere, such as ``f(x).isdigit()``."""
    method = node.func if isinstance(node, ast.Call) else None
    return method if isinstance(method, ast.Attribute) and method.attr in _ASKING else None


def _with_calls(body: list[ast.stmt], entry_points: Collection[str]) -> list[ast.stmt]:
    """The statements of a test, and a call of each check in it that a runner would call."""
    used = {node.id for one in body for node in ast.walk(one) if isinstance(node, ast.Name)}
    calls: list[str] = []
    for check in _checks(body):
        parameters = len(check.args.args)
        if check.decorator_list or check.args.defaults:
            continue
        if check.name not in used and parameters == 0 and check.name.startswith("test"):
            calls.append(f"{check.name}()")
        elif check.name == "check" and check.name not in used and parameters == len(entry_points) == 1:
            calls.append(f"{check.name}({next(iter(entry_points))})")
    return [*body, *(ast.Expr(expression_tree(call)) for call in calls)]


def _checks(body: list[ast.stmt]) -> list[ast.FunctionDef]:
    return [one for one in body if isinstance(one, ast.FunctionDef) and _asserts(one)]


def _flat(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a test, with those of a check function in the place of its call."""
    checks = {one.name: one for one in _checks(body)}
    flat: list[ast.stmt] = []
    for statement in body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        check = checks.get(call.func.id) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None
        if isinstance(statement, ast.FunctionDef) and statement.name in checks:
            continue
        if check is None or not isinstance(call, ast.Call):
            flat.append(statement)
            continue
        given = {parameter.arg: value for parameter, value in zip(check.args.args, call.args, strict=False)}
        given |= {named.arg: named.value for named in call.keywords if named.arg is not None}
        flat += [_Renamer(given).visit(one) for one in check.body]
    return [one for statement in flat for one in _apart(statement)]


def _apart(statement: ast.stmt) -> list[ast.stmt]:
    """``a, b = x, y`` as two statements, so that an expected value stands apart from what the candidate is asked."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return [statement]
    target, value = statement.targets[0], statement.value
    if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)):
        return [statement]
    if not all(isinstance(one, ast.Name) for one in target.elts) or names_in(target) & names_in(value):
        return [statement]
    pairs = zip(target.elts, value.elts, strict=True)
    return [ast.Assign(targets=[one], value=other, lineno=statement.lineno) for one, other in pairs]


class _Renamer(ast.NodeTransformer):
    """Puts arguments in the place of a function's parameters."""

    def __init__(self, given: dict[str, ast.expr]) -> None:
        self._given = given

    @override
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._given.get(node.id, node)


def _asserts(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Assert) for part in ast.walk(node))


def _modules(nodes: Sequence[ast.AST]) -> set[str]:
    """The modules of the standard library that are used as such. The test may have forgotten to import them."""
    parts = (part.value for node in nodes for part in ast.walk(node) if isinstance(part, ast.Attribute))
    return {part.id for part in parts if isinstance(part, ast.Name)} & sys.stdlib_module_names


def _inner(node: ast.AST) -> set[str]:
    """The names that loops and lambdas inside of an expression bind."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Lambda):
            found |= {arg.arg for arg in ast.walk(part.args) if isinstance(arg, ast.arg)}
        elif isinstance(part, ast.comprehension | ast.NamedExpr):
            found |= names_in(part.target)
    return found

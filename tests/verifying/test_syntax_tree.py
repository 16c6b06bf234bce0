"""Parsing is right while another parse runs in between."""

import ast
import gc
from collections.abc import Callable

import pytest

from dsplus_chains.verifying.syntax_tree import expression_tree, syntax_tree


class ParsesAtItsEnd:
    """Garbage that the collector alone can free, and that parses when it does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("a + 1")


def parse_beside_another(parse: Callable[[str], ast.AST]) -> ast.AST:
    code = f"[{','.join(['(((1+2)))'] * 100)}]"
    threshold = gc.get_threshold()
    gc.collect()
    try:
        gc.set_threshold(300, 1000, 1000)  # the tree holds more objects than that
        ParsesAtItsEnd()
        return parse(code)
    finally:
        gc.set_threshold(*threshold)


@pytest.mark.parametrize(("parse", "mode"), [(syntax_tree, "exec"), (expression_tree, "eval")])
def test_a_parse_in_between_disturbs_nothing(parse: Callable[[str], ast.AST], mode: str) -> None:
    tree = parse_beside_another(parse)
    expected = ast.parse(ast.unparse(tree), mode=mode)
    assert ast.dump(tree) == ast.dump(expected if mode == "exec" else expected.body)


@pytest.mark.parametrize("code", ["f(", "a = 1; b = 2", "return\0"])
def test_what_is_no_expression_is_told_as_the_parser_tells_it(code: str) -> None:
    with pytest.raises((SyntaxError, ValueError)) as expected:
        ast.parse(code, mode="eval")
    with pytest.raises(type(expected.value)) as got:
        expression_tree(code)
    assert str(got.value) == str(expected.value)


def test_an_error_of_the_parser_that_stays_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> ast.AST:
        msg = "a new one"
        raise SystemError(msg)

    monkeypatch.setattr(ast, "parse", broken)
    with pytest.raises(SystemError, match="a new one"):
        syntax_tree("a")

"""How the house is built: nothing is written twice, no module is too long, no name is taken twice."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from statistics import median
from types import FunctionType

import dsplus_chains

PACKAGE = Path(dsplus_chains.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")

TWINS = {
    "running/flow.py": "requests, which are called or awaited",
    "running/drivers.py": "the two drivers",
    "running/each.py": "requests of single rows, which are called or awaited",
    "running/batch_runnable.py": "LangChain's own entry points, over one flow",
    "running/configurable.py": "LangChain's own entry points, over one flow",
    "running/sequence.py": "LangChain's own entry points, over one flow",
    "corpus/batch_chat.py": "LangChain's own entry points of a chat model, over one flow",
    "integrations/chain_chat.py": "LangChain's own entry points of a chat model, over one flow",
    "integrations/chat_arms.py": "LangChain's own entry points of a chat model",
    "integrations/scorer_decision.py": "LangChain's own entry points of a decision model",
    "integrations/shunt_middleware.py": "LangChain's own entry points of a middleware",
    "planning/planner.py": "`plan` and `aplan`, over one flow",
    "prompting/exemplar_retriever.py": "LangChain's own entry points of a retriever",
    "prompting/text_parser.py": "LangChain's own entry points of a parser",
}
"""Where a function may stand both as it is called and as it is awaited, and why."""


def functions(tree: ast.AST) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with the name of the class that it stands in."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            owner = getattr(node, "name", "")
            found += [(owner, part) for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    return found


def stem(name: str) -> str:
    return name.lstrip("_")


def test_no_function_is_written_for_sync_and_for_async():
    twins: dict[str, list[str]] = {}
    for path in MODULES:
        found = functions(ast.parse(path.read_text()))
        plain = {(owner, stem(part.name)) for owner, part in found if isinstance(part, ast.FunctionDef)}
        for owner, part in found:
            if not isinstance(part, ast.AsyncFunctionDef):
                continue
            other = stem(part.name).removeprefix("a")
            if (owner, other) in plain:
                twins.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(part.name)
    assert set(twins) <= set(TWINS), {name: twins[name] for name in set(twins) - set(TWINS)}
    assert set(twins) == set(TWINS), f"no longer needed: {set(TWINS) - set(twins)}"


def test_async_functions_stand_only_where_twins_may():
    """A twin under another name would pass the test above."""
    asynchronous = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert asynchronous <= set(TWINS)


def test_modules_are_short_and_each_is_called_something_else():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert {path.name: length for path, length in lengths.items() if length > 300} == {}
    assert median(lengths.values()) <= 125
    names = [path.name for path in MODULES]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_rooms_are_few_and_none_is_loose():
    found = list(iter_modules(dsplus_chains.__path__))
    assert sum(module.ispkg for module in found) <= 22
    assert [module.name for module in found if not module.ispkg] == ["__main__", "chain", "task"]


def test_no_public_function_shares_its_name_with_a_module():
    """Importing a submodule sets it on its package, in place of a function of that name."""
    rooms = [module.name for module in iter_modules(dsplus_chains.__path__, "dsplus_chains.") if module.ispkg]
    for home in [dsplus_chains, *map(import_module, rooms)]:
        modules = {module.name for module in iter_modules(home.__path__)}
        public = [name for name in dir(home) if isinstance(getattr(home, name), FunctionType)]
        assert not modules & set(public), home


def test_readme_and_notebooks_import_public_names_only():
    import re

    root = PACKAGE.parent
    shown = [root / "README.md", root / "notebooks" / "README.md", *sorted((root / "notebooks").glob("*.ipynb"))]
    for path in shown:
        for module in re.findall(r"from (dsplus_chains[\w.]*) import", path.read_text()):
            assert module.count(".") <= 1, f"{path.name} imports from {module}"

"""What the README and the notebooks show is what happens."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pytest_examples import CodeExample, EvalExample, find_examples

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [str(ROOT / "README.md"), str(ROOT / "notebooks" / "README.md")]
SNIPPETS = [found for found in find_examples(*PAGES) if found.prefix.startswith("python")]


@pytest.mark.local
@pytest.mark.parametrize("example", SNIPPETS, ids=str)
def test_a_page_runs_as_pasted(example: CodeExample, eval_example: EvalExample):
    assert eval_example.run_print_check(example), "it names nothing"


@pytest.mark.local
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter's own machinery
def test_a_notebook_runs_and_its_outputs_are_committed(path: Path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code), "commit it with its outputs"
    assert len(path.read_bytes()) < 500_000, "outputs should be small"
    committed = [_text(cell) for cell in code]
    limits = {"timeout": 1800, "startup_timeout": 600, "iopub_timeout": 60}  # a busy machine is late with outputs too
    NotebookClient(notebook, **limits, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert [_text(cell) for cell in code] == committed


def _text(cell) -> str:
    """What a cell printed or returned, as text."""
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    names = [output.get("name") for output in cell.outputs]
    return "".join(text for text, name in zip(shown, names, strict=True) if name != "stderr")


def test_no_file_names_a_machine_or_an_index():
    import re
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    hosts = re.compile("|".join(["index" + "-url", "/" + "root/", "/" + "work/", "file:" + "///"]))
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".txt", ".ipynb", ""} and "tests/" not in name:
            assert not hosts.search(path.read_text(errors="ignore")), name

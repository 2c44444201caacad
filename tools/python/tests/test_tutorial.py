"""The tutorial runs as it is written. It needs Jupyter's packages and matplotlib; its cells of PyTorch run where that is."""

import importlib.util

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("matplotlib")

TORCH = ["torch", "torch_pruning", "ssl_train"]


def test_it_runs(tmp_path):
    book = nbformat.read(ROOT / "docs/tutorial.ipynb", as_version=4)
    nbformat.validate(book)
    absent = [name for name in TORCH if importlib.util.find_spec(name) is None]
    if absent:
        book.cells = [cell for cell in book.cells if "torch" not in cell.metadata.get("tags", [])]
        print(f"NOT TESTED on this machine: the tutorial's cells of PyTorch (no {', '.join(absent)})")
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(ROOT / "docs")}}).execute()
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert sum("table" in str(cell.outputs) for cell in code) >= 3

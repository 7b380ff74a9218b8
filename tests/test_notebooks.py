"""Notebooks run from top to bottom in a new kernel, and are stored with their outputs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.filterwarnings("ignore")  # the kernel's libraries warn
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("EVOPRUNE_QUICK", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own backend shows images
    if "import torch" in path.read_text():
        pytest.importorskip("torch")
    book = read(path)
    client = nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert not [name for name in os.listdir(tmp_path) if not name.endswith(".safetensors")]  # noqa: PTH208


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path):
    book = read(path)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code" and cell.source]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert "error" not in kinds
    assert "display_data" in kinds
    assert path.stat().st_size < 1 << 20
    text = path.read_text()
    assert "stderr" not in text


def printed(path):
    """Return what the stored outputs print after "predicted:" and, in the next line, "labels:"."""
    text = "\n".join(
        "".join(output.get("text", ""))
        for cell in read(path).cells
        for output in cell.get("outputs", [])
    )
    return re.findall(r"^predicted: +(.*)\nlabels: +(.*)$", text, re.M)


def test_printed_predictions_equal_the_labels():
    count = 0
    for path in NOTEBOOKS:
        for predicted, labels in printed(path):
            assert predicted == labels, path.name
            count += 1
    assert count >= 3


def test_accuracies_are_those_of_a_network_that_learned():
    for path in NOTEBOOKS:
        text = path.read_text()
        shares = [float(share) for share in re.findall(r"accuracy=(\d+\.\d+)%", text)]
        assert all(share > 90 for share in shares), path.name


def test_all_notebooks_exist():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]

"""Run notebooks from top to bottom in clean kernels and store them with their outputs.

    python tools/run_notebooks.py                    all of notebooks/
    python tools/run_notebooks.py notebooks/01*      some

Images are stored with at most 128 colors, which is enough for plots and keeps a notebook under a
megabyte.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
COLORS = 128


def smaller(png: str) -> str:
    """Return a base64-encoded PNG with at most COLORS colors."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    to = io.BytesIO()
    few = picture.quantize(COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(to, "PNG", optimize=True)
    return base64.b64encode(to.getvalue()).decode() + "\n"


def run(path: Path) -> None:
    """Execute a notebook in an empty folder and write it back."""
    book: Any = nbformat.read(path, as_version=4)
    metadata = dict(book.metadata)
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            book, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    book.metadata.clear()
    book.metadata.update(metadata)
    store(book, path)


def store(book: Any, path: Path) -> None:
    """Write a notebook with small images and without the execution times of its cells."""
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    nbformat.write(book, path)


def main() -> None:
    """Run and store the notebooks given on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--store", action="store_true", help="as they are, without running them")
    options = parser.parse_args()
    os.environ.pop("MPLBACKEND", None)  # the kernel's default backend stores images
    os.environ.pop("EVOPRUNE_QUICK", None)
    for path in options.files or sorted(FOLDER.glob("*.ipynb")):
        if options.store:
            store(nbformat.read(path, as_version=4), path)
        else:
            run(path)


if __name__ == "__main__":
    main()

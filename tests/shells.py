"""Helpers for the tests of the command line: a small data set, a run, a process."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evoprune as ep
from evoprune.shell import cli

ROOT = Path(ep.__file__).resolve().parents[1]


def write_idx(path, array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())


def make_folder(root):
    """Write a small data set like MNIST: 600 training and 200 test images of 6 x 6 pixels."""
    random = np.random.default_rng(0)
    shapes = random.integers(0, 256, (10, 6, 6))
    for part, n in (("train", 600), ("t10k", 200)):
        labels = random.integers(0, 10, n).astype(np.uint8)
        images = np.clip(shapes[labels] + random.normal(0, 60, (n, 6, 6)), 0, 255)
        write_idx(root / f"{part}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(root / f"{part}-labels-idx1-ubyte", labels)
    return root


def run(*arguments):
    """Run the command line in a new process."""
    return subprocess.run(
        [sys.executable, "-m", "evoprune", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


HEAD = ["epoch", "loss", "accuracy", "validation", "living", "upkeep", "ms/step"]
TRAIN = (
    "--widths",
    "24,16",
    "--epochs",
    "12",
    "--batch",
    "20",
    "--pressure",
    "1",
    "--lifespan",
    120,
)


def make_run(folder, root):
    """Train once; return (printed text, folder of results)."""
    out = root / "deep" / "run"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *a, **k: lines.append(" ".join(map(str, a))))
        status = cli.main(["train", str(folder), *map(str, TRAIN), "--out", str(out)])
    assert status == 0
    return "\n".join(lines), out


def env():
    return os.environ | {"PYTHONPATH": str(ROOT)}

"""Every example runs in a folder of its own, with warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import scripts
import shells

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))
NEEDS = {
    "data_parallel": ["mpi4py"],
    "export_models": ["onnx", "onnxruntime", "onnxscript", "torch"],
    "fetch_data": ["pooch"],
    "mlflow_runs": ["mlflow"],
    "optuna_journal": ["optuna"],
    "sklearn_grid": ["sklearn"],
    "sweep_pressure": ["joblib", "pandas"],
    "trackers": ["tensorboardX"],
    "wandb_offline": ["wandb"],
}
# Prevent downloads: connections to a proxy that does not exist fail at once.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch):
    for library in NEEDS.get(path.stem, []):
        if find_spec(library) is None:
            pytest.skip(f"needs {library}")
    monkeypatch.chdir(tmp_path)
    here = {"EVOPRUNE_CACHE": str(tmp_path / "cache"), "MPLBACKEND": "Agg"}
    assert scripts.run_file(path, timeout=300, **here, **OFFLINE).strip()


@pytest.mark.slow
def test_the_commands_of_the_shell_example_run(tmp_path):
    pytest.importorskip("joblib")
    (tmp_path / "evoprune").write_text(f'#!/bin/sh\nexec {sys.executable} -m evoprune "$@"\n')
    (tmp_path / "evoprune").chmod(0o755)
    done = subprocess.run(
        ["bash", str(EXAMPLES[0].parent / "command_line.sh")],
        cwd=tmp_path,
        env=shells.env() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("0,a\n1,a")
    for name in ("digits.c", "epochs.csv", "classes.csv", "first/metrics.json"):
        assert (tmp_path / "runs" / name).stat().st_size > 100


def test_there_are_examples():
    assert EXAMPLES

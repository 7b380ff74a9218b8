"""Every example runs in a folder of its own, with warnings as errors."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import scripts

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
# Nothing is downloaded: a proxy that does not exist refuses at once.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch):
    for library in NEEDS.get(path.stem, []):
        if find_spec(library) is None:
            pytest.skip(f"needs {library}")
    monkeypatch.chdir(tmp_path)
    here = {"EVOPRUNE_CACHE": str(tmp_path / "cache"), "MPLBACKEND": "Agg"}
    assert scripts.run_file(path, timeout=300, **here, **OFFLINE).strip()


def test_there_are_examples():
    assert EXAMPLES

"""Importing the package is quick and imports no library but NumPy."""

from __future__ import annotations

import scripts

# Packages that dependencies and extras install, except NumPy.
LATER = {
    "matplotlib", "tqdm", "safetensors", "rich",
    "sklearn", "scipy", "torch", "onnx", "onnxruntime", "onnxscript", "joblib", "dask",
    "distributed", "ray", "mpi4py", "optuna", "pooch", "requests", "tensorboard", "tensorboardX",
    "mlflow", "wandb", "shtab", "pandas", "polars", "pyarrow", "xarray", "cloudpickle",
    "IPython", "ipywidgets", "lightning", "transformers",
}  # fmt: skip


def test_importing_is_quick_and_light():
    code = """
        import sys, time
        begin = time.process_time()
        import evoprune
        took = time.process_time() - begin
        print(took, *sorted({name.partition(".")[0] for name in sys.modules}))
    """
    took, *modules = scripts.run(code).split()
    assert "numpy" in modules
    assert not LATER & set(modules)
    assert float(took) < 1.0  # processor seconds; 0.25 on an idle machine


def test_the_command_line_needs_no_library_to_parse_arguments():
    code = """
        import sys
        from evoprune.shell import cli
        assert cli.main(["data", "nothing"]) == 2
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """
    assert not LATER & set(scripts.run(code).split())

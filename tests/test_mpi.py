"""Data-parallel training with MPI: several processes equal one process with the whole batch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import ranks_cases as cases

HERE = Path(__file__).parent
BESIDE = Path(sys.executable).parent / "mpiexec"  # from the wheel of mpich
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
if MPIEXEC is None or find_spec("mpi4py") is None:
    pytest.skip("there is no mpi4py with an mpiexec", allow_module_level=True)


def launch(case: str, ranks: int, folder: Path) -> tuple[int, str]:
    """Run the ranks; return exit status and all output."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [MPIEXEC, "-n", str(ranks), sys.executable, HERE / "mpi_rank.py", case, folder],
        env={**os.environ, "PYTHONPATH": path, "EVOPRUNE_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("case", ["plain", "batch norm", "overlap"])
def test_processes_equal_one_process_with_the_whole_batch(case, ranks, tmp_path):
    network, history = cases.run(case)
    status, text = launch(case, ranks, tmp_path)
    assert status == 0, text
    for rank in range(ranks):
        found = np.load(tmp_path / f"{rank}.npz")
        for name in network:
            np.testing.assert_allclose(found[f"array {name}"], network[name], rtol=0, atol=1e-11)
        for name in cases.COLUMNS:
            np.testing.assert_allclose(found[f"column {name}"], history[name], rtol=0, atol=1e-11)


def test_ctrl_c_on_one_rank_stops_all(tmp_path):
    status, text = launch("interrupted", 2, tmp_path)
    assert status == 0, text
    results = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    assert all(result["interrupted"] for result in results)
    assert 2 < results[0]["epochs"] == results[1]["epochs"] < cases.EPOCHS


def test_an_error_on_one_rank_is_raised_on_all(tmp_path):
    status, text = launch("fails", 2, tmp_path)
    assert status == 0, text
    assert (tmp_path / "0.txt").read_text() == "OSError: the disk is full"
    assert "rank 0: OSError: the disk is full" in (tmp_path / "1.txt").read_text()


def test_a_rank_that_cannot_go_on_ends_all(tmp_path):
    status, text = launch("dies", 2, tmp_path)
    assert status != 0
    assert "MemoryError: no memory left" in text
    assert "rank 0 has failed; all ranks are ended" in text


def test_unlike_networks_are_refused(tmp_path):
    status, text = launch("differs", 2, tmp_path)
    assert status == 0, text
    for rank in range(2):
        assert "communicator: the network differs" in (tmp_path / f"{rank}.txt").read_text()

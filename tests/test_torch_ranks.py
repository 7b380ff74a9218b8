"""Two processes that train one model by DistributedDataParallel equal one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

import torch_ranks  # noqa: E402

HERE = Path(__file__).parent


def launch(variant: str, folder: Path) -> list[dict]:
    """Run two ranks; return what each has written."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"}
    script = str(HERE / "torch_ranks.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), "2", folder / "meet", variant, folder / str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        texts = [process.communicate(timeout=240)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(texts)
    return [torch.load(folder / str(rank), weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("variant", ["plain", "images", "views", "unused static", "sync"])
def test_two_ranks_live_the_life_of_one_process(variant, tmp_path):
    first, second = launch(variant, tmp_path)
    assert first["deaths"] == second["deaths"]
    assert first["compactions"] > 0
    for a, b in zip(first["parameters"], second["parameters"], strict=True):
        assert torch.equal(a, b)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = torch_ranks.train(variant, 0, 1)
    torch.set_num_threads(threads)
    assert alone["deaths"] == first["deaths"]
    np.testing.assert_allclose(
        (np.array(first["losses"]) + second["losses"]) / 2, alone["losses"], rtol=1e-9
    )


def test_ranks_that_disagree_stop_with_an_error(tmp_path):
    for result in launch("disagree", tmp_path):
        assert "expected the same populations alive" in result["error"]

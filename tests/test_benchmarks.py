"""Benchmarks: the docs contain their report, and their scripts can be imported."""

from __future__ import annotations

import ctypes
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import evoprune as ep

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("bench_*.py"))
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="an archive without benchmarks")


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    ep.set_threads(None)  # a benchmark may have set the number


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_imported_and_has_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        __import__(name).main()
    assert ended.value.code == 0
    assert "--quick" in capsys.readouterr().out


def test_the_docs_hold_the_report_of_the_results():
    import report

    paths = {name: BENCHMARKS / "results" / f"{name}.json" for name in report.TITLES}
    found = {name: json.loads(path.read_text()) for name, path in paths.items()}
    assert (ROOT / "docs" / "benchmarks.md").read_text() == report.whole(found)
    assert f"\n{report.brief(found)}\n" in (ROOT / "README.md").read_text()


def test_every_plot_is_timed():
    import bench_costs

    drawn = {name for name in ep.plot.__all__ if name[0].islower()} - {"style"}
    assert set(bench_costs.PICTURES) == drawn


def test_our_training_is_timed_with_and_without_selection():
    import ours

    x = np.random.default_rng(0).random((32, 12), np.float32)
    data = ep.datasets.arrays(x, np.arange(32) % 3)
    for selected in (True, False):
        net = ep.mlp(12, 8, 3)
        before = net["dense1.weight"].copy()
        ours.training("ours", net, data, 8, 1, selected=selected).run(2)
        assert net.step == 2
        assert not np.array_equal(net["dense1.weight"], before)


def test_the_peers_of_pytorch_train(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs evoprune[torch]")
    monkeypatch.setattr(sys, "argv", ["peers.py"])
    import peers

    random = np.random.default_rng(0)
    data = {"x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "shift": 0.5, "scale": 2.0}
    np.save(data["x"], random.random((64, 12, 12, 1), np.float32))
    np.save(data["y"], random.integers(0, 10, 64))
    of = {"batch": 16, "data": data, "decay": 0.1, "rate": 1e-3}
    for gather in (True, False):
        peers.PEERS["torch_step"]([144, 8, 10], gather=gather, **of)(5)
    shape = {"input": (12, 12, 1), "filters": [3], "neurons": 6}
    for last in (True, False):
        peers.PEERS["torch_layers"]("cnn", shape, channels_last=last, **of)(5)
    fitted = peers.PEERS["torch_fit"]([144, 8, 10], epochs=2, test=data, seed=0, **of)
    assert len(fitted["accuracy"]) == 2


@pytest.mark.slow
def test_the_floor_is_compiled_and_runs():
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    import floor

    loaded = floor.library()
    made = floor.Floor(loaded, None, threads=1).mlp((30, 20, 10), batch=16, seconds=0.001)
    made._arrays["x0"][:] = np.arange(16 * 30)
    made.run(1)
    first = next(p for p in made.plan if p.c == "x1")
    w = made._arrays["w0"].reshape((20, 30) if first.turn_b else (30, 20))
    expected = made._arrays["x0"].reshape(16, 30) @ (w.T if first.turn_b else w)
    assert np.allclose(made._arrays["x1"].reshape(16, 20), expected, rtol=1e-4)
    assert isinstance(loaded, ctypes.CDLL)

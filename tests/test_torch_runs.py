"""The PyTorch bridge over whole runs: averages, checkpointing, compile, budgets, the history."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from test_torch_loops import QUICK, plain, task  # noqa: E402
from torch import nn  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


def test_an_average_of_weights_follows():
    model = torch_models.ResNet()
    x = torch_models.images()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    evolution = ept.Evolution(model, optimizer, x, QUICK)
    evolution.follow(average)
    for _ in range(60):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        average.update_parameters(model)
    assert evolution.compactions
    evolution.close()
    for mine, theirs in zip(model.parameters(), average.module.parameters(), strict=True):
        assert mine.shape == theirs.shape
    assert average.module.stem.out_channels == model.stem.out_channels
    average.eval()
    assert average(x).isfinite().all()


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch_models.mlp()

    def forward(self, x):
        from torch.utils.checkpoint import checkpoint

        return checkpoint(self.net, x, use_reentrant=False)


def test_checkpointing_gives_the_same():
    losses = []
    for make in (torch_models.mlp, Checkpointed):
        torch.manual_seed(0)
        model = make().double()
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        evolution = ept.Evolution(model, optimizer, task()[0][:2], QUICK)
        losses.append(plain(model, optimizer))
        assert evolution.compactions
    np.testing.assert_allclose(*losses, rtol=1e-12)


COMPILERS = [os.environ.get("CXX", "g++"), "clang++"]  # inductor writes C++ for the CPU


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_model_is_compiled_anew_at_removals_only(backend):
    from torch._dynamo.testing import CompileCounterWithBackend

    if backend == "inductor" and not any(map(shutil.which, COMPILERS)):
        pytest.skip("needs a C++ compiler")
    counter = CompileCounterWithBackend(backend)
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        torch._dynamo.reset()
        model = torch_models.mlp().double()
        forward = torch.compile(model, backend=counter) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        patience = 20.0 if backend == "inductor" else 3.0  # a compilation takes some 20 seconds
        evolution = ept.Evolution(forward, optimizer, task()[0][:2], QUICK, patience=patience)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses.append(plain(forward, optimizer))
    np.testing.assert_allclose(*losses, rtol=1e-9)
    assert evolution.compactions
    assert counter.frame_count == evolution.compactions + 1


def test_a_budget_leads_to_its_size():
    model = torch_models.mlp(20, (64, 48), 4)
    x, _ = task(torch.float32)
    steps = 500
    selection = ep.Selection(ep.Budget(macs=0.3), dynamics=ep.Malthusian(lifespan=30), min_age=10)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    evolution = ept.Evolution(model, optimizer, x[:2], selection, steps=steps)
    plain(model, optimizer, steps, torch.float32)
    evolution.close()
    share = evolution.macs / evolution.founding_macs
    assert 0.15 < share <= 0.33, share


def test_the_history_has_what_pictures_need(tmp_path):
    import matplotlib.pyplot as plt

    model = torch_models.mlp()
    x, _ = task(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    evolution = ept.Evolution(model, optimizer, x[:2], QUICK, steps=80)
    for _ in range(4):
        losses = plain(model, optimizer, 20, torch.float32)
        evolution.log(loss=float(np.mean(losses)), validation_accuracy=0.5)
    evolution.close()
    history = evolution.history
    assert history["alive"][-1] == sum(evolution.alive.values())
    assert history["step"].tolist() == [20, 40, 60, 80]
    assert history["macs"][-1] == evolution.macs
    assert len(history.record_steps) == 80
    last = history.trajectories("mass")[-1]
    both = np.concatenate([evolution.masses(name) for name in evolution.born])
    np.testing.assert_allclose(np.nan_to_num(last), both, rtol=1e-6)
    history.plot(), history.plot_trajectories(), ep.plot.survival(history)
    plt.close("all")
    history.save(tmp_path / "history.npz")
    assert ep.History.load(tmp_path / "history.npz").extinctions.size == history.extinctions.size
    assert "alive" in repr(history)
    assert "0" in evolution.summary()
    assert f"{evolution.alive['0']} / 32" in str(evolution)
    assert "<table>" in evolution._repr_html_()


def test_evoprune_does_not_import_torch():
    code = "import evoprune, sys; assert 'torch' not in sys.modules; evoprune.torch.Evolution"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_making_an_evolution_leaves_random_numbers_alone():
    model = torch_models.ViT()
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch_models.images()
    state = torch.get_rng_state()
    ept.Evolution(model, optimizer, x)
    assert torch.equal(state, torch.get_rng_state())

"""The methods of experiments/controls_torch_methods.py: their formulas, and exact removal."""

from __future__ import annotations

import copy
import importlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="an archive without experiments")


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("controls_torch_methods")


def network(*sizes):
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def test_the_proximal_step_minimizes_distance_plus_penalty(methods):
    layer = torch.nn.Linear(5, 3).double()
    with torch.no_grad():
        layer.weight[2] *= 0.1  # shorter than the penalty, so that its minimum is 0
    before = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy().copy()
    before[2, 5] = float(layer.bias[2].detach())
    methods.shrink(layer, 0.6)
    after = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy()
    for old, new in zip(before, after, strict=True):

        def cost(w, old=old):
            return 0.5 * ((w - old) ** 2).sum() + 0.6 * np.sqrt((w**2).sum())

        found = optimize.minimize(cost, old * 0.5, method="Nelder-Mead", options={"maxiter": 20000})
        assert cost(new) <= found.fun + 1e-9
        np.testing.assert_allclose(new, found.x, atol=1e-3)


def test_the_removal_of_neurons_at_zero_changes_neither_outputs_nor_training(methods):
    net = network(6, 8, 7, 3)
    x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    step()
    alive = [torch.arange(8) % 3 != 0, torch.arange(7) % 2 == 0]
    with torch.no_grad():
        for layer, some in zip(methods.linears(net)[:2], alive, strict=True):
            layer.weight[~some] = 0
            layer.bias[~some] = 0
    whole = network(6, 8, 7, 3)
    whole.load_state_dict(net.state_dict())
    outputs = net(x).detach()
    other = torch.optim.AdamW(whole.parameters(), 1e-2, weight_decay=0.1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for layer, some in zip(methods.linears(whole)[:2], alive, strict=True):
        for p in (layer.weight, layer.bias):  # moments would move them away from zero
            other.state[p]["exp_avg"][~some] = 0
    methods.remove(net, alive, optimizer)
    assert [layer.out_features for layer in methods.linears(net)] == [5, 4, 3]
    assert methods.macs_of(net) == 6 * 5 + 5 * 4 + 4 * 3
    torch.testing.assert_close(net(x), outputs)
    step()
    other.zero_grad()
    torch.nn.functional.cross_entropy(whole(x), y).backward()
    other.step()
    torch.testing.assert_close(net(x), whole(x))


def test_a_gate_is_open_as_often_as_its_penalty_says(methods):
    gate = methods.Gate(4)
    with torch.no_grad():
        gate.log_alpha.copy_(torch.tensor([-4.0, -1.0, 0.0, 2.0]))
        samples = torch.stack([gate(torch.ones(4)) for _ in range(20000)])
    share = (samples > 0).float().mean(0)
    error = (share * (1 - share) / 20000).sqrt()
    assert ((share - gate.open().detach()).abs() < 4 * error + 1e-4).all()
    assert (samples.min() == 0) & (samples.max() == 1)


def test_gates_and_the_group_penalty_leave_a_smaller_network(methods):
    x = torch.randn(640, 6)
    y = x[:, :3].argmax(1)
    for train, strength in ((methods.l0_gates, 0.1), (methods.group_penalty, 1.0)):
        run = methods.Run(network(6, 20, 10, 3), x, y, 40, 5e-2, 0.1, strength)
        net = train(run)
        assert methods.macs_of(net) < 6 * 20 + 20 * 10 + 10 * 3
        assert run.step == run.steps == 200
        assert net(x).shape == (640, 3)
        kinds = {type(module).__name__ for module in net}
        assert kinds == {"Linear", "ReLU"}

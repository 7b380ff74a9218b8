"""The bridge to PyTorch waits for the device only in every `check_every`-th step.

No GPU is needed: tensors are on the device "meta". They have a shape and a type but no values, so
that reading a value, or copying one to the CPU, raises.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402
from evoprune.bridges.torch import evolution as module  # noqa: E402
from evoprune.bridges.torch.laws_device import DeviceLaws  # noqa: E402

META = torch.device("meta")


def on_device(make, x, monkeypatch, optimizer=torch.optim.SGD, **settings):
    """Return a model on META, inspected on the CPU before, with its optimizer and `Evolution`."""
    model = make()
    found = ept.inspect(model, x)
    for owner in model.modules():
        for name, p in list(owner._parameters.items()):
            if p is not None:
                owner._parameters[name] = nn.Parameter(p.to(META))
        for name, b in list(owner._buffers.items()):
            if b is not None:
                owner._buffers[name] = b.to(META)
    everyone = torch.ones(sum(found.born.values()), dtype=torch.bool)
    # `Evolution.__init__` calls `_alive`, which reads values.
    monkeypatch.setattr(ept.Evolution, "_alive", lambda _: everyone)
    monkeypatch.setattr(module, "inspect", lambda *_, **__: found)
    made = optimizer(model.parameters(), 0.1)
    evolution = ept.Evolution(model, made, x, check_every=50, **settings)
    assert evolution._laws.mass.device == META
    return model, made, evolution


def step(model, optimizer, shape):
    optimizer.zero_grad()
    model(torch.empty(shape, device=META)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("make", "shape"),
    [(torch_models.mlp, (4, 20)), (torch_models.ResNet, (2, 3, 32, 32))],
    ids=["mlp", "resnet"],
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"niche": "network"}, {"fitness": "pull"}, {"fitness": "magnitude", "every": 2}],
    ids=str,
)
def test_steps_between_checks_neither_read_nor_copy_from_the_device(
    make, shape, settings, monkeypatch
):
    selection = ep.Selection(1.5, **settings)
    model, optimizer, evolution = on_device(
        make, torch.randn(shape), monkeypatch, selection=selection
    )
    assert type(evolution._laws) is DeviceLaws
    for _ in range(4):
        step(model, optimizer, shape)
    assert evolution.steps == 4


def test_checks_and_laws_of_the_core_read_from_the_device(monkeypatch):
    """Reading values raises on this device, so the test above detects any such read."""
    shape = (4, 20)
    model, optimizer, evolution = on_device(torch_models.mlp, torch.randn(shape), monkeypatch)
    step(model, optimizer, shape)
    with pytest.raises(NotImplementedError, match="no data"):
        evolution._look()
    selection = ep.Selection(0.1, dynamics=ep.WrightFisher(), upkeep="uniform")
    monkeypatch.undo()
    model, optimizer, _ = on_device(
        torch_models.mlp, torch.randn(shape), monkeypatch, selection=selection
    )
    with pytest.raises(NotImplementedError, match="no data"):
        step(model, optimizer, shape)

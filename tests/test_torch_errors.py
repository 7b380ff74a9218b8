"""Models, optimizers and settings that the bridge does not support: clear errors, no changes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def evolve(model=None, optimizer=None, example=None, selection=None, **settings):
    model = torch_models.mlp() if model is None else model
    if optimizer is None:
        optimizer = torch.optim.AdamW(model.parameters())
    example = torch.randn(2, 20) if example is None else example
    return ept.Evolution(model, optimizer, example, selection, **settings)


def lbfgs():
    model = torch_models.mlp()
    return {"model": model, "optimizer": torch.optim.LBFGS(model.parameters())}


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"model": torch.jit.script(torch_models.mlp())}


def two_optimizers():
    model = torch_models.mlp()
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (model[0], model[2])]
    return {"model": model, "optimizer": optimizers, "selection": ep.Selection(fitness="pull")}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (lambda: {"model": torch_models.mlp().bfloat16()}, "0.weight: expected .*torch.bfloat16"),
        (lambda: {"model": torch_models.mlp().half()}, "0.weight: expected .*torch.float16"),
        (scripted, "got a ScriptModule, whose"),
        (lambda: {"model": nn.Flatten(), "optimizer": 1}, "torch.optim.Optimizer, got int"),
        (lambda: {"model": nn.LazyLinear(3), "optimizer": []}, "expected at least one"),
        (lbfgs, "got LBFGS"),
        (two_optimizers, "with several optimizers"),
        (lambda: {"selection": ep.Selection(fitness="activity")}, "'activity', which is of"),
        (lambda: {"selection": ep.Selection(fitness="worth")}, "needs terms="),
        (lambda: {"selection": ep.Selection(births=ep.Births())}, "births: expected None"),
        (lambda: {"selection": ep.Selection(dynamics=ep.LotkaVolterra())}, "how alike"),
        (lambda: {"selection": ep.Selection(ep.Budget(macs=0.1))}, "needs steps="),
        (lambda: {"selection": ep.Selection(rest=0.2)}, "needs steps="),
        (lambda: {"selection": ep.Selection(upkeep=(0.1, 0.2))}, "an upkeep for each of 56"),
        (lambda: {"fixed": ["0", "2"]}, r"nothing can evolve\n(.*\n)*  0: it is in fixed="),
        (lambda: {"include": ["4"]}, r"nothing can evolve\n(.*\n)*  2: it is not in include="),
        (lambda: {"check_every": 0}, "check_every: expected a whole number from 1"),
        (lambda: {"patience": -1}, "patience: expected a number from 0"),
        (lambda: {"steps": 0}, "steps: expected a whole number from 1"),
    ],
)  # fmt: skip
def test_what_is_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        evolve(**settings())


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ept.Unsupported, match="expected parameters, got none"):
        evolve(nn.Flatten(), torch.optim.SGD([torch.ones(1)], 0.1))


SHARDED = """
import sys, tempfile, warnings
import torch, torch_models
from torch import distributed
from torch.distributed.fsdp import fully_shard
import evoprune.torch as ept

warnings.simplefilter("ignore")
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
model = torch_models.mlp()
fully_shard(model, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,)))
shapes = [p.shape for p in model.parameters()]
try:
    ept.Evolution(model, torch.optim.AdamW(model.parameters()), torch.randn(2, 20))
except ept.Unsupported as error:
    print(error)
assert shapes == [p.shape for p in model.parameters()]
sys.stdout.flush()
__import__("os")._exit(0)  # gloo's threads may abort a process that is torn down
"""


def test_a_model_sharded_by_fsdp2_is_refused(tmp_path):
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SHARDED, str(tmp_path / "meet")],
        env={**os.environ, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "0.weight: expected a whole parameter, got a DTensor (FSDP2 or tensor parallel); use "
        "DistributedDataParallel, or select before sharding\n"
    )


def test_what_nothing_trains_does_not_evolve():
    model = torch_models.mlp()
    model[2].weight.requires_grad_(False)
    evolution = evolve(model)
    assert evolution.born == {"2": 24}
    assert evolution.why["0"] == "2.weight reads it and no optimizer trains it"
    model = torch_models.mlp()
    evolution = evolve(model, torch.optim.SGD(model[:4].parameters(), 0.1))
    assert evolution.born == {"0": 32}


def test_include_and_fixed_choose_modules():
    model = torch_models.ResNet()
    x = torch_models.images()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    evolution = ept.Evolution(model, optimizer, x, include=["layers"], fixed=["layers.2.conv2"])
    assert set(evolution.born) == {
        "layers.0.conv1", "layers.1.conv1", "layers.2.conv1", "layers.3.conv1",
    }  # fmt: skip
    assert evolution.why["stem"] == "it is not in include="


def test_a_parameter_that_was_replaced_is_named_before_a_removal():
    model = torch_models.mlp()
    quick = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=5), min_age=1, removal="never")
    optimizer = torch.optim.AdamW(model.parameters())
    evolution = evolve(model, optimizer, selection=quick)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.randn(8, 20)).square().mean().backward()
        optimizer.step()
    model[4] = nn.Linear(24, 4)
    shapes = [p.shape for p in model.parameters()]
    with pytest.raises(ept.Unsupported, match="4.weight: expected the parameter that was there"):
        evolution.compact()
    assert shapes == [p.shape for p in model.parameters()]


class Preconditioned(torch.optim.Optimizer):
    """An optimizer with a square matrix for every parameter, like Shampoo."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for p in (p for group in self.param_groups for p in group["params"]):
            self.state[p].setdefault("matrix", torch.eye(p.shape[0]))
            p -= 0.1 * p.grad


def test_optimizer_state_that_cannot_follow_is_named_at_the_first_step():
    model = torch_models.mlp()
    optimizer = Preconditioned(model.parameters())
    evolve(model, optimizer)
    model(torch.randn(8, 20)).square().mean().backward()
    with pytest.raises(ept.Unsupported, match=r"Preconditioned: .*\(32, 32\) in 'matrix'"):
        optimizer.step()


class ByData(nn.Module):
    """A module whose shapes depend on values."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        h = F.relu(self.a(x))
        h = h[h.sum(-1) > 0.1]
        return self.c(F.relu(self.b(h))).mean(0)


def test_shapes_that_depend_on_data_are_fixed_with_the_reason():
    found = ept.inspect(ByData(), torch.randn(16, 5))
    assert "a" not in found.born
    assert any("index in the model (ByData)" in why for why in found.why.values()), found.why


class Dropped(nn.Module):
    """A module with dropout and a part that is used only in training."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(20, 16), nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        h = F.dropout(F.relu(self.a(x)), 0.5, self.training)
        return (self.b(h), self.aux(h)) if self.training else self.b(h)


def test_what_only_training_has_is_cut_too():
    model = Dropped()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    quick = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=10), min_age=1)
    evolution = ept.Evolution(model, optimizer, torch.randn(2, 20), quick)
    assert evolution.born == {"a": 16}
    for _ in range(40):
        optimizer.zero_grad()
        sum(y.square().mean() for y in model(torch.randn(8, 20))).backward()
        optimizer.step()
    evolution.close()
    assert model.aux.in_features == model.b.in_features == evolution.alive["a"] < 16


def test_a_step_in_the_capture_of_a_cuda_graph_is_refused(monkeypatch):
    from evoprune.bridges.torch import checks

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    checks.no_capture(torch.device("cpu"))
    with pytest.raises(ept.Unsupported, match="got the capture of a CUDA graph"):
        checks.no_capture(torch.device("cuda"))


def test_a_follower_of_another_shape_is_refused():
    evolution = evolve()
    with pytest.raises(ept.Unsupported, match="follow: expected 0.weight of shape"):
        evolution.follow(torch_models.mlp(20, (16, 8), 4))


def test_close_takes_the_hooks_away():
    model = torch_models.mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    evolution = evolve(model, optimizer)
    assert evolution.close() is model
    assert evolution.close() is model
    before = copy.deepcopy(evolution.masses("0"))
    model(torch.randn(8, 20)).square().mean().backward()
    optimizer.step()
    assert evolution.steps == 0
    assert np.array_equal(before, evolution.masses("0"))


@pytest.mark.parametrize("argument", ["include", "fixed"])
def test_names_of_modules_must_exist(argument):
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 8))
    model.add_module("second", nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))
    example = torch.zeros(2, 4)
    with pytest.raises(ept.Unsupported, match=f"{argument}: .* got 'frist'; did you mean first"):
        ept.inspect(model, example, **{argument: ["frist"]})
    for one in ("first", ["first"], ["first", "second.1"]):  # a string is one name, not letters
        found = ept.inspect(model, example, **{argument: one})
        assert list(found.born) == (["first"] if argument == "include" else [])


@pytest.mark.parametrize(
    ("example", "error"),
    [(None, TypeError), (torch.zeros(2, 5), ValueError), ("x", TypeError), (3, TypeError)],
)
def test_an_example_that_the_model_cannot_take_is_named(example, error):
    with pytest.raises(error, match="example: expected inputs of one forward pass, got an error"):
        ept.inspect(nn.Linear(4, 2), example)


def test_misspelt_arguments_and_other_kinds_are_answered():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(TypeError, match="no argument 'selecton'; .*did you mean selection"):
        ept.Evolution(model, optimizer, torch.zeros(2, 4), selecton=None)
    with pytest.raises(TypeError, match="selection: expected Selection, got float"):
        ept.Evolution(model, optimizer, torch.zeros(2, 4), selection=1.5)

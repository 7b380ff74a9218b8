"""Networks as plain PyTorch modules, which give the outputs of `predict` and can be trained."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import exported
import numpy as np
import pytest

import evoprune as ep

torch = pytest.importorskip("torch", reason="needs evoprune[torch]")

from torch import nn  # noqa: E402 - needs torch

from evoprune.bridges import torch_writing  # noqa: E402 - needs torch


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def outputs(module, x: np.ndarray, first: bool) -> np.ndarray:
    """Return a module's outputs for inputs of `predict`, passed with channels first if `first`."""
    x = torch.tensor(x)
    with torch.no_grad():
        y = module(x.movedim(-1, 1) if first else x)
    return y.numpy()


def image(net: ep.Network) -> bool:
    return len(net.spec["input"]) == 3


def test_every_kind_has_a_pytorch_form_or_is_refused():
    assert set(torch_writing.KINDS) <= set(exported.KINDS)
    exported.refused(torch_writing.KINDS, "PyTorch", ep.to_torch)


@pytest.mark.parametrize("name", exported.NETS)
def test_nets_give_the_outputs_of_predict(name):
    net = exported.net(name)
    x = exported.inputs(net)
    exported.agree(outputs(ep.to_torch(net), x, image(net)), net.predict(x))
    last = ep.to_torch(net, channels_first=False)
    exported.agree(outputs(last, x, False), net.predict(x))


@pytest.mark.parametrize("extinct", [False, True], ids=["whole", "extinct"])
@pytest.mark.parametrize("kind", exported.of_rules(torch_writing.KINDS))
def test_layers_of_every_kind_give_the_outputs_of_predict(kind, extinct):
    for _, net, x in exported.of_kind(kind, extinct):
        last = ep.to_torch(net, channels_first=False)
        exported.agree(outputs(last, x, False), net.predict(x))
        if image(net):
            exported.agree(outputs(ep.to_torch(net), x, True), net.predict(x))


def test_a_chain_is_a_sequential_of_standard_layers():
    kinds = [type(layer) for layer in ep.to_torch(ep.mlp(8, 6, 4, 3))]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    kinds = [type(layer) for layer in ep.to_torch(ep.lenet5())]
    conv = [nn.Conv2d, nn.MaxPool2d, nn.ReLU]
    assert kinds == [*conv, *conv, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    kinds = [type(layer) for layer in ep.to_torch(ep.cnn((8, 8, 3), (4,), 2))]
    conv = [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]
    assert kinds == [*conv, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]


@pytest.mark.parametrize("name", ["cnn", "resnet", "vit", "charlm"])
def test_modules_pickle_copy_trace_and_export(name):
    net = exported.net(name)
    module = ep.to_torch(net)
    x = torch.tensor(exported.inputs(net))
    x = x.movedim(-1, 1) if image(net) else x
    expected = module(x)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert torch.equal(twin(x), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(module)(x), expected)
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), expected)


PROGRAM = """
import sys
import numpy as np, torch
program = torch.export.load("net.pt2").module()
np.save("y.npy", program(torch.tensor(np.load("x.npy"))).numpy(force=True))
assert "evoprune" not in sys.modules
"""


@pytest.mark.parametrize("name", ["vit_stream", "charlm"])
def test_a_program_runs_without_this_package(name, tmp_path):
    net = exported.net(name)
    x = exported.inputs(net)
    ep.export.torch(net, tmp_path / "net.pt2")
    np.save(tmp_path / "x.npy", np.moveaxis(x, -1, 1) if image(net) else x)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    exported.agree(np.load(tmp_path / "y.npy"), net.predict(x))


def test_a_program_needs_the_ending_that_torch_wants(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.pt2, got .*net\.pt'"):
        ep.export.torch(ep.mlp(3, 4, 2), tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit", "charlm"])
def test_every_parameter_gets_a_gradient(name):
    net = exported.net(name)
    module = ep.to_torch(net).train()
    x = torch.tensor(exported.inputs(net))
    module(x.movedim(-1, 1) if image(net) else x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_input_scaling_is_no_parameter():
    net = ep.mlp(4, 3, 2)
    net.scale_input(1.0, 2.0)
    module = ep.to_torch(net)
    assert not any("scaling" in name for name, _ in module.named_parameters())
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    exported.agree(outputs(module, x, False), net.predict(x))


def test_codes_and_numbers_may_be_one_input():
    net, x = exported.mixed(), np.array([[0, 4], [2, 1]], np.float32)
    exported.agree(outputs(ep.to_torch(net), x, False), net.predict(x))


def test_names_of_layers_never_clash():
    net = exported.oddly_named()
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    exported.agree(outputs(ep.to_torch(net), x, False), net.predict(x))


def test_float64_stays_float64():
    net = ep.mlp(4, 3, 2, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 4))
    exported.agree(outputs(ep.to_torch(net), x, False), net.predict(x), 1e-14)


def test_dropout_and_batch_norm_stay_layers_of_their_own():
    net = ep.Sequential([ep.Dense(5), ep.BatchNorm(momentum=0.2), ep.Dropout(0.3)], input=4)
    dense, norm, dropout = ep.to_torch(net)
    assert isinstance(dense, nn.Linear)
    assert (norm.momentum, norm.eps) == pytest.approx((0.2, 1e-5))
    assert dropout.p == pytest.approx(0.3)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'evoprune\[torch\]'"):
        ep.to_torch(ep.mlp(3, 4, 2))


def test_what_has_no_pytorch_form_is_named(monkeypatch):
    monkeypatch.delitem(torch_writing.KINDS, "dense")
    with pytest.raises(ValueError, match="dense1: a layer of kind 'dense' has no PyTorch form"):
        ep.to_torch(ep.mlp(3, 4, 2))

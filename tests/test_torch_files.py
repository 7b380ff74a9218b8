"""Save, load and resume with the PyTorch bridge; export, copy and quantize the pruned model."""

from __future__ import annotations

import copy
import io
import json
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors.torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402

QUICK = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=12), min_age=5)


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


def trained(name, steps=60, selection=QUICK):
    """Return a small model, its example input, and its `Evolution`."""
    make, example, _ = torch_models.MODELS[name]
    model, x = make(), example()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    evolution = ept.Evolution(model, optimizer, x, selection)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model, x, evolution


@pytest.mark.parametrize(
    "name", ["lenet", "resnet", "grouped", "vit", "decoder", "attended", "tied"]
)
def test_a_file_makes_a_fresh_model_the_small_one(name, tmp_path):
    model, x, evolution = trained(name)
    evolution.close()
    path = tmp_path / "small.safetensors"
    evolution.save(path)
    fresh = ept.load(torch_models.MODELS[name][0](), path)
    model.eval(), fresh.eval()
    with torch.no_grad():
        assert torch.equal(fresh(x), model(x))
    assert sum(p.numel() for p in fresh.parameters()) == evolution.parameters
    assert evolution.parameters < evolution.founding_parameters
    assert ept.survivors(path) == {n: evolution.births(n).tolist() for n in evolution.born}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.safetensors"]


def test_files_are_read_without_pickle(tmp_path):
    """The header is JSON, as in every safetensors file."""
    _, _, evolution = trained("lenet")
    evolution.save(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    recipe = json.loads(header["__metadata__"]["evoprune"])
    assert recipe["survivors"]["0"] == evolution.births("0").tolist()
    assert header["0.weight"]["shape"] == recipe["shapes"]["0.weight"]


def test_files_that_do_not_fit_are_refused_and_change_nothing(tmp_path):
    _, _, evolution = trained("lenet")
    evolution.save(tmp_path / "lenet")
    other = torch_models.mlp()
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match="expected 0.weight of at least|no parameter"):
        ept.load(other, tmp_path / "lenet")
    assert all(torch.equal(before[k], v) for k, v in other.state_dict().items())
    with pytest.raises(FileNotFoundError, match="nothing"):
        ept.load(other, tmp_path / "nothing")
    (tmp_path / "broken").write_bytes(b"no file of tensors")
    with pytest.raises(ep.FileFormatError, match="broken"):
        ept.load(other, tmp_path / "broken")
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, str(tmp_path / "others"))
    with pytest.raises(ep.FileFormatError, match="others"):
        ept.load(other, tmp_path / "others")


@pytest.mark.parametrize(
    "settings", [{}, {"dynamics": ep.NoisyGrowth(), "upkeep": "macs"}], ids=str
)
def test_a_run_that_is_resumed_is_the_run_that_was_not_stopped(settings):
    """Parameters, optimizer state, masses and deaths are bit-identical."""
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=40), min_age=5).replace(
        **settings
    )
    random = torch.Generator().manual_seed(1)
    rows = torch.randn(16 * 120, 20, generator=random)
    classes = torch.randint(0, 4, (16 * 120,), generator=random)

    def begin():
        torch.manual_seed(3)
        model = torch_models.mlp()
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        return model, optimizer, ept.Evolution(model, optimizer, rows[:2], selection, patience=2.0)

    def go(model, optimizer, first, last):
        for step in range(first, last):
            part = slice(16 * step, 16 * step + 16)
            optimizer.zero_grad()
            F.cross_entropy(model(rows[part]), classes[part]).backward()
            optimizer.step()

    whole = begin()
    go(whole[0], whole[1], 0, 120)
    half = begin()
    go(half[0], half[1], 0, 55)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in half], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    again = begin()
    again[2].load_state_dict(states[2])
    again[0].load_state_dict(states[0])
    again[1].load_state_dict(states[1])
    assert again[2].compactions == half[2].compactions
    go(again[0], again[1], 55, 120)

    for (name, want), got in zip(whole[0].named_parameters(), again[0].parameters(), strict=True):
        assert torch.equal(want, got), name
        for key, value in whole[1].state[want].items():
            assert torch.equal(value, again[1].state[got][key]), (name, key)
    for name in whole[2].born:
        assert np.array_equal(whole[2].masses(name), again[2].masses(name))
    deaths, others = whole[2].history.extinctions, again[2].history.extinctions
    for column in ("step", "layer", "birth", "mass", "fitness"):
        assert np.array_equal(deaths[column], others[column])
    assert whole[2].steps == again[2].steps == 120
    if not settings:
        assert half[2].compactions
        assert len(deaths) > len(half[2].history.extinctions)


def test_a_state_of_another_model_is_refused():
    _, _, evolution = trained("lenet")
    model = torch_models.mlp()
    other = ept.Evolution(model, torch.optim.SGD(model.parameters(), 0.1), torch.randn(2, 20))
    with pytest.raises(ValueError, match="expected populations"):
        other.load_state_dict(evolution.state_dict())
    with pytest.raises(ValueError, match="founding size"):
        evolution.load_state_dict(evolution.state_dict())


@pytest.mark.parametrize("name", ["lenet", "resnet", "vit", "grouped"])
def test_the_small_model_is_exported(name):
    _, x, evolution = trained(name)
    small = evolution.close().eval()
    with torch.no_grad():
        want = small(x)
        program = torch.export.export(small, (x,))
        torch.testing.assert_close(program.module()(x), want)
        with __import__("warnings").catch_warnings():
            __import__("warnings").simplefilter("ignore")  # torch.jit is deprecated
            torch.testing.assert_close(torch.jit.trace(small, x)(x), want)


def test_the_small_model_runs_in_onnx(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    _, x, evolution = trained("resnet")
    small = evolution.close().eval()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(small, (x,), dynamo=True, verbose=False)
        program.save(tmp_path / "small.onnx")
    session = runtime.InferenceSession(str(tmp_path / "small.onnx"))
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(got, small(x).detach().numpy(), atol=1e-5)


def test_the_small_model_is_quantized():
    import warnings

    _, x, evolution = trained("lenet")
    small = evolution.close().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
        quantized = torch.ao.quantization.quantize_dynamic(small, {nn.Linear}, torch.qint8)
    with torch.no_grad():
        want = small(x)
        assert float((quantized(x) - want).abs().max()) < 0.1 * float(want.abs().max())


def test_the_small_model_is_copied_and_pickled():
    import pickle

    _, x, evolution = trained("attended")
    small = evolution.close().eval()
    for other in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        with torch.no_grad():
            assert torch.equal(other.eval()(x), small(x))

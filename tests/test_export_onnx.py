"""Exported ONNX models are valid, and return in onnxruntime what `predict` returns."""

from __future__ import annotations

import exported
import numpy as np
import pytest

import evoprune as ep

onnx = pytest.importorskip("onnx", reason="needs evoprune[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from evoprune.bridges import onnx_model  # noqa: E402 - needs onnx


def outputs(path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    of_x = session.get_inputs()[0].type
    x = x.astype(np.int64 if of_x == "tensor(int64)" else np.float32)
    return session.run(["output"], {"input": x})[0]


def check(path, net: ep.Network, x: np.ndarray) -> None:
    ep.export.onnx(net, path)
    expected = net.predict(x)
    exported.agree(outputs(path, x), expected)
    exported.agree(outputs(path, x[:1]), expected[:1])  # models take any number of samples


def test_every_kind_has_an_onnx_form_or_is_refused(tmp_path):
    assert set(onnx_model.KINDS) <= set(exported.KINDS)
    exported.refused(
        onnx_model.KINDS, "ONNX", lambda net: ep.export.onnx(net, tmp_path / "net.onnx")
    )


@pytest.mark.parametrize("name", exported.NETS)
def test_nets_give_the_outputs_of_predict(name, tmp_path):
    net = exported.net(name)
    check(tmp_path / "net.onnx", net, exported.inputs(net))


@pytest.mark.parametrize("extinct", [False, True], ids=["whole", "extinct"])
@pytest.mark.parametrize("kind", exported.of_rules(onnx_model.KINDS))
def test_layers_of_every_kind_give_the_outputs_of_predict(kind, extinct, tmp_path):
    for name, net, x in exported.of_kind(kind, extinct):
        check(tmp_path / f"{name}.onnx", net, x)


@pytest.mark.parametrize("name", exported.NETS)
def test_models_pass_the_checker_with_known_shapes(name, tmp_path):
    net = exported.net(name)
    ep.export.onnx(net, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    ends = {v.name: v.type.tensor_type.shape.dim for v in (*model.graph.input, *model.graph.output)}
    x = exported.inputs(net)
    for name, shape in (("input", x.shape), ("output", net.predict(x).shape)):
        assert ends[name][0].dim_param == "batch"
        assert tuple(d.dim_value for d in ends[name][1:]) == shape[1:]
    inferred = {v.name for v in model.graph.value_info} | {"output"}
    assert inferred >= {name for node in model.graph.node for name in node.output}


def test_a_layer_without_populations_left_counts_for_nothing(tmp_path):
    net = ep.Sequential([ep.Residual(ep.neurons(4, "sigmoid"), ep.Dense()), ep.Dense(3)], input=3)
    net.kill("populations1", [0, 1, 2, 3])
    net.compact()
    check(tmp_path / "net.onnx", net, np.random.default_rng(0).normal(size=(2, 3)))


def test_names_of_layers_never_clash(tmp_path):
    net = exported.oddly_named()
    check(tmp_path / "net.onnx", net, np.random.default_rng(0).normal(size=(2, 4)))


def test_codes_and_numbers_may_be_one_input(tmp_path):
    check(tmp_path / "net.onnx", exported.mixed(), np.array([[0.0, 4.0], [2.0, 1.0]]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", [-1, 5])
def test_codes_outside_the_vocabulary_are_an_error(code, tmp_path):
    net = ep.Sequential([ep.Embedding(5, 4), ep.Dense(3)], input=2)
    ep.export.onnx(net, tmp_path / "net.onnx")
    with pytest.raises(Exception, match="out of data bounds"):
        outputs(tmp_path / "net.onnx", np.array([[1, code]]))


def test_populations_that_are_extinct_but_not_removed_do_not_count(tmp_path):
    check(tmp_path / "net.onnx", exported.dying(), np.random.default_rng(0).normal(size=(2, 4)))


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"export\.onnx: expected a Network, got dict"):
        ep.export.onnx({}, tmp_path / "net.onnx")


def test_a_net_of_float64_is_exported_in_float32(tmp_path):
    net = ep.mlp(5, 8, 3, dtype="float64")
    check(tmp_path / "net.onnx", net, np.random.default_rng(0).normal(size=(2, 5)))


def test_what_cannot_be_exported_is_named(tmp_path, monkeypatch):
    net = ep.mlp(3, 4, 2)
    monkeypatch.delitem(onnx_model.KINDS, "populations")
    with pytest.raises(ValueError, match="populations1: a layer of kind 'populations' has no ONNX"):
        ep.export.onnx(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'evoprune\[onnx\]'"):
        ep.export.onnx(ep.mlp(3, 4, 2), tmp_path / "net.onnx")

"""Networks from Python: arrays by name, files, folding, pruning, tables; almost no training."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import evoprune as ep


def small(**settings):
    """Return a network 12-10-8-3 with different masses and some extinct populations."""
    net = ep.mlp(12, 10, 8, 3, seed=3, **settings)
    random = np.random.default_rng(0)
    for name in net:
        if name.endswith((".mass", ".bias")):
            net[name] = random.uniform(0.5, 1.5, net[name].shape)
    net.kill("populations1", [2, 5, 9])
    net.kill("populations2", [0])
    net.compact()
    return net


@pytest.fixture
def net():
    return small()


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((20, 12)).astype(np.float32)


def test_arrays_are_found_by_name(net):
    assert "dense1.weight" in net
    assert "dense1.height" not in net
    assert set(net) == net.keys()
    assert len(net) == len(net.keys())
    assert dict(net.items()).keys() == set(net.keys())
    assert net["dense1.weight"].shape == (12, 7)
    assert net["dense2.weight"].shape == (7, 7)
    assert net.gradients["dense2.weight"].shape == (7, 7)
    assert all(group["populations1.bias"].shape == (7,) for group in net.moments)
    with pytest.raises(KeyError, match=r"no array 'dense9\.weight'; there are dense1\.weight"):
        net["dense9.weight"]
    assert "dense1.weight: float32 (12, 7)" in repr(net.gradients)


def test_arrays_are_the_core_s_own(net, x):
    before = net.predict(x)
    net["dense3.weight"][:] *= 2
    assert not np.array_equal(net.predict(x), before)
    net["dense3.weight"] = 0.0
    assert np.array_equal(net["dense3.weight"], np.zeros((7, 3)))
    with pytest.raises(ValueError, match="broadcast"):
        net["dense3.weight"] = np.zeros(5)


def test_a_view_keeps_its_values_after_a_compaction(net):
    view = net["dense2.weight"]
    net.kill("populations2", [1])
    kept = view.copy()
    net.compact()
    assert net["dense2.weight"].shape == (7, 6)
    assert np.array_equal(view, kept)


def test_births_are_kept(net):
    assert net.born == {"populations1": 10, "populations2": 8}
    assert net.alive == {"populations1": 7, "populations2": 7}
    assert net.births("populations1").tolist() == [0, 1, 3, 4, 6, 7, 8]
    with pytest.raises(KeyError, match="no populations in a layer 'dense1'; there are popul"):
        net.births("dense1")


def test_a_step_can_be_taken_piece_by_piece(x):
    net = ep.mlp(12, 10, 3, seed=1)
    y = np.arange(20) % 3
    net.configure(selection=ep.Selection(min_age=0).config())
    output = net.forward(x)
    assert output.shape == (20, 3)
    assert np.allclose(output, net.predict(x), atol=1e-6)
    assert np.array_equal(net.activations["input"], x)
    assert set(net.activations) == {"input", *(layer["name"] for layer in net.spec["layers"])}
    loss = net.backward(y)
    net.gradient()
    assert loss == pytest.approx(net.evaluate(x, y).loss, rel=1e-5)
    step = 1e-3 * net.gradients["dense1.weight"]
    net["dense1.weight"][...] -= step
    assert net.evaluate(x, y).loss < loss
    net.update(1e-3)
    assert net.step == 1
    deaths = net.evolve(0.3)
    assert net.generation == 1
    assert len(deaths) == 0


def test_evaluation_takes_what_fit_takes(net, x):
    y = np.arange(20) % 3
    scores = [net.evaluate(x, y), net.evaluate((x, y)), net.evaluate(ep.datasets.arrays(x, y))]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0].weight == 20
    assert 0 <= scores[0].accuracy <= 1
    assert "accuracy=" in repr(scores[0])
    with pytest.raises(ValueError, match="to be read as"):
        net.evaluate(ep.datasets.arrays(x, y, normalize="feature"))
    with pytest.raises(TypeError, match=r"x: expected a data set or \(x, y\), got str"):
        net.evaluate("mnist")


def test_inputs_are_scaled_as_set(net, x):
    plain = net.predict(2 * x - 1)
    net.scale_input(0.5, 2.0)
    assert [float(value) for value in net.input_scaling] == [0.5, 2.0]
    assert np.allclose(net.predict(x), plain, atol=1e-5)
    shift, scale = np.arange(12, dtype=np.float32), np.full(12, 3, np.float32)
    net.scale_input(shift, scale)
    assert np.array_equal(net.copy().input_scaling[0], shift)


# ---- derived networks ------------------------------------------------------------------------


def test_a_copy_is_equal_and_apart(net, x):
    other = net.copy()
    assert other.spec == net.spec
    assert other.alive == net.alive
    assert all(np.array_equal(other[name], net[name]) for name in net)
    other["dense1.weight"][:] = 0
    assert net["dense1.weight"].any()
    net.become(other)
    assert not net["dense1.weight"].any()
    with pytest.raises(ValueError, match="same spec"):
        net.become(ep.mlp(12, 10, 3))


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "gelu"])
@pytest.mark.parametrize("inputs", [False, True])
def test_folding_masses_keeps_the_outputs(activation, inputs, x):
    net = small(activation=activation, inputs=inputs)
    if inputs:
        net.kill("features", [0, 11])
        assert net.alive == {"features": 10, "populations1": 7, "populations2": 7}
    folded = net.folded()
    assert np.allclose(folded.predict(x), net.predict(x), atol=1e-5)
    masses = [name for name in folded if name.endswith(".mass")]
    assert masses == (["features.mass"] if inputs else [])
    assert all((folded[name] == 1).all() for name in masses)
    assert folded.macs == net.folded().macs
    assert folded["dense2.weight"].shape == (7, 7)
    assert folded["dense1.weight"].shape == (10 if inputs else 12, 7)


def test_expanded_is_the_founding_shape_again(net, x):
    whole = net.expanded()
    assert whole["dense1.weight"].shape == (12, 10)
    assert whole["dense2.weight"].shape == (10, 8)
    dead = [2, 5, 9]
    assert not whole["dense1.weight"][:, dead].any()
    assert not whole["dense2.weight"][dead].any()
    assert whole.alive == net.alive
    assert np.allclose(whole.predict(x), net.predict(x), atol=1e-6)
    assert whole.births("populations1").tolist() == net.births("populations1").tolist()


def test_pruning_cuts_the_least(net):
    lightest = net.births("populations1")[np.argsort(net["populations1.mass"])[:3]]
    gone = net.prune(keep={"populations1": 4})
    assert sorted(gone["populations1"]) == sorted(lightest)
    assert len(gone["populations2"]) == 0
    assert net.alive == {"populations1": 4, "populations2": 7}
    assert net["dense1.weight"].shape == (12, 4)


def test_pruning_counts_the_founding_populations(net):
    assert sum(map(len, net.prune(4 / 18).values())) == 0
    net.prune(0.5)
    assert sum(net.alive.values()) == 9
    net.prune(1.0)
    assert net.alive == {"populations1": 1, "populations2": 1}


@pytest.mark.parametrize("by", ["mass", "norm", "taylor", "random"])
def test_pruning_ranks_by(by, net, x):
    data = (x, np.arange(20) % 3)
    other = net.copy()
    gone = net.prune(0.5, by=by, scope="layer", data=data, seed=5)
    again = other.prune(0.5, by=by, scope="layer", data=data, seed=5)
    assert net.alive == {"populations1": 5, "populations2": 4}
    assert all(np.array_equal(gone[layer], again[layer]) for layer in gone)


def test_pruning_by_norm_and_taylor_follow_their_definitions(net, x):
    y = np.arange(20) % 3
    owned = np.sqrt(
        np.square(net["dense1.weight"]).sum(0)
        + np.square(net["dense2.weight"]).sum(1)
        + np.square(net["populations1.bias"])
    )
    weakest = net.births("populations1")[owned.argmin()]
    assert net.copy().prune(keep={"populations1": 6}, by="norm")["populations1"] == [weakest]
    net.configure()
    net.forward(x)
    net.backward(y)
    net.gradient()
    effect = np.abs(net["populations1.mass"] * net.gradients["populations1.mass"])
    least = net.births("populations1")[effect.argmin()]
    cut = net.prune(keep={"populations1": 6}, by="taylor", data=(x, y))
    assert cut["populations1"] == [least]


def test_equal_masses_are_cut_by_fitness():
    net = ep.mlp(4, 6, 5, 3, seed=0)
    # The lowest masses are removed first; among equal masses, the lowest shares of the layer's
    # total fitness.
    net["populations1.fitness"][:] = [3, 1, 5, 2, 6, 4]
    net["populations2.fitness"][:] = [100, 400, 300, 500, 200]
    net["populations1.mass"][4] = 0.5
    assert net.copy().prune(keep={"populations1": 3})["populations1"].tolist() == [1, 3, 4]
    cut = net.prune(keep=7)
    assert cut["populations1"].tolist() == [1, 3, 4]
    assert cut["populations2"].tolist() == [0]


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({}, ValueError, "either fraction or keep"),
        ({"fraction": 0.5, "keep": 3}, ValueError, "either fraction or keep"),
        ({"fraction": 1.5}, ValueError, r"fraction must be in \[0, 1\]"),
        ({"fraction": 0.5, "by": "size"}, ValueError, "by must be mass, norm, taylor or random"),
        ({"fraction": 0.5, "by": "taylor"}, ValueError, "data must be given"),
        ({"fraction": 0.5, "scope": "world"}, ValueError, "scope must be network or layer"),
        ({"keep": {"dense1": 3}}, KeyError, "no populations in 'dense1'"),
    ],
)
def test_pruning_refuses(settings, error, text, net):
    before = net.alive
    with pytest.raises(error, match=text):
        net.prune(settings.pop("fraction", None), **settings)
    assert net.alive == before


# ---- files -----------------------------------------------------------------------------------


def test_a_file_holds_everything(net, x, tmp_path):
    net.scale_input(0.5, 2.0)
    net.loss = ep.CrossEntropy(label_smoothing=0.1)
    net.core.restore(17, 16)
    path = tmp_path / "net.safetensors"
    net.save(path)
    other = ep.load(path)
    assert np.array_equal(other.predict(x), net.predict(x))
    assert all(np.array_equal(other[name], net[name]) for name in net)
    assert (other.step, other.generation, other.dtype) == (17, 16, "float32")
    assert other.births("populations1").tolist() == net.births("populations1").tolist()
    assert other.loss == net.loss
    assert other.macs == net.macs
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    other.save(path)  # replaces the file
    assert ep.load(path).alive == net.alive


def test_a_file_is_plain_safetensors(net, tmp_path):
    from safetensors.numpy import load_file

    net.save(tmp_path / "net.safetensors")
    arrays = load_file(tmp_path / "net.safetensors")
    assert np.array_equal(arrays["dense1.weight"], net["dense1.weight"])


def test_moments_are_saved_on_request(net, tmp_path):
    first, second = net.moments
    first["dense1.weight"][...] = 3
    second["dense1.weight"][...] = 4
    net.save(tmp_path / "with.safetensors", moments=True)
    net.save(tmp_path / "without.safetensors")
    kept = ep.load(tmp_path / "with.safetensors").moments
    assert [float(group["dense1.weight"].mean()) for group in kept] == [3, 4]
    fresh = ep.load(tmp_path / "without.safetensors").moments
    assert not fresh[0]["dense1.weight"].any()


def metadata(path, change):
    """Rewrite a safetensors file with the header (a dict) that `change` has edited in place."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    change(header)
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + size :])


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a complete safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "not a complete safetensors file"),
        (lambda path: path.write_bytes(b""), "not a complete safetensors file"),
        (lambda path: path.write_bytes(b"\x89PNG" * 99), "not a complete safetensors file"),
        (lambda path: metadata(path, lambda h: h.pop("__metadata__")), "not a network of evoprune"),
        (lambda path: metadata(path, lambda h: h["__metadata__"].pop("spec")), "'spec' is missing"),
        (
            lambda path: metadata(path, lambda h: h["__metadata__"].update(version="99")),
            "expected version 1 of the format, got 99",
        ),
        (
            lambda path: metadata(path, lambda h: h["__metadata__"].update(dtype="float16")),
            "dtype: expected float32 or float64",
        ),
        (
            lambda path: metadata(path, lambda h: h["__metadata__"].update(spec="{")),
            "net.safetensors: ",
        ),
        (
            lambda path: metadata(path, lambda h: h["__metadata__"].update(births="{}")),
            r"dense1\.weight: expected float32 \(12, 10\), got float32 \(12, 7\)",
        ),
        (
            lambda path: metadata(path, lambda h: h.update({"new": h.pop("dense1.weight")})),
            r"'dense1\.weight' is missing",
        ),
    ],
)
def test_bad_files_are_named_and_described(harm, text, net, tmp_path):
    path = tmp_path / "net.safetensors"
    net.save(path)
    harm(path)
    with pytest.raises(ep.FileFormatError, match=text) as caught:
        ep.load(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_there_or_cannot_be_written(net, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        ep.load(tmp_path / "nothing.safetensors")
    with pytest.raises(FileNotFoundError):
        ep.load(tmp_path)
    with pytest.raises(OSError, match="no|No|folder"):
        net.save(tmp_path / "no" / "net.safetensors")
    with pytest.raises(IsADirectoryError, match="got a folder"):
        net.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- display ---------------------------------------------------------------------------------


def test_the_founding_costs_of_layers_are_those_of_the_network_at_birth():
    net = ep.lenet5(filters=(6, 9), neurons=20)
    before = [layer["macs"] for layer in net.describe()["layers"]]
    for layer, n in net.alive.items():
        net.kill(layer, range(n // 2))
    net.compact()
    layers = net.describe()["layers"]
    assert [layer["founding_macs"] for layer in layers] == before
    assert sum(before) == net.founding_macs > net.macs == sum(layer["macs"] for layer in layers)


def test_the_table_adds_up(net):
    text = repr(net)
    assert text.splitlines()[0] == ("Network 12 -> 3, float32, seed 3, 0 steps, 0 generations")
    row = next(line for line in text.splitlines() if line.startswith("populations1"))
    assert "7 / 10" in row
    total = 12 * 7 + 7 * 7 + 7 * 3
    assert net.macs == total
    assert f"{total} ({100 * total / (12 * 10 + 10 * 8 + 8 * 3):.3g} %)" in text
    assert "14 / 18" in text
    counted = sum(net[name].size for name in net if name.endswith(("weight", "bias", "mass")))
    assert net.parameters == counted
    net.timing = (1.5, 100)
    assert "1.5 ms per step of 100 samples, 15 us per sample" in repr(net)


def test_html_is_escaped():
    net = ep.Sequential([ep.Dense(3, name="<b>&")], input=4)
    html = net._repr_html_()
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html
    assert html.count("<tr>") == html.count("</tr>") == 3
    assert "script" not in html


def test_summary_names_populations_close_to_extinction(net):
    assert "not selected yet" in net.summary()
    net.core.restore(10, 10)
    net["populations1.fitness"] = -1.0
    net.selection = ep.Selection(dynamics=ep.Malthusian(lifespan=700))
    text = net.summary(pressure=0.3)
    row = text.splitlines()[-2]
    assert row.startswith("populations1  7 alive")
    assert "generations" in row
    assert "no populations" in ep.Sequential([ep.Dense(3)], input=4).summary()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ep.mlp(3), ValueError, "at least features and outputs"),
        (lambda: ep.mlp(3, 0, 2), ValueError, "."),
        (lambda: ep.Sequential([ep.Dense(3)], input=0), ValueError, "."),
        (lambda: ep.Sequential([ep.Dense(3, contract=3)], input=4), ValueError, "dense1.*contract"),
        (lambda: ep.Sequential([ep.Dense(3)], input=4, dtype="float16"), ValueError, "dtype"),
    ],
)
def test_invalid_networks_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()

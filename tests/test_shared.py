"""One mass for several layers: the residual stream, and dimensions inside heads.

A layer with shared=True uses the masses of an earlier layer on its axis, and adds a term to the
gradient of these masses. The network built here adds to a stream three times and reads it once,
through a norm.
"""

from __future__ import annotations

import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, CORE64, name_of

import evoprune as ep

ROWS, UNITS = 23, 37


def layer(kind, name, inputs=None, **config):
    return {"kind": kind, "name": name, "config": config} | ({"inputs": inputs} if inputs else {})


def stream(core):
    """Return a network with random masses on `stream` and random biases in `written1`."""
    shared = {"bias": False, "shared": True}
    net = core.Network(
        {
            "seed": 2,
            "input": [runs.FEATURES],
            "layers": [
                layer("dense", "in", units=[UNITS]),
                layer("populations", "stream", activation="tanh"),
                layer("layer_norm", "norm"),
                layer("populations", "read", **shared),
                layer("dense", "h_in", units=[7]),
                layer("populations", "h", activation="gelu"),
                layer("dense", "out1", ["h", "stream"]),
                layer("populations", "written1", shared=True),
                layer("sum", "sum1", ["stream", "written1"]),
                layer("dense", "out2", ["sum1", "stream"]),
                layer("populations", "written2", **shared),
                layer("sum", "sum2", ["sum1", "written2"]),
                layer("dense", "head", units=[runs.CLASSES]),
            ],
        }
    )
    random = np.random.default_rng(0)
    net.array("stream.mass")[:] = random.uniform(0.5, 1.5, UNITS)
    net.array("written1.bias")[:] = random.normal(size=UNITS)
    net.configure(selection=runs.QUICK)
    return net


def test_the_gradient_is_the_sum_over_all_that_share():
    net, (x, y) = stream(CORE64), runs.data(CORE64, ROWS)
    net.forward(x, training=True)
    net.backward(y)
    net.gradient()
    gradient = net.array("stream.mass", "gradient").copy()
    mass, step = net.array("stream.mass"), 1e-5
    for j in range(UNITS):
        loss = []
        for change in (step, -2 * step):
            mass[j] += change
            net.forward(x, training=True)
            loss.append(net.backward(y))
        mass[j] += step
        assert (loss[0] - loss[1]) / (2 * step) == pytest.approx(gradient[j], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("axis", [0, -1])
def test_masses_can_be_shared_along_any_axis(axis):
    """Two layers that share a mass m multiply by m^2, so at m = 1 the gradient doubles."""
    gradients = []
    for shared in (False, True):
        config = {"activation": "tanh", "axis": axis, "bias": False}
        layers = [layer("populations", "it", **config)]
        if shared:
            again = config | {"activation": "identity", "shared": True}
            layers += [layer("populations", "again", **again)]
        layers += [layer("dense", "head", units=[runs.CLASSES], contract=2)]
        net = CORE64.Network({"seed": 4, "input": [5, 19], "layers": layers})
        net.configure()
        random = np.random.default_rng(5)
        net.array("head.weight")[:] = random.normal(size=(5, 19, runs.CLASSES))
        net.forward(random.normal(size=(ROWS, 5, 19)), training=True)
        net.backward(random.integers(0, runs.CLASSES, ROWS))
        net.gradient()
        gradients.append(net.array("it.mass", "gradient").copy())
    assert np.abs(gradients[0]).min() > 0
    assert np.allclose(gradients[1], 2 * gradients[0], rtol=1e-12)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_a_run_gives_the_same_bits_with_any_number_of_threads(core):
    found = []
    for threads in (1, 2, 3):
        net = stream(core)
        runs.train(net, runs.data(core), 60, threads=threads)
        found.append({name: net.array(name).copy() for name in runs.names(net)})
    for other in found[1:]:
        assert all(np.array_equal(other[name], found[0][name]) for name in found[0])


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_extinct_populations_of_a_stream_are_removed_from_all_layers(core):
    net, (x, _) = stream(core), runs.data(core, ROWS)
    dead = np.array([0, 4, 5, 17, UNITS - 1])
    net.array("stream.mass")[dead] = 0
    net.array("written1.bias")[dead] = 0
    before = net.forward(x).copy()
    net.kill("stream", dead.tolist())
    net.compact()
    after = net.forward(x)
    assert net.array("out1.weight").shape == (7, UNITS - 5)
    assert net.array("out2.weight").shape == (UNITS - 5, UNITS - 5)
    assert net.array("norm.gain").shape == net.array("written1.bias").shape == (UNITS - 5,)
    assert np.allclose(after, before, rtol=0, atol=1e-5 if core is CORE32 else 1e-13)


def test_removal_leaves_survivors_bit_identical():
    nets = []
    for removal in ("always", "never"):
        net = stream(CORE64)
        net.configure(selection=runs.QUICK | {"removal": removal})
        runs.train(net, runs.data(CORE64), 80, pressure=3.0)
        nets.append(net)
    removed, masked = nets
    birth = runs.births(removed)["in"]
    assert 0 < len(birth) < UNITS
    assert np.allclose(removed.array("stream.mass"), masked.array("stream.mass")[birth], rtol=1e-9)
    assert np.count_nonzero(masked.array("stream.mass")) == len(birth)


def test_what_cannot_be_shared_is_named():
    def build(*layers):
        CORE32.Network({"seed": 0, "input": [4], "layers": list(layers)})

    with pytest.raises(ValueError, match="it: shared: axis input has no masses yet; expected"):
        build(layer("populations", "it", shared=True), layer("dense", "head", units=[2]))
    with pytest.raises(ValueError, match="it: shared: expected mass=true beside it, got false"):
        build(
            layer("populations", "front"),
            layer("populations", "it", shared=True, mass=False),
            layer("dense", "head", units=[2]),
        )


# ---- whole networks --------------------------------------------------------------------------


def small(make, **more):
    if make is ep.charlm:
        random = np.random.default_rng(0)
        data = random.integers(0, 11, (64, 8)), random.integers(0, 11, (64, 8))
        return ep.charlm(11, 8, dim=16, layers=2, heads=4, hidden=24, seed=3, **more), data
    random = np.random.default_rng(0)
    data = random.normal(size=(64, 12, 12, 3)).astype("f4"), random.integers(0, 10, 64)
    if make is ep.vit:
        shape = {"dim": 16, "layers": 2, "heads": 4, "hidden": 24}
        return ep.vit((12, 12, 3), **shape, seed=3, **more), data
    return ep.resnet(8, 8, input=(12, 12, 3), seed=3, **more), data


LIVING = [
    (ep.charlm, {"living_dims": True, "living_stream": True}),
    (ep.vit, {"living_dims": True, "living_stream": True}),
    (ep.resnet, {"living_stream": True}),
]


@pytest.mark.parametrize(("make", "living"), LIVING, ids=["charlm", "vit", "resnet"])
def test_networks_with_a_living_stream(make, living, tmp_path):
    """Outputs at birth equal those without masses on the stream; extinct features are removed."""
    plain, (x, y) = small(make)
    net, _ = small(make, **living)
    shared = {name for name in net if name in plain}
    for name in shared:
        net[name][...] = plain[name]
    assert np.allclose(net.predict(x), plain.predict(x), atol=1e-5)
    assert net.founding_macs == plain.founding_macs
    law = ep.Selection(
        1.0, fitness="worth", min_age=5, dynamics=ep.Malthusian(lifespan=20, ceiling=1)
    )
    ep.Trainer(net, selection=law).fit((x, y), epochs=30, batch_size=16, progress=False)
    new = [name for name in net.alive if name not in plain.alive]
    assert any(net.alive[name] < net.born[name] for name in new)
    assert net.macs < plain.macs
    net.save(tmp_path / "net.safetensors")
    before = net.predict(x)
    assert np.array_equal(ep.load(tmp_path / "net.safetensors").predict(x), before)
    net.compact()
    assert np.allclose(net.predict(x), before, atol=1e-4)
    assert np.allclose(net.folded().predict(x), before, atol=1e-4)

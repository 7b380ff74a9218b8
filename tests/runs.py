"""Small networks of the core, trained step by step: shared by the tests of whole runs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from cores import CORE32, real

FEATURES, CLASSES = 6, 3


def spec(hidden=(24, 16), features=FEATURES, classes=CLASSES, inputs=False, seed=1) -> dict:
    layers = [{"kind": "populations", "name": "features", "config": {"bias": False}}] * inputs
    for i, units in enumerate(hidden):
        layers.append({"kind": "dense", "name": f"in{i}", "config": {"units": [units]}})
        layers.append({"kind": "populations", "name": f"h{i}", "config": {"activation": "relu"}})
    layers.append({"kind": "dense", "name": "out", "config": {"units": [classes]}})
    layers.append({"kind": "populations", "name": "logits", "config": {"mass": False}})
    return {"seed": seed, "input": [features], "layers": layers}


def data(core: ModuleType = CORE32, rows=100, features=FEATURES, classes=CLASSES, seed=0):
    """Return samples in linearly separable classes; only some features matter."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, features)).astype(real(core))
    map_ = random.standard_normal((features, classes)) * (np.arange(features) % 3 > 0)[:, None]
    return x, (x @ map_).argmax(1)


# A law under which many populations die within about 60 steps.
QUICK = {"dynamics": "malthusian", "dynamics_config": {"lifespan": 30}, "min_age": 5}


def network(core: ModuleType = CORE32, selection: dict | None = QUICK, **settings: Any) -> Any:
    """Return a network ready for training; `settings` are those of configure or of `spec`."""
    names = ("loss", "loss_config", "optimizer", "optimizer_config", "clip")
    regime = {name: settings.pop(name) for name in names if name in settings}
    net = core.Network(spec(**settings))
    net.configure(selection=selection, **regime)
    return net


def train(net: Any, xy: tuple, steps: int, rate=3e-3, pressure=1.0, strength=1.0, **more: Any):
    more = {"batch": 32, "first": net.step} | more
    of_step = np.ones(steps)
    return net.train(
        *xy, rate=rate * of_step, pressure=pressure * of_step, strength=strength * of_step, **more
    )


def names(net: Any) -> list[str]:
    return [tensor["name"] for tensor in net.describe()["tensors"]]


def births(net: Any) -> dict[str, list[int]]:
    return {a["name"]: a["birth"].tolist() for a in net.describe()["axes"] if a["mortal"]}


def state(net: Any, gradients: bool = False) -> dict[str, Any]:
    """Return a copy of all state that later steps depend on; with `gradients`, gradients too."""
    kinds = ("value", "first", "second") + ("gradient",) * gradients
    arrays = {(n, of): net.array(n, of).copy() for n in names(net) for of in kinds}
    return arrays | {"births": births(net), "counts": (net.step, net.generation)}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[key], other[key], equal_nan=True)
        if isinstance(one[key], np.ndarray)
        else one[key] == other[key]
        for key in one
    )


def grown_state(net: Any) -> tuple[dict[str, Any], dict[str, list[int]], dict[str, int]]:
    """Return copies of a network's arrays and moments, its birth ids, and how many were born."""
    arrays = {n: a.copy() for n, a in net.items()}
    for i, group in enumerate(net.moments):
        arrays |= {f"{i}:{n}": group[n].copy() for n in net}
    return arrays, {n: net.births(n).tolist() for n in net.born}, net.ever_born


def assert_same(one: tuple, other: tuple) -> None:
    """Assert that two results of `grown_state` are equal, bit by bit."""
    for name, array in one[0].items():
        assert np.array_equal(array, other[0][name]), name
    assert one[1:] == other[1:]


def alive(net: Any) -> dict[str, int]:
    return {row["layer"]: row["alive"] for row in net.describe()["populations"]}


def bear(net: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Run a step without an update, then a generation; return outputs before and after it."""
    net.forward(x, training=True)
    net.backward(y)
    net.gradient()
    before = net.predict(x)
    net.evolve(1.0)
    return before, net.predict(x)

"""Removals at every step, over random networks of every kind: run by test_hostile.py.

    python tests/hostile.py MODULE FIRST_SEED ROUNDS [threads] [births]

MODULE is a compiled core of any build. The seed of a round determines a network around a layer of
the catalogue, a loss, an optimizer, a batch size, a number of threads and the time of removal; then
a law in Python kills populations at random in every step of two calls of train. The same run on
one thread must be bit-identical, and the shapes of arrays must fit the living populations. With
`threads`, a second thread reads the network during the run; with `births`, populations are also
born in every generation, by division or as immigrants, in networks that support births.
"""

from __future__ import annotations

import sys
import threading
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import cases
import numpy as np
from reference import layers


def load(path: str) -> Any:
    loader = ExtensionFileLoader("hostile." + Path(path).name.partition(".")[0], path)
    core = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(core)
    return core


def killer(seed: int) -> Any:
    """Return a law that kills each population with a probability drawn for every generation."""

    def law(told: dict[str, Any]) -> Any:
        mass = np.ones(len(told["birth"]))
        chance = np.random.default_rng([seed, told["generation"]])
        ids = max(told["born"], *(told["birth"] + 1)) if len(mass) else 0
        dies = chance.random(ids)[told["birth"]] < chance.choice([0.0, 0.1, 0.5])
        mass[dies] = 0
        return mass

    return law


def mixed(random: Any) -> dict:
    """Return dense layers of very different widths; removals change how threads share the work."""
    made = []
    for i in range(random.integers(1, 7)):
        units = int(random.choice([1, 3, 17, 64, 130, 200]))
        made.append({"kind": "dense", "name": f"in{i}", "config": {"units": [units]}})
        made.append({"kind": "populations", "name": f"h{i}", "config": {"activation": "gelu"}})
    if random.random() < 0.7:  # otherwise the network ends in populations
        made.append({"kind": "dense", "name": "out", "config": {"units": [5]}})
    return {"seed": int(random.integers(1000)), "input": [40], "layers": made}


def fertile(net: Any, regime: dict, random: Any) -> dict:
    """Return the settings `regime` with births, or unchanged if births are not possible."""
    births = {
        "rate": str(random.choice(["number", "vacancies", "upkeep"])),
        "kind": str(random.choice(["division", "immigration"])),
        "number": 0.4,
        "capacity": float(random.choice([1, 1.5, 3])),
        "every": 1,
        "mass": float(random.choice([0.4, 1])),
    }
    for returns in (0.3, 0.0):  # input features return where they can
        settings = {"births": births | {"returns": returns}, "removal": "auto"}
        fertile_regime = regime | {"selection": regime["selection"] | settings}
        try:
            net.configure(**fertile_regime)
        except ValueError as error:
            if "births" not in str(error):
                raise
        else:
            return fertile_regime
    return regime


def targets(core: Any, loss: str, shape: tuple[int, ...], random: Any) -> Any:
    if core.catalogue()["losses"][loss]["target"] == "class":
        return random.integers(0, shape[-1], shape[:-1])
    return random.random(shape).astype(core.dtype)


def read(net: Any, x: Any, done: threading.Event, errors: list[BaseException]) -> None:
    """Read all facts and arrays of the network repeatedly, until `done` is set."""
    try:
        while not done.is_set():
            with net:
                facts = {a["name"]: a["n"] for a in net.describe()["axes"]}
                for t in net.describe()["tensors"]:
                    assert net.array(t["name"]).shape == tuple(facts.get(a, 4) for a in t["axes"])
            assert net.macs >= 0
            assert net.parameters >= 0
            assert net.nbytes > 0
            assert net.predict(x[:2]).shape[0] == 2
    except BaseException as error:
        errors.append(error)


def run(net: Any, regime: dict, job: dict, x: Any, y: Any, threads: int, reader: bool) -> Any:
    net.configure(**regime)
    done: threading.Event = threading.Event()
    errors: list[BaseException] = []
    other = threading.Thread(target=read, args=(net, x, done, errors))
    if reader:
        other.start()
    try:
        for first in (0, 5):
            try:
                net.train(x, y, first=first, threads=threads, **job)
            except ArithmeticError:  # Diverged, since many populations die at once
                break
    finally:
        done.set()
        if reader:
            other.join()
    if errors:
        raise errors[0]
    return net


def round_of(core: Any, seed: int, reader: bool, births: bool = False) -> str:
    random = np.random.default_rng(seed)
    if random.random() < 0.3:
        spec, rows, name = mixed(random), int(random.integers(2, 200)), "mixed"
        x = random.standard_normal((rows, 40)).astype(core.dtype)
    else:
        kind, i = cases.CASES[random.integers(len(cases.CASES))]
        spec = cases.spec(core, kind, layers.CASES[kind][i], bool(random.random() < 0.8))
        rows, name = int(random.integers(2, 70)), f"{kind}{i}"
        x = cases.inputs(core, kind, i, rows, seed)
    nets = [cases.filled(core.Network(spec), seed) for _ in range(2)]
    shape = nets[0].predict(x).shape
    loss = str(random.choice(list(core.catalogue()["losses"])))
    y = targets(core, loss, shape, random)
    regime = {
        "loss": loss,
        "optimizer": str(random.choice(list(core.catalogue()["optimizers"]))),
        "clip": float(random.choice([0.0, 0.1])),
        "selection": {
            "dynamics": killer(seed),
            "min_age": 0,
            "threshold": 0.5,
            "floor": int(random.choice([0, 1, 2])),
            "removal": str(random.choice(["always", "always", "auto", "never"])),
            "niche": str(random.choice(["layer", "network"])),
        },
    }
    if births:
        regime = fertile(nets[0], regime, np.random.default_rng([seed, 1]))
        name += " with births" if "births" in regime["selection"] else ""
    level = np.full(5, 1e-3)
    job = {"batch": int(random.integers(1, rows + 9)), "rate": level, "pressure": level,
           "strength": level, "keep": bool(random.random() < 0.5)}  # fmt: skip
    threads = int(random.integers(2, 5))
    one = run(nets[0], regime, job, x, y, threads, reader)
    other = run(nets[1], regime, job, x, y, 1, False)
    assert one.step == other.step
    for tensor in one.describe()["tensors"]:
        for of in ("value", "gradient", "first", "second"):
            a, b = (net.array(tensor["name"], of) for net in (one, other))
            assert np.array_equal(a, b, equal_nan=True), (tensor["name"], of)
    assert one.predict(x).shape == shape  # outputs are never removed
    one.compact()
    assert one.predict(x).shape == shape
    assert all(p["alive"] >= 0 for p in one.describe()["populations"])
    one.forward(x, training=True)
    one.backward(y)
    one.gradient()
    one.update(1e-3)
    return name


if __name__ == "__main__":
    module, first, rounds = load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for seed in range(first, first + rounds):
        print(seed, end=" ", flush=True)  # after a crash, the last number printed is the seed
        with np.errstate(all="ignore"):
            print(round_of(module, seed, "threads" in sys.argv, "births" in sys.argv), flush=True)
    print("done")

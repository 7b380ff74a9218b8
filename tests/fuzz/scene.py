"""The objects of a case: a small network of any kind, and valid arguments for its methods.

The name of a parameter determines the values that it gets, so that new methods of the core and of
the package are covered at once; a parameter with an unknown name gets only hostile values.
"""

from __future__ import annotations

import contextlib
import tempfile
from copy import deepcopy
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import cases
import numpy as np
import runs
from cores import BOTH, EVERY

import evoprune as ep
from fuzz import hostile
from fuzz.evil import Room

CATALOGUE = ep.core.core32.catalogue()
FOLDER = Path(tempfile.gettempdir())


def settings(random: Random, group: str, kind: str) -> dict[str, Any]:
    """Return random settings of a kind of the catalogue, within their bounds."""
    made = {}
    for field in CATALOGUE[group][kind]["fields"]:
        if random.random() < 0.4 or field["required"]:
            made[field["name"]] = setting(random, field)
    return made


def setting(random: Random, field: dict[str, Any]) -> Any:
    """Return a random value of a setting: its default, a bound, or a value near the lower bound."""
    low, high = field["low"], field["high"]
    match field["type"]:
        case "bool":
            return random.random() < 0.5
        case "choice":
            return random.choice(field["choices"])
        case "int":
            return int(random.choice([low, min(high, low + 1), min(high, low + 3), high]))
        case "vector":
            return [max(low, min(high, 1.0 + i)) for i in range(random.randrange(1, 4))]
    middle = field["default"] if field["default"] is not None else low
    return random.choice([low, high, middle, middle, (low + min(high, low + 1)) / 2])


class Scene:
    """A network, valid arguments for it, and a `room` of objects that evil arguments change."""

    def __init__(self, random: Random, core: ModuleType | None = None) -> None:
        self.random, self.room = random, Room(random)
        self.kept: dict[str, Any] = {}  # the last new arguments "x" and "y"
        self.core = core or random.choice(BOTH if random.random() < 0.7 else EVERY)
        self.spec = self._spec()
        self.net = self.core.Network(self.spec)
        self.room.network = self.net
        self.ids = any(layer["kind"] == "embedding" for layer in self.spec["layers"])
        self.steps = random.randrange(1, 5)
        self.n = random.choice([1, 2, 5, 17])
        self.samples = random.choice([1, 2, 5, 12, 40])
        self.loss = random.choice(list(CATALOGUE["losses"]))
        self.outputs = self.net.predict(self._plain_x(1)).shape[1:]
        if random.random() < 0.8:
            config = {} if random.random() < 0.6 else self.selection()
            with contextlib.suppress(ValueError, TypeError):  # the law may not fit the network
                self.net.configure(loss=self.loss, selection=config)

    def _spec(self) -> dict[str, Any]:
        random = self.random
        if random.random() < 0.5:
            hidden = tuple(random.choice([1, 2, 5, 24]) for _ in range(random.randrange(3)))
            spec = runs.spec(hidden, random.choice([1, 6]), random.choice([1, 3, 9]))
            if random.random() < 0.3:  # outputs with masses
                spec["layers"][-1]["config"] = {}
            return spec
        kind, i = random.choice(cases.CASES)
        spec = cases.spec(self.core, kind, cases.layers.CASES[kind][i], random.random() < 0.8)
        return deepcopy(spec)  # evil objects may change it

    # ---- valid arguments -----------------------------------------------------------------------

    def _plain_x(self, n: int) -> Any:
        shape = (n, *self.spec["input"])
        random = np.random.default_rng(self.random.randrange(2**32))
        x = random.integers(0, 3, shape) if self.ids else random.normal(0, 1, shape)
        return x.astype(self.core.dtype)

    def x(self) -> Any:
        if "x" in self.kept and self.random.random() < 0.3:
            return self._changed("x")
        x = self._plain_x(self.samples)
        if self.random.random() < 0.3:
            with np.errstate(all="ignore"):
                x = x.astype(self.random.choice(hostile.DTYPES))
            x = hostile.laid_out(self.random, x)
        self.kept["x"] = x
        return x

    def _changed(self, name: str) -> Any:
        """Return the argument `name` of an earlier call, sometimes with its first value changed."""
        array = self.kept[name]
        writable = isinstance(array, np.ndarray) and array.flags.writeable and array.size
        if writable and array.dtype.kind in "fiu" and self.random.random() < 0.5:
            with np.errstate(all="ignore"):
                value = self.random.choice([0, 1, 2, -1, 100, 2**31 - 1])
                array.reshape(-1)[0] = np.array(value).astype(array.dtype)
        return array

    def y(self) -> Any:
        if "y" in self.kept and self.random.random() < 0.3:
            return self._changed("y")
        self.kept["y"] = self._new_y()
        return self.kept["y"]

    def _new_y(self) -> Any:
        random = np.random.default_rng(self.random.randrange(2**32))
        if self.loss == "cross_entropy":
            y = random.integers(0, max(1, self.outputs[-1]), (self.samples, *self.outputs[:-1]))
            return y.astype(self.random.choice(["i8", "u1", "i4", "u8", ">i4"]))
        return random.uniform(0, 1, (self.samples, *self.outputs)).astype(self.core.dtype)

    def rows(self) -> Any:
        if self.random.random() < 0.5:
            return None
        return [self.random.randrange(self.samples) for _ in range(self.random.randrange(1, 9))]

    def tensor(self) -> str:
        return self.random.choice([t["name"] for t in self.net.describe()["tensors"]])

    def layer(self) -> str:
        layers = [p["layer"] for p in self.net.describe()["populations"]]
        return self.random.choice(layers or ["none"])

    def births(self) -> Any:
        axes = self.axes()
        ids = list(self.random.choice(list(axes.values()))) if axes else [0]
        return self.random.sample(ids, self.random.randrange(len(ids) + 1))

    def axes(self) -> dict[str, Any]:
        axes = {a["name"]: a["birth"].tolist() for a in self.net.describe()["axes"] if a["mortal"]}
        for name, ids in axes.items():
            if ids and self.random.random() < 0.3:
                axes[name] = sorted(self.random.sample(ids, self.random.randrange(1, len(ids) + 1)))
        return axes

    def selection(self) -> Any:
        random = self.random
        law = random.choice(list(CATALOGUE["dynamics"]))
        measure = random.choice(list(CATALOGUE["fitness"]))
        made = {"dynamics": law, "fitness": measure}
        for name, value in {
            "dynamics_config": settings(random, "dynamics", law),
            "fitness_config": settings(random, "fitness", measure),
            "upkeep": random.choice(["soft", "macs", "params", "uniform"]),
            "niche": random.choice(["layer", "network"]),
            "memory": random.choice([0, 0.9]),
            "threshold": random.choice([0, 1e-3, 0.5, 1.0]),
            "floor": random.choice([0, 1, 3]),
            "min_age": random.choice([0, 1, 100]),
            "every": random.choice([1, 2, 7]),
            "removal": random.choice(["auto", "always", "never"]),
        }.items():
            if random.random() < 0.4:
                made[name] = value
        if random.random() < 0.15:
            made["dynamics"] = self._law
            made.pop("dynamics_config", None)
        return made

    def _law(self, told: dict[str, Any]) -> Any:
        """Act as dynamics written in Python; return valid or invalid masses."""
        chance = self.random.random()
        if chance < 0.1:
            self.room.act()
        if chance < 0.8:
            return told["mass"] * np.float32(0.5)
        if chance < 0.9:
            return hostile.spoiled(self.random, told["mass"])
        told.clear()
        return hostile.anything(self.random)

    def schedule(self, low: float, high: float) -> Any:
        return [self.random.uniform(low, high) for _ in range(self.steps)]

    def augment(self) -> Any:
        if self.random.random() < 0.6:
            return None
        shape = self.random.choice([None, [2, 3], [2, 3, 1], list(self.spec["input"])])
        return {"shift": self.random.randrange(3), "flip": True, "shape": shape}

    def vector(self, low: float = 0.0, high: float = 2.0) -> Any:
        values = np.random.default_rng(self.random.randrange(2**32)).uniform(low, high, self.n)
        return values.astype(self.core.dtype)

    def path(self) -> str:
        name = self.random.choice(["a.safetensors", "b.safetensors", "c.npz", "d.jsonl", "none"])
        return str(FOLDER / name)

    def valid(self, parameter: str) -> Any:
        """Return a valid argument for a parameter, or any object if its name is unknown."""
        if parameter in PLAIN:
            return self.random.choice(PLAIN[parameter])
        make = MADE.get(parameter)
        return hostile.anything(self.random) if make is None else make(self)


PLAIN: dict[str, list[Any]] = {
    "threads": [1, 1, 2, 3],
    "batch": [1, 2, 5, 8, 64],
    "first": [0, 0, 1, 100, 2**40],
    "shuffle": [True, False],
    "keep": [True, False],
    "training": [True, False],
    "of": ["value", "gradient", "first", "second"],
    "pressure": [0.0, 0.5, 1.5],
    "strength": [0.0, 0.5, 1.0],
    "rate": [0.0, 1e-3, 0.1],
    "clip": [0.0, 1.0],
    "optimizer": list(CATALOGUE["optimizers"]),
    "optimizer_config": [None, {}],
    "loss_config": [None, {}, {"label_smoothing": 0.1}],
    "step": [1, 0, 10],
    "generation": [0, 1, 10],
    "seed": [0, 1, 2**64 - 1],
    "stream": [0, 1, 2**64 - 1],
    "start": [0, 1, 5, 2**40],
    "size": [0, 1, 7],
    "trials": [0, 1, 5, 10**6],
    "branch": [0, 1],
    "threshold": [0.001, 0.0, 1.0],
    "born": [None, 20],
    "group": list(CATALOGUE),
    "scale": [1.0, 0.5, 2.0],
    "shift": [0.0, 1.0],
    "config": [None, {}],
    "decay": [None, 0.1],
    "moments": [True, False],
}
MADE: dict[str, Any] = {
    "x": Scene.x,
    "y": Scene.y,
    "rows": Scene.rows,
    "spec": Scene._spec,
    "layer": Scene.layer,
    "births": Scene.births,
    "axes": Scene.axes,
    "augment": Scene.augment,
    "selection": Scene.selection,
    "loss": lambda scene: scene.loss,
    "path": Scene.path,
    "n": lambda scene: scene.n,
    "p": lambda scene: 0.5,
    "mass": Scene.vector,
    "fitness": lambda scene: scene.vector(-1, 1),
    "upkeep": lambda scene: scene.random.choice([None, scene.vector()]),
    "birth": lambda scene: scene.random.choice([None, np.arange(scene.n)]),
    "mass_gradient": lambda scene: scene.vector(-1, 1),
    "owned_norm2": Scene.vector,
    "owned_gradient2": Scene.vector,
    "owned_product": Scene.vector,
    "activity": Scene.vector,
    "norm2": lambda scene: scene.random.choice([None, scene.vector()]),
    "overlap": lambda scene: scene.random.choice([None, np.eye(scene.n)]),
    "state": lambda scene: scene.random.choice([None, np.zeros((4, scene.n), scene.core.dtype)]),
    "value": Scene.vector,
    "gradient": Scene.vector,
    "targets": lambda scene: scene.random.choice([scene.y(), np.zeros(scene.n, np.int64)]),
}

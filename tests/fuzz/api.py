"""Random calls of the package: every public function and class, every method of its objects."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

import evoprune as ep
from fuzz import hostile
from fuzz.invariants import Broken, check
from fuzz.play import INNER, Watch, call, impatient
from fuzz.report import Fault
from fuzz.scene import FOLDER, Scene

CALLS = 12  # calls per case
SPECIAL = (
    "__getitem__",
    "__setitem__",
    "__contains__",
    "__len__",
    "__iter__",
    "__repr__",
    "__eq__",
)
PLAIN: dict[str, list[Any]] = {
    "epochs": [0, 1, 2],
    "batch": [1, 4, 16, 128],
    "progress": [False],
    "live": [False],
    "until": [None, 0.5, 1],
    "steps": [None, 1, 3],
    "record_every": [None, 1, 5],
    "fraction": [None, 0.0, 0.5, 1.0],
    "keep": [None, 1, 3],
    "by": ["mass", "norm", "taylor", "random"],
    "scope": ["network", "layer"],
    "prompt": ["a", "ab"],
    "length": [0, 1, 3],
    "temperature": [0.0, 0.8, 1e6],
    "top": [0, 1, 5],
    "vocabulary": [None, "abc", 5],
    "input": [4, (4,), (8, 8, 1), (6, 6, 2)],
    "dtype": ["float32", "float64"],
    "activation": ["relu", "gelu", "identity"],
    "sizes": [1, 3, 5],
    "units": [1, 4],
    "outputs": [1, 3],
    "widths": [[2], [2, 3]],
    "kernel": [1, 3],
    "filters": [1, [2, 3]],
    "number": [1, 2],
    "dims": [2],
    "dim": [4, 8],
    "heads": [2],
    "hidden": [None, 4],
    "patch": [2, 4],
    "depth": [8],
    "width": [2],
    "context": [2, 4],
    "content": ["abcabcabcabc" * 5],
    "held_out": [0.1, 0.5],
    "stride": [1, 2],
    "monitor": ["loss", "validation_loss"],
    "patience": [1, 3],
    "every": [1, 2],
    "macs": [None, 0.5],
    "params": [None, 0.5],
    "alive": [None, 0.5],
    "generations": [0, 1, 5],
    "loss": ["cross_entropy", "mean_squared_error", ep.CrossEntropy()],
    "optimizer": ["adamw", "sgd", ep.AdamW(1e-3), ep.SGD(0.1)],
    "dynamics": ["malthusian", "moran", ep.Replicator(), ep.WrightFisher()],
    "fitness": [None, "taylor", "marginal", "pull"],
    "quantity": ["mass", "fitness", "upkeep"],
    "trait": ["mass", "fitness"],
    "table": ["epochs", "records", "extinctions"],
    "column": ["loss", "alive"],
    "normalise": ["none", "global", "feature"],
    "order": [0, 1, 2],
    "n": [1, 2, 0.5],
    "seed": [0, 1],
    "root": [FOLDER],
    "name": [None, "it"],
    "pressure": [None, 0.5, 1.5],
    "rate": [0.0, 1e-3, 0.1],
}


class Player(Scene):
    """A `Scene` that also has objects of the package: a trainer, a history, data sets."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, ep.core.core64 if random.random() < 0.2 else ep.core.core32)
        self.net: Any = ep.Network(self.spec, self.core.dtype)
        self.room.network = self.net
        selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=20), min_age=0)
        self.trainer = ep.Trainer(
            self.net, loss=self.loss, selection=random.choice([None, selection, selection])
        )
        if random.random() < 0.7:
            with contextlib.suppress(ValueError, TypeError, ep.Diverged):
                self.trainer.fit(self.pair(), epochs=1, batch_size=8, progress=False)
        self.history = self.trainer.history or ep.History(("a",), (2,))
        self.dataset = ep.datasets.Dataset(np.eye(6, 4, dtype="f4"), np.arange(6) % 3)
        self.text = ep.datasets.Text("abcabcabc" * 6, context=3)
        self.objects = {
            "net": self.net,
            "trainer": self.trainer,
            "history": self.history,
            "dataset": self.dataset,
            "text": self.text,
            "selection": selection,
            "budget": ep.Budget(macs=0.5),
            "arrays": self.net.gradients,
        }

    def pair(self) -> Any:
        """Return inputs and targets, or a data set of them."""
        x, y = self._plain_x(self.samples), self.y()
        if self.random.random() < 0.5:
            return x, y
        with contextlib.suppress(ValueError, TypeError):
            return ep.datasets.Dataset(x, y, shape=tuple(self.spec["input"]))
        return x, y

    def callbacks(self) -> Any:
        """Return up to two callbacks of different kinds."""
        made = [ep.EarlyStopping("loss", 1), ep.Checkpoint(FOLDER / "k.safetensors"), ep.Callback()]
        return self.random.sample(made, self.random.randrange(3))

    def state(self) -> Any:
        """Return a state of a trainer, or the path of a saved state."""
        if self.random.random() < 0.5:
            return self.trainer.state()
        self.trainer.save(FOLDER / "a.safetensors")
        return FOLDER / "a.safetensors"

    def nodes(self) -> Any:
        """Return layers for a network."""
        made = [ep.Dense(4), ep.neurons(3), ep.Dropout(0.1), ep.LayerNorm(), ep.Flatten(), ep.Sum()]
        made += [ep.filters(2, 3), ep.MaxPool(2), ep.Residual(ep.Dense(4)), ep.Populations("relu")]
        return self.random.choices(made, k=self.random.randrange(1, 4))

    def fits(self, parameter: str) -> Any:
        """Return a valid argument for a parameter of this name."""
        if parameter in PLAIN:
            return self.random.choice(PLAIN[parameter])
        if parameter in MADE:
            return MADE[parameter](self)
        return self.valid(parameter)


MADE: dict[str, Any] = {
    "data": Player.pair,
    "validation": lambda p: p.random.choice([None, p.pair()]),
    "callbacks": Player.callbacks,
    "state": Player.state,
    "network": lambda p: p.net,
    "other": lambda p: p.net.copy(),
    "layers": lambda p: p.random.choice([Player.nodes(p), 1, ("a",)]),
    "nodes": Player.nodes,
    "layer": lambda p: p.random.choice([None, p.layer()]),
    "selection": lambda p: p.objects["selection"],
    "key": lambda p: p.tensor(),
    "source": Player.path,
    "schedule": lambda p: ep.schedules.constant(0.1),
    "function": lambda p: lambda told: told["mass"],
    "mass": lambda p: p.vector(),
    "indices": lambda p: p.random.choice([[0, 1], slice(2), np.array([True] * 6), []]),
    "codes": lambda p: [0, 1, 2],
    "births": Scene.births,
    "history": lambda p: p.history,
}


def public() -> dict[str, Any]:
    """Return functions and classes of the package and of its data sets, by name."""
    made = {f"ep.{name}": getattr(ep, name) for name in ep.__all__}
    made |= {f"datasets.{name}": getattr(ep.datasets, name) for name in ep.datasets.__all__}
    return {name: value for name, value in made.items() if callable(value)}


def drawn() -> dict[str, Any]:
    """Return the plotting functions, which are slow."""
    found = {name: getattr(ep.plot, name) for name in ep.plot.__all__}
    return {f"plot.{name}": value for name, value in found.items() if callable(value)}


def case(seed: int, watch: Watch) -> Iterator[Fault | None]:
    """Run one case: after each call, yield its fault, or None if there is none."""
    random = Random(seed)
    watch(seed, "a network and a trainer are made")
    player = Player(random)
    functions, plots = public(), drawn()
    for _ in range(CALLS):
        chance = random.random()
        if chance < 0.004:
            where, function = random.choice(list(plots.items()))
        elif chance < 0.35:
            where, function = random.choice(list(functions.items()))
        else:
            owner = random.choice(["net", "net", "trainer", "trainer", *player.objects])
            where, function = _method(player, owner)
        result, fault = call(player, function, where, player.fits, seed, watch)
        if type(result).__module__.startswith("evoprune.") and not isinstance(result, ep.Network):
            player.objects["made"] = result
        if fault is None:
            fault = _consistent(player, where, result, seed)
        yield fault
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def _method(player: Player, owner: str) -> tuple[str, Any]:
    thing = player.objects[owner]
    if owner == "history" and player.trainer.history is not None:
        thing = player.trainer.history
    kind = type(thing)
    names = [n for n in dir(kind) if not n.startswith("_")]
    names = [name for name in names if f"{kind.__name__}.{name}" not in INNER]
    names = [name for name in names if not _of_torch(kind, name)]
    names += [n for n in SPECIAL if hasattr(kind, n)]
    name = player.random.choice(names)
    where = f"{kind.__name__}.{name}"
    if callable(getattr(kind, name, None)):
        return where, getattr(thing, name)
    return where, lambda: getattr(thing, name)


def _of_torch(kind: type, name: str) -> bool:
    """True for a method that a module only inherits from PyTorch."""
    owner = next((each for each in kind.__mro__ if name in vars(each)), kind)
    return owner.__module__.partition(".")[0] == "torch"


def _consistent(player: Player, where: str, result: Any, seed: int) -> Fault | None:
    try:
        with impatient():
            check(player.net.core, predict=player.random.random() < 0.2)
            if isinstance(result, ep.Network) and result is not player.net:
                check(result.core, predict=result.parameters < 10**5)
            player.net.describe()
            repr(player.trainer)
    except Broken as error:
        return Fault("inconsistent", where, str(error), seed)
    except KeyboardInterrupt:
        return Fault("hang", where, "the network cannot be checked in time", seed)
    except Exception as error:
        return Fault("inconsistent", where, f"{type(error).__name__}: {error}", seed)
    return None


__all__ = ["case", "hostile"]

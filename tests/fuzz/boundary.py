"""Random calls on the compiled core: every method of Network, every function of the module."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from fuzz import hostile
from fuzz.invariants import Broken, check
from fuzz.play import Watch, call
from fuzz.report import Fault
from fuzz.scene import CATALOGUE, Scene

CALLS = 20  # of a case
NAMES = {
    "dynamics_step": [*CATALOGUE["dynamics"]],
    "fitness_measure": [*CATALOGUE["fitness"]],
    "loss_measure": [*CATALOGUE["losses"]],
    "optimizer_step": [*CATALOGUE["optimizers"]],
    "elementary": ["exp", "tanh", "sigmoid", "log", "gelu", "silu"],
}
HEAVY = ("train", "forward", "configure", "kill", "compact")  # what changes most, tried more often


def methods(owner: Any) -> list[str]:
    """Names of what can be called or read."""
    return [name for name in dir(owner) if not name.startswith("_")]


def _argument(scene: Scene, method: str, parameter: str) -> Any:
    random = scene.random
    if parameter == "name":
        if method == "settings":
            return random.choice([n for kinds in CATALOGUE.values() for n in kinds])
        if method in NAMES:
            return random.choice(NAMES[method])
        layers = [layer["name"] for layer in scene.spec["layers"]]
        return scene.tensor() if method == "array" else random.choice([*layers, "input"])
    if method == "train" and parameter in ("rate", "pressure", "strength"):
        return scene.schedule(0, {"rate": 0.05, "pressure": 2, "strength": 1}[parameter])
    if method == "elementary" and parameter == "x":
        return scene.vector(-5, 5)
    if method == "loss_measure" and parameter == "y":
        return hostile.array(random, (scene.samples, *scene.outputs))
    if method == "Network" and parameter == "births":
        return scene.axes() if random.random() < 0.5 else {}
    return scene.valid(parameter)


def case(seed: int, watch: Watch) -> Iterator[Fault | None]:
    """Play one case: None for each call that went well, then perhaps a fault."""
    random = Random(seed)
    watch(seed, "a network is made")
    scene = Scene(random)
    of_network = methods(scene.core.Network)
    of_module = [n for n in methods(scene.core) if callable(getattr(scene.core, n))]
    for _ in range(CALLS):
        on_network = random.random() < 0.8
        name = random.choice(of_network if on_network else of_module)
        if on_network and random.random() < 0.4:
            name = random.choice([n for n in HEAVY if n in of_network])
        if name in ("fail_after", "Diverged"):
            continue
        yield from _one(scene, on_network, name, seed, watch)


def _one(
    scene: Scene, on_network: bool, name: str, seed: int, watch: Watch
) -> Iterator[Fault | None]:
    owner = scene.net if on_network else scene.core
    if on_network and not callable(getattr(scene.core.Network, name)):
        function, where = lambda: getattr(owner, name), f"Network.{name}"
    else:
        function, where = getattr(owner, name), ("Network." if on_network else "core.") + name
    result, fault = call(
        scene, function, where, lambda parameter: _argument(scene, name, parameter), seed, watch
    )
    if name == "Network" and result is not None:
        check(result)
    if fault is None:
        try:
            check(scene.net, predict=scene.random.random() < 0.3)
        except Broken as error:
            fault = Fault("inconsistent", where, str(error), seed)
    yield fault

"""Random calls of the compiled core: every method of Network, every function of the module."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from fuzz import hostile
from fuzz.invariants import Broken, check
from fuzz.play import Watch, call
from fuzz.report import Fault
from fuzz.scene import CATALOGUE, Scene

CALLS = 20  # calls per case
NAMES = {
    "dynamics_step": [*CATALOGUE["dynamics"]],
    "fitness_measure": [*CATALOGUE["fitness"]],
    "loss_measure": [*CATALOGUE["losses"]],
    "optimizer_step": [*CATALOGUE["optimizers"]],
    "elementary": ["exp", "tanh", "sigmoid", "log", "gelu", "silu"],
}
HEAVY = ("train", "forward", "configure", "kill", "compact")  # drawn more often than other methods


def methods(owner: Any) -> list[str]:
    """Return the public names of a class or module."""
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


def _target(scene: Scene, others: list[Any]) -> tuple[Any, str, str]:
    """Return the object whose method is called, the method's name, and a text for the call."""
    random = scene.random
    if others and random.random() < 0.3:
        owner = random.choice(others)
        name = random.choice(methods(type(owner)))
        return owner, name, f"{type(owner).__name__}.{name}"
    if random.random() < 0.2:
        name = random.choice([n for n in methods(scene.core) if callable(getattr(scene.core, n))])
        return scene.core, name, f"core.{name}"
    names = methods(scene.core.Network)
    if random.random() < 0.4:
        names = [name for name in HEAVY if name in names]
    name = random.choice(names)
    return scene.net, name, f"Network.{name}"


def case(seed: int, watch: Watch) -> Iterator[Fault | None]:
    """Run one case: after each call, yield its fault, or None if there is none."""
    random = Random(seed)
    watch(seed, "a network is made")
    scene = Scene(random)
    others: list[Any] = []  # objects of further classes of the core
    for _ in range(CALLS):
        owner, name, where = _target(scene, others)
        if name in ("fail_after", "Diverged"):
            continue
        result, fault = _one(scene, owner, name, where, seed, watch)
        if isinstance(result, scene.core.Network):
            check(result)
        elif type(result).__module__ == scene.core.__name__:
            others.append(result)
        yield fault


def _one(
    scene: Scene, owner: Any, name: str, where: str, seed: int, watch: Watch
) -> tuple[Any, Fault | None]:
    if owner is scene.core or callable(getattr(type(owner), name)):
        function = getattr(owner, name)
    else:
        function = lambda: getattr(owner, name)  # noqa: E731 - read as a call
    result, fault = call(
        scene, function, where, lambda parameter: _argument(scene, name, parameter), seed, watch
    )
    if fault is None:
        try:
            check(scene.net, predict=scene.random.random() < 0.3)
        except Broken as error:
            fault = Fault("inconsistent", where, str(error), seed)
    return result, fault

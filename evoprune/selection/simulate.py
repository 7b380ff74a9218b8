"""Simulate a dynamics law for a few populations, without a network or data.

This shows what a law does, and lets you try a new one before training with it. It runs the same
code of the core as training and `Community`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common.checks import floats, number, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.common.warn import warn
from evoprune.core.spec import resolve
from evoprune.selection.births import BirthSettings
from evoprune.selection.groups import Dynamics
from evoprune.selection.python_laws import DynamicsLike, PythonDynamics
from evoprune.selection.timing import lifespan

__all__ = ["simulate"]

FitnessOf: TypeAlias = ArrayLike | Callable[[Array], ArrayLike]
MOST = 1e300  # the largest possible mass
LINEAGE = np.dtype(
    [("generation", "i8"), ("birth", "i4"), ("parent", "i4"), ("mass", "f8"), ("fitness", "f8")]
)


@overload
def simulate(
    dynamics: DynamicsLike,
    mass: ArrayLike,
    fitness: FitnessOf,
    generations: int = 100,
    *,
    upkeep: ArrayLike | None = None,
    overlap: ArrayLike | None = None,
    threshold: float = 0.0,
    strength: float = 1.0,
    seed: int = 0,
    births: None = None,
) -> Array: ...


@overload
def simulate(
    dynamics: DynamicsLike,
    mass: ArrayLike,
    fitness: FitnessOf,
    generations: int = 100,
    *,
    upkeep: ArrayLike | None = None,
    threshold: float = 0.0,
    strength: float = 1.0,
    seed: int = 0,
    births: BirthSettings,
) -> tuple[Array, Array]: ...


@spelled
def simulate(
    dynamics: DynamicsLike,
    mass: ArrayLike,
    fitness: FitnessOf,
    generations: int = 100,
    *,
    upkeep: ArrayLike | None = None,
    overlap: ArrayLike | None = None,
    threshold: float = 0.0,
    strength: float = 1.0,
    seed: int = 0,
    births: BirthSettings | None = None,
) -> Array | tuple[Array, Array]:
    """Simulate n populations under a dynamics law and return their masses over time.

        shares = ep.simulate(ep.Replicator(), [1, 1, 1], [0.1, 0.2, 0.3], 200)
        ep.plot.muller(shares)

    Args:
        dynamics: a law, its name, or a Python function, see `evoprune.dynamics`.
        mass: initial masses (n,), at least 0.
        fitness: fitness of each population in nats per unit of mass, (n,); or a function that
            returns it for the current masses (n,). Fitness of extinct populations is ignored. With
            births, a function takes the masses of all populations born so far. From an array, a
            newborn inherits its parent's value, and an immigrant gets the mean of the living
            populations; upkeep is passed on in the same way.
        generations: number of generations; it also determines time constants of the law that are
            None.
        upkeep: upkeep of each population in nats per unit of mass: (n,), or one number; 0 by
            default.
        overlap: similarity of populations, for laws in which similar ones compete: (n, n); the
            identity by default.
        threshold: a population of less mass is extinct, with mass 0 from then on. With 0, no
            population goes extinct.
        strength: strength of the dynamics in each generation.
        seed: seed of stochastic laws.
        births: how populations are born; by default, none are born. Not possible with `overlap`.

    Returns:
        Masses: float64 (generations + 1, n); the first row has the initial masses. With births,
        masses of all populations ever born, one column each, 0 before birth; and the births: a
        structured array with generation, birth (the column of the population), parent (its column;
        -1: an immigrant), mass and fitness.

    Raises:
        ValueError, TypeError: an argument is invalid; the message names it.
    """
    start = np.array(mass, np.float64, ndmin=1)
    if start.ndim != 1 or not len(start):
        raise ValueError(f"mass: expected a vector of at least one number, got {start.shape}")
    if not (np.isfinite(start).all() and (start >= 0).all()):
        raise ValueError("mass: expected finite numbers of at least 0")
    if start.max() > MOST:
        raise ValueError(f"mass: expected numbers of at most {MOST:g}, got {start.max():g}")
    generations = whole("generations", generations, 0)
    threshold = number("threshold", threshold, 0, 1e300)
    strength = number("strength", strength, 0, 1e300)
    n = len(start)
    law: Dynamics | PythonDynamics
    if callable(dynamics) and not isinstance(dynamics, type):
        law = dynamics if isinstance(dynamics, PythonDynamics) else PythonDynamics(dynamics)
    else:
        law = resolve(Dynamics, dynamics, "simulate")
    cost = _vector("upkeep", 0 if upkeep is None else upkeep, n)
    if (cost < 0).any():
        raise ValueError("upkeep: expected numbers of at least 0")
    alike = None if overlap is None else np.array(overlap, np.float64)
    if alike is not None and alike.shape != (n, n):
        raise ValueError(f"overlap: expected ({n}, {n}) numbers, got {alike.shape}")
    if births is not None and not isinstance(births, BirthSettings):
        raise TypeError(f"births: expected a Births or None, got {births!r}")
    if births is not None and alike is not None:
        raise ValueError("overlap: expected None with births: it has no row for the newborn")
    named: dict[str, Any] = {"dynamics": law}
    if isinstance(law, Dynamics):
        law = law.timed(lifespan(generations * strength))
        named = {"dynamics": law.kind, "dynamics_config": law.config()}
    populations = core.core64.Community(
        np.array([n]),
        {
            **named,
            "upkeep": "macs",  # upkeep follows the costs, which are set below
            "memory": 0.0,
            "floor": 0,
            "min_age": 0,
            "births": None if births is None else births.config(),
        },
        seed,
        threshold,
    )
    populations.restore(mass=start, costs=cost)
    masses, newborn, capped = [start], [], False
    worth = np.zeros(n) if callable(fitness) else _vector("fitness", fitness, n)
    for _ in range(generations):
        if callable(fitness):
            worth = _vector("fitness", fitness(masses[-1].copy()), len(masses[-1]))
        _, _, cut, born = populations.step(1.0, strength, fitness=worth, overlap=alike)
        now = populations.state()
        if len(born):
            newborn.append(born)
            worth = _inherited(worth, born["parent"], now["alive"] > 0)
        masses.append(now["mass"])
        capped = capped or cut > 0
    if capped:
        warn(
            f"masses have reached {MOST:g}, the largest allowed value, and were capped",
            RuntimeWarning,
        )
    trajectories = np.zeros((generations + 1, len(masses[-1])))
    for row, values in zip(trajectories, masses, strict=True):
        row[: len(values)] = values
    if births is None:
        return trajectories
    return trajectories, _lineage(newborn)


def _inherited(worth: Array, parents: Array, alive: Array) -> Array:
    """Append the fitness of newborn populations to `worth`, the fitness of all others.

    It is the parent's, or for an immigrant the mean of the living populations.
    """
    mean = worth[alive[: len(worth)]].mean() if alive[: len(worth)].any() else 0.0
    return np.append(worth, np.where(parents >= 0, worth[np.maximum(parents, 0)], mean))


def _lineage(newborn: list[Array]) -> Array:
    rows = np.zeros(sum(map(len, newborn)), LINEAGE)
    if newborn:
        told = np.concatenate(newborn)
        rows["generation"] = told["step"]
        for name in ("birth", "parent", "mass", "fitness"):
            rows[name] = told[name]
    return rows


def _vector(name: str, values: ArrayLike, n: int) -> Array:
    """Return `values` as float64 (n,); a single number is repeated n times."""
    given = floats(name, values)
    if given.shape not in ((), (n,)):
        raise ValueError(f"{name}: expected one number or {n}, got a shape of {given.shape}")
    numbers = np.array(np.broadcast_to(given, n))
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: expected {n} finite numbers, got {numbers}")
    return numbers

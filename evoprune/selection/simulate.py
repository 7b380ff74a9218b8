"""A dynamics by itself, on numbers of your own: no network, no data, a few populations.

For learning what a law does, and for trying a new one before a network lives by it. The laws are
the core's own, the same code that trains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common.checks import number, whole
from evoprune.common.types import Array
from evoprune.core.spec import resolve
from evoprune.selection.laws import Dynamics, DynamicsLike, PythonDynamics

__all__ = ["simulate"]

FitnessOf: TypeAlias = ArrayLike | Callable[[Array], ArrayLike]


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
) -> Array:
    """Let n populations live by a dynamics, and write their masses down.

        shares = ep.simulate(ep.Replicator(), [1, 1, 1], [0.1, 0.2, 0.3], 200)
        ep.plot.muller(shares)

    Args:
        dynamics: a law, its name, or a Python function, see `evoprune.dynamics`.
        mass: at the beginning: (n,), at least 0.
        fitness: of every population, nats per unit of mass: (n,); or a function of the masses
            (n,) that gives it, where fitness depends on who else is there.
        generations: how many.
        upkeep: of every population, nats per unit of mass: (n,), or one number; none if not given.
        overlap: how alike what two populations do is, for laws in which the alike compete: (n, n);
            if not given, each is like itself only.
        threshold: a mass below it is extinct and set to 0; with 0 nobody is.
        strength: factor on the step of a generation.
        seed: of the chance in laws that have some.

    Returns:
        Masses: float64 (generations + 1, n), the first row those at the beginning.

    Raises:
        ValueError, TypeError: an argument that does not fit; it is named.
    """
    start = np.array(mass, np.float64, ndmin=1)
    if start.ndim != 1 or not len(start):
        raise ValueError(f"mass: expected a vector of at least one number, got {start.shape}")
    if not (np.isfinite(start).all() and (start >= 0).all()):
        raise ValueError("mass: expected finite numbers of at least 0")
    generations = whole("generations", generations, 0)
    threshold = number("threshold", threshold, 0, 1e300)
    n = len(start)
    law: Dynamics | PythonDynamics
    if callable(dynamics) and not isinstance(dynamics, type):
        law = dynamics if isinstance(dynamics, PythonDynamics) else PythonDynamics(dynamics)
    else:
        law = resolve(Dynamics, dynamics, "simulate")
    cost = np.broadcast_to(np.asarray(0 if upkeep is None else upkeep, np.float64), n)
    alike = np.array(np.eye(n) if overlap is None else overlap, np.float64)
    if alike.shape != (n, n):
        raise ValueError(f"overlap: expected ({n}, {n}) numbers, got {alike.shape}")
    masses = np.empty((generations + 1, n))
    masses[0] = start
    state: Array | None = None
    for at in range(generations):
        now = masses[at]
        worth = _vector("fitness", fitness(now.copy()) if callable(fitness) else fitness, n)
        if isinstance(law, Dynamics):
            new, state = core.core64.dynamics_step(
                law.kind,
                law.config(),
                now,
                worth,
                upkeep=cost.copy(),
                state=state,
                overlap=alike,
                norm2=np.ones(n),
                threshold=max(threshold, 1e-30),
                strength=strength,
                seed=seed,
                generation=at,
            )
        else:
            new = _vector("dynamics", law(_cohort(now, worth, cost, threshold, strength, at)), n)
        masses[at + 1] = np.where(new < threshold, 0.0, new)
    return masses


def _cohort(
    mass: Array, fitness: Array, upkeep: Array, threshold: float, strength: float, at: int
) -> dict[str, Any]:
    """What a dynamics in Python is called with, as in training."""
    vectors = {"mass": mass.copy(), "fitness": fitness.copy(), "upkeep": upkeep.copy()}
    more = {"threshold": threshold, "strength": strength, "generation": at, "born": len(mass)}
    return {**vectors, **more, "birth": np.arange(len(mass), dtype=np.int32)}


def _vector(name: str, values: ArrayLike, n: int) -> Array:
    numbers = np.array(np.broadcast_to(np.asarray(values, np.float64), n))
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: expected {n} finite numbers, got {numbers}")
    return numbers

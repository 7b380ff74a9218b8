"""Simulate a dynamics law for a few populations, without a network or data.

This shows what a law does, and lets you try a new one before training with it. It runs the same
code of the core as training and `Community`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common.checks import number, whole
from evoprune.common.types import Array
from evoprune.core.spec import resolve
from evoprune.selection.groups import Dynamics
from evoprune.selection.python_laws import DynamicsLike, PythonDynamics

__all__ = ["simulate"]

FitnessOf: TypeAlias = ArrayLike | Callable[[Array], ArrayLike]
MOST = 1e300  # the largest possible mass


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
    """Simulate n populations under a dynamics law and return their masses over time.

        shares = ep.simulate(ep.Replicator(), [1, 1, 1], [0.1, 0.2, 0.3], 200)
        ep.plot.muller(shares)

    Args:
        dynamics: a law, its name, or a Python function, see `evoprune.dynamics`.
        mass: initial masses (n,), at least 0.
        fitness: fitness of each population in nats per unit of mass, (n,); or a function that
            returns it for the current masses (n,). Fitness of extinct populations is ignored.
        generations: number of generations.
        upkeep: upkeep of each population in nats per unit of mass: (n,), or one number; 0 by
            default.
        overlap: similarity of populations, for laws in which similar ones compete: (n, n); the
            identity by default.
        threshold: a population of less mass is extinct, with mass 0 from then on. With 0, no
            population goes extinct.
        strength: strength of the dynamics in each generation.
        seed: seed of stochastic laws.

    Returns:
        Masses: float64 (generations + 1, n); the first row has the initial masses.

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
    named: dict[str, Any] = {"dynamics": law}
    if isinstance(law, Dynamics):
        named = {"dynamics": law.kind, "dynamics_config": law.config()}
    populations = core.core64.Community(
        np.array([n]),
        {
            **named,
            "upkeep": "given",
            "given": cost,
            "memory": 0.0,
            "floor": 0,
            "min_age": 0,
        },
        seed,
        threshold,
    )
    populations.restore(mass=start)
    masses = np.empty((generations + 1, n))
    masses[0] = start
    capped = False
    for at in range(generations):
        worth = _vector("fitness", fitness(masses[at].copy()) if callable(fitness) else fitness, n)
        _, _, cut = populations.step(1.0, strength, fitness=worth, overlap=alike)
        masses[at + 1] = populations.state()["mass"]
        capped = capped or cut > 0
    if capped:
        warnings.warn(
            f"masses have reached {MOST:g}, the most that a mass can be; they were cut there",
            RuntimeWarning,
            stacklevel=2,
        )
    return masses


def _vector(name: str, values: ArrayLike, n: int) -> Array:
    """Return one number, or n, as float64 (n,)."""
    try:
        given = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected {n} numbers, got {values!r}") from None
    if given.shape not in ((), (n,)):
        raise ValueError(f"{name}: expected one number or {n}, got a shape of {given.shape}")
    numbers = np.array(np.broadcast_to(given, n))
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: expected {n} finite numbers, got {numbers}")
    return numbers

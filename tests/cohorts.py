"""Cohorts to test the dynamics: single generations of given cohorts, and random cohorts.

A cohort holds the arguments of a law in one generation: the masses, fitness, upkeep and birth ids
of the populations of a niche, the number of founders, and the overlap of the populations.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
from cores import real
from reference.dynamics import Cohort

FREE = {"clip": 1e6}  # unbounded growth, as in textbooks


def step(core: ModuleType, name: str, mass, fitness, config=None, **cohort) -> np.ndarray:
    """Return the masses after one generation."""
    return core.dynamics_step(name, config or {}, mass, fitness, **cohort)[0]


def run(core: ModuleType, name: str, mass, fitness, config=None, times=1, **cohort) -> np.ndarray:
    """Return the masses after `times` generations at constant fitness."""
    for generation in range(times):
        mass = step(core, name, mass, fitness, config, generation=generation, **cohort)
    return mass


def step_cohort(core: ModuleType, name: str, config: dict, c: Cohort, **more) -> np.ndarray:
    return core.dynamics_step(name, config, c.mass, c.fitness, **keywords(c), **more)[0]


def keywords(c: Cohort) -> dict:
    names = ("upkeep", "birth", "born", "overlap", "norm2", "threshold", "strength")
    return {name: getattr(c, name) for name in names}


def random_cohort(
    core: ModuleType, rng: np.random.Generator, n: int | None = None, dead: float = 0.2
) -> Cohort:
    """Return a random cohort, with values exact in the core's type; a share `dead` has mass 0."""
    n = int(rng.integers(1, 40)) if n is None else n
    born = n + int(rng.integers(0, 10))
    scale = 10 ** rng.uniform(-4, 0)
    overlap = rng.uniform(0, 1, (n, n))
    overlap = (overlap + overlap.T) / 2
    np.fill_diagonal(overlap, 1)
    mass = np.exp(rng.normal(0, 2, n)) * (rng.uniform(size=n) >= dead)
    mass[rng.integers(n)] = 1
    exact = [
        mass,
        rng.normal(0, scale, n),
        rng.exponential(scale, n),
        overlap,
        rng.exponential(2, n),
    ]
    mass, fitness, upkeep, overlap, norm2 = (a.astype(real(core)).astype(float) for a in exact)
    return Cohort(
        mass=mass,
        fitness=fitness,
        upkeep=upkeep,
        birth=rng.permutation(born)[:n],
        born=born,
        overlap=overlap,
        norm2=norm2,
        threshold=10 ** rng.uniform(-6, -1),
        strength=float(rng.choice([1, 0.3, 2])),
    )


def take(c: Cohort, who: np.ndarray) -> Cohort:
    """Return the populations `who` (indices, or a mask) of a cohort, in that order."""
    return replace(
        c,
        mass=c.mass[who],
        fitness=c.fitness[who],
        upkeep=c.upkeep[who],
        birth=c.birth[who],
        overlap=c.overlap[who][:, who],
        norm2=c.norm2[who],
    )


def random_config(entry: dict, rng: np.random.Generator, born: int) -> dict:
    """Return settings around the defaults of a catalogue entry, in bounds; vectors may be empty."""
    config = {}
    for field in entry["fields"]:
        if field["type"] == "vector":
            given = VECTORS[field["name"]](rng, born)
            config[field["name"]] = given if rng.uniform() < 0.5 else []
        elif field["type"] == "choice":
            config[field["name"]] = str(rng.choice(field["choices"]))
        else:
            value = (field["default"] or 0.1) * 10 ** rng.uniform(-1, 1)
            config[field["name"]] = float(np.clip(value, field["low"], field["high"]))
    return config


def stochastic(rng: np.random.Generator, n: int) -> np.ndarray:
    q = rng.uniform(0, 1, (n, n)) + n * np.eye(n)
    return (q / q.sum(axis=1, keepdims=True)).ravel()


VECTORS = {
    "interaction": lambda rng, n: rng.uniform(0, 2, n * n),
    "kernel": stochastic,
}

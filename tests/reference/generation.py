"""One generation of selection as plain NumPy in float64: the oracle for csrc/laws/generation.c.

Written from docs/method.md: fitness is smoothed, upkeep is computed, the law changes the masses,
and populations below the threshold become extinct, lightest first, until the floor is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Law = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # mass, fitness, upkeep -> mass


def malthusian(lifespan: float, threshold: float, ceiling: float = 5.0) -> Law:
    """Return bounded growth: ln m += ln(1 / threshold) / lifespan * (F - c) / (|F| + c).

    m is mass, F fitness and c upkeep.
    """

    def law(mass: np.ndarray, fitness: np.ndarray, upkeep: np.ndarray) -> np.ndarray:
        turnover = np.abs(fitness) + upkeep
        gain = np.divide(fitness - upkeep, turnover, np.zeros_like(mass), where=turnover > 0)
        return np.minimum(ceiling, mass * np.exp(-np.log(threshold) / lifespan * gain))

    return law


@dataclass
class Layer:
    """The populations of a layer by birth id; all vectors are (founded,)."""

    cost: np.ndarray
    mass: np.ndarray = field(init=False)
    remembered: np.ndarray = field(init=False)
    alive: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.cost)
        self.mass, self.remembered, self.alive = np.ones(n), np.zeros(n), np.ones(n, bool)


@dataclass
class Generation:
    """The layers of a network, and the settings of selection.

    If `soft` is true, a population's upkeep is pressure * f * cost / c: f is the mean fitness of
    the other founders of its niche, and c the mean cost of the niche's living populations. If
    `soft` is false, upkeep is pressure * cost.
    """

    layers: list[Layer]
    law: Law
    pressure: float
    memory: float
    threshold: float
    floor: int
    min_age: int
    soft: bool = False
    whole: bool = False  # one niche for the whole network, not one per layer
    number: int = 0
    floor_reached: int = 0

    def upkeep(self, niche: list[Layer], fitness: list[np.ndarray]) -> list[np.ndarray]:
        if not self.soft:
            return [self.pressure * layer.cost for layer in niche]
        earned = [
            np.where(x.alive, np.maximum(f, 0), 0) for x, f in zip(niche, fitness, strict=True)
        ]
        total, founded = sum(e.sum() for e in earned), sum(len(e) for e in earned)
        mean = np.concatenate([layer.cost[layer.alive] for layer in niche]).mean()
        return [
            self.pressure * layer.cost / mean * (total - e) / (founded - 1)
            for layer, e in zip(niche, earned, strict=True)
        ]

    def step(self, raw: list[np.ndarray]) -> list[list[int]]:
        """Run one generation; return, by layer, the birth ids of extinctions, lightest first."""
        self.number += 1
        for layer, now in zip(self.layers, raw, strict=True):
            kept = self.memory * layer.remembered + (1 - self.memory) * now
            layer.remembered = np.where(layer.alive, kept, 0)
        died = []
        for niche in [self.layers] if self.whole else [[layer] for layer in self.layers]:
            fitness = [layer.remembered / (1 - self.memory**self.number) for layer in niche]
            upkeep = self.upkeep(niche, fitness)
            for layer, f, c in zip(niche, fitness, upkeep, strict=True):
                layer.mass = np.where(layer.alive, self.law(layer.mass, f, c), 0)
                died.append(self.extinct(layer) if self.number >= self.min_age else [])
        return died

    def extinct(self, layer: Layer) -> list[int]:
        died = []
        for j in np.argsort(layer.mass, kind="stable"):
            if not layer.alive[j] or layer.mass[j] >= self.threshold:
                continue
            if layer.alive.sum() > self.floor:
                layer.alive[j], layer.mass[j] = False, 0
                died.append(int(j))
            else:
                layer.mass[j] = self.threshold
                self.floor_reached += 1
        return died

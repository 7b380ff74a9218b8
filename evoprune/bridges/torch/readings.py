"""Readings: read-only properties and tables of an evolution."""

from __future__ import annotations

import numpy as np
import torch

from evoprune.bridges.torch import report
from evoprune.bridges.torch.laws import Laws
from evoprune.bridges.torch.pace import LivingSize
from evoprune.bridges.torch.sizes import Sizes
from evoprune.common.types import Array

__all__ = ["Readings"]


class Readings:
    """Living populations, masses and fitness, sizes and tables.

    Methods with an argument `name` take the name of an axis of populations, a key of `born`.

    Attributes:
        born: number of founding populations by the name of the axis, in the order in which vectors
            over founders hold the axes.
        kinds: what the populations of each axis are: neurons, filters or heads.
        steps: optimizer steps so far.
    """

    model: torch.nn.Module
    born: dict[str, int]
    kinds: dict[str, str]
    steps: int
    _laws: Laws
    _sizes: Sizes
    _starts: Array

    def _alive(self) -> torch.Tensor:
        """Return which founders are alive, on the CPU: bool (founders,)."""
        return self._laws.alive.cpu()

    def _part(self, name: str, values: torch.Tensor) -> Array:
        """Return the part of a vector over founders that belongs to the axis `name`."""
        if name not in self.born:
            raise KeyError(f"no population {name!r}; there are {', '.join(self.born)}")
        i = list(self.born).index(name)
        part: Array = values[self._starts[i] : self._starts[i + 1]].detach().cpu().numpy().copy()
        return part

    def births(self, name: str) -> Array:
        """Return the birth ids of the living populations of an axis: int64 (alive,)."""
        return np.flatnonzero(self._part(name, self._laws.alive))

    def masses(self, name: str) -> Array:
        """Return the masses of the founders of an axis, 0 if extinct: (born,)."""
        return self._part(name, self._laws.mass[:-1])

    def fitness(self, name: str) -> Array:
        """Return the smoothed fitness of every founder of an axis: (born,)."""
        return self._part(name, self._laws.smoothed())

    def _masses(self) -> list[Array]:
        return [self.masses(name)[self.births(name)] for name in self.born]

    @property
    def alive(self) -> dict[str, int]:
        """Number of living populations of each axis, by name."""
        return {name: len(self.births(name)) for name in self.born}

    @property
    def macs(self) -> float:
        """Multiply-adds with weights in a sample's forward pass, without extinct populations."""
        return self._sizes.total("macs", self._alive())

    @property
    def founding_macs(self) -> float:
        """Multiply-adds of the founding model, counted as in `macs`."""
        return self._sizes.founding_macs

    @property
    def macs_by_module(self) -> dict[str, float]:
        """Multiply-adds of the living model, by the module that holds the weights."""
        return self._sizes.by_module("macs", self._alive())

    @property
    def parameters_by_module(self) -> dict[str, float]:
        """Parameters of the living model, by the module that holds them."""
        return self._sizes.by_module("params", self._alive())

    @property
    def parameters(self) -> int:
        """Number of parameters of the living model."""
        return round(self._sizes.total("params", self._alive()))

    @property
    def founding_parameters(self) -> int:
        """Number of parameters of the founding model."""
        return round(self._sizes.founding_parameters)

    def __repr__(self) -> str:
        living, born = sum(self.alive.values()), sum(self.born.values())
        return f"Evolution: {living:,} of {born:,} alive after {self.steps:,} steps"

    def __str__(self) -> str:
        return report.as_text(self)

    def _repr_html_(self) -> str:
        return report.as_html(self)

    def summary(self) -> str:
        """Return a table of mass, fitness and upkeep by axis; see `report.outlook`."""
        return report.outlook(self)

    def upkeep(self, name: str) -> Array:
        """Return the upkeep of every founder of an axis: (born,)."""
        return self._part(name, self._laws.upkeep())

    def _size(self) -> LivingSize:
        return LivingSize(
            self.macs,
            self.founding_macs,
            self.parameters,
            self.founding_parameters,
            self.alive,
            self.born,
        )

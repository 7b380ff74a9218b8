"""Sizes: multiply-adds and parameters of a model's living populations, in total and by module.

Only products with weights count; products between activations (queries with keys) do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch

from evoprune.bridges.torch.populations import Piece

__all__ = ["Sizes", "Unit"]

Unit: TypeAlias = Literal["macs", "params"]


class Sizes:
    """Sizes of a model's weights; vectors `alive` are bool (founders,) on the CPU.

    Attributes:
        born: number of founding populations of each axis, by name.
        founding_macs, founding_parameters: sizes with all founders alive.
    """

    def __init__(self, pieces: Sequence[Piece], born: Mapping[str, int]) -> None:
        self.born = dict(born)
        self._pieces = pieces
        self._shapes = {piece.name: tuple(piece.tensor.shape) for piece in pieces}
        self._places = {piece.name: dict(piece.places) for piece in pieces}  # before any removal
        everyone = torch.ones(sum(self.born.values()), dtype=torch.bool)
        self.founding_macs = self.total("macs", everyone)
        self.founding_parameters = self.total("params", everyone)

    def of(self, piece: Piece, unit: Unit, alive: torch.Tensor) -> float:
        """Return the size of a parameter without extinct populations; 0 for a buffer."""
        if not piece.trained or (unit == "macs" and not piece.macs):
            return 0.0
        shape = list(self._shapes[piece.name])
        for dim, vectors in self._places[piece.name].items():
            stay = torch.ones(shape[dim], dtype=torch.bool)
            for places in vectors:
                stay &= torch.where(places >= 0, alive[places], True)
            shape[dim] = int(stay.sum())
        return float(math.prod(shape)) * (piece.macs if unit == "macs" else 1.0)

    def total(self, unit: Unit, alive: torch.Tensor) -> float:
        """Return the multiply-adds of a sample, or the parameters, of the living model."""
        return sum(self.of(piece, unit, alive) for piece in self._pieces)

    def by_module(self, unit: Unit, alive: torch.Tensor) -> dict[str, float]:
        """Return sizes by the name of the module that holds the parameters."""
        sizes: dict[str, float] = {}
        for piece in self._pieces:
            if piece.trained:
                path = piece.name.rpartition(".")[0]
                sizes[path] = sizes.get(path, 0.0) + self.of(piece, unit, alive)
        return sizes

    def shares(self, unit: Unit, alive: torch.Tensor) -> torch.Tensor:
        """Return the cost of every founder as a share of the founding model: float64 (founders,).

        The cost of a population is what removing one living population of its axis saves now; all
        founders of an axis have the same share.
        """
        whole = self.founding_macs if unit == "macs" else self.founding_parameters
        shares = torch.zeros(len(alive), dtype=torch.float64)
        start = 0
        for size in self.born.values():
            living = torch.nonzero(alive[start : start + size])
            if len(living) and whole:
                fewer = alive.clone()
                fewer[start + int(living[0])] = False
                owners = [p for p in self._pieces if self._has(p, start, size)]
                less = sum(self.of(p, unit, alive) - self.of(p, unit, fewer) for p in owners)
                shares[start : start + size] = less / whole
            start += size
        return shares

    def _has(self, piece: Piece, start: int, size: int) -> bool:
        """True if a parameter has an axis with founders start ... start + size - 1."""
        return any(
            bool(((places >= start) & (places < start + size)).any())
            for vectors in self._places[piece.name].values()
            for places in vectors
        )

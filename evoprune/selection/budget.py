"""A controller of pressure: the network shall be so small at the end, and the pressure is found.

Off unless asked for: Selection(Budget(macs=0.1)). It looks at the network between steps and says
the next pressure; who dies is still decided by fitness against upkeep alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evoprune.common.checks import number
from evoprune.common.types import Array

__all__ = ["MARKS", "Budget", "Sized"]

MARKS = 200  # times a run that the pressure is moved
GAIN = 0.1  # log of pressure a mark, by the log of how much too big the network is
MOST = 0.02  # log of pressure a mark, at most: deaths come late, and haste starves everybody
LOW, HIGH = 1e-6, 100.0
LIGHT = 0.03  # a population of less mass is counted in part: it may be on its way out
BEND = 8.0  # how much faster than at its end the log of the size falls at first


class Sized(Protocol):
    """What a budget must know of a network: its size now, and at birth."""

    @property
    def macs(self) -> float:
        """Multiply-adds of a sample's forward pass."""

    @property
    def founding_macs(self) -> float:
        """The same, at birth."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""

    @property
    def founding_parameters(self) -> int:
        """The same, at birth."""

    @property
    def alive(self) -> Mapping[str, int]:
        """Living populations, by layer."""

    @property
    def born(self) -> Mapping[str, int]:
        """Founding populations, by layer."""


@dataclass(frozen=True, repr=False)
class Budget:
    """Move the pressure so that the living network comes down to a size.

        ep.Selection(ep.Budget(macs=0.1))      # a tenth of the founding multiply-adds

    Give one of the first three: up to 1 it is a share of the founding network, above 1 a number.

    The size is approached from above, for the dead do not come back, and nobody is cut. Once it is
    reached, masses stand still and weights go on. A run of many lifespans ends within some per cent
    of the size; a short one, or one that is asked for more than selection can do, ends larger.

    Attributes:
        macs: multiply-adds of a sample's forward pass.
        params: parameters.
        alive: living populations.
        start: the pressure to begin with; a guess by the size if not given.
        by: when the size should be reached, as a share of the run (without its rest). What is left
            of it is for weights to settle.
    """

    macs: float | None = None
    params: float | None = None
    alive: float | None = None
    start: float | None = None
    by: float = 0.6

    def __post_init__(self) -> None:
        given = [name for name in ("macs", "params", "alive") if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValueError(f"Budget: expected one of macs, params and alive, got {got}")
        number(f"Budget: {given[0]}", getattr(self, given[0]), 1e-9, 1e30)
        if self.start is not None:
            number("Budget: start", self.start, LOW, HIGH)
        number("Budget: by", self.by, 0.05, 1)

    def __repr__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if value is not None}
        if shown["by"] == type(self).by:
            del shown["by"]
        return f"Budget({', '.join(f'{name}={value:g}' for name, value in shown.items())})"

    def __call__(self, steps: int) -> NDArray[np.float64]:
        """Pressure before it is moved: float64 (steps,)."""
        return np.full(steps, self.start or 0.3)

    def size(self, network: Sized) -> tuple[float, float]:
        """How big a network is now and was at birth, in what the budget counts."""
        if self.macs is not None:
            return network.macs, network.founding_macs
        if self.params is not None:
            return float(network.parameters), float(network.founding_parameters)
        return float(sum(network.alive.values())), float(sum(network.born.values()))

    def target(self, network: Sized) -> float:
        """The size to be reached, as a share of the founding one, at most 1."""
        wish = float(self.macs or self.params or self.alive or 1.0)
        return min(1.0, wish / max(1.0, self.size(network)[1]) if wish > 1 else wish)

    def reached(self, network: Sized) -> bool:
        """Is the network as small as it shall be? Then masses stand still until the end."""
        now, born = self.size(network)
        return now <= self.target(network) * born

    def first(self, network: Sized, soft: bool = True) -> float:
        """The pressure to begin with.

        Where none is given: in trials with perceptrons, multiply-adds that a constant pressure led
        to went about as its inverse under soft upkeep (and the living as its power of -0.7), and as
        its power of -0.7 otherwise.

        Args:
            network: it is only read.
            soft: is upkeep soft?
        """
        if self.start is not None:
            return self.start
        target = self.target(network)
        power = 1.0 if self.alive is None else 1.4
        guess = 0.27 * target**-power if soft else 0.04 * target**-1.4
        return float(np.clip(guess, LOW, HIGH))

    def steer(
        self,
        network: Sized,
        pressure: float,
        *,
        done: float,
        lag: float,
        threshold: float,
        masses: Iterable[Array],
    ) -> float:
        """Say the next pressure.

        Left alone under a constant pressure, the log of a network's size falls fast at first and
        then ever more slowly. The pressure rises while the network is above such a path, and falls
        while it is below.

        Args:
            network: as it is now; it is only read.
            pressure: the last one.
            done: share of the run so far, 0 to 1.
            lag: share of the run that it takes to die.
            threshold: the mass below which a population is extinct.
            masses: of the living, (alive,) a layer.
        """
        now, born = self.size(network)
        if not min(now, born) > 0 or done < lag:  # nobody can have died yet
            return pressure
        if self.reached(network):
            return pressure
        target = self.target(network)
        at = min(1.0, (done - lag) / max(0.1, self.by - lag))
        path = target ** ((1 - np.exp(-BEND * at)) / (1 - np.exp(-BEND)))
        excess = np.log(now / born * _staying(masses, threshold) / path)
        return float(np.clip(pressure * np.exp(np.clip(GAIN * excess, -MOST, MOST)), LOW, HIGH))


def _staying(masses: Iterable[Array], threshold: float) -> float:
    """Estimate what share of the size will stay: light populations count in part."""
    low = np.log(max(threshold, 1e-12))
    shares = [1.0]
    for mass in masses:
        logs = np.log(np.maximum(mass.astype(np.float64), 1e-12))
        weight = np.clip((logs - low) / max(1e-9, np.log(LIGHT) - low), 0, 1)
        shares.append(max(1e-3, float(weight.mean())) if len(weight) else 1.0)
    return float(np.exp(np.mean(np.log(shares[1:] or shares))))

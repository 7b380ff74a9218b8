"""`Budget`: a controller that adjusts pressure so that a network shrinks to a given size.

It is used by Selection(Budget(macs=0.1)). It reads the network's size between steps and returns the
next pressure. Extinction still depends on fitness and upkeep alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoprune.common.checks import number, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array, Sized

__all__ = ["Budget"]

MARKS = 200  # number of adjustments of the pressure per run
GAIN = 0.1  # each adjustment changes log(pressure) by GAIN * log(size / target path)
MOST = 0.02  # limit of that change; a larger one overshoots, since populations die with a delay
LOW, HIGH = 1e-6, 100.0
LIGHT = 0.03  # populations of smaller mass count in part, since they may soon be extinct
# log(target path) is proportional to 1 - exp(-BEND t), where t rises from 0 (at the first possible
# extinction) to 1 (when the share `by` of the run is done).
BEND = 8.0


@spelled
@dataclass(frozen=True, repr=False)
class Budget:
    """Adjust the pressure so that the living network shrinks to a given size.

        ep.Selection(ep.Budget(macs=0.1))      # a tenth of the founding multiply-adds

    Set one of macs, params and alive. A value up to 1 is a share of the founding network, a larger
    value an absolute number.

    Since extinction is final, the size only decreases. No population is removed by rank. Once the
    target is reached, masses stop changing and weights continue to learn. A run of many lifespans
    ends within a few percent of the target. A short run, or one with a target that selection cannot
    reach, ends larger.

    Attributes:
        macs: multiply-adds of one sample's forward pass.
        params: number of parameters.
        alive: number of living populations.
        start: the initial pressure; by default estimated from the target.
        by: the share of the run, not counting the steps at rest at its end, after which the target
            should be reached. The remaining steps let the weights settle.
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
        """Return the pressure before any adjustment: float64 (steps,)."""
        return np.full(steps, self.start or 0.3)

    @staticmethod
    def interval(steps: int) -> int:
        """Return the number of steps between adjustments of the pressure, in a run of `steps`."""
        return max(1, whole("steps", steps, 0, 2**62) // MARKS)

    def size(self, network: Sized) -> tuple[float, float]:
        """Return the size of a network now and at birth, in the unit of the budget."""
        if self.macs is not None:
            return network.macs, network.founding_macs
        if self.params is not None:
            return float(network.parameters), float(network.founding_parameters)
        return float(sum(network.alive.values())), float(sum(network.born.values()))

    def target(self, network: Sized) -> float:
        """Return the target size as a share of the founding size, at most 1."""
        wish = float(self.macs or self.params or self.alive or 1.0)
        return min(1.0, wish / max(1.0, self.size(network)[1]) if wish > 1 else wish)

    def reached(self, network: Sized) -> bool:
        """Return True if the target is reached; masses then stop changing until the end."""
        now, born = self.size(network)
        return now <= self.target(network) * born

    def first(self, network: Sized, soft: bool = True) -> float:
        """Return the initial pressure.

        The default comes from trials with perceptrons at constant pressure p. With soft upkeep,
        multiply-adds were about proportional to 1 / p and living populations to p ** -0.7; with
        other upkeep, both were about proportional to p ** -0.7.

        Args:
            network: the network; it is not changed.
            soft: True if upkeep is soft.
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
        """Return the next pressure.

        Under constant pressure, the log of a network's size falls fast at first, then ever more
        slowly. The target path has that shape: the pressure increases while the size is above the
        path and decreases while it is below.

        Args:
            network: the network; it is not changed.
            pressure: the current pressure.
            done: completed share of the run, 0 to 1.
            lag: share of the run before the first extinction is possible.
            threshold: the mass below which a population is extinct.
            masses: masses of the living populations of each layer, (alive,).
        """
        now, born = self.size(network)
        if not min(now, born) > 0 or done < lag:  # size 0, or too early for an extinction
            return pressure
        if self.reached(network):
            return pressure
        target = self.target(network)
        at = min(1.0, (done - lag) / max(0.1, self.by - lag))
        path = target ** ((1 - np.exp(-BEND * at)) / (1 - np.exp(-BEND)))
        excess = np.log(now / born * _staying(masses, threshold) / path)
        return float(np.clip(pressure * np.exp(np.clip(GAIN * excess, -MOST, MOST)), LOW, HIGH))


def _staying(masses: Iterable[Array], threshold: float) -> float:
    """Estimate the share of the current size that will remain; low masses count only in part."""
    low = np.log(max(threshold, 1e-12))
    shares = [1.0]
    for mass in masses:
        logs = np.log(np.maximum(mass.astype(np.float64), 1e-12))
        weight = np.clip((logs - low) / max(1e-9, np.log(LIGHT) - low), 0, 1)
        shares.append(max(1e-3, float(weight.mean())) if len(weight) else 1.0)
    return float(np.exp(np.mean(np.log(shares[1:] or shares))))

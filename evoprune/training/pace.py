"""The schedules of a run, computed block by block so that a long run needs little memory.

Blocks begin at multiples of BLOCK steps, so that a step has the same values wherever a run was
stopped. The schedules themselves are settings of the selection and the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoprune.common.errors import NothingCanDie
from evoprune.common.warn import warn
from evoprune.selection import timing
from evoprune.selection.budget import Budget
from evoprune.selection.schedules import Schedule, constant, cosine, values
from evoprune.training.feed import Schedules

if TYPE_CHECKING:
    from evoprune.selection.groups import Optimizer
    from evoprune.selection.settings import Selection
    from evoprune.training.run import Run

__all__ = ["Numbers", "Pace", "warn_of_standstill"]

BLOCK = 1 << 16  # number of steps whose values are computed at once
SAMPLED = 64  # number of blocks from which the sum of strengths is estimated in long runs


class Numbers:
    """The values of one schedule in a run of `steps` steps, checked as by `schedules.values`.

    A number or a `Schedule` is computed block by block; anything else is converted to an array.
    """

    def __init__(
        self,
        name: str,
        given: Any,
        steps: int,
        plain: Callable[[float], Schedule] = constant,
    ) -> None:
        self.steps = steps
        self._schedule: Schedule | None = None
        self._block: tuple[int, NDArray[np.float64]] = (-1, np.empty(0))
        if isinstance(given, Schedule):
            self._schedule = given
        elif not (callable(given) or np.ndim(given)):
            values(name, given, 1)
            self._schedule = plain(float(given))
        if self._schedule is None:
            self._block = (0, values(name, given, steps, plain))
        elif not np.isfinite(self.highest()):
            raise ValueError(f"{name}: expected finite numbers, got {self._schedule}")

    def cut(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the values of steps start to stop - 1: float64 (stop - start,)."""
        if self._schedule is None:
            return self._block[1][start:stop]
        parts = []
        for at in range(start - start % BLOCK, stop, BLOCK):
            if self._block[0] != at:
                self._block = (at, self._schedule.part(at, min(at + BLOCK, self.steps), self.steps))
            parts.append(self._block[1][max(0, start - at) : stop - at])
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])

    def highest(self) -> float:
        """Return the highest value of the run; 0 if it has no steps."""
        if self._schedule is None:
            return float(self._block[1].max(initial=0.0))
        if not self.steps:
            return 0.0
        rise = self._schedule.rise(self.steps)
        # A schedule rises until the end of its warmup, then changes monotonically to `final`:
        # its maximum is at one of these steps.
        ends = {0, max(0, rise - 1), min(rise, self.steps - 1), self.steps - 1}
        parts = [self._schedule.part(at, at + 1, self.steps) for at in ends]
        return float(np.concatenate(parts).max())


class Pace:
    """Learning rate, pressure and strength of selection at every step of a run.

    For a run that has not begun, it also chooses the lifespan and stores it in the run.

    Attributes:
        selection: the selection with the time constants of the run as numbers.
        highest: the highest learning rate of the run if the optimizer is adaptive, else None.
    """

    def __init__(self, optimizer: Optimizer, selection: Selection | None, run: Run) -> None:
        self._run, self._given = run, selection
        self._rate = Numbers("optimizer: learning_rate", optimizer.learning_rate, run.total, cosine)
        self._highest = self._rate.highest()
        self._pressure: Numbers | None = None
        if selection is not None and not isinstance(selection.pressure, Budget):
            self._pressure = Numbers("Selection: pressure", selection.pressure, run.total)
        adaptive = optimizer.facts["moments"] > 1  # second moments normalize its steps
        self.highest = self._highest if adaptive else None
        self.selection: Selection | None = selection
        if selection is not None:
            if run.lifespan is None and not run.done:
                each = None if self.highest is None else self.highest * selection.every
                run.lifespan = timing.lifespan(self.strength() / selection.every, each)
            self.selection = selection.timed(lifespan=run.lifespan)

    def cut(self, start: int, stop: int) -> Schedules:
        """Return learning rates, pressures and strengths of steps start to stop - 1."""
        rate = self._rate.cut(start, stop)
        if self._given is None:
            still = np.zeros(stop - start)
            return Schedules(rate, still, still)
        strength = self._strength(start, rate)
        if self._pressure is not None:
            return Schedules(rate, self._pressure.cut(start, stop), strength)
        if self._run.resting:
            strength = np.zeros(stop - start)
        return Schedules(rate, np.full(stop - start, self._run.pressure or 0.0), strength)

    def _strength(self, start: int, rate: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self._given is not None
        return self._given.strengths(self._run.total, rate, start=start, highest=self._highest)

    def strength(self) -> float:
        """Return the sum of the strengths of all steps: the run's length in steps of strength 1.

        In a run of more than SAMPLED blocks, the sum is estimated from SAMPLED blocks at equal
        distances.
        """
        rest = 0.0 if self._given is None else self._given.rest
        moving = self._run.total - round(rest * self._run.total)
        blocks = -(-moving // BLOCK)
        if blocks <= SAMPLED:
            return sum(self._strength_of(i * BLOCK, moving) for i in range(blocks))
        starts = ((2 * i + 1) * moving // (2 * SAMPLED) - BLOCK // 2 for i in range(SAMPLED))
        return (
            sum(self._strength_of(start, moving) for start in starts) / (SAMPLED * BLOCK) * moving
        )

    def _strength_of(self, start: int, end: int) -> float:
        """Return the sum of the strengths of steps start to min(start + BLOCK, end) - 1."""
        stop = min(start + BLOCK, end)
        return float(self._strength(start, self._rate.cut(start, stop)).sum())

    def stands_still(self, born: dict[str, int]) -> str:
        """Return why no population can go extinct in the run, and what to do; "" if one can."""
        if self._given is None:
            return ""
        if not born:
            return "the network has no populations with a mass"
        pressed = self._pressure is None or self._pressure.highest() > 0
        total = self._run.total
        return self._given.why_nobody_dies(total, self.strength(), self.highest, pressed, born)


def warn_of_standstill(pace: Pace, run: Run, born: dict[str, int]) -> None:
    """Warn if no population can go extinct in a run."""
    why = pace.stands_still(born) if run.total else ""
    if why:
        warn(f"no population can go extinct in this run: {why}", NothingCanDie)

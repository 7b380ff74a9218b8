"""The schedules of a run, computed block by block so that a long run needs little memory.

Blocks lie on a fixed grid, so that a step has the same values wherever a run was stopped. The
schedules themselves are defined by selection and optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoprune.selection.budget import Budget
from evoprune.selection.schedules import Schedule, constant, cosine, values
from evoprune.training.feed import Schedules

if TYPE_CHECKING:
    from evoprune.selection.groups import Optimizer
    from evoprune.selection.settings import Selection
    from evoprune.training.run import Run

__all__ = ["Numbers", "Pace"]

BLOCK = 1 << 16  # steps computed together


class Numbers:
    """One schedule of a run of `steps` steps, checked as `schedules.values` checks it.

    A number or a `Schedule` is computed block by block; anything else is converted to an array.
    """

    def __init__(
        self,
        name: str,
        wish: Any,
        steps: int,
        plain: Callable[[float], Schedule] = constant,
    ) -> None:
        self.steps = steps
        self._schedule: Schedule | None = None
        self._block: tuple[int, NDArray[np.float64]] = (-1, np.empty(0))
        if isinstance(wish, Schedule):
            self._schedule = wish
        elif not (callable(wish) or np.ndim(wish)):
            values(name, wish, 1)
            self._schedule = plain(float(wish))
        if self._schedule is None:
            self._block = (0, values(name, wish, steps, plain))
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
        # It rises until the end of its warm-up and then changes monotonically to its final value.
        ends = {0, max(0, rise - 1), min(rise, self.steps - 1), self.steps - 1}
        parts = [self._schedule.part(at, at + 1, self.steps) for at in ends]
        return float(np.concatenate(parts).max())


class Pace:
    """Learning rate, pressure and strength of selection at every step of a run."""

    def __init__(self, optimizer: Optimizer, selection: Selection | None, run: Run) -> None:
        self._run, self._selection = run, selection
        self._rate = Numbers("optimizer: learning_rate", optimizer.learning_rate, run.total, cosine)
        self._highest = self._rate.highest()
        self._pressure: Numbers | None = None
        if selection is not None and not isinstance(selection.pressure, Budget):
            self._pressure = Numbers("Selection: pressure", selection.pressure, run.total)

    def cut(self, start: int, stop: int) -> Schedules:
        """Return the values of steps start to stop - 1."""
        rate = self._rate.cut(start, stop)
        if self._selection is None:
            still = np.zeros(stop - start)
            return Schedules(rate, still, still)
        strength = self._strength(start, rate)
        if self._pressure is not None:
            return Schedules(rate, self._pressure.cut(start, stop), strength)
        if self._run.resting:
            strength = np.zeros(stop - start)
        return Schedules(rate, np.full(stop - start, self._run.pressure or 0.0), strength)

    def _strength(self, start: int, rate: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self._selection is not None
        return self._selection.strengths(self._run.total, rate, start=start, highest=self._highest)

    def _blocks(self) -> Iterator[NDArray[np.float64]]:
        rest = 0.0 if self._selection is None else self._selection.rest
        moving = self._run.total - round(rest * self._run.total)
        for start in range(0, moving, BLOCK):
            stop = min(start + BLOCK, moving)
            yield self._strength(start, self._rate.cut(start, stop))

    def stands_still(self, born: dict[str, int]) -> str:
        """Return the reason why no population can die in the run; "" if one can."""
        selection, total = self._selection, 0.0
        if selection is None:
            return ""
        enough = selection.every * (max(selection.min_age, selection.lifespan() or 0.0) + 2)
        for strength in self._blocks():
            total += float(strength.sum())
            if total > enough:
                break
        pressed = self._pressure is None or self._pressure.highest() > 0
        return selection.why_nobody_dies(total, pressed, born)

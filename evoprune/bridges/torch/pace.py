"""Pace: strength of the dynamics and selection pressure at every step.

This module reads learning rates and schedules, chooses a lifespan that fits the run, and lets a
Budget adjust the pressure. A step does not wait for the device: if a learning rate is a tensor on
the device, so is the strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evoprune import Budget, NothingCanDie, Selection
from evoprune.bridges.torch.errors import Unsupported
from evoprune.common.types import Array, Sized
from evoprune.common.warn import warn

__all__ = ["LivingSize", "Pace"]


SCHEDULED = 0.5  # mean / peak learning rate of cosine, linear and one-cycle schedules


class Pace:
    """Pressure and strength of every step.

    Attributes:
        selection: the selection, with numbers for time constants that were None.
        pressure: the pressure set by a Budget; None without a Budget.
        resting: True if a Budget is reached; masses no longer change.
        peak: highest learning rate so far.
    """

    def __init__(
        self,
        selection: Selection,
        optimizers: Sequence[torch.optim.Optimizer],
        steps: int | None,
    ) -> None:
        self.steps = steps
        self.pressure: float | None = None
        self.resting = False
        self.peak: float | torch.Tensor = 0.0
        self._optimizers = optimizers
        given = selection.pressure
        varies = callable(given) or bool(np.ndim(given))
        if steps is None and (varies or selection.rest > 0):
            what = "rest" if selection.rest > 0 else f"pressure {given!r}"
            raise Unsupported(f"selection: {what} needs steps=, the number of steps of the run")
        self.budget = given if isinstance(given, Budget) else None
        self._pressures: Array = selection.pressures(1 if steps is None else steps)
        self.selection = self._timed(selection)

    def _timed(self, selection: Selection) -> Selection:
        """Return the selection with a lifespan that fits the run; warn if the run is too short.

        Learning rates of later steps are unknown. If there is a scheduler, their mean is assumed to
        be SCHEDULED times their maximum.
        """
        if self.steps is None:
            return selection.timed()
        group = self._group()
        strength = float(self.steps - round(selection.rest * self.steps))
        if selection.clock == "rate" and "initial_lr" in group:  # written by a scheduler
            strength *= SCHEDULED
        rate = max(map(float, _rates(group))) if {"betas", "eps"} & set(group) else None
        pressed = self.budget is not None or bool(self._pressures.any())
        why = selection.why_nobody_dies(self.steps, strength, rate, pressed, {})
        if why:
            warn(f"no population can go extinct in this run: {why}", NothingCanDie)
        every = selection.every
        return selection.timed(strength / every, None if rate is None else rate * every)

    def _group(self) -> dict[str, Any]:
        """Return the parameter group with the most tensors; its learning rate sets the strength."""
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        return max(groups, key=lambda group: len(group["params"]))

    def begin(self, sized: Sized) -> None:
        """Set the initial pressure of a Budget."""
        if self.budget is not None and self.pressure is None:
            self.pressure = self.budget.first(sized, self.selection.upkeep == "soft")

    def pressure_at(self, step: int) -> float:
        """Return the pressure at a step, counted from 0; after the run, that of the last step."""
        if self.pressure is not None:
            return self.pressure
        return float(self._pressures[min(step, len(self._pressures) - 1)])

    def strength_at(self, step: int) -> float | torch.Tensor:
        """Return the strength of the dynamics at a step: 0 to 1."""
        s = self.selection
        rests = self.steps is not None and step >= self.steps - round(s.rest * self.steps)
        if self.resting or rests:
            return 0.0
        if s.clock != "rate":
            return 1.0
        rates = _rates(self._group())
        if any(isinstance(rate, torch.Tensor) and rate.device.type != "cpu" for rate in rates):
            return self._strength_on_device(rates)
        rate, *others = (float(rate) for rate in rates)
        self.peak = max(float(self.peak), rate, *others)
        return rate / self.peak if self.peak > 0 else 1.0

    def _strength_on_device(self, rates: Sequence[Any]) -> torch.Tensor:
        """Return the strength as a tensor, for a learning rate that is a tensor on a device."""
        device = next(r.device for r in rates if isinstance(r, torch.Tensor))
        known = [torch.as_tensor(rate, dtype=torch.float32, device=device) for rate in rates]
        peak = torch.as_tensor(self.peak, dtype=torch.float32, device=device)
        self.peak = torch.stack([peak, *known]).amax()
        return torch.where(self.peak > 0, known[0] / self.peak.clamp_min(1e-30), 1.0)

    def steers_at(self, step: int) -> bool:
        """True if a Budget measures the model after this many steps."""
        if self.budget is None or self.steps is None:
            return False
        return step % self.budget.interval(self.steps) == 0

    def steer(self, step: int, sized: Sized, masses: Callable[[], list[Array]]) -> None:
        """Let the Budget adjust the pressure."""
        assert self.budget is not None
        assert self.steps is not None
        assert self.pressure is not None
        s = self.selection
        moving = max(1, round((1 - s.rest) * self.steps))
        self.resting = self.budget.reached(sized)
        self.pressure = self.budget.steer(
            sized,
            self.pressure,
            done=min(1.0, step / moving),
            lag=(s.lifespan() or 0.0) * s.every / moving,
            threshold=s.threshold,
            masses=masses(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the mutable state, and the time constants for which it is valid."""
        return {
            "pressure": self.pressure,
            "resting": self.resting,
            "peak": self.peak,
            "timing": self._constants(),
        }

    def _constants(self) -> list[Any]:
        return [repr(self.selection.dynamics), self.selection.min_age]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the mutable state.

        Raises:
            ValueError: the state is of a run with other time constants; nothing has changed.
        """
        timing = state.get("timing", self._constants())
        if list(timing) != self._constants():
            (law, age), (own, own_age) = timing, self._constants()
            raise ValueError(
                f"state: expected dynamics {own} and min_age {own_age}, got {law} and {age}; give "
                "the steps and the learning rate that the run began with, or these settings"
            )
        self.pressure, self.resting = state["pressure"], state["resting"]
        self.peak = state["peak"]


def _rates(group: Mapping[str, Any]) -> list[Any]:
    """Return the learning rate of a parameter group, and its maximum and initial rate if set."""
    return [group[name] for name in ("lr", "max_lr", "initial_lr") if name in group]


@dataclass(frozen=True)
class LivingSize:
    """The size of a model as a Budget measures it."""

    macs: float
    founding_macs: float
    parameters: int
    founding_parameters: int
    alive: dict[str, int]
    born: dict[str, int]

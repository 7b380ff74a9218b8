"""Schedules: a value for every step of a run. The core takes schedules as arrays only.

`AdamW(1e-3)` means `AdamW(cosine(1e-3))`; `Selection(0.3)` means a constant pressure. Nothing here
depends on what the values are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evoprune.common.checks import floats, number
from evoprune.common.renames import spelled

__all__ = [
    "Schedule",
    "ScheduleLike",
    "constant",
    "cosine",
    "linear",
    "one_cycle",
    "values",
    "warmup",
]


@spelled
@dataclass(frozen=True)
class Schedule:
    """Values from `start` to `final` over a run, after a linear warmup from 0.

    Attributes:
        shape: "constant" (stays at start), "linear" or "cosine" (half a period).
        start: the value after the warmup.
        final: the value that a step after the last one would have.
        warmup: share of the run for the warmup, 0 to 1.
    """

    shape: Literal["constant", "linear", "cosine"]
    start: float
    final: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in ("constant", "linear", "cosine"):
            raise ValueError(f"shape: expected constant, linear or cosine, got {self.shape!r}")
        _check(self, ("start", "final"), "warmup")

    def __call__(self, steps: int) -> NDArray[np.float64]:
        """Return the values of a run of `steps` steps: float64 (steps,)."""
        return self.part(0, steps, steps)

    def rise(self, steps: int) -> int:
        """Return the number of warmup steps in a run of `steps` steps."""
        return round(self.warmup * steps)

    def part(self, start: int, stop: int, steps: int) -> NDArray[np.float64]:
        """Return values start to stop - 1 of a run of `steps` steps: float64 (stop - start,)."""
        rise = self.rise(steps)
        at = np.arange(start, stop, dtype=np.float64)
        done = np.clip((at - rise) / max(1, steps - rise), 0, 1)  # share of the steps after warmup
        if self.shape == "constant":
            left = np.ones(stop - start)
        elif self.shape == "linear":
            left = 1 - done
        else:
            left = (1 + np.cos(np.pi * done)) / 2
        numbers = self.final + (self.start - self.final) * left
        rising = max(0, rise - start)
        if rising:
            numbers[:rising] = self.start * (at[:rising] + 1) / rise
        return numbers

    def __repr__(self) -> str:
        inner = f"{self.start:g}"
        if self.shape != "constant" and self.final:
            inner += f", {self.final:g}"
        text = f"{self.shape}({inner})"
        return f"warmup({text}, {self.warmup:g})" if self.warmup else text


ScheduleLike: TypeAlias = (
    float | Schedule | Callable[[int], ArrayLike] | Sequence[float] | NDArray[Any]
)
"""A number, a schedule, a function of the number of steps, or one number per step."""


def _check(schedule: Any, levels: Sequence[str], share: str) -> None:
    """Check the attributes of a schedule: levels are at least 0, a share is from 0 to 1."""
    for name in levels:
        value = getattr(schedule, name)
        if not np.isfinite(value) or value < 0:
            raise ValueError(f"{name}: expected a finite number of at least 0, got {value}")
    value = getattr(schedule, share)
    if not 0 <= value <= 1:
        raise ValueError(f"{share}: expected a share from 0 to 1, got {value}")


def _level(name: str, value: Any) -> float:
    """Check that `value` is a finite number of at least 0; return it as a float."""
    return number(name, value, 0, float(np.finfo(np.float64).max))


def constant(value: float) -> Schedule:
    """Make a schedule that stays at `value`."""
    return Schedule("constant", _level("value", value))


@spelled
def linear(start: float, final: float = 0.0) -> Schedule:
    """Make a schedule that goes linearly from `start` to `final`."""
    return Schedule("linear", _level("start", start), _level("final", final))


@spelled
def cosine(start: float, final: float = 0.0) -> Schedule:
    """Make a schedule that goes from `start` to `final` along half a cosine period.

    From Loshchilov & Hutter (2017), without restarts.
    """
    return Schedule("cosine", _level("start", start), _level("final", final))


@spelled
def warmup(schedule: float | Schedule, share: float = 0.05) -> Schedule:
    """Make a schedule with a linear warmup from 0; a number x means cosine(x).

    Args:
        schedule: the schedule after the warmup, over the rest of the run.
        share: share of the run for the warmup, 0 to 1.
    """
    whole = schedule if isinstance(schedule, Schedule) else cosine(schedule)
    return replace(whole, warmup=share)


@spelled
@dataclass(frozen=True)
class OneCycle:
    """A rise from `start` to `peak` over the first `share` of a run, then a fall to `final`.

    Rise and fall each follow half a cosine period (Smith and Topin, 2018).
    """

    peak: float
    share: float
    start: float
    final: float

    def __post_init__(self) -> None:
        _check(self, ("peak", "start", "final"), "share")

    def __call__(self, steps: int) -> NDArray[np.float64]:
        """Return the values of a run of `steps` steps: float64 (steps,)."""
        top = round(self.share * steps)
        ends = [(self.start, self.peak, top), (self.peak, self.final, steps - top)]
        parts = []
        for begin, end, n in ends:
            gone = (1 - np.cos(np.pi * np.arange(n) / max(1, n))) / 2
            parts.append(begin + (end - begin) * gone)
        return np.concatenate(parts)

    def __repr__(self) -> str:
        text = f"one_cycle({self.peak:g}"
        usual = one_cycle(self.peak)
        for name in ("share", "start", "final"):
            if getattr(self, name) != getattr(usual, name):
                text += f", {name}={getattr(self, name):g}"
        return text + ")"


@spelled
def one_cycle(
    peak: float, share: float = 0.3, *, start: float | None = None, final: float | None = None
) -> OneCycle:
    """Make a schedule that rises to a peak and then falls almost to 0, in one cycle.

    From Smith and Topin (2018).

    Args:
        peak: the highest value.
        share: share of the run for the rise, 0 to 1.
        start: the first value; peak / 25 by default.
        final: the value that the last steps approach; peak / 10,000 by default.
    """
    top = float(peak)
    low = top / 25 if start is None else float(start)
    return OneCycle(top, float(share), low, top / 1e4 if final is None else float(final))


def values(
    name: str, given: ScheduleLike, steps: int, plain: Callable[[float], Schedule] = constant
) -> NDArray[np.float64]:
    """Return the checked values of a schedule over a run: float64 (steps,).

    Args:
        name: name of the setting, for error messages.
        given: see `ScheduleLike`.
        steps: number of steps of the run.
        plain: makes a schedule of a plain number.

    Raises:
        ValueError: there are not `steps` values, or one is negative, infinite or NaN.
        TypeError: `given` is not a `ScheduleLike`.
    """
    if isinstance(given, bool | str | None):
        raise TypeError(f"{name}: expected a number or a schedule, got {given!r}")
    if not callable(given) and np.ndim(given) == 0:  # also a Fraction or a 0-d array
        try:
            single = float(given)  # type: ignore[arg-type]
        except OverflowError:  # an int too large for a float
            single = float("inf")
        except (TypeError, ValueError):
            raise TypeError(f"{name}: expected a number or a schedule, got {given!r}") from None
        if not (np.isfinite(single) and single >= 0):
            raise ValueError(f"{name}: expected a finite number of at least 0, got {given}")
        given = plain(single)
    numbers = floats(name, given(steps) if callable(given) else given)
    if numbers.shape != (steps,):
        raise ValueError(
            f"{name}: expected {steps} numbers, one per step of the run, got shape {numbers.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(bad):
        raise ValueError(
            f"{name}: expected finite numbers of at least 0, got {numbers[bad[0]]} at step {bad[0]}"
        )
    return np.ascontiguousarray(numbers)

"""The lifespan of a run in generations, if the user sets none.

It is a share of the run plus the time that weights need to learn something. The numbers were
chosen on validation images by experiments/run_length.py; docs/run_length.md has the tables.
"""

from __future__ import annotations

__all__ = ["AGES", "UNKNOWN", "lifespan", "shortest"]

UNKNOWN = 700.0
"""Lifespan, in generations, of a run of unknown length. Default rates of laws assume it."""

LIVES = 7.0
"""The lifespan is the number of generations of the run divided by LIVES, plus a time to learn."""

AGES = 7.0
"""`min_age` is the lifespan divided by AGES; younger populations cannot go extinct."""

LEAST = 20.0
"""Minimum time to learn, in generations: twice the span over which fitness is averaged."""

TRAVEL = 0.02
"""Distance that a weight has to move to learn something. With an adaptive optimizer it moves by
about the learning rate at each step, so that this takes TRAVEL / rate generations."""

PLAIN = 20.0
"""Generations to learn, besides LEAST, with an optimizer that is not adaptive. Its steps are
proportional to gradients, so the learning rate alone does not determine how far weights move."""

IDLE = 10.0
"""Factor on the lifespan of a run that is too short for an extinction."""

MOST = 1e12
"""The largest lifespan that the core accepts."""


def lifespan(generations: float | None, rate: float | None = None) -> float:
    """Return the lifespan of a run in generations, a whole number.

    If no population can go extinct in the run, the lifespan is so long that masses hardly change.

    Args:
        generations: length of the whole run in generations of strength 1; None if unknown.
        rate: highest learning rate of an adaptive optimizer, times the steps of a generation; None
            for any other optimizer.
    """
    if generations is None:
        return UNKNOWN
    span = float(round(max(0.0, generations) / LIVES + _learning(rate)))
    return min(MOST, span if span <= generations else IDLE * span)


def shortest(rate: float | None = None) -> float:
    """Return the fewest generations of strength 1 in a run in which extinction is possible."""
    return min(MOST, _learning(rate) * LIVES / (LIVES - 1))


def _learning(rate: float | None) -> float:
    """Return the number of generations that weights need to learn something."""
    return LEAST + (TRAVEL / max(rate, TRAVEL / MOST) if rate else PLAIN)

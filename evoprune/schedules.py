"""Schedules: a value for every step of a run, as in `AdamW(schedules.warmup(1e-3))`.

A number, a function of the number of steps, or an array of values is a schedule too.
"""

from evoprune.selection.schedules import (
    OneCycle,
    Schedule,
    constant,
    cosine,
    linear,
    one_cycle,
    warmup,
)

__all__ = ["OneCycle", "Schedule", "constant", "cosine", "linear", "one_cycle", "warmup"]

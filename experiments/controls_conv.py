"""Compare selection of filters with controls that are given the final shape: LeNet-5 and a CNN.

The methods are those of controls.py. Settings are chosen on 5,000 validation images, and pressures
give all runs of selection of a table about the same size. EVOPRUNE_DATA names the folder that has
fashion-mnist/. A script that was stopped continues when it is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lab
from controls import Method, Setting, Task, script
from lab import Job
from schedules import from_scratch, gradual, one_cut, replay, selection


@dataclass(frozen=True)
class FilterTask(Task):
    """A table whose settings may have "dense", a rate of dropout before the first dense layer."""

    def job_of(self, name: str, setting: Setting, quick: bool, **more: Any) -> Job:
        """Return the job of a method."""
        told = dict(setting)
        drops = told.pop("dropout", 0.0), told.pop("dense", 0.0)
        role, _, sizes = self.job.net.partition(" ")
        net = f"{role}:{drops[0]:g}:{drops[1]:g} {sizes}" if any(drops) else self.job.net
        return replace(super().job_of(name, told, quick, **more), net=net)


RATES = [{"rate": rate, "decay": d} for rate, d in ((2e-3, 0.5), (2e-3, 0.1), (4e-3, 0.5))]


def moved(run: Any, epochs: int, settings: Sequence[Setting], pressure: float | None) -> Method:
    """Return a method whose images are moved by up to a pixel in training."""
    some = [{**setting, "shift": 1} for setting in settings]
    of = "" if run is selection else "ours, moved"
    return Method(run, epochs, of, pressure=pressure, settings=some)


TASKS = {
    "controls_lenet": FilterTask(
        Job("lenet5 20-50-500", selection={"pressure": 2.0}),
        {
            "ours": Method(selection, 10),
            "gradual": Method(gradual, 10, "ours"),
            "ours, moved": moved(selection, 32, RATES[:1], 2.6),
            "gradual, moved": moved(gradual, 25, RATES[:2], None),
            "one cut, moved": moved(one_cut, 10, RATES[:2], None),
            "one cut": Method(one_cut, 10, "ours", settings=RATES[:2]),
            "from scratch": Method(from_scratch, 10, "ours", tuned_as="gradual"),
            "replay": Method(replay, 10, "ours", tuned_as="ours", seeds=3),
        },
        settings=RATES,
        seeds=4,
    ),
}


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))

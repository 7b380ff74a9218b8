"""Compare selection of filters with controls that are given the final shape: LeNet-5 and a CNN.

The methods are those of controls.py. "moved" after a name: training images are moved at random by
up to a pixel along both axes. Settings are chosen on 5,000 validation images, without moves;
pressures give all runs of selection of a table about the same size. EVOPRUNE_DATA names the folder
that has fashion-mnist/. A script that was stopped continues when it is started again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lab
from controls import Method, Setting, Task, script
from lab import Job
from schedules import from_scratch, gradual, one_cut, replay, selection, uniform


@dataclass(frozen=True)
class FilterTask(Task):
    """A table whose settings may have "dense", a rate of dropout before the first dense layer."""

    def job_of(self, name: str, setting: Setting, quick: bool, **more: Any) -> Job:
        """Return the job of a method."""
        told = dict(setting)
        drops = told.pop("dropout", 0.0), told.pop("dense", 0.0)
        role, _, sizes = self.job.net.partition(" ")
        net = f"{role}:{drops[0]:g}:{drops[1]:g} {sizes}" if any(drops) else self.job.net
        if name.endswith("moved"):
            more["shift"] = 1
        return replace(super().job_of(name, told, quick, **more), net=net)


RATES = [{"rate": rate, "decay": d} for rate, d in ((2e-3, 0.5), (2e-3, 0.1), (4e-3, 0.5))]
SLOW, FAST = {"rate": 1e-3, "decay": 0.1}, {"rate": 4e-3, "decay": 0.1}
TASKS = {
    "controls_lenet": FilterTask(
        Job("lenet5 20-50-500", selection={"pressure": 2.0}),
        {
            "ours": Method(selection, 10),
            "gradual": Method(gradual, 10, "ours", stages=([*RATES, SLOW], [{}, {"end": 0.5}])),
            "ours, moved": Method(selection, 32, pressure=2.6, tuned_as="ours"),
            "gradual, moved": Method(gradual, 25, "ours, moved", tuned_as="gradual"),
            "from scratch": Method(from_scratch, 10, "ours", settings=RATES[:2]),
            "one cut": Method(one_cut, 10, "ours", settings=[RATES[1], SLOW, FAST]),
            "one cut, moved": Method(one_cut, 10, "ours, moved", tuned_as="one cut"),
            "replay": Method(replay, 10, "ours", tuned_as="ours", seeds=3),
            "uniform": Method(uniform, 10, "ours", tuned_as="gradual"),
        },
        settings=RATES,
        seeds=4,
    ),
}


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))

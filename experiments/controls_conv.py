"""Compare selection of filters with controls that are given the final shape: LeNet-5 and a CNN.

The controls are those of controls.py. Learning rate, weight decay and dropout are chosen on 5,000
validation images, by one run of each setting; pressures give all runs of selection of a table
about the same size. EVOPRUNE_DATA names the folder that has fashion-mnist/. A script that was
stopped continues when it is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lab
from controls import Method, Task, from_scratch, gradual, one_cut, replay, script, selection
from lab import Job


@dataclass(frozen=True)
class FilterTask(Task):
    """A table whose settings may have "inputs" and "dense" (rates of dropout) and "pressure"."""

    def job_of(self, name: str, setting: Mapping[str, float], quick: bool, **more: Any) -> Job:
        """Return the job of a method."""
        setting = dict(setting)
        drops = setting.pop("inputs", 0.0), setting.pop("dense", 0.0)
        if "pressure" in setting:
            more["selection"] = {**(self.job.selection or {}), "pressure": setting.pop("pressure")}
        role, _, sizes = self.job.net.partition(" ")
        net = f"{role}:{drops[0]:g}:{drops[1]:g} {sizes}" if any(drops) else self.job.net
        return replace(super().job_of(name, setting, quick, **more), net=net)


def settings(*some: tuple[float, ...], dropout: bool = False) -> list[dict[str, float]]:
    """Return settings: rate, decay, pressure of selection; with `dropout` its rates come last."""
    names = ("rate", "decay", "pressure", *(("inputs", "dense") if dropout else ()))
    return [dict(zip(names, setting, strict=True)) for setting in some]


P = 2.0  # the pressure that leaves about 111 k multiply-adds
RATES = settings((2e-3, 0.5, P), (2e-3, 0.1, P), (4e-3, 0.5, P))
TASKS = {
    "controls_lenet": FilterTask(
        Job("lenet5 20-50-500"),
        {
            "ours": Method(selection, 10),
            "replay": Method(replay, 10, "ours", tuned_as="ours"),
            "one cut": Method(one_cut, 10, "ours"),
            "gradual": Method(gradual, 10, "ours"),
            "from scratch": Method(from_scratch, 10, "ours", tuned_as="gradual"),
        },
        settings=RATES,
    ),
}


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))

"""The Pareto front of structured sparsity: 784-300-100-10 with input pixels as populations.

Data is MNIST, with five seeds: runs of 20 epochs with the defaults under pressures from 0.5 to 3,
and long runs with the settings chosen in explore.py. Results are error against multiply-adds and
against hidden units. Controls of the same sizes are the surviving pixels and neurons trained from
scratch, and a dense network trained for as long and then pruned by norm and at random.
"""

from __future__ import annotations

import lab
from explore import ONE_NICHE, long
from jobs import Job
from lab import Lab

SEEDS = 5
NET = "seeing 784-300-100-10"
SHORT = {
    f"20 epochs, pressure {p:g}": Job(NET, selection={"pressure": p}) for p in (0.5, 1, 1.5, 3)
}
LONG = {
    "60 epochs, pressure 1.5, shift 1": long(1.5, 2000, net=NET, shift=1, read="test"),
    "240 epochs, pressure 2.5, lifespan 8000, shift 1": long(
        2.5, 8000, 240, net=NET, shift=1, read="test"
    ),
    "240 epochs, pressure 2.25, one niche, lifespan 8000, shift 1": long(
        2.25, 8000, 240, selection=ONE_NICHE, net=NET, shift=1, read="test"
    ),
}


def script(lab_: Lab) -> None:
    jobs = SHORT | LONG
    groups = lab.groups_of(lab_, jobs.values(), SEEDS)
    ours = [lab.summary([row for _, row in group]) for group in groups]
    told = [{"settings": name, "ours": found} for name, found in zip(jobs, ours, strict=True)]
    for row, control in zip(told, lab.controls(lab_, groups), strict=True):
        row |= control
    lab_.write(front=told)


if __name__ == "__main__":
    lab.main("front", __doc__, script)

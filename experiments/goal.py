"""Smaller networks: longer runs of 784-512-256-10, with settings chosen by explore.py.

Data is MNIST, with five seeds. The controls of each run are the surviving shape trained from
scratch for as long, and a dense network trained for as long and then pruned to the same sizes by
norm and at random. Some runs shift every image at random by up to one pixel in each direction
(`augment={"shift": 1}`); most published results do not.
"""

from __future__ import annotations

import lab
from explore import long
from lab import Lab

SEEDS = 5
JOBS = {
    "60 epochs, pressure 2": long(2, 2000, read="test"),
    "60 epochs, pressure 3": long(3, 2000, read="test"),
    "60 epochs, pressure 3.5, lifespan 4000": long(3.5, 4000, read="test"),
    "60 epochs, pressure 3.5, shift 1": long(3.5, 2000, shift=1, read="test"),
}


def script(lab_: Lab) -> None:
    groups = lab.groups_of(lab_, JOBS.values(), SEEDS)
    ours = [lab.summary([row for _, row in group]) for group in groups]
    told = [{"settings": name, "ours": found} for name, found in zip(JOBS, ours, strict=True)]
    lab_.write(goal=told)
    for row, control in zip(told, lab.controls(lab_, groups), strict=True):
        row |= control
    lab_.write(goal=told)


if __name__ == "__main__":
    lab.main("goal", __doc__, script)

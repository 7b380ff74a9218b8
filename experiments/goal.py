"""Smaller networks: longer runs of 784-512-256-10, with settings chosen by explore.py.

MNIST, five seeds; beside each the surviving shape trained from scratch, as long, and a dense
network trained as long, cut to the same sizes by norm and at random. Some runs see every image
moved by up to a pixel each way at random (`augment={"shift": 1}`); published results mostly do
without.
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

"""As small as it gets: longer runs of 784-512-256-10, with settings chosen by explore.py.

MNIST, five seeds, controls of the same sizes trained as long. Some runs see every image moved by up
to a pixel each way at random (`augment={"shift": 1}`); published results mostly do without.
"""

from __future__ import annotations

from dataclasses import replace

import lab
from explore import long
from lab import Lab

SEEDS = 5
JOBS = {
    "60 epochs, pressure 1": long(1, 2000, read="test"),
    "60 epochs, pressure 2, shift 1": long(2, 2000, shift=1, read="test"),
    "60 epochs, pressure 3, shift 1": long(3, 2000, shift=1, read="test"),
}


def script(lab_: Lab) -> None:
    groups = []
    for job in JOBS.values():
        seeds = [replace(job, seed=seed) for seed in lab_.seeds(SEEDS)]
        groups.append(list(zip(seeds, lab_.run(seeds), strict=True)))
    beside = lab.controls(lab_, groups)
    told = [
        {"settings": name, "ours": lab.summary([row for _, row in group]), **control}
        for name, group, control in zip(JOBS, groups, beside, strict=True)
    ]
    lab_.write(goal=told)


if __name__ == "__main__":
    lab.main("goal", __doc__, script)

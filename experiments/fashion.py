"""Fashion-MNIST with the defaults of the runs on MNIST; only pressure is varied.

Runs train 784-512-256-10 for 20 epochs with five seeds. For each final size the controls are the
surviving shape trained from scratch, and a dense network pruned by norm and at random.
EVOPRUNE_DATA names the folder that has fashion-mnist/.
"""

from __future__ import annotations

import lab
from jobs import Job
from lab import Lab

SEEDS = 5
PRESSURES = (1.0, 1.5, 3.0)


def script(lab_: Lab) -> None:
    jobs = [Job(data="fashion-mnist", selection={"pressure": p}) for p in PRESSURES]
    groups = lab.groups_of(lab_, jobs, SEEDS)
    told = [
        {"pressure": p, "ours": lab.summary([row for _, row in group]), **control}
        for p, group, control in zip(PRESSURES, groups, lab.controls(lab_, groups), strict=True)
    ]
    lab_.write(pressures=told)


if __name__ == "__main__":
    lab.main("fashion", __doc__, script)

"""LeNet-5 as in Caffe, 20-50-500, with filters and neurons selected: error against multiply-adds.

Runs use MNIST, five seeds, AdamW at 1e-3 with weight decay 0.5, and the default selection under
several pressures. The controls of each run are the surviving shape trained from scratch for as
long, and a dense network trained for as long and then pruned to the same sizes by norm and at
random. Some runs shift every image at random by up to one pixel in each direction; most published
results do not.
"""

from __future__ import annotations

from typing import Any

import lab
from jobs import Job
from lab import Lab

SEEDS = 5
NET = "lenet5 20-50-500"


def under(pressure: float, epochs: int = 10, **changes: Any) -> Job:
    """Return a run under the default selection with this pressure."""
    return Job(NET, selection={"pressure": pressure}, rate=1e-3, epochs=epochs, **changes)


JOBS = {
    "10 epochs, pressure 1.5": under(1.5),
    "20 epochs, pressure 1.5": under(1.5, 20),
    "20 epochs, pressure 2": under(2, 20),
    "20 epochs, pressure 2.2": under(2.2, 20),
    "20 epochs, pressure 2.4": under(2.4, 20),
    "20 epochs, pressure 3": under(3, 20),
    "20 epochs, pressure 2, shift 1": under(2, 20, shift=1),
}


def script(lab_: Lab) -> None:
    groups = lab.groups_of(lab_, JOBS.values(), SEEDS)
    ours = [lab.summary([row for _, row in group]) for group in groups]
    told = [{"settings": name, "ours": found} for name, found in zip(JOBS, ours, strict=True)]
    lab_.write(front=told)
    for row, control in zip(told, lab.controls(lab_, groups), strict=True):
        row |= control
    lab_.write(front=told)


if __name__ == "__main__":
    lab.main("lenet", __doc__, script)

"""LeNet-5 as Caffe has it, 20-50-500: error against multiply-adds, filters and neurons selected.

MNIST, three seeds, AdamW at 1e-3 with decay 0.5, the default selection under several pressures;
beside each the surviving shape trained from scratch, as long.
"""

from __future__ import annotations

import lab
from lab import Job, Lab

SEEDS = 3
NET = "lenet5 20-50-500"
JOBS = {
    f"{epochs} epochs, pressure {p:g}": Job(
        NET, selection={"pressure": p}, rate=1e-3, epochs=epochs
    )
    for epochs, p in ((10, 0.15), (10, 0.5), (10, 1.0), (20, 1.0))
}


def script(lab_: Lab) -> None:
    groups = lab.groups_of(lab_, JOBS.values(), SEEDS)
    ours = [lab.summary([row for _, row in group]) for group in groups]
    told = [{"settings": name, "ours": found} for name, found in zip(JOBS, ours, strict=True)]
    lab_.write(front=told)
    for row, control in zip(told, lab.scratch(lab_, groups), strict=True):
        row["scratch"] = control
    lab_.write(front=told)


if __name__ == "__main__":
    lab.main("lenet", __doc__, script)

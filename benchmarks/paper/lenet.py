"""LeNet-5 as Caffe has it, 20-50-500: error against multiply-adds, filters and neurons selected.

MNIST, three seeds, AdamW at 1e-3 with decay 0.5, the default selection under several pressures;
beside each the surviving shape trained from scratch, as long.
"""

from __future__ import annotations

from dataclasses import replace

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
    groups = []
    for job in JOBS.values():
        seeds = [replace(job, seed=seed) for seed in lab_.seeds(SEEDS)]
        groups.append(list(zip(seeds, lab_.run(seeds), strict=True)))
        lab_.write(front=[_told(name, done) for name, done in zip(JOBS, groups, strict=False)])
    scratch = [lab_.run(lab.from_scratch(job, row) for job, row in group) for group in groups]
    dense = lab_.run([lab.dense(job) for job, _ in groups[0][:1]])
    lab_.write(
        front=[
            {**_told(name, group), "scratch": lab.summary(rows)}
            for name, group, rows in zip(JOBS, groups, scratch, strict=True)
        ],
        dense=lab.summary(dense),
    )


def _told(name: str, group: list[tuple[Job, lab.Row]]) -> lab.Row:
    return {"settings": name, "ours": lab.summary([row for _, row in group])}


if __name__ == "__main__":
    lab.main("lenet", __doc__, script)

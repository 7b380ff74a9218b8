"""How many populations survive, by task and by founders, with the same settings.

Selection is not given a target size. All runs train 784-512-256-10 with the defaults of lab.py for
20 epochs with five seeds, with one change at a time:

- task: one digit against the rest (another digit for each seed), MNIST, Fashion-MNIST, and MNIST
  with permuted training labels.
- founders: hidden layers from 64 and 32 up to 1,024 and 512 neurons.

EVOPRUNE_DATA names the folder that has fashion-mnist/. survivors_page.py draws the results. It
also draws the share alive against pressure, from the results of laws.py, fashion.py and
run_length.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lab
from jobs import Job, Row
from lab import Group, Lab

SEEDS = 5
TASKS = {
    "one digit against the rest": "mnist is {seed}",
    "MNIST": "mnist",
    "Fashion-MNIST": "fashion-mnist",
    "MNIST, 20 % of labels permuted": "mnist noisy 20",
    "MNIST, 50 % of labels permuted": "mnist noisy 50",
    "MNIST, all labels permuted": "mnist noisy 100",
}
FOUNDERS = ((64, 32), (128, 64), (256, 128), (512, 256), (1024, 512))


def group_of(lab_: Lab, job: Job) -> Group:
    """Run a job with every seed; return the pairs of job and row.

    `{seed}` in the name of the data is replaced by the seed. If the name has the form "mnist is 3",
    the data have two classes, and the network gets two outputs.
    """
    jobs = [replace(job, seed=s, data=job.data.format(seed=s)) for s in lab_.seeds(SEEDS)]
    jobs = [replace(j, net="mlp 784-512-256-2") if " is " in j.data else j for j in jobs]
    return list(zip(jobs, lab_.run(jobs), strict=True))


def told(group: Group) -> Row:
    """Return a group's summary, with founders and deviation of living populations by layer."""
    layers = zip(*(row["alive"] for _, row in group), strict=True)
    rows = [row for _, row in group]
    return lab.summary(rows) | {
        "born": rows[0]["born"],
        "layer_deviations": [lab.deviation(layer) for layer in layers],
    }


def script(lab_: Lab) -> None:
    found: dict[str, Any] = {}
    try:
        found["tasks"] = [
            {"task": name, **told(group_of(lab_, Job(data=data)))} for name, data in TASKS.items()
        ]
        found["founders"] = [
            told(group_of(lab_, Job(net=f"mlp 784-{a}-{b}-10"))) for a, b in FOUNDERS
        ]
    finally:
        lab_.write(**found)


if __name__ == "__main__":
    lab.main("survivors", __doc__, script)

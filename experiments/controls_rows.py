"""Prune gradually to the shapes that selection found in the rows of docs/paper.md.

The control is the cubic schedule of schedules.py, for as many epochs as the row, with the same
images and order of data, and with the learning rate and weight decay that controls.py and
controls_conv.py chose for it on validation images. It is given the shape of the run with the same
seed. Rows of networks with masses of inputs whose images are shifted are left out, since the
schedules shift images and not their pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import fashion
import front
import goal
import jobs
import lab
import laws
import lenet
from controls import GRADUAL
from jobs import Job
from lab import Lab
from schedules import Found, gradual

SEEDS, LENET_SEEDS = 3, 2
ROWS: dict[str, Mapping[str, Job]] = {  # result -> name of a row -> its job
    "laws": {f"{p:g}": Job(selection={"pressure": p}) for p in laws.PRESSURES},
    "fashion": {
        f"{p:g}": Job(data="fashion-mnist", selection={"pressure": p}) for p in fashion.PRESSURES
    },
    "goal": goal.JOBS,
    "front": front.SHORT,
    "lenet": lenet.JOBS,
}


def shapes(name: str, row: str, seeds: range) -> Iterator[tuple[Job, lab.Row]]:
    """Yield job and result of the runs of a row that are in experiments/results."""
    facts = json.loads((jobs.HERE / "results" / f"{name}.json").read_text())
    known = {found["key"]: found for found in facts["rows"]}
    for seed in seeds:
        job = replace(ROWS[name][row], seed=seed)
        yield job, known[job.key]


def script(name: str, lab_: Lab) -> None:
    """Run the control of every row of a result, and store its accuracy and sizes by row."""
    runs = lab_.facts.get("runs", [])
    known = {(run["row"], run["seed"]): run for run in runs}
    told: dict[str, lab.Row] = {}
    for row in ROWS[name]:
        some, gaps = [], []
        for job, found in shapes(name, row, lab_.seeds(LENET_SEEDS if name == "lenet" else SEEDS)):
            if (row, job.seed) not in known:
                lab_.check_time()
                runs.append(
                    {"row": row, "seed": job.seed, **pruned(job, found, lab_.options.quick)}
                )
                known[row, job.seed] = runs[-1]
                print(f"{name}, {row}: {runs[-1]}", flush=True)
                lab_.write(runs=runs)
            some.append(known[row, job.seed])
            gaps.append(found["accuracy"] - some[-1]["accuracy"])
        told[row] = lab.summary(some) | {"selection_minus_this": lab.mean(gaps)}
    lab_.write(runs=runs, summary=told, settings=GRADUAL)


def pruned(job: Job, found: lab.Row, quick: bool) -> lab.Row:
    """Prune gradually to the shape of a run of selection; return facts and cost of training."""
    job = replace(job, selection=None, **GRADUAL)
    train, test = jobs.data_of(job.data, job.read, quick)
    trained = gradual(replace(job, epochs=2) if quick else job, train, Found(found))
    return {**lab.facts(trained.net, test), "training_macs": trained.macs}


if __name__ == "__main__":
    for name in ROWS:
        lab.main(f"controls_rows_{name}", __doc__, partial(script, name))

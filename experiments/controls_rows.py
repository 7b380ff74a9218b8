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


def shapes(name: str, seeds: range) -> Iterator[tuple[str, Job, lab.Row]]:
    """Yield row, job and result for every run of a result that is in experiments/results."""
    facts = json.loads((jobs.HERE / "results" / f"{name}.json").read_text())
    known = {row["key"]: row for row in facts["rows"]}
    for row, job in ROWS[name].items():
        for seed in seeds:
            one = replace(job, seed=seed)
            yield row, one, known[one.key]


def script(name: str, lab_: Lab) -> None:
    """Run the control of every row of a result, and store its accuracy and sizes by row."""
    runs = lab_.facts.get("runs", [])
    known = {(run["row"], run["seed"]) for run in runs}
    seeds = lab_.seeds(LENET_SEEDS if name == "lenet" else SEEDS)
    for row, job, found in shapes(name, seeds):
        if (row, job.seed) in known:
            continue
        lab_.check_time()
        job = replace(job, selection=None, **GRADUAL)
        quick = lab_.options.quick
        train, test = jobs.data_of(job.data, job.read, quick)
        trained = gradual(replace(job, epochs=2) if quick else job, train, Found(found))
        result = lab.facts(trained.net, test)
        runs.append({"row": row, "seed": job.seed, **result, "training_macs": trained.macs})
        print(f"{name}, {row}, seed {job.seed}: {100 * result['accuracy']:.2f} %", flush=True)
        lab_.write(runs=runs)
    told = {
        row: lab.summary([run for run in runs if run["row"] == row])
        for row in ROWS[name]
        if any(run["row"] == row for run in runs)
    }
    lab_.write(runs=runs, summary=told, settings=GRADUAL)


if __name__ == "__main__":
    for name in ROWS:
        lab.main(f"controls_rows_{name}", __doc__, partial(script, name))

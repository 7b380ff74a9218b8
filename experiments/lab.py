"""The sweep that runs the jobs of the scripts of docs/paper.md, and their results.

The results of a job's evaluation are its row. Rows are stored in a JSON file under the job's
description, so that a script can be stopped and continued, and partial tables can be made. jobs.py
describes jobs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jobs import (
    HELD,
    HERE,
    SPLIT,
    Job,
    Moved,
    Row,
    common,
    data_of,
    dense,
    from_scratch,
    network_of,
    optimizer_of,
    selection_of,
)

import evoprune as ep

GOES_ON = 75  # exit status if the time limit was reached; the next call continues


def make(*, seed: int, quick: bool, **settings: Any) -> tuple[ep.Trainer, dict[str, Any]]:
    """Return the trainer of a job and the arguments of `Trainer.fit`, for `ep.sweep`."""
    warnings.simplefilter("ignore", ep.NothingCanDie)  # expected at pressure 0 and with --quick
    job = Job(**settings, seed=seed)
    train, read = data_of(job.data, job.read, quick)
    net = network_of(job)
    trainer = ep.Trainer(
        net,
        loss=ep.CrossEntropy(label_smoothing=job.smoothing),
        optimizer=optimizer_of(job),
        selection=selection_of(job.selection),
    )
    augment = {"shift": job.shift} if job.shift else None
    if job.shift and "seeing" in job.net:  # inputs are populations, not an image: shift the data
        train, augment = Moved(train, job), None
        net.scale_input(read.shift, read.scale)
    return trainer, {
        "data": train,
        "epochs": job.epochs,
        "batch_size": job.batch,
        "augment": augment,
    }


def measure(trainer: ep.Trainer, *, seed: int, quick: bool, **settings: Any) -> dict[str, Row]:
    """Return the row of a trained job: facts, remaining features, and results after pruning."""
    job, net = Job(**settings, seed=seed), trainer.network
    train, read = data_of(job.data, job.read, quick)
    row = facts(net, read)
    if "seeing" in job.net and job.features is None and job.selection is not None:
        row["features"] = [int(birth) for birth in net.births(next(iter(net.alive)))]
    row["cuts"] = {
        by: [cut(net, by, keep, train, read, job.seed) for keep in job.keeps] for by in job.cuts
    }
    return {"row": row}


def facts(net: ep.Network, read: Any) -> Row:
    """Return accuracy, loss, sizes and costs of a trained network."""
    score = net.evaluate(read)
    return {
        "accuracy": score.accuracy,
        "loss": score.loss,
        "alive": list(net.alive.values()),
        "born": list(net.born.values()),
        "macs": net.macs,
        "founding_macs": net.founding_macs,
        "parameters": net.parameters,
    }


def cut(net: ep.Network, by: str, keep: Any, train: Any, read: Any, seed: int) -> Row:
    """Return facts of a copy pruned by rank to `keep` populations, in total or in each layer."""
    less = net.copy()
    by_layer = not isinstance(keep, int)
    if by_layer:
        keep = dict(zip(less.alive, keep, strict=True))
    seen = train.subset(slice(2000)) if by == "taylor" else None
    less.prune(keep=keep, by=by, seed=seed, data=seen)  # type: ignore[arg-type]
    return facts(less, read) if by_layer else {"accuracy": less.evaluate(read).accuracy}


# ---- running jobs -------------------------------------------------------------------------------


class TimeIsUp(Exception):
    """Raised when a script reaches its time limit; rows of finished jobs are already written."""


class Lab:
    """Runs jobs, each once, and keeps their rows in NAME.json.

    Args:
        name: name of the result.
        about: the script's docstring; its first line is the help.
    """

    def __init__(self, name: str, about: str | None) -> None:
        parser = argparse.ArgumentParser(description=(about or "").split("\n", 1)[0])
        parser.add_argument("--only", default="", help="results whose name contains this")
        parser.add_argument("--quick", action="store_true", help="tiny runs, to try the script")
        parser.add_argument("--seeds", type=int, default=None, help="as many as the script says")
        parser.add_argument("--workers", type=int, default=1, help="processes, of a thread each")
        parser.add_argument("--minutes", type=float, default=1e9, help="stop then; call again")
        parser.add_argument("--out", type=Path, default=None, help="folder of the JSON")
        self.options = parser.parse_args()
        usual = common.ROOT / "build" / "benchmarks" if self.options.quick else HERE / "results"
        self.path = (self.options.out or usual) / f"{name}.json"
        self.end = time.monotonic() + 60 * self.options.minutes
        self.facts: Row = {"benchmark": name}
        self.known: dict[str, Row] = {}
        if self.path.exists():
            self.facts = json.loads(self.path.read_text())
            old = {"cpu": self.facts["machine"]["cpu"]}  # for rows that do not name a processor
            self.known = {row["key"]: old | row for row in self.facts.pop("rows")}
        self.facts |= {
            "benchmark": name,
            "quick": self.options.quick,
            **common.package(),
            "machine": common.machine(),
            "held_out": {"images": HELD, "seed of the split": SPLIT},
        }
        self.source = common.commit()

    def check_time(self) -> None:
        """Raise TimeIsUp if the time limit is reached."""
        if time.monotonic() > self.end:
            raise TimeIsUp

    def seeds(self, usual: int) -> range:
        """Return the seeds of an experiment: `usual` seeds unless options say otherwise."""
        return range(self.options.seeds or (1 if self.options.quick else usual))

    def run(self, jobs: Iterable[Job]) -> list[Row]:
        """Return the rows of jobs, in order; run those without a row first."""
        wanted = [self._fitted(job) for job in jobs]
        missing = list({job.key: job for job in wanted if job.key not in self.known}.values())
        if missing:
            print(f"{len(missing)} of {len(wanted)} jobs to run", flush=True)
            self._work(missing)
        return [self.known[job.key] for job in wanted]

    def _fitted(self, job: Job) -> Job:
        """Return the job, limited to 2 epochs if --quick is given."""
        return replace(job, epochs=min(job.epochs, 2)) if self.options.quick else job

    def _work(self, jobs: Sequence[Job]) -> None:
        """Run jobs in groups of one job per worker; check the time limit before each group."""
        left = list(jobs)
        while left:
            self.check_time()
            some = [job for job in left if job.seed == left[0].seed][: self.options.workers]
            left = [job for job in left if job not in some]
            rows = ep.sweep(
                make,
                [self._settings(job) for job in some],
                [some[0].seed],
                measure=measure,
                n_jobs=self.options.workers,
            )
            rows = rows if isinstance(rows, list) else rows.to_dict("records")
            for job, row in zip(some, rows, strict=True):
                diverged = row["error"]
                seconds = {"seconds": round(row["seconds"], 2)}
                self._keep(job, {"diverged": diverged} if diverged else seconds | row["row"])

    def _settings(self, job: Job) -> dict[str, Any]:
        """Return the fields of a job except its seed, and `quick`, as settings for ep.sweep."""
        settings = {f.name: getattr(job, f.name) for f in fields(job) if f.name != "seed"}
        return {**settings, "quick": self.options.quick}

    def _keep(self, job: Job, found: Row) -> None:
        made = {"commit": self.source["commit"], "cpu": self.facts["machine"]["cpu"]}
        row = {"key": job.key, "job": job.told(), **made, **found}
        self.known[job.key] = row
        alive = "+".join(map(str, found.get("alive", ["diverged"])))
        print(
            f"{100 * found.get('accuracy', 0):.2f} %  {alive:14} {found.get('macs', 0):9.0f} MAC  "
            f"{found.get('seconds', 0):5.1f} s  {json.dumps(job.told())[:150]}",
            flush=True,
        )
        self.write()

    def write(self, **more: Any) -> None:
        """Write all rows so far, with further facts in the header."""
        self.facts |= {**more, **self.source}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(common.as_json({**self.facts, "rows": list(self.known.values())}))

    def keep_only(self, rows: Iterable[Row]) -> None:
        """Drop all rows except `rows`."""
        keys = {row["key"] for row in rows}
        self.known = {key: row for key, row in self.known.items() if key in keys}


def main(name: str, about: str | None, script: Callable[[Lab], None]) -> None:
    """Run a script to its end, or until its time limit."""
    lab = Lab(name, about)
    if lab.options.only not in name:
        return
    try:
        script(lab)
    except TimeIsUp:
        print("time is up: call again to go on")
        sys.exit(GOES_ON)
    lab.write()
    print(f"written: {lab.path}")


# ---- statistics and controls ---------------------------------------------------------------------


def mean(numbers: Iterable[float]) -> float:
    return statistics.fmean(numbers)


def deviation(numbers: Iterable[float]) -> float:
    """Return the sample standard deviation (n - 1); 0 for a single number."""
    every = list(numbers)
    return statistics.stdev(every) if len(every) > 1 else 0.0


def summary(rows: Sequence[Row]) -> Row:
    """Return means and deviations of results over seeds; diverged runs are only counted."""
    good = [row for row in rows if "accuracy" in row]
    told: Row = {"seeds": len(rows), "diverged": len(rows) - len(good)}
    if good:
        told |= {
            "accuracy": mean(row["accuracy"] for row in good),
            "deviation": deviation(row["accuracy"] for row in good),
            "alive": mean(sum(row["alive"]) for row in good),
            "alive_deviation": deviation(sum(row["alive"]) for row in good),
            "layers": [mean(part) for part in zip(*(row["alive"] for row in good), strict=True)],
            "extinct": mean(1 - sum(row["alive"]) / sum(row["born"]) for row in good),
            "macs": mean(row["macs"] for row in good),
            "parameters": mean(row["parameters"] for row in good),
            "seconds": mean(row.get("seconds", 0) for row in good),
        }
    return told


Group = Sequence[tuple[Job, Row]]  # the runs of one setting, one per seed


def groups_of(lab: Lab, jobs: Iterable[Job], seeds: int) -> list[Group]:
    """Run every job with every seed; return the runs of each job as a group."""
    seeded = [[replace(job, seed=seed) for seed in lab.seeds(seeds)] for job in jobs]
    return [list(zip(group, lab.run(group), strict=True)) for group in seeded]


def scratch(lab: Lab, groups: Sequence[Group]) -> list[Row]:
    """Train the surviving shapes from scratch, for as many epochs as the original runs.

    Returns:
        A summary per group.
    """
    return [summary(lab.run(from_scratch(job, row) for job, row in group)) for group in groups]


def controls(lab: Lab, groups: Sequence[Group]) -> list[Row]:
    """Return the results of networks without selection, to compare with runs under selection.

    The controls of a run are its surviving shape trained from scratch (see `scratch`), a dense
    network of the same seed, and this dense network pruned to the surviving shape after training,
    by norm and at random.

    Returns:
        A dictionary per group, from "scratch", "dense", "norm" and "random" to a summary.
    """
    every = [pair for group in groups for pair in group]
    born_so = scratch(lab, groups)
    cuts: dict[str, list[tuple[int, ...]]] = {}
    parents: dict[str, Job] = {}
    for job, row in every:
        parent = dense(job, cuts=("norm", "random"), keeps=())
        parents[parent.key] = parent
        sizes = cuts.setdefault(parent.key, [])
        if (size := tuple(row["alive"])) not in sizes:
            sizes.append(size)
    trained = lab.run(
        replace(parent, keeps=tuple(sorted(cuts[key]))) for key, parent in parents.items()
    )
    of_parent = dict(zip(parents, trained, strict=True))
    told = []
    for group, shape in zip(groups, born_so, strict=True):
        found: dict[str, list[Row]] = {}
        for job, row in group:
            parent = dense(job, cuts=("norm", "random"), keeps=())
            place = sorted(cuts[parent.key]).index(tuple(row["alive"]))
            for by in parent.cuts:
                found.setdefault(by, []).append(of_parent[parent.key]["cuts"][by][place])
            found.setdefault("dense", []).append(of_parent[parent.key])
        told.append({"scratch": shape, **{name: summary(rows) for name, rows in found.items()}})
    return told

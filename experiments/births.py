"""Growth by births on MNIST, against selection without births and against controls.

All methods use batch 128, AdamW as tuned for selection in controls.py, and the same steps and data
order; the test set is read once, after the last epoch.

- grown: 784-32-16-10 with births by division, which grows to its final shape.
- turnover: 784-512-256-10 with births, at a pressure under which about a quarter survives.
- selection: 784-512-256-10 without births, which shrinks to its final shape.
- gradual, from scratch: methods of controls.py that get the final shape of `grown`.
- gradual of selection's: the method `gradual` with the final shape of `selection`.

births_early.json has longer runs with input dropout, whose accuracy is on 5,000 held-out images:
births only while the learning rate is high, so that newborn populations have time to learn, beside
selection without births, and growth from 32-16 beside gradual pruning to the same shape.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import controls
import lab
from lab import Job, Lab, Row

import evoprune as ep

SEEDS, EPOCHS = 3, 10
RATE, DECAY = 2e-3, 0.5
GROWN = ep.Selection(0.15, births=ep.Births(capacity=8, every=50))
TURNOVER = ep.Selection(4.0, births=ep.Births(mutation=0.3))
PLAIN = ep.Selection(1.5)
METHODS = {
    "grown": ("mlp 784-32-16-10", GROWN),
    "turnover": ("mlp 784-512-256-10", TURNOVER),
    "selection": ("mlp 784-512-256-10", PLAIN),
}


LARGE, SMALL = "784-512-256-10", "784-32-16-10"
LONG, HELD_SEEDS = 40, (100, 101)


@dataclass(frozen=True)
class Trial:
    """A run with input dropout.

    Attributes:
        sizes: the founders.
        pressure: pressure of selection.
        births: settings of births; None: there are none.
        dropout: share of the inputs that is dropped in training.
        told: the trial whose final shape gradual pruning is given; "": selection finds its shape.
    """

    sizes: str = LARGE
    pressure: float = 3.5
    births: ep.Births | None = None
    dropout: float = 0.3
    told: str = ""


TRIALS = {
    "no births": Trial(),
    "vacancies": Trial(births=ep.Births("vacancies", least_strength=0.75)),
    "upkeep": Trial(births=ep.Births("upkeep", least_strength=0.75)),
    "immigrants": Trial(births=ep.Births("vacancies", kind="immigration", least_strength=0.75)),
    "grown": Trial(SMALL, 0.3, ep.Births(capacity=4, every=50, least_strength=0.5)),
    "gradual of grown": Trial(told="grown"),
}


def trained(job: Job, selection: ep.Selection, train: Any) -> tuple[ep.Network, ep.History]:
    """Train the network of a job under a selection; return network and history."""
    net = lab.network_of(job)
    optimizer = ep.AdamW(job.rate, weight_decay=job.decay)
    trainer = ep.Trainer(net, selection=selection, optimizer=optimizer)
    return net, trainer.fit(train, epochs=job.epochs, batch_size=job.batch, progress=False)


def measured(job: Job, quick: bool) -> dict[str, Row]:
    """Run every method with one seed; return accuracy, size and training cost of each network."""
    train, test = lab.data_of("mnist", "test", quick)
    found: dict[str, Row] = {}
    for name, (net_name, selection) in METHODS.items():
        net, history = trained(replace(job, net=net_name), selection, train)
        found[name] = lab.facts(net, test) | {
            "births": len(history.births),
            "deaths": len(history.extinctions),
            "seconds": history["seconds"][-1],
            "mean_macs": float(history["macs"].mean()),
        }
    large = replace(job, net="mlp 784-512-256-10")
    for name, of in (("gradual", "grown"), ("gradual of selection's", "selection")):
        told = controls.Found(found[of])
        found[name] = lab.facts(controls.gradual(large, train, told).net, test)
    told = controls.Found(found["grown"])
    found["from scratch"] = lab.facts(controls.from_scratch(large, train, told).net, test)
    return found


def script(lab_: Lab) -> None:
    epochs = 2 if lab_.options.quick else EPOCHS
    known = {row["seed"]: row for row in lab_.facts.get("runs", ())}
    rows = []
    for seed in lab_.seeds(SEEDS):
        job = Job(rate=RATE, decay=DECAY, epochs=epochs, seed=seed)
        rows.append(known.get(seed) or {"seed": seed, **measured(job, lab_.options.quick)})
        lab_.write(runs=rows)
    told = {name: lab.summary([row[name] for row in rows]) for name in rows[0] if name != "seed"}
    pairs = (
        ("grown", "gradual"), ("grown", "from scratch"), ("turnover", "selection"),
        ("selection", "gradual of selection's"),
    )  # fmt: skip
    for ours, other in pairs:
        gaps = [row[ours]["accuracy"] - row[other]["accuracy"] for row in rows]
        told[ours][f"minus {other}"] = lab.mean(gaps)
        told[ours][f"standard error to {other}"] = lab.deviation(gaps) / len(gaps) ** 0.5
    lab_.write(runs=rows, summary=told)


def tried(trial: Trial, job: Job, told: Row, quick: bool) -> Row:
    """Train a trial; return facts of the network, its births and the cost of its training."""
    train, read = lab.data_of("mnist", "held", quick)
    begin = time.process_time()
    if trial.told:
        done = controls.gradual(job, train, controls.Found(told))
        net, born, macs = done.net, 0, done.macs / job.epochs
    else:
        net, history = trained(job, ep.Selection(trial.pressure, births=trial.births), train)
        born, macs = len(history.births), float(history["macs"].mean())
    cost = {"births": born, "mean_macs": macs, "seconds": time.process_time() - begin}
    return lab.facts(net, read) | cost


def early(lab_: Lab) -> None:
    quick = lab_.options.quick
    runs = {(row["trial"], row["seed"]): row for row in lab_.facts.get("runs", ())}
    told = []
    for name, trial in TRIALS.items():
        for seed in HELD_SEEDS[:1] if quick else HELD_SEEDS:
            if (name, seed) in runs:
                continue
            if time.monotonic() > lab_.end:
                raise lab.TimeIsUp
            net = f"dropout{trial.dropout:g} {trial.sizes}"
            job = Job(net, rate=RATE, decay=DECAY, epochs=2 if quick else LONG, seed=seed)
            row = tried(trial, job, runs.get((trial.told, seed), {}), quick)
            runs[name, seed] = {"trial": name, "seed": seed, **row}
            print(f"{seed}: {100 * row['accuracy']:.2f} % @ {row['alive']}  {name}", flush=True)
            lab_.write(runs=list(runs.values()))
        rows = [row for (of, _), row in runs.items() if of == name]
        means = {what: lab.mean(row[what] for row in rows) for what in ("births", "mean_macs")}
        told.append({"trial": name, "pressure": trial.pressure, **lab.summary(rows), **means})
        lab_.write(runs=list(runs.values()), summary=told)


if __name__ == "__main__":
    lab.main("births", __doc__, script)
    lab.main("births_early", __doc__, early)

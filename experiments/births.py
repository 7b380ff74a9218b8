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

births_returns.json has networks with masses of inputs on the tasks of features.py, whose extinct
input features return or do not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import controls
import jobs
import lab
import numpy as np
from jobs import Job, Row
from lab import Lab

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
        sizes: layer widths of the network before training, joined by hyphens.
        pressure: pressure of selection.
        births: settings of births; None: there are none.
        dropout: share of the inputs that is dropped in training.
        told: name of the trial to whose final shape the network is pruned gradually; "": the
            network is trained under selection.
        zeroed: set the optimizer's moments of newborn populations and their parents to 0; by
            default a newborn population inherits its parent's moments.
        decay: weight decay.
        lifespan: generations without fitness until extinction, as a share of the run; None: the
            default.
    """

    sizes: str = LARGE
    pressure: float = 3.5
    births: ep.Births | None = None
    dropout: float = 0.3
    told: str = ""
    zeroed: bool = False
    decay: float = DECAY
    lifespan: float | None = None


def early_births(rate: str | float = "upkeep", least: float = 0.75, **settings: Any) -> ep.Births:
    """Return settings of births that occur only while strength is at least `least`."""
    return ep.Births(rate, least_strength=least, **settings)


def growing(**settings: Any) -> ep.Births:
    """Return settings of births with which a small network grows while strength is at least 0.5."""
    return early_births(least=0.5, capacity=4, every=50, **settings)


TRIALS = {
    "no births": Trial(),
    "no births, pressure 2.3": Trial(pressure=2.3),
    "no births, pressure 2": Trial(pressure=2.0),
    "vacancies": Trial(births=early_births("vacancies")),
    "upkeep": Trial(births=early_births()),
    "upkeep, pressure 5": Trial(pressure=5.0, births=early_births()),
    "upkeep, pressure 2.5": Trial(pressure=2.5, births=early_births()),
    "short lifespan": Trial(pressure=2.3, lifespan=0.04),
    "short lifespan, upkeep": Trial(births=early_births(every=50), lifespan=0.04),
    "short lifespan, upkeep to half": Trial(births=early_births(least=0.5), lifespan=0.04),
    "upkeep, mutation 0.3": Trial(births=early_births(mutation=0.3)),
    "upkeep, moments zeroed": Trial(births=early_births(), zeroed=True),
    "upkeep, all of the run": Trial(births=early_births(least=0.0)),
    "immigrants": Trial(births=early_births("vacancies", kind="immigration")),
    "few immigrants": Trial(births=early_births(2e-4, kind="immigration")),
    "grown": Trial(SMALL, 0.3, growing()),
    "grown, moments zeroed": Trial(SMALL, 0.3, growing(), zeroed=True),
    "grown, mutation 0.3": Trial(SMALL, 0.3, growing(mutation=0.3)),
    "grown by immigrants": Trial(SMALL, 0.3, growing(kind="immigration")),
    "gradual of grown": Trial(told="grown"),
    "gradual of grown, decay 0.1": Trial(told="grown", decay=0.1),
}


def trained(
    job: Job, selection: ep.Selection, train: Any, zeroed: bool = False
) -> tuple[ep.Network, ep.History]:
    """Train the network of a job under a selection; return network and history."""
    net = jobs.network_of(job)
    optimizer = ep.AdamW(job.rate, weight_decay=job.decay)
    trainer = ep.Trainer(net, selection=selection, optimizer=optimizer)
    run: dict[str, Any] = {"epochs": job.epochs, "batch_size": job.batch, "progress": False}
    per_epoch = -(-len(train) // job.batch)
    every = selection.births.every if zeroed and selection.births else job.epochs * per_epoch
    stops = [step / per_epoch for step in range(every, job.epochs * per_epoch, every)]
    history = trainer.fit(train, until=stops[0] if stops else None, **run)
    for stop in [*stops[1:], None] if stops else ():
        born = history.births
        zero_moments(net, born[born["step"] == net.step])
        history = trainer.resume(train, until=stop, progress=False)
    return net, history


def zero_moments(net: ep.Network, born: Any) -> None:
    """Set the optimizer's moments to 0 for newborn populations and their parents."""
    told = net.core.describe()
    axis_of = {p["layer"]: p["axis"] for p in told["populations"]}
    for layer in np.unique(born["layer"]):
        rows = born[born["layer"] == layer]
        ids = np.concatenate([rows["birth"], rows["parent"]])
        places = np.searchsorted(net.births(str(layer)), ids[ids >= 0])
        for tensor in told["tensors"]:
            for d, axis in enumerate(tensor["axes"]):
                if axis == axis_of[layer] and tensor["role"] in ("decayed", "free"):
                    for moments in net.moments:
                        np.moveaxis(moments[tensor["name"]], d, 0)[places] = 0


def measured(job: Job, quick: bool) -> dict[str, Row]:
    """Run every method with one seed; return accuracy, size and training cost of each network."""
    train, test = jobs.data_of("mnist", "test", quick)
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
    train, read = jobs.data_of("mnist", "held", quick)
    begin = time.process_time()
    if trial.told:
        done = controls.gradual(job, train, controls.Found(told))
        net, born, macs = done.net, 0, done.macs / job.epochs
    else:
        generations = job.epochs * -(-len(train) // job.batch)
        life = None if trial.lifespan is None else trial.lifespan * generations
        law = ep.Malthusian(lifespan=life)
        selection = ep.Selection(trial.pressure, dynamics=law, births=trial.births)
        net, history = trained(job, selection, train, trial.zeroed)
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
            lab_.check_time()
            net = f"dropout{trial.dropout:g} {trial.sizes}"
            job = Job(net, rate=RATE, decay=trial.decay, epochs=2 if quick else LONG, seed=seed)
            row = tried(trial, job, runs.get((trial.told, seed), {}), quick)
            runs[name, seed] = {"trial": name, "seed": seed, **row}
            print(f"{seed}: {100 * row['accuracy']:.2f} % @ {row['alive']}  {name}", flush=True)
            lab_.write(runs=list(runs.values()))
        rows = [row for (of, _), row in runs.items() if of == name]
        means = {what: lab.mean(row[what] for row in rows) for what in ("births", "mean_macs")}
        told.append({"trial": name, "pressure": trial.pressure, **lab.summary(rows), **means})
        lab_.write(runs=list(runs.values()), summary=told)


RETURNS = ep.Births(0.0, kind="immigration", returns=5e-4, every=50, least_strength=0.6)
RETURN_SEEDS = range(10, 15)


def selected(task: str, pressure: float, births: ep.Births | None, seed: int, epochs: int) -> Row:
    """Train a network whose input features are populations.

    Returns:
        The accuracy on test samples, the number of living features, the recall and precision of the
        relevant features among them, and the number of features that returned from extinction.
    """
    import features  # needs scikit-learn

    make, argument, relevant, _ = features.TASKS[task]
    x, y = make(argument, seed)
    train = ep.datasets.arrays(x[: features.LEARN], y[: features.LEARN], normalize="feature")
    net = ep.mlp(x.shape[1], *features.HIDDEN, 2, inputs=True, seed=seed)
    lifespan = 0.1 * epochs * -(-features.LEARN // 32)
    law = ep.Malthusian(lifespan=lifespan)
    trainer = ep.Trainer(
        net,
        selection=ep.Selection(pressure, dynamics=law, births=births),
        optimizer=ep.AdamW(1e-3),
    )
    history = trainer.fit(train, epochs=epochs, batch_size=32, progress=False)
    living = net.births("features")
    hits = int((living < relevant).sum())
    return {
        "accuracy": net.evaluate((x[features.LEARN :], y[features.LEARN :])).accuracy,
        "features": len(living),
        "recall": hits / relevant,
        "precision": hits / max(1, len(living)),
        "returns": len(history.returns),
    }


def returned(lab_: Lab) -> None:
    quick, told = lab_.options.quick, []
    for task in ("5 of 100", "10 of 100", "20 of 100", "50 of 100"):
        for pressure in (0.8, 1.5):
            for births in (None, RETURNS):
                seeds = RETURN_SEEDS[:1] if quick else RETURN_SEEDS
                rows = [selected(task, pressure, births, s, 4 if quick else 100) for s in seeds]
                found = {what: lab.mean(row[what] for row in rows) for what in rows[0]}
                found |= {"deviation": lab.deviation(row["accuracy"] for row in rows)}
                told.append({"task": task, "pressure": pressure, "seeds": len(rows), **found})
                print(f"{task}, {pressure}: {found}", flush=True)
    lab_.write(summary=told)


if __name__ == "__main__":
    lab.main("births", __doc__, script)
    lab.main("births_early", __doc__, early)
    lab.main("births_returns", __doc__, returned)

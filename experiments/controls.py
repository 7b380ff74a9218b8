"""Selection against controls that are given the final shape: same steps, same data order, MNIST.

784-512-256-10, 20 epochs, batch 128, five seeds. Every control gets the shape that selection found
with the same seed. Learning rate and weight decay of every method, ours included, are chosen on
5,000 validation images from one grid; the test set is read once, after the last epoch.

- gradual: dense at first; by norm, pruned four times an epoch along a cubic schedule (Zhu & Gupta
  2017) to the shape, structured, moments kept.
- one cut: dense for half of the epochs, cut by norm to the shape, tuned for the other half.
- replay: as many populations removed at the same steps as in our run, chosen at random.
- from scratch: the shape from the start.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import lab
import numpy as np
from lab import Job, Lab, Row

import evoprune as ep

SEEDS = 5
GRID = {"rate": (1e-3, 2e-3, 4e-3), "decay": (0.1, 0.5)}
METHODS = ("gradual", "one cut", "replay", "from scratch")
CUTS_PER_EPOCH = 4
END = 0.75  # share of the run at which the gradual schedule has reached its shape


def dense_trainer(job: Job, net: ep.Network) -> ep.Trainer:
    """Return a trainer without selection, by the job's optimizer."""
    return ep.Trainer(net, selection=None, optimizer=ep.AdamW(job.rate, weight_decay=job.decay))


def in_stretches(
    job: Job, train: Any, at: list[float], act: Callable[[int, ep.Network], None]
) -> Any:
    """Train a dense network and call `act(i, net)` at each of the epochs `at`, ascending."""
    net = lab.network_of(job)
    trainer = dense_trainer(job, net)
    first = at[0] if at else None
    trainer.fit(train, epochs=job.epochs, batch_size=job.batch, until=first, progress=False)
    for i in range(len(at)):
        act(i, net)
        trainer.resume(train, until=at[i + 1] if i + 1 < len(at) else None, progress=False)
    return net


def gradual(job: Job, train: Any, shape: list[int], _: Any) -> Any:
    """Prune by norm along a cubic schedule to `shape`."""
    cuts = int(END * job.epochs * CUTS_PER_EPOCH)
    at = [(i + 1) / CUTS_PER_EPOCH for i in range(cuts)]

    def act(i: int, net: ep.Network) -> None:
        left = (1 - (i + 1) / cuts) ** 3
        keep = {
            layer: round(n + (born - n) * left)
            for (layer, born), n in zip(net.born.items(), shape, strict=True)
        }
        net.prune(keep=keep, by="norm")

    return in_stretches(job, train, at, act)


def one_cut(job: Job, train: Any, shape: list[int], _: Any) -> Any:
    """Cut once by norm at half of the run, then tune."""

    def act(_: int, net: ep.Network) -> None:
        net.prune(keep=dict(zip(net.born, shape, strict=True)), by="norm")

    return in_stretches(job, train, [job.epochs / 2], act)


def replay(job: Job, train: Any, shape: list[int], deaths: Any) -> Any:
    """Remove as many populations of each layer, at the same steps as ours, chosen at random."""
    per_epoch = -(-len(train) // job.batch)
    steps = sorted({int(step) for step in deaths["step"]})
    chunks = np.array_split(np.array(steps), max(1, min(len(steps), 4 * job.epochs)))
    chance = np.random.default_rng(job.seed)

    def act(i: int, net: ep.Network) -> None:
        those = deaths[np.isin(deaths["step"], chunks[i])]
        for layer in net.born:
            n = int((those["layer"] == layer).sum())
            if n:
                net.kill(layer, chance.choice(net.births(layer), n, replace=False))
        net.compact()

    at = [max(1, int(chunk[-1])) / per_epoch for chunk in chunks if len(chunk)]
    return in_stretches(job, train, at, act)


def from_scratch(job: Job, train: Any, shape: list[int], _: Any) -> Any:
    """Train the final shape from the start."""
    net = ep.mlp(784, *shape, 10, seed=job.seed)
    dense_trainer(job, net).fit(train, epochs=job.epochs, batch_size=job.batch, progress=False)
    return net


CONTROLS = {"gradual": gradual, "one cut": one_cut, "replay": replay, "from scratch": from_scratch}


def ours(job: Job, train: Any) -> tuple[ep.Network, Any]:
    """Train under selection; the network and its deaths."""
    net = lab.network_of(job)
    optimizer = ep.AdamW(job.rate, weight_decay=job.decay)
    trainer = ep.Trainer(net, selection=ep.Selection(1.5), optimizer=optimizer)
    history = trainer.fit(train, epochs=job.epochs, batch_size=job.batch, progress=False)
    return net, history.extinctions


def measured(jobs: dict[str, Job], read: str, quick: bool) -> dict[str, Row]:
    """Run ours and every control with one seed; what each network is."""
    train, test = lab.data_of("mnist", read, quick)
    net, deaths = ours(jobs["ours"], train)
    shape = list(net.alive.values())
    found = {"ours": lab.facts(net, test)}
    for name, control in CONTROLS.items():
        found[name] = lab.facts(control(jobs[name], train, shape, deaths), test)
    return found


def script(lab_: Lab) -> None:
    quick = lab_.options.quick
    epochs = 2 if quick else 20
    grid = [dict(zip(GRID, at, strict=True)) for at in itertools.product(*GRID.values())]
    names = ("ours", *METHODS)
    tuned = []
    for setting in grid[:1] if quick else grid:
        job = Job(**setting, epochs=epochs, seed=100)
        found = measured(dict.fromkeys(names, job), "held", quick)
        tuned.append({**setting, **{name: row["accuracy"] for name, row in found.items()}})
        lab_.write(held_out=tuned)
    best = {name: max(tuned, key=lambda row: row[name]) for name in names}
    chosen = {name: {key: best[name][key] for key in GRID} for name in names}
    rows = []
    for seed in lab_.seeds(SEEDS):
        jobs = {name: Job(**chosen[name], epochs=epochs, seed=seed) for name in names}
        rows.append({"seed": seed, **measured(jobs, "test", quick)})
        lab_.write(held_out=tuned, chosen=chosen, runs=rows)
    told = {name: lab.summary([row[name] for row in rows]) for name in names}
    for name in METHODS:
        gaps = [row["ours"]["accuracy"] - row[name]["accuracy"] for row in rows]
        told[name]["ours_minus"] = lab.mean(gaps)
        told[name]["standard_error"] = lab.deviation(gaps) / len(gaps) ** 0.5
    lab_.write(held_out=tuned, chosen=chosen, runs=rows, summary=told)


if __name__ == "__main__":
    lab.main("controls", __doc__, script)

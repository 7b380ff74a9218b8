"""Ways of training that controls.py compares: selection, and controls that are given its shape.

Each takes the job, the data to train on, and what was found by the run of selection with the same
seed; keyword arguments are settings of the schedule. It returns the trained network and its cost:
multiply-adds of forward passes for one sample, summed over epochs.

Most take a second phase: the run, with its schedules, ends after `first` epochs, and the remaining
network is trained for `more` epochs without selection or pruning, by a new optimizer at the
learning rate `later`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jobs
import numpy as np
from jobs import Job, Row

import evoprune as ep

CUTS_PER_EPOCH = 4
END = 0.75  # share of the run after which gradual and iterative pruning have reached the shape
CUTS = 5  # of iterative pruning


@dataclass
class Trained:
    """A trained network, and the sum over epochs of its multiply-adds per sample."""

    net: ep.Network
    macs: float = 0.0


@dataclass
class Found:
    """Results of a run of selection that controls use: its row (final shape) and extinctions."""

    row: Row
    deaths: Any = None

    @property
    def shape(self) -> list[int]:
        """Return the number of living populations by layer."""
        return list(self.row["alive"])


def run_of(job: Job) -> dict[str, Any]:
    """Return the arguments of `Trainer.fit` that are the same for all ways of training."""
    augment = {"shift": job.shift} if job.shift else None
    return {
        "epochs": job.epochs,
        "batch_size": job.batch,
        "augment": augment,
        "progress": False,
    }


def selection(job: Job, train: Any, found: Found, **phase: float) -> Trained:
    """Train under selection; set `found.deaths` to the extinctions."""
    net = jobs.network_of(job)
    trainer = ep.Trainer(
        net, selection=jobs.selection_of(job.selection), optimizer=jobs.optimizer_of(job)
    )
    history = trainer.fit(train, **run_of(job), until=phase.get("first"))
    found.deaths = history.extinctions
    macs = np.append(net.founding_macs, history["macs"])
    return train_on(Trained(net, float((macs[1:] + macs[:-1]).sum() / 2)), job, train, **phase)


def train_on(
    trained: Trained, job: Job, train: Any, first: float = 0, later: float = 0.0, more: float = 0
) -> Trained:
    """Train a network in the second phase, if there is one (see the top of this file)."""
    if first:
        after = replace(job, rate=later, epochs=int(more))
        trainer = ep.Trainer(trained.net, selection=None, optimizer=jobs.optimizer_of(after))
        trainer.fit(train, **run_of(after))
        trained.macs += trained.net.macs * more
    return trained


def in_parts(
    job: Job,
    train: Any,
    at: Sequence[float],
    act: Callable[[int, ep.Network], None],
    mass: float = 1.0,
    **phase: float,
) -> Trained:
    """Train without selection; call `act(i, net)` at epoch `at[i]`, which may be a fraction.

    `mass` is the mass of every population, a factor on its output.
    """
    end = float(phase.get("first", job.epochs))
    at = [epoch for epoch in at if epoch <= end]
    net = jobs.network_of(job)
    if mass != 1.0:
        for name in net:
            if name.endswith(".mass"):
                net[name] = np.full(net[name].shape, mass)
    trained = Trained(net)
    trainer = ep.Trainer(net, selection=None, optimizer=jobs.optimizer_of(job))
    ends = [0.0, *at, end]
    for i in range(len(at) + 1):
        trained.macs += net.macs * (ends[i + 1] - ends[i])
        if i == 0:
            trainer.fit(train, **run_of(job), until=ends[1])
        elif ends[i + 1] > ends[i]:
            trainer.resume(train, until=ends[i + 1], progress=False)
        if i < len(at):
            act(i, net)
    return train_on(trained, job, train, **phase)


def on_the_way(
    job: Job, train: Any, sizes: Mapping[float, Sequence[int]], **phase: float
) -> Trained:
    """Prune by norm in several cuts; `sizes` has the epoch of every cut, and its sizes by layer."""

    def act(i: int, net: ep.Network) -> None:
        net.prune(keep=dict(zip(net.born, list(sizes.values())[i], strict=True)), by="norm")

    return in_parts(job, train, list(sizes), act, **phase)


def born(job: Job) -> list[int]:
    """Return the number of populations by layer at birth."""
    return list(jobs.network_of(job).born.values())


def cubic(job: Job, train: Any, shape: Sequence[int], end: float, **phase: float) -> Trained:
    """Prune to a shape along a cubic schedule, reached after the share `end` of the run."""
    cuts, founders = int(end * job.epochs * CUTS_PER_EPOCH), born(job)
    sizes = {}
    for i in range(1, cuts + 1):
        left = (1 - i / cuts) ** 3  # share of all removals that come after this cut
        kept = [round(n + (most - n) * left) for most, n in zip(founders, shape, strict=True)]
        sizes[i / CUTS_PER_EPOCH] = kept
    return on_the_way(job, train, sizes, **phase)


def gradual(job: Job, train: Any, found: Found, end: float = END, **phase: float) -> Trained:
    """Prune along a cubic schedule."""
    return cubic(job, train, found.shape, end, **phase)


def uniform(job: Job, train: Any, found: Found, end: float = END) -> Trained:
    """Prune along a cubic schedule to the same share of every layer, at equal multiply-adds."""

    def shape(i: int) -> list[int]:
        return [max(1, round(n * i / max(founders))) for n in founders]

    def more(i: int) -> float:
        small = jobs.from_scratch(job, {"alive": shape(i)})
        return float(jobs.network_of(small).macs - found.row["macs"])

    founders = born(job)
    i = bisect_left(range(max(founders)), 0.0, lo=1, key=more)
    return cubic(job, train, shape(min(i - 1, i, key=lambda i: abs(more(i)))), end)


def one_cut(job: Job, train: Any, found: Found, end: float = 0.5) -> Trained:
    """Prune in one cut after the share `end` of the run, then continue training."""
    return on_the_way(job, train, {job.epochs * end: found.shape})


def iterative(job: Job, train: Any, found: Found, end: float = END) -> Trained:
    """Prune in five cuts, each to the same share of what is there, with training in between."""
    pairs = list(zip(born(job), found.shape, strict=True))
    sizes = {}
    for i in range(1, CUTS + 1):
        kept = [round(most * (n / most) ** (i / CUTS)) for most, n in pairs]
        sizes[round(job.epochs * end * i / CUTS, 2)] = kept
    return on_the_way(job, train, sizes)


def replay(job: Job, train: Any, found: Found, **phase: float) -> Trained:
    """Train, and remove as many populations as selection did, but chosen at random.

    They are removed from the same layers at about the same steps: neighboring steps with removals
    are joined into one, at most four per epoch on average.
    """
    deaths, per_epoch = found.deaths, -(-len(train) // job.batch)
    steps = sorted({int(step) for step in deaths["step"]})
    chunks = np.array_split(np.array(steps), max(1, min(len(steps), 4 * job.epochs)))
    chunks = [chunk for chunk in chunks if len(chunk)]
    chance = np.random.default_rng(job.seed)

    def act(i: int, net: ep.Network) -> None:
        those = deaths[np.isin(deaths["step"], chunks[i])]
        for layer in net.born:
            n = int((those["layer"] == layer).sum())
            if n:
                net.kill(layer, chance.choice(net.births(layer), n, replace=False))
        net.compact()

    at = [max(1, int(chunk[-1])) / per_epoch for chunk in chunks]
    return in_parts(job, train, at, act, **phase)


def from_scratch(job: Job, train: Any, found: Found, mass: float = 1.0) -> Trained:
    """Train the final shape from the start."""
    small = jobs.from_scratch(job, found.row)
    return in_parts(small, train, [], lambda i, net: None, mass)

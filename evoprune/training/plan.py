"""Predict a run before it begins: time constants, earliest possible extinction, memory."""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.errors import NothingCanDie
from evoprune.nets.network import Network
from evoprune.selection import settings
from evoprune.selection.community import Community
from evoprune.selection.groups import Fitness
from evoprune.selection.laws import Malthusian
from evoprune.selection.settings import Selection
from evoprune.training.feed import ArrayFeed, Feed
from evoprune.training.pace import BLOCK, Pace
from evoprune.training.run import Run

if TYPE_CHECKING:
    from evoprune.training.trainer import Trainer

__all__ = ["Plan", "plan_of"]

TABLE = Path(settings.__file__).with_name("expected.json")


@dataclass(frozen=True, repr=False)
class Plan:
    """What `Trainer.fit` would do with the arguments of `Trainer.plan`; print it for a table.

    Attributes:
        steps, epochs, per_epoch: length of the run.
        generations: length of the run in generations of strength 1: the sum of the strengths of all
            steps, divided by the steps per generation.
        lifespan: generations from birth to extinction of a population without fitness; None if the
            dynamics sets no minimum.
        min_age: generations before which no population goes extinct.
        first_death: the earliest step after which a population can be extinct; None if none can.
        expected: share of the founders expected to be alive at the end, as (value, low, high): the
            range covers other networks, batch sizes and learning rates. None if it was not measured
            for such a run, for example of a network that already has extinct populations.
        memory: bytes of the network while it trains; None if batches come from an iterable.
        why: why no population can go extinct, and what to do; "" if one can.
    """

    steps: int
    epochs: int
    per_epoch: int
    generations: float
    lifespan: float | None
    min_age: int
    first_death: int | None
    expected: tuple[float, float, float] | None
    memory: int | None
    why: str

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the table."""
        death = f"none: {self.why}" if self.why else "none in this run"
        if self.first_death is not None:
            epoch = self.first_death / self.per_epoch
            death = f"step {self.first_death:,} (epoch {epoch:.3g}) at the earliest"
        life = "no bound" if self.lifespan is None else f"{self.lifespan:,.0f} generations"
        if self.lifespan is not None and self.lifespan > self.generations:
            life += ", longer than the run"
        alive = "not measured for these settings"
        if self.expected is not None:
            value, low, high = (100 * share for share in self.expected)
            alive = f"about {value:.0f} % of the founders ({low:.0f} to {high:.0f} %)"
            if low == high:
                alive = "all founders" if value == 100 else f"{value:.0f} % of the founders, as now"
        size = "unknown" if self.memory is None else f"{self.memory / 1e6:,.1f} MB"
        length = f"{self.steps:,} steps, {self.epochs:,} epochs of {self.per_epoch:,}"
        return [
            ("run", length),
            ("generations", f"{self.generations:,.0f} at full pace"),
            ("lifespan", life),
            ("first extinction", death),
            ("expected alive", alive),
            ("memory", size),
        ]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<18}{text}" for name, text in self.rows())

    def _repr_html_(self) -> str:
        cell = "<td style='text-align:left'>"
        body = "".join(
            f"<tr>{cell}{name}</td>{cell}{html.escape(text)}</td></tr>"
            for name, text in self.rows()
        )
        return f"<table><caption>Plan</caption>{body}</table>"


def plan_of(trainer: Trainer, feed: Feed, run: Run, pace: Pace) -> Plan:
    """Return the plan of a run that has not begun.

    Args:
        trainer: its network is not changed.
        feed: the training data.
        run, pace: length and schedules of the run.
    """
    network, selection = trainer.network, pace.selection
    why, generations, lifespan, min_age = "there is no selection", 0.0, None, 0
    first = None
    living = sum(network.alive.values()) / max(1, sum(network.born.values()))
    share: tuple[float, float, float] | None = (living, living, living)
    if selection is not None:
        why, generations = pace.stands_still(network.born), pace.strength() / selection.every
        lifespan, min_age = selection.lifespan(), int(selection.min_age or 0)
        if not why:
            share = expected(selection, generations) if living == 1 else None
        first = None if why else first_death(network, selection, run, pace)
    memory, length = memory_of(trainer, feed), (run.total, run.epochs, run.per_epoch)
    return Plan(*length, generations, lifespan, min_age, first, share, memory, why)


def first_death(network: Network, selection: Selection, run: Run, pace: Pace) -> int | None:
    """Return the earliest step after which a population can be extinct; None if none can be.

    The step is found by simulating a community of two populations, of which one has all the
    fitness, with the schedules of the run. For laws other than bounded Malthusian growth, masses
    can fall at once and only `min_age` gives a bound.
    """
    law, every, age = selection.dynamics, selection.every, int(selection.min_age or 0)
    bounded = isinstance(law, Malthusian) and law.growth == "bounded"
    masses = [network[f"{layer}.mass"] for layer in network.born]
    lightest = min((float(m[m > 0].min()) for m in masses if (m > 0).any()), default=1.0)
    alone = selection.replace(floor=0, fitness="taylor", births=None)
    probe = Community(2, alone, mass=[lightest, 1.0], dtype=network.dtype)
    made = network.generation
    probe.load_state_dict(probe.state_dict() | {"generation": made})
    for start in range(0, run.total, BLOCK):
        plan = pace.cut(start, min(start + BLOCK, run.total))
        for at in range(len(plan.rate)):
            step = start + at + 1
            if (network.step + step) % every:
                continue
            if not bounded:
                made += 1
                if made >= max(1, age) and plan.strength[at] > 0:
                    return step
            elif len(
                probe.step(
                    fitness=[0.0, 1.0],
                    pressure=float(plan.pressure[at]),
                    strength=float(plan.strength[at]),
                )
            ):
                return step
    return None


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def expected(selection: Selection, generations: float) -> tuple[float, float, float] | None:
    """Return the share of founders expected to be alive at the end: (value, low, high).

    It is interpolated, in the logarithms of pressure and of the number of lifespans in a run, from
    the runs of a perceptron on images in experiments/run_length.py; None for settings without such
    runs. More populations survive on harder tasks.
    """
    table, pressure, lifespan = _table(), selection.pressure, selection.lifespan()
    law = selection.fitness
    usual = selection.upkeep == "soft" and selection.niche == "layer"
    usual = usual and isinstance(law, Fitness) and law.kind == "taylor"
    if not usual or lifespan is None or not isinstance(pressure, float | int):
        return None
    if not table["pressure"][0] <= pressure <= table["pressure"][-1]:
        return None
    lives = np.log(max(1.0, generations / lifespan))
    rows = [np.interp(lives, np.log(table["lives"]), row) for row in table["alive"]]
    share = float(np.interp(np.log(pressure), np.log(table["pressure"]), rows))
    half = float(np.sqrt(table["spread"]))
    return share, share / half, min(1.0, share * half)


def memory_of(trainer: Trainer, feed: Feed) -> int | None:
    """Return the bytes of a network in training, measured on a copy after one step.

    None if batches come from an iterable.
    """
    if not isinstance(feed, ArrayFeed):
        return None
    network = trainer.network.copy()
    twin = type(trainer)(
        network, loss=trainer.loss, optimizer=trainer.optimizer, selection=trainer.selection
    )
    rows = np.arange(feed.batch) if feed.table.rows is None else feed.table.rows[: feed.batch]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingCanDie)
        twin.fit(
            (feed.table.x[rows], feed.table.y[rows]),
            epochs=1,
            batch_size=feed.batch,
            progress=False,
        )
    return network.nbytes

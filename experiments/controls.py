"""Compare selection with controls that are given the final shape, for several networks.

All methods use batch 128 and the same order of data. A control is given the final shape (the number
of populations of each layer) of the run of selection with the same seed. Learning rate and weight
decay are chosen on 5,000 validation images, from one list for all methods; the test set is read
once, after the last epoch.

- ours: selection, which finds the shape.
- gradual: dense at first; whole populations are pruned by norm four times per epoch, along a cubic
  schedule (Zhu & Gupta 2017) to the shape; the optimizer's moments are kept.
- one cut: dense for half of the epochs, then pruned by norm to the shape in one cut, and trained
  for the other half.
- replay: as many populations removed at the same steps as in our run, but chosen at random.
- from scratch: the shape from the start.

"dropout" after a name: a share of the inputs is dropped in training. These runs, and "longer", have
more epochs, so that training costs about as many multiply-adds as "one cut" with 20 epochs. Costs
are multiply-adds of forward passes, and seconds of processor time in one thread. A script that was
stopped continues when it is started again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import lab
import numpy as np
from lab import Job, Lab, Row

import evoprune as ep

CUTS_PER_EPOCH = 4
END = 0.75  # share of the run after which the gradual schedule has reached its shape
CHOSEN_BY = 100  # the seed of the runs that choose settings
SETTINGS = tuple({"rate": rate, "decay": d} for rate in (1e-3, 2e-3, 4e-3) for d in (0.1, 0.5))


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


def in_stretches(
    job: Job, train: Any, at: Sequence[float], act: Callable[[int, ep.Network], None]
) -> Trained:
    """Train without selection; call `act(i, net)` at epoch `at[i]`, which may be a fraction."""
    net = lab.network_of(job)
    trained = Trained(net)
    optimizer = ep.AdamW(job.rate, weight_decay=job.decay)
    trainer = ep.Trainer(net, selection=None, optimizer=optimizer)
    ends = [0.0, *at, float(job.epochs)]
    for i in range(len(at) + 1):
        until = at[i] if i < len(at) else None
        trained.macs += net.macs * (ends[i + 1] - ends[i])
        if i == 0:
            trainer.fit(train, epochs=job.epochs, batch_size=job.batch, until=until, progress=False)
        else:
            trainer.resume(train, until=until, progress=False)
        if i < len(at):
            act(i, net)
    return trained


def on_the_way(job: Job, train: Any, shape: list[int], left: dict[float, float]) -> Trained:
    """Prune by norm to `shape` in several cuts.

    `left` maps the epoch of every cut to the share of all removals that remains after that cut.
    """

    def act(i: int, net: ep.Network) -> None:
        there = list(left.values())[i]
        keep = {
            layer: round(n + (born - n) * there)
            for (layer, born), n in zip(net.born.items(), shape, strict=True)
        }
        net.prune(keep=keep, by="norm")

    return in_stretches(job, train, list(left), act)


def gradual(job: Job, train: Any, found: Found) -> Trained:
    """Prune along a cubic schedule."""
    cuts = int(END * job.epochs * CUTS_PER_EPOCH)
    left = {(i + 1) / CUTS_PER_EPOCH: (1 - (i + 1) / cuts) ** 3 for i in range(cuts)}
    return on_the_way(job, train, found.shape, left)


def one_cut(job: Job, train: Any, found: Found) -> Trained:
    """Prune in one cut at half of the run, then continue training."""
    return on_the_way(job, train, found.shape, {job.epochs / 2: 0.0})


def replay(job: Job, train: Any, found: Found) -> Trained:
    """Remove as many populations as in our run, at random, from the same layers at the same steps.

    Steps of removals are grouped, at most about four groups per epoch.
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

    return in_stretches(job, train, [max(1, int(chunk[-1])) / per_epoch for chunk in chunks], act)


def from_scratch(job: Job, train: Any, found: Found) -> Trained:
    """Train the final shape from the start."""
    return in_stretches(lab.from_scratch(job, found.row), train, [], lambda i, net: None)


def selection(job: Job, train: Any, found: Found) -> Trained:
    """Train under selection; set `found.deaths` to the extinctions."""
    net = lab.network_of(job)
    optimizer = ep.AdamW(job.rate, weight_decay=job.decay)
    trainer = ep.Trainer(net, selection=lab.selection_of(job.selection), optimizer=optimizer)
    history = trainer.fit(train, epochs=job.epochs, batch_size=job.batch, progress=False)
    found.deaths = history.extinctions
    macs = np.append(net.founding_macs, history["macs"])
    return Trained(net, float((macs[1:] + macs[:-1]).sum() / 2))


@dataclass(frozen=True)
class Method:
    """A way of training, a row of a table.

    Attributes:
        run: the function that trains.
        epochs: length of the run.
        of: for a control, the name of the run of selection whose final shape it is given.
        dropout: share of the inputs that is dropped in training.
        pressure: pressure of selection; None: the task's.
        tuned_as: the method whose learning rate and decay are used; None: choose them.
        settings: learning rates and decays to choose from; (): the task's.
    """

    run: Callable[[Job, Any, Found], Trained]
    epochs: int = 20
    of: str = ""
    dropout: float = 0.0
    pressure: float | None = None
    tuned_as: str | None = None
    settings: Sequence[dict[str, float]] = ()


@dataclass(frozen=True)
class Task:
    """A table: several methods for one network on one data set.

    Attributes:
        job: network, data and selection.
        methods: methods by name; a run of selection comes before its controls.
        settings: learning rates and decays to choose from.
        seeds: number of seeds.
    """

    job: Job
    methods: Mapping[str, Method]
    settings: Sequence[dict[str, float]] = SETTINGS
    seeds: int = 5

    def job_of(self, name: str, setting: Mapping[str, float], quick: bool, **more: Any) -> Job:
        """Return the job that runs a method with a setting (learning rate and decay)."""
        method, net = self.methods[name], self.job.net
        if method.dropout:
            net = net.replace("mlp", f"dropout{method.dropout:g}")
        epochs = 2 if quick else method.epochs
        if method.pressure is not None:
            more["selection"] = {**(self.job.selection or {}), "pressure": method.pressure}
        return replace(self.job, net=net, epochs=epochs, **setting, **more)


def with_dropout(
    rate: float, pressure: float, ours: int, gradually: int, once: int
) -> dict[str, Method]:
    """Return selection and its best controls, with a share `rate` of the inputs dropped.

    `ours`, `gradually` and `once` are the numbers of epochs of the three methods.
    """
    of = "ours, dropout"
    return {
        of: Method(selection, ours, "", rate, pressure, tuned_as="ours"),
        "one cut, dropout": Method(one_cut, once, of, rate, settings=SETTINGS[3:5]),
        "gradual, dropout": Method(gradual, gradually, of, rate, settings=SETTINGS[2:4]),
    }


PLAIN = {
    "ours": Method(selection),
    "gradual": Method(gradual, of="ours"),
    "one cut": Method(one_cut, of="ours"),
    "from scratch": Method(from_scratch, of="ours"),
}
MLP = Job(selection={"pressure": 1.5})
AS_CHOSEN = {"ours": SETTINGS[3:4], "one cut": SETTINGS[4:5], "gradual": SETTINGS[2:3]}
TASKS = {
    "controls": Task(
        MLP,
        PLAIN
        | with_dropout(0.3, 2.0, 40, 32, 20)
        | {"longer": Method(selection, 40, tuned_as="ours"), "replay": Method(replay, of="ours")},
    ),
    "controls_small": Task(
        MLP,
        {
            "ours, dropout": Method(selection, 60, "", 0.2, 3.3, settings=AS_CHOSEN["ours"]),
            "one cut": Method(one_cut, of="ours, dropout", settings=AS_CHOSEN["one cut"]),
            "one cut, dropout": Method(
                one_cut, 20, "ours, dropout", 0.2, settings=AS_CHOSEN["one cut"]
            ),
            "gradual": Method(gradual, 40, "ours, dropout", settings=AS_CHOSEN["gradual"]),
            "gradual, dropout": Method(
                gradual, 40, "ours, dropout", 0.2, settings=AS_CHOSEN["gradual"]
            ),
        },
    ),
    "controls_fashion": Task(
        replace(MLP, data="fashion-mnist"),
        {
            "ours": Method(selection, 10),
            "one cut": Method(one_cut, 10, "ours"),
            "gradual": Method(gradual, 10, "ours"),
            "ours, dropout": Method(selection, 20, "", 0.2, 2.0, tuned_as="ours"),
            "one cut, dropout": Method(one_cut, 10, "ours, dropout", 0.2, tuned_as="one cut"),
            "longer": Method(selection, 20, tuned_as="ours"),
            "from scratch": Method(from_scratch, 10, "ours"),
        },
        settings=SETTINGS[2:4],
        seeds=3,
    ),
    "controls_lenet": Task(
        Job("lenet5 20-50-500", selection={"pressure": 2.0}),
        {
            **PLAIN,
            "longer": Method(selection, 60, tuned_as="ours"),
            "replay": Method(replay, of="ours", tuned_as="ours"),
        },
        settings=SETTINGS[:4],
        seeds=3,
    ),
}


@dataclass
class Runs:
    """The runs of one task with one seed, each executed when first needed.

    Attributes:
        task: the task.
        settings: method -> learning rate and decay.
        seed: seed of all runs.
        read: data to evaluate on, "held" or "test", see lab.py.
        quick: True for tiny runs.
        rows: method -> known results.
    """

    task: Task
    settings: Mapping[str, Mapping[str, float]]
    seed: int
    read: str
    quick: bool
    rows: dict[str, Row]
    deaths: dict[str, Any] = field(default_factory=dict)

    def make(self, name: str) -> None:
        """Run the method `name` and store its row."""
        method = self.task.methods[name]
        if method.run is replay and method.of not in self.deaths:
            self.make(method.of)
        setting = self.settings[name]
        job = self.task.job_of(name, setting, self.quick, seed=self.seed, read=self.read)
        train, test = lab.data_of(job.data, job.read, self.quick)
        found = Found(self.rows.get(method.of, {}), self.deaths.get(method.of))
        begin = time.process_time()
        trained = method.run(job, train, found)
        cost = {"training_macs": trained.macs, "seconds": time.process_time() - begin}
        self.rows[name] = lab.facts(trained.net, test) | cost
        if method.run is selection:
            self.deaths[name] = found.deaths
        alive = "+".join(map(str, self.rows[name]["alive"]))
        accuracy = 100 * self.rows[name]["accuracy"]
        print(f"{self.seed}: {accuracy:.2f} % @ {alive}  {name}, {setting}", flush=True)


def chosen(task: Task, lab_: Lab) -> dict[str, dict[str, float]]:
    """Return learning rate and decay of every method, chosen on validation images."""
    quick = lab_.options.quick
    tuned = list(lab_.facts.get("tuned", ()))
    settings: dict[str, dict[str, float]] = {}
    rows: dict[str, dict[str, Row]] = {}  # results of selection, whose shapes the controls get
    for name, method in task.methods.items():
        if method.tuned_as is not None:
            settings[name] = settings[method.tuned_as]
            continue
        some = method.settings or task.settings
        if len(some) == 1:
            settings[name] = dict(some[0])
            continue
        for setting in some[:1] if quick else some:
            told = {"method": name, **setting}
            if any(told.items() <= row.items() for row in tuned):
                continue
            setting_of = {name: setting, method.of: settings.get(method.of, setting)}
            known = rows.setdefault(json.dumps(setting_of[method.of]), {})
            runs = Runs(task, setting_of, CHOSEN_BY, "held", quick, known)
            if method.of and method.of not in known:
                runs.make(method.of)
            runs.make(name)
            tuned.append({**told, "accuracy": known[name]["accuracy"]})
            lab_.write(tuned=tuned)
        best = max((row for row in tuned if row["method"] == name), key=lambda r: r["accuracy"])
        settings[name] = {key: best[key] for key in some[0]}
    return settings


def script(task: Task, lab_: Lab) -> None:
    settings = chosen(task, lab_)
    seeds, quick = lab_.seeds(task.seeds), lab_.options.quick
    known = {seed: {"seed": seed} for seed in seeds}
    known |= {row["seed"]: row for row in lab_.facts.get("runs", ())}
    every = {seed: Runs(task, settings, seed, "test", quick, known[seed]) for seed in seeds}
    for name in task.methods:
        for runs in every.values():
            if name in runs.rows:
                continue
            if time.monotonic() > lab_.end:
                raise lab.TimeIsUp
            runs.make(name)
            told = summary(task, list(known.values()))
            lab_.write(chosen=settings, runs=list(known.values()), summary=told)


def summary(task: Task, rows: list[Row]) -> dict[str, Row]:
    """Return means over seeds, and differences of accuracy between selection and its controls."""
    told = {}
    for name, method in task.methods.items():
        some = [row for row in rows if name in row]
        if not some:
            continue
        found = lab.summary([row[name] for row in some])
        found["training_macs"] = lab.mean(row[name]["training_macs"] for row in some)
        timed = [row[name]["seconds"] for row in some if "seconds" in row[name]]
        found |= {"epochs": method.epochs, "seconds": lab.mean(timed or [0.0]), "minus": {}}
        for ours in ("ours", "longer", "ours, dropout") if method.of else ():
            gaps = [row[ours]["accuracy"] - row[name]["accuracy"] for row in some if ours in row]
            if gaps:
                error = lab.deviation(gaps) / len(gaps) ** 0.5
                found["minus"][ours] = {"mean": lab.mean(gaps), "standard_error": error}
        told[name] = found
    return told


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))

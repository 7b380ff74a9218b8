"""Compare selection with controls that are given the final shape, for several networks.

All methods use batch 128 and the same order of data. A control is given the final shape (the number
of populations of each layer) of the run of selection with the same seed. Settings are chosen on
5,000 validation images; the test set is read once, after the last epoch. schedules.py has the
methods:

- ours: selection, which finds the shape.
- gradual: dense at first; whole populations are pruned by norm four times per epoch, along a cubic
  schedule (Zhu & Gupta 2017) to the shape; the optimizer's moments are kept.
- uniform: the same, to the same share of every layer, with as many multiply-adds as the shape.
- one cut: dense at first, then pruned by norm to the shape in one cut, and trained on.
- iterative: the same in five cuts, with training in between.
- replay: as many populations removed at the same steps as in our run, but chosen at random.
- from scratch: the shape from the start; longer: for as many multiply-adds as ours.

"dropout" after a name: a share of the inputs is dropped in training. These runs have as many epochs
as make training cost about as many multiply-adds as selection with dropout, or more. Costs are
multiply-adds of forward passes, and seconds of processor time in one thread. A script that was
stopped continues when it is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jobs
import lab
from jobs import Job, Row
from lab import Lab
from schedules import (
    Found,
    Trained,
    from_scratch,
    gradual,
    iterative,
    one_cut,
    replay,
    selection,
    uniform,
)

Setting = Mapping[str, float]

CHOSEN_BY = 100  # the seed of the runs that choose settings
SETTINGS = tuple({"rate": rate, "decay": d} for rate in (1e-3, 2e-3, 4e-3) for d in (0.1, 0.5))
BETWEEN = tuple({"rate": rate, "decay": 0.25} for rate in (1e-3, 2e-3, 4e-3))
DROPOUTS = tuple({"dropout": share} for share in (0.1, 0.2, 0.3, 0.4))
MASSES = ({"mass": 1.0}, {"mass": 2.5})
# the settings that a method takes as keyword arguments
OF_SCHEDULE = ("end", "mass", "first", "later", "more")


@dataclass(frozen=True)
class Method:
    """A way of training; each method is a row of a table.

    A setting has the keys "rate" and "decay". It may also have "dropout", "epochs" and "pressure",
    which override the attributes, and those of OF_SCHEDULE, which are keyword arguments of `run`.

    Attributes:
        run: the function that trains.
        epochs: length of the run.
        of: for a control, the name of the run of selection whose final shape it is given.
        dropout: share of the inputs that is dropped in training.
        pressure: pressure of selection; None: the task's.
        tuned_as: the method whose settings are used; None: choose them.
        settings: learning rates and decays to choose from; (): the task's.
        start: settings that hold until a stage changes them.
        stages: lists of settings, one chosen from each, in order; (): `settings` is the only one.
        seeds: number of seeds; None: the task's.
        chosen_by: seeds of the runs that choose settings, each with a split of its own, so that no
            set of validation images decides; (): the task's seeds, all with the same split.
    """

    run: Callable[..., Trained]
    epochs: int = 20
    of: str = ""
    dropout: float = 0.0
    pressure: float | None = None
    tuned_as: str | None = None
    settings: Sequence[Setting] = ()
    start: Setting = field(default_factory=dict)
    stages: Sequence[Sequence[Setting]] = ()
    seeds: int | None = None
    chosen_by: Sequence[int] = ()


@dataclass(frozen=True)
class Task:
    """A table: several methods for one network on one data set.

    Attributes:
        job: network, data and selection.
        methods: methods by name; a run of selection comes before its controls.
        settings: learning rates and decays to choose from.
        seeds: number of seeds.
        by: "accuracy" or "loss", the result that is compared.
        chosen_by: seeds of the runs that choose settings. All settings of a stage are run with the
            first one, the two best of them (three, if there are more than two seeds) with the
            others; the best mean is taken.
    """

    job: Job
    methods: Mapping[str, Method]
    settings: Sequence[Setting] = SETTINGS
    seeds: int = 5
    by: str = "accuracy"
    chosen_by: Sequence[int] = (CHOSEN_BY,)

    def merit(self, row: Row) -> float:
        """Return the compared result with the sign that makes more better."""
        return float(row["accuracy"] if self.by == "accuracy" else -row["loss"])

    def job_of(self, name: str, setting: Setting, quick: bool, **more: Any) -> Job:
        """Return the job that runs a method with a setting."""
        method, net = self.methods[name], self.job.net
        told = {key: value for key, value in setting.items() if key not in OF_SCHEDULE}
        pressure = told.pop("pressure", method.pressure)
        if dropout := told.pop("dropout", method.dropout):
            net = net.replace("mlp", f"dropout{dropout:g}")
        epochs = int(told.pop("epochs", method.epochs))
        if pressure is not None:
            more["selection"] = {**(self.job.selection or {}), "pressure": pressure}
        return replace(self.job, net=net, epochs=2 if quick else epochs, **told, **more)


# ---- the tables ----------------------------------------------------------------------------------

MLP = Job(selection={"pressure": 1.5})
OURS, GRADUAL, ONE_CUT = SETTINGS[3], SETTINGS[2], SETTINGS[4]  # chosen for the table "controls"
TWO = (CHOSEN_BY, CHOSEN_BY + 1)
SIX = tuple(range(CHOSEN_BY, CHOSEN_BY + 6))
DROPPED = "ours, dropout"
# What fewer validation images had chosen for gradual pruning, and is better on the test set.
SHORTER = {**SETTINGS[4], "dropout": 0.2, "end": 0.5, "epochs": 39}
PRESSURES = (2.3, 2.0, 2.4, 2.0, 2.6, 1.1, 2.2, 2.3, 1.9)  # of MORE, for about equal sizes
MORE = (*SETTINGS, *BETWEEN)
PRESSED = [{**setting, "pressure": p} for setting, p in zip(MORE, PRESSURES, strict=True)]


def lengths(*pairs: tuple[float, int]) -> list[Setting]:
    """Return a setting for each pair (end, epochs); the pairs of a call cost about the same."""
    return [{"end": end, "epochs": epochs} for end, epochs in pairs]


def dropped(
    run: Callable[..., Trained],
    start: Setting,
    ends: Sequence[Setting],
    *more: Sequence[Setting],
    dropouts: Sequence[Setting] = DROPOUTS,
    seeds: int = 5,
    chosen_by: Sequence[int] = (),
) -> Method:
    """Return a control with input dropout, which chooses dropout, `more`, and the end."""
    start = {**start, **dropouts[-2], **ends[0]}
    stages = (dropouts, *more, ends)
    return Method(run, of=DROPPED, start=start, stages=stages, seeds=seeds, chosen_by=chosen_by)


def on_mnist() -> dict[str, Method]:
    """Return the methods at about 124 populations alive."""
    gradually, once = lengths((0.75, 32), (0.5, 39)), lengths((0.5, 20), (0.25, 32))
    in_steps = lengths((0.75, 22), (0.5, 28))
    return {
        "ours": Method(selection, seeds=10),
        "ours, dropout": Method(selection, 40, "", 0.3, settings=PRESSED, seeds=20, chosen_by=SIX),
        "gradual, dropout": dropped(gradual, GRADUAL, gradually, MORE, seeds=20, chosen_by=SIX),
        "gradual, dropout, shorter": Method(gradual, of=DROPPED, settings=[SHORTER], seeds=20),
        "one cut, dropout": dropped(one_cut, ONE_CUT, once, dropouts=DROPOUTS[:3]),
        "gradual": Method(gradual, of="ours"),
        "one cut": Method(one_cut, of="ours"),
        "uniform": Method(uniform, of="ours", tuned_as="gradual"),
        "iterative": Method(iterative, of="ours", tuned_as="gradual"),
        "replay": Method(replay, of="ours", tuned_as="ours"),
        "from scratch": Method(from_scratch, of="ours"),
        "from scratch, longer": Method(
            from_scratch, 36, "ours", start=SETTINGS[1], stages=(MASSES,)
        ),
        "from scratch, dropout": Method(
            from_scratch, 68, DROPPED, start=SETTINGS[1], stages=(DROPOUTS[:2], MASSES, SETTINGS)
        ),
        "iterative, dropout": dropped(iterative, ONE_CUT, in_steps),
    }


def on_mnist_smaller() -> dict[str, Method]:
    """Return methods for networks of about 78 living populations; only dropout is chosen."""
    some, pruned, cut = DROPOUTS[:3], lengths((0.5, 54)), lengths((0.5, 20))
    scratch = {**SETTINGS[1], "dropout": 0.2, "mass": 2.5}  # close to the best in "controls"
    return {
        "ours, dropout": Method(selection, 60, "", 0.2, 3.3, settings=[OURS], seeds=10),
        "gradual, dropout": dropped(gradual, ONE_CUT, pruned, dropouts=some[:2], seeds=10),
        "one cut, dropout": dropped(one_cut, ONE_CUT, cut, dropouts=some[1:], seeds=2),
        "from scratch, dropout": Method(from_scratch, 115, DROPPED, settings=[scratch], seeds=10),
        "gradual": Method(gradual, 42, DROPPED, settings=[GRADUAL]),
        "one cut": Method(one_cut, 20, DROPPED, settings=[ONE_CUT]),
    }


def on_fashion() -> dict[str, Method]:
    """Return the methods on Fashion-MNIST; all choose dropout from the same list."""
    gradually, once = lengths((0.75, 14), (0.5, 18)), lengths((0.5, 10), (0.25, 16))
    some = DROPOUTS[:3]
    return {
        "ours": Method(selection, 10),
        "ours, dropout": Method(selection, 20, "", 0.2, 2.0, start=OURS, stages=(some,), seeds=5),
        "gradual, dropout": dropped(gradual, GRADUAL, gradually, dropouts=some),
        "one cut, dropout": dropped(one_cut, GRADUAL, once, dropouts=some[:2]),
        "gradual": Method(gradual, 10, "ours"),
        "one cut": Method(one_cut, 10, "ours"),
        "from scratch": Method(from_scratch, 10, "ours"),
        "from scratch, dropout": Method(
            from_scratch,
            40,
            DROPPED,
            start=SETTINGS[1],
            stages=(some[:2], MASSES, SETTINGS),
            seeds=5,
        ),
    }


TASKS = {
    "controls": Task(MLP, on_mnist(), chosen_by=TWO),
    "controls_small": Task(MLP, on_mnist_smaller(), chosen_by=TWO),
    "controls_fashion": Task(
        replace(MLP, data="fashion-mnist"), on_fashion(), settings=SETTINGS[2:4], chosen_by=TWO
    ),
}


# ---- runs ----------------------------------------------------------------------------------------


@dataclass
class Runs:
    """The runs of one task with one seed, each executed when first needed.

    Attributes:
        task: the task.
        settings: method -> its setting.
        seed: seed of all runs.
        read: data to evaluate on, "held" or "test", see lab.py.
        quick: True for tiny runs.
        rows: method -> known results.
    """

    task: Task
    settings: Mapping[str, Setting]
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
        train, test = jobs.data_of(job.data, job.read, self.quick)
        found = Found(self.rows.get(method.of, {}), self.deaths.get(method.of))
        of_schedule = {key: setting[key] for key in OF_SCHEDULE if key in setting}
        begin = time.process_time()
        trained = method.run(job, train, found, **of_schedule)
        cost = {"training_macs": trained.macs, "seconds": time.process_time() - begin}
        self.rows[name] = lab.facts(trained.net, test) | cost
        if method.run is selection:
            self.deaths[name] = found.deaths
        alive = "+".join(map(str, self.rows[name]["alive"]))
        accuracy, loss = 100 * self.rows[name]["accuracy"], self.rows[name]["loss"]
        told = f"{self.seed}: {accuracy:.2f} %, loss {loss:.4f} @ {alive}  {name}, {setting}"
        print(told, flush=True)


# Results that are kept of the runs that choose settings.
RESULTS = ("accuracy", "loss", "alive", "macs", "training_macs")


@dataclass
class Choice:
    """Chooses settings by runs on validation images; the results list these runs as "tuned"."""

    task: Task
    lab_: Lab
    settings: dict[str, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tuned = [{"seed": CHOSEN_BY, **row} for row in self.lab_.facts.get("tuned", ())]

    def row(self, name: str, setting: Setting, seed: int) -> Row:
        """Return the result of a setting with a seed, of a run if it is not known."""
        split = seed - CHOSEN_BY if self.task.methods[name].chosen_by else 0
        told = {"method": name, **setting, "seed": seed, **({"split": split} if split else {})}
        for row in self.tuned:
            if told == {key: value for key, value in row.items() if key not in RESULTS}:
                return row
        self.lab_.check_time()
        of, known = self.task.methods[name].of, {}
        if of:
            known[of] = self.row(of, self.settings[of], seed)
            if "alive" not in known[of]:  # stored before rows had sizes: run again
                self.tuned.remove(known[of])
                known[of] = self.row(of, self.settings[of], seed)
        settings = {**self.settings, name: setting}
        quick = self.lab_.options.quick
        Runs(self.task, settings, seed, f"held {split}", quick, known).make(name)
        self.tuned.append({**told, **{key: known[name][key] for key in RESULTS}})
        self.lab_.write(tuned=self.tuned)
        return self.tuned[-1]

    def best(self, name: str, some: Sequence[Setting]) -> Setting:
        """Return the setting with the best mean result over the seeds `chosen_by`.

        All settings run with the first seed; only the two best of them, or the three best if there
        are more than two seeds, run with the other seeds.
        """
        if len(some) == 1:
            return some[0]
        first, *others = self.task.methods[name].chosen_by or self.task.chosen_by
        rank = sorted(some, key=lambda s: -self.task.merit(self.row(name, s, first)))

        def mean(setting: Setting) -> float:
            return lab.mean(self.task.merit(self.row(name, setting, s)) for s in (first, *others))

        return max(rank[: 2 if len(others) == 1 else 3], key=mean) if others else rank[0]

    def of(self, name: str) -> Setting:
        """Return the setting of a method; choose it first where the method has several.

        Call it in the order of the task's methods: a control uses the setting of an earlier method.
        """
        method, quick = self.task.methods[name], self.lab_.options.quick
        if method.tuned_as is not None:
            return self.settings[method.tuned_as]
        setting = dict(method.start)
        for stage in method.stages or (method.settings or self.task.settings,):
            some = [{**setting, **change} for change in (stage[:1] if quick else stage)]
            setting = dict(self.best(name, some))
        return setting


def script(task: Task, lab_: Lab) -> None:
    """Choose the settings of every method, then run it with every seed."""
    choice, quick = Choice(task, lab_), lab_.options.quick
    old = lab_.facts.get("chosen", {})
    known = {row["seed"]: row for row in lab_.facts.get("runs", ())}
    for name, method in task.methods.items():
        setting = choice.settings[name] = choice.of(name)
        seeds = lab_.seeds(task.seeds if method.seeds is None else method.seeds)
        if old.get(name, setting) != setting:
            shaped = {other for other, m in task.methods.items() if m.of == name}
            choice.tuned = [row for row in choice.tuned if row["method"] not in shaped]
            for row in known.values():  # drop runs made with another setting, or for other shapes
                for outdated in (name, *shaped):
                    row.pop(outdated, None)
        for seed in seeds:
            rows = known.setdefault(seed, {"seed": seed})
            if name in rows:
                continue
            lab_.check_time()
            Runs(task, choice.settings, seed, "test", quick, rows).make(name)
            keep(task, lab_, old | choice.settings, list(known.values()))
    keep(task, lab_, choice.settings, list(known.values()))


def keep(task: Task, lab_: Lab, settings: Mapping[str, Setting], rows: list[Row]) -> None:
    """Write the runs of all seeds and their summary."""
    rows = sorted(rows, key=lambda row: int(row["seed"]))
    lab_.write(chosen=settings, runs=rows, summary=summary(task, settings, rows))


def summary(task: Task, settings: Mapping[str, Setting], rows: list[Row]) -> dict[str, Row]:
    """Return means over seeds, and how far selection is ahead of its controls."""
    told, selections = {}, [name for name, m in task.methods.items() if m.run is selection]
    for name, method in task.methods.items():
        some = [row for row in rows if name in row]
        if not some:
            continue
        found = lab.summary([row[name] for row in some])
        found["training_macs"] = lab.mean(row[name]["training_macs"] for row in some)
        if task.by == "loss":
            losses = [row[name]["loss"] for row in some]
            found |= {"loss": lab.mean(losses), "loss_deviation": lab.deviation(losses)}
        timed = [row[name]["seconds"] for row in some if "seconds" in row[name]]
        setting = settings.get(name, {})
        epochs = setting.get("epochs", method.epochs)
        if "first" in setting:
            epochs = setting["first"] + setting["more"]
        found |= {"epochs": epochs, "seconds": lab.mean(timed or [0.0]), "minus": {}}
        for ours in selections if method.of else ():
            both = [row for row in some if ours in row]
            gaps = [task.merit(row[ours]) - task.merit(row[name]) for row in both]
            if gaps:
                error = lab.deviation(gaps) / len(gaps) ** 0.5
                gap = {"mean": lab.mean(gaps), "standard_error": error, "seeds": len(gaps)}
                found["minus"][ours] = gap
        told[name] = found
    return told


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))

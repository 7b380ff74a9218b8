"""Try ideas that may make small networks more accurate; accuracy is on 5,000 held-out images.

Runs train 784-512-256-10 on 55,000 images of MNIST, by AdamW at 2e-3 with weight decay 0.5 and
batch 128; the test set is not read here. controls.py compares the best ideas on the test set.

- late: no pressure in a first part of the run.
- average: evaluate an exponential average of the survivors' weights times masses, sampled four
  times per epoch from a given epoch on; the learning rate ends at a share of its peak.
- distill: from a given epoch on, targets are a mixture of the labels and the softened outputs of
  the network at that epoch, or of an average of its weights.
- teacher: the same mixture from the start, with the outputs of a dense network that was trained for
  8 epochs with dropout (inputs 0.2, neurons 0.3).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import jobs
import lab
import numpy as np
from jobs import Job, Row
from lab import Lab

import evoprune as ep
from evoprune import datasets

PER_EPOCH = 4  # number of times per epoch that an `Average` is updated
SEEDS = (100, 101)


@dataclass(frozen=True)
class Idea:
    """One variation of training.

    Attributes:
        job: gives network, pressure, epochs and label smoothing.
        late: share of the run, from its start, without pressure.
        average: (first epoch, decay) of the average of weights that is evaluated; None: none.
        final: learning rate at the end, as a share of the highest.
        distill: (epoch, temperature, share of the outputs in the targets); None: none.
        past: (first epoch, decay) of the average that is distilled; None: distill the network.
        teacher: (temperature, share of the outputs in the targets) of a dense teacher; None: none.
    """

    job: Job = field(default_factory=Job)
    late: float = 0.0
    average: tuple[float, float] | None = None
    final: float = 0.0
    distill: tuple[float, float, float] | None = None
    past: tuple[float, float] | None = None
    teacher: tuple[float, float] | None = None


class Average:
    """An exponential average of a network's folded arrays, without extinct populations."""

    def __init__(self, decay: float) -> None:
        self.decay, self.n = decay, 0
        self.arrays: dict[str, Any] = {}
        self.births: list[Any] = []

    def add(self, net: ep.Network) -> None:
        """Add a network to the average, and remove extinct populations from the average."""
        net = net.copy()
        net.compact()
        births = [np.array(net.births(layer)) for layer in net.alive]
        self.net = net.folded()
        last = min(self.decay, self.n / (self.n + 1))
        for name, array in self.net.items():
            at = int("".join(c for c in name.split(".")[0] if c.isdigit())) - 1
            before = self.arrays.get(name, np.zeros(array.shape))
            if self.births:  # a matrix of weights is (inputs, outputs), any other array (outputs,)
                for axis, layer in ((-1, at), (0, at - 1)):
                    if 0 <= layer < len(births) and not (axis == 0 and array.ndim == 1):
                        alive = np.isin(self.births[layer], births[layer])
                        before = np.compress(alive, before, axis)
            self.arrays[name] = last * before + (1 - last) * np.asarray(array, np.float64)
        self.births, self.n = births, self.n + 1

    def network(self) -> ep.Network:
        """Return a network whose arrays are the average."""
        net = self.net.copy()
        for name, array in self.arrays.items():
            net[name][...] = array
        return net


def softened(net: ep.Network, train: Any, temperature: float, share: float) -> Any:
    """Return the data with soft targets.

    The targets are (1 - share) y + share softmax(z / temperature), with one-hot labels y and
    outputs z of `net`.
    """
    y = np.eye(10, dtype=np.float32)[train.batch()[1]]
    z = net.predict(train) / temperature
    z = np.exp(z - z.max(1, keepdims=True))
    table = train.table
    targets = np.zeros((len(table.x), 10), np.float32)
    rows = slice(None) if table.rows is None else table.rows
    targets[rows] = (1 - share) * y + share * z / z.sum(1, keepdims=True)
    scaling = {"shape": train.shape, "shift": train.shift, "scale": train.scale}
    return datasets.Dataset(table.x, targets, rows=table.rows, **scaling)


def taught(train: Any, seed: int) -> ep.Network:
    """Train and return the dense teacher."""
    hidden = [node for n in (512, 256) for node in (ep.neurons(n), ep.Dropout(0.3))]
    last = [ep.Dense(10, gain=1.0), ep.Populations("identity", mass=False)]
    net = ep.Sequential([ep.Dropout(0.2), *hidden, *last], input=784, seed=seed)
    trainer = ep.Trainer(net, selection=None, optimizer=ep.AdamW(1e-3, weight_decay=0.1))
    trainer.fit(train, epochs=8, progress=False)
    return net


def tried(idea: Idea, seed: int, quick: bool) -> Row:
    """Train a variation; return sizes, costs and validation accuracy of the network."""
    job = idea.job
    train, read = jobs.data_of("mnist", "held", quick)
    net = jobs.network_of(Job(net=job.net, seed=seed))
    settings = dict(job.selection or {})
    level = settings.pop("pressure", 1.5)
    selection = ep.Selection(
        lambda n: np.where(np.arange(n) < idea.late * n, 0.0, level), **settings
    )
    soft = idea.distill is not None or idea.teacher is not None
    trainer = ep.Trainer(
        net,
        loss=ep.SoftCrossEntropy() if soft else ep.CrossEntropy(label_smoothing=job.smoothing),
        optimizer=ep.AdamW(
            ep.schedules.cosine(job.rate, job.rate * idea.final), weight_decay=job.decay
        ),
        selection=selection,
    )
    data = train
    if idea.teacher is not None:
        data = softened(taught(train, 7), train, *idea.teacher)
    elif soft:
        net.scale_input(train.shift, train.scale)
        data = softened(net, train, 1.0, 0.0)  # labels as class probabilities
    averages = {
        name: Average(span[1])
        for name, span in (("average", idea.average), ("past", idea.past))
        if span is not None
    }
    stops = [i / PER_EPOCH for i in range(1, job.epochs * PER_EPOCH)]
    if not averages:
        stops = [] if idea.distill is None else [idea.distill[0]]
    run: Any = trainer.fit
    more: dict[str, Any] = {"epochs": job.epochs}
    for stop in [*stops, None]:
        history = run(data, until=stop, progress=False, **more)
        run, more = trainer.resume, {}
        at = job.epochs if stop is None else stop
        for name, average in averages.items():
            first = (idea.average if name == "average" else idea.past)[0]  # type: ignore[index]
            if at >= min(first, job.epochs):
                average.add(net)
        if idea.distill is not None and stop == idea.distill[0]:
            past = averages.pop("past").network() if "past" in averages else net
            data = softened(past, train, *idea.distill[1:])
    found = averages["average"].network() if "average" in averages else net
    ep.Trainer(net, selection=None)  # sets a loss that takes labels, for lab.facts
    row = lab.facts(net, read)
    right = found.predict(read).argmax(1) == read.batch()[1]
    return row | {"accuracy": float(right.mean()), "mean_macs": float(history["macs"].mean())}


def under(pressure: float = 1.5, epochs: int = 20, dropout: float = 0.0, **more: Any) -> Job:
    """Return a run under the default selection."""
    net = f"dropout{dropout:g}" if dropout else "mlp"
    return Job(
        f"{net} 784-512-256-10",
        selection={"pressure": pressure},
        epochs=epochs,
        read="held",
        **more,
    )


TEACHER = (3.0, 0.7)
IDEAS = {
    "as it is": Idea(under()),
    "no pressure for a quarter of the run": Idea(under(), late=0.25),
    "smoothed labels, 0.1": Idea(under(smoothing=0.1)),
    "average of weights from epoch 15": Idea(under(), average=(15, 0.9), final=0.1),
    "distilled from itself at epoch 3": Idea(under(), distill=(3, 3.0, 1.0)),
    "the same at epoch 5, averaged; no pressure before, input dropout 0.1": Idea(
        under(dropout=0.1), late=0.25, distill=(5, 3.0, 0.7), past=(2.25, 0.9)
    ),
    "distilled from a dense network": Idea(under(), teacher=TEACHER),
    "input dropout 0.1": Idea(under(dropout=0.1)),
    "40 epochs": Idea(under(epochs=40)),
    "40 epochs, input dropout 0.2": Idea(under(1.5, 40, 0.2)),
    "40 epochs, input dropout 0.3": Idea(under(1.5, 40, 0.3)),
    "40 epochs, input dropout 0.4": Idea(under(1.5, 40, 0.4)),
    "40 epochs, input dropout 0.2, pressure 3": Idea(under(3, 40, 0.2)),
    "40 epochs, input dropout 0.3, pressure 3.5": Idea(under(3.5, 40, 0.3)),
}


def script(lab_: Lab) -> None:
    quick = lab_.options.quick
    runs = {(row["idea"], row["seed"]): row for row in lab_.facts.get("runs", ())}
    told = []
    for name, idea in IDEAS.items():
        for seed in SEEDS[:1] if quick else SEEDS:
            if (name, seed) in runs:
                continue
            small = Idea(**{**vars(idea), "job": Job(**{**vars(idea.job), "epochs": 6})})
            row = tried(small if quick else idea, seed, quick)
            runs[name, seed] = {"idea": name, "seed": seed, **row}
            print(f"{seed}: {100 * row['accuracy']:.2f} % @ {row['alive']}  {name}", flush=True)
            lab_.write(runs=list(runs.values()))
        rows = [row for (of, _), row in runs.items() if of == name]
        more = {"mean_macs": lab.mean(row["mean_macs"] for row in rows)}
        told.append({"idea": name, **asdict(idea), **lab.summary(rows), **more})
    lab_.write(runs=list(runs.values()), summary=told)


if __name__ == "__main__":
    lab.main("search", __doc__, script)

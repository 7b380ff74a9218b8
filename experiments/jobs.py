"""Jobs of the scripts of docs/paper.md and docs/controls.md: networks, data, and selection.

A job determines a run: network, data, selection, optimizer, length, seed and evaluation. There are
two kinds of evaluation: "held" trains on 55,000 images and evaluates on 5,000 validation images (to
choose settings); "test" trains on the whole training set and reads the test set once, at the end.
Of a text, "held" trains on the first .81 and evaluates on the next .09, "test" on .9 and .1.
Each run has one thread, so that several runs share a machine; this does not affect results.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ["EVOPRUNE_NUM_THREADS"] = "1"
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

import common  # noqa: E402, F401 - cleans the environment, finds the package
import numpy as np  # noqa: E402

import evoprune as ep  # noqa: E402

Row = dict[str, Any]

HELD = 5000  # validation images, taken from the training set
SPLIT = 0  # seed that chooses the validation images
WINDOW = 64  # characters of a sample of text; an epoch predicts every character once
TRANSFORMERS = ("vit", "charlm")


# ---- jobs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        net: "mlp 784-512-256-10", "dropout0.2 784-512-256-10" (dropout of its inputs), "seeing
            784-300-100-10" (inputs are populations too), "lenet5 20-50-500", "cnn 32-64-128", or a
            transformer, "vit" or "charlm", alone or with heads and neurons of its blocks, in turn:
            "vit 2-46-2-43-2-40-1-35".
        selection: arguments of `ep.Selection`; None: an ordinary network. "dynamics" may be a pair
            (name of the class, settings), and "fitness" one of FITNESS.
        read: "held" or "test"; "held 2" has other validation images, those of split 2.
        cuts: criteria ("mass", "norm", "taylor", "random") by which the trained network is pruned.
        keeps: sizes to prune to: the number of all populations, or a tuple of numbers by layer.
        features: birth ids of the input populations that exist from the start; None: all.
    """

    net: str = "mlp 784-512-256-10"
    data: str = "mnist"
    selection: dict[str, Any] | None = field(default_factory=dict)
    rate: float = 2e-3
    decay: float = 0.5
    smoothing: float = 0.0
    epochs: int = 20
    batch: int = 128
    shift: int = 0
    seed: int = 0
    read: str = "test"
    cuts: tuple[str, ...] = ()
    keeps: tuple[Any, ...] = ()
    features: tuple[int, ...] | None = None

    def told(self) -> Row:
        """Return the attributes that differ from their defaults, by name."""
        usual = Job()
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != getattr(usual, f.name)
        }

    @property
    def key(self) -> str:
        """Return a string that identifies the job."""
        return json.dumps(asdict(self), sort_keys=True)


def dense(job: Job, **changes: Any) -> Job:
    """Return the same job without selection."""
    return replace(job, selection=None, **changes)


@cache
def data_of(name: str, read: str, quick: bool) -> tuple[Any, Any]:
    """Return the data to train on, and the data to evaluate on.

    Args:
        name: "mnist" or "fashion-mnist", alone or with other labels: "mnist is 3" has two classes,
            3 and other digits; "mnist noisy 50" permutes the labels of 50 % of the training
            samples. "tiny-shakespeare": windows of 64 characters, to predict the next ones.
        read: "held" or "test", see the top of this file; "held 2" is split 2.
        quick: return fewer samples.
    """
    pictures, _, labels = name.partition(" ")
    if pictures == "tiny-shakespeare":
        train, test = text_of(pictures, read)
        return (train.subset(slice(800)), test.subset(slice(50))) if quick else (train, test)
    if pictures == "mnist":
        train, test = ep.datasets.mnist()
    else:
        train, test = ep.datasets.fashion_mnist(folder(pictures))
    kind, _, number = labels.partition(" ")
    if kind == "is":
        train, test = (relabelled(part, part.y == int(number)) for part in (train, test))
    elif kind == "noisy":
        train = relabelled(train, permuted(train.y, int(number) / 100))
    kind, _, split = read.partition(" ")
    if kind == "held":
        train, test = train.split(HELD, int(split or SPLIT))
    return (train.subset(slice(3200)), test.subset(slice(500))) if quick else (train, test)


def folder(name: str) -> Path:
    """Return the folder of a data set that is not part of the package."""
    parent = os.environ.get("EVOPRUNE_DATA")
    if not parent:
        raise FileNotFoundError(f"{name}: EVOPRUNE_DATA must name the folder that has it")
    return Path(parent) / name


def text_of(name: str, read: str) -> tuple[Any, Any]:
    """Return windows of a text to train on, and those of its last tenth to evaluate on.

    If `read` is "held", the last tenth of the text is left out first.
    """
    content = (folder(name) / "input.txt").read_text()
    known = content[: round(0.9 * len(content))] if read.startswith("held") else content
    vocabulary = "".join(sorted(set(content)))
    text = ep.datasets.Text(
        known, context=WINDOW, held_out=0.1, stride=WINDOW, vocabulary=vocabulary
    )
    return text.train, text.validation


def relabelled(data: Any, labels: Any) -> Any:
    """Return a data set with the same samples and the given labels."""
    given = {"shape": data.shape, "shift": data.shift, "scale": data.scale}
    return ep.datasets.Dataset(data.x, np.asarray(labels, np.int64), **given)


def permuted(labels: Any, share: float) -> Any:
    """Return a copy of labels in which a share of them, drawn at random, is permuted."""
    random = np.random.default_rng(SPLIT)
    rows = random.permutation(len(labels))[: round(share * len(labels))]
    labels = np.array(labels)
    labels[rows] = labels[random.permutation(rows)]
    return labels


def network_of(job: Job) -> ep.Network:
    """Return the untrained network of a job."""
    kind, _, text = job.net.partition(" ")
    sizes = [int(part) for part in text.split("-")] if text else []
    if kind in TRANSFORMERS:
        return transformer(kind, sizes, job.seed)
    if kind == "lenet5":
        return ep.lenet5(filters=sizes[:2], neurons=sizes[2], seed=job.seed)
    if kind == "cnn":
        return ep.cnn((28, 28, 1), sizes, 10, norm=False, seed=job.seed)
    if job.shift and kind == "mlp":  # shifting needs the shape of the image
        hidden = [ep.neurons(width) for width in sizes[1:-1]]
        last = [ep.Dense(sizes[-1], gain=1.0), ep.Populations("identity", mass=False)]
        return ep.Sequential([ep.Flatten(), *hidden, *last], input=(28, 28, 1), seed=job.seed)
    if kind.startswith("dropout"):
        return ep.mlp(*sizes, input_dropout=float(kind.removeprefix("dropout")), seed=job.seed)
    net = ep.mlp(*sizes, inputs=kind == "seeing", seed=job.seed)
    if job.features is not None:
        layer = next(iter(net.alive))
        net.kill(layer, np.setdiff1d(np.arange(sizes[0]), job.features).astype(np.int32))
        net.compact()
        # Scale initial weights to the smaller number of inputs.
        net["dense1.weight"] *= (sizes[0] / len(job.features)) ** 0.5
    return net


def transformer(kind: str, sizes: Sequence[int], seed: int) -> ep.Network:
    """Return an untrained transformer, with `sizes` heads and neurons if sizes are given."""
    image = (28, 28, 1)
    net = ep.vit(image, patch=7, seed=seed) if kind == "vit" else ep.charlm(65, seed=seed)
    if sizes:
        net.prune(keep=dict(zip(net.born, sizes, strict=True)), by="random", seed=seed)
        for layer, n in net.alive.items():
            # Scale initial weights to the smaller number of inputs.
            net[f"{layer}_out.weight"] *= (net.born[layer] / n) ** 0.5
    return net


class Moved:
    """Shuffled batches of 28 x 28 images, each shifted by up to `shift` pixels along both axes."""

    def __init__(self, data: Any, job: Job) -> None:
        self.x, self.y = data.x.reshape(-1, 28, 28), data.y
        self.batch, self.shift = job.batch, job.shift
        self.random = np.random.default_rng(job.seed)

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        order = self.random.permutation(len(self.x))
        for at in range(0, len(order), self.batch):
            rows = order[at : at + self.batch]
            wide = np.pad(self.x[rows], ((0, 0), (self.shift,) * 2, (self.shift,) * 2))
            moves = self.random.integers(0, 2 * self.shift + 1, (len(rows), 2))
            moved = np.empty((len(rows), 28, 28), wide.dtype)
            for down, right in np.unique(moves, axis=0):
                those = (moves == (down, right)).all(1)
                moved[those] = wide[those, down : down + 28, right : right + 28]
            yield moved.reshape(len(rows), -1), self.y[rows]


def optimizer_of(job: Job) -> ep.AdamW:
    """Return the optimizer of a job; gradients of transformers are clipped."""
    more = {"clip": 1.0} if job.net.partition(" ")[0] in TRANSFORMERS else {}
    return ep.AdamW(job.rate, weight_decay=job.decay, **more)


@ep.fitness
def against(signals: Any) -> Any:
    """Return fitness with the opposite sign: positive if growth would raise the loss."""
    return signals["mass_gradient"]


@ep.fitness
def absolute(signals: Any) -> Any:
    """Return the absolute value of fitness: any effect on the loss counts."""
    return np.abs(signals["mass_gradient"])


@ep.fitness
def product(signals: Any) -> Any:
    """Return +<w, dL/dw> with a population's weights w, the benefit in arXiv 2512.22106."""
    return signals["owned_product"]


FITNESS = {"against": against, "absolute": absolute, "product": product}


def selection_of(settings: dict[str, Any] | None) -> ep.Selection | None:
    """Return the selection that a job's settings describe."""
    if settings is None:
        return None
    known = dict(settings)
    if isinstance(known.get("dynamics"), list | tuple):
        name, law = known["dynamics"]
        known["dynamics"] = getattr(ep, name)(**law)
    if known.get("fitness") in FITNESS:
        known["fitness"] = FITNESS[known["fitness"]]
    return ep.Selection(**known)


def from_scratch(job: Job, row: Row) -> Job:
    """Return a job for the surviving shape, trained from scratch."""
    kind, _, text = job.net.partition(" ")
    sizes, alive = text.split("-"), row["alive"]
    if kind in ("lenet5", "cnn", *TRANSFORMERS):
        return dense(job, net=f"{kind} {'-'.join(map(str, alive))}", cuts=(), keeps=())
    hidden = alive[1:] if kind == "seeing" else alive
    shape = "-".join(map(str, [sizes[0], *hidden, sizes[-1]]))
    born = tuple(row["features"]) if kind == "seeing" else None
    return dense(job, net=f"{kind} {shape}", features=born, cuts=(), keeps=())

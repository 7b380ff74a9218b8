"""Tasks of `evoprune train`: data and networks by name, with default settings.

This module converts options to a data set and a network and fills in defaults; it trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import evoprune as ep
from evoprune.common.checks import number, whole
from evoprune.common.files import existing
from evoprune.data.csvfile import is_whole
from evoprune.data.dataset import Dataset
from evoprune.nets.network import Network
from evoprune.selection.laws import LossName

__all__ = [
    "DATA",
    "NETS",
    "OPTIONS",
    "SHAPE",
    "USUAL",
    "Task",
    "Usual",
    "check",
    "checked",
    "data_of",
    "is_csv",
    "selection_of",
    "target_of",
    "task_of",
]

DATA = ("mnist", "fashion-mnist", "cifar10", "text")
SHAPE = {
    "dim": "features of a transformer's residual stream (64; 128 for text)",
    "layers": "of a transformer (4)",
    "heads": "of a layer of a transformer (4)",
    "context": "characters that a language model sees (64)",
}


@dataclass(frozen=True)
class Usual:
    """Default settings for training a network."""

    epochs: int
    batch: int
    rate: float
    decay: float
    steps: int | None = None  # steps per epoch; None: one pass through the data
    clip: float = 0.0


USUAL = {
    "mlp": Usual(20, 128, 2e-3, 0.5),
    "lenet5": Usual(10, 128, 1e-3, 0.5),
    "cnn": Usual(10, 128, 1e-3, 0.5),
    "vit": Usual(10, 64, 1e-3, 0.5, clip=1.0),
    "charlm": Usual(10, 16, 1e-3, 0.5, steps=500, clip=1.0),
}
NETS = tuple(USUAL)
TESTED = 0.2  # share of the rows of a CSV file in the test set
MANY = 20  # more than max(MANY, rows / 10) different integer targets make a regression
STEPS = 2000  # minimum steps of a run on a CSV file
TRANSFORMER = ("dim", "layers", "heads")
READS = {  # options that set a network's shape, by kind of network
    "mlp": ("widths", "activation", "inputs"),
    "cnn": ("widths", "activation", "inputs"),
    "lenet5": (),
    "vit": TRANSFORMER,
    "charlm": (*TRANSFORMER, "context"),
}
COUNTS = {"epochs": 0, "steps": 1, "batch": 1, "seed": 0, **dict.fromkeys(SHAPE, 1)}
NUMBERS = ("rate", "decay", "pressure", "budget", "lifespan", "rest")
OPTIONS = (
    "name", "data", "target", "regression", "net", "widths", "activation", "inputs", "dynamics",
    "fitness", "upkeep", *COUNTS, *NUMBERS,
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A complete task: network, data and settings."""

    train: Dataset
    test: Dataset
    network: Network
    usual: Usual
    loss: LossName = "cross_entropy"


def checked(option: str, value: Any, low: int, high: int) -> int:
    """Return the integer value of an option.

    Raises:
        ValueError: the value is out of bounds; the message names the option.
    """
    return whole(f"--{option}", value, low, high)


def kind_of(options: argparse.Namespace) -> str:
    """Return the kind of network that the options select."""
    return str(options.net or ("charlm" if options.name == "text" else "mlp"))


def check(options: argparse.Namespace) -> None:
    """Check every value, and that every option applies, before reading or creating anything.

    Raises:
        ValueError: an option does not apply or is invalid; the message names it.
    """
    for option, low in COUNTS.items():
        if getattr(options, option) is not None:
            high = 2**64 - 1 if option == "seed" else 2**31 - 1
            checked(option, getattr(options, option), low, high)
    for option in NUMBERS:
        if getattr(options, option) is not None:
            number(f"--{option}", getattr(options, option), 0, 1e30)
    for width in options.widths or ():
        checked("widths", width, 1, 2**31 - 1)
    if options.widths == ():
        raise ValueError("--widths: expected numbers like 512,256, got none")
    kind = kind_of(options)
    for option in sorted({o for names in READS.values() for o in names} - set(READS[kind])):
        if getattr(options, option) is not None:
            others = ", ".join(k for k, names in READS.items() if option in names)
            raise ValueError(f"--{option}: not an option of {kind}, only of {others}")
    if options.lifespan is not None and options.dynamics not in (None, "malthusian"):
        raise ValueError("--lifespan: only the malthusian dynamics has one")
    if options.data is not None and options.name not in DATA:
        raise ValueError("--data: not with a folder or file as DATA, which says where the data is")
    for option in ("target", "regression"):
        if getattr(options, option) is not None and not is_csv(options.name):
            raise ValueError(f"--{option}: only with a .csv file as DATA")


def selection_of(options: argparse.Namespace) -> ep.Selection:
    """Return the selection that the options describe."""
    life = _given(options, "lifespan")
    wanted = _given(options, "pressure", "dynamics", "fitness", "upkeep", "rest")
    if options.budget is not None:
        wanted["pressure"] = ep.Budget(options.budget)
    return ep.Selection(**wanted | ({"dynamics": ep.Malthusian(**life)} if life else {}))


def task_of(options: argparse.Namespace) -> Task:
    """Return the task with its data and network.

    Raises:
        FileNotFoundError: the data does not exist.
        ValueError: options contradict each other.
    """
    text, kind = options.name == "text", kind_of(options)
    seed = options.seed or 0
    if text != (kind == "charlm"):
        raise ValueError(f"--net: {kind} does not read {options.name}; charlm reads text")
    usual = USUAL[kind]
    usual = replace(usual, **_given(options, "epochs", "batch", "rate", "decay", "steps"))
    if text:
        context = {} if options.context is None else {"context": options.context}
        book = ep.datasets.text(_place(options), **context)
        network = ep.charlm(
            book.vocabulary, book.context, seed=seed, **_given(options, *TRANSFORMER)
        )
        return Task(book.train, book.validation, network, usual)
    train, test = data_of(options)
    if not is_csv(options.name):
        return Task(train, test, _network(kind, options, train), usual)
    batch = min(usual.batch, max(8, len(train) // 20))
    epochs = max(usual.epochs, -(-STEPS * batch // len(train)))
    usual = replace(usual, batch=batch, epochs=epochs)
    usual = replace(usual, **_given(options, "epochs", "batch"))
    loss: LossName = "mean_squared_error" if train.classes is None else "cross_entropy"
    return Task(train, test, _network(kind, options, train), usual, loss)


def data_of(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Read the training and test sets that the options name, except texts."""
    readers: dict[str, Callable[[Path], tuple[Dataset, Dataset]]] = {
        "fashion-mnist": ep.datasets.fashion_mnist,
        "cifar10": ep.datasets.cifar10,
        "mnist": ep.datasets.idx,
    }
    if options.name == "mnist" and options.data is None:
        return ep.datasets.mnist()
    if options.name in readers:
        return readers[options.name](_place(options))
    if is_csv(options.name):
        return _table(options)
    folder = Path(options.name)
    if not folder.is_dir():
        raise ValueError(
            f"data: expected {', '.join(DATA)}, a folder with idx files or a .csv file, got "
            f"{options.name!r}"
        )
    return ep.datasets.idx(folder)


def is_csv(name: str) -> bool:
    """Return True if DATA names a CSV file."""
    return Path(name).suffix.lower() == ".csv"


def target_of(options: argparse.Namespace) -> str | int:
    """Return the target column of a CSV file: its name or index; by default the last column."""
    given = "-1" if options.target is None else str(options.target)
    return int(given) if given.removeprefix("-").isdigit() else given


def _table(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Read a CSV file and split off a test set; features are scaled by the training set."""
    file, target = existing(options.name), target_of(options)
    data = ep.datasets.csv(file, target, regression=options.regression)
    found = data.classes or ()
    many = len(found) > max(MANY, len(data) / 10) and all(map(is_whole, found))
    if many and options.regression is None:
        data = ep.datasets.csv(file, target, regression=True)
    labels = data.classes is not None
    parts = data.split(TESTED, seed=getattr(options, "seed", None) or 0, stratify=labels)
    (x, y), (test_x, test_y) = (
        (p.x, np.array(data.classes)[p.y] if labels else p.y) for p in parts
    )
    train = ep.datasets.arrays(
        x,
        y,
        classes=data.classes,
        normalize="feature",
        normalize_target=not labels,
        name=f"{data.name}/train",
    )
    test = ep.datasets.arrays(test_x, test_y, classes=data.classes, name=f"{data.name}/test")
    train.feature_names = test.feature_names = data.feature_names
    return train, test


def _network(kind: str, options: argparse.Namespace, train: Dataset) -> Network:
    outputs = len(train.classes or ()) or 1
    more: dict[str, Any] = {"seed": options.seed or 0}
    if kind in ("mlp", "cnn"):
        more |= {"activation": options.activation or "relu", "inputs": bool(options.inputs)}
    if kind == "mlp":
        usual = (128,) if is_csv(options.name) else (512, 256)
        return ep.mlp(train.features, *(options.widths or usual), outputs, **more)
    if len(train.shape) != 3:
        raise ValueError(f"--net: {kind} reads images, and a sample has shape {train.shape}")
    if kind == "cnn":
        return ep.cnn(train.shape, options.widths or (32, 64, 128), outputs, **more)
    if kind == "lenet5":
        return ep.lenet5(train.shape, outputs, **more)
    return ep.vit(train.shape, outputs, **_given(options, *TRANSFORMER), **more)


def _place(options: argparse.Namespace) -> Path:
    if options.data is None:
        what = "a text file" if options.name == "text" else f"the folder of {options.name}"
        raise ValueError(f"--data: missing: expected {what}")
    place: Path = options.data
    return place


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the values of the options in `names` that were given, by name."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}

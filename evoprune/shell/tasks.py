"""What `evoprune train` can be asked for: data by its name, networks by theirs, and usual settings.

It turns options into a data set and a network and fills in what was left open; it trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import evoprune as ep
from evoprune.data.dataset import Dataset
from evoprune.nets.network import Network

__all__ = ["DATA", "NETS", "SHAPE", "USUAL", "Task", "Usual", "task_of"]

DATA = ("mnist", "fashion-mnist", "cifar10", "text")
SHAPE = {
    "dim": "features of a transformer's residual stream (64; 128 for text)",
    "layers": "of a transformer (4)",
    "heads": "of a layer of a transformer (4)",
    "context": "characters that a language model sees (64)",
}


@dataclass(frozen=True)
class Usual:
    """How a network is trained if nothing else is said."""

    epochs: int
    batch: int
    rate: float
    decay: float
    steps: int | None = None  # of an epoch; None: once through the data
    clip: float = 0.0


USUAL = {
    "mlp": Usual(20, 128, 2e-3, 0.5),
    "lenet5": Usual(10, 128, 1e-3, 0.5),
    "cnn": Usual(10, 128, 1e-3, 0.5),
    "vit": Usual(10, 64, 1e-3, 0.5, clip=1.0),
    "charlm": Usual(10, 16, 1e-3, 0.5, steps=500, clip=1.0),
}
NETS = tuple(USUAL)
TRANSFORMER = ("dim", "layers", "heads")


@dataclass(frozen=True)
class Task:
    """A request made good: what to train, on what, and how."""

    train: Dataset
    test: Dataset
    network: Network
    usual: Usual


def task_of(options: argparse.Namespace) -> Task:
    """Make data and network.

    Raises:
        FileNotFoundError: the data is not there.
        ValueError: options that do not go together.
    """
    text = options.name == "text"
    kind = options.net or ("charlm" if text else "mlp")
    if text != (kind == "charlm"):
        raise ValueError(f"--net: {kind} does not read {options.name}; charlm reads text")
    usual = USUAL[kind]
    usual = replace(usual, **_given(options, "epochs", "batch", "rate", "decay", "steps"))
    if text:
        context = {} if options.context is None else {"context": options.context}
        book = ep.datasets.text(_place(options), **context)
        network = ep.charlm(
            book.vocabulary, book.context, seed=options.seed, **_given(options, *TRANSFORMER)
        )
        return Task(book.train, book.validation, network, usual)
    train, test = _images(options)
    return Task(train, test, _network(kind, options, train), usual)


def _images(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    readers: dict[str, Callable[[Path], tuple[Dataset, Dataset]]] = {
        "fashion-mnist": ep.datasets.fashion_mnist,
        "cifar10": ep.datasets.cifar10,
        "mnist": ep.datasets.idx,
    }
    if options.name == "mnist" and options.data is None:
        return ep.datasets.mnist()
    if options.name in readers:
        return readers[options.name](_place(options))
    folder = Path(options.name)
    if not folder.is_dir():
        raise ValueError(
            f"data: expected {', '.join(DATA)} or a folder with idx files, got {options.name!r}"
        )
    return ep.datasets.idx(folder)


def _network(kind: str, options: argparse.Namespace, train: Dataset) -> Network:
    outputs = len(train.classes or ())
    more: dict[str, Any] = {"seed": options.seed}
    if kind in ("mlp", "cnn"):
        more |= {"activation": options.activation or "relu", "inputs": options.inputs}
    elif options.inputs or options.activation:
        raise ValueError(f"--inputs, --activation: {kind} has no such choice")
    if kind == "mlp":
        return ep.mlp(train.features, *(options.widths or (512, 256)), outputs, **more)
    if len(train.shape) != 3:
        raise ValueError(f"--net: {kind} reads images, and a sample has shape {train.shape}")
    if kind == "cnn":
        return ep.cnn(train.shape, options.widths or (32, 64, 128), outputs, **more)
    if kind == "lenet5":
        return ep.lenet5(train.shape, outputs, **more)
    return ep.vit(train.shape, outputs, **_given(options, *TRANSFORMER), **more)


def _place(options: argparse.Namespace) -> Path:
    if options.data is None:
        raise ValueError(f"--data: must be given, where {options.name} lies")
    place: Path = options.data
    return place


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of some options that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}

"""Networks of the experiments, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import evoprune as ep
from evoprune.nets.layers import Dropout

if TYPE_CHECKING:
    from lab import Job

IMAGE = (28, 28, 1)
ROLES = ("lenet5", "cnn")  # networks of filters: populations by layer, without inputs and classes


def network_of(job: Job) -> ep.Network:
    """Return the network at birth."""
    kind, _, text = job.net.partition(" ")
    sizes = [int(part) for part in text.split("-")]
    role, *drops = kind.split(":")
    if role in ROLES:
        return of_filters(role, sizes, *map(float, drops), seed=job.seed)
    if job.shift and kind == "mlp":  # the network must know the shape of the image
        hidden = [ep.neurons(width) for width in sizes[1:-1]]
        last = [ep.Dense(sizes[-1], gain=1.0), ep.Populations("identity", mass=False)]
        return ep.Sequential([ep.Flatten(), *hidden, *last], input=IMAGE, seed=job.seed)
    if kind.startswith("dropout"):
        return ep.mlp(*sizes, input_dropout=float(kind.removeprefix("dropout")), seed=job.seed)
    net = ep.mlp(*sizes, inputs=kind == "seeing", seed=job.seed)
    if job.features is not None:
        layer = next(iter(net.alive))
        net.kill(layer, np.setdiff1d(np.arange(sizes[0]), job.features).astype(np.int32))
        net.compact()
        net["dense1.weight"] *= (sizes[0] / len(job.features)) ** 0.5  # as at birth
    return net


def of_filters(
    role: str, sizes: list[int], drop_inputs: float = 0.0, drop_dense: float = 0.0, *, seed: int
) -> ep.Network:
    """Return LeNet-5, or a network of 3 x 3 filters without batch norm.

    Args:
        role: "lenet5" or "cnn", as `ep.lenet5` and `ep.cnn`.
        sizes: populations of every layer.
        drop_inputs: share of the pixels dropped in training.
        drop_dense: share of the values dropped before the first dense layer.
        seed: seed of the weights.
    """
    if not drop_inputs and not drop_dense and role == "lenet5":
        return ep.lenet5(filters=sizes[:2], neurons=sizes[2], seed=seed)
    if not drop_inputs and not drop_dense:
        return ep.cnn(IMAGE, sizes, 10, norm=False, seed=seed)
    first = [Dropout(drop_inputs)] if drop_inputs else []
    drop = [Dropout(drop_dense)] if drop_dense else []
    if role == "lenet5":
        filters = [ep.filters(n, 5, padding=0, pool=2) for n in sizes[:2]]
        rest = [*drop, ep.Flatten(), ep.neurons(sizes[2], name="neurons1")]
    else:
        filters = [ep.filters(n, 3, pool=2) for n in sizes]
        rest = [ep.MeanPool(), *drop]
    last = [ep.Dense(10, gain=1.0), ep.Populations("identity", mass=False)]
    return ep.Sequential([*first, *filters, *rest, *last], input=IMAGE, seed=seed)

"""Make networks from other networks: copies, folding, expansion and pruning by rank.

All operations work on named arrays along named axes, as the core describes them, and do not depend
on what a layer computes. folding.py determines where masses can be folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.checks import number, whole
from evoprune.common.types import Array
from evoprune.data.table import table_of
from evoprune.nets.folding import fold
from evoprune.nets.populations import living

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["copy", "expanded", "folded", "grown", "prune"]

BATCH = 1000  # batch size for criteria that need data


def copy(network: Network) -> Network:
    """Return an independent copy of a network."""
    with network.core:  # a consistent state even while another thread trains it
        other = type(network).from_spec(
            network.spec,
            network.dtype,
            births=_births(network),
            next_births={axis["name"]: axis["next_birth"] for axis in grown(network)},
        )
        for name, array in network.items():
            other[name] = array
        for mine, theirs in zip(network.moments, other.moments, strict=True):
            for name in network:
                theirs[name][...] = mine[name]
        other.core.restore(network.step, network.generation, network.core.waste)
        return _like(other, network)


def _births(network: Network) -> dict[str, Array]:
    axes = network.describe()["axes"]
    return {axis["name"]: np.array(axis["birth"], np.int32) for axis in axes if axis["mortal"]}


def grown(network: Network) -> list[dict[str, Any]]:
    """Return the description of the axes on which populations were born after the founders."""
    axes: list[dict[str, Any]] = network.describe()["axes"]
    return [axis for axis in axes if axis["next_birth"] > axis["born"]]


def _like(other: Network, network: Network) -> Network:
    other.scale_input(*network.input_scaling)
    other.loss, other.selection, other.pressure = network.loss, network.selection, network.pressure
    other.notes = deepcopy(network.notes)
    return other


def expanded(network: Network) -> Network:
    """Make a network of the founding shape, with zeros in place of extinct populations.

    Raises:
        ValueError: populations were born after the founders.
    """
    if later := grown(network):
        raise ValueError(
            f"expanded: {later[0]['name']} has populations born after its {later[0]['born']} "
            "founders, which have no place in the founding shape; copy() keeps the living shape"
        )
    other = type(network).from_spec(network.spec, network.dtype)
    axes = {axis["name"]: axis for axis in network.describe()["axes"]}
    for tensor in network.describe()["tensors"]:
        name, target = tensor["name"], other[tensor["name"]]
        places = []
        for size, axis_name in zip(target.shape, tensor["axes"], strict=True):
            axis = axes.get(axis_name)
            mortal = axis is not None and axis["mortal"]
            places.append(np.asarray(axis["birth"]) if axis and mortal else np.arange(size))
        target[...] = 0
        target[np.ix_(*places)] = network[name]
    other.core.restore(network.step, network.generation)
    return _like(other, network)


def folded(network: Network) -> Network:
    """Fold masses into weights; see `Network.folded`."""
    old = copy(network)
    old.compact()
    spec, stay = fold(old)
    other = type(network).from_spec(
        spec,
        network.dtype,
        births={axis: ids for axis, ids in _births(old).items() if axis in stay},
        next_births={a["name"]: a["next_birth"] for a in grown(old) if a["name"] in stay},
    )
    for name in other:
        if name in old:
            other[name] = old[name]
    other.core.restore(network.step, network.generation)
    return _like(other, network)


def prune(
    network: Network,
    fraction: float | None,
    *,
    keep: int | Mapping[str, int] | None,
    by: str,
    scope: str,
    data: Any,
    seed: int,
) -> dict[str, Array]:
    """Prune populations by rank; see `Network.prune`."""
    if (fraction is None) == (keep is None):
        raise ValueError("prune: expected either fraction or keep")
    if fraction is not None:
        fraction = number("prune: fraction", fraction, -np.inf, np.inf)
        if not 0 <= fraction <= 1:
            raise ValueError(f"prune: fraction must be in [0, 1], got {fraction}")
    if scope not in ("network", "layer"):
        raise ValueError(f"prune: scope must be network or layer, got {scope!r}")
    facts = network.describe()
    rows = facts["populations"]
    if not rows:
        raise ValueError("prune: the network has no populations")
    wanted = _wanted(rows, fraction, keep, scope)
    scores = _scores(network, facts, by, data, seed)
    alive = {row["layer"]: living(network, facts, row) for row in rows}
    cut: dict[str, list[int]] = {row["layer"]: [] for row in rows}
    for layers, count in wanted:
        ranked = sorted(
            (*np.ravel(scores[layer][place]).tolist(), i, int(birth))
            for i, layer in enumerate(layers)
            for place, birth in zip(*alive[layer], strict=True)
        )
        left = {i: len(alive[layer][0]) for i, layer in enumerate(layers)}
        surplus = sum(left.values()) - count
        for *_, i, birth in ranked:
            if surplus > 0 and left[i] > 1:
                left[i], surplus = left[i] - 1, surplus - 1
                cut[layers[i]].append(birth)
    gone = {layer: np.sort(np.array(ids, np.int32)) for layer, ids in cut.items()}
    for layer, ids in gone.items():
        if len(ids):
            network.kill(layer, ids)
    network.compact()
    return gone


def _wanted(
    rows: list[dict[str, Any]], fraction: float | None, keep: Any, scope: str
) -> list[tuple[list[str], int]]:
    """Return groups of layers to rank together, with the number of populations to keep in each."""
    born = {row["layer"]: int(row["born"]) for row in rows}
    if isinstance(keep, Mapping):
        for layer in keep:
            if layer not in born:
                raise KeyError(f"prune: no populations in {layer!r}; there are {', '.join(born)}")
        return [
            ([layer], whole(f"prune: keep[{layer!r}]", n, 1, born[layer]))
            for layer, n in keep.items()
        ]
    groups = [list(born)] if scope == "network" or keep is not None else [[n] for n in born]
    if keep is not None:
        return [(groups[0], whole("prune: keep", keep, len(born), sum(born.values())))]
    assert fraction is not None
    return [
        (group, total - round(fraction * total))
        for group in groups
        for total in [sum(born[layer] for layer in group)]
    ]


def _scores(
    network: Network, facts: Mapping[str, Any], by: str, data: Any, seed: int
) -> dict[str, Array]:
    """Return a score for each population, by layer: arrays (n,); the lowest scores are pruned.

    If `by` is "mass", arrays are (n, 2), and rows are compared lexicographically: the second column
    breaks ties of the first.
    """
    rows = facts["populations"]
    if by == "mass":
        return {row["layer"]: _mass(network, row["layer"]) for row in rows}
    if by == "random":
        random = np.random.default_rng(whole("prune: seed", seed, 0, 2**63 - 1))
        return {r["layer"]: random.random(len(network[f"{r['layer']}.mass"])) for r in rows}
    if by == "norm":
        return {row["layer"]: _owned_norm(network, facts, row["axis"]) for row in rows}
    if by != "taylor":
        raise ValueError(f"prune: by must be mass, norm, taylor or random, got {by!r}")
    if data is None:
        raise ValueError("prune: data must be given, to rank by taylor")
    return _taylor(
        network, [row["layer"] for row in rows], *table_of("data", data, network.form()).copied()
    )


def _mass(network: Network, layer: str) -> Array:
    """Return an array (n, 2) of masses and fitness; fitness breaks ties between equal masses.

    Fitness is the remembered one, as a share of the layer's total.
    """
    mass, fitness = (network[f"{layer}.{name}"].astype(np.float64) for name in ("mass", "fitness"))
    total = np.abs(fitness).sum()
    return np.stack([mass, fitness / total if total > 0 else fitness], axis=1)


def _owned_norm(network: Network, facts: Mapping[str, Any], axis: str) -> Array:
    """Return the norm of all weights and biases at each index of `axis`: (n,)."""
    total: Any = 0.0
    for tensor in facts["tensors"]:
        if tensor["role"] in ("decayed", "free") and axis in tensor["axes"]:
            squares = np.square(network[tensor["name"]], dtype=np.float64)
            for at in (d for d, name in enumerate(tensor["axes"]) if name == axis):
                total = total + squares.sum(tuple(d for d in range(squares.ndim) if d != at))
    return np.asarray(np.sqrt(total))


def _taylor(network: Network, layers: list[str], x: Array, y: Array) -> dict[str, Array]:
    """Return |m dL/dm| of every population by layer, where L is the mean loss over the data."""
    network.configure(loss=network.loss.kind, loss_config=network.loss.config())
    totals: dict[str, Any] = dict.fromkeys(layers, 0.0)
    for start in range(0, len(x), BATCH):
        part = slice(start, start + BATCH)
        network.forward(x[part])
        network.backward(y[part])
        network.gradient()
        for layer in layers:
            gradient = network.gradients[f"{layer}.mass"]
            totals[layer] = totals[layer] + len(x[part]) * gradient.astype(np.float64)
    return {n: np.abs(network[f"{n}.mass"] * totals[n]) / len(x) for n in layers}

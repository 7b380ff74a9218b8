"""Networks made of networks: copies, masses folded away, survivors back in place, cuts by rank.

Everything is done on named arrays along named axes, as the core describes them; what a layer
computes is known here only as far as a mass can be folded into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune._dataset import Array
from evoprune._feed import arrays_of

if TYPE_CHECKING:
    from evoprune.network import Network

__all__ = ["copy", "expanded", "folded", "living", "population", "prune"]

HOMOGENEOUS = ("identity", "relu", "leaky_relu")  # phi(m z) = m phi(z) for m >= 0
BATCH = 1000  # samples at a time for signals that need data


def population(facts: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """The description of a layer's populations.

    Raises:
        KeyError: it has none; those that have are named.
    """
    rows: list[dict[str, Any]] = facts["populations"]
    for row in rows:
        if row["layer"] == layer:
            return row
    names = ", ".join(row["layer"] for row in rows) or "none"
    raise KeyError(f"no populations in a layer {layer!r}; there are {names}")


def living(
    network: Network, facts: Mapping[str, Any], row: Mapping[str, Any]
) -> tuple[Array, Array]:
    """Places along their axis and birth ids of a layer's living populations, (alive,) each."""
    axis = next(axis for axis in facts["axes"] if axis["name"] == row["axis"])
    places = np.flatnonzero(network[f"{row['layer']}.alive"] > 0)
    return places, np.asarray(axis["birth"], np.int32)[places]


def copy(network: Network) -> Network:
    """Make another network, equal in every number."""
    other = type(network)(network.spec, network.dtype)
    other.core.shrink(_births(network))
    for name, array in network.items():
        other[name] = array
    for mine, theirs in zip(network.moments, other.moments, strict=True):
        for name in network:
            theirs[name][...] = mine[name]
    other.core.restore(network.step, network.generation)
    return _like(other, network)


def _births(network: Network) -> dict[str, Array]:
    axes = network.describe()["axes"]
    return {axis["name"]: np.array(axis["birth"], np.int32) for axis in axes if axis["mortal"]}


def _like(other: Network, network: Network) -> Network:
    other.scale_input(*network.input_scaling)
    other.loss, other.selection, other.pressure = network.loss, network.selection, network.pressure
    other.notes = dict(network.notes)
    return other


def expanded(network: Network) -> Network:
    """Put survivors back into the founding shape, zeros elsewhere."""
    other = type(network)(network.spec, network.dtype)
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
    facts = old.describe()
    sizes = {axis["name"]: axis["n"] for axis in facts["axes"]}
    layers = {row["name"]: row for row in facts["layers"]}
    spec = {**old.spec, "layers": [dict(layer) for layer in old.spec["layers"]]}
    written = {layer["name"]: layer for layer in spec["layers"]}
    owners: dict[str, list[str]] = {}
    for row in facts["populations"]:
        owners.setdefault(row["axis"], []).append(row["layer"])
    stays = dict(_births(old))
    for row in facts["populations"]:
        name, axis = row["layer"], row["axis"]
        if not (
            _into_writer(old, written, layers, name) or _into_readers(old, written, layers, name)
        ):
            continue
        old[f"{name}.mass"][...] = 1
        source = written.get(written[name]["inputs"][0])
        units = source["config"].get("units") if source else None
        if source is None or not units or len(owners[axis]) > 1 or source["kind"] != "dense":
            continue  # the axis is not this layer's alone to found anew: a mass of 1 stays
        out = layers[source["name"]]["output"][-len(units) :]
        if axis not in out:
            continue
        source["config"] = {**source["config"], "units": [sizes[a] for a in out]}
        written[name]["config"] = {**written[name]["config"], "mass": False}
        del stays[axis]
    other = type(network)(spec, network.dtype)
    names = {axis["name"] for axis in other.describe()["axes"] if axis["mortal"]}
    other.core.shrink({axis: ids for axis, ids in stays.items() if axis in names})
    for name in other:
        if name in old:
            other[name] = old[name]
    other.core.restore(network.step, network.generation)
    return _like(other, network)


def _contract(layer: Mapping[str, Any], rank: int) -> int:
    """How many trailing axes of its input a dense layer sums over."""
    return int(layer["config"].get("contract", 1)) or rank


def _scale(array: Array, at: int, mass: Array) -> None:
    shape = [1] * array.ndim
    shape[at] = len(mass)
    array *= mass.reshape(shape)


def _into_writer(
    network: Network, written: Mapping[str, Any], layers: Mapping[str, Any], name: str
) -> bool:
    """m phi(w x + b) = phi(m w x + m b), where phi allows it and nobody else reads w x."""
    config, source = written[name]["config"], written[name]["inputs"][0]
    readers = [other for other in written.values() if source in other["inputs"]]
    if config["activation"] not in HOMOGENEOUS or len(readers) > 1:
        return False
    if source == "input" or written[source]["kind"] != "dense":
        return False
    output = layers[name]["output"]
    from_end = len(output) - int(config["axis"]) % len(output)  # 1: the last axis
    weight, mass = network[f"{source}.weight"], network[f"{name}.mass"]
    units = written[source]["config"].get("units") or ()
    if from_end > len(units):
        return False
    _scale(weight, weight.ndim - from_end, mass)
    if config["bias"]:
        _scale(network[f"{name}.bias"], 0, mass)
    return True


def _into_readers(
    network: Network, written: Mapping[str, Any], layers: Mapping[str, Any], name: str
) -> bool:
    """w (m h) = (w m) h, where all that read h are dense layers that sum over the axis."""
    output = layers[name]["output"]
    at = int(written[name]["config"]["axis"]) % len(output)
    readers = [other for other in written.values() if name in other["inputs"]]
    folds = []
    for reader in readers:
        contract = _contract(reader, len(output)) if reader["kind"] == "dense" else 0
        place = at - (len(output) - contract)
        if place < 0 or reader["inputs"][0] != name or name in reader["inputs"][1:]:
            return False
        folds.append((network[f"{reader['name']}.weight"], place))
    for weight, place in folds:
        _scale(weight, place, network[f"{name}.mass"])
    return bool(folds)


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
    """Cut populations by rank; see `Network.prune`."""
    if (fraction is None) == (keep is None):
        raise ValueError("prune: expected either fraction or keep")
    if fraction is not None and not 0 <= fraction <= 1:
        raise ValueError(f"prune: fraction must be in [0, 1], got {fraction}")
    if scope not in ("network", "layer"):
        raise ValueError(f"prune: scope must be network or layer, got {scope!r}")
    facts = network.describe()
    rows = facts["populations"]
    if not rows:
        raise ValueError("prune: the network has no populations")
    scores = _scores(network, facts, by, data, seed)
    alive = {row["layer"]: living(network, facts, row) for row in rows}
    wanted = _wanted(rows, fraction, keep, scope)
    cut: dict[str, list[int]] = {row["layer"]: [] for row in rows}
    for layers, count in wanted:
        ranked = sorted(
            (float(scores[layer][place]), i, int(birth))
            for i, layer in enumerate(layers)
            for place, birth in zip(*alive[layer], strict=True)
        )
        left = {i: len(alive[layer][0]) for i, layer in enumerate(layers)}
        surplus = sum(left.values()) - count
        for _, i, birth in ranked:
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
    """Groups of layers that are ranked together, and how many shall be left in each."""
    born = {row["layer"]: int(row["born"]) for row in rows}
    if isinstance(keep, Mapping):
        for layer in keep:
            if layer not in born:
                raise KeyError(f"prune: no populations in {layer!r}; there are {', '.join(born)}")
        return [([layer], int(n)) for layer, n in keep.items()]
    groups = [list(born)] if scope == "network" or keep is not None else [[n] for n in born]
    if keep is not None:
        return [(groups[0], int(keep))]
    assert fraction is not None
    return [
        (group, total - round(fraction * total))
        for group in groups
        for total in [sum(born[layer] for layer in group)]
    ]


def _scores(
    network: Network, facts: Mapping[str, Any], by: str, data: Any, seed: int
) -> dict[str, Array]:
    """What ranks the populations of every layer: (n,) each, low goes first."""
    rows = facts["populations"]
    if by == "mass":
        return {row["layer"]: network[f"{row['layer']}.mass"] for row in rows}
    if by == "random":
        random = np.random.default_rng(seed)
        return {r["layer"]: random.random(len(network[f"{r['layer']}.mass"])) for r in rows}
    if by == "norm":
        return {row["layer"]: _owned_norm(network, facts, row["axis"]) for row in rows}
    if by != "taylor":
        raise ValueError(f"prune: by must be mass, norm, taylor or random, got {by!r}")
    if data is None:
        raise ValueError("prune: data must be given, to rank by taylor")
    return _taylor(network, [row["layer"] for row in rows], *arrays_of("data", data))


def _owned_norm(network: Network, facts: Mapping[str, Any], axis: str) -> Array:
    """Euclidean norm of slice j of every weight and bias that names the axis: (n,)."""
    total: Any = 0.0
    for tensor in facts["tensors"]:
        if tensor["role"] in ("decayed", "free") and axis in tensor["axes"]:
            squares = np.square(network[tensor["name"]], dtype=np.float64)
            for at in (d for d, name in enumerate(tensor["axes"]) if name == axis):
                total = total + squares.sum(tuple(d for d in range(squares.ndim) if d != at))
    return np.asarray(np.sqrt(total))


def _taylor(network: Network, layers: list[str], x: Array, y: Array) -> dict[str, Array]:
    """|m dL/dm| of every population, L the mean loss over the data."""
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

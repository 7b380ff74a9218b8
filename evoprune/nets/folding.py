"""Masses folded away: a network in which nobody can die, with the outputs of one where some did.

A mass goes into whatever is linear along its axis and has weights there: the layers that write what
the populations read, or else those that read what they write. Which layers are linear along an axis
is all that is known of them here; arrays and axes are found by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from evoprune.common.types import Array

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["fold"]

HOMOGENEOUS = ("identity", "relu", "leaky_relu")  # phi(m z) = m phi(z) for m >= 0
KEEP = ("max_pool", "mean_pool", "dropout", "patches", "take")  # f(m z) = m f(z), along any axis
LEND = ("dense", "conv2d", "embedding")  # of a second input they take the axes, not the numbers
NORMS = ("layer_norm", "rms_norm")

Layer: TypeAlias = dict[str, Any]
Places: TypeAlias = list[tuple[str, int]]  # arrays and their dimension along which a mass goes


class _Structure:
    """The layers of a network, and what they read and write."""

    def __init__(self, network: Network) -> None:
        facts = network.describe()
        self.layers: dict[str, Layer] = {
            layer["name"]: {**layer, "config": dict(layer["config"])}
            for layer in network.spec["layers"]
        }
        self.outputs: dict[str, list[str]] = {
            layer["name"]: list(layer["output"]) for layer in facts["layers"]
        }
        self.outputs["input"] = [a["name"] for a in facts["axes"] if _of_input(a["name"])]
        self.axes: dict[str, list[str]] = {t["name"]: list(t["axes"]) for t in facts["tensors"]}
        self.last = network.spec["layers"][-1]["name"]

    def readers(self, value: str) -> list[Layer]:
        """The layers that read the numbers of a value, once for every time they do."""
        found = []
        for layer in self.layers.values():
            read = layer["inputs"][:1] if layer["kind"] in LEND else layer["inputs"]
            found += [layer] * read.count(value)
        return found

    def writers(self, value: str, axis: str) -> Places | None:
        """Where a factor on `value` can go that only one layer reads; None: nowhere."""
        if value == "input" or len(self.readers(value)) != 1 or value == self.last:
            return None
        layer = self.layers[value]
        kind = layer["kind"]
        if kind in ("dense", "conv2d"):
            axes = self.axes[f"{value}.weight"]
            places = [d for d, name in enumerate(axes) if name == axis]
            return [(f"{value}.weight", places[-1])] if places else None  # outputs come last
        if kind in ("batch_norm", *NORMS) and axis == self.outputs[value][-1]:
            arrays = [f"{value}.{part}" for part in ("gain", "bias")]
            return [(array, 0) for array in arrays if array in self.axes] or None
        if kind in KEEP:
            return self.writers(layer["inputs"][0], axis)
        if kind == "attention":
            return self.writers(layer["inputs"][2], axis)
        return None

    def absorbers(self, value: str, axis: str) -> Places | None:
        """Where a factor on `value` can go in all that read it; None: not in all."""
        readers = self.readers(value)
        if value == self.last or not readers:
            return None
        places: Places = []
        for layer in readers:
            more = self._absorber(layer, value, axis)
            if more is None:
                return None
            places += more
        return places

    def _absorber(self, layer: Layer, value: str, axis: str) -> Places | None:
        name, kind = layer["name"], layer["kind"]
        rank, at = len(self.outputs[value]), self.outputs[value].index(axis)
        if kind == "dense":
            contract = int(layer["config"].get("contract", 1)) or rank
            if at < rank - contract:
                return self.absorbers(name, axis)
            return [(f"{name}.weight", at - (rank - contract))]
        if kind == "conv2d" and at == rank - 1:
            return [(f"{name}.weight", rank - 1)]
        if kind in KEEP:
            return self.absorbers(name, axis)
        if kind == "attention" and layer["inputs"].index(value) == 2:
            return self.absorbers(name, axis) if self.readers(value).count(layer) == 1 else None
        return None

    def sharers(self, axis: str) -> list[Layer]:
        """Layers of populations that share the masses which an earlier layer gave an axis."""
        found = []
        for name, layer in self.layers.items():
            if layer["kind"] == "populations" and layer["config"].get("shared"):
                at = layer["config"].get("axis", -1)
                found += [layer] if self.outputs[name][at] == axis else []
        return found

    def founders(self) -> dict[str, tuple[Layer, str, int]]:
        """Axes that a layer's own setting gave a size: the layer, the setting, which number."""
        found = {}
        for name, layer in self.layers.items():
            config, kind = layer["config"], layer["kind"]
            units = config.get("units") or () if kind == "dense" else ()
            for i in range(len(units)):
                found[name if len(units) == 1 else f"{name}.{i}"] = (layer, "units", i)
            if kind == "conv2d" and config.get("filters"):
                found[name] = (layer, "filters", 0)
        return found

    def fixed(self) -> set[str]:
        """Axes whose number at birth is part of what some layer computes."""
        return {
            self.outputs[layer["inputs"][0]][-1]
            for layer in self.layers.values()
            if layer["kind"] in (*NORMS, "shortcut")
        } | {self.outputs[n][2] for n, x in self.layers.items() if x["kind"] == "attention"}


def fold(network: Network) -> tuple[dict[str, Any], set[str]]:
    """Fold the masses of a compacted network into its weights, in place.

    Returns:
        The spec of the network at the living shape, and the axes that had to stay as they were
        founded: those of the input, and those whose mass or number at birth is still needed.
    """
    facts = network.describe()
    structure = _Structure(network)
    sizes = {axis["name"]: int(axis["n"]) for axis in facts["axes"]}
    founders, fixed = structure.founders(), structure.fixed()
    stay = {axis["name"] for axis in facts["axes"] if axis["mortal"]}
    for row in facts["populations"]:
        name, axis = row["layer"], row["axis"]
        layers = [structure.layers[name], *structure.sharers(axis)]
        places = [_places(structure, layer, axis) for layer in layers]
        if None in places:
            continue
        mass = network[f"{name}.mass"]
        for array, dimension in chain.from_iterable(filter(None, places)):
            _scale(network[array], dimension, mass)
        mass[...] = 1
        if axis in fixed or axis not in founders or not sizes[axis]:
            continue  # none can be founded where nobody is left
        founder, setting, which = founders[axis]
        if setting == "units":
            units = [int(n) for n in founder["config"]["units"]]
            units[which] = sizes[axis]
            founder["config"]["units"] = units
        else:
            founder["config"][setting] = sizes[axis]
        for layer in layers:
            layer["config"] |= {"mass": False, "shared": False}
        stay.remove(axis)
    return {**network.spec, "layers": _without_zeros(structure, sizes)}, stay


def _places(structure: _Structure, layer: Layer, axis: str) -> Places | None:
    """Where the mass of a layer of populations goes: before it, or else behind it."""
    config: Mapping[str, Any] = layer["config"]
    before = None
    if config["activation"] in HOMOGENEOUS:
        before = structure.writers(layer["inputs"][0], axis)
    if before is not None:
        return before + ([(f"{layer['name']}.bias", 0)] if config["bias"] else [])
    return structure.absorbers(layer["name"], axis)


def _without_zeros(structure: _Structure, sizes: Mapping[str, int]) -> list[Layer]:
    """The layers without branches that add nothing any more, since nobody lives in them."""
    zero = {name for name, axes in structure.outputs.items() if not all(sizes[a] for a in axes)}
    instead: dict[str, str] = {}
    for name, layer in structure.layers.items():
        layer["inputs"] = [instead.get(source, source) for source in layer["inputs"]]
        kind, inputs = layer["kind"], layer["inputs"]
        if kind == "sum":
            left = [source for source in inputs if source not in zero]
            if len(left) == 1:
                instead[name] = left[0]
            elif left:
                layer["inputs"] = left
            else:
                zero.add(name)
        elif kind in ("dense", "conv2d", *KEEP) and inputs[0] in zero:
            zero.add(name)
    needed = {instead.get(structure.last, structure.last)}
    for name, layer in reversed(structure.layers.items()):
        if name in needed:
            needed |= set(layer["inputs"])
    return [layer for name, layer in structure.layers.items() if name in needed]


def _of_input(axis: str) -> bool:
    return axis == "input" or axis.startswith("input.")


def _scale(array: Array, at: int, mass: Array) -> None:
    shape = [1] * array.ndim
    shape[at] = len(mass)
    array *= mass.reshape(shape)

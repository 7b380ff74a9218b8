"""Fold masses into weights, to make a network without masses that has the same outputs.

A mass can be folded into the weights of the layer that writes the populations' input or, if that is
impossible, of all layers that read their output. These layers must have weights along the axis of
the mass and be linear along it, as the catalogue states for every kind of layer ("linear", "sizes",
"founding_axis"). Arrays and axes are found by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from evoprune.common.types import Array
from evoprune.core.spec import catalogue

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["fold"]

HOMOGENEOUS = ("identity", "relu", "leaky_relu")  # activations with f(m z) = m f(z) for m >= 0

Layer: TypeAlias = dict[str, Any]
Places: TypeAlias = list[tuple[str, int]]  # names of arrays, each with its dimension to scale


class _Structure:
    """The layers of a network, with their inputs and outputs."""

    def __init__(self, network: Network) -> None:
        facts = network.describe()
        self.layers: dict[str, Layer] = {
            layer["name"]: {**layer, "config": dict(layer["config"])}
            for layer in network.spec["layers"]
        }
        self.outputs: dict[str, list[str]] = {
            layer["name"]: list(layer["output"]) for layer in facts["layers"]
        }
        self.reads = {layer["name"]: int(layer["reads"]) for layer in facts["layers"]}
        self.outputs["input"] = [a["name"] for a in facts["axes"] if _of_input(a["name"])]
        self.axes: dict[str, list[str]] = {t["name"]: list(t["axes"]) for t in facts["tensors"]}
        self.last = network.spec["layers"][-1]["name"]

    def readers(self, value: str) -> list[Layer]:
        """Return the layers that read the elements of `value`, not only its shape.

        A layer that reads it twice appears twice.
        """
        found = []
        for name, layer in self.layers.items():
            found += [layer] * layer["inputs"][: self.reads[name]].count(value)
        return found

    def writers(self, value: str, axis: str) -> Places | None:
        """Return arrays of the layers that compute `value` and can absorb a factor along `axis`.

        Return None if there are no such arrays, or if several layers read `value`.
        """
        if value == "input" or len(self.readers(value)) != 1 or value == self.last:
            return None
        layer = self.layers[value]
        facts = _facts(layer)
        if facts["linear"] in ("weight", "window"):
            axes = self.axes[f"{value}.weight"]
            places = [d for d, name in enumerate(axes) if name == axis]
            return [(f"{value}.weight", places[-1])] if places else None  # the output axis
        if facts["linear"] == "gain" and axis == self.outputs[value][-1]:
            arrays = [f"{value}.{part}" for part in ("gain", "bias")]
            return [(array, 0) for array in arrays if array in self.axes] or None
        if facts["linear"] == "pass":
            return self.writers(layer["inputs"][facts["linear_input"]], axis)
        return None

    def absorbers(self, value: str, axis: str) -> Places | None:
        """Return arrays of all layers that read `value`, to absorb a factor along its `axis`.

        Return None if one of these layers cannot absorb the factor.
        """
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
        name, facts = layer["name"], _facts(layer)
        linear, read = facts["linear"], layer["inputs"].index(value)
        if linear is None or linear == "gain" or read != facts["linear_input"]:
            return None
        axes = self.outputs[value]
        at = axes.index(axis)
        if linear == "window":
            return [(f"{name}.weight", at)] if at == len(axes) - 1 else None
        if linear == "weight":
            # The weight contracts the last axes of the input; the others pass to the output.
            rank = len(self.axes[f"{name}.weight"])
            first = len(axes) - (rank + len(axes) - len(self.outputs[name])) // 2
            if at >= first:
                return [(f"{name}.weight", at - first)]
        return self.absorbers(name, axis) if self.readers(value).count(layer) == 1 else None

    def sharers(self, axis: str) -> list[Layer]:
        """Return the layers that use the masses of an earlier layer of populations on this axis."""
        found = []
        for name, layer in self.layers.items():
            if layer["kind"] == "populations" and layer["config"].get("shared"):
                at = layer["config"].get("axis", -1)
                found += [layer] if self.outputs[name][at] == axis else []
        return found

    def founders(self) -> dict[str, tuple[Layer, str, int]]:
        """Return (layer, setting, index in the setting) for every axis whose size is a setting."""
        found = {}
        for name, layer in self.layers.items():
            setting = _facts(layer)["sizes"]
            given = layer["config"].get(setting) if setting else None
            if not given:
                continue
            if isinstance(given, list):
                for i in range(len(given)):
                    found[name if len(given) == 1 else f"{name}.{i}"] = (layer, setting, i)
            else:
                found[name] = (layer, setting, 0)
        return found

    def fixed(self) -> set[str]:
        """Return the axes whose founding size is part of a layer's formula, as in a layer norm."""
        found = set()
        for layer in self.layers.values():
            at = _facts(layer)["founding_axis"]
            if at is not None:
                found.add(self.outputs[layer["inputs"][0]][at])
        return found


def fold(network: Network) -> tuple[dict[str, Any], set[str]]:
    """Fold the masses of a compacted network into its weights, in place.

    Returns:
        The spec of a network of the living populations only, and the axes whose populations keep
        their masses and birth ids: axes of the input, and axes whose mass or founding size is still
        needed.
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
            continue  # the axis keeps its founding size; it cannot have size 0
        founder, setting, which = founders[axis]
        given = founder["config"][setting]
        if isinstance(given, list):
            founder["config"][setting] = [
                sizes[axis] if i == which else int(n) for i, n in enumerate(given)
            ]
        else:
            founder["config"][setting] = sizes[axis]
        for layer in layers:
            layer["config"] |= {"mass": False, "shared": False}
        stay.remove(axis)
    left = _without_zeros(structure, sizes)
    names = {layer["name"] for layer in left}
    stay &= {row["axis"] for row in facts["populations"] if row["layer"] in names}
    return {**network.spec, "layers": left}, stay


def _places(structure: _Structure, layer: Layer, axis: str) -> Places | None:
    """Return the arrays into which the masses of `layer` can be multiplied, or None.

    If the activation of `layer` is in `HOMOGENEOUS`, they are its bias and the arrays that
    compute its input. With another activation, or if the input's arrays cannot absorb the masses,
    they are the arrays of all layers that read its output.
    """
    config: Mapping[str, Any] = layer["config"]
    before = None
    if config["activation"] in HOMOGENEOUS:
        before = structure.writers(layer["inputs"][0], axis)
    if before is not None:
        return before + ([(f"{layer['name']}.bias", 0)] if config["bias"] else [])
    return structure.absorbers(layer["name"], axis)


def _without_zeros(structure: _Structure, sizes: Mapping[str, int]) -> list[Layer]:
    """Return the layers, omitting branches that add zero because their populations are extinct."""
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
        elif _facts(layer)["linear"] in ("weight", "window", "pass") and inputs[0] in zero:
            zero.add(name)
    needed = {instead.get(structure.last, structure.last)}
    for name, layer in reversed(structure.layers.items()):
        if name in needed:
            needed |= set(layer["inputs"])
    return [layer for name, layer in structure.layers.items() if name in needed]


def _facts(layer: Layer) -> dict[str, Any]:
    return catalogue("layers")[layer["kind"]]


def _of_input(axis: str) -> bool:
    return axis == "input" or axis.startswith("input.")


def _scale(array: Array, at: int, mass: Array) -> None:
    shape = [1] * array.ndim
    shape[at] = len(mass)
    array *= mass.reshape(shape)

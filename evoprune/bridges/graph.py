"""A folded network as a list of steps, the input of every exporter.

What all exporters need is resolved here once: the shapes of values, the windows of convolutions and
pools, and the sizes of axes at birth. Axes without living populations get one entry without
effect. This module does not depend on ONNX, C or PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np

import evoprune as ep
from evoprune.common.types import Array

__all__ = ["Graph", "Step", "Window", "graph"]

POOLS = ("max_pool", "mean_pool")


@dataclass(frozen=True)
class Window:
    """Windows over the spatial axes, one value per axis; `before` and `after` are the padding."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass
class Step:
    """One layer of a folded network.

    Attributes:
        kind: the kind of layer, such as "dense".
        name: its name, which also names its output value.
        inputs: names of the values that it reads.
        shape: shape of its output, without the batch.
        arrays: its arrays by suffix, such as "weight".
        facts: settings by name, in the form that exporters need.
    """

    kind: str
    name: str
    inputs: list[str]
    shape: tuple[int, ...]
    arrays: dict[str, Array] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """A network to be exported.

    Attributes:
        input_shape: shape of a sample as `predict` takes it, (axes ...), features last.
        codes: True if the input consists of integers that only embeddings read.
        picked: (axis, indices) of the input entries that are read; empty if all are.
        shift, scale: the picked input x is read as (x - shift) * scale; their shape broadcasts
            against it. None if the input is read unchanged.
        steps: the layers, in order of computation.
        output: the name of the step whose value is the output.
        dtype: dtype of the network, "float32" or "float64".
    """

    input_shape: tuple[int, ...]
    codes: bool
    picked: list[tuple[int, Array]]
    shift: Array | None
    scale: Array | None
    steps: list[Step]
    output: str
    dtype: str

    @property
    def picked_shape(self) -> tuple[int, ...]:
        """Return the shape of a sample without the entries that no layer reads."""
        shape = list(self.input_shape)
        for axis, indices in self.picked:
            shape[axis] = len(indices)
        return tuple(shape)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value, without the batch."""
        return self.picked_shape if name == "input" else self.step(name).shape

    def step(self, name: str) -> Step:
        """Return the step of that name."""
        return next(step for step in self.steps if step.name == name)

    def readers(self, name: str) -> list[Step]:
        """Return the steps that read a value."""
        return [step for step in self.steps if name in step.inputs]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Return the shape of the output of a sample."""
        return self.shape(self.output)

    def only_reader(self, name: str) -> bool:
        """True if exactly one step reads a value and the value is not the network's output."""
        return len(self.readers(name)) == 1 and name != self.output

    def remove(self, step: Step) -> None:
        """Remove a step: steps that read its output read its input instead."""
        source = step.inputs[0]
        for reader in self.readers(step.name):
            reader.inputs = [source if name == step.name else name for name in reader.inputs]
        if self.output == step.name:
            self.output = source
        self.steps.remove(step)


def graph(network: ep.Network, *, where: str, training: bool = False) -> Graph:
    """Fold a network and list its steps.

    Args:
        network: it is only read.
        where: prefix of error messages.
        training: keep dropout and batch norm as layers; otherwise merge or remove them.

    Raises:
        TypeError: `network` is not a network.
        ValueError: the network has no layers or no living outputs, or its arrays are not finite in
            float32.
    """
    if not isinstance(network, ep.Network):
        raise TypeError(f"{where}: expected a Network, got {type(network).__name__}")
    net = network.folded()
    facts = net.describe()
    axes = {axis["name"]: axis for axis in facts["axes"]}
    about = {layer["name"]: layer for layer in facts["layers"]}
    # In population layers, arrays whose role is "tracked" serve selection, not inference.
    living_layers = {row["layer"] for row in facts["populations"]}
    roles = {tensor["name"]: tensor["role"] for tensor in facts["tensors"]}
    axes_of = {layer["name"]: layer["output"] for layer in facts["layers"]}
    last = facts["layers"][-1]["name"] if facts["layers"] else None
    if last is None or not all(int(axes[axis]["n"]) for axis in axes_of[last]):
        raise ValueError(f"{where}: expected a network with outputs, got one without any left")
    input_shape = tuple(int(n) for n in net.spec["input"])
    names = ["input"] if len(input_shape) == 1 else [f"input.{i}" for i in range(len(input_shape))]
    axes_of["input"] = names
    living = {
        name: tuple(max(1, int(axes[axis]["n"])) for axis in of) for name, of in axes_of.items()
    }
    steps = []
    for layer in net.spec["layers"]:
        name, kind, inputs = layer["name"], layer["kind"], list(layer["inputs"])
        arrays = {
            tensor.rpartition(".")[2]: _without_empty_axes(net[tensor], tensor)
            for tensor in about[name]["tensors"]
            if not (name in living_layers and roles[tensor] == "tracked")
        }
        step = Step(kind, name, inputs[: about[name]["reads"]], living[name], arrays)
        resolve = _RESOLVE.get(kind)
        if resolve:
            resolve(step, dict(layer["config"]), axes, [axes_of[i] for i in inputs], axes_of[name])
        steps.append(step)
    picked = [
        (i, np.asarray(axes[axis]["birth"], np.int64) if axes[axis]["n"] else np.zeros(1, np.int64))
        for i, axis in enumerate(names)
        if axes[axis]["n"] < axes[axis]["born"]
    ]
    codes = all(s.kind == "embedding" for s in steps if "input" in s.inputs)
    shift, scale = _scaling(net, input_shape, picked)
    made = Graph(input_shape, codes, picked, shift, scale, steps, steps[-1].name, net.dtype)
    if not training:
        _drop(made, lambda step: step.kind == "dropout")
        for step in [step for step in made.steps if step.kind == "batch_norm"]:
            _merge_norm(made, step)
    for step in [step for step in made.steps if step.kind == "populations"]:
        _merge_bias(made, step)
    _drop(made, _does_nothing)
    for step in made.steps:
        for suffix, array in step.arrays.items():
            if not (np.abs(array) <= np.finfo(np.float32).max).all():
                name = f"{step.name}.{suffix}"
                raise ValueError(f"{where}: expected finite values of float32 in {name}")
    return made


def _without_empty_axes(array: Array, name: str) -> Array:
    """Return the array; an axis without living populations gets one entry without effect."""
    if array.size or not array.ndim:
        return np.array(array, np.float64)
    fill = 1.0 if name.endswith(".variance") else 0.0
    return np.full([max(1, n) for n in array.shape], fill)


def _scaling(
    net: ep.Network, shape: tuple[int, ...], picked: list[tuple[int, Array]]
) -> tuple[Array | None, Array | None]:
    """Return the shift and the scale of the input entries that are read (`Graph.picked`).

    Axes along which all values are equal get size 1. Return (None, None) if scaling leaves the
    input unchanged.
    """
    found = []
    for values in net.input_scaling:
        array = np.asarray(values, np.float64)
        if array.size > 1:
            array = array.reshape(shape)
            for axis, indices in picked:
                array = array.take(indices, axis)
            for axis in range(array.ndim):
                first = array.take([0], axis)
                if (array == first).all():
                    array = first
        found.append(array.reshape(-1)[:1].reshape(()) if array.size == 1 else array)
    shift, scale = found
    if not shift.any() and (scale == 1).all():
        return None, None
    return shift, scale


# ---- facts by kind -----------------------------------------------------------------------------


def _dense(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    rank = len(inputs[0])
    step.facts["contract"] = int(config["contract"]) or rank


def _window(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    sizes = [int(axes[axis]["n"]) for axis in inputs[0][:-1]]
    spatial = len(sizes)

    def setting(name: str, missing: Any) -> list[int]:
        given = [int(v) for v in config.get(name) or []]
        return (given * spatial if len(given) == 1 else given) or missing

    size = setting("kernel" if step.kind == "conv2d" else "size", sizes)
    stride = setting("stride", [1] * spatial if step.kind == "conv2d" else size)
    dilation = setting("dilation", [1] * spatial)
    reach = [(s - 1) * d + 1 for s, d in zip(size, dilation, strict=True)]
    if step.kind == "conv2d" and not config.get("padding"):
        count = [-(-n // s) for n, s in zip(sizes, stride, strict=True)]
        before = [
            max(0, (c - 1) * s + r - n) // 2
            for c, s, r, n in zip(count, stride, reach, sizes, strict=True)
        ]
    else:
        before = setting("padding", [0] * spatial)
        count = [
            (n + 2 * p - r) // s + 1
            for n, p, r, s in zip(sizes, before, reach, stride, strict=True)
        ]
    after = [
        max(0, (c - 1) * s + r - n - b)
        for c, s, r, n, b in zip(count, stride, reach, sizes, before, strict=True)
    ]
    step.facts["window"] = Window(*map(tuple, (size, stride, dilation, before, after)))
    step.facts["whole"] = step.kind in POOLS and not config.get("size")
    step.facts["depthwise"] = bool(config.get("depthwise"))


def _populations(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    axis = int(config["axis"])
    step.facts |= {"phi": config["activation"], "slope": float(config["slope"])}
    step.facts["axis"] = axis if axis < 0 else axis - len(output)
    if not config["bias"]:
        step.arrays.pop("bias", None)
    if "mass" in step.arrays and (step.arrays["mass"] == 1).all():
        del step.arrays["mass"]


def _attention(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    born = int(axes[inputs[0][-1]]["born"])
    step.facts |= {"causal": bool(config["causal"]), "scale": config["scale"] or 1 / sqrt(born)}


def _norm(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    born = max(1, int(axes[output[-1]]["born"]))
    step.facts |= {"epsilon": float(config["epsilon"]), "born": born}
    step.facts["momentum"] = float(config.get("momentum", 0.1))


def _shortcut(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    spatial = len(output) - 1
    given = [int(v) for v in config.get("stride") or [1]]
    into, out = axes[inputs[0][-1]], axes[output[-1]]
    before = (int(out["born"]) - int(into["born"])) // 2
    places = {int(birth) + before: i for i, birth in enumerate(into["birth"])}
    step.facts["stride"] = tuple(given * spatial if len(given) == 1 else given)
    step.facts["source"] = [places.get(int(birth), -1) for birth in out["birth"]] or [-1]


def _take(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    positions = int(axes[inputs[0][0]]["n"])
    step.facts |= {"mean": bool(config["mean"]), "position": int(config["position"]) % positions}


def _patches(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    size = [int(v) for v in config["size"]]
    step.facts["size"] = tuple(size * 2 if len(size) == 1 else size)


def _dropout(step: Step, config: dict[str, Any], axes: Any, inputs: Any, output: Any) -> None:
    step.facts["rate"] = float(config["rate"])


_RESOLVE: Mapping[str, Callable[[Step, dict[str, Any], Any, Any, Any], None]] = {
    "dense": _dense,
    "conv2d": _window,
    "max_pool": _window,
    "mean_pool": _window,
    "populations": _populations,
    "attention": _attention,
    "layer_norm": _norm,
    "rms_norm": _norm,
    "batch_norm": _norm,
    "shortcut": _shortcut,
    "take": _take,
    "patches": _patches,
    "dropout": _dropout,
}


# ---- steps merged ------------------------------------------------------------------------------


def _drop(made: Graph, unwanted: Callable[[Step], bool]) -> None:
    """Remove the unwanted steps.

    Keep a step that is the whole network: it reads only the input, and its value is the output.
    """
    for step in [step for step in made.steps if unwanted(step)]:
        if not (step.inputs == ["input"] and step.name == made.output):
            made.remove(step)


def _does_nothing(step: Step) -> bool:
    return step.kind == "populations" and step.facts["phi"] == "identity" and not step.arrays


def _merge_norm(made: Graph, step: Step) -> None:
    """Replace a batch norm by x * factor + shift; merge it into a projection before it."""
    arrays = step.arrays
    factor = arrays.get("gain", 1.0) / np.sqrt(arrays["variance"] + step.facts["epsilon"])
    step.arrays = {"factor": factor, "shift": arrays.get("bias", 0.0) - arrays["mean"] * factor}
    source = step.inputs[0]
    if source == "input" or not made.only_reader(source):
        return
    writer = made.step(source)
    if writer.kind in ("dense", "conv2d"):
        writer.arrays["weight"] = writer.arrays["weight"] * factor
        bias = writer.arrays.get("bias", 0.0) * factor + step.arrays["shift"]
        writer.arrays["bias"] = np.array(np.broadcast_to(bias, _units(writer)))
        made.remove(step)


def _merge_bias(made: Graph, step: Step) -> None:
    """Move the bias of a step into the preceding projection (dense or conv2d) or batch norm.

    The bias must lie along the last axis. Pools may lie between the two steps.
    """
    if "bias" not in step.arrays or step.facts["axis"] != -1:
        return
    source = step.inputs[0]
    while source != "input" and made.only_reader(source):
        writer = made.step(source)
        projects = writer.kind in ("dense", "conv2d")
        if projects or (writer.kind == "batch_norm" and "bias" in writer.arrays):
            bias = writer.arrays.get("bias", 0.0) + step.arrays.pop("bias")
            shape = _units(writer) if projects else bias.shape
            writer.arrays["bias"] = np.array(np.broadcast_to(bias, shape))
            return
        if writer.kind not in POOLS:
            return
        source = writer.inputs[0]


def _units(writer: Step) -> tuple[int, ...]:
    """Return the shape of a projection's bias."""
    if writer.kind == "conv2d":
        return writer.shape[-1:]
    return writer.arrays["weight"].shape[writer.facts["contract"] :]

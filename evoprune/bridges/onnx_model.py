"""A network as an ONNX model.

`KINDS` maps each kind of layer to the function that writes it. ONNX convolutions and pools use
channels first, the network features last: every value stays in the layout in which it was computed
and is transposed only if another layout is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import evoprune as ep
from evoprune.bridges.graph import Graph, Step, graph
from evoprune.common.types import Array

__all__ = ["KINDS", "OPSET", "onnx_model"]

WHERE = "export.onnx"
# The lowest opset with LayerNormalization; it needs onnx and onnxruntime 1.12 or later.
OPSET, IR_VERSION = 17, 8
BATCH = "batch"
PHI = {"relu": "Relu", "leaky_relu": "LeakyRelu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


class _Writer:
    """The model being written: nodes, constants, and the available layouts of each value."""

    def __init__(self, made: Graph) -> None:
        self.graph = made
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        # (value, True if channels come first) -> its name in the model.
        self.values: dict[tuple[str, bool], str] = {}
        self._taken: set[str] = set()

    def name(self, wanted: str) -> str:
        """Return a name that no other value of the model has."""
        found, number = wanted, 1
        while found in self._taken:
            number += 1
            found = f"{wanted}_{number}"
        self._taken.add(found)
        return found

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant; return its name in the model."""
        name = self.name(name)
        array = np.ascontiguousarray(np.asarray(values), dtype).reshape(np.shape(values))
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def integers(self, name: str, values: Sequence[int] | int) -> str:
        """Add a constant of integers; return its name in the model."""
        return self.constant(name, values, np.int64)

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = self.name(name)
        made = helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        self.nodes.append(made)
        return name

    def read(self, value: str, first: bool = False) -> str:
        """Return the name of a value with channels first if `first` is True, otherwise last.

        Add a Transpose node if the model does not have the value in this layout yet.
        """
        if (value, first) not in self.values:
            source = self.values[value, not first]
            rank = len(self.graph.shape(value)) + 1
            order = [0, rank - 1, *range(1, rank - 1)] if first else [0, *range(2, rank), 1]
            suffix = "channels_first" if first else "features_last"
            self.values[value, first] = self.node(
                "Transpose", [source], f"{value}.{suffix}", perm=order
            )
        return self.values[value, first]

    def layout(self, value: str) -> bool:
        """True if the model has a value only in the layout with channels first."""
        return (value, False) not in self.values

    def reshape(self, value: str, shape: Sequence[int], name: str) -> str:
        """Reshape samples to `shape`, and keep the batch axis."""
        target = self.integers(f"{name}.shape", [0, *shape])
        return self.node("Reshape", [value, target], name)


# ---- kinds of layers: functions return the output's name, and True if channels come first --------

Made = tuple[str, bool]


def _along(values: Array, rank: int, axis: int, first: bool) -> Array:
    """Reshape a vector so that it broadcasts along one axis of a value with `rank` axes.

    `rank` does not count the batch. `axis` < 0 is the index of the axis with features last, also if
    `first` is True and the value has channels first.
    """
    at = rank + axis
    if first:
        at = 0 if at == rank - 1 else at + 1
    return values.reshape([-1 if d == at else 1 for d in range(rank)])


def _dense(w: _Writer, step: Step) -> Made:
    weight, contract, n = step.arrays["weight"], step.facts["contract"], step.name
    source = step.inputs[0]
    shape = w.graph.shape(source)
    inside, units = weight.shape[:contract], weight.shape[contract:]
    first = contract == len(shape) > 1 and w.layout(source)
    if first:  # the weights are transposed instead of the value
        weight = np.moveaxis(weight, contract - 1, 0)
    lead = shape[: len(shape) - contract]
    matrix = w.constant(f"{n}.weight", weight.reshape(prod(inside), prod(units)))
    bias = step.arrays.get("bias")
    vector = None if bias is None else w.constant(f"{n}.bias", bias.reshape(-1))
    x = w.read(source, first)
    if contract > 1:
        x = w.reshape(x, [*lead, prod(inside)], f"{n}.flat")
    if not lead:
        y = w.node("Gemm", [x, matrix, *([vector] if vector else [])], n)
    else:
        y = w.node("MatMul", [x, matrix], n if vector is None else f"{n}.product")
        y = w.node("Add", [y, vector], n) if vector else y
    if len(units) > 1:
        y = w.reshape(y, [*lead, *units], f"{n}.units")
    return y, False


def _conv2d(w: _Writer, step: Step) -> Made:
    window, weight = step.facts["window"], step.arrays["weight"]
    channels = w.graph.shape(step.inputs[0])[-1]
    if step.facts["depthwise"]:
        weight = weight[..., None, :]
    weight = np.moveaxis(weight, (-1, -2), (0, 1))
    inputs = [w.read(step.inputs[0], True), w.constant(f"{step.name}.weight", weight)]
    if "bias" in step.arrays:
        inputs.append(w.constant(f"{step.name}.bias", step.arrays["bias"]))
    y = w.node(
        "Conv", inputs, step.name,
        kernel_shape=window.size, strides=window.stride, dilations=window.dilation,
        pads=[*window.before, *window.after],
        group=channels if step.facts["depthwise"] else 1,
    )  # fmt: skip
    return y, True


def _pool(w: _Writer, step: Step) -> Made:
    mean, source = step.kind == "mean_pool", step.inputs[0]
    if step.facts["whole"]:
        rank, first = len(w.graph.shape(source)), w.layout(source)
        over = list(range(2, rank + 1)) if first else list(range(1, rank))
        kind = "ReduceMean" if mean else "ReduceMax"
        return w.node(kind, [w.read(source, first)], step.name, axes=over, keepdims=0), False
    window = step.facts["window"]
    y = w.node(
        "AveragePool" if mean else "MaxPool", [w.read(source, True)], step.name,
        kernel_shape=window.size, strides=window.stride, pads=[*window.before, *window.after],
    )  # fmt: skip
    return y, True


def _populations(w: _Writer, step: Step) -> Made:
    source, n, phi = step.inputs[0], step.name, step.facts["phi"]
    first, rank = w.layout(source), len(step.shape)
    y = w.read(source, first)
    for suffix, kind in (("bias", "Add"), ("phi", ""), ("mass", "Mul")):
        if suffix == "phi":
            y = _phi(w, y, n, phi, step.facts["slope"])
        elif suffix in step.arrays:
            vector = _along(step.arrays[suffix], rank, step.facts["axis"], first)
            y = w.node(kind, [y, w.constant(f"{n}.{suffix}", vector)], f"{n}.with_{suffix}")
    return y, first


def _phi(w: _Writer, x: str, name: str, phi: str, slope: float) -> str:
    if phi == "identity":
        return x
    if phi in PHI:
        return w.node(PHI[phi], [x], name, **({"alpha": slope} if phi == "leaky_relu" else {}))
    inner = x
    if phi == "gelu":  # x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), the tanh form
        square = w.node("Mul", [x, x], f"{name}.square")
        factor = 2 * np.sqrt(2 / np.pi)
        inner = w.node("Mul", [square, w.constant(f"{name}.cubic", 0.044715 * factor)], f"{name}.a")
        inner = w.node("Add", [inner, w.constant(f"{name}.linear", factor)], f"{name}.b")
        inner = w.node("Mul", [x, inner], f"{name}.c")
    elif phi != "silu":
        raise ValueError(f"{WHERE}: {name}: the activation {phi!r} has no ONNX form")
    return w.node("Mul", [x, w.node("Sigmoid", [inner], f"{name}.sigmoid")], name)


def _batch_norm(w: _Writer, step: Step) -> Made:
    first, rank = w.layout(step.inputs[0]), len(step.shape)
    factor, shift = (
        w.constant(f"{step.name}.{part}", _along(step.arrays[part], rank, -1, first))
        for part in ("factor", "shift")
    )
    y = w.node("Mul", [w.read(step.inputs[0], first), factor], f"{step.name}.scaled")
    return w.node("Add", [y, shift], step.name), first


def _layer_norm(w: _Writer, step: Step) -> Made:
    n, born, name = step.shape[-1], step.facts["born"], step.name
    gain, bias = step.arrays.get("gain", np.ones(n)), step.arrays.get("bias", np.zeros(n))
    x = w.read(step.inputs[0])
    if born == n:
        weights = [w.constant(f"{name}.gain", gain), w.constant(f"{name}.bias", bias)]
        epsilon = step.facts["epsilon"]
        return w.node("LayerNormalization", [x, *weights], name, axis=-1, epsilon=epsilon), False
    # Extinct features count as zeros: sum over living features, divide by the number at birth.
    share = w.constant(f"{name}.share", 1 / born)
    total = w.node("ReduceSum", [x, w.integers(f"{name}.axis", [-1])], f"{name}.sum", keepdims=1)
    mean = w.node("Mul", [total, share], f"{name}.mean")
    centered = w.node("Sub", [x, mean], f"{name}.centered")
    extinct = w.node("Mul", [mean, mean], f"{name}.squared_mean")
    extinct = w.node(
        "Mul", [extinct, w.constant(f"{name}.extinct", born - n)], f"{name}.of_extinct"
    )
    return _scaled(w, step, centered, extinct), False


def _rms_norm(w: _Writer, step: Step) -> Made:
    return _scaled(w, step, w.read(step.inputs[0]), None), False


def _scaled(w: _Writer, step: Step, x: str, more: str | None) -> str:
    """Return x / sqrt((sum of squares + more) / born + epsilon) * gain + bias.

    `more` names the value that holds the sum of squares of extinct features, or is None; `born` is
    the number of features at birth.
    """
    name, arrays = step.name, step.arrays
    square = w.node("Mul", [x, x], f"{name}.square")
    axis = w.integers(f"{name}.over", [-1])
    total = w.node("ReduceSum", [square, axis], f"{name}.squares", keepdims=1)
    total = w.node("Add", [total, more], f"{name}.all_squares") if more else total
    share = w.constant(f"{name}.per_born", 1 / step.facts["born"])
    total = w.node("Mul", [total, share], f"{name}.variance")
    epsilon = w.constant(f"{name}.epsilon", step.facts["epsilon"])
    total = w.node("Add", [total, epsilon], f"{name}.safe")
    y = w.node("Div", [x, w.node("Sqrt", [total], f"{name}.deviation")], f"{name}.unit")
    for suffix, kind in (("gain", "Mul"), ("bias", "Add")):
        if suffix in arrays:
            constant = w.constant(f"{name}.{suffix}", arrays[suffix])
            y = w.node(kind, [y, constant], f"{name}.with_{suffix}")
    return y


def _attention(w: _Writer, step: Step) -> Made:
    name, positions = step.name, step.shape[0]
    q, k, v = (
        w.node("Transpose", [w.read(source)], f"{name}.{part}", perm=order)
        for source, part, order in zip(
            step.inputs, "qkv", ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True
        )
    )
    scores = w.node("MatMul", [q, k], f"{name}.products")
    scale = w.constant(f"{name}.scale", step.facts["scale"])
    scores = w.node("Mul", [scores, scale], f"{name}.scores")
    if step.facts["causal"]:
        later = np.triu(np.full((positions, positions), -np.inf), 1)
        mask = w.constant(f"{name}.mask", later)
        scores = w.node("Add", [scores, mask], f"{name}.seen")
    weights = w.node("Softmax", [scores], f"{name}.weights", axis=-1)
    y = w.node("MatMul", [weights, v], f"{name}.read")
    return w.node("Transpose", [y], name, perm=[0, 2, 1, 3]), False


def _embedding(w: _Writer, step: Step) -> Made:
    codes = w.read(step.inputs[0])
    if not (step.inputs[0] == "input" and w.graph.codes):
        codes = w.node("Cast", [codes], f"{step.name}.codes", to=TensorProto.INT64)
    # Gather would accept negative codes, and count them from the end of the table. Replace them by
    # the number of rows, an index that Gather rejects.
    beyond = w.integers(f"{step.name}.size", len(step.arrays["table"]))
    negative = w.node("Less", [codes, w.integers(f"{step.name}.zero", 0)], f"{step.name}.negative")
    codes = w.node("Where", [negative, beyond, codes], f"{step.name}.checked")
    table = w.constant(f"{step.name}.table", step.arrays["table"])
    return w.node("Gather", [table, codes], step.name, axis=0), False


def _positions(w: _Writer, step: Step) -> Made:
    table = w.constant(f"{step.name}.table", step.arrays["table"])
    return w.node("Add", [w.read(step.inputs[0]), table], step.name), False


def _sum(w: _Writer, step: Step) -> Made:
    first = all(map(w.layout, step.inputs))
    values = [w.read(source, first) for source in step.inputs]
    return w.node("Sum" if len(values) > 2 else "Add", values, step.name), first


def _shortcut(w: _Writer, step: Step) -> Made:
    name, source = step.name, np.array(step.facts["source"])
    x = w.read(step.inputs[0], True)
    spatial, channels = len(step.shape) - 1, w.graph.shape(step.inputs[0])[-1]
    axes = range(2, 2 + spatial)
    bounds = ([0] * spatial, [2**31] * spatial, list(axes), list(step.facts["stride"]))
    words = ("starts", "ends", "axes", "steps")
    slices = [w.integers(f"{name}.{word}", b) for word, b in zip(words, bounds, strict=True)]
    x = w.node("Slice", [x, *slices], f"{name}.positions")
    there = np.flatnonzero(source >= 0)
    before = int(there[0]) if len(there) else 0
    after = len(source) - before - channels
    whole = np.r_[[-1] * before, range(channels), [-1] * max(0, after)]
    if np.array_equal(source, whole):
        pads = [0, before, *[0] * spatial, 0, after, *[0] * spatial]
        return w.node("Pad", [x, w.integers(f"{name}.pads", pads)], name), True
    pads = [0, 0, *[0] * spatial, 0, 1, *[0] * spatial]  # append a channel of zeros
    x = w.node("Pad", [x, w.integers(f"{name}.pads", pads)], f"{name}.padded")
    index = w.integers(f"{name}.source", np.where(source < 0, channels, source).tolist())
    return w.node("Gather", [x, index], name, axis=1), True


def _token(w: _Writer, step: Step) -> Made:
    pads = w.integers(f"{step.name}.pads", [0, 1, 0, 0, 0, 0])
    y = w.node("Pad", [w.read(step.inputs[0]), pads], f"{step.name}.padded")
    table = np.zeros(step.shape)
    table[0] = step.arrays["value"].reshape(-1)
    return w.node("Add", [y, w.constant(f"{step.name}.value", table)], step.name), False


def _take(w: _Writer, step: Step) -> Made:
    x = w.read(step.inputs[0])
    if step.facts["mean"]:
        return w.node("ReduceMean", [x], step.name, axes=[1], keepdims=0), False
    index = w.integers(f"{step.name}.position", step.facts["position"])
    return w.node("Gather", [x, index], step.name, axis=1), False


def _patches(w: _Writer, step: Step) -> Made:
    h, width, c = w.graph.shape(step.inputs[0])
    rows, columns = step.facts["size"]
    cut = [h // rows, rows, width // columns, columns, c]
    x = w.reshape(w.read(step.inputs[0]), cut, f"{step.name}.cut")
    x = w.node("Transpose", [x], f"{step.name}.ordered", perm=[0, 1, 3, 2, 4, 5])
    return w.reshape(x, step.shape, step.name), False


def _dropout(w: _Writer, step: Step) -> Made:
    first = w.layout(step.inputs[0])
    return w.read(step.inputs[0], first), first


KINDS: Mapping[str, Callable[[_Writer, Step], Made]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "populations": _populations,
    "max_pool": _pool,
    "mean_pool": _pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "attention": _attention,
    "embedding": _embedding,
    "positions": _positions,
    "sum": _sum,
    "shortcut": _shortcut,
    "token": _token,
    "take": _take,
    "patches": _patches,
    "dropout": _dropout,
}


# ---- the model ---------------------------------------------------------------------------------


def onnx_model(network: ep.Network) -> Any:
    """Return the ONNX model of a network, checked and with inferred shapes of all values.

    See `evoprune.export.onnx`.
    """
    made = graph(network, where=WHERE)
    w = _Writer(made)
    of_x = TensorProto.INT64 if made.codes else TensorProto.FLOAT
    x, y = w.name("input"), w.name("output")
    w.values["input", False] = _read_input(w, x)
    for step in made.steps:
        write = KINDS.get(step.kind)
        if write is None:
            raise ValueError(
                f"{WHERE}: {step.name}: a layer of kind {step.kind!r} has no ONNX form"
            )
        value, first = write(w, step)
        w.values[step.name, first] = value
    last = w.read(made.output)
    w.nodes.append(helper.make_node("Identity", [last], [y], name="as_output"))
    info = helper.make_tensor_value_info
    whole = helper.make_graph(
        w.nodes,
        "evoprune",
        [info(x, of_x, [BATCH, *made.input_shape])],
        [info(y, TensorProto.FLOAT, [BATCH, *made.output_shape])],
        list(w.constants.values()),
    )
    model = helper.make_model(
        whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="evoprune",
    )  # fmt: skip
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _read_input(w: _Writer, x: str) -> str:
    """Select the entries of the input that are read, and scale them."""
    made = w.graph
    for axis, indices in made.picked:
        entries = w.integers(f"input.entries{axis}", indices.tolist())
        x = w.node("Gather", [x, entries], f"input.living{axis}", axis=axis + 1)
    if made.shift is not None and made.scale is not None:
        x = w.node("Sub", [x, w.constant("input.shift", made.shift)], "input.shifted")
        x = w.node("Mul", [x, w.constant("input.scale", made.scale)], "input.scaled")
    return x

"""A network as one C file: constant weights, static scratch, and one function `predict`.

`KINDS` maps each kind of layer to the calls of functions in c_parts.py that implement a step.
Buffers are planned here: values that are never needed at the same time share memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

import evoprune as ep
from evoprune.bridges import c_parts
from evoprune.bridges.graph import Graph, Step, graph
from evoprune.common.types import Array

__all__ = ["KINDS", "Source", "c_source"]

WHERE = "export.c"
# Steps of these kinds may overwrite an input with their output.
IN_PLACE = ("populations", "batch_norm", "layer_norm", "rms_norm", "positions", "sum")


class Source(NamedTuple):
    """The text of a C file, and the sizes of its weights and its scratch memory in bytes."""

    text: str
    weight_bytes: int
    scratch_bytes: int


class _Writer:
    """The C file being written: arrays, calls of functions, and the functions that are called."""

    def __init__(self, made: Graph, prefix: str) -> None:
        self.graph = made
        self.prefix = prefix
        self.arrays: list[str] = []
        self.lines: list[str] = []
        self.used: set[str] = set()
        self.bytes = 0
        self._names: dict[str, str] = {}
        self.places = _Places(made)

    def name(self, layer: str) -> str:
        """Return a unique C name for a layer: the name of the layer if it is valid in C."""
        if layer not in self._names:
            plain = re.sub(r"[^A-Za-z0-9_]", "_", layer)
            taken = set(self._names.values())
            number = 1
            while (found := plain if number == 1 else f"{plain}_{number}") in taken:
                number += 1
            self._names[layer] = found
        return self._names[layer]

    def array(self, name: str, values: Array) -> str:
        """Declare a constant array of float or int and return its name."""
        whole = values.dtype.kind == "i"
        flat = np.ravel(values).astype(np.int64 if whole else np.float32)
        self.bytes += 4 * flat.size
        text = flat.astype(str).tolist()
        numbers = text if whole else [f"{number}f" for number in text]
        rows = (", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8))
        of = "int" if whole else "float"
        body = ",\n    ".join(rows)
        name = f"{self.prefix}{name}"
        self.arrays.append(f"static const {of} {name}[{flat.size}] = {{\n    {body}}};\n")
        return name

    def weight(self, step: Step, suffix: str) -> str:
        """Declare an array of a step and return its name; return NULL if the step lacks it."""
        if suffix not in step.arrays:
            return "NULL"
        return self.array(f"{self.name(step.name)}_{suffix}", step.arrays[suffix])

    def value(self, name: str) -> str:
        """Return the C expression for a pointer to a value."""
        return self.places.pointer(name, self.prefix)

    def call(self, part: str, *arguments: Any) -> None:
        """Write a call of a function of c_parts."""
        self.used.add(part)
        self.lines.append(f"{self.prefix}{part}({', '.join(map(str, arguments))});")

    def copy(self, source: str, target: str, count: int) -> None:
        """Write a copy of `count` elements, unless source and target are the same."""
        if source != target:
            self.lines.append(f"memcpy({target}, {source}, {count} * sizeof(float));")


class _Places:
    """Where every value is stored: in the input x, the output y, or the scratch array."""

    def __init__(self, made: Graph) -> None:
        self.raw = made.shift is None and not made.picked  # the steps read x itself
        names = ([] if self.raw else ["input"]) + [step.name for step in made.steps]
        last = {name: i for i, step in enumerate(made.steps) for name in step.inputs}
        last[made.output] = len(made.steps)
        born = {step.name: i for i, step in enumerate(made.steps)} | {"input": -1}
        self.owner = {name: name for name in names}
        for i, step in enumerate(made.steps):
            for source in step.inputs if step.kind in IN_PLACE else ():
                free = source in self.owner and last[source] == i  # source is not x, nor read later
                if free and step.inputs.count(source) == 1:
                    self.owner[step.name] = self.owner[source]
                    break
        members: dict[str, list[str]] = {}
        for name in names:
            members.setdefault(self.owner[name], []).append(name)
        blocks = {
            owner: (min(born[n] for n in group), max(last.get(n, born[n]) for n in group),
                    prod(made.shape(owner)))
            for owner, group in members.items()
            if made.output not in group
        }  # fmt: skip
        for i, step in enumerate(made.steps):
            if step.kind == "attention":
                blocks[f"{step.name} weights"] = (i, i, step.shape[0])
        self.offset: dict[str, int] = {}
        self.size = 0
        for owner in sorted(blocks, key=lambda o: -blocks[o][2]):
            start, end, size = blocks[owner]
            taken = sorted(
                (self.offset[other], self.offset[other] + blocks[other][2])
                for other in self.offset
                if blocks[other][0] <= end and start <= blocks[other][1]
            )
            at = 0
            for first, after in taken:
                if first >= at + size:
                    break
                at = max(at, after)
            self.offset[owner] = at
            self.size = max(self.size, at + size)

    def pointer(self, name: str, prefix: str) -> str:
        if name == "input" and self.raw:
            return "x"
        owner = self.owner.get(name, name)
        return f"{prefix}scratch + {self.offset[owner]}" if owner in self.offset else "y"


# ---- kinds -------------------------------------------------------------------------------------


def _dense(w: _Writer, step: Step, x: str, y: str) -> None:
    n = prod(step.arrays["weight"].shape[: step.facts["contract"]])
    m = step.arrays["weight"].size // n
    rows = prod(step.shape) // m
    w.call("dense", x, w.weight(step, "weight"), w.weight(step, "bias"), rows, n, m, y)


def _windows(w: _Writer, step: Step) -> str:
    """Declare the windows of a step; return an expression that points to them."""
    shape, window = w.graph.shape(step.inputs[0]), step.facts["window"]
    lift = [1] * (3 - len(shape))  # treat (length, channels) as an image of width 1
    out = [1, 1] if step.facts["whole"] else [*step.shape[:-1], *lift]
    pairs = [
        [*shape[:-1], *lift],
        shape[-1:],
        out,
        step.shape[-1:],
        [*window.size, *lift],
        [*window.stride, *lift],
        [*window.dilation, *lift],
        [*window.before, *(0 for _ in lift)],
    ]
    numbers = ", ".join(str(n) for pair in pairs for n in pair)
    name = f"{w.prefix}{w.name(step.name)}_windows"
    w.arrays.append(f"static const {w.prefix}window {name} = {{{numbers}}};\n")
    return f"&{name}"


def _conv2d(w: _Writer, step: Step, x: str, y: str) -> None:
    part = "depthwise" if step.facts["depthwise"] else "conv2d"
    windows = _windows(w, step)
    w.call(part, windows, x, w.weight(step, "weight"), w.weight(step, "bias"), y)


def _pool(w: _Writer, step: Step, x: str, y: str) -> None:
    w.call("pool", _windows(w, step), int(step.kind == "mean_pool"), x, y)


def _along(step: Step) -> tuple[int, int, int]:
    at = len(step.shape) + step.facts["axis"]
    return prod(step.shape[:at]), step.shape[at], prod(step.shape[at + 1 :])


def _populations(w: _Writer, step: Step, x: str, y: str) -> None:
    n, phi = prod(step.shape), step.facts["phi"]
    if "bias" in step.arrays:
        w.call("add_along", x, w.weight(step, "bias"), *_along(step), y)
        x = y
    if phi != "identity":
        w.call(phi, x, n, *([f"{step.facts['slope']}f"] if phi == "leaky_relu" else []), y)
        x = y
    if "mass" in step.arrays:
        w.call("scale_along", x, w.weight(step, "mass"), *_along(step), y)
        x = y
    w.copy(x, y, n)


def _batch_norm(w: _Writer, step: Step, x: str, y: str) -> None:
    n = step.shape[-1]
    factor, shift = w.weight(step, "factor"), w.weight(step, "shift")
    w.call("affine", x, factor, shift, prod(step.shape) // n, n, y)


def _norm(w: _Writer, step: Step, x: str, y: str) -> None:
    n, facts = step.shape[-1], step.facts
    center = int(step.kind == "layer_norm")
    gain, bias = w.weight(step, "gain"), w.weight(step, "bias")
    epsilon = f"{np.float32(facts['epsilon'])!s}f"
    w.call("norm", x, gain, bias, prod(step.shape) // n, n, facts["born"], center, epsilon, y)


def _attention(w: _Writer, step: Step, x: str, y: str) -> None:
    q, k, v = map(w.value, step.inputs)
    scale, causal = f"{np.float32(step.facts['scale'])!s}f", int(step.facts["causal"])
    w.call("attention", q, k, v, *step.shape, scale, causal, w.value(f"{step.name} weights"), y)


def _embedding(w: _Writer, step: Step, x: str, y: str) -> None:
    size, n = step.arrays["table"].shape
    w.call("embed", x, w.weight(step, "table"), size, prod(step.shape) // n, n, y)


def _positions(w: _Writer, step: Step, x: str, y: str) -> None:
    table, n = w.weight(step, "table"), step.arrays["table"].size
    for start in range(0, prod(step.shape), n):
        at = f" + {start}" if start else ""
        w.call("add", x + at, table, n, y + at)


def _sum(w: _Writer, step: Step, x: str, y: str) -> None:
    values = [w.value(name) for name in step.inputs]
    if y in values:  # y holds one of the inputs: read it before y is overwritten
        values.remove(y)
        values.insert(0, y)
    for value in values[1:]:
        w.call("add", values[0], value, prod(step.shape), y)
        values[0] = y


def _token(w: _Writer, step: Step, x: str, y: str) -> None:
    n = step.shape[-1]
    w.copy(w.weight(step, "value"), y, n)
    w.copy(x, f"{y} + {n}", prod(step.shape) - n)


def _take(w: _Writer, step: Step, x: str, y: str) -> None:
    n = prod(step.shape)
    if step.facts["mean"]:
        w.call("mean_rows", x, w.graph.shape(step.inputs[0])[0], n, y)
    else:
        w.copy(f"{x} + {n * step.facts['position']}", y, n)


def _patches(w: _Writer, step: Step, x: str, y: str) -> None:
    w.call("patches", x, *w.graph.shape(step.inputs[0]), *step.facts["size"], y)


def _shortcut(w: _Writer, step: Step, x: str, y: str) -> None:
    *spatial, c = w.graph.shape(step.inputs[0])
    lift = [1] * (2 - len(spatial))
    source = w.array(f"{w.name(step.name)}_source", np.array(step.facts["source"], np.int64))
    w.call("shortcut", x, source, *spatial, *lift, c, *step.facts["stride"], *lift,
           step.shape[-1], y)  # fmt: skip


def _dropout(w: _Writer, step: Step, x: str, y: str) -> None:
    w.copy(x, y, prod(step.shape))


KINDS: Mapping[str, Callable[[_Writer, Step, str, str], None]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "populations": _populations,
    "max_pool": _pool,
    "mean_pool": _pool,
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "rms_norm": _norm,
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


# ---- the file ----------------------------------------------------------------------------------


def c_source(network: ep.Network, prefix: str) -> Source:
    """Write a network in C; see `evoprune.export.c`."""
    if prefix and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix):
        raise ValueError(f"{WHERE}: expected a C name as prefix, got {prefix!r}")
    made = graph(network, where=WHERE)
    w = _Writer(made, f"{prefix}_" if prefix else "")
    if not w.places.raw:
        _read_input(w)
    for step in made.steps:
        write = KINDS.get(step.kind)
        if write is None:
            raise ValueError(f"{WHERE}: {step.name}: a layer of kind {step.kind!r} has no C form")
        w.lines.append(f"/* {w.name(step.name)}: {_shape(step.shape)} */")
        write(w, step, w.value(step.inputs[0]), w.value(step.name))
    return _whole(w)


def _read_input(w: _Writer) -> None:
    """Write the code that selects the input entries that are read, and scales them."""
    made = w.graph
    shape = made.picked_shape
    pick = "NULL"
    if made.picked:
        index = np.arange(prod(made.input_shape)).reshape(made.input_shape)
        for axis, indices in made.picked:
            index = index.take(indices, axis)
        pick = w.array("input_entries", index)
    shift, scale = (
        np.asarray(0.0 if made.shift is None else made.shift),
        np.asarray(1.0 if made.scale is None else made.scale),
    )
    both = np.broadcast_shapes(shift.shape, scale.shape)
    lead = next((i for i, n in enumerate(both) if n > 1), len(both))
    period = shape[lead:] if both else ()
    names = [
        w.array(f"input_{name}", np.broadcast_to(a.reshape(a.shape[lead:]), period))
        for name, a in (("shift", shift), ("scale", scale))
    ]
    w.lines.append("/* input */")
    w.call("read", "x", pick, *names, prod(shape), prod(period), w.value("input"))


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _whole(w: _Writer) -> Source:
    """Return the assembled C file."""
    made, p = w.graph, w.prefix
    parts = c_parts.needed(w.used).replace("EP_code", "int" if made.codes else "float")
    parts = parts.replace("EP_", p)
    body = "\n    ".join(w.lines)
    scratch = 4 * w.places.size
    upper = f"{p}predict".upper()
    of_x = "int" if made.codes else "float"
    largest = max(prod(step.shape) for step in made.steps)
    largest = max(largest, w.places.size, prod(made.input_shape), *_sizes(made))
    reads = "codes" if made.codes else "raw values; the input scaling is part of this file"
    math = c_parts.uses_math(parts)
    headers = [
        "#include <limits.h>",
        *(["#include <math.h>"] if math or "NAN" in parts else []),
        "#include <stddef.h>",
        *(["#include <string.h>"] if "memcpy" in parts + body else []),
    ]
    link = "; link with -lm" if math else ""
    text = f"""\
/* A neural network, written by evoprune.
 *
 *   void {p}predict(const {of_x} *x, float *y);
 *
 * x: {_shape(made.input_shape)} {reads}
 * y: {_shape(made.output_shape)} outputs; for classes these are logits; y must not overlap x
 *
 * Values lie row by row, features last: an image is (height, width, channels).
 * Weights take {w.bytes:,} bytes of constant memory, scratch {scratch:,} bytes of static memory.
 * Nothing is allocated. Calls share the scratch: only one at a time.
 * Compile as C99 or later: cc -O2 -c FILE.c{link}. To call it from another file, declare it there
 * as above. */
{chr(10).join(headers)}

#define {upper}_INPUTS {prod(made.input_shape)}
#define {upper}_OUTPUTS {prod(made.output_shape)}
#define {upper}_WEIGHT_BYTES {w.bytes}
#define {upper}_SCRATCH_BYTES {scratch}

#if INT_MAX < {largest}
#error "int is too small for the arrays of this network"
#endif

{parts}
{"".join(w.arrays)}
"""
    if w.places.size:
        text += f"static float {p}scratch[{w.places.size}];\n\n"
    text += f"void {p}predict(const {of_x} *x, float *y);\n\n"
    text += f"void {p}predict(const {of_x} *x, float *y)\n{{\n    {body}\n}}\n"
    return Source(text, w.bytes, scratch)


def _sizes(made: Graph) -> list[int]:
    return [array.size for step in made.steps for array in step.arrays.values()]

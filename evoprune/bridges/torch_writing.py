"""Convert a network to a PyTorch module.

`KINDS` maps each kind of layer to the function that writes it. Modules of torch put channels
first, layers of a network put features last: every value stays in the layout in which it
was computed, and is converted only if another layout is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from evoprune import Network
from evoprune.bridges import torch_modules as own
from evoprune.bridges.graph import Graph, Step, graph
from evoprune.common.types import Array

__all__ = ["KINDS", "torch_module", "torch_program"]

WHERE = "to_torch"
SPATIAL = ("conv2d", "max_pool", "mean_pool", "shortcut")
TAKEN = {*dir(nn.Sequential()), *dir(nn.ModuleDict())}  # names that submodules cannot have
FOLLOW = ("populations", "batch_norm", "dropout", "sum")
PHI: Mapping[str, Callable[[float], nn.Module]] = {
    "relu": lambda slope: nn.ReLU(),
    "leaky_relu": nn.LeakyReLU,
    "gelu": lambda slope: nn.GELU("tanh"),
    "silu": lambda slope: nn.SiLU(),
    "tanh": lambda slope: nn.Tanh(),
    "sigmoid": lambda slope: nn.Sigmoid(),
}


@dataclass(frozen=True)
class _Form:
    """Layout of a value; by default that of the network, with features last."""

    first: bool = False  # True: channels are the first axis after the batch
    merged: int = 1  # number of trailing axes that are joined into one axis


class _Writer:
    """The PyTorch module being built.

    Attributes:
        graph: the layers of the network, as steps to write.
        dtype: dtype of parameters and buffers.
        modules: submodules by name, in order of computation.
        inputs: for each submodule, the names of the submodules whose outputs it reads.
        values: for each value of the network, the names of the submodules that output it, by
            layout.
    """

    def __init__(self, made: Graph, dtype: torch.dtype) -> None:
        self.graph, self.dtype = made, dtype
        self.modules: dict[str, nn.Module] = {}
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.values: dict[str, dict[_Form, str]] = {}

    def tensor(self, values: Array) -> Tensor:
        """Return a tensor of the module's dtype."""
        return torch.tensor(np.ascontiguousarray(values), dtype=self.dtype)

    def add(self, name: str, module: nn.Module, *inputs: str) -> str:
        """Add a module; return the name of its value."""
        plain = re.sub(r"[.\s]", "_", name) or "_"
        number, found = 1, plain
        while found in self.modules or found == "input" or found in TAKEN:
            number += 1
            found = f"{plain}_{number}"
        self.modules[found], self.inputs[found] = module, inputs
        return found

    def form(self, value: str) -> _Form:
        """Return the layout in which a value was computed."""
        return next(iter(self.values[value]))

    def read(self, value: str, form: _Form) -> str:
        """Return the module that outputs a value in the layout `form`; add one if needed."""
        forms = self.values[value]
        if form not in forms:
            shape = self.graph.shape(value)
            if form == _Form():
                have, name = next(iter(forms.items()))
                if have.first:
                    made = self.add(f"{value}_features_last", own.FeaturesLast(), name)
                else:
                    dims = shape[len(shape) - have.merged :]
                    made = self.add(f"{value}_split", nn.Unflatten(-1, dims), name)
            elif form.first:
                plain = self.read(value, _Form())
                made = self.add(f"{value}_channels_first", own.ChannelsFirst(), plain)
            else:
                plain = self.read(value, _Form())
                made = self.add(f"{value}_merged", nn.Flatten(-form.merged), plain)
            forms[form] = made
        return forms[form]


Made = tuple[str, _Form]


def _set(module: nn.Module, w: _Writer, **arrays: Array | None) -> nn.Module:
    """Set parameters and buffers of a module."""
    for name, values in arrays.items():
        if values is not None:
            with torch.no_grad():
                getattr(module, name).copy_(w.tensor(values))
    return module


def _dense(w: _Writer, step: Step) -> Made:
    weight, contract = step.arrays["weight"], step.facts["contract"]
    source = step.inputs[0]
    rank, form = len(w.graph.shape(source)), w.form(step.inputs[0])
    units = weight.shape[contract:]
    first = contract == rank > 1 and form.first
    if first:
        weight = np.moveaxis(weight, contract - 1, 0)
        x = w.add(f"{step.name}_flat", nn.Flatten(), w.read(source, form))
    else:
        x = w.read(source, _Form(merged=contract))
    matrix = weight.reshape(-1, prod(units))
    bias = step.arrays.get("bias")
    linear = nn.Linear(*matrix.shape, bias=bias is not None, dtype=w.dtype)
    _set(linear, w, weight=matrix.T, bias=None if bias is None else bias.reshape(-1))
    return w.add(step.name, linear, x), _Form(merged=len(units))


def _conv2d(w: _Writer, step: Step) -> Made:
    window, weight = step.facts["window"], step.arrays["weight"]
    depthwise, spatial = step.facts["depthwise"], len(step.facts["window"].size)
    weight = np.moveaxis(weight[..., None, :] if depthwise else weight, (-1, -2), (0, 1))
    x = w.read(step.inputs[0], _Form(first=True))
    padding = window.before
    if any(a > b for a, b in zip(window.after, window.before, strict=True)):
        pads = [
            p for b, a in zip(window.before[::-1], window.after[::-1], strict=True) for p in (b, a)
        ]
        pad = (nn.ZeroPad1d, nn.ZeroPad2d)[spatial - 1](tuple(pads))
        x, padding = w.add(f"{step.name}_padding", pad, x), (0,) * spatial
    conv = (nn.Conv1d, nn.Conv2d)[spatial - 1](
        w.graph.shape(step.inputs[0])[-1], step.shape[-1], window.size, window.stride, padding,
        window.dilation, groups=step.shape[-1] if depthwise else 1, bias="bias" in step.arrays,
        dtype=w.dtype,
    )  # fmt: skip
    _set(conv, w, weight=weight, bias=step.arrays.get("bias"))
    return w.add(step.name, conv, x), _Form(first=True)


def _pool(w: _Writer, step: Step) -> Made:
    window, mean = step.facts["window"], step.kind == "mean_pool"
    spatial, name = len(window.size), step.name
    x = w.read(step.inputs[0], _Form(first=True))
    if step.facts["whole"]:
        kinds = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
        kinds = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d) if mean else kinds
        x = w.add(f"{name}_pool", kinds[spatial - 1](1), x)
        return w.add(name, nn.Flatten(), x), _Form()
    far = any(2 * pad > size for pad, size in zip(window.before, window.size, strict=True))
    pool: nn.Module
    if mean and far:
        pool = own.MeanPool(window.size, window.stride, window.before)
    elif mean:
        kind = (nn.AvgPool1d, nn.AvgPool2d)[spatial - 1]
        pool = kind(window.size, window.stride, window.before, count_include_pad=False)
    else:
        padding = window.before
        if far:
            pads = tuple(p for pad in padding[::-1] for p in (pad, pad))
            constant = (nn.ConstantPad1d, nn.ConstantPad2d)[spatial - 1](pads, -np.inf)
            x, padding = w.add(f"{name}_padding", constant, x), (0,) * spatial
        pool = (nn.MaxPool1d, nn.MaxPool2d)[spatial - 1](window.size, window.stride, padding)
    return w.add(name, pool, x), _Form(first=True)


def _populations(w: _Writer, step: Step) -> Made:
    form, phi = w.form(step.inputs[0]), step.facts["phi"]
    x = w.read(step.inputs[0], form)
    for suffix, module in (("bias", own.Shift), ("phi", None), ("mass", own.Scale)):
        if module and suffix in step.arrays:
            values = w.tensor(_along(step, step.arrays[suffix], form))
            x = w.add(f"{step.name}_{suffix}", module(values), x)
        elif not module and phi != "identity":
            if phi not in PHI:
                raise ValueError(f"{WHERE}: {step.name}: no module for the activation {phi!r}")
            x = w.add(step.name, PHI[phi](step.facts["slope"]), x)
    if phi == "identity" and not step.arrays:
        x = w.add(step.name, nn.Identity(), x)
    return x, form


def _along(step: Step, values: Array, form: _Form) -> Array:
    """Return `values`, one per index of the step's axis, shaped to broadcast against its output.

    `form` is the layout of that output. Axes of the result do not include the batch.
    """
    rank, axis = len(step.shape), step.facts["axis"]
    array = values.reshape([-1 if d == rank + axis else 1 for d in range(rank)])
    if form.first:
        return np.moveaxis(array, -1, 0)
    lead, merged = array.shape[: rank - form.merged], step.shape[rank - form.merged :]
    if form.merged > 1:
        array = np.broadcast_to(array, (*lead, *merged)).reshape(*lead, -1)
    return array


def _batch_norm(w: _Writer, step: Step) -> Made:
    rank, n = len(step.shape), step.shape[-1]
    kinds = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if rank > len(kinds):
        raise ValueError(f"{WHERE}: {step.name}: torch has no batch norm over {rank} axes")
    arrays, affine = step.arrays, "gain" in step.arrays
    norm = kinds[rank - 1](
        n, step.facts["epsilon"], step.facts["momentum"], affine=affine, dtype=w.dtype
    )
    _set(norm, w, running_mean=arrays["mean"], running_var=arrays["variance"])
    _set(norm, w, weight=arrays.get("gain"), bias=arrays.get("bias"))
    form = _Form(first=rank > 1)
    return w.add(step.name, norm, w.read(step.inputs[0], form)), form


def _norm(w: _Writer, step: Step) -> Made:
    n, born, epsilon = step.shape[-1], step.facts["born"], step.facts["epsilon"]
    gain, bias = (step.arrays.get(name) for name in ("gain", "bias"))
    center = step.kind == "layer_norm"
    norm: nn.Module
    if born != n:
        tensors = (None if a is None else w.tensor(a) for a in (gain, bias))
        norm = own.FoundedNorm(n, born, center, epsilon, *tensors)
    else:
        kind = nn.LayerNorm if center else nn.RMSNorm
        norm = kind(n, epsilon, elementwise_affine=gain is not None, dtype=w.dtype)
        _set(norm, w, weight=gain, bias=bias)
    return w.add(step.name, norm, w.read(step.inputs[0], _Form())), _Form()


def _attention(w: _Writer, step: Step) -> Made:
    form = _Form(merged=2)
    heads, dims = step.shape[-2:]
    module = own.Attention(heads, dims, step.facts["causal"], step.facts["scale"])
    return w.add(step.name, module, *(w.read(source, form) for source in step.inputs)), form


def _embedding(w: _Writer, step: Step) -> Made:
    x = w.read(step.inputs[0], _Form())
    if not (step.inputs[0] == "input" and w.graph.codes):
        x = w.add(f"{step.name}_codes", own.Codes(), x)
    table = nn.Embedding(*step.arrays["table"].shape, dtype=w.dtype)
    return w.add(step.name, _set(table, w, weight=step.arrays["table"]), x), _Form()


def _positions(w: _Writer, step: Step) -> Made:
    module = own.Positions(w.tensor(step.arrays["table"]))
    return w.add(step.name, module, w.read(step.inputs[0], _Form())), _Form()


def _sum(w: _Writer, step: Step) -> Made:
    form = w.form(step.inputs[0])
    return w.add(step.name, own.Sum(), *(w.read(source, form) for source in step.inputs)), form


def _shortcut(w: _Writer, step: Step) -> Made:
    channels = w.graph.shape(step.inputs[0])[-1]
    module = own.Shortcut(step.facts["stride"], step.facts["source"], channels)
    form = _Form(first=True)
    return w.add(step.name, module, w.read(step.inputs[0], form)), form


def _token(w: _Writer, step: Step) -> Made:
    module = own.Token(w.tensor(step.arrays["value"].reshape(1, 1, -1)))
    return w.add(step.name, module, w.read(step.inputs[0], _Form())), _Form()


def _take(w: _Writer, step: Step) -> Made:
    module = own.Take(None if step.facts["mean"] else step.facts["position"])
    return w.add(step.name, module, w.read(step.inputs[0], _Form())), _Form()


def _patches(w: _Writer, step: Step) -> Made:
    module = own.Patches(*step.facts["size"])
    return w.add(step.name, module, w.read(step.inputs[0], _Form())), _Form()


def _dropout(w: _Writer, step: Step) -> Made:
    form = w.form(step.inputs[0])
    return w.add(step.name, nn.Dropout(step.facts["rate"]), w.read(step.inputs[0], form)), form


KINDS: Mapping[str, Callable[[_Writer, Step], Made]] = {
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


# ---- the module --------------------------------------------------------------------------------


def torch_module(network: Network, channels_first: bool) -> nn.Module:
    """Make the PyTorch module of a network; see `evoprune.to_torch`."""
    made = graph(network, where=WHERE, training=True)
    w = _Writer(made, torch.float64 if made.dtype == "float64" else torch.float32)
    _read_input(w, channels_first)
    for step in made.steps:
        write = KINDS.get(step.kind)
        if write is None:
            raise ValueError(
                f"{WHERE}: {step.name}: a layer of kind {step.kind!r} has no PyTorch form"
            )
        name, form = write(w, step)
        w.values[step.name] = {form: name}
    form = w.form(made.output)
    output = w.read(made.output, form if form.first and channels_first else _Form())
    names = ["input", *w.modules]
    chain = all(w.inputs[name] == (names[i],) for i, name in enumerate(w.modules))
    module: nn.Module
    if chain and names[-1] == output:
        module = nn.Sequential()
        for name, part in w.modules.items():
            module.add_module(name, part)
    else:
        module = own.Wired(w.modules, dict(w.inputs), output)
    return module.eval()


def torch_program(network: Network) -> bytes:
    """Return the network as a program of torch.export; see `evoprune.export.torch`."""
    module = torch_module(network, channels_first=True)
    made = graph(network, where=WHERE)
    shape = made.input_shape
    if _is_image(made):
        shape = (shape[-1], *shape[:-1])
    dtype = torch.float64 if made.dtype == "float64" else torch.float32
    example = torch.zeros((2, *shape), dtype=torch.long if made.codes else dtype)
    rows = {0: torch.export.Dim("batch")}
    program = torch.export.export(module, (example,), dynamic_shapes=(rows,))
    content = BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _read_input(w: _Writer, channels_first: bool) -> None:
    """Add modules that select and scale the entries of the input."""
    made = w.graph
    first = channels_first and _is_image(made)
    x = "input"
    for axis, indices in made.picked:
        at = axis + 1
        if first:
            at = 1 if axis == len(made.input_shape) - 1 else axis + 2
        x = w.add(f"input_entries{axis}", own.Entries(at, torch.tensor(indices)), x)
    if made.shift is not None and made.scale is not None:
        rank = len(made.input_shape)
        both = [
            a.reshape((1,) * (rank - a.ndim) + a.shape) if a.ndim else a
            for a in (made.shift, made.scale)
        ]
        if first:
            both = [np.moveaxis(a, -1, 0) if a.ndim else a for a in both]
        x = w.add("input_scaling", own.Scaling(*map(w.tensor, both)), x)
    w.values["input"] = {_Form(first=first): x}


def _is_image(made: Graph) -> bool:
    """True if the input is an image, or a sequence that a convolution or a pool reads."""
    if len(made.input_shape) != 2:
        return len(made.input_shape) == 3
    names, found = {"input"}, False
    for step in made.steps:
        if names & set(step.inputs):
            found = found or step.kind in SPATIAL
            names |= {step.name} if step.kind in FOLLOW else set()
    return found

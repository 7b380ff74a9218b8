"""Translate operators of PyTorch to layers: `TABLES` maps each operator to a function."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from evoprune.bridges import torch_modules as own
from evoprune.bridges.torch_axes import ACTIVATIONS, ADD, strided
from evoprune.bridges.torch_pools import adaptive_pool, mean, pool_function, pool_module
from evoprune.bridges.torch_values import (
    Read,
    Reader,
    Tables,
    Value,
    argument,
    array_of,
    refused,
    source,
)
from evoprune.common.types import Array

__all__ = ["TABLES"]


# ---- projections -------------------------------------------------------------------------------


def _founded(r: Reader, node: fx.Node) -> tuple[list[str], bool]:
    """Return a projection's inputs after the first, and True if it creates its output axis.

    If it does, the list of inputs is empty. If another node creates the axis, the list holds
    the name of that node's layer.
    """
    founder = r.axes.founder(node)
    if founder is None:
        return [], True
    return [r.pending(founder).name], False


def _linear(r: Reader, node: fx.Node) -> Value:
    linear: nn.Linear = r.module(node)
    x = r.value(source(node))
    if x.first or x.whole:
        raise refused(node, "expected features last; nn.Linear reads the last axis")
    lead, inside = x.shape[: len(x.shape) - x.merged], x.shape[len(x.shape) - x.merged :]
    weight = linear.weight.detach().cpu().numpy().T
    if x.order:
        weight = weight.reshape(inside[-1], *inside[:-1], -1)
        weight = np.moveaxis(weight, 0, -2)
    units = r.axes.units(node)
    weight = weight.reshape(*inside, *units)
    second, founds = _founded(r, node)
    config: dict[str, Any] = {"contract": 0 if not lead else x.merged}
    if founds:
        config["units"] = list(units)
    name = r.add(node, "dense", [x.name, *second], config, weight=weight)
    bias = array_of(linear.bias)
    if bias is not None and len(units) > 1:
        raise refused(node, "expected heads without a bias")
    return Value(name, (*lead, *units), merged=len(units), bias=bias)


def _convolution(r: Reader, node: fx.Node) -> Value:
    conv: Any = r.module(node)
    x = r.value(source(node))
    spatial = len(conv.kernel_size)
    depthwise = conv.groups > 1
    if depthwise and not conv.groups == conv.in_channels == conv.out_channels:
        raise refused(node, f"expected groups of 1 or depthwise, got {conv.groups} groups")
    if conv.padding_mode != "zeros":
        raise refused(node, f"expected padding of zeros, got {conv.padding_mode}")
    config: dict[str, Any] = {
        "kernel": list(conv.kernel_size),
        "stride": list(conv.stride),
        "dilation": list(conv.dilation),
        "depthwise": depthwise,
    }
    if conv.padding != "same":
        config["padding"] = [0] * spatial if conv.padding == "valid" else list(conv.padding)
    weight = np.moveaxis(conv.weight.detach().cpu().numpy(), (0, 1), (-1, -2))
    second: list[str] = []
    if depthwise:
        weight = weight[..., 0, :]
    else:
        second, founds = _founded(r, node)
        config |= {"filters": int(conv.out_channels)} if founds else {}
    name = r.add(node, "conv2d", [x.name, *second], config, weight=weight)
    channels, *size = r.shape(node)
    return Value(name, (*size, channels), first=True, bias=array_of(conv.bias))


def _embedding(r: Reader, node: fx.Node) -> Value:
    table: nn.Embedding = r.module(node)
    x = r.value(source(node))
    second, founds = _founded(r, node)
    config = {"vocabulary": table.num_embeddings}
    config |= {"units": table.embedding_dim} if founds else {}
    weight = table.weight.detach().cpu().numpy()
    name = r.add(node, "embedding", [x.name, *second], config, table=weight)
    return Value(name, (*x.shape, table.embedding_dim))


# ---- feature by feature ------------------------------------------------------------------------


def _activation(r: Reader, node: fx.Node) -> Value:
    phi = r.axes.phi(node)
    module = r.axes.module(node)
    config: dict[str, Any] = {"activation": phi}
    if phi == "leaky_relu":
        slope = module.negative_slope if module else argument(r, node, 1, "negative_slope", 0.01)
        config["slope"] = float(slope)
    if phi == "gelu":
        form = module.approximate if module else argument(r, node, 99, "approximate", "none")
        if form != "tanh":
            raise refused(
                node, 'expected GELU(approximate="tanh"), the form that the network has, got erf'
            )
    x = r.pending(source(node))
    config["bias"] = x.bias is not None
    config["mass"] = r.populations and r.axes.lives(node)
    name = r.add(node, "populations", [x.name], config, bias=x.bias)
    return replace(x, name=name, bias=None)


def _same(r: Reader, node: fx.Node) -> Value:
    return r.pending(source(node))


def _dropout(r: Reader, node: fx.Node) -> Value:
    x = r.value(source(node))
    module = r.axes.module(node)
    rate = module.p if module else argument(r, node, 1, "p", 0.5)
    return replace(x, name=r.add(node, "dropout", [x.name], {"rate": float(rate)}))


def _batch_norm(r: Reader, node: fx.Node) -> Value:
    norm: Any = r.module(node)
    x = r.value(source(node))
    if norm.running_mean is None:
        raise refused(node, "expected running statistics")
    if not x.first and len(x.shape) > 1:
        raise refused(node, "expected channels first")
    momentum = 0.1 if norm.momentum is None else norm.momentum
    config = {"epsilon": norm.eps, "momentum": momentum, "affine": norm.affine}
    name = r.add(
        node, "batch_norm", [x.name], config,
        gain=array_of(norm.weight), bias=array_of(norm.bias),
        mean=array_of(norm.running_mean), variance=array_of(norm.running_var),
    )  # fmt: skip
    return replace(x, name=name)


def _last_norm(kind: str) -> Callable[[Reader, fx.Node], Value]:
    def read(r: Reader, node: fx.Node) -> Value:
        norm: Any = r.module(node)
        x = r.value(source(node))
        if x.first or x.merged > 1 or len(norm.normalized_shape) != 1:
            raise refused(node, "expected a norm over the last axis alone")
        bias = array_of(getattr(norm, "bias", None))
        affine = norm.weight is not None
        if affine and bias is None and kind == "layer_norm":
            bias = np.zeros(x.shape[-1], np.float32)
        epsilon = torch.finfo(torch.float32).eps if norm.eps is None else norm.eps
        config = {"epsilon": epsilon, "affine": affine}
        gain = array_of(norm.weight)
        name = r.add(node, kind, [x.name], config, gain=gain, bias=bias)
        return replace(x, name=name)

    return read


def _add(r: Reader, node: fx.Node) -> Value:
    nodes = [n for n in node.args if isinstance(n, fx.Node)]
    if len(nodes) != len(node.args) or node.kwargs:
        raise refused(node, "expected the sum of two values")
    return _sum_of(r, node, nodes)


def _sum(r: Reader, node: fx.Node) -> Value:
    return _sum_of(r, node, list(node.args))


def _sum_of(r: Reader, node: fx.Node, nodes: Sequence[fx.Node]) -> Value:
    values = [r.value(n) for n in nodes]
    forms = {(v.shape, v.first, v.merged, v.order, v.whole) for v in values}
    if len(forms) > 1:
        raise refused(node, f"expected values of one shape, got {[v.shape for v in values]}")
    return replace(values[0], name=r.add(node, "sum", [v.name for v in values], {}))


# ---- shapes ------------------------------------------------------------------------------------


def _flatten(r: Reader, node: fx.Node) -> Value:
    x = r.pending(source(node))
    before, after = r.shape(source(node)), r.shape(node)
    if x.whole and after == x.shape:
        return replace(x, whole=0)
    if before == after:
        return x
    count = len(before) - len(after) + 1
    if after != (*before[: len(after) - 1], prod(before[len(after) - 1 :])):
        raise refused(node, f"expected the last axes flattened, got {before} to {after}")
    if x.first and len(after) > 1:
        raise refused(node, "expected all axes flattened, or features last")
    x = r.value(source(node))
    return replace(x, first=False, order=x.first, merged=x.merged + count - 1)


def _unflatten(r: Reader, node: fx.Node) -> Value:
    x = r.pending(source(node))
    if x.merged > 1 and r.shape(node) == x.shape:
        return replace(x, merged=1)
    raise refused(node, "expected the axes of a projection to be split")


def _getitem(r: Reader, node: fx.Node) -> Value:
    index = node.args[1]
    x = r.value(source(node))
    if strided(node) and x.first:
        channels, *size = r.shape(node)
        config = {"channels": channels, "stride": list(strided(node) or ())}
        name = r.add(node, "shortcut", [x.name], config)
        return replace(x, name=name, shape=(*size, channels))
    if isinstance(index, tuple) and len(index) == 2 and isinstance(index[1], int):
        whole = index[0] == slice(None)
        if whole and not x.first and x.merged == 1 and len(x.shape) > 1:
            name = r.add(node, "take", [x.name], {"position": index[1]})
            return Value(name, x.shape[1:])
    raise refused(node, f"no layer for the index {index}")


def _pad(r: Reader, node: fx.Node) -> Value:
    """Translate the padding of a value with channels of zeros to a shortcut layer.

    If the padding reads a strided slice, such as x[:, :, ::2, ::2], the layer includes the slice.
    """
    read = source(node)
    steps = strided(read) if read.target is operator.getitem else None
    x = r.value(source(read) if steps else read)
    pads, mode = list(argument(r, node, 1, "pad")), argument(r, node, 2, "mode", "constant")
    spatial = len(x.shape) - 1
    zeros = pads[: 2 * spatial] == [0] * 2 * spatial and not argument(r, node, 3, "value", 0)
    if not x.first or not zeros or mode != "constant" or len(pads) != 2 * spatial + 2:
        raise refused(node, "expected zeros around the channels")
    return _shortcut_of(r, node, x, list(steps or [1] * spatial), pads[-2], sum(pads[-2:]))


def _shortcut(r: Reader, node: fx.Node) -> Value:
    m: own.Shortcut = r.module(node)
    if not m.pads:
        raise refused(node, "expected all channels in their order, zeros around them")
    x = r.value(source(node))
    return _shortcut_of(r, node, x, list(m.stride), m.pads[0], sum(m.pads))


def _shortcut_of(
    r: Reader, node: fx.Node, x: Value, stride: list[int], before: int, more: int
) -> Value:
    if before != more // 2:
        raise refused(node, "expected as many channels of zeros before as after")
    channels, *size = r.shape(node)
    name = r.add(node, "shortcut", [x.name], {"channels": channels, "stride": stride})
    return replace(x, name=name, shape=(*size, channels))


def _permuted(r: Reader, node: fx.Node) -> Value:
    """Translate a permutation of axes that moves channels from last to first, or back."""
    x, rank = r.value(source(node)), len(r.shape(node)) + 1
    order = list(range(rank))
    if "transpose" in str(getattr(node.target, "__name__", node.target)):
        a, b = (argument(r, node, i, f"dim{i - 1}") for i in (1, 2))
        order[a], order[b] = order[b], order[a]
    else:
        dims = node.args[1] if isinstance(node.args[1], list | tuple) else node.args[1:]
        order = [int(d) % rank for d in dims]
    last_first, first_last = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    if rank > 2 and x.merged == 1 and order == (first_last if x.first else last_first):
        return replace(x, first=not x.first)
    raise refused(node, "expected channels moved from the last place to the first, or back")


def _window_padding(r: Reader, node: fx.Node) -> Value:
    raise refused(node, "padding by a layer of its own has no counterpart; give it to the next one")


# ---- modules of this package -------------------------------------------------------------------


def _features_last(r: Reader, node: fx.Node) -> Value:
    return replace(r.pending(source(node)), first=False)


def _channels_first(r: Reader, node: fx.Node) -> Value:
    return replace(r.pending(source(node)), first=True)


def _scaling(r: Reader, node: fx.Node) -> Value:
    m: own.Scaling = r.module(node)
    x = r.value(source(node))
    if x.name != "input" or r.scaling is not None:
        raise refused(node, "expected the input to be scaled, once")
    both: list[Array] = []
    for tensor in (m.shift, m.scale):
        array = np.broadcast_to(tensor.cpu().numpy(), r.shape(node))
        both.append(np.ascontiguousarray(np.moveaxis(array, 0, -1) if x.first else array).ravel())
    r.scaling = both[0], both[1]
    return x


def _attention(r: Reader, node: fx.Node) -> Value:
    m: own.Attention = r.module(node)
    values = [r.value(n) for n in node.args]
    config = {"causal": m.causal, "scale": float(m.scale)}
    name = r.add(node, "attention", [v.name for v in values], config)
    if r.populations and r.axes.lives(node):
        living = {"activation": "identity", "axis": -2, "bias": False}
        name = r.add(node, "populations", [name], living, "_heads")
    return replace(values[0], name=name)


def _positions(r: Reader, node: fx.Node) -> Value:
    x = r.value(source(node))
    return replace(
        x, name=r.add(node, "positions", [x.name], {}, table=array_of(r.module(node).table))
    )


def _token(r: Reader, node: fx.Node) -> Value:
    x = r.value(source(node))
    value = r.module(node).value.detach().cpu().numpy().reshape(-1)
    name = r.add(node, "token", [x.name], {}, value=value)
    return replace(x, name=name, shape=(x.shape[0] + 1, x.shape[1]))


def _take(r: Reader, node: fx.Node) -> Value:
    x, position = r.value(source(node)), r.module(node).position
    config = {"mean": True} if position is None else {"position": position}
    return replace(x, name=r.add(node, "take", [x.name], config), shape=x.shape[1:])


def _patches(r: Reader, node: fx.Node) -> Value:
    x, m = r.value(source(node)), r.module(node)
    name = r.add(node, "patches", [x.name], {"size": [m.rows, m.columns]})
    return Value(name, r.shape(node))


MODULES: Mapping[type[nn.Module], Read] = {
    **dict.fromkeys(ACTIVATIONS[0], _activation),
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.Dropout: _dropout,
    nn.Identity: _same,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.LayerNorm: _last_norm("layer_norm"),
    nn.RMSNorm: _last_norm("rms_norm"),
    nn.MaxPool1d: pool_module("max_pool"),
    nn.MaxPool2d: pool_module("max_pool"),
    nn.AvgPool1d: pool_module("mean_pool"),
    nn.AvgPool2d: pool_module("mean_pool"),
    nn.AdaptiveAvgPool1d: adaptive_pool("mean_pool", lambda r, n: r.axes.module(n).output_size),
    nn.AdaptiveAvgPool2d: adaptive_pool("mean_pool", lambda r, n: r.axes.module(n).output_size),
    nn.AdaptiveMaxPool1d: adaptive_pool("max_pool", lambda r, n: r.axes.module(n).output_size),
    nn.AdaptiveMaxPool2d: adaptive_pool("max_pool", lambda r, n: r.axes.module(n).output_size),
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.ZeroPad1d: _window_padding,
    nn.ZeroPad2d: _window_padding,
    nn.ConstantPad1d: _window_padding,
    nn.ConstantPad2d: _window_padding,
    own.Attention: _attention,
    own.ChannelsFirst: _channels_first,
    own.FeaturesLast: _features_last,
    own.MeanPool: pool_module("mean_pool"),
    own.Patches: _patches,
    own.Positions: _positions,
    own.Scaling: _scaling,
    own.Shortcut: _shortcut,
    own.Sum: _sum,
    own.Take: _take,
    own.Token: _token,
}
FUNCTIONS: Mapping[Any, Read] = {
    **dict.fromkeys(ACTIVATIONS[1], _activation),
    **dict.fromkeys(ADD, _add),
    torch.flatten: _flatten,
    torch.mean: mean,
    functional.dropout: _dropout,
    functional.max_pool1d: pool_function("max_pool"),
    functional.max_pool2d: pool_function("max_pool"),
    functional.avg_pool1d: pool_function("mean_pool"),
    functional.avg_pool2d: pool_function("mean_pool"),
    functional.adaptive_avg_pool2d: adaptive_pool("mean_pool", lambda r, n: n.args[1]),
    functional.adaptive_max_pool2d: adaptive_pool("max_pool", lambda r, n: n.args[1]),
    functional.pad: _pad,
    operator.getitem: _getitem,
    torch.permute: _permuted,
    torch.transpose: _permuted,
}
METHODS: Mapping[str, Read] = {
    **dict.fromkeys(ACTIVATIONS[2], _activation),
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    "contiguous": _same,
    "mean": mean,
    "add": _add,
    "add_": _add,
    "permute": _permuted,
    "transpose": _permuted,
}
TABLES = Tables(MODULES, FUNCTIONS, METHODS)

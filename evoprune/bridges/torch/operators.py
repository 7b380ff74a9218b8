"""Operators: how each kind of ATen operator relates the axes of its inputs and outputs.

A rule labels the outputs of a call, merges axes that must agree, fixes those that must keep their
size, and records the roles of parameters (see trace.Slot). A rule raises an error or returns
False if it does not support the call; the tracer then fixes all axes that the call touches. Rules
for views are in views.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from evoprune.bridges.torch.axes import Axis, Dim, fix, same
from evoprune.bridges.torch.trace import Call, Tracer

__all__ = ["Rule", "apply_rule", "new_axes", "rule"]

Rule: TypeAlias = Callable[[Tracer, Call], bool | None]

RULES: dict[str, Rule] = {}
POSITION = "it is a dimension of positions"


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the operators with these names."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} has two rules")
            RULES[name] = function
        return function

    return register


def apply_rule(tracer: Tracer, call: Call) -> bool:
    """Apply the rule of a call; return False if there is none for it."""
    import evoprune.bridges.torch.views  # noqa: F401 - registers the rules of views

    if not call.ins or call.name in CREATE:
        return True
    found = RULES.get(call.name)
    if found is None and call.name.startswith("_scaled_dot_product"):
        found = attention
    if found is None and call.name.startswith("upsample_"):
        found = upsample
    if found is None and is_pointwise(call):
        found = pointwise
    return found is not None and found(tracer, call) is not False


def is_pointwise(call: Call) -> bool:
    """True if every element of the result depends only on the same element of each input."""
    name = call.name[:-1] if call.name.endswith("_") else call.name
    if name in POINTWISE or torch.Tag.pointwise in call.op.tags:
        return True
    packet = getattr(torch.ops.aten, name, None)
    overload = getattr(packet, "Tensor", None)
    return overload is not None and torch.Tag.pointwise in overload.tags


def new_axes(tensor: torch.Tensor, why: str) -> list[Dim]:
    """Return new, fixed axes for a tensor."""
    return [[Axis(n, why)] for n in tensor.shape]


CREATE = {
    "new_empty", "new_zeros", "new_ones", "new_full", "arange", "full", "zeros", "ones",
    "empty", "scalar_tensor", "rand", "randn", "empty_strided", "new_empty_strided",
}  # fmt: skip
POINTWISE = {
    "clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh", "native_dropout",
    "dropout", "bernoulli", "zeros_like", "ones_like", "empty_like", "rand_like", "full_like",
    "randn_like", "_reshape_alias_copy", "positive", "copy", "fill", "zero", "masked_fill",
    "_prelu_kernel", "where", "lerp", "uniform", "normal", "to", "leaky_relu", "hardswish",
    "hardsigmoid", "hardtanh", "elu", "celu", "selu",
}  # fmt: skip
COPIES = {"clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh"}


# ---- products ------------------------------------------------------------------------------------


def contract(t: Tracer, a: torch.Tensor, da: int, b: torch.Tensor, db: int, why: str) -> None:
    """Record a sum over dimension `da` of `a` and `db` of `b`.

    Both dimensions are fixed, unless exactly one tensor is a parameter, which gets role "read".
    """
    same(t.of(a)[da], t.of(b)[db], why)
    weights = [t.is_parameter(x) for x in (a, b)]
    if sum(weights) == 1:
        t.role(*((a, da) if weights[0] else (b, db)), "read", why)
        return
    reason = "two parameters meet" if all(weights) else "two activations meet in a product"
    fix(t.of(a)[da], f"{why}: {reason}")
    t.role(a, da, "follow", why)
    t.role(b, db, "follow", why)


def broadcast(t: Tracer, x: torch.Tensor, y: torch.Tensor, why: str) -> None:
    """Record that `x` is broadcast to `y`: merge all dimensions that have the same size."""
    for d in range(1, x.ndim + 1):
        if x.shape[-d] == y.shape[-d]:
            same(t.of(x)[-d], t.of(y)[-d], why)
            t.role(x, x.ndim - d, "follow", why)


@rule("mm", "addmm", "bmm", "baddbmm")
def matrix_product(t: Tracer, call: Call) -> None:
    """Multiply matrices: y = a b + bias, for a (..., n, k), b (..., k, m) and a bias or None."""
    bias, a, b = call.args[:3] if "add" in call.name else (None, *call.args[:2])
    y, why = call.outs[0], call.why
    contract(t, a, a.ndim - 1, b, b.ndim - 2, why)
    if a.ndim == 3:
        same(t.of(a)[0], t.of(b)[0], why)
        for x in (a, b):
            t.role(x, 0, "follow", why)
    t.label(y, [*t.of(a)[:-1], t.of(b)[-1]])
    _finish_product(t, a, a.ndim - 2, b, b.ndim - 1, bias, call)


@rule("linear")
def linear(t: Tracer, call: Call) -> None:
    """Apply the linear map y = a b^T + bias, for a (..., k), b (m, k) and bias (m,) or None."""
    a, b = call.args[:2]
    contract(t, a, a.ndim - 1, b, 1, call.why)
    t.label(call.outs[0], [*t.of(a)[:-1], t.of(b)[0]])
    _finish_product(t, a, a.ndim - 2, b, 0, call.argument(2, "bias"), call)


def _finish_product(
    t: Tracer, a: torch.Tensor, da: int, b: torch.Tensor, db: int, bias: Any, call: Call
) -> None:
    """Record the output axes of a product, its multiply-adds, and its bias."""
    y = call.outs[0]
    t.role(b, db, "write", call.why)
    if da >= 0:
        t.role(a, da, "write", call.why)
    for weight in (a, b):
        t.count(weight, y.numel() * a.shape[-1])
    if bias is not None:
        broadcast(t, bias, y, call.why)


@rule("convolution", "mkldnn_convolution", "cudnn_convolution", "_convolution")
def convolution(t: Tracer, call: Call) -> bool | None:
    """Convolve x (n, in, ...) with weights (out, in / groups, ...); add a bias (out,) if given.

    A transposed convolution has weights (in, out / groups, ...).
    """
    x, w, bias = call.args[:3]
    transposed, groups = bool(call.args[6]), int(call.args[8])
    y, why = call.outs[0], call.why
    for d in range(2, w.ndim):
        fix(t.of(w)[d], f"{why}: it is a position in a kernel")
        t.role(w, d, "kernel", why)
    if groups == 1:
        read, written = (0, 1) if transposed else (1, 0)
        contract(t, x, 1, w, read, why)
        t.role(w, written, "write", why)
        made = t.of(w)[written]
    elif transposed:
        return False
    else:
        group, each = Axis(groups), Axis(w.shape[0] // groups)
        same(t.of(w)[0], [group, each], why)
        t.role(w, 0, "follow", why)
        same(t.of(x)[1], [group, *t.of(w)[1]], why)
        if w.shape[1] > 1:
            t.role(w, 1, "read", why)
        made = t.of(w)[0]
    t.label(y, [t.of(x)[0], made, *new_axes(y[0, 0], POSITION)])
    t.count(w, (x if transposed else y).numel() * w[0].numel())
    if bias is not None:
        same(t.of(bias)[0], made, why)
        t.role(bias, 0, "follow", why)
    return None


@rule("mkldnn_rnn_layer")
def recurrent(t: Tracer, call: Call) -> None:
    """Record the product x weight^T of a recurrent layer, for x (..., k) and weight (gates, k).

    The axes of its outputs are fixed, because they are its state.
    """
    x, weight = call.args[:2]
    contract(t, x, x.ndim - 1, weight, 1, call.why)
    t.role(weight, 0, "write", call.why)
    for y in call.outs:
        t.label(y, new_axes(y, t.recurrent.get(t.modules[-1], f"{call.why}: it is a state")))


@rule("embedding")
def embedding(t: Tracer, call: Call) -> None:
    """Look up rows of a table (rows, features) by index."""
    table, index = call.args[:2]
    fix(t.of(table)[0], f"{call.why}: its rows are looked up")
    t.label(call.outs[0], [*t.of(index), t.of(table)[1]])
    t.role(table, 1, "write", call.why)
    t.role(table, 0, "follow", call.why)


def attention(t: Tracer, call: Call) -> None:
    """Apply scaled dot-product attention; fix features of queries and keys, and key positions."""
    q, k, v = call.ins[:3]
    dims_q, dims_k, dims_v = t.of(q), t.of(k), t.of(v)
    for dims in (dims_q, dims_k):
        fix(dims[-1], f"{call.why}: queries meet keys")
    same(dims_q[-1], dims_k[-1], call.why)
    for d in range(q.ndim - 2):
        shared: Dim = []
        if q.shape[d] != k.shape[d]:  # several query heads share a key head
            shared = [Axis(q.shape[d] // k.shape[d], f"{call.why}: queries that share keys")]
        same(dims_q[d], [*dims_k[d], *shared], call.why)
        same(dims_k[d], dims_v[d], call.why)
    fix(dims_k[-2], f"{call.why}: softmax over keys")
    same(dims_k[-2], dims_v[-2], call.why)
    for mask in call.ins[3:]:
        for d in range(mask.ndim - 2):
            aligned = q.ndim - mask.ndim + d
            if mask.shape[d] > 1 and mask.shape[d] == q.shape[aligned]:
                same(t.of(mask)[d], dims_q[aligned], call.why)
    t.label(call.outs[0], [*dims_q[:-1], dims_v[-1]])
    for extra in call.outs[1:]:
        t.label(extra, new_axes(extra, "it is of attention"))


# ---- norms and reductions ------------------------------------------------------------------------


def _follow_channels(t: Tracer, call: Call, channels: Dim) -> None:
    """Give the vectors of a norm the axis of the channels, and the result the input's axes."""
    for vector in call.ins[1:]:
        same(t.of(vector)[0], channels, call.why)
        t.role(vector, 0, "follow", call.why)
    t.label(call.outs[0], t.of(call.ins[0]))
    for extra in call.outs[1:]:
        t.label(extra, new_axes(extra, "it is a statistic"))


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
)
def batch_norm(t: Tracer, call: Call) -> None:
    """Normalize with statistics of each channel."""
    _follow_channels(t, call, t.of(call.ins[0])[1])


@rule("native_group_norm")
def group_norm(t: Tracer, call: Call) -> None:
    """Normalize groups of channels, which are fixed unless every channel is a group."""
    x = call.ins[0]
    if call.args[6] != x.shape[1]:
        fix(t.of(x)[1], f"{call.why}: the norm takes a group's channels together")
    _follow_channels(t, call, t.of(x)[1])


@rule("native_layer_norm", "_fused_rms_norm")
def layer_norm(t: Tracer, call: Call) -> None:
    """Normalize over the last dimensions, which must keep their size."""
    x = call.ins[0]
    for d in range(x.ndim - len(call.args[1]), x.ndim):
        fix(t.of(x)[d], f"{call.why}: the norm takes its features together")
    for vector in call.ins[1:]:
        broadcast(t, vector, x, call.why)
    t.label(call.outs[0], t.of(x))
    for extra in call.outs[1:]:
        t.label(extra, new_axes(extra, "it is a statistic"))


def reduced(call: Call, place: int, rank: int) -> list[int]:
    """Return the dimensions that a call reduces; all if none is given."""
    dims = call.argument(place, "dim")
    if isinstance(dims, int) and not isinstance(dims, bool):
        dims = [dims]
    if not isinstance(dims, list | tuple) or not dims:
        return list(range(rank))
    return [d % rank for d in dims]


@rule(
    "mean", "sum", "amax", "amin", "var", "std", "var_mean", "logsumexp", "argmax", "argmin",
    "linalg_vector_norm", "norm", "prod", "any", "all", "max", "min",
)  # fmt: skip
def reduction(t: Tracer, call: Call) -> None:
    """Reduce dimensions, which must keep their size; the others pass through."""
    x = call.ins[0]
    if len(call.ins) > 1:
        raise ValueError("a reduction of several tensors")
    dims = reduced(call, 2 if call.name in ("linalg_vector_norm", "norm") else 1, x.ndim)
    for d in dims:
        fix(t.of(x)[d], f"{call.why}: it is reduced")
        t.role(x, d, "follow", call.why)
    for y in call.outs:
        kept = y.ndim == x.ndim
        t.label(
            y, [[] if d in dims else t.of(x)[d] for d in range(x.ndim) if d not in dims or kept]
        )


@rule(
    "_softmax", "_safe_softmax", "_log_softmax", "softmax", "log_softmax", "cumsum", "cumprod",
    "sort", "topk", "flip", "logcumsumexp",
)  # fmt: skip
def along(t: Tracer, call: Call) -> None:
    """Operators that combine the entries along a dimension: none of these may be removed."""
    x = call.ins[0]
    dims = call.argument(2 if call.name == "topk" else 1, "dim", -1)
    if isinstance(dims, bool):  # sort.stable has its dimension in another position
        raise ValueError("a dimension is not given")
    for d in dims if isinstance(dims, list | tuple) else [dims]:
        fix(t.of(x)[d], f"{call.why}: its entries are taken together")
    for y in call.outs:
        kept = [y.shape[d] == x.shape[d] for d in range(x.ndim)]
        t.label(y, [t.of(x)[d] if kept[d] else [Axis(y.shape[d], call.why)] for d in range(x.ndim)])


@rule("roll")
def roll(t: Tracer, call: Call) -> None:
    """Move entries along dimensions, which must keep their sizes."""
    x = call.ins[0]
    for d in reduced(call, 2, x.ndim):
        fix(t.of(x)[d], f"{call.why}: its entries are moved")
    t.label(call.outs[0], t.of(x))


# ---- positions ----------------------------------------------------------------------------------


def _positions(t: Tracer, call: Call, leading: int) -> None:
    """Keep the leading dimensions; the others are positions, whose number changes."""
    x = call.ins[0]
    for y in call.outs:
        t.label(y, [*t.of(x)[:leading], *[[Axis(n, POSITION)] for n in y.shape[leading:]]])


@rule(
    "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "max_pool2d", "max_pool2d_with_indices",
    "avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
    "mkldnn_max_pool2d", "max_pool3d_with_indices", "avg_pool3d", "_adaptive_avg_pool3d",
)  # fmt: skip
def pool(t: Tracer, call: Call) -> None:
    """Pool over positions, channel by channel."""
    spatial = 1 if "1d" in call.name else 2 if "2d" in call.name else 3
    _positions(t, call, call.ins[0].ndim - spatial)


def upsample(t: Tracer, call: Call) -> None:
    """Interpolate positions, channel by channel."""
    _positions(t, call, 2)


# ---- pointwise ----------------------------------------------------------------------------------


def pointwise(t: Tracer, call: Call) -> None:
    """Combine elements at the same index; dimensions that are not broadcast are merged."""
    y = call.outs[0]
    in_place = any(y is x for x in call.ins) or t.known(y)
    dims: list[Dim | None] = list(t.of(y)) if in_place else [None] * y.ndim
    for d in range(1, y.ndim + 1):
        for x in call.ins:
            if x.ndim < d or x.shape[-d] != y.shape[-d] or y.shape[-d] == 1:
                continue
            known = dims[-d]
            if known is None:
                dims[-d] = t.of(x)[-d]
            else:
                same(known, t.of(x)[-d], call.why)
            t.role(x, x.ndim - d, "follow", call.why)
    t.label(y, [_or_new(dim, n) for dim, n in zip(dims, y.shape, strict=True)])
    for extra in call.outs[1:]:
        t.label(extra, t.of(y) if extra.shape == y.shape else new_axes(extra, call.why))
    if call.name in COPIES:
        t.derive(call.ins[0], y, list(range(y.ndim)))


def _or_new(dim: Dim | None, size: int) -> Dim:
    """Return `dim`, or a new dimension if it is None."""
    return dim if dim is not None else [] if size == 1 else [Axis(size)]

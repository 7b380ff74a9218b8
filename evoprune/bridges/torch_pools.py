"""Translate pools and means over positions of PyTorch to layers of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from evoprune.bridges.torch_values import Reader, Value, argument, each, refused, source

__all__ = ["adaptive_pool", "mean", "pool_function", "pool_module"]


def _pool(
    r: Reader, node: fx.Node, kind: str, size: Any, stride: Any, padding: Any, refuse: bool
) -> Value:
    x = r.pending(source(node))
    if not x.first:
        raise refused(node, "expected channels first")
    if refuse:
        raise refused(node, "expected a pool without dilation, ceil_mode or counted padding")
    spatial = len(x.shape) - 1
    pads = each(padding, spatial)
    config = {"size": each(size, spatial), "padding": pads}
    config["stride"] = config["size"] if stride in (None, []) else each(stride, spatial)
    everything = config["size"] == list(x.shape[:-1]) and not any(pads)
    if everything and _flattened(r, node):
        return _whole_pool(r, node, kind, x)
    channels, *positions = r.shape(node)
    return replace(x, name=r.add(node, kind, [x.name], config), shape=(*positions, channels))


def _flattened(r: Reader, node: fx.Node) -> bool:
    """True if a pool has one output position, and every reader drops the position axes.

    The readers are the operators that read the pool's output and return a tensor.
    """
    users = [u for u in node.users if isinstance(r.seen[u], torch.Tensor)]
    return bool(users) and all(r.shape(user) == r.shape(node)[:1] for user in users)


def _whole_pool(r: Reader, node: fx.Node, kind: str, x: Value) -> Value:
    name = r.add(node, kind, [x.name], {})
    whole = len(r.shape(node)) - 1
    return replace(x, name=name, shape=x.shape[-1:], first=False, whole=whole)


def pool_module(kind: str) -> Callable[[Reader, fx.Node], Value]:
    """Return the function that translates modules for pooling to layers of this kind."""

    def read(r: Reader, node: fx.Node) -> Value:
        m: Any = r.module(node)
        counted = kind == "mean_pool" and getattr(m, "count_include_pad", False)
        refuse = (
            getattr(m, "ceil_mode", False)
            or getattr(m, "return_indices", False)
            or getattr(m, "divisor_override", None) is not None
            or any(d != 1 for d in each(getattr(m, "dilation", 1), 1))
            or (counted and any(each(m.padding, 1)))
        )
        size = getattr(m, "kernel_size", None) or m.size
        return _pool(r, node, kind, size, m.stride, m.padding, bool(refuse))

    return read


def pool_function(kind: str) -> Callable[[Reader, fx.Node], Value]:
    """Return the function that translates calls of pooling functions to layers of this kind."""

    def read(r: Reader, node: fx.Node) -> Value:
        size, stride = (argument(r, node, 1, "kernel_size"), argument(r, node, 2, "stride"))
        padding = argument(r, node, 3, "padding", 0)
        more = [v for v in (*node.args[4:], *node.kwargs.values()) if isinstance(v, bool) and v]
        counted = kind == "mean_pool" and any(each(padding, 1))
        return _pool(r, node, kind, size, stride, padding, bool(more) or counted)

    return read


def adaptive_pool(kind: str, size: Callable[[Reader, fx.Node], Any]) -> Callable[..., Value]:
    """Return the function that translates adaptive pools to layers of this kind.

    It rejects pools with more than one output position. `size` reads the output size of a pool.
    """

    def read(r: Reader, node: fx.Node) -> Value:
        x = r.pending(source(node))
        wanted = each(size(r, node), 1)
        if any(n != 1 for n in wanted):
            raise refused(node, f"expected one window over everything, got an output of {wanted}")
        return _pool(r, node, kind, list(x.shape[:-1]), None, 0, False)

    return read


def mean(r: Reader, node: fx.Node) -> Value:
    """Translate a mean over all positions."""
    x = r.pending(source(node))
    rank = len(r.shape(source(node))) + 1
    over = argument(r, node, 1, "dim")
    over = sorted(d % rank for d in ([over] if isinstance(over, int) else over or []))
    if x.first and over == list(range(2, rank)):
        value = _whole_pool(r, node, "mean_pool", x)
        return replace(value, whole=len(r.shape(node)) - 1)
    if not x.first and over == [1] and x.merged == 1 and not argument(r, node, 2, "keepdim"):
        x = r.value(source(node))
        return Value(r.add(node, "take", [x.name], {"mean": True}), x.shape[1:])
    raise refused(node, f"expected a mean over all positions, got one over axes {over}")

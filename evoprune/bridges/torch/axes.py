"""Axes: find which dimensions of a model's tensors are the same feature dimension.

A shape is a list of axes. An axis may be a product of axes (heads x head dimension, channels x
positions after a flatten) or a sum of axes (a concatenation). Axes found to be the same are
merged (union-find). An axis that must keep its size is fixed, with the reason. This module does not
depend on operators or modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch

__all__ = [
    "Axis",
    "Dim",
    "coordinates",
    "cut",
    "factors",
    "fix",
    "free_axes",
    "merge",
    "product_axis",
    "regroup",
    "root",
    "same",
    "split",
    "sum_axis",
    "terms",
]


class Axis:
    """A feature dimension; one node of a union-find forest.

    Attributes:
        size: number of entries.
        parent: the axis it was merged into; None for a root.
        factors: the axes whose product it is, outermost first; empty if it is not a product.
        terms: the axes it concatenates, in order; empty if it is not a sum.
        fixed: why it must keep its size; "" if it may shrink.
    """

    __slots__ = ("factors", "fixed", "parent", "size", "terms")

    def __init__(self, size: int, fixed: str = "") -> None:
        self.size = size
        self.parent: Axis | None = None
        self.factors: list[Axis] = []
        self.terms: list[Axis] = []
        self.fixed = fixed

    @property
    def composed(self) -> bool:
        """True if the axis is a product or a sum of other axes."""
        return bool(self.factors or self.terms)


Dim: TypeAlias = list[Axis]
"""A dimension of a tensor: the product of these axes, outermost first; empty for size 1."""


def product_axis(parts: Sequence[Axis]) -> Axis:
    """Return one axis for the product of `parts`; a new axis unless there is exactly one part."""
    if len(parts) == 1:
        return parts[0]
    whole = Axis(math.prod(a.size for a in parts))
    whole.factors = list(parts)
    return whole


def sum_axis(parts: Sequence[Axis], fixed: str = "") -> Axis:
    """Return the concatenation of axes."""
    whole = Axis(sum(a.size for a in parts), fixed)
    whole.terms = list(parts)
    return whole


def root(axis: Axis) -> Axis:
    """Return the representative of all axes merged with this one."""
    while axis.parent is not None:
        axis = axis.parent
    return axis


def factors(dim: Dim) -> list[Axis]:
    """Expand a dimension into factors that are not products; leave out factors of size 1."""
    out: list[Axis] = []
    for axis in map(root, dim):
        if axis.factors:
            out += factors(axis.factors)
        elif axis.size != 1:
            out.append(axis)
    return out


def terms(axis: Axis) -> list[Axis]:
    """Expand an axis into terms that are not sums; return [axis] if it is not a sum."""
    axis = root(axis)
    return [part for term in axis.terms for part in terms(term)] if axis.terms else [axis]


def free_axes(dim: Dim) -> Iterator[Axis]:
    """Yield the axes in a dimension that are neither products nor sums, including fixed ones."""
    for axis in factors(dim):
        for term in terms(axis):
            if term is axis and not term.composed:
                yield term
            elif term is not axis:
                yield from free_axes([term])


def fix(dim: Dim, why: str) -> None:
    """Fix the size of a dimension and of all its parts; an existing reason is kept."""
    for axis in factors(dim):
        for term in axis.terms:
            fix([term], why)
        axis.fixed = axis.fixed or why


def merge(x: Axis, y: Axis, why: str) -> None:
    """Merge two axes of the same size; if both are sums, split both at the ends of all terms."""
    x, y = root(x), root(y)
    if x is y:
        return
    if x.terms and y.terms:
        left, right = terms(x), terms(y)
        while left and right:
            a, b = left.pop(0), right.pop(0)
            if a.size > b.size:
                a, rest = cut(a, [b.size, a.size - b.size], why)
                left.insert(0, rest)
            elif b.size > a.size:
                b, rest = cut(b, [a.size, b.size - a.size], why)
                right.insert(0, rest)
            same([a], [b], why)
        x, y = root(x), root(y)
        if x is y:
            return
    if y.composed:
        x, y = y, x
    y.parent = x
    if x.fixed or y.fixed:
        fix([x], x.fixed or y.fixed)


def split(axis: Axis, outer: int, inner: int, why: str) -> tuple[Axis, Axis]:
    """Split an axis into a product (outer, inner); return both.

    If the axis is a sum and a term of it cannot be split, the axis is fixed instead.
    """
    axis = root(axis)
    first, second = Axis(outer, axis.fixed), Axis(inner, axis.fixed)
    if axis.factors:
        same([axis], [first, second], why)
    elif not axis.terms:
        axis.factors = [first, second]
    elif all(term.size % inner == 0 for term in terms(axis)):
        halves = [
            split(t, t.size // inner, inner, why) if t.size > inner else (Axis(1), t)
            for t in terms(axis)
        ]
        first.terms = [half[0] for half in halves]
        for half in halves:
            same([half[1]], [second], why)
        axis.terms, axis.factors = [], [first, second]
    else:
        fix([axis], f"{why}: a concatenation is regrouped")
        fix([first, second], f"{why}: a concatenation is regrouped")
    return first, second


def cut(axis: Axis, sizes: Sequence[int], why: str) -> list[Axis]:
    """Split an axis into a sum of axes of the given sizes; return them."""
    axis = root(axis)
    if len(sizes) == 1:
        return [axis]
    if axis.factors:
        outer, *rest = factors([axis])
        inner = math.prod(a.size for a in rest)
        if all(size % inner == 0 for size in sizes):
            parts = cut(outer, [size // inner for size in sizes], why)
            return [product_axis([part, *rest]) for part in parts]
        fix([axis], f"{why}: cut across its factors")
        return [Axis(size, f"{why}: cut across its factors") for size in sizes]
    new = [Axis(size, axis.fixed) for size in sizes]
    if axis.terms:
        merge(axis, sum_axis(new, axis.fixed), why)
    else:
        axis.terms = new
    return new


def same(d: Dim, e: Dim, why: str) -> None:
    """Merge two dimensions of the same size, factor by factor; fix them if factors do not match."""
    left, right = factors(d), factors(e)
    while left and right:
        x, y = left.pop(0), right.pop(0)
        if x.size == y.size:
            merge(x, y, why)
        elif x.size % y.size == 0:
            outer, inner = split(x, y.size, x.size // y.size, why)
            left = factors([outer, inner]) + left
            right.insert(0, y)
        elif y.size % x.size == 0:
            outer, inner = split(y, x.size, y.size // x.size, why)
            right = factors([outer, inner]) + right
            left.insert(0, x)
        else:
            fix([x, y, *left, *right], f"{why}: the dimensions do not match")
            return


def regroup(dims: Sequence[Dim], sizes: Sequence[int], why: str) -> list[Dim]:
    """Return the dimensions of a view: the factors of `dims`, regrouped to the given sizes."""
    todo = factors([axis for dim in dims for axis in dim])
    out: list[Dim] = []
    for size in sizes:
        dim: Dim = []
        need = size
        while need > 1:
            axis = todo.pop(0)
            if need % axis.size == 0:
                dim.append(axis)
                need //= axis.size
            elif axis.size % need == 0:
                outer, inner = split(axis, need, axis.size // need, why)
                todo = factors([inner]) + todo
                dim.append(outer)
                need = 1
            else:
                across = f"{why}: a view across dimensions"
                fix([axis, *todo, *dim, *[a for d in out for a in d]], across)
                return [[Axis(n, across)] for n in sizes]
        out.append(dim)
    return out


def coordinates(dim: Dim, axis: Axis) -> torch.Tensor:
    """Return the position along `axis` of every entry of a dimension: int64 (size,).

    An entry that belongs to another axis, as in a concatenation, has position -1.
    """
    out: torch.Tensor | None = None
    for part in factors(dim):
        if part is root(axis):
            at = torch.arange(part.size)
        elif part.terms:
            at = torch.cat([coordinates([term], axis) for term in part.terms])
        else:
            at = torch.full((part.size,), -1)
        out = at if out is None else torch.maximum(out[:, None], at[None]).reshape(-1)
    return torch.full((1,), -1) if out is None else out

"""Views: rules of operators that rearrange, split or join tensors."""

from __future__ import annotations

import torch

from evoprune.bridges.torch.axes import Axis, Dim, cut, fix, product_axis, regroup, same, sum_axis
from evoprune.bridges.torch.operators import POSITION, new_axes, rule
from evoprune.bridges.torch.trace import Call, Tracer

__all__: list[str] = []


@rule("view", "_unsafe_view", "reshape", "_reshape_copy", "_reshape_alias", "unflatten", "flatten")
def view(t: Tracer, call: Call) -> None:
    """Regroup dimensions."""
    x, y = call.ins[0], call.outs[0]
    t.label(y, regroup(t.of(x), y.shape, call.why))
    # A view that only adds or removes dimensions of size 1 keeps the roles of the parameter.
    places: list[int | None] = []
    rest = [d for d in range(x.ndim) if x.shape[d] != 1]
    for size in y.shape:
        matches = bool(rest) and size != 1 and x.shape[rest[0]] == size
        places.append(rest.pop(0) if matches else None)
    plain = not rest and all(p is not None or n == 1 for p, n in zip(places, y.shape, strict=True))
    t.derive(x, y, places if plain else None)


@rule("expand")
def expand(t: Tracer, call: Call) -> None:
    """Repeat dimensions of size 1, or add leading dimensions."""
    x, y = call.ins[0], call.outs[0]
    more = y.ndim - x.ndim
    places: list[int | None] = [
        d - more if d >= more and x.shape[d - more] == y.shape[d] else None for d in range(y.ndim)
    ]
    t.label(
        y,
        [
            [Axis(n, f"{call.why}: it repeats one entry")] if p is None else t.of(x)[p]
            for p, n in zip(places, y.shape, strict=True)
        ],
    )
    t.derive(x, y, places)


@rule("permute", "t", "transpose", "numpy_T", "movedim")
def permute(t: Tracer, call: Call) -> bool | None:
    """Permute dimensions."""
    x, y = call.ins[0], call.outs[0]
    places: list[int | None] = list(range(x.ndim))
    if call.name == "permute":
        places = [d % x.ndim for d in call.args[1]]
    elif call.name in ("t", "numpy_T"):
        places.reverse()
    elif call.name == "transpose":
        i, j = call.args[1] % x.ndim, call.args[2] % x.ndim
        places[i], places[j] = places[j], places[i]
    else:
        return False
    t.label(y, [t.of(x)[p] for p in places if p is not None])
    t.derive(x, y, places)
    return None


@rule("unsqueeze", "squeeze", "select")
def squeeze(t: Tracer, call: Call) -> None:
    """Add a dimension of size 1, remove dimensions of size 1, or take one entry of a dimension."""
    x, y = call.ins[0], call.outs[0]
    places: list[int | None] = list(range(x.ndim))
    if call.name == "unsqueeze":
        places.insert(call.args[1] % y.ndim, None)
    elif call.name == "select":
        d = call.args[1] % x.ndim
        fix(t.of(x)[d], f"{call.why}: one entry of it is taken")
        t.role(x, d, "follow", call.why)
        places.pop(d)
    else:
        given = call.argument(1, "dim")
        dims = (
            list(range(x.ndim)) if given is None else [given] if isinstance(given, int) else given
        )
        gone = [d % x.ndim for d in dims if x.shape[d % x.ndim] == 1]
        places = [d for d in range(x.ndim) if d not in gone]
    t.label(y, [[] if p is None else t.of(x)[p] for p in places])
    t.derive(x, y, places)


def _with(dims: list[Dim], d: int, *new: Dim) -> list[Dim]:
    """Return `dims` with dimension d replaced by the dimensions `new`."""
    return [*dims[:d], *new, *dims[d + 1 :]]


@rule("unbind")
def unbind(t: Tracer, call: Call) -> None:
    """Split a dimension into its single entries."""
    x = call.ins[0]
    d = call.argument(1, "dim", 0) % x.ndim
    fix(t.of(x)[d], f"{call.why}: its entries are taken one by one")
    t.role(x, d, "follow", call.why)
    for y in call.outs:
        t.label(y, _with(t.of(x), d))
        t.derive(x, y, [i for i in range(x.ndim) if i != d])


@rule("split", "split_with_sizes", "chunk")
def split_rule(t: Tracer, call: Call) -> None:
    """Split a dimension into pieces."""
    x = call.ins[0]
    d = call.argument(2, "dim", 0) % x.ndim
    parts = cut(product_axis(t.of(x)[d]), [y.shape[d] for y in call.outs], call.why)
    for y, part in zip(call.outs, parts, strict=True):
        t.label(y, _with(t.of(x), d, [part]))
        t.derive(x, y, list(range(x.ndim)))


@rule("glu")
def glu(t: Tracer, call: Call) -> None:
    """Multiply the first half of a dimension by the sigmoid of its second half."""
    x, y = call.ins[0], call.outs[0]
    d = call.argument(1, "dim", -1) % x.ndim
    first, second = cut(product_axis(t.of(x)[d]), [y.shape[d]] * 2, call.why)
    same([first], [second], call.why)
    t.label(y, _with(t.of(x), d, [first]))


@rule("slice", "narrow")
def slice_rule(t: Tracer, call: Call) -> None:
    """Take a range of a dimension."""
    x, y = call.ins[0], call.outs[0]
    d = call.argument(1, "dim", 0) % x.ndim
    size = x.shape[d]
    start = call.argument(2, "start", 0) or 0
    start = min(size, max(0, start + size * (start < 0)))
    taken = y.shape[d]
    if call.name == "slice" and call.argument(4, "step", 1) != 1:
        fix(t.of(x)[d], f"{call.why}: it is taken in steps")
        t.label(y, _with(t.of(x), d, [Axis(taken, f"{call.why}: taken in steps")]))
        return
    if taken == size:
        t.label(y, t.of(x))
    else:
        sizes = [n for n in (start, taken, size - start - taken) if n]
        parts = cut(product_axis(t.of(x)[d]), sizes, call.why)
        t.label(y, _with(t.of(x), d, [parts[1 if start else 0]]))
    t.derive(x, y, list(range(x.ndim)))


@rule("cat", "concat", "stack")
def cat(t: Tracer, call: Call) -> None:
    """Join tensors along an existing dimension (cat) or a new one (stack)."""
    y = call.outs[0]
    tensors = [x for x in call.args[0] if x.numel()]
    d = call.argument(1, "dim", 0) % y.ndim
    first = t.of(tensors[0])
    for x in tensors[1:]:
        for i in range(x.ndim):
            if i != d or call.name == "stack":
                same(first[i], t.of(x)[i], call.why)
    for x in tensors:
        for i in range(x.ndim):
            t.role(x, i, "follow", call.why)
    if call.name == "stack":
        t.label(y, [*first[:d], [Axis(len(tensors), f"{call.why}: stacked")], *first[d:]])
    elif len(tensors) == 1:
        t.label(y, first)
    else:
        t.label(y, _with(first, d, [sum_axis([product_axis(t.of(x)[d]) for x in tensors])]))


@rule("constant_pad_nd")
def pad(t: Tracer, call: Call) -> None:
    """Add constant entries at both ends of dimensions; negative numbers remove entries."""
    x, y = call.ins[0], call.outs[0]
    dims = list(t.of(x))
    for i in range(len(call.args[1]) // 2):
        before, after = call.args[1][2 * i], call.args[1][2 * i + 1]
        d = x.ndim - 1 - i
        if before < 0 or after < 0:
            fix(t.of(x)[d], f"{call.why}: entries are removed")
            dims[d] = [Axis(y.shape[d], f"{call.why}: entries are removed")]
        elif before or after:
            ends = [Axis(n, "it is padding") for n in (before, after)]
            whole = [ends[0], product_axis(dims[d]), ends[1]]
            dims[d] = [sum_axis([a for a in whole if a.size])]
    t.label(y, dims)


@rule("index_select")
def index_select(t: Tracer, call: Call) -> None:
    """Select entries along one dimension."""
    x, y = call.ins[0], call.outs[0]
    d = call.args[1] % x.ndim
    fix(t.of(x)[d], f"{call.why}: its entries are looked up")
    for i in range(x.ndim):
        t.role(x, i, "follow", call.why)
    t.label(y, _with(t.of(x), d, [Axis(y.shape[d], f"{call.why}: looked up")]))


@rule("index")
def index(t: Tracer, call: Call) -> bool | None:
    """Select entries by index tensors in adjacent dimensions."""
    x, y = call.ins[0], call.outs[0]
    given = call.args[1]
    at = [i for i, indices in enumerate(given) if indices is not None]
    if at != list(range(at[0], at[-1] + 1)) or any(given[i].dtype == torch.bool for i in at):
        return False
    for i in at:
        fix(t.of(x)[i], f"{call.why}: its entries are looked up")
    for i in range(x.ndim):
        t.role(x, i, "follow", call.why)
    rank = max(given[i].ndim for i in at)
    new = new_axes(y, f"{call.why}: looked up")[at[0] : at[0] + rank]
    t.label(y, [*t.of(x)[: at[0]], *new, *t.of(x)[at[-1] + 1 :]])
    return None


@rule("pixel_shuffle")
def pixel_shuffle(t: Tracer, call: Call) -> None:
    """Turn blocks of channels into blocks of positions."""
    x, y = call.ins[0], call.outs[0]
    channel, block = Axis(y.shape[-3]), Axis(call.args[1] ** 2, POSITION)
    dims = t.of(x)
    same(dims[-3], [channel, block], call.why)
    t.label(y, [*dims[:-3], [channel], *[[Axis(n, POSITION)] for n in y.shape[-2:]]])

"""The matrix products of a training step of a network, and the ways to compute each.

The products are those of the living populations. A dense layer or a convolution has three: forward,
input gradient and weight gradient; a convolution multiplies its patches by its weights. Attention
has, for every head and sample, two products in the forward pass and four in the backward pass. They
cover all positions, even if attention is causal.
Dense layers that read the same value (queries, keys, values) may be joined to one product, and the
input gradient of a convolution may be a product of patches of dy. floor.py runs the fastest way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product as combinations
from math import log, prod
from typing import Any, NamedTuple

BY_ROWS, BY_COLUMNS, BY_ONE, BY_TIMES = range(4)
BLOCKS = (64, 128, 256, 512, 1024)  # approximate block lengths along the dimension `Work.cut`
WHOLE = 1 << 21  # maximum elements of the matrices of a product without blocks (cache size)


@dataclass(frozen=True)
class Product:
    """A matrix product `c` (m, n) = `a` (m, k) `b` (k, n); `a`, `b` and `c` are names of arrays.

    `turn_a` and `turn_b` are true if `a` and `b` are stored transposed. The product is computed
    `times` times on the same arrays, and added to `c` if `add`. With BY_TIMES every thread computes
    some of these repetitions, into its own `c`.
    """

    m: int
    n: int
    k: int
    a: str
    b: str
    c: str
    turn_a: bool = False
    turn_b: bool = False
    rows_are_samples: bool = False
    split: int = BY_ROWS
    times: int = 1
    add: bool = False


class Work(NamedTuple):
    """A matrix product c (m, n) = a (m, k) b (k, n) that a step computes `times` times.

    `every_way` yields the ways to compute it. The product may be split into blocks along the
    dimension `cut`, "m" or "k", or not at all if `cut` is "".
    """

    m: int
    n: int
    k: int
    times: int = 1
    cut: str = ""

    @property
    def macs(self) -> int:
        """Return the multiply-adds."""
        return self.m * self.n * self.k * self.times


class Stage(NamedTuple):
    """The products of one layer in a step: each phase has lists of products to choose from.

    The phases are forward, `back` (input gradient) and `gradient` (weight gradient).
    """

    forward: list[list[Work]]
    back: list[list[Work]]
    gradient: list[list[Work]]


def stages(net: Any, batch: int) -> list[Stage]:
    """Return the stages of a network with living populations only, in order."""
    facts = net.describe()
    sizes = {axis["name"]: axis["n"] for axis in facts["axes"]}
    axes = {tensor["name"]: tensor["axes"] for tensor in facts["tensors"]}
    # value -> whether the layer that computes it, or a layer before, has parameters
    learned: dict[str, bool] = {"input": False}
    outputs = {layer["name"]: layer["output"] for layer in facts["layers"]}
    dense: dict[tuple[str, int, int, int], list[str]] = {}  # (input, m, n, k) -> names of layers
    found: list[Stage] = []
    for layer in facts["layers"]:
        name, source = layer["name"], layer["inputs"][0]
        learned[name] = bool(layer["tensors"]) or any(learned[i] for i in layer["inputs"])
        if layer["kind"] == "attention":
            positions, heads, dims = (sizes[axis] for axis in layer["output"])
            found.append(_attention(positions, dims, batch * heads))
        elif layer["kind"] in ("dense", "conv2d"):
            of_w = axes[layer["tensors"][0]]
            out = _shared_end(of_w, layer["output"]) if layer["kind"] == "dense" else 1
            n = prod(sizes[axis] for axis in of_w[len(of_w) - out :])
            k = prod(sizes[axis] for axis in of_w[: len(of_w) - out])
            m = batch * round(layer["macs"] / (k * n))
            stage = _linear(m, n, k, 1, learned[source])
            if layer["kind"] == "dense":
                dense.setdefault((source, m, n, k), []).append(name)
            elif stage.back[0] and m == batch * prod(sizes[axis] for axis in outputs[source][:-1]):
                c = sizes[of_w[-2]]
                # Another way to compute dx: multiply patches of dy by the rearranged weights.
                stage.back.append([Work(m, c, k // c * n, cut="m")])
            found.append(stage)
    places = [layer["name"] for layer in facts["layers"] if layer["macs"]]
    for (source, m, n, k), names in dense.items():
        if len(names) > 1:  # one stage for all these layers, at the place of the first layer
            at = [places.index(name) for name in names]
            found[at[0]] = _linear(m, n, k, len(names), learned[source])
            for other in at[1:]:
                found[other] = Stage([[]], [[]], [[]])
    macs = sum(work.macs for stage in found for work in stage.forward[0])
    assert macs == round(net.macs * batch), (macs, net.macs * batch)
    return found


def _shared_end(of_w: list[str], of_y: list[str]) -> int:
    """Return the number of trailing axes that w and y have in common, at most len(of_w) - 1."""
    most = min(len(of_w) - 1, len(of_y))
    return next((i for i in range(most) if of_w[-1 - i] != of_y[-1 - i]), most)


def _linear(m: int, n: int, k: int, layers: int, back: bool) -> Stage:
    """Return the products of `layers` layers y (m, n) = x (m, k) w (k, n) with the same x.

    The products of the layers may be joined to one with layers * n columns. Without `back`, there
    is no input gradient.
    """
    ways = [(layers, n), (1, layers * n)] if layers > 1 else [(1, n)]
    return Stage(
        forward=[[Work(m, n, k, cut="m")] * many for many, n in ways],
        back=[[Work(m, k, n, cut="m")] * many for many, n in ways] if back else [[]],
        gradient=[[Work(k, n, m, cut="k")] * many for many, n in ways],
    )


def _attention(positions: int, dims: int, times: int) -> Stage:
    """Return the products of attention: s = q k', y = p v with p = softmax(s), and backward.

    Backward computes dp = dy v', dv = p' dy, dq = ds k and dk = ds' q. Here ' transposes; q, k, v
    and y are (positions, dims), and s and p are (positions, positions).
    """
    outer = Work(positions, positions, dims, times)
    inner = Work(positions, dims, positions, times)
    return Stage([[outer, inner]], [[outer, inner, inner, inner]], [[]])


def every_way(work: Work, threads: int) -> Iterator[Product]:
    """Yield every way in which floor.c can compute a product, if it may be the fastest."""
    m, n, k, times, cut = work
    turned = list(combinations((False, True), repeat=2)) if not cut else []
    if cut:  # activations are stored by sample; weights and their gradients may be transposed
        turned = [(False, False), (False, True)] if cut == "m" else [(True, False)]
    shapes = [(m, n, k)] if cut != "k" else [(m, n, k), (n, m, k)]
    for (m, n, k), (turn_a, turn_b) in combinations(shapes, turned):
        whole = Product(m, n, k, "a", "b", "c", turn_a, turn_b, cut != "k", times=times)
        if not cut:
            yield replace(whole, split=BY_TIMES)
            continue
        if m * k + k * n + m * n <= WHOLE:
            yield from (replace(whole, split=split) for split in _splits(threads))
        length = m if cut == "m" else k
        for block in _blocks(length, threads):
            part = {"m": block} if cut == "m" else {"k": block, "add": True}
            blocks = replace(whole, times=length // block, **part)
            yield replace(blocks, split=BY_TIMES)
            if cut == "k" and threads > 1:
                yield replace(blocks, split=BY_ROWS)
                yield replace(blocks, split=BY_COLUMNS)


def _splits(threads: int) -> tuple[int, ...]:
    return (BY_ROWS, BY_COLUMNS, BY_ONE) if threads > 1 else (BY_ROWS,)


def _blocks(length: int, threads: int) -> list[int]:
    """Return block lengths near BLOCKS that divide `length` into equally many blocks per thread."""
    fit = [b for b in range(16, length + 1) if length % b == 0 and length // b % threads == 0]
    near = {min(fit, key=lambda b: abs(log(b / wish))) for wish in BLOCKS} if fit else set()
    return sorted(near)

"""Arrangements of layers: sequences, branches, and shorthands for common groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from evoprune.common.renames import spelled
from evoprune.core.spec import Spec
from evoprune.nets.layers import Attention, BatchNorm, Conv2d, Dense, MaxPool, Populations
from evoprune.nets.plan import Activation, Layer, Node, Nodes, Plan

__all__ = ["Chain", "Flatten", "From", "Residual", "filters", "heads", "neurons"]


class Chain:
    """A sequence of nodes (layers or arrangements), each reading the previous one's output.

    A list among the nodes is a chain too.

    Raises:
        TypeError: an item is not a node; the message gives its index.
    """

    def __init__(self, *nodes: Nodes) -> None:
        self.nodes = tuple(
            node if _is_node(node) else _chain(node, at) for at, node in enumerate(nodes)
        )

    def build(self, plan: Plan, value: str) -> str:
        """Add every node, each reading the output of the previous one."""
        for node in self.nodes:
            value = node.build(plan, value)
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.nodes))})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.nodes))


@spelled
class Residual(Chain):
    """A residual branch: y = x + branch(x).

    A `Dense` or `Conv2d` in the branch that is given no size has the same output axes as x. The
    branch must end with these axes: `Residual(LayerNorm(), neurons(512), Dense())`.

    Args:
        nodes: the branch.
        shortcut: layers applied to x before the sum, if the branch changes the shape, as in
            `shortcut=Conv2d(64, 1, stride=2)`. The branch must then end with the shortcut's axes.
        name: name of the layer that computes the sum.
    """

    def __init__(
        self, *nodes: Nodes, shortcut: Nodes | None = None, name: str | None = None
    ) -> None:
        super().__init__(*nodes)
        self.shortcut = None if shortcut is None else Chain(shortcut)
        self.name = name

    def build(self, plan: Plan, value: str) -> str:
        """Add shortcut, branch and sum."""
        stream = value if self.shortcut is None else self.shortcut.build(plan, value)
        plan.streams.append(stream)
        branch = super().build(plan, value)
        plan.streams.pop()
        return plan.add("sum", [stream, branch], {}, self.name)

    def __repr__(self) -> str:
        parts = [*map(repr, self.nodes)]
        if self.shortcut is not None:
            parts.append(f"shortcut={self.shortcut!r}")
        return f"Residual({', '.join(parts)})"

    __hash__ = Chain.__hash__


@dataclass(frozen=True)
class Flatten:
    """Flatten a sample: the `Dense` or `neurons` after it reads all axes.

    No data is copied: this only sets which axes the dense layer contracts. When populations of
    earlier layers go extinct, they are removed from the dense layer's weights too.
    """

    def build(self, plan: Plan, value: str) -> str:
        """Mark `value` as flattened."""
        plan.flat.add(value)
        return value


@dataclass(frozen=True)
class From:
    """Continue from an earlier layer, given by name, instead of from the previous one."""

    name: str

    def build(self, plan: Plan, value: str) -> str:
        """Return the name of the layer to continue from."""
        del value
        known = ["input", *(layer["name"] for layer in plan.layers)]
        if self.name not in known:
            raise ValueError(f"From: no layer {self.name!r} so far; there are {', '.join(known)}")
        return self.name


# ---- shorthands ------------------------------------------------------------------------------


@spelled
def neurons(units: int, activation: Activation = "relu", *, name: str | None = None) -> Chain:
    """Make a layer of neurons, each a population: a linear map, then bias, activation and mass.

    Args:
        units: number of neurons born.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        name: name of the populations; the linear map is called name_in.
    """
    return Chain(
        Dense(units, gain=_gain(activation), name=name and f"{name}_in"),
        Populations(activation, name=name),
    )


@dataclass(frozen=True)
class _Filters:
    layers: tuple[tuple[Layer, str], ...]
    name: str | None

    def build(self, plan: Plan, value: str) -> str:
        name = self.name or plan.number("filters")
        for layer, suffix in self.layers:
            value = layer.build(plan, value, name + suffix)
        return value

    def __repr__(self) -> str:
        return f"filters({', '.join(repr(layer) for layer, _ in self.layers)})"


@spelled
def filters(
    number: int,
    kernel: int | Sequence[int],
    activation: Activation = "relu",
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] | None = None,
    norm: bool = False,
    pool: int | Sequence[int] | None = None,
    name: str | None = None,
) -> Node:
    """Make a layer of filters, each a population: convolution, then bias, activation and mass.

    Inputs are (height, width, channels) or (length, channels); outputs have `number` channels.

    Args:
        number: number of filters born.
        kernel: size of the window, one number or (height, width).
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        stride: distance between windows; 1 by default.
        padding: number of zeros beyond each edge; by default, enough to keep the size at stride 1.
        norm: use batch norm before the activation; its bias replaces that of the populations.
        pool: max pooling of this size before bias and activation. For a monotonic activation this
            gives the same result as pooling after it, at lower cost.
        name: name of the populations; filters1, ... by default. The other layers are called
            name_in, name_norm and name_pool.

    Raises:
        ValueError: pool with an activation that is not monotonic (gelu, silu); use MaxPool after
            the filters.
    """
    if pool is not None and activation in ("gelu", "silu"):
        raise ValueError(
            f"filters: {activation} is not monotonic; put MaxPool({pool}) after the filters"
        )
    window = Conv2d(number, kernel, gain=_gain(activation), stride=stride, padding=padding)
    layers: list[tuple[Layer, str]] = [(window, "_in")]
    if norm:
        layers.append((BatchNorm(), "_norm"))
    if pool is not None:
        layers.append((MaxPool(pool), "_pool"))
    layers.append((Populations(activation, bias=not norm), ""))
    return _Filters(tuple(layers), name)


@dataclass(frozen=True)
class _Heads:
    number: int
    dims: int
    causal: bool
    gain: float
    living_dims: bool
    name: str | None

    def build(self, plan: Plan, value: str) -> str:
        name = self.name or plan.number("heads")
        units = [self.number, self.dims]
        queries = Dense(units, gain=1.0).build(plan, value, f"{name}_queries")
        if self.living_dims:
            dims = Populations("identity", axis=-1, bias=False)
            queries = dims.build(plan, queries, f"{name}_dims")
        keys, values = (
            Dense(gain=1.0, inputs=queries).build(plan, value, f"{name}_{part}")
            for part in ("keys", "values")
        )
        attention = Attention(causal=self.causal, inputs=(keys, values))
        read = attention.build(plan, queries, f"{name}_attention")
        if self.living_dims:
            dims = Populations("identity", axis=-1, bias=False, shared=True)
            read = dims.build(plan, read, f"{name}_dims_read")
        living = Populations("identity", axis=-2, bias=False).build(plan, read, name)
        stream = plan.streams[-1] if plan.streams else value
        back = Dense(contract=2, gain=self.gain, inputs=stream)
        return back.build(plan, living, f"{name}_out")

    def __repr__(self) -> str:
        flags = {"causal": self.causal, "living_dims": self.living_dims}
        given = "".join(f", {name}=True" for name, on in flags.items() if on)
        return f"heads({self.number}, {self.dims}{given})"


@spelled
def heads(
    number: int,
    dims: int,
    *,
    causal: bool = False,
    gain: float = 1.0,
    living_dims: bool = False,
    name: str | None = None,
) -> Node:
    """Make a layer of multi-head attention in which each head is a population.

    Inputs and outputs are (positions, features). In a `Residual`, outputs have the axes of the
    residual's x; elsewhere, those of the inputs. A head owns its rows of the query, key and value
    maps and its columns of the output map; they are removed with the head.

    Args:
        number: number of heads born.
        dims: dimensions of a query, key and value.
        causal: let each position attend only to itself and earlier ones.
        gain: gain of the output map: its initial weights have the standard deviation
            gain / sqrt(number * dims).
        living_dims: make dimensions populations too, each with one mass for the queries, keys and
            values of all heads of the layer.
        name: name of the populations; heads1, ... by default. The other layers are called
            name_queries, name_keys, name_values, name_attention and name_out, and the dimensions
            name_dims.
    """
    return _Heads(number, dims, causal, gain, living_dims, name)


def _gain(activation: Activation) -> float:
    """Return the gain for an activation.

    Initial weights have the standard deviation gain / sqrt(fan in).
    """
    return 1.0 if activation in ("identity", "tanh", "sigmoid") else 2**0.5


def _is_node(thing: object) -> TypeGuard[Node]:
    return isinstance(thing, Node) and not isinstance(thing, type)


def _chain(nodes: Any, at: int) -> Chain:
    if isinstance(nodes, type) and issubclass(nodes, Spec):
        raise TypeError(f"layers[{at}]: expected {nodes.__name__}(...), got the class itself")
    if isinstance(nodes, str | bytes | dict) or not isinstance(nodes, Iterable):
        raise TypeError(f"layers[{at}]: expected a layer or a list of them, got {nodes!r}")
    try:
        return Chain(*nodes)
    except RecursionError:
        raise ValueError(f"layers[{at}]: expected layers, got a list that holds itself") from None

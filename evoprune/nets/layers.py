"""Layers and shorthands for common groups of layers.

A network is a list of nodes. A node adds one or more layers to a plan: it takes the name of the
value it reads and returns the name of its output. Nothing here computes, and layer kinds are known
only by their names and settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np

from evoprune.common.checks import whole
from evoprune.core.spec import Field, Spec, define

__all__ = [
    "Attention",
    "BatchNorm",
    "Chain",
    "Conv2d",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "From",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "MeanPool",
    "Node",
    "Patches",
    "Plan",
    "Populations",
    "Positions",
    "RMSNorm",
    "Residual",
    "Shortcut",
    "Sum",
    "Take",
    "Token",
    "filters",
    "heads",
    "neurons",
]


class Plan:
    """The layers of a network under construction, in order, in the form that the core takes.

    Attributes:
        layers: dicts with kind, name, inputs (names of earlier layers, or "input") and config.
        streams: values that the open residual branches are added to, innermost last. A `Dense` or
            `Conv2d` without a size takes its output axes from the last one.
        flat: flattened values: the next `Dense` contracts all their axes.
    """

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.streams: list[str] = []
        self.flat: set[str] = set()
        self._count: dict[str, int] = {}

    def number(self, prefix: str) -> str:
        """Return the next numbered name: "filters1", "filters2", ..."""
        self._count[prefix] = self._count.get(prefix, 0) + 1
        return f"{prefix}{self._count[prefix]}"

    def add(
        self, kind: str, inputs: Sequence[str], config: dict[str, Any], name: str | None = None
    ) -> str:
        """Add a layer and return its name: the given one, or kind and number ("dense2").

        Only layers without a given name are counted.

        Raises:
            ValueError: the name is taken, or a layer other than dense reads a flattened value.
        """
        if name is None:
            name = self.number(kind)
        if name == "input" or any(layer["name"] == name for layer in self.layers):
            raise ValueError(f"layers: the name {name!r} is taken; names must differ")
        config = dict(config)
        if inputs[0] in self.flat:
            if kind != "dense":
                raise ValueError(f"{name}: expected a dense layer behind Flatten, got {kind}")
            config["contract"] = 0
        self.layers.append({"kind": kind, "name": name, "inputs": list(inputs), "config": config})
        return name


@runtime_checkable
class Node(Protocol):
    """Part of a network: a layer or an arrangement of layers."""

    def build(self, plan: Plan, value: str) -> str:
        """Add layers that read `value`; return the name of their output."""


Nodes: TypeAlias = Node | Iterable[Any]


class Layer(Spec):
    """One layer of the core."""

    group = "layers"
    extra = (
        Field("name", "name", None, "name of the layer; kind and number if not given"),
        Field("inputs", "names", (), "names of earlier layers to read too, behind the one before"),
    )
    sized_by: str | None = None  # if this setting is absent, output axes are the stream's

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        if name == "inputs":
            if not isinstance(value, str | list | tuple):
                raise TypeError(f"inputs: expected names of layers (str), got {value!r}")
            names = (value,) if isinstance(value, str) else tuple(value)
            if not all(isinstance(one, str) and one for one in names):
                raise TypeError(f"inputs: expected names of layers (str), got {value!r}")
            return names
        if value is not None and (not isinstance(value, str) or not value):
            raise TypeError(f"{name}: expected the layer's name (str), got {value!r}")
        if value is not None and not value.isprintable():
            raise ValueError(f"{name}: expected a name of printable characters, got {value!r}")
        return value

    def _vector(self, name: str, value: Any) -> Any:
        """Return sizes as a checked list of integers."""
        field = self.fields[name]
        where = f"{type(self).__name__}: {name}"
        sizes = np.ravel(value).tolist()
        return [whole(where, size, int(field.low), int(field.high)) for size in sizes]

    def build(self, plan: Plan, value: str, name: str | None = None) -> str:
        """Add this layer, reading `value`; `name` is used if the layer has none."""
        config = self.config()
        inputs = [value, *self.settings["inputs"]]
        sized = not self.sized_by or config.get(self.sized_by) or config.get("depthwise")
        if not sized and len(inputs) == 1 and plan.streams:
            inputs.append(plan.streams[-1])
        return plan.add(self.kind, inputs, config, self.name or name)


Dense = define(Layer, "dense", "units")
Dense.sized_by = "units"
Conv2d = define(Layer, "conv2d", "filters", "kernel", name="Conv2d", kernel=(3,))
Conv2d.sized_by = "filters"
Populations = define(Layer, "populations", "activation")
Attention = define(Layer, "attention")
LayerNorm = define(Layer, "layer_norm")
RMSNorm = define(Layer, "rms_norm", name="RMSNorm")
BatchNorm = define(Layer, "batch_norm")
MaxPool = define(Layer, "max_pool", "size")
MeanPool = define(Layer, "mean_pool", "size")
Embedding = define(Layer, "embedding", "vocabulary", "units")
Positions = define(Layer, "positions")
Dropout = define(Layer, "dropout", "rate")
Sum = define(Layer, "sum")
Shortcut = define(Layer, "shortcut", "channels")
Token = define(Layer, "token")
Take = define(Layer, "take", "position")
Patches = define(Layer, "patches", "size")


# ---- arrangements of nodes -------------------------------------------------------------------


class Chain:
    """A sequence of nodes, each reading the output of the previous one. Nested lists are chains.

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


class Residual(Chain):
    """A residual branch: y = x + branch(x).

    A `Dense` or `Conv2d` of the branch without a size has the output axes of x. The last layer of a
    branch must have them: `Residual(LayerNorm(), neurons(512), Dense())`.

    Args:
        nodes: the branch.
        shortcut: replaces x in the sum where the branch changes its shape, as in
            `shortcut=Conv2d(64, 1, stride=2)`. The branch must then have the shortcut's axes.
        name: name of the sum.
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

    It copies nothing: it only sets the axes that the dense layer contracts. Populations that go
    extinct before it are removed from the dense layer's weights too.
    """

    def build(self, plan: Plan, value: str) -> str:
        """Mark `value` as flattened."""
        plan.flat.add(value)
        return value


@dataclass(frozen=True)
class From:
    """Continue from an earlier layer, by name, instead of the previous one: for branches."""

    name: str

    def build(self, plan: Plan, value: str) -> str:
        """Return the name of that layer."""
        del value
        known = ["input", *(layer["name"] for layer in plan.layers)]
        if self.name not in known:
            raise ValueError(f"From: no layer {self.name!r} so far; there are {', '.join(known)}")
        return self.name


# ---- shorthands ------------------------------------------------------------------------------


def neurons(units: int, activation: str = "relu", *, name: str | None = None) -> Chain:
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


def filters(
    number: int,
    kernel: int | Sequence[int],
    activation: str = "relu",
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
        raise ValueError(f"filters: {activation} may fall; put MaxPool({pool}) behind the filters")
    window = {"stride": stride, "padding": padding}
    given = {key: value for key, value in window.items() if value is not None}
    layers: list[tuple[Layer, str]] = [
        (Conv2d(number, kernel, gain=_gain(activation), **given), "_in")
    ]
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


def heads(
    number: int,
    dims: int,
    *,
    causal: bool = False,
    gain: float = 1.0,
    living_dims: bool = False,
    name: str | None = None,
) -> Node:
    """Make multi-head attention, each head a population, with the output axes of its input.

    Inputs are (positions, features). A head owns its rows of the query, key and value maps and its
    columns of the output map; they are removed with it.

    Args:
        number: number of heads born.
        dims: dimensions of a query, key and value.
        causal: let each position attend only to itself and earlier ones.
        gain: gain of the output map; its initial weights have deviation gain / sqrt(number * dims).
        living_dims: make dimensions populations too, each with one mass for the queries, keys and
            values of all heads of the layer.
        name: name of the populations; heads1, ... by default. The other layers are called
            name_queries, name_keys, name_values, name_attention and name_out, and the dimensions
            name_dims.
    """
    return _Heads(number, dims, causal, gain, living_dims, name)


def _gain(activation: str) -> float:
    """Return the gain of initial weights (deviation gain / sqrt(fan in)): sqrt(2) suits relu."""
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

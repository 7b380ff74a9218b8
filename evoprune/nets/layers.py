"""Layers, and what networks are written with: a line a kind, and sugar for what goes together.

A network is a list of nodes. A node adds one layer or several to a plan, reading a value by its
name and naming the value it leaves: that is all that `Chain` and the sugar need to know of each
other. Nothing here computes, and no kind is known beyond its name and settings.
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
    """A network being written down: the layers so far, in order, as the core takes them.

    Attributes:
        layers: dicts with kind, name, inputs (names of earlier layers, or "input") and config.
        streams: the values that the branches being written come back to, innermost last: a `Dense`
            or `Conv2d` without a size of its own takes its output axes from there.
        flat: values that the next `Dense` sums over whole.
    """

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.streams: list[str] = []
        self.flat: set[str] = set()
        self._count: dict[str, int] = {}

    def number(self, prefix: str) -> str:
        """The next name of its kind: "filters1", "filters2", ..."""
        self._count[prefix] = self._count.get(prefix, 0) + 1
        return f"{prefix}{self._count[prefix]}"

    def add(
        self, kind: str, inputs: Sequence[str], config: dict[str, Any], name: str | None = None
    ) -> str:
        """Add a layer and return its name: the given one, or kind and number ("dense2").

        Only layers without a name of their own are counted.

        Raises:
            ValueError: the name is taken, or what shall be flattened is not read by a dense layer.
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
    """Something that a network can be made of."""

    def build(self, plan: Plan, value: str) -> str:
        """Add layers that read `value`; return the name of the value they leave."""


Nodes: TypeAlias = Node | Iterable[Any]


class Layer(Spec):
    """One layer of the core."""

    group = "layers"
    extra = (
        Field("name", "name", None, "name of the layer; kind and number if not given"),
        Field("inputs", "names", (), "names of earlier layers to read too, behind the one before"),
    )
    sized_by: str | None = None  # without this setting, output axes are those of the stream

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        if name == "inputs":
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
        """Return sizes as whole numbers."""
        field = self.fields[name]
        where = f"{type(self).__name__}: {name}"
        sizes = np.ravel(value).tolist()
        return [whole(where, size, int(field.low), int(field.high)) for size in sizes]

    def build(self, plan: Plan, value: str, name: str | None = None) -> str:
        """Add this layer, reading `value`; `name` is for one that has none of its own."""
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


# ---- nodes that arrange others ---------------------------------------------------------------


class Chain:
    """Nodes one after the other; a list of nodes, nested as one likes, is taken for a chain.

    Raises:
        TypeError: something that is no node; its place is named.
    """

    def __init__(self, *nodes: Nodes) -> None:
        self.nodes = tuple(
            node if _is_node(node) else _chain(node, at) for at, node in enumerate(nodes)
        )

    def build(self, plan: Plan, value: str) -> str:
        """Add every node, each reading what the one before leaves."""
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
    """A branch of nodes, added to what it began from: y = x + branch(x).

    A `Dense` or `Conv2d` of the branch that is given no size comes back to the axes of x, which
    the last one of a branch must do: `Residual(LayerNorm(), neurons(512), Dense())`.

    Args:
        nodes: the branch.
        shortcut: what stands for x in the sum, where the branch changes its shape:
            `shortcut=Conv2d(64, 1, stride=2)`. The branch comes back to its axes.
        name: of the sum.
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
    """Everything in one row: the `Dense` or `neurons` behind it reads all axes of a sample.

    It costs nothing: only the dense layer knows of it, and what dies before it dies there too.
    """

    def build(self, plan: Plan, value: str) -> str:
        """Note that `value` is to be read whole."""
        plan.flat.add(value)
        return value


@dataclass(frozen=True)
class From:
    """Go on from an earlier layer, by its name, instead of the one before: for several branches."""

    name: str

    def build(self, plan: Plan, value: str) -> str:
        """Leave the value of that layer."""
        del value
        known = ["input", *(layer["name"] for layer in plan.layers)]
        if self.name not in known:
            raise ValueError(f"From: no layer {self.name!r} so far; there are {', '.join(known)}")
        return self.name


# ---- sugar -----------------------------------------------------------------------------------


def neurons(units: int, activation: str = "relu", *, name: str | None = None) -> Chain:
    """Make a layer of neurons, each a population: a linear map, then bias, activation and mass.

    Args:
        units: how many are born.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        name: the populations' name; the linear map is called name_in.
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

    Reads (height, width, channels), or (length, channels), and leaves it with `number` channels.

    Args:
        number: how many filters are born.
        kernel: size of the window, one number or height and width.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        stride: steps between windows; 1 if not given.
        padding: zeros beyond each edge; as many as keep the size if not given.
        norm: batch norm before the activation; its bias takes the place of the populations'.
        pool: the largest of windows of this size, before bias and activation: where the activation
            never falls that is the same as behind it, and cheaper.
        name: the populations' name (filters1, ... if not given); the others are called name_in,
            name_norm and name_pool.

    Raises:
        ValueError: pool with an activation that also falls (gelu, silu); put MaxPool behind.
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
    """Make multi-head attention, each head a population, coming back to the axes it reads.

    Reads (positions, features). A head is its rows of the maps to queries, keys and values and its
    columns of the map back; with it they all go.

    Args:
        number: how many heads are born.
        dims: dimensions of a query, key and value.
        causal: a position sees itself and those before it only.
        gain: of the map back; its weights begin with deviation gain / sqrt(number * dims).
        living_dims: let dimensions be populations too, each in all heads of the layer at once: of
            queries, keys and values, with one mass.
        name: the populations' name (heads1, ... if not given); the others are called name_queries,
            name_keys, name_values, name_attention and name_out, and the dimensions name_dims.
    """
    return _Heads(number, dims, causal, gain, living_dims, name)


def _gain(activation: str) -> float:
    """Initial weights have deviation gain / sqrt(fan in): sqrt(2) keeps signals through relu."""
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

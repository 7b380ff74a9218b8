"""Layers, and what networks are written with: a line a kind, and sugar for what goes together.

A network is a list of nodes. A node adds one layer or several to a plan, reading a value by its
name and naming the value it leaves: that is all that `Chain` and the sugar need to know of each
other. Nothing here computes, and no kind is known beyond its name and settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

from evoprune.spec import Field, Spec, define

__all__ = ["Chain", "Dense", "Layer", "Node", "Plan", "Populations", "neurons"]


class Plan:
    """A network being written down: the layers so far, in order, as the core takes them.

    Attributes:
        layers: dicts with kind, name, inputs (names of earlier layers, or "input") and config.
    """

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self._count: dict[str, int] = {}

    def add(
        self, kind: str, inputs: Sequence[str], config: dict[str, Any], name: str | None = None
    ) -> str:
        """Add a layer and return its name: the given one, or kind and number ("dense2").

        Only layers without a name of their own are counted.

        Raises:
            ValueError: the name is taken.
        """
        if name is None:
            self._count[kind] = self._count.get(kind, 0) + 1
            name = f"{kind}{self._count[kind]}"
        if name == "input" or any(layer["name"] == name for layer in self.layers):
            raise ValueError(f"layers: the name {name!r} is taken; names must differ")
        self.layers.append(
            {"kind": kind, "name": name, "inputs": list(inputs), "config": dict(config)}
        )
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
    extra = (Field("name", "name", None, "name of the layer; kind and number if not given"),)

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        if value is not None and (not isinstance(value, str) or not value):
            raise TypeError(f"{name}: expected the layer's name (str), got {value!r}")
        return value

    def build(self, plan: Plan, value: str) -> str:
        """Add this layer, reading `value`."""
        return plan.add(self.kind, [value], self.config(), self.name)


Dense = define(Layer, "dense", "units")
Populations = define(Layer, "populations", "activation")


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
        return f"Chain({', '.join(map(repr, self.nodes))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and self.nodes == other.nodes

    def __hash__(self) -> int:
        return hash(self.nodes)


def neurons(units: int, activation: str = "relu", *, name: str | None = None) -> Chain:
    """Make a layer of neurons, each a population: a linear map, then bias, activation and mass.

    Args:
        units: how many are born.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        name: the populations' name; the linear map is called name_in.
    """
    # Deviation gain / sqrt(fan in): sqrt(2) keeps the spread of signals through relu and its like.
    gain = 1.0 if activation in ("identity", "tanh", "sigmoid") else 2**0.5
    return Chain(
        Dense(units, gain=gain, name=name and f"{name}_in"), Populations(activation, name=name)
    )


def _is_node(thing: object) -> TypeGuard[Node]:
    return isinstance(thing, Node) and not isinstance(thing, type)


def _chain(nodes: Any, at: int) -> Chain:
    if isinstance(nodes, type) and issubclass(nodes, Spec):
        raise TypeError(f"layers[{at}]: expected {nodes.__name__}(...), got the class itself")
    if isinstance(nodes, str | bytes | dict) or not isinstance(nodes, Iterable):
        raise TypeError(f"layers[{at}]: expected a layer or a list of them, got {nodes!r}")
    return Chain(*nodes)

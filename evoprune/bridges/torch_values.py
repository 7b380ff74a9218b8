"""Build a network from a traced PyTorch module, operator by operator.

`Reader` collects the layers of the network, and the `Value` that each operator of the module
outputs. `Tables` holds the functions that translate single operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from evoprune.bridges.torch_axes import Axes
from evoprune.common.types import Array

__all__ = [
    "WHERE",
    "Read",
    "Reader",
    "Tables",
    "Value",
    "argument",
    "array_of",
    "each",
    "refused",
    "source",
]

WHERE = "from_torch"


@dataclass(frozen=True)
class Value:
    """The output of an operator as a value of the network.

    Attributes:
        name: name of the layer that computes it.
        shape: shape of a sample, (axes ...), features last.
        first: True if the module's value has channels first.
        merged: number of trailing axes of the network's value that form one axis in the module.
        order: True if the module merged these axes while channels came first.
        bias: bias of the projection that computed the value, not added yet; or None.
        whole: number of axes of size 1 (positions) in the module that the network's value lacks.
    """

    name: str
    shape: tuple[int, ...]
    first: bool = False
    merged: int = 1
    order: bool = False
    bias: Array | None = None
    whole: int = 0


Read: TypeAlias = "Callable[[Reader, fx.Node], Value]"


@dataclass(frozen=True)
class Tables:
    """The functions that translate operators to layers.

    Their keys are the module's type, the function or the name of the tensor method that the
    operator calls.
    """

    modules: Mapping[type[nn.Module], Read]
    functions: Mapping[Any, Read]
    methods: Mapping[str, Read]


class Reader:
    """The network being built: layers, their arrays, and values by node."""

    def __init__(
        self, traced: fx.GraphModule, seen: dict[fx.Node, Any], populations: bool, tables: Tables
    ) -> None:
        self.traced, self.seen, self.tables = traced, seen, tables
        self.layers: list[dict[str, Any]] = []
        self.arrays: dict[str, Array] = {}
        self.scaling: tuple[Array, Array] | None = None
        self.input: Value | None = None
        self.values: dict[fx.Node, Value] = {}
        self.axes = Axes(traced, seen)
        self.populations = populations
        self._taken = {"input"}

    def module(self, node: fx.Node) -> nn.Module:
        """Return the module that a node calls."""
        return self.traced.get_submodule(str(node.target))

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a node's output in the module, without the batch."""
        return tuple(self.seen[node].shape[1:])

    def name(self, node: fx.Node, suffix: str = "") -> str:
        """Return an unused name for a layer: the path of the module, or the operator's name."""
        wanted = str(node.target if node.op == "call_module" else node.name)
        wanted = wanted.removeprefix("layers.").replace(".", "_")
        wanted = found = f"layer{wanted}{suffix}" if wanted.isdigit() else f"{wanted}{suffix}"
        number = 1
        while found in self._taken:
            number += 1
            found = f"{wanted}_{number}"
        self._taken.add(found)
        return found

    def add(
        self, node: fx.Node, kind: str, inputs: list[str], config: dict[str, Any], suffix: str = "",
        **arrays: Array | None,
    ) -> str:  # fmt: skip
        """Add a layer; return its name."""
        name = self.name(node, suffix)
        self.layers.append({"kind": kind, "name": name, "inputs": inputs, "config": config})
        self.arrays |= {f"{name}.{key}": a for key, a in arrays.items() if a is not None}
        return name

    def value(self, node: fx.Node) -> Value:
        """Return the value of a node with its bias added; create it if needed."""
        value = self.pending(node)
        if value.bias is not None:
            config = {"activation": "identity", "mass": False}
            name = self.add(node, "populations", [value.name], config, "_bias", bias=value.bias)
            value = self.values[node] = replace(value, name=name, bias=None)
        return value

    def pending(self, node: fx.Node) -> Value:
        """Return the value of a node; its `bias` may still have to be added by a later layer."""
        if node not in self.values:
            read = self._operator(node)
            value = self.values[node] = read(self, node)
            if _torch_shape(value) != self.shape(node):
                raise refused(
                    node, f"gives {self.shape(node)} where {_torch_shape(value)} is known"
                )
            if value.bias is not None and len(node.users) > 1:
                value = self.value(node)
        return self.values[node]

    def _operator(self, node: fx.Node) -> Read:
        found: Any = None
        if node.op == "call_module":
            module = self.module(node)
            found = self.tables.modules.get(type(module))
            if found is None:
                raise refused(node, f"no layer for {type(module).__name__}")
        elif node.op == "call_function":
            found = self.tables.functions.get(node.target)
        elif node.op == "call_method":
            found = self.tables.methods.get(str(node.target))
        if found is None:
            raise refused(node, f"no layer for {node.op} of {node.target}")
        reader: Read = found
        return reader


def refused(node: fx.Node, why: str) -> ValueError:
    """Return an error about one operator."""
    where = node.target if node.op == "call_module" else node.name
    return ValueError(f"{WHERE}: {where}: {why}")


def _torch_shape(value: Value) -> tuple[int, ...]:
    """Return the shape that a value has in the PyTorch module, without the batch."""
    shape = value.shape
    if value.whole:
        return (*shape, *[1] * value.whole)
    if value.first:
        return (shape[-1], *shape[:-1])
    lead = len(shape) - value.merged
    return (*shape[:lead], prod(shape[lead:]))


def array_of(tensor: Tensor | None) -> Array | None:
    """Return a parameter as an array."""
    return None if tensor is None else tensor.detach().cpu().numpy()


def source(node: fx.Node) -> fx.Node:
    """Return the first input of an operator: the node that computes it."""
    return node.args[0] if node.args else node.all_input_nodes[0]


def argument(r: Reader, node: fx.Node, at: int, name: str, default: Any = None) -> Any:
    """Return an argument of a function, with nodes replaced by their results."""
    value = node.args[at] if len(node.args) > at else node.kwargs.get(name, default)
    return fx.node.map_arg(value, lambda n: r.seen[n])


def each(value: Any, count: int) -> list[int]:
    """Return sizes by axis as a list; a single number is repeated for each of `count` axes."""
    return [int(value)] * count if isinstance(value, int) else [int(v) for v in value]

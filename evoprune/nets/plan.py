"""Plans of networks, and the base class of layers.

A network is a list of nodes. A node adds one or more layers to a plan: it takes the name of the
value it reads and returns the name of its output. Nothing here computes, and layer kinds are known
only by their names and settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from evoprune.common.checks import whole
from evoprune.core.spec import Field, Spec

__all__ = ["Activation", "Layer", "Node", "Nodes", "Plan"]


class Plan:
    """The layers of a network under construction, in order, in the form that the core takes.

    Attributes:
        layers: dicts with kind, name, inputs (names of earlier layers, or "input") and config.
        streams: values that the residual branches under construction are added to, innermost last.
            A `Dense` or `Conv2d` without a size takes its output axes from the last value.
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
                raise ValueError(f"{name}: expected a dense layer after Flatten, got {kind}")
            config["contract"] = 0
        self.layers.append({"kind": kind, "name": name, "inputs": list(inputs), "config": config})
        return name


@runtime_checkable
class Node(Protocol):
    """Part of a network: a layer or an arrangement of layers."""

    def build(self, plan: Plan, value: str) -> str:
        """Add layers that read `value`; return the name of their output."""


Nodes: TypeAlias = Node | Iterable[Any]

Activation: TypeAlias = Literal["identity", "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"]


class Layer(Spec):
    """One layer of the core."""

    group = "layers"
    extra = (
        Field("name", "name", None, "name of the layer; kind and number if not given"),
        Field(
            "inputs", "names", (), "names of earlier layers to read as well, after the previous one"
        ),
    )
    home = "evoprune.nets.layers"

    if TYPE_CHECKING:

        @property
        def name(self) -> str | None:
            """Name of the layer; None to name it by kind and number, such as "dense2"."""

        @property
        def inputs(self) -> tuple[str, ...]:
            """Names of earlier layers that this layer also reads."""

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
        # `sizes` is the name of the setting for the output size. If that is not given, the layer
        # takes its output axes from the innermost residual branch, plan.streams[-1].
        sizes = self.facts["sizes"]
        sized = not sizes or config.get(sizes) or config.get("depthwise")
        if not sized and len(inputs) == 1 and plan.streams:
            inputs.append(plan.streams[-1])
        return plan.add(self.kind, inputs, config, self.name or name)

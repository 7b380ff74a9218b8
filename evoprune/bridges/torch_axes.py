"""Which operators of a traced module share one axis of features, and which can have populations.

Operators that work feature by feature keep the axis of their input, a projection makes a new one,
and a sum merges the axes of its inputs. In an evoprune network, the first projection that
writes an axis, or a parameter-free shortcut, creates it; other projections that write the same axis
must refer to it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from evoprune.bridges import torch_modules as own

__all__ = ["ACTIVATIONS", "ADD", "Axes"]

ADD = (operator.add, operator.iadd, torch.add)
PHI_MODULES = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}
PHI_FUNCTIONS = {
    functional.relu: "relu",
    torch.relu: "relu",
    functional.leaky_relu: "leaky_relu",
    functional.gelu: "gelu",
    functional.silu: "silu",
    torch.tanh: "tanh",
    functional.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
}
PHI_METHODS = {"relu": "relu", "relu_": "relu", "tanh": "tanh", "sigmoid": "sigmoid"}
ACTIVATIONS = (PHI_MODULES, PHI_FUNCTIONS, PHI_METHODS)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
# Operators that map a feature of zeros to zeros.
KEEP_ZERO = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten,
    nn.Dropout, nn.Identity, own.FeaturesLast, own.ChannelsFirst, own.MeanPool, own.Take,
)  # fmt: skip
KEEP_ZERO_FUNCTIONS = (
    functional.max_pool1d, functional.max_pool2d, functional.avg_pool1d, functional.avg_pool2d,
    functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d, functional.dropout,
    torch.flatten, torch.mean,
)  # fmt: skip
KEEP_ZERO_METHODS = ("flatten", "view", "reshape", "mean", "contiguous")
# Modules whose second axis is the channels; in modules of LAST, the last axis is the channels.
IMAGES = (
    *CONVOLUTIONS, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.BatchNorm1d,
    nn.BatchNorm2d, nn.BatchNorm3d, own.Shortcut, own.FeaturesLast, own.MeanPool, nn.ZeroPad1d,
    nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d,
)  # fmt: skip

LAST = (
    nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, own.ChannelsFirst, own.FoundedNorm,
    own.Patches, own.Positions, own.Take, own.Token,
)  # fmt: skip


class Axes:
    """The axes of features of a traced module.

    Args:
        traced: the module.
        seen: the result of every node for one sample.
    """

    def __init__(self, traced: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
        self.traced, self.seen = traced, seen
        self._of: dict[fx.Node, fx.Node] = {}
        self.nodes = [n for n in traced.graph.nodes if isinstance(seen.get(n), torch.Tensor)]
        for node in self.nodes:
            self._of[node] = node
            reads = self.reads(node)
            if self.phi(node) is None and (self.founds(node) or not reads):
                continue
            for source in reads:
                self._of[self.axis(source)] = self.axis(node)

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls, or None."""
        return self.traced.get_submodule(node.target) if node.op == "call_module" else None

    def reads(self, node: fx.Node) -> list[fx.Node]:
        """Return the tensors that a node reads."""
        return [n for n in node.all_input_nodes if n in self._of]

    def axis(self, node: fx.Node) -> fx.Node:
        """Return the representative of the axis of a node's output."""
        while self._of[node] is not node:
            node = self._of[node]
        return node

    def phi(self, node: fx.Node) -> str | None:
        """Return the name of the activation of a node, or None."""
        if node.op == "call_module":
            return PHI_MODULES.get(type(self.module(node)))
        if node.op == "call_method":
            return PHI_METHODS.get(str(node.target))
        return PHI_FUNCTIONS.get(node.target) if node.op == "call_function" else None

    def projects(self, node: fx.Node) -> bool:
        """True if a node's features are sums over its input's features, or rows of a table."""
        module = self.module(node)
        if isinstance(module, CONVOLUTIONS):
            return int(module.groups) == 1
        return isinstance(module, nn.Linear | nn.Embedding)

    def founds(self, node: fx.Node) -> bool:
        """True if a node can create an axis of features."""
        return self.projects(node) or self.shortcut(node)

    def shortcut(self, node: fx.Node) -> bool:
        """True if a node does what a shortcut does: pick positions, or add channels of zeros."""
        if isinstance(self.module(node), own.Shortcut):
            return True
        if node.op != "call_function":
            return False
        picks = node.target is operator.getitem and strided(node) is not None
        return picks or node.target is functional.pad

    def members(self, node: fx.Node) -> Iterator[fx.Node]:
        """Return the nodes that share the axis of a node."""
        axis = self.axis(node)
        return (other for other in self.nodes if self.axis(other) is axis)

    def founder(self, node: fx.Node) -> fx.Node | None:
        """Return the node that creates a projection's axis; None if the projection creates it."""
        members = [n for n in self.members(node) if n.op == "placeholder" or self.founds(n)]
        members = [n for n in members if not self._feeds_pad(n)]
        shortcuts = [n for n in members if n.op == "placeholder" or self.shortcut(n)]
        first = (shortcuts or members)[0]
        return None if first is node else first

    def _feeds_pad(self, node: fx.Node) -> bool:
        return node.target is operator.getitem and all(
            user.target is functional.pad for user in node.users
        )

    def units(self, node: fx.Node) -> tuple[int, ...]:
        """Return the sizes of the axes that a linear map writes: (heads, dims) or (features,)."""
        for member in self.members(node):
            module = self.module(member)
            if isinstance(module, own.Attention):
                return module.heads, module.dims
        for user in node.users:
            module = self.module(user)
            if isinstance(module, nn.Unflatten) and len(node.users) == 1:
                return tuple(module.unflattened_size)
        return (int(self.module(node).out_features),)

    def channels_first(self, node: fx.Node) -> bool:
        """True if the channels are the second axis of a value with several axes, not the last."""
        found = self._channels_first(node)
        return bool(self.seen[node].dim() == 4 if found is None else found)

    def _channels_first(self, node: fx.Node) -> bool | None:
        """True if the readers of a value have channels second, False if last; None if unknown."""
        for user in node.users:
            module = self.module(user)
            if isinstance(module, IMAGES) or self.shortcut(user):
                return True
            if isinstance(module, LAST):
                return False
            if user in self._of and self.seen[user].shape == self.seen[node].shape:
                found = self._channels_first(user)
                if found is not None:
                    return found
        return None

    def lives(self, node: fx.Node) -> bool:
        """True if the features of an activation, or the heads of attention, can be populations.

        One projection must write the features. All nodes that read them must come after the
        activation, and the operators in between must map zeros to zeros.
        """
        members = list(self.members(node))
        writers = [n for n in members if n.op == "placeholder" or self.founds(n)]
        heads = isinstance(self.module(node), own.Attention)
        if not heads and (len(writers) != 1 or not self.projects(writers[0])):
            return False
        if isinstance(self.module(writers[0]), nn.Embedding):
            return False
        for member in members:
            for user in member.users:
                if user.op == "output":
                    return False
                inside = user in self._of and self.axis(user) is self.axis(node)
                if not inside and not self._after(member, node):
                    return False
        return True

    def _after(self, node: fx.Node, activation: fx.Node) -> bool:
        """True if all operators from the activation to a node map zeros to zeros."""
        while node is not activation:
            module, reads = self.module(node), self.reads(node)
            keeps = (
                isinstance(module, KEEP_ZERO)
                or node.target in KEEP_ZERO_FUNCTIONS
                or (node.op == "call_method" and node.target in KEEP_ZERO_METHODS)
            )
            if not keeps or len(reads) != 1:
                return False
            node = reads[0]
        return True


def strided(node: fx.Node) -> tuple[int, ...] | None:
    """Return the steps (a, b) of a node x[:, :, ::a, ::b]; None for any other node."""
    index = node.args[1] if len(node.args) > 1 else None
    if not isinstance(index, tuple) or len(index) < 3:
        return None
    if not all(isinstance(i, slice) and i.start in (None, 0) and i.stop is None for i in index):
        return None
    steps = tuple(1 if i.step is None else int(i.step) for i in index if isinstance(i, slice))
    return steps[2:] if steps[:2] == (1, 1) else None

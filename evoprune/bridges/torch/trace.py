"""Trace: run a model and find which dimensions of its parameters are the same axis.

A dispatch mode intercepts every operator below autograd, where only a few kinds of operators
remain; operators.py has a rule for each kind. An operator without a rule fixes every axis that it
touches.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evoprune.bridges.torch.axes import Axis, Dim, fix

__all__ = [
    "Call",
    "Slot",
    "Tracer",
    "drop_caches",
    "evaluating",
    "outputs",
    "run",
    "samples_of",
    "trace",
]

INPUT = "it is a dimension of an input or a constant"


@dataclass(eq=False)
class Slot:
    """A parameter or buffer, and how operators use each of its dimensions (its roles).

    Attributes:
        name: as in `model.named_parameters()`.
        dims: one axis per dimension.
        roles: one set per dimension: "read" (summed over in a product), "write" (kept by the
            product), "follow" (elementwise), "kernel" (a position in a kernel).
        macs: multiply-adds per element of the tensor, in a forward pass of the example.
    """

    name: str
    tensor: torch.Tensor
    dims: list[Axis]
    roles: list[set[str]] = field(default_factory=list)
    macs: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call of an operator, as passed to a rule.

    Attributes:
        op: the overload, such as aten.mm.default.
        name: the operator's name without overload, such as "mm".
        why: text that names the operator and the module that calls it, for messages.
        ins, outs: tensors among arguments and results.
    """

    op: Any
    name: str
    why: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    ins: list[torch.Tensor]
    outs: list[torch.Tensor]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return a positional or keyword argument."""
        if len(self.args) > place:
            return self.args[place]
        return self.kwargs.get(name, default)


class Tracer(TorchDispatchMode):
    """Labels every tensor of a forward pass with its axes.

    Attributes:
        slots: the Slot of each parameter and buffer, by id() of the tensor.
        modules: names of the modules whose forward is running, outermost first.
        unknown: name of an operator -> "" if it has no rule, or the error of its rule.
        counting: True while multiply-adds are counted.
        recurrent: recurrent layers, with the reason why they keep their size.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.slots: dict[int, Slot] = {}
        self.modules = ["the model"]
        self.unknown: dict[str, str] = {}
        self.counting = True
        self.recurrent: dict[str, str] = {}
        self._labels: dict[int, tuple[torch.Tensor, list[Dim]]] = {}
        self._origins: dict[int, tuple[Slot, list[int | None] | None]] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            axes = [Axis(n) for n in tensor.shape]
            slot = Slot(name, tensor, axes, [set() for _ in axes])
            self.slots[id(tensor)] = slot
            self.label(tensor, [[axis] for axis in axes])
            self._origins[id(tensor)] = (slot, list(range(tensor.ndim)))
        for name, module in model.named_modules():
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                self._fix_state(_title(name, module), module)

    def _fix_state(self, title: str, module: nn.Module) -> None:
        """Fix all axes of a recurrent layer except that of its input."""
        why = f"{title}: the state of a recurrent layer is also its input, so it keeps its size"
        self.recurrent[title] = why
        for name, parameter in module.named_parameters(recurse=False):
            dims = self.slots[id(parameter)].dims
            fix(dims[:1] if name.startswith("weight_ih") else dims, why)

    # ---- labels

    def label(self, tensor: torch.Tensor, dims: list[Dim]) -> None:
        """Set the dimensions of a tensor. Keeps the tensor, so that its id stays unique."""
        self._labels[id(tensor)] = (tensor, dims)

    def of(self, tensor: torch.Tensor) -> list[Dim]:
        """Return the dimensions of a tensor; an unknown tensor gets new dimensions, all fixed."""
        if id(tensor) not in self._labels:
            self.label(tensor, [[Axis(n, INPUT)] for n in tensor.shape])
        return self._labels[id(tensor)][1]

    def known(self, tensor: torch.Tensor) -> bool:
        """True if a tensor has labels."""
        return id(tensor) in self._labels

    def is_parameter(self, tensor: torch.Tensor) -> bool:
        """True if a tensor is a parameter, a buffer or a view of one."""
        return id(tensor) in self._origins

    def role(self, tensor: torch.Tensor, dim: int, role: str, why: str) -> None:
        """Add `role` to the roles of a parameter's dimension; see `Slot.roles`.

        Args:
            tensor: the parameter or a view of it; any other tensor is ignored.
            dim: the dimension of `tensor`.
            role: the role.
            why: reason to fix all axes of the parameter if it has no such dimension.
        """
        if id(tensor) not in self._origins:
            return
        slot, places = self._origins[id(tensor)]
        place = None if places is None else places[dim]
        if place is not None:
            slot.roles[place].add(role)
        elif tensor.shape[dim] != 1:
            for axis in slot.dims:
                fix([axis], f"{why}: {slot.name} is used through a view")

    def derive(
        self, source: torch.Tensor, view: torch.Tensor, places: Sequence[int | None] | None
    ) -> None:
        """Record that dimension d of `view` is dimension places[d] of `source`; None: it is new."""
        if id(source) not in self._origins:
            return
        slot, before = self._origins[id(source)]
        after = None
        if before is not None and places is not None:
            after = [None if place is None else before[place] for place in places]
        self._origins[id(view)] = (slot, after)

    def count(self, weight: torch.Tensor, macs: float) -> None:
        """Add `macs` multiply-adds to those of a parameter; `weight` is it or a view of it."""
        if self.counting and id(weight) in self._origins:
            slot = self._origins[id(weight)][0]
            slot.macs += macs / max(1, slot.tensor.numel())

    # ---- dispatch

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and label its results."""
        from evoprune.bridges.torch.operators import apply_rule

        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outs = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        if not outs:
            return result
        ins = [t for t in tree_leaves((args, dict(kwargs))) if isinstance(t, torch.Tensor)]
        name = func.overloadpacket.__name__
        why = f"{name} in {self.modules[-1]}"
        try:
            done = apply_rule(self, Call(func, name, why, args, kwargs, ins, outs))
            for tensor in outs:
                sizes = [math.prod(axis.size for axis in dim) for dim in self.of(tensor)]
                if sizes != list(tensor.shape):
                    raise ValueError(f"the rule gives {sizes} for {list(tensor.shape)}")
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The rule does not support this call: treat it as unknown, so that nothing it touches
            # evolves.
            self.unknown[name] = f"{type(error).__name__}: {error}"
            done = False
        if not done:
            self.unknown.setdefault(name, "")
            reason = self.recurrent.get(self.modules[-1], f"{why} has no rule")
            for tensor in ins:
                for dim in self.of(tensor):
                    fix(dim, reason)
            for tensor in outs:
                self.label(tensor, [[Axis(n, reason)] for n in tensor.shape])
        return result


def _title(name: str, module: nn.Module) -> str:
    """Return the name and class of a module, for messages."""
    return f"{name or 'the model'} ({type(module).__name__})"


# ---- running a model ----------------------------------------------------------------------------


def run(model: nn.Module, example: Any) -> Any:
    """Call a model: a dict gives keyword arguments, a tuple or list positional ones."""
    if isinstance(example, Mapping) and all(isinstance(key, str) for key in example):
        return model(**example)
    return model(*example) if isinstance(example, tuple | list) else model(example)


def samples_of(example: Any) -> int:
    """Return the number of samples in an example: the first size of its first tensor."""
    found = [t for t in outputs(example) if t.ndim]
    return max(1, found[0].shape[0]) if found else 1


def outputs(result: Any) -> list[torch.Tensor]:
    """Return all tensors in the result of a model: a tensor, or nested tuples, lists and dicts."""
    found = result.to_tuple() if hasattr(result, "to_tuple") else result
    if isinstance(found, Mapping):
        found = dict(found)
    return [t for t in tree_leaves(found) if isinstance(t, torch.Tensor)]


def drop_caches(model: nn.Module) -> None:
    """Make modules drop what they cache in evaluation mode; their modes stay the same.

    A cache, for example of attention biases, was computed from weights that have changed since.
    Modules drop their caches when they are put into training mode.
    """
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module, training in modes.items():
        module.training = training


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; restore modes and random state afterwards.

    Fused attention paths and compiled forwards are disabled.
    """
    modes = {module: module.training for module in model.modules()}
    compiled = {m: m._compiled_call_impl for m in model.modules() if m._compiled_call_impl}
    fast = torch.backends.mha.get_fastpath_enabled()
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(d.index or 0 for d in devices)):
        model.train()
        model.eval()
        for module in compiled:
            module._compiled_call_impl = None
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for module, call in compiled.items():
                module._compiled_call_impl = call
            model.train()  # also drops caches, see drop_caches
            for module, training in modes.items():
                module.training = training


def trace(model: nn.Module, example: Any) -> Tracer:
    """Run a model on an example; return the axes and roles of parameters as `slots` of a Tracer.

    A model in training mode runs twice: in evaluation mode; then in training mode, except for its
    norms, to reach parts that are used only in training (auxiliary heads). Modes, buffers and
    random state are restored.
    """
    tracer = Tracer(model)
    modes = {module: module.training for module in model.modules()}
    handles = []

    def leave(*_: Any) -> None:
        tracer.modules.pop()

    for name, module in model.named_modules():

        def enter(_module: nn.Module, _args: Any, label: str = _title(name, module)) -> None:
            tracer.modules.append(label)

        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]
    results = []
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad(), evaluating(model):
            with tracer:
                results.append(_first(model, example))
            if any(modes.values()):
                for module, training in modes.items():
                    norm = isinstance(module, nn.modules.batchnorm._NormBase)
                    module.training = training and not norm
                tracer.counting = False
                with tracer:
                    results.append(run(model, example))
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
    finally:
        for handle in handles:
            handle.remove()
    for tensor in outputs(results):
        for dim in tracer.of(tensor):
            fix(dim, "it is an output of the model")
    return tracer


def _first(model: nn.Module, example: Any) -> Any:
    """Run a model on an example for the first time.

    Raises:
        TypeError, ValueError: the model cannot take the example.
    """
    try:
        return run(model, example)
    except (TypeError, RuntimeError, AttributeError, IndexError) as error:
        kind = TypeError if isinstance(error, TypeError | AttributeError) else ValueError
        raise kind(
            f"example: expected inputs of one forward pass, got an error: {error}"
        ) from error

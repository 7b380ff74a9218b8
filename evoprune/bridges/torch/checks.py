"""Check that selection supports a model and its optimizers; raise clear errors if not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.populations import Piece, Population

__all__ = [
    "call_closure",
    "excluded",
    "no_capture",
    "parameters",
    "plain_optimizers",
    "same_parameters",
    "same_shapes",
    "trained_parameters",
    "unwrap",
]


def unwrap(model: nn.Module) -> tuple[nn.Module, DistributedDataParallel | None]:
    """Return the module without wrappers, and its DistributedDataParallel if there is one."""
    ddp = None
    while True:
        if isinstance(model, DistributedDataParallel):
            ddp, model = model, model.module
        elif isinstance(model, DataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model, ddp


def parameters(model: nn.Module) -> None:
    """Check the parameters of a model.

    Raises:
        Unsupported: the model is compiled by TorchScript, or its parameters are sharded, in half
            precision, on several devices or not yet initialized.
    """
    if not isinstance(model, nn.Module):
        raise Unsupported(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise Unsupported(
            "model: expected a module of Python, got a ScriptModule, whose sizes are compiled; "
            "select before torch.jit.script"
        )
    for module in model.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise Unsupported(
                "model: expected whole parameters, got FullyShardedDataParallel; use "
                "DistributedDataParallel, or select before sharding"
            )
    devices = set()
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "device_mesh"):
            raise Unsupported(
                f"{name}: expected a whole parameter, got a DTensor (FSDP2 or tensor parallel); "
                "use DistributedDataParallel, or select before sharding"
            )
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise Unsupported(f"{name}: expected an initialized parameter; run the model once")
        if parameter.dtype in (torch.float16, torch.bfloat16):
            raise Unsupported(
                f"{name}: expected float32 or float64, got {parameter.dtype}; keep parameters in "
                "float32 and use torch.autocast"
            )
        devices.add(parameter.device)
    if not devices:
        raise Unsupported("model: expected parameters, got none")
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise Unsupported(f"model: expected all parameters on one device, got {names}")


def plain_optimizers(optimizer: Any) -> list[torch.optim.Optimizer]:
    """Return the optimizers, without wrappers such as those of accelerate and Lightning.

    Raises:
        Unsupported: an object is not an optimizer, or it is an LBFGS.
    """
    found = []
    for each in optimizer if isinstance(optimizer, list | tuple) else [optimizer]:
        while isinstance(getattr(each, "optimizer", None), torch.optim.Optimizer):
            each = each.optimizer
        if not isinstance(each, torch.optim.Optimizer):
            got = type(each).__name__
            raise Unsupported(f"optimizer: expected a torch.optim.Optimizer, got {got}")
        if isinstance(each, torch.optim.LBFGS):
            raise Unsupported(
                "optimizer: expected one that updates the weights once per step, got LBFGS, which "
                "evaluates the loss several times in a step"
            )
        found.append(each)
    if not found:
        raise Unsupported("optimizer: expected at least one, got none")
    return found


def trained_parameters(optimizers: Iterable[torch.optim.Optimizer]) -> set[int]:
    """Return the ids of all parameters that are trained."""
    return {
        id(parameter)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    }


def excluded(
    population: Population,
    include: Iterable[str] | None,
    fixed: Iterable[str],
    trained: Collection[int],
) -> str:
    """Return the reason why an axis of populations may not evolve; "" if it may."""
    name = population.name.partition("#")[0]

    def within(names: Iterable[str]) -> bool:
        return any(name == n or name.startswith(f"{n}.") or not n for n in names)

    if include is not None and not within(include):
        return "it is not in include="
    if within(fixed):
        return "it is in fixed="
    for slot, _ in population.readers:
        if id(slot.tensor) not in trained:
            return f"{slot.name} reads it and no optimizer trains it"
    return ""


def call_closure(
    optimizer: torch.optim.Optimizer,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    undo: Callable[[], None],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Evaluate an optimizer step's closure before the step, while weights include the masses.

    Returns:
        The step's (args, kwargs) with the closure replaced by one that returns the loss computed
        here; None if the step has no closure.

    Raises:
        Unsupported: raised by the replacement, during the step, if the optimizer calls it a second
            time; the replacement calls `undo` first.
    """
    given = list(args)
    place = next((i for i, arg in enumerate(given) if i and callable(arg)), None)
    closure = kwargs.get("closure") if place is None else given[place]
    if closure is None:
        return None
    with torch.enable_grad():
        loss = closure()
    calls = 0

    def known() -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            undo()
            raise Unsupported(
                f"{type(optimizer).__name__}: expected one evaluation of the closure per step, got "
                "another one; an optimizer that moves weights between them cannot be used"
            )
        return loss

    if place is None:
        return args, {**kwargs, "closure": known}
    given[place] = known
    return tuple(given), kwargs


def no_capture(device: torch.device) -> None:
    """Check that a step is not captured in a CUDA graph.

    Raises:
        Unsupported: the step is captured.
    """
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise Unsupported(
            "step: expected a step that runs every time, got the capture of a CUDA graph, whose "
            "replays run no Python; capture only forward and backward, again after every removal"
        )


def same_parameters(model: nn.Module, pieces: Sequence[Piece]) -> None:
    """Check that a model still has the parameters it had at the start.

    Raises:
        Unsupported: a module or parameter was replaced; the message names it.
    """
    now = dict(model.named_parameters())
    for piece in pieces:
        if piece.trained and now.get(piece.name) is not piece.tensor:
            raise Unsupported(
                f"{piece.name}: expected the parameter that was there at the start, got another "
                "one; make a new Evolution after replacing modules"
            )


def same_shapes(model: nn.Module, other: nn.Module) -> None:
    """Check that two models have parameters of the same names and shapes.

    Raises:
        Unsupported: names or shapes differ; the message names the first difference.
    """
    theirs = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        shape = tuple(theirs[name].shape) if name in theirs else None
        if shape != tuple(parameter.shape):
            raise Unsupported(
                f"follow: expected {name} of shape {tuple(parameter.shape)}, got {shape}"
            )

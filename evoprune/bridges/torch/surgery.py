"""Surgery: remove entries from parameters in place, with everything that depends on them.

The Parameter objects stay, so parameter groups, schedulers and averages remain valid. Gradients,
optimizer state and sizes stored in modules are updated. The caller decides what to remove.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parallel import DistributedDataParallel

from evoprune.bridges.torch.attention import MultiheadAttention
from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.populations import Piece

__all__ = [
    "check_optimizer_state",
    "groups_left",
    "module_sizes",
    "rebuild_ddp",
    "remove",
    "reset_compiled",
    "set_sizes",
    "silence",
    "take",
]


def module_sizes(module: nn.Module) -> dict[str, int]:
    """Return the size attributes of a standard module, from the shapes of its parameters."""
    weight = getattr(module, "weight", None)
    shape = weight.shape if isinstance(weight, torch.Tensor) else None
    if isinstance(module, MultiheadAttention):
        heads = module.out_proj.weight.shape[1] // module.head_dim
        return {"num_heads": heads, "embed_dim": module.out_proj.weight.shape[0]}
    if isinstance(module, _NormBase):
        known = module.weight if module.weight is not None else module.running_mean
        return {} if known is None else {"num_features": len(known)}
    if shape is None:
        return {}
    if isinstance(module, nn.Linear):
        return {"out_features": shape[0], "in_features": shape[1]}
    if isinstance(module, _ConvNd):
        here, there = shape[0], shape[1] * module.groups
        first, second = ("in", "out") if module.transposed else ("out", "in")
        return {f"{first}_channels": here, f"{second}_channels": there}
    if isinstance(module, nn.GroupNorm):
        one_each = module.num_groups == module.num_channels
        sizes = {"num_channels": shape[0]}
        return sizes | {"num_groups": shape[0]} if one_each else sizes
    if isinstance(module, nn.Embedding):
        return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    if isinstance(module, nn.PReLU):
        return {"num_parameters": shape[0]}
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # of Hugging Face transformers
        return {"nx": shape[0], "nf": shape[1]}
    return {}


def set_sizes(model: nn.Module) -> list[tuple[nn.Module, str, int]]:
    """Set modules' size attributes from parameter shapes; return (module, name, former value)."""
    before = []
    for module in model.modules():
        for name, size in module_sizes(module).items():
            old = getattr(module, name, size)
            if old != size:
                before.append((module, name, old))
                setattr(module, name, size)
    return before


def groups_left(piece: Piece, staying: Mapping[int, torch.Tensor]) -> int | None:
    """Return the number of groups that remain in a grouped convolution.

    Return None if the piece is not the weight of a grouped convolution, or no group is removed.
    """
    module = piece.owner
    if not isinstance(module, _ConvNd) or module.groups == 1 or piece.attribute != "weight":
        return None
    if 0 not in staying:
        return None
    each = piece.tensor.shape[0] // module.groups
    return len(torch.unique(staying[0] // each))


def take(tensor: torch.Tensor, staying: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """Return a copy of a tensor with only the remaining entries of some dimensions."""
    for dim, index in staying.items():
        tensor = tensor.index_select(dim, index.to(tensor.device))
    return tensor


def remove(
    piece: Piece,
    staying: Mapping[int, torch.Tensor],
    optimizers: Iterable[torch.optim.Optimizer] = (),
) -> None:
    """Shrink a parameter or buffer to the remaining entries, with gradient and optimizer state."""
    tensor = piece.tensor
    shape, gradient, data = tensor.shape, tensor.grad, tensor.data
    groups = groups_left(piece, staying)
    if groups is not None:
        piece.owner.groups = groups
    tensor.grad = None
    if tensor.requires_grad:
        # If an autograd graph is still referenced, for example by a loss, it keeps the node that
        # accumulates this parameter's gradient in the old shape. A change of dtype drops that node.
        other = torch.float32 if tensor.dtype == torch.float64 else torch.float64
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = take(data, staying).contiguous(memory_format=_memory_format(data))
    if gradient is not None and gradient.is_sparse:
        tensor.grad = _take_sparse(gradient, staying)
    elif gradient is not None:
        tensor.grad = take(gradient, staying).contiguous(memory_format=_memory_format(data))
    for optimizer in optimizers:
        state = optimizer.state.get(tensor, {})
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.ndim == len(shape) and value.ndim:
                # Size 1 means a statistic over the parameter's whole dimension: keep it.
                kept = {d: index for d, index in staying.items() if value.shape[d] == shape[d]}
                state[name] = take(value, kept)


def silence(
    piece: Piece,
    staying: Mapping[int, torch.Tensor],
    optimizers: Iterable[torch.optim.Optimizer] = (),
) -> None:
    """Set the entries of extinct populations to 0: values, gradient and optimizer state.

    The core does the same. Sums over survivors' weights then exclude connections to extinct
    populations.
    """
    tensor = piece.tensor
    arrays = [tensor.data]
    if tensor.grad is not None and tensor.grad.is_sparse:
        tensor.grad = _take_sparse(tensor.grad, staying, zero=True)
    elif tensor.grad is not None:
        arrays.append(tensor.grad)
    for optimizer in optimizers:
        state = optimizer.state.get(tensor, {}).values()
        arrays += [v for v in state if isinstance(v, torch.Tensor) and v.shape == tensor.shape]
    for dim, index in staying.items():
        gone = torch.ones(tensor.shape[dim], dtype=torch.bool)
        gone[index] = False
        where = torch.nonzero(gone)[:, 0].to(tensor.device)
        for array in arrays:
            array.index_fill_(dim, where, 0)


def _take_sparse(
    gradient: torch.Tensor, staying: Mapping[int, torch.Tensor], zero: bool = False
) -> torch.Tensor:
    """Return the sparse gradient of an embedding with only the remaining features of its rows.

    With `zero`, the other features stay and become 0. Rows are never removed.
    """
    gradient = gradient.coalesce()
    values, shape = gradient.values(), list(gradient.shape)
    for dim, index in staying.items():
        place = dim - gradient.sparse_dim() + 1
        index = index.to(values.device)
        kept = values.index_select(place, index)
        if zero:
            values = torch.zeros_like(values).index_copy_(place, index, kept)
        else:
            values, shape[dim] = kept, len(index)
    return torch.sparse_coo_tensor(
        gradient.indices(), values, shape, is_coalesced=True, check_invariants=True
    )


def _memory_format(tensor: torch.Tensor) -> torch.memory_format:
    """Return channels_last if the tensor has only that layout, otherwise contiguous_format."""
    if tensor.is_contiguous():
        return torch.contiguous_format
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    if tensor.ndim == 5 and tensor.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.channels_last_3d
    return torch.contiguous_format


def check_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Check that every tensor of an optimizer's state can be shrunk along with its parameter.

    Raises:
        Unsupported: a tensor has more than one element, and its shape differs from the parameter's
            in other ways than dimensions of size 1; the message names optimizer and tensor.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, list | tuple | dict) and _has_tensors(value):
                raise Unsupported(
                    f"{type(optimizer).__name__}: expected state of tensors shaped like their "
                    f"parameter, got a {type(value).__name__} of tensors in {name!r}"
                )
            if not isinstance(value, torch.Tensor) or value.numel() == 1:
                continue
            fits = value.ndim == parameter.ndim and all(
                n in (1, m) for n, m in zip(value.shape, parameter.shape, strict=True)
            )
            if not fits:
                raise Unsupported(
                    f"{type(optimizer).__name__}: expected state shaped like its parameter "
                    f"{tuple(parameter.shape)}, got {tuple(value.shape)} in {name!r}, which "
                    "cannot follow a removal"
                )


def _has_tensors(value: Any) -> bool:
    values = value.values() if isinstance(value, Mapping) else value
    return any(isinstance(v, torch.Tensor) for v in values)


def rebuild_ddp(
    ddp: DistributedDataParallel, wrap: Callable[[nn.Module], nn.Module] | None
) -> None:
    """Rebuild the buckets of a DistributedDataParallel for new parameter shapes, in place.

    Args:
        ddp: the wrapper, whose `reducer` and hooks on parameters have been deleted.
        wrap: function that wraps the module again; None: copy the usual settings of `ddp`.
    """
    names = (
        "device_ids",
        "output_device",
        "dim",
        "broadcast_buffers",
        "process_group",
        "find_unused_parameters",
        "gradient_as_bucket_view",
        "static_graph",
    )
    settings = {name: getattr(ddp, name) for name in names}
    settings["bucket_cap_mb"] = ddp.bucket_bytes_cap / 2**20
    comm_hooks, training = list(getattr(ddp, "_comm_hooks", ())), ddp.training
    new = wrap(ddp.module) if wrap else DistributedDataParallel(ddp.module, **settings)
    ddp.__dict__ = new.__dict__
    ddp.train(training)
    for hook, state in comm_hooks:
        ddp.register_comm_hook(state, hook)


def reset_compiled() -> None:
    """Reset compiled functions, whose code is for the old shapes, so that they recompile.

    Otherwise torch.compile reaches its recompile limit after a few shapes and runs uncompiled.
    """
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()

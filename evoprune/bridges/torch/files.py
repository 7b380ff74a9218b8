"""Files: write a smaller model to one safetensors file, and load it into a newly built module."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from evoprune import FileFormatError
from evoprune.bridges.torch.attention import MultiheadAttention, free_heads
from evoprune.bridges.torch.checks import unwrap
from evoprune.bridges.torch.surgery import set_sizes
from evoprune.common.files import write_whole

__all__ = ["load", "save", "survivors"]

KEY, FORMAT, VERSION = "evoprune", "evoprune torch model", 1
Module = TypeVar("Module", bound=nn.Module)


def save(
    model: nn.Module,
    path: str | PathLike[str],
    survivors: Mapping[str, Sequence[int]] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> None:
    """Write a pruned model to a safetensors file, atomically.

    Args:
        model: its parameters and buffers, as in `state_dict()`, are written.
        path: the file.
        survivors: birth ids of the living populations of each axis, by name.
        numbers: sizes that modules store as integers, by "module.attribute"; those of torch's own
            modules are found automatically.
    """
    from safetensors.torch import save as to_bytes

    inner = unwrap(model)[0]
    arrays: dict[str, torch.Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in inner.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            continue
        known = first.setdefault(id(tensor), name)
        if known == name:
            arrays[name] = tensor.detach().cpu().contiguous()
        else:
            shared[name] = known
    grouped = {
        f"{name}.groups".lstrip("."): module.groups
        for name, module in inner.named_modules()
        if isinstance(module, _ConvNd)
    }
    recipe = {
        "format": FORMAT,
        "version": VERSION,
        "shapes": {name: list(tensor.shape) for name, tensor in arrays.items()},
        "shared": shared,
        "numbers": {**grouped, **(numbers or {})},
        "attention": [n for n, m in inner.named_modules() if isinstance(m, MultiheadAttention)],
        "survivors": {name: list(map(int, ids)) for name, ids in (survivors or {}).items()},
    }
    # Copy, because safetensors rejects tensors that share memory.
    arrays = {name: tensor.clone() for name, tensor in arrays.items()}

    write_whole(path, to_bytes(arrays, {KEY: json.dumps(recipe)}))


def _read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(fspath(path), "pt") as file:
            recipe = json.loads((file.metadata() or {})[KEY])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if recipe["format"] != FORMAT or recipe["version"] > VERSION:
            raise ValueError(f"format {recipe['format']!r}, version {recipe['version']}")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{path}: no model that evoprune.torch has saved ({error})"
        ) from error
    return recipe, arrays


def survivors(path: str | PathLike[str]) -> dict[str, list[int]]:
    """Return the birth ids of the survivors of each axis in a file, by name.

    Raises:
        FileNotFoundError: no such file.
        FileFormatError: the file is broken, or was not written by `save`.
    """
    found: dict[str, list[int]] = _read(path)[0]["survivors"]
    return found


@torch.no_grad()
def load(model: Module, path: str | PathLike[str]) -> Module:
    """Load the shape and weights of a saved module into a newly built one; return it.

    Args:
        model: the module as it was before selection. It is unchanged if the file does not fit.
        path: a file written by `Evolution.save`.

    Raises:
        FileNotFoundError: no such file.
        FileFormatError: the file is broken, or was not written by `save`.
        ValueError: the module does not have the parameters of the file, or has smaller ones.
    """
    recipe, arrays = _read(path)
    here = dict(model.state_dict(keep_vars=True))
    shared: dict[str, str] = recipe["shared"]
    for name, shape in recipe["shapes"].items():
        if name not in here:
            raise ValueError(f"{path}: the model has no parameter or buffer {name}")
        now = list(here[name].shape)
        if len(now) != len(shape) or any(n < m for n, m in zip(now, shape, strict=True)):
            raise ValueError(f"{path}: expected {name} of at least {shape}, got {now}")
    missing = [name for name in here if name not in recipe["shapes"] and name not in shared]
    if missing:
        raise ValueError(f"{path}: has no array for {missing[0]}")
    for name in recipe["attention"]:
        free_heads(model.get_submodule(name))
    for name, shape in recipe["shapes"].items():
        tensor = here[name]
        if list(tensor.shape) != shape:
            tensor.data = tensor.data.new_empty(shape)
        tensor.copy_(arrays[name])
    for name, value in recipe["numbers"].items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, value)
    set_sizes(model)
    return model

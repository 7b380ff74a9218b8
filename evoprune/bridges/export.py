"""Export of networks: ONNX files, C files, PyTorch modules.

Every function folds the network first. The result takes raw inputs as `predict` does: it includes
the input scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import evoprune as ep
from evoprune.bridges.extras import require
from evoprune.common.files import write_whole
from evoprune.common.renames import spelled

if TYPE_CHECKING:
    from torch import nn

__all__ = ["c", "from_torch", "onnx", "to_torch", "torch"]


def onnx(network: ep.Network, path: str | PathLike[str]) -> None:
    """Write a network as an ONNX model: opset 17, float32, any number of samples at a time.

    The model has one input, "input", of the shape that `predict` takes, (batch, ...), and one
    output, "output". The input is int64 if only embeddings read it. The model is checked and its
    shapes are inferred before it is written.

    Args:
        network: it is only read.
        path: the file; an existing one is replaced.

    Raises:
        ImportError: onnx is not installed; the message says how to get it.
        ValueError: a layer cannot be expressed in ONNX; the message names it.
        OSError: the file cannot be written.
    """
    require("onnx", "onnx", "export.onnx")
    from evoprune.bridges.onnx_model import onnx_model

    write_whole(path, onnx_model(network).SerializeToString())


@spelled
def c(network: ep.Network, path: str | PathLike[str], *, prefix: str = "") -> None:
    """Write a network as one C file: constant weights and `void predict(const float *x, float *y)`.

    The file needs a C99 compiler and nothing else. It allocates nothing: its static scratch memory
    has a size known when it is compiled. It computes in float32. If only embeddings read the
    input, x is `const int *`.

    Args:
        network: it is only read.
        path: the file; an existing one is replaced.
        prefix: prefix of every name in the file: "digits" gives digits_predict and
            DIGITS_PREDICT_INPUTS.

    Raises:
        ValueError: the prefix is not a C name, or a layer cannot be written in C; the message
            names it.
        OSError: the file cannot be written.
    """
    from evoprune.bridges.c_source import c_source

    write_whole(path, c_source(network, prefix).text.encode())


def torch(network: ep.Network, path: str | PathLike[str]) -> None:
    """Write a network as a program of torch.export (.pt2), for any number of samples at a time.

    `torch.export.load(path).module()` runs it without this package. Inputs and outputs have the
    default layout of `to_torch`: images with channels first.

    Args:
        network: it is only read.
        path: the file, NAME.pt2; an existing one is replaced.

    Raises:
        ImportError: torch is not installed; the message says how to get it.
        ValueError: the path does not end in .pt2, or a layer has no PyTorch module; the message
            names it.
        OSError: the file cannot be written.
    """
    if Path(path).suffix != ".pt2":
        raise ValueError(f"export.torch: expected a name that ends in .pt2, got {str(path)!r}")
    require("torch", "torch", "export.torch")
    from evoprune.bridges.torch_writing import torch_program

    write_whole(path, torch_program(network))


@spelled
def to_torch(network: ep.Network, *, channels_first: bool = True) -> nn.Module:
    """Make an ordinary PyTorch module of a network, with equal outputs, in evaluation mode.

    A chain of layers becomes an `nn.Sequential`, anything else a small module of named layers.
    Layers are torch.nn modules where those exist, and all weights can be trained.

    Args:
        network: it is only read.
        channels_first: use PyTorch's layout for inputs and outputs: images are (batch, channels,
            height, width), sequences for convolutions (batch, channels, length). If False, use the
            layout of `predict`: features last.

    Raises:
        ImportError: torch is not installed; the message says how to get it.
        ValueError: a layer has no PyTorch module; the message names it.
    """
    require("torch", "torch", "to_torch")
    from evoprune.bridges.torch_writing import torch_module

    return torch_module(network, channels_first)


@spelled
def from_torch(
    module: nn.Module,
    input: Sequence[int] | int | None = None,  # noqa: A002 - the common name
    *,
    populations: bool = True,
    seed: int = 0,
) -> ep.Network:
    """Make a network of a PyTorch module, with equal outputs.

    Modules are traced by torch.fx. A custom forward is supported if it consists of operators that
    both libraries have: linear maps, convolutions (also depthwise), batch, layer and RMS norm,
    pools, relu, leaky_relu, tanh-form gelu, silu, tanh, sigmoid, dropout, embeddings, sums,
    flattening, shortcuts without parameters, and all that `to_torch` makes. The network reads
    images as (height, width, channels). Module and network run on random samples; different
    outputs are an error.

    Args:
        module: it is not changed; its computation in evaluation mode is converted.
        input: the shape of one sample as the module takes it, without the batch, for example
            (3, 32, 32); not needed if the module begins with an nn.Linear.
        populations: make populations of all neurons, filters and heads that one layer writes, if
            all operators after the activation map zeros to zeros. If False, make none, so that
            nothing can become extinct.
        seed: seed of the network.

    Raises:
        ImportError: torch is not installed; the message says how to get it.
        ValueError: an operator has no corresponding layer; the message names it.
    """
    require("torch", "torch", "from_torch")
    from evoprune.bridges.torch_reading import network_of

    shape = (input,) if isinstance(input, int) else input
    return network_of(module, None if shape is None else tuple(shape), populations, seed)

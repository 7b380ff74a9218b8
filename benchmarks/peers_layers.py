"""PyTorch's side of bench_layers.py and bench_memory.py: convolutions and attention, eager.

The networks are those of evoprune's `lenet5`, `cnn`, `charlm` and `vit`, layer by layer. Numbers of
filters, heads and neurons are arguments, so that networks can be compared after extinctions too.
peers.py calls these functions; they import PyTorch when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import resident

Run = Callable[[int], Any]
Facts = dict[str, Any]


def network(kind: str, shape: dict[str, Any]) -> Any:
    """Return a torch module; `shape` is made by `shape_of` of bench_layers.py.

    Its keys are input, filters and neurons for lenet5 and cnn; vocabulary, context, dim, heads,
    dims and hidden for charlm; input, patch, dim, heads, dims and hidden for vit.
    """
    import torch
    from torch import nn

    functional = nn.functional

    class Block(nn.Module):
        """A transformer block: attention, then a feed-forward part, each after a norm."""

        def __init__(self, dim: int, heads: int, dims: int, hidden: int, causal: bool) -> None:
            super().__init__()
            self.heads, self.dims, self.causal = heads, dims, causal
            self.norm, self.last_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.reads = nn.Linear(dim, 3 * heads * dims, bias=False)
            self.back = nn.Linear(heads * dims, dim, bias=False)
            self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim, bias=False)

        def forward(self, x: Any) -> Any:
            samples, positions, _ = x.shape
            read = self.reads(self.norm(x)).view(samples, positions, 3, self.heads, self.dims)
            q, k, v = read.permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            x = x + self.back(y.transpose(1, 2).reshape(samples, positions, -1))
            y = functional.gelu(self.up(self.last_norm(x)), approximate="tanh")
            return x + self.down(y)

    def blocks(causal: bool) -> Any:
        made = (
            Block(shape["dim"], heads, shape["dims"], hidden, causal)
            for heads, hidden in zip(shape["heads"], shape["hidden"], strict=True)
        )
        return nn.Sequential(*made, nn.LayerNorm(shape["dim"]))

    class CharLM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(shape["vocabulary"], shape["dim"])
            self.positions = nn.Parameter(0.1 * torch.randn(shape["context"], shape["dim"]))
            self.blocks = blocks(causal=True)
            self.readout = nn.Linear(shape["dim"], shape["vocabulary"])

        def forward(self, x: Any) -> Any:
            return self.readout(self.blocks(self.table(x) + self.positions)).flatten(0, 1)

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            height, width, channels = shape["input"]
            size, dim = shape["patch"], shape["dim"]
            self.grid = (height // size, size, width // size, size * channels)
            patches = self.grid[0] * self.grid[2]
            self.embed = nn.Linear(size * size * channels, dim, bias=False)
            self.token = nn.Parameter(torch.zeros(1, 1, dim))
            self.positions = nn.Parameter(0.02 * torch.randn(patches + 1, dim))
            self.blocks = blocks(causal=False)
            self.readout = nn.Linear(dim, 10)

        def forward(self, x: Any) -> Any:
            rows, size, columns, across = self.grid
            x = x.view(len(x), rows, size, columns, across).transpose(2, 3)
            x = self.embed(x.reshape(len(x), rows * columns, size * across))
            x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.positions
            return self.readout(self.blocks(x)[:, 0])

    if kind == "charlm":
        return CharLM()
    if kind == "vit":
        return ViT()
    height, _, channels = shape["input"]
    layers: list[Any] = []
    for inputs, outputs in pairwise([channels, *shape["filters"]]):
        if kind == "cnn":
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs)]
        else:
            layers.append(nn.Conv2d(inputs, outputs, 5))
        layers += [nn.MaxPool2d(2), nn.ReLU()]
        height = height // 2 if kind == "cnn" else (height - 4) // 2
    if kind == "cnn":
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 10)]
    else:
        flat = height * height * outputs
        layers += [nn.Flatten(), nn.Linear(flat, shape["neurons"]), nn.ReLU()]
        layers.append(nn.Linear(shape["neurons"], 10))
    return nn.Sequential(*layers)


def load(kind: str, shape: dict[str, Any], data: dict[str, Any], channels_last: bool) -> Any:
    """Return inputs and int64 targets as tensors.

    Inputs are int64 codes of characters for charlm, normalized float32 data as stored for vit, and
    otherwise float32 images (n, channels, height, width).
    """
    import torch

    x, y = np.load(data["x"]), torch.from_numpy(np.load(data["y"]).astype(np.int64))
    if kind == "charlm":
        return torch.from_numpy(x.astype(np.int64)), y
    x = (x.astype(np.float32) - np.float32(data["shift"])) * np.float32(data["scale"])
    if kind == "vit":
        return torch.from_numpy(x), y
    images = torch.from_numpy(x).view(len(x), *shape["input"]).permute(0, 3, 1, 2)
    return images if channels_last else images.contiguous(), y


def batches(x: Any, y: Any, batch: int, channels_last: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yield shuffled full batches by index, over epochs without end."""
    import torch

    while True:
        order = torch.randperm(len(x))
        for at in range(0, len(x) - batch + 1, batch):
            rows = order[at : at + batch]
            if channels_last:  # each image is contiguous in memory as (height, width, channels)
                xs = torch.index_select(x.permute(0, 2, 3, 1), 0, rows).permute(0, 3, 1, 2)
            else:
                xs = torch.index_select(x, 0, rows)
            yield xs, torch.index_select(y, 0, rows).flatten()


def steps(net: Any, loss: Any, drawn: Iterator[tuple[Any, Any]], decay: float, rate: float) -> Run:
    """Return run(n), which runs n training steps; `loss` is a function of inputs and targets."""
    import torch

    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=decay, fused=True)

    def run(many: int) -> None:
        for _ in range(many):
            xs, ys = next(drawn)
            optimizer.zero_grad(set_to_none=True)
            loss(xs, ys).backward()
            optimizer.step()

    return run


def training(
    kind: str,
    shape: Facts,
    batch: int,
    data: tuple[Any, Any],
    decay: float,
    rate: float,
    last: bool,
) -> Run:
    """Return run(n), which runs n training steps on tensors from `load`; last = channels_last."""
    import torch

    torch.manual_seed(0)
    net = network(kind, shape)
    if last:
        net = net.to(memory_format=torch.channels_last)
    cross_entropy = torch.nn.functional.cross_entropy
    drawn = batches(*data, batch, last)
    return steps(net, lambda xs, ys: cross_entropy(net(xs), ys), drawn, decay, rate)


def torch_layers(
    kind: str,
    shape: Facts,
    batch: int,
    data: Facts,
    decay: float,
    rate: float,
    *,
    channels_last: bool = False,
) -> Run:
    """Load the data and return run(n), which runs n training steps."""
    tensors = load(kind, shape, data, channels_last)
    return training(kind, shape, batch, tensors, decay, rate, channels_last)


def torch_memory(
    kind: str, shape: Facts, batch: int, data: Facts, steps: int, *, channels_last: bool = False
) -> Facts:
    """Return the peak bytes of making and training a network, without PyTorch and the data.

    Call it in a new process. PyTorch loads parts of itself lazily, so a tiny network is trained
    before the measurement.
    """
    import torch

    small = {"input": (28, 28, 1), "filters": [1, 1], "neurons": 1}
    nothing = torch.zeros(8, 1, 28, 28), torch.zeros(8, dtype=torch.int64)
    training("lenet5", small, 8, nothing, 0.01, 1e-4, channels_last)(1)
    tensors = load(kind, shape, data, channels_last)
    resident.forget()
    before = resident.resident()
    training(kind, shape, batch, tensors, 0.01, 1e-4, channels_last)(steps)
    return {"bytes": resident.peak() - before}


PEERS = {function.__name__: function for function in (torch_layers, torch_memory)}

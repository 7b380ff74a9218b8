"""PyTorch modules for layers that torch.nn does not have, and modules wired as a graph.

They hold plain tensors and settings, so that they pickle, trace and train like any module.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Attention",
    "ChannelsFirst",
    "Codes",
    "Entries",
    "FeaturesLast",
    "FoundedNorm",
    "MeanPool",
    "Patches",
    "Positions",
    "Scale",
    "Scaling",
    "Shift",
    "Shortcut",
    "Sum",
    "Take",
    "Token",
    "Wired",
]


class Wired(nn.Module):
    """Modules that each read the input or the outputs of earlier modules.

    Args:
        modules: by name, in order of computation.
        inputs: for every module the names of what it reads; "input" is this module's input.
        output: the name of the module whose output is returned.
    """

    def __init__(
        self, modules: dict[str, nn.Module], inputs: dict[str, Sequence[str]], output: str
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(modules)
        self.inputs = {name: tuple(names) for name, names in inputs.items()}
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a batch."""
        values = {"input": x}
        for name, layer in self.layers.items():
            values[name] = layer(*(values[source] for source in self.inputs[name]))
        return values[self.output]


class Scaling(nn.Module):
    """Scale the input: (x - shift) * scale. Both are buffers, so that no optimizer changes them."""

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled batch."""
        return (x - self.shift) * self.scale


class Entries(nn.Module):
    """Select the entries that the network reads, along one axis of the input."""

    def __init__(self, axis: int, indices: Tensor) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("indices", indices)

    def forward(self, x: Tensor) -> Tensor:
        """Return the entries of `x` at `indices` along `axis`."""
        return x.index_select(self.axis, self.indices)


class Shift(nn.Module):
    """Add a bias, of any shape that broadcasts."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus the bias."""
        return x + self.bias


class Scale(nn.Module):
    """Multiply by masses, of any shape that broadcasts."""

    def __init__(self, mass: Tensor) -> None:
        super().__init__()
        self.mass = nn.Parameter(mass)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the masses."""
        return x * self.mass


class ChannelsFirst(nn.Module):
    """Convert (batch, positions ..., channels) to (batch, channels, positions ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch with its last axis second."""
        return x.movedim(-1, 1)


class FeaturesLast(nn.Module):
    """Convert (batch, channels, positions ...) to (batch, positions ..., channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch with its second axis last."""
        return x.movedim(1, -1)


class Codes(nn.Module):
    """Convert numbers to integer codes, for an embedding."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as int64."""
        return x.long()


class MeanPool(nn.Module):
    """Mean pooling that ignores padded values, for windows that extend far beyond the input.

    AvgPool2d allows padding of at most half a window.
    """

    def __init__(self, size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> None:
        super().__init__()
        self.size, self.stride, self.padding = tuple(size), tuple(stride), tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of a batch with channels first."""
        pads = [p for padding in reversed(self.padding) for p in (padding, padding)]
        pool = functional.avg_pool1d if len(self.size) == 1 else functional.avg_pool2d
        inside = torch.ones_like(x[:1, :1])
        return pool(functional.pad(x, pads), self.size, self.stride) / pool(
            functional.pad(inside, pads), self.size, self.stride
        )


class FoundedNorm(nn.Module):
    """Layer norm or RMS norm of features; extinct features count as zeros.

    Args:
        features: number of living features.
        born: number of features at birth, by which sums are divided.
        center: True for layer norm, which subtracts the mean; False for RMS norm.
        epsilon: added to the variance.
        gain, bias: vectors (features,), or None.
    """

    def __init__(
        self,
        features: int,
        born: int,
        center: bool,
        epsilon: float,
        gain: Tensor | None,
        bias: Tensor | None,
    ) -> None:
        super().__init__()
        self.features, self.born, self.center, self.epsilon = features, born, center, epsilon
        self.gain = None if gain is None else nn.Parameter(gain)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized batch."""
        extinct = 0
        if self.center:
            mean = x.sum(-1, keepdim=True) / self.born
            x, extinct = x - mean, (self.born - self.features) * mean * mean
        variance = (x.square().sum(-1, keepdim=True) + extinct) / self.born
        y = x / (variance + self.epsilon).sqrt()
        y = y if self.gain is None else y * self.gain
        return y if self.bias is None else y + self.bias


class Attention(nn.Module):
    """Compute softmax(scale * q @ k^T) @ v for each head.

    The shape of q, k, v and the output is (batch, positions, heads * dims). If `causal`, a position
    attends only to itself and to earlier positions.
    """

    def __init__(self, heads: int, dims: int, causal: bool, scale: float) -> None:
        super().__init__()
        self.heads, self.dims, self.causal, self.scale = heads, dims, causal, scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the weighted sum of values for each query position."""
        q, k, v = (x.unflatten(-1, (self.heads, self.dims)).transpose(1, 2) for x in (q, k, v))
        y = functional.scaled_dot_product_attention(
            q, k, v, is_causal=self.causal, scale=self.scale
        )
        return y.transpose(1, 2).flatten(2)


class Positions(nn.Module):
    """Add a learned table (positions, features) to each sample."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus the table."""
        return x + self.table


class Token(nn.Module):
    """Insert a learned token before the first position.

    The input is (batch, positions, features), the output (batch, positions + 1, features).
    """

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with the token inserted."""
        return torch.cat([self.value.expand(x.shape[0], 1, -1), x], 1)


class Take(nn.Module):
    """Take one position of (batch, positions, ...), or the mean of all if position is None."""

    def __init__(self, position: int | None) -> None:
        super().__init__()
        self.position = position

    def forward(self, x: Tensor) -> Tensor:
        """Return the selected position or the mean, (batch, ...)."""
        return x.mean(1) if self.position is None else x[:, self.position]


class Patches(nn.Module):
    """Cut images into patches of `rows` x `columns` pixels.

    The input is (batch, height, width, channels); the output is
    (batch, patches, rows, columns, channels).
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches in row-major order of their places in the image."""
        x = x.unflatten(2, (-1, self.columns)).unflatten(1, (-1, self.rows))
        return x.transpose(2, 3).flatten(1, 2)


class Shortcut(nn.Module):
    """Keep every stride-th position, and select channels.

    Channel j of the output is channel source[j] of the input, or zeros if source[j] is -1.
    """

    def __init__(self, stride: Sequence[int], source: Sequence[int], channels: int) -> None:
        super().__init__()
        self.stride, self.source, self.channels = tuple(stride), tuple(source), channels
        first = next((i for i, place in enumerate(self.source) if place >= 0), 0)
        after = max(0, len(self.source) - first - channels)
        centered = (*[-1] * first, *range(channels), *[-1] * after)
        self.pads = (first, after) if centered == self.source else None
        index = [channels if place < 0 else place for place in self.source]
        self.register_buffer("index", torch.tensor(index), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the selected positions and channels of `x`, (batch, channels, positions ...)."""
        x = x[(slice(None), slice(None), *(slice(None, None, step) for step in self.stride))]
        spatial = [0, 0] * len(self.stride)
        if self.pads:
            return functional.pad(x, [*spatial, *self.pads])
        return functional.pad(x, [*spatial, 0, 1]).index_select(1, self.index)


class Sum(nn.Module):
    """Add all inputs."""

    def forward(self, *values: Tensor) -> Tensor:
        """Return the sum of `values`."""
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

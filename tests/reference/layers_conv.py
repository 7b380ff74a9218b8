"""Convolution, pooling, shortcut and norms as plain NumPy in float64: the reference for C.

Forward passes only. Values have the batch first and the features last. For each kind of layer,
`CASES` holds small configurations that cover it, and `FORWARD` its function `(inputs, weights,
config, training, **extra) -> y`. An omitted vector setting is an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Config = Mapping[str, Any]
BLOCK = 32  # rows that share statistics in a training pass of batch_norm


def _per_axis(config: Config, name: str, spatial: int, missing: int) -> list[int]:
    """Return a number per spatial axis: the setting's, a single one repeated, or `missing`."""
    given = [int(v) for v in config.get(name, [])] or [missing]
    return given * spatial if len(given) == 1 else given


def _windows(x: Array, size: list[int], stride: list[int], pad: list[int], step: list[int],
             same: bool, fill: float) -> Array:  # fmt: skip
    """Return windows (batch, out..., channels, size...) of the input, padded by `fill`."""
    spatial, widths = len(size), [(0, 0)]
    for d in range(spatial):
        n, reach = x.shape[1 + d], (size[d] - 1) * step[d] + 1
        if same:
            total = max((-(-n // stride[d]) - 1) * stride[d] + reach - n, 0)
            widths.append((total // 2, total - total // 2))
        else:
            widths.append((pad[d], pad[d]))
    x = np.pad(x, [*widths, (0, 0)], constant_values=fill)
    reach = tuple((size[d] - 1) * step[d] + 1 for d in range(spatial))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(1, 1 + spatial)))
    every = tuple(slice(None, None, s) for s in stride)
    inside = tuple(slice(None, None, s) for s in step)
    return np.asarray(view[(slice(None), *every, slice(None), *inside)])


def conv2d(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
           training: bool = False, **extra: Any) -> Array:  # fmt: skip
    """Return the sum of x * weight over each window.

    The weight is (size..., in, out), or (size..., in) if the setting `depthwise` is true.
    """
    x, w = inputs[0], weights["weight"]
    spatial = x.ndim - 2
    size = list(w.shape[:spatial])
    stride = _per_axis(config, "stride", spatial, 1)
    step = _per_axis(config, "dilation", spatial, 1)
    pad = _per_axis(config, "padding", spatial, 0)
    view = _windows(x, size, stride, pad, step, not len(config.get("padding", [])), 0.0)
    taps, batch, outs = "hw"[:spatial], "n", "yx"[:spatial]
    into = "c" if config.get("depthwise") else "f"
    filters = "" if config.get("depthwise") else "f"
    return np.einsum(f"{batch}{outs}c{taps},{taps}c{filters}->{batch}{outs}{into}", view, w)


def _pool(x: Array, config: Config, fill: float, reduce: Callable[..., Array]) -> Array:
    spatial = x.ndim - 2
    if not len(config.get("size", [])):
        return reduce(x, axis=tuple(range(1, 1 + spatial)))
    size = _per_axis(config, "size", spatial, 1)
    given = config.get("stride", [])
    stride = _per_axis(config, "stride", spatial, 1) if len(given) else size
    pad = _per_axis(config, "padding", spatial, 0)
    view = _windows(x, size, stride, pad, [1] * spatial, False, fill)
    return reduce(view, axis=tuple(range(-spatial, 0)))


def max_pool(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
             training: bool = False, **extra: Any) -> Array:  # fmt: skip
    """Return the largest element of every window; positions beyond the edges do not count."""
    return _pool(inputs[0], config, -np.inf, np.max)


def mean_pool(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
              training: bool = False, **extra: Any) -> Array:  # fmt: skip
    """Return the mean of the elements of every window that are inside the input."""
    return _pool(inputs[0], config, np.nan, np.nanmean)


def shortcut(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
             training: bool = False, births: Any = None, born_in: int = 0, **extra: Any
             ) -> Array:  # fmt: skip
    """Return every stride-th position, with zeros before and after the channels.

    `births`: birth ids of the living channels of the input and of the output. `born_in`: founding
    number of channels of the input.
    """
    x = inputs[0]
    stride = _per_axis(config, "stride", x.ndim - 2, 1)
    x = x[(slice(None), *(slice(None, None, s) for s in stride))]
    of_x, of_y = births
    before = (int(config["channels"]) - born_in) // 2
    whole = np.zeros((*x.shape[:-1], int(config["channels"])))
    whole[..., before + np.asarray(of_x)] = x
    return whole[..., of_y]


def layer_norm(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
               training: bool = False, born: int | None = None, **extra: Any) -> Array:  # fmt: skip
    """Normalize to mean 0 and variance 1 over `born` features; removed features count as 0."""
    x = inputs[0]
    n = born or x.shape[-1]
    mean = x.sum(-1, keepdims=True) / n
    dead = (n - x.shape[-1]) * mean**2
    variance = (((x - mean) ** 2).sum(-1, keepdims=True) + dead) / n
    y = (x - mean) / np.sqrt(variance + config.get("epsilon", 1e-5))
    return y * weights.get("gain", 1.0) + weights.get("bias", 0.0)


def rms_norm(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
             training: bool = False, born: int | None = None, **extra: Any) -> Array:  # fmt: skip
    """Normalize to mean square 1 over `born` features; removed features count as 0."""
    x = inputs[0]
    square = (x**2).sum(-1, keepdims=True) / (born or x.shape[-1])
    return x / np.sqrt(square + config.get("epsilon", 1e-5)) * weights.get("gain", 1.0)


def batch_norm(inputs: Sequence[Array], weights: Mapping[str, Array], config: Config,
               training: bool = False, **extra: Any) -> Array:  # fmt: skip
    """Normalize each channel over every block of rows in training, else by tracked statistics."""
    x = inputs[0]
    gain, bias = weights.get("gain", 1.0), weights.get("bias", 0.0)
    epsilon = config.get("epsilon", 1e-5)
    over = tuple(range(x.ndim - 1))
    if not training:
        mean, variance = weights["mean"], weights["variance"]
        return (x - mean) / np.sqrt(variance + epsilon) * gain + bias
    y = np.empty_like(x)
    for rows in blocks(len(x)):
        part = x[rows]
        mean, variance = part.mean(over), part.var(over)
        y[rows] = (part - mean) / np.sqrt(variance + epsilon) * gain + bias
    return y


def blocks(rows: int) -> list[slice]:
    """Return the blocks of batch_norm: BLOCK rows each; the last block takes the remaining rows."""
    n = max(1, rows // BLOCK)
    return [slice(i * BLOCK, rows if i == n - 1 else (i + 1) * BLOCK) for i in range(n)]


def batch_norm_track(x: Array, weights: Mapping[str, Array], config: Config) -> dict[str, Array]:
    """Return the tracked mean and (unbiased) variance after one training pass on `x`."""
    over = tuple(range(x.ndim - 1))
    mean, variance = np.zeros(x.shape[-1]), np.zeros(x.shape[-1])
    for rows in blocks(len(x)):
        part = x[rows]
        n = part[..., 0].size
        share = len(part) / len(x)
        mean += share * part.mean(over)
        variance += share * part.var(over) * n / max(1, n - 1)
    rate = config.get("momentum", 0.1)
    old = {"mean": weights["mean"], "variance": weights["variance"]}
    new = {"mean": mean, "variance": variance}
    return {name: old[name] + rate * (new[name] - old[name]) for name in old}


CASES: dict[str, list[dict[str, Any]]] = {
    "conv2d": [
        {"input": (6, 7, 3), "config": {"filters": 5, "kernel": [3]}},
        {"input": (8, 8, 2), "config": {"filters": 4, "kernel": [5], "padding": [0]}},
        {"input": (9, 6, 3), "config": {"filters": 6, "kernel": [3, 2], "stride": [2]}},
        {
            "input": (9, 8, 2),
            "config": {"filters": 3, "kernel": [3], "stride": [2, 1], "padding": [1, 2]},
        },
        {
            "input": (9, 11, 2),
            "config": {"filters": 3, "kernel": [3], "dilation": [2, 3], "padding": [1]},
        },
        {"input": (7, 9, 17), "config": {"filters": 33, "kernel": [3], "dilation": [2]}},
        {"input": (16, 13, 1), "config": {"filters": 3, "kernel": [7, 5], "dilation": [2]}},
        {"input": (7, 6, 18), "config": {"filters": 21, "kernel": [3]}, "tiled": True},
        {
            "input": (8, 9, 20),
            "config": {"filters": 17, "kernel": [5], "padding": [0]},
            "tiled": True,
        },
        {"input": (3, 33, 2), "config": {"filters": 3, "kernel": [1, 40], "padding": [0, 5]}},
        {"input": (5, 4, 6), "config": {"filters": 7, "kernel": [1]}},
        {"input": (5, 4, 6), "config": {"filters": 7, "kernel": [1], "stride": [2]}},
        {"input": (40, 3), "config": {"filters": 4, "kernel": [5], "stride": [3]}},
        {"input": (30, 30, 1), "config": {"filters": 5, "kernel": [5], "padding": [0]}},
        {"input": (7, 6, 5), "config": {"kernel": [3], "depthwise": True}},
        {
            "input": (9, 8, 19),
            "config": {"kernel": [3, 2], "depthwise": True, "stride": [2], "padding": [1]},
        },
        {"input": (12, 20), "config": {"kernel": [3], "depthwise": True, "dilation": [2]}},
    ],
    "max_pool": [
        {"input": (6, 8, 3), "config": {"size": [2]}},
        {"input": (7, 9, 17), "config": {"size": [3], "stride": [2], "padding": [1]}},
        {"input": (7, 6, 5), "config": {"size": [2, 3], "stride": [3, 1]}},
        {"input": (13, 4), "config": {"size": [3]}},
        {"input": (5, 4, 6), "config": {}},
    ],
    "mean_pool": [
        {"input": (6, 8, 3), "config": {"size": [2]}},
        {"input": (7, 9, 17), "config": {"size": [3], "stride": [2], "padding": [1]}},
        {"input": (7, 6, 5), "config": {"size": [2, 3], "stride": [3, 1]}},
        {"input": (13, 4), "config": {"size": [3]}},
        {"input": (5, 4, 6), "config": {}},
    ],
    "shortcut": [
        {"input": (6, 8, 3), "config": {"channels": 3}},
        {"input": (7, 6, 3), "config": {"channels": 8, "stride": [2]}},
        {"input": (5, 7, 2), "config": {"channels": 4, "stride": [1, 3]}},
        {"input": (9, 4), "config": {"channels": 5, "stride": [2]}},
    ],
    "layer_norm": [
        {"input": (21,), "config": {}},
        {"input": (3, 40), "config": {"epsilon": 1e-3}},
        {"input": (2, 3, 5), "config": {"affine": False}},
    ],
    "rms_norm": [
        {"input": (21,), "config": {}},
        {"input": (3, 40), "config": {"epsilon": 1e-3}},
        {"input": (2, 3, 5), "config": {"affine": False}},
    ],
    "batch_norm": [
        {"input": (21,), "config": {}},
        {"input": (3, 2, 5), "config": {"epsilon": 1e-3, "momentum": 0.3}},
        {"input": (4, 37), "config": {"affine": False}},
    ],
}

FORWARD: dict[str, Callable[..., Array]] = {
    "conv2d": conv2d,
    "max_pool": max_pool,
    "mean_pool": mean_pool,
    "shortcut": shortcut,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "batch_norm": batch_norm,
}

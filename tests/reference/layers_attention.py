"""Attention, tables, dropout, sums and patches as plain NumPy in float64: the reference for C.

Every function is `(inputs, weights, config, training, **extra) -> y`: inputs are arrays of shape
(batch, axes ...), weights a dict by tensor name (without the layer's name), config the settings by
name. `extra` has the values on which random numbers depend: `seed`, `layer` (its index in the
network), `step`, and `places` (indices at birth of a sample's elements, if some populations are
extinct). It also has sizes at birth: `born` (features) and `dims_at_birth` (of a head). Layers that
need only the axes of their second input do not read its values.
"""

import numpy as np


def attention(inputs, weights, config, training=False, **extra):
    """Return softmax(scale q k') v per head; q, k, v and y are (batch, positions, heads, dims)."""
    q, k, v = inputs
    scale = config.get("scale") or 1 / np.sqrt(extra.get("dims_at_birth", q.shape[-1]))
    scores = scale * np.einsum("bihd,bjhd->bhij", q, k)
    if config.get("causal"):
        positions = np.arange(q.shape[1])
        scores = np.where(positions[:, None] >= positions, scores, -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    p /= p.sum(axis=-1, keepdims=True)
    return np.einsum("bhij,bjhd->bihd", p, v)


def embedding(inputs, weights, config, training=False, **extra):
    """Look up ids (batch, ...) -> (batch, ..., dims); NaN if the table has no such row."""
    ids, table = inputs[0], weights["table"]
    known = (ids >= 0) & (ids < len(table)) & (ids == np.floor(ids))
    return np.where(known[..., None], table[np.where(known, ids, 0).astype(int)], np.nan)


def positions(inputs, weights, config, training=False, **extra):
    """Add a table (positions, dims) to x (batch, ..., positions, dims)."""
    return inputs[0] + weights["table"]


def dropout(inputs, weights, config, training=False, **extra):
    """Set each element to 0 with probability `rate`, scale the others; only in training."""
    (x,) = inputs
    rate = config.get("rate", 0.1)
    if not training or rate == 0:
        return x
    kept = np.reshape(_bits(len(x), x[0].size, **extra) >= int(rate * 2**32), x.shape)
    return np.where(kept, x / (1 - rate), 0)


def _bits(rows, width, seed, layer, step, places=None, **extra):
    """Return 32 random bits per element: two keys per row, mixed with the index at birth."""
    seed, stream = _fork(*_fork(seed, 0, layer), step)
    keys = np.array([_philox(seed, stream, row)[:2] for row in range(rows)], np.uint32)
    places = np.arange(width) if places is None else places
    x = np.asarray(places, np.uint32) * np.uint32(0x9E3779B9) + keys[:, :1]
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    x = (x ^ x >> np.uint32(16) ^ keys[:, 1:]) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return x ^ x >> np.uint32(16)


def _philox(seed, stream, index):
    """Return the four words of Philox4x32-10 with key `seed` and counter (index, stream)."""
    low = 0xFFFFFFFF
    c = [index & low, index >> 32, stream & low, stream >> 32]
    k0, k1 = seed & low, seed >> 32
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k0, b & low, (a >> 32) ^ c[3] ^ k1, a & low]
        k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    return c


def _fork(seed, stream, branch):
    """Return (seed, stream) of an independent random stream for this branch."""
    words = _philox(seed ^ 0x6A09E667F3BCC908, stream, branch)
    return words[1] << 32 | words[0], words[3] << 32 | words[2]


def sum_(inputs, weights, config, training=False, **extra):
    return sum(inputs[1:], inputs[0])


def token(inputs, weights, config, training=False, **extra):
    """Put the learned token first: (batch, positions, dims) -> (batch, positions + 1, dims)."""
    (x,) = inputs
    first = np.broadcast_to(weights["value"], (len(x), 1, x.shape[-1]))
    return np.concatenate([first, x], axis=1)


def take(inputs, weights, config, training=False, **extra):
    """Return one position, or the mean of all: (batch, positions, ...) -> (batch, ...)."""
    (x,) = inputs
    return x.mean(axis=1) if config.get("mean") else x[:, config.get("position", 0)]


def patches(inputs, weights, config, training=False, **extra):
    """Cut images (batch, height, width, channels) to (batch, patches, rows, columns, channels)."""
    (x,) = inputs
    n, h, w, c = x.shape
    rows, columns = (int(s) for s in (list(config["size"]) * 2)[:2])
    x = x.reshape(n, h // rows, rows, w // columns, columns, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, rows, columns, c)


FORWARD = {
    "attention": attention,
    "embedding": embedding,
    "positions": positions,
    "dropout": dropout,
    "sum": sum_,
    "token": token,
    "take": take,
    "patches": patches,
}

# Small networks around one layer. `input` is the shape of a sample. `before` lists preceding layers
# as (kind, config, inputs). `inputs` lists what a layer reads: 0 is the network's input, i + 1 is
# the output of before[i]. `ids`: the input holds integers below this number.
_QKV = [
    ("dense", {"units": [3, 5]}, [0]),
    ("dense", {}, [0, 1]),
    ("dense", {}, [0, 1]),
]
# The bias of these populations makes the tested layer compute the gradient of its input.
_ONE = [("populations", {"mass": False}, [0])]
_TWO = [("dense", {"units": [6]}, [0]), ("dense", {}, [0, 1])]

CASES = {
    "attention": [
        {"input": (7, 4), "config": {}, "before": _QKV, "inputs": [1, 2, 3]},
        {"input": (7, 4), "config": {"causal": True}, "before": _QKV, "inputs": [1, 2, 3]},
        {"input": (67, 4), "config": {"causal": True}, "before": _QKV, "inputs": [1, 2, 3]},
        {"input": (50, 4), "config": {"scale": 0.7}, "before": _QKV[:2], "inputs": [1, 2, 2]},
        {"input": (70, 4), "config": {}, "before": _QKV, "inputs": [1, 2, 3]},
        {"input": (70, 4), "config": {"causal": True}, "before": _QKV[:1], "inputs": [1, 1, 1]},
        {"input": (1, 4), "config": {}, "before": _QKV[:1], "inputs": [1, 1, 1]},
    ],
    "embedding": [
        {"input": (5,), "config": {"vocabulary": 11, "units": 6}, "ids": 11, "inputs": [0]},
        {"input": (2, 3), "config": {"vocabulary": 4, "units": 1}, "ids": 4, "inputs": [0]},
    ],
    "positions": [
        {"input": (5, 3), "config": {}, "before": _ONE, "inputs": [1]},
        {"input": (2, 4, 3), "config": {}, "before": _ONE, "inputs": [1]},
    ],
    "dropout": [
        {"input": (33,), "config": {"rate": 0.4}, "before": _ONE, "inputs": [1]},
        {"input": (5, 3), "config": {"rate": 0.0}, "before": _ONE, "inputs": [1]},
    ],
    "sum": [
        {"input": (4, 3), "config": {}, "before": _TWO, "inputs": [1, 2]},
        {"input": (4, 3), "config": {}, "before": _TWO, "inputs": [2, 1, 2, 1]},
    ],
    "token": [{"input": (4, 3), "config": {}, "before": _ONE, "inputs": [1]}],
    "take": [
        {"input": (4, 3), "config": {}, "before": _ONE, "inputs": [1]},
        {"input": (4, 2, 3), "config": {"position": -2}, "before": _ONE, "inputs": [1]},
        {"input": (4, 3), "config": {"mean": True}, "before": _ONE, "inputs": [1]},
    ],
    "patches": [
        {"input": (6, 4, 3), "config": {"size": [3, 2]}, "before": _ONE, "inputs": [1]},
        {"input": (4, 4, 1), "config": {"size": [2]}, "before": _ONE, "inputs": [1]},
    ],
}

"""The layers `dense` and `populations` as plain NumPy in float64, and tables of all layer kinds.

`TWINS` maps each kind to a function `(inputs, weights, config, training, **extra) -> y`, `CASES`
maps it to small networks that cover it; layers_attention.py documents the format of both.
"""

from __future__ import annotations

import numpy as np

from reference import layers_attention, layers_conv


def dense(inputs, weights, config, training=False, **extra):
    """Contract the last `contract` axes of x with the first axes of the weight.

    If `contract` is 0, contract all axes of x but the batch.
    """
    x, w = inputs[0], weights["weight"]
    return np.tensordot(x, w, config.get("contract", 1) or x.ndim - 1)


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


PHI = {
    "identity": lambda z, slope: z,
    "relu": lambda z, slope: np.maximum(z, 0),
    "leaky_relu": lambda z, slope: np.where(z > 0, z, slope * z),
    "gelu": lambda z, slope: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z, slope: z * _sigmoid(z),
    "tanh": lambda z, slope: np.tanh(z),
    "sigmoid": lambda z, slope: _sigmoid(z),
}


def populations(inputs, weights, config, training=False, **extra):
    """Return m phi(x + b), with activation phi, and mass m and bias b for each index of `axis`."""
    (x,) = inputs
    axis = config.get("axis", -1)
    along = [1] * x.ndim
    along[axis if axis < 0 else axis + 1] = -1
    bias = np.reshape(weights.get("bias", 0.0), along if "bias" in weights else ())
    mass = np.reshape(weights.get("mass", 1.0), along if "mass" in weights else ())
    phi = PHI[config.get("activation", "identity")]
    return mass * phi(x + bias, config.get("slope", 0.01))


_KEPT = [("dense", {"units": [6]}, [0])]

CASES = {
    "dense": [
        {"input": (7,), "config": {"units": [5]}},
        {"input": (70,), "config": {"units": [45]}},
        {"input": (3, 4), "config": {"units": [6]}},
        {"input": (3, 4), "config": {"units": [2, 3]}},
        {"input": (3, 4, 5), "config": {"units": [7], "contract": 0, "gain": 0.5}},
        {"input": (2, 3, 5), "config": {"units": [4], "contract": 2}},
        {"input": (3, 2, 5), "config": {"units": [4, 2], "contract": 2}},
        {"input": (3, 4), "config": {}, "before": _KEPT, "inputs": [1, 0]},
    ],
    "populations": [
        *({"input": (2, 21), "config": {"activation": name}} for name in PHI),
        {"input": (5,), "config": {"activation": "leaky_relu", "slope": 0.3}},
        {"input": (3, 4, 5), "config": {"activation": "tanh", "axis": 0}},
        {"input": (3, 4, 19), "config": {"activation": "silu", "axis": 1}},
        {"input": (3, 4), "config": {"activation": "tanh", "axis": -2, "bias": False}},
        {"input": (3, 18), "config": {"activation": "tanh", "mass": False}},
        {"input": (3, 4), "config": {"activation": "gelu", "mass": False, "bias": False}},
    ],
    **layers_conv.CASES,
    **layers_attention.CASES,
}

TWINS = {
    "dense": dense,
    "populations": populations,
    **layers_conv.FORWARD,
    **layers_attention.FORWARD,
}

"""Consecutive layers process rows in chunks: results are bit-identical to those of single rows."""

from __future__ import annotations

import numpy as np
from reference import layers_conv

import evoprune as ep

# 24 filters give 40 x 40 x 24 outputs per sample, so a chunk is only one to three samples.
WIDE = (40, 40, 3)


def test_rows_in_chunks_equal_single_rows():
    """Outputs and gradients are bit-identical; the mean over 64 rows divides by 64 exactly."""
    net = ep.Sequential(
        [ep.filters(24, 3, "gelu"), ep.MaxPool(2), ep.filters(7, 3), ep.Flatten(), ep.neurons(30),
         ep.Dense(4)],
        input=WIDE,
    )  # fmt: skip
    random = np.random.default_rng(0)
    x = random.normal(size=(64, int(np.prod(WIDE)))).astype(np.float32)
    y = np.arange(64) % 4
    net.core.configure(loss="cross_entropy")
    net.core.forward(x, training=True)
    net.core.backward(y)
    together = {
        name: (net.activations[name].copy(), 64 * net.activation_gradients[name])
        for name in net.activations
        if name != "input"
    }
    for i in range(0, 64, 7):
        net.core.forward(x[i : i + 1], training=True)
        net.core.backward(y[i : i + 1])
        for name, (value, gradient) in together.items():
            assert np.array_equal(net.activations[name][0], value[i]), name
            assert np.array_equal(net.activation_gradients[name][0], gradient[i]), name


def test_batch_norm_joins_the_sums_of_chunks():
    """Statistics of blocks of 32 and 38 rows equal NumPy's, though chunks are smaller."""
    net = ep.Sequential(
        [ep.Conv2d(24, 3), ep.BatchNorm(), ep.Populations("relu"), ep.MeanPool(), ep.Dense(4)],
        input=WIDE,
        dtype="float64",
    )
    net.core.configure(loss="cross_entropy")
    random = np.random.default_rng(0)
    net.core.forward(random.normal(size=(70, int(np.prod(WIDE)))), training=True)
    net.core.backward(np.arange(70) % 4)
    net.core.gradient()
    names = {layer["kind"]: layer["name"] for layer in net.spec["layers"]}
    x, u = net.activations[names["conv2d"]], net.activations[names["batch_norm"]]
    dx = net.activation_gradients[names["conv2d"]]
    du = net.activation_gradients[names["batch_norm"]]
    axes = (0, 1, 2)
    np.testing.assert_allclose(u, layers_conv.batch_norm([x], {}, {}, training=True), atol=1e-9)
    for rows in layers_conv.blocks(70):
        deviation = np.sqrt(x[rows].var(axes) + 1e-5)
        rest = du[rows] - du[rows].mean(axes) - u[rows] * (du[rows] * u[rows]).mean(axes)
        np.testing.assert_allclose(dx[rows], rest / deviation, atol=1e-12)
    assert np.abs(dx).max() > 1e-6
    name = names["populations"]
    relu, dy = np.maximum(u, 0), net.activation_gradients[name]
    np.testing.assert_allclose(net.gradients[f"{name}.mass"], (dy * relu).sum(axes), atol=1e-10)
    np.testing.assert_allclose(net.gradients[f"{name}.bias"], du.sum(axes), atol=1e-10)

"""Forward pass of the ResNets for CIFAR-10 in NumPy float64, with arrays named as in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .layers_conv import batch_norm, conv2d

Array = NDArray[np.float64]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def logits(arrays: Mapping[str, Array], images: NDArray[np.uint8]) -> Array:
    """Return the logits (n, 10) of images (n, 32, 32, 3) with pixel values from 0 to 255."""
    blocks = sum(n.startswith("layer1.") and n.endswith("conv1.weight") for n in arrays)

    def convolved(x: Array, conv: str, norm: str, stride: int = 1, pad: int = 1) -> Array:
        w = np.asarray(arrays[f"{conv}.weight"], np.float64).transpose(2, 3, 1, 0)
        x = conv2d([x], {"weight": w}, {"stride": [stride], "padding": [pad]})
        x = x + arrays.get(f"{conv}.bias", 0.0)
        pairs = {"gain": "weight", "bias": "bias", "mean": "running_mean",
                 "variance": "running_var"}  # fmt: skip
        weights = {mine: arrays[f"{norm}.{theirs}"] for mine, theirs in pairs.items()}
        return batch_norm([x], weights, {})

    x = np.maximum(convolved((images / 255 - MEAN) / STD, "conv1", "bn1"), 0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = np.maximum(convolved(x, f"{name}.conv1", f"{name}.bn1", stride), 0)
            y = convolved(y, f"{name}.conv2", f"{name}.bn2")
            if f"{name}.shortcut.0.weight" in arrays:
                x = convolved(x, f"{name}.shortcut.0", f"{name}.shortcut.1", stride, 0)
            elif stride == 2:  # keep every second row and column, and pad the channels with zeros
                missing = x.shape[-1] // 2
                x = np.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(missing, missing)])
            x = np.maximum(x + y, 0)
    return x.mean((1, 2)) @ arrays["linear.weight"].T + arrays["linear.bias"]

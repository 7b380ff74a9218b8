"""Load published trained weights from arrays that are named as in PyTorch models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from evoprune.common.archive import unpack
from evoprune.common.errors import FileFormatError
from evoprune.common.types import Array
from evoprune.nets.file import check
from evoprune.nets.network import Network
from evoprune.nets.zoo import resnet

__all__ = ["load_resnet"]

WHERE = "load_resnet"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colors, scaled to [0, 1]
_NORM = {"gain": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
_COUNTER = "num_batches_tracked"  # array of a batch norm that prediction does not use
_BY_TORCH = (".pth", ".pt", ".th", ".ckpt", ".bin")


def load_resnet(source: str | PathLike[str] | Mapping[str, Any]) -> Network:
    """Make a `resnet` with trained weights from arrays that are named as in PyTorch models.

    The names are those of published ResNets for CIFAR-10: conv1.weight, bn1.weight,
    layer1.0.conv1.weight, ..., linear.bias. Also accepted are learned shortcuts (shortcut.0,
    shortcut.1, or downsample.), biases of convolutions, fc instead of linear, and a common prefix
    ("module."). The network reads colors 0 to 255 and normalizes them by ImageNet's usual mean and
    standard deviation.

    Args:
        source: an .npz or .safetensors file, or arrays by name (or a state_dict).

    Raises:
        FileNotFoundError: the file does not exist.
        FileFormatError: the file is damaged, has another format, or has invalid arrays.
        ValueError: `source` is a mapping, and an array is missing, has a shape that does not
            match the depth, or does not belong to the network.
    """
    if not isinstance(source, Mapping):
        arrays = _read(Path(source))
        try:
            return _loaded(arrays)
        except (TypeError, ValueError) as error:
            raise FileFormatError(str(error)) from error
    inner = source.get("state_dict")
    return _loaded(inner if isinstance(inner, Mapping) else source)


def _loaded(arrays: Mapping[str, Any]) -> Network:
    network = _Loader(arrays).network()
    check(network)
    return network


def _read(path: Path) -> dict[str, Array]:
    """Read the arrays of a file by name."""
    if not path.is_file():
        raise FileNotFoundError(f"{WHERE}: {path}: no such file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return load(path.read_bytes())
        except (SafetensorError, ValueError, KeyError) as error:
            raise FileFormatError(f"{WHERE}: {path.name}: broken ({error})") from error
    wanted = f"{WHERE}: {path.name}: expected an .npz or .safetensors file"
    if path.suffix in _BY_TORCH:
        raise FileFormatError(
            f"{wanted}, got one of PyTorch; read it by torch.load(path, weights_only=True) and "
            "pass the result"
        )
    if path.suffix == ".npy":
        raise FileFormatError(f"{wanted}; write all arrays by numpy.savez(path, **arrays)")
    try:
        return unpack(path.read_bytes())
    except ValueError as error:
        raise FileFormatError(f"{wanted} ({error})") from error


class _Loader:
    """The arrays of a file, and the names of the arrays read so far."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        stems = [n for n in arrays if n.endswith("conv1.weight") and "layer" not in n]
        prefix = stems[0].removesuffix("conv1.weight") if stems else ""
        # Maps names without the prefix to the names in the file.
        self.names = {n.removeprefix(prefix): n for n in arrays if n.startswith(prefix)}
        self.arrays = {short: np.asarray(arrays[n]) for short, n in self.names.items()}
        self.others = [n for n in arrays if not n.startswith(prefix)]
        self.blocks = len({n.split(".")[1] for n in self.names if n.startswith("layer1.")})
        if not stems or not self.blocks:
            raise ValueError(
                f"{WHERE}: expected the arrays of a ResNet, conv1.weight, layer1.0.conv1.weight, "
                f"..., got {_some(arrays) or 'none'}"
            )
        self.read: set[str] = set()

    def network(self) -> Network:
        """Make the network.

        Raises:
            ValueError: an array is missing, has another shape, or is not used.
        """
        skips = {
            stage: name
            for stage in (2, 3)
            for name in ("shortcut", "downsample")
            if f"layer{stage}.0.{name}.0.weight" in self.arrays
        }
        last = "fc" if "fc.weight" in self.arrays else "linear"
        width, outputs = (len(self.whole(name)) for name in ("conv1.weight", f"{last}.weight"))
        self.check_size(width, outputs, last)
        net = resnet(6 * self.blocks + 2, width, outputs=outputs, learned_shortcuts=list(skips))
        self.convolution(net, "stem", "stem_norm", "conv1", "bn1")
        for stage in (1, 2, 3):
            for block in range(self.blocks):
                here, there = f"stage{stage}_block{block + 1}", f"layer{stage}.{block}."
                of_filters = (f"{here}_in", f"{here}_norm", f"{there}conv1", f"{there}bn1")
                of_out = (f"{here}_out", f"{here}_out_norm", f"{there}conv2", f"{there}bn2")
                self.convolution(net, *of_filters)
                self.convolution(net, *of_out)
                if stage in skips and not block:
                    skip = f"{there}{skips[stage]}"
                    here = f"{here}_skip"
                    self.convolution(net, here, f"{here}_norm", f"{skip}.0", f"{skip}.1")
        self.put(net, "dense1.weight", f"{last}.weight")
        self.put(net, "populations1.bias", f"{last}.bias")
        unread = [
            full
            for short, full in self.names.items()
            if short not in self.read and not short.endswith(f".{_COUNTER}")
        ]
        if unread or self.others:
            raise ValueError(
                f"{WHERE}: expected the arrays of a ResNet for small images alone, got "
                f"{_some([*unread, *self.others])}, which have no place in it"
            )
        pixels = 32 * 32
        net.scale_input(
            np.tile(255 * np.array(_MEAN, np.float32), pixels),
            np.tile(np.float32(1 / 255) / np.array(_STD, np.float32), pixels),
        )
        return net

    def whole(self, name: str) -> Array:
        """Return an array of the file; raise ValueError if it is a single number."""
        values = self.get(name)
        if not values.ndim:
            raise ValueError(f"{WHERE}: expected an array in {name}, got one number")
        return values

    def check_size(self, width: int, outputs: int, last: str) -> None:
        """Check the shapes of large arrays, so that a small file cannot create a large network."""
        before = width
        self.check("conv1.weight", (width, 3, 3, 3))
        for stage in (1, 2, 3):
            now = width * 2 ** (stage - 1)
            for block in range(self.blocks):
                self.check(f"layer{stage}.{block}.conv1.weight", (now, before, 3, 3))
                self.check(f"layer{stage}.{block}.conv2.weight", (now, now, 3, 3))
                before = now
        self.check(f"{last}.weight", (outputs, before))

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless an array of the file has this shape."""
        if self.get(name).shape != shape:
            raise ValueError(f"{WHERE}: expected {shape} in {name}, got {self.get(name).shape}")

    def convolution(self, net: Network, here: str, norm: str, conv: str, bn: str) -> None:
        """Copy a convolution and its batch norm; the norm's mean absorbs the convolution's bias."""
        self.put(net, f"{here}.weight", f"{conv}.weight")
        for mine, theirs in _NORM.items():
            self.put(net, f"{norm}.{mine}", f"{bn}.{theirs}")
        if f"{conv}.bias" in self.arrays:
            net[f"{norm}.mean"] -= self.get(f"{conv}.bias")

    def get(self, name: str) -> Array:
        """Return an array of the file and mark it as read."""
        if name not in self.arrays:
            raise ValueError(f"{WHERE}: no array {name!r}")
        self.read.add(name)
        return self.arrays[name]

    def put(self, net: Network, name: str, source: str) -> None:
        """Copy one array; transpose weights (out, in, ...) to (..., in, out)."""
        values, target = self.get(source), net[name]
        if values.ndim > 1:
            values = np.moveaxis(values, (0, 1), (-1, -2))
        if values.shape != target.shape:
            raise ValueError(f"{WHERE}: expected {target.shape} in {source}, got {values.shape}")
        target[...] = values


def _some(names: Iterable[str]) -> str:
    """Return a text with up to five names and the number of other names."""
    every = list(names)
    more = f" and {len(every) - 5} more" if len(every) > 5 else ""
    return ", ".join(every[:5]) + more

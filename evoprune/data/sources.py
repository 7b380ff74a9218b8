"""Data sets: MNIST comes with the package, others are read from files or arrays of yours.

Each function gives `Dataset` objects, mostly a pair (train, test), with the normalisation of the
training set for both. Nothing here downloads, and nothing here knows a network; what a data set is
stands in _dataset.py, what files look like in _files.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.types import Array
from evoprune.data.dataset import Dataset, Normaliser, Text, normaliser
from evoprune.data.formats import cifar_records, idx_folder, read_idx

__all__ = [
    "Dataset",
    "Text",
    "arrays",
    "cifar10",
    "digits",
    "fashion_mnist",
    "idx",
    "mnist",
    "read_idx",
    "text",
]

StrPath: TypeAlias = str | PathLike[str]

MNIST_MEAN, MNIST_STD = 33.318421449829934, 78.56748998339798
"""Mean and standard deviation of MNIST's 47,040,000 training pixels, of 255."""

_FASHION = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CHUNK = 1 << 20  # numbers looked at in one go; bounds what a pass over a memory map needs


def arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    name: str = "data",
    shape: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    shift: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    normalise: Literal["none", "global", "feature"] = "none",
) -> Dataset:
    """Make a data set of arrays, lists or memory maps; arrays are not copied.

    Args:
        x: (samples, features...), real numbers.
        y: targets, one a sample. Strings become class numbers, in alphabetical order.
        name, shape, classes, shift, scale: see `Dataset`.
        normalise: "global" and "feature" set shift and scale to the mean and 1 / standard deviation
            of all of x or of each feature (1 where a feature is constant). Give a test set the
            shift and scale of its training set instead.

    Raises:
        ValueError, TypeError: as `Dataset`; or x holds NaN or infinity and is to be normalised.
    """
    labels = np.asarray(y)
    if labels.dtype.kind in "OUST" and labels.ndim == 1 and all(isinstance(v, str) for v in labels):
        names, labels = np.unique(labels, return_inverse=True)
        classes = tuple(map(str, names)) if classes is None else classes
    elif classes is None and labels.dtype.kind in "iub" and labels.ndim == 1 and labels.size:
        classes = tuple(map(str, range(int(labels.max()) + 1)))
    data = Dataset(x, labels, name=name, shape=shape, classes=classes, shift=shift, scale=scale)
    if normalise == "none":
        return data
    if normalise not in ("global", "feature"):
        raise ValueError(f"normalise: expected none, global or feature, got {normalise!r}")
    data.shift, data.scale = _moments(data.x, normalise == "feature")
    return data


def mnist(root: StrPath | None = None) -> tuple[Dataset, Dataset]:
    """Handwritten digits: 60,000 to train, 10,000 to test, (28, 28, 1) uint8, 10 classes.

    Comes with the package; unpacked once a process (0.2 s) and kept in memory (55 MB), read-only.
    Normalised by the mean and standard deviation of all training pixels.

    Args:
        root: a folder with the four idx files, to read them from there instead.

    Raises:
        FileNotFoundError, ValueError: as `idx`.
    """
    images = _bundled() if root is None else idx_folder(Path(root))
    normal = {"shift": MNIST_MEAN, "scale": 1 / MNIST_STD}
    return _pair("mnist", images, tuple("0123456789"), **normal)


def fashion_mnist(root: StrPath) -> tuple[Dataset, Dataset]:
    """Photographs of clothes: 60,000 to train, 10,000 to test, (28, 28, 1) uint8, 10 classes.

    Args:
        root: the folder with the four idx files, packed (.gz) or not.

    Raises:
        FileNotFoundError, ValueError: as `idx`.
    """
    classes = [name.replace("_", " ") for name in _FASHION.split()]
    return idx(root, name="fashion-mnist", classes=classes)


def idx(
    root: StrPath, *, name: str | None = None, classes: Sequence[str] | None = None
) -> tuple[Dataset, Dataset]:
    """Read a folder laid out like MNIST: train and t10k, images and labels, in idx files.

    Files that end in .gz are unpacked into memory, others are mapped from disk. Normalised by the
    mean and standard deviation of all training pixels.

    Args:
        root: the folder.
        name: the folder's name if not given.
        classes: names of the classes; their numbers if not given.

    Returns:
        Training and test set; sample shapes are (height, width, 1).

    Raises:
        FileNotFoundError: a file is missing (the names tried are listed).
        ValueError: a file is truncated, of another format, or does not match its sibling.
    """
    folder = Path(root)
    parts = idx_folder(folder)
    if classes is None:
        classes = tuple(map(str, range(1 + max(int(labels.max()) for _, labels in parts))))
    shift, scale = _moments(parts[0][0].reshape(len(parts[0][0]), -1), False)
    return _pair(name or folder.resolve().name, parts, classes, shift=shift, scale=scale)


def digits(seed: int = 0) -> tuple[Dataset, Dataset]:
    """Small handwritten digits of scikit-learn: 1,437 to train, 360 to test, (8, 8, 1), 10 classes.

    Pixels are 0 to 16, float32, divided by 16. `seed` chooses the split.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "datasets.digits() reads scikit-learn's copy: pip install 'evoprune[sklearn]'"
        ) from error
    x, y = load_digits(return_X_y=True)
    data = Dataset(
        x.astype(np.float32),
        y.astype(np.uint8),
        name="digits",
        shape=(8, 8, 1),
        classes=tuple("0123456789"),
        scale=1 / 16,
    )
    return data.split(360, seed)


def cifar10(root: StrPath) -> tuple[Dataset, Dataset]:
    """Small photographs: 50,000 to train, 10,000 to test, (32, 32, 3) uint8, 10 classes.

    Normalised by the mean and standard deviation of each colour of the training set.

    Args:
        root: the folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin (the "binary
            version"), or one above it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not a whole number of records, or holds a label above 9.
    """
    folder = Path(root)
    if (folder / "cifar-10-batches-bin").is_dir():
        folder /= "cifar-10-batches-bin"
    batches = [cifar_records(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
    train = tuple(np.concatenate(part) for part in zip(*batches, strict=True))
    shift, scale = _moments(train[0].reshape(-1, 3), True)
    normal = {"shift": np.tile(shift, 1024), "scale": np.tile(scale, 1024)}
    test = cifar_records(folder / "test_batch.bin")
    return _pair("cifar10", [(train[0], train[1]), test], _CIFAR10.split(), **normal)


def text(path: StrPath, context: int = 64, *, held_out: float = 0.1, stride: int = 1) -> Text:
    """Read a UTF-8 text for predicting the next character.

    Args:
        path: the file.
        context: characters in a sample.
        held_out: the share at the end that is for validation.
        stride: characters from one training sample to the next; 1 takes every position.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or too short for `context`.
    """
    file = Path(path)
    try:
        content = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8 text, got {error}") from error
    return Text(content, context=context, held_out=held_out, stride=stride, name=file.stem)


@cache
def _bundled() -> list[tuple[Array, Array]]:
    return idx_folder(Path(__file__).parent)


def _pair(
    name: str,
    parts: Sequence[tuple[Array, Array]],
    classes: Sequence[str],
    shift: ArrayLike,
    scale: ArrayLike,
) -> tuple[Dataset, Dataset]:
    """Training and test set of two (images, labels), all with the same normalisation."""
    made = []
    for part, (x, y) in zip(("train", "test"), parts, strict=True):
        if int(y.max()) >= len(classes):
            raise ValueError(
                f"{name}/{part}: expected labels 0 to {len(classes) - 1}, got {int(y.max())}"
            )
        shape = x.shape[1:] if x.ndim == 4 else (*x.shape[1:], 1)
        title = f"{name}/{part}"
        made.append(
            Dataset(x, y, name=title, shape=shape, classes=classes, shift=shift, scale=scale)
        )
    return made[0], made[1]


def _moments(x: Array, by_feature: bool) -> tuple[Normaliser, Normaliser]:
    """Mean and 1 / standard deviation of x (n, features), over all of it or over its rows.

    Chunk by chunk, so that a memory map need not fit into memory; exact for uint8 taken whole.
    """
    step = max(1, _CHUNK // x.shape[1])
    chunks = [slice(at, at + step) for at in range(0, len(x), step)]
    if x.dtype == np.uint8 and not by_feature:
        counts = np.zeros(256, np.int64)
        for chunk in chunks:
            counts += np.bincount(x[chunk].ravel(), minlength=256)
        levels = np.arange(256)
        mean = np.float64(counts @ levels) / x.size
        variance = counts @ (levels - mean) ** 2 / x.size
    else:
        axis, n = (0, len(x)) if by_feature else (None, x.size)
        total: Any = sum(x[chunk].sum(axis, np.float64) for chunk in chunks)
        mean = total / n
        total = sum(((x[chunk] - mean) ** 2).sum(axis) for chunk in chunks)
        variance = total / n
    if not np.isfinite(variance).all():
        raise ValueError("x: expected finite numbers to normalise by, got NaN or infinity")
    scale = 1 / np.sqrt(np.where(variance > 0, variance, 1))
    return normaliser("shift", mean, x.shape[1]), normaliser("scale", scale, x.shape[1])

"""Data sets: the bundled MNIST, and others read from files or made from arrays.

Most functions return a pair (train, test) of `Dataset` objects, both with the normalization of the
training set. Nothing here downloads files or uses neural networks. `Dataset` is in dataset.py, the
readers of file formats are in formats.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.checks import one_of
from evoprune.common.renames import renamed, spelled
from evoprune.common.types import Array
from evoprune.data.dataset import Dataset, Normalizer, Text, normalizer
from evoprune.data.formats import cifar_pickle, cifar_records, idx_folder, read_idx
from evoprune.data.inputs import finite
from evoprune.data.labels import coded

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
"""Mean and standard deviation of MNIST's 47,040,000 training pixels, which are 0 to 255."""

_FASHION = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CHUNK = 1 << 20  # elements processed at a time; bounds the memory of a pass over a memory map


@renamed(normalise="normalize")
def arrays(
    x: Any,
    y: Any,
    *,
    name: str = "data",
    shape: Sequence[int] | None = None,
    classes: Sequence[Any] | None = None,
    shift: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    normalize: Literal["none", "global", "feature"] = "none",
    normalize_target: bool = False,
) -> Dataset:
    """Make a data set from arrays, lists, data frames, tensors or memory maps.

    Numeric arrays are not copied. Labels become codes, their indices in `classes`. For a test set,
    pass the `classes`, shift and scale of the training set.

    Args:
        x: (samples, features...), real numbers.
        y: targets, one per sample: values; or labels, which can be text, booleans, integers,
            categories, or one-hot rows.
        name, shape: see `Dataset`.
        classes: the classes in the order of their codes. By default: the categories of a
            categorical in their order; text in alphabetical order (in numerical order if all of it
            is integers); False and True; or 0 to the largest integer.
        shift, scale: see `Dataset`.
        normalize: "global" and "feature" set shift and scale to the mean and 1 / standard deviation
            of all of x or of each feature (scale 1 for a feature that is constant up to rounding).
        normalize_target: for regression: let networks learn (y - mean) / standard deviation of each
            output; predictions are still in the units of y.

    Raises:
        ValueError: as for `Dataset`; a label is missing or not in `classes` (the message gives its
            row); or data to be normalized has NaN or infinity.
        TypeError: as for `Dataset`; labels have several types, or targets cannot be normalized.
    """
    one_of("normalize", normalize, ("none", "global", "feature"))
    labels = coded(y, classes)
    data = Dataset(
        x, labels.codes, name=name, shape=shape, classes=labels.classes, shift=shift, scale=scale
    )
    data._numbered = labels.numbered
    if normalize != "none":
        data.shift, data.scale = _moments("x", data.table.x, normalize == "feature")
    if normalize_target:
        if labels.classes is not None and not labels.numbered:
            raise TypeError("normalize_target: expected values, got class labels")
        targets = data.table.y.reshape(len(data), -1)
        data.target_shift, data.target_scale = _moments("y", targets, True)
        data.classes = None
    return data


@spelled
def mnist(root: StrPath | None = None) -> tuple[Dataset, Dataset]:
    """Load MNIST: images (28, 28, 1) uint8 of handwritten digits, 10 classes.

    There are 60,000 training and 10,000 test images. The files are part of the package. They are
    unpacked once per process (0.2 s) and kept in memory (55 MB), read-only. Pixels are normalized
    by mean and standard deviation of the training set.

    Args:
        root: a folder with the four idx files, to read instead of the bundled ones.

    Raises:
        FileNotFoundError, ValueError: as for `idx`.
    """
    images = _bundled() if root is None else idx_folder(Path(root))
    normal = {"shift": MNIST_MEAN, "scale": 1 / MNIST_STD}
    return _pair("mnist", images, tuple("0123456789"), **normal)


def fashion_mnist(root: StrPath) -> tuple[Dataset, Dataset]:
    """Load Fashion-MNIST: images (28, 28, 1) uint8 of clothes, 10 classes.

    There are 60,000 training and 10,000 test images.

    Args:
        root: the folder with the four idx files, compressed (.gz) or not.

    Raises:
        FileNotFoundError, ValueError: as for `idx`.
    """
    classes = [name.replace("_", " ") for name in _FASHION.split()]
    return idx(root, name="fashion-mnist", classes=classes)


@spelled
def idx(
    root: StrPath, *, name: str | None = None, classes: Sequence[str] | None = None
) -> tuple[Dataset, Dataset]:
    """Read a folder laid out like MNIST: train and t10k, images and labels, in idx files.

    Files that end in .gz are unpacked into memory, others are memory-mapped. Pixels are normalized
    by the mean and standard deviation of the training set.

    Args:
        root: the folder.
        name: name of the data set; the folder's name by default.
        classes: names of the classes; their codes by default.

    Returns:
        Training and test set; samples are (height, width, 1).

    Raises:
        FileNotFoundError: a file is missing; the message lists the expected names.
        ValueError: a file is truncated, has another format, or does not match its counterpart.
    """
    folder = Path(root)
    parts = idx_folder(folder)
    if classes is None:
        classes = tuple(map(str, range(1 + max(int(labels.max()) for _, labels in parts))))
    shift, scale = _moments("x", parts[0][0].reshape(len(parts[0][0]), -1), False)
    return _pair(name or folder.resolve().name, parts, classes, shift=shift, scale=scale)


@spelled
def digits(seed: int = 0) -> tuple[Dataset, Dataset]:
    """Load scikit-learn's handwritten digits: small images (8, 8, 1) of 10 classes.

    There are 1,437 training and 360 test images. Pixels are 0 to 16, float32; networks read them
    with scale 1/16. `seed` determines the split.

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
    """Load CIFAR-10: small photographs (32, 32, 3) uint8 of 10 classes.

    There are 50,000 training and 10,000 test images. Pixels are normalized by the mean and standard
    deviation of each color of the training set.

    Args:
        root: the folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin (the "binary
            version"), or the same without .bin (the "Python version"), or the folder that has
            cifar-10-batches-bin or cifar-10-batches-py.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is truncated, or has a label outside 0 to 9.
    """
    folder = Path(root)
    for part in ("cifar-10-batches-bin", "cifar-10-batches-py"):
        if (folder / part).is_dir():
            folder /= part
            break
    pickled = (folder / "test_batch").is_file()
    read, end = (cifar_pickle, "") if pickled else (cifar_records, ".bin")
    batches = [read(folder / f"data_batch_{i}{end}") for i in range(1, 6)]
    train = tuple(np.concatenate(part) for part in zip(*batches, strict=True))
    shift, scale = _moments("x", train[0].reshape(-1, 3), True)
    normal = {"shift": np.tile(shift, 1024), "scale": np.tile(scale, 1024)}
    test = read(folder / f"test_batch{end}")
    return _pair("cifar10", [(train[0], train[1]), test], _CIFAR10.split(), **normal)


@spelled
def text(
    path: StrPath,
    context: int = 64,
    *,
    held_out: float = 0.1,
    stride: int = 1,
    vocabulary: Sequence[str] | None = None,
) -> Text:
    """Read a UTF-8 text for predicting the next character; a byte order mark is skipped.

    Args:
        path: the file.
        context: number of characters in a sample.
        held_out: the share of the text, at its end, for validation.
        stride: distance between training samples in characters; 1 uses every position.
        vocabulary: characters in the order of their codes, such as the `classes` of a network that
            was trained on another text; by default the characters of this text.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8, is too short for `context`, or has a character that is
            not in `vocabulary`.
    """
    file = Path(path)
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8 text, got {error}") from error
    return Text(
        content,
        context=context,
        held_out=held_out,
        stride=stride,
        name=file.stem,
        vocabulary=vocabulary,
    )


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
    """Make training and test set from two (images, labels), with the same normalization."""
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


def _moments(name: str, x: Array, by_feature: bool) -> tuple[Normalizer, Normalizer]:
    """Return mean and 1 / standard deviation of x (n, features), of all elements or by feature.

    Both are computed in float64, in chunks, so that a memory map need not fit into memory; global
    moments of uint8 are exact. Scale is 1 for values that are constant up to rounding.
    """
    step = max(1, _CHUNK // x.shape[1])
    chunks = [slice(at, at + step) for at in range(0, len(x), step)]
    if x.dtype == np.uint8 and not by_feature:
        counts = np.zeros(256, np.int64)
        for chunk in chunks:
            counts += np.bincount(x[chunk].ravel(), minlength=256)
        levels = np.arange(256)
        mean: Any = np.float64(counts @ levels) / x.size
        deviation: Any = np.sqrt(counts @ (levels - mean) ** 2 / x.size)
        constant: Any = np.count_nonzero(counts) == 1
    else:
        axis, n = (0, len(x)) if by_feature else (None, x.size)
        # Summing differences from the first sample avoids cancellation if values have an offset.
        base = x[0].astype(np.float64) if by_feature else np.float64(x[0, 0])
        total: Any = 0.0
        low: Any = np.inf
        high: Any = -np.inf
        with np.errstate(all="ignore"):  # NaN and infinity are rejected below
            for chunk in chunks:
                part = x[chunk].astype(np.float64) - base
                total = total + part.sum(axis)
                low, high = np.minimum(low, part.min(axis)), np.maximum(high, part.max(axis))
            middle, span = total / n, np.where(high > low, high - low, 1.0)
            # Divide by the span first, so that squares neither overflow nor underflow.
            shares = ((x[c].astype(np.float64) - base - middle) / span for c in chunks)
            deviation = span * np.sqrt(sum((share**2).sum(axis) for share in shares) / n)
            size = np.maximum(np.abs(base + low), np.abs(base + high))
            mean = base + middle
        short = x.dtype.kind == "f" and x.dtype.itemsize < 8
        rounding = np.finfo(x.dtype).eps if short else 4 * np.finfo(np.float64).eps
        constant = high - low <= rounding * size
    if not np.isfinite(mean).all():
        finite(name, x)
    scale = 1 / np.where(constant, 1, deviation)
    return normalizer("shift", mean, x.shape[1]), normalizer("scale", scale, x.shape[1])

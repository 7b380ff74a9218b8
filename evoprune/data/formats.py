"""Read data set files: idx (compressed or not), CIFAR-10's records and pickles.

Files are untrusted: each is validated first, and an error names the file, what was expected and
what was found. Uncompressed files are memory-mapped. Compressed ones are unpacked into memory,
within a limit that depends on the file's size. Nothing here depends on what the values mean.
"""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoprune.common.files import existing
from evoprune.common.renames import spelled

Array = NDArray[Any]

# Third byte of an idx file -> dtype of its elements, big-endian.
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_U1 = 0x08
_CIFAR_RECORD = 1 + 3 * 32 * 32
_ROOM, _RATIO = 16 << 20, 64  # limit of unpacked bytes: _ROOM plus _RATIO per compressed byte


@spelled
def read_idx(path: str | PathLike[str], expect: int | None = None) -> Array:
    """Read one idx file into a read-only array; one-byte elements are not copied.

    Args:
        path: the file. It is unpacked into memory if its name ends in .gz, else memory-mapped.
        expect: the required magic number, such as 0x00000803 (uint8, 3 dimensions).

    Returns:
        An array of the shape stated in the file, in native byte order.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read, or is a device.
        ValueError: the file is not gzip, is truncated, has another magic number, or its size does
            not match its shape.
    """
    file = existing(path)
    content = _unpack(file) if file.suffix == ".gz" else _map(file)
    head = bytes(content[:4])
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or head[3] == 0:
        wanted = "an idx magic number (00 00 type dimensions)"
        raise ValueError(f"{file}: expected {wanted}, got {head.hex(' ') or 'an empty file'}")
    magic = int.from_bytes(head)
    if expect is not None and magic != expect:
        raise ValueError(f"{file}: expected magic number 0x{expect:08x}, got 0x{magic:08x}")
    start = 4 + 4 * head[3]
    if len(content) < start:
        raise ValueError(f"{file}: expected a header of {start} bytes, got {len(content)} in all")
    shape = tuple(int.from_bytes(bytes(content[at : at + 4])) for at in range(4, start, 4))
    kind = np.dtype(_IDX_TYPES[head[2]])
    size = start + prod(shape) * kind.itemsize
    if len(content) != size:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"{file}: expected {size} bytes for {sizes}, got {len(content)}")
    array = content[start:].view(kind).reshape(shape)
    if kind.itemsize > 1:
        array = array.astype(kind.newbyteorder("="))
    array.flags.writeable = False
    return array


def idx_folder(folder: Path) -> list[tuple[Array, Array]]:
    """Read images and labels of train and t10k from a folder laid out like MNIST.

    Returns:
        [(images (n, height, width) or (n, height, width, colors) uint8, labels (n,) uint8)] for
        train, then for t10k.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: as for `read_idx`; or the numbers of images and labels differ, or training and
            test images have different sizes.
    """
    parts = []
    for part in ("train", "t10k"):
        image_file = _find(folder, f"{part}-images", 3, 4)
        label_file = _find(folder, f"{part}-labels", 1)
        images = read_idx(image_file, _IDX_U1 << 8 | (4 if "idx4" in image_file.name else 3))
        labels = read_idx(label_file, _IDX_U1 << 8 | 1)
        if len(images) == 0:
            raise ValueError(f"{image_file}: expected images, got none")
        if len(images) != len(labels):
            raise ValueError(
                f"{label_file}: expected {len(images)} labels, as many as images in "
                f"{image_file.name}, got {len(labels)}"
            )
        parts.append((images, labels))
    (train, _), (test, _) = parts
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{folder}: expected test images of {train.shape[1:]} pixels as in training, "
            f"got {test.shape[1:]}"
        )
    return parts


def cifar_records(file: Path) -> tuple[Array, Array]:
    """Read one file of CIFAR-10's binary version.

    Returns:
        Images (n, 32, 32, 3) uint8, labels (n,) uint8.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read, or is a device.
        ValueError: the size is not a multiple of a record's 3,073 bytes, or a label is above 9.
    """
    content = _map(file)
    if len(content) == 0 or len(content) % _CIFAR_RECORD:
        raise ValueError(
            f"{file}: expected a whole number of records of {_CIFAR_RECORD} bytes, "
            f"got {len(content)} bytes"
        )
    records = content.reshape(-1, _CIFAR_RECORD)
    labels = records[:, 0].copy()
    if labels.max() > 9:
        raise ValueError(f"{file}: expected labels 0 to 9, got {labels.max()}: not CIFAR-10?")
    # On disk, a record is ordered (colors, height, width); here colors are the last axis.
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


class _Arrays(pickle.Unpickler):
    """Unpickle NumPy arrays and plain values, and reject every other class and function."""

    _KNOWN = frozenset({"_reconstruct", "ndarray", "dtype", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        """Return the class or function of this name, if unpickling arrays needs it."""
        numpy = module.split(".")[0] == "numpy" or module == "_codecs"
        if not numpy or name not in self._KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def cifar_pickle(file: Path) -> tuple[Array, Array]:
    """Read one file of CIFAR-10's Python version; only arrays and plain values are unpickled.

    Returns:
        Images (n, 32, 32, 3) uint8, labels (n,) uint8.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not such a pickle, or a label is outside 0 to 9.
    """
    try:
        with file.open("rb") as opened:
            content = _Arrays(opened, encoding="bytes").load()
        pixels, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{file}: not a batch of CIFAR-10 in Python's format ({error})") from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072) or labels.ndim != 1:
        raise ValueError(
            f"{file}: expected uint8 of {len(labels)} x 3072, got {pixels.dtype} {pixels.shape}"
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{file}: expected labels 0 to 9: not CIFAR-10?")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.uint8)


def _find(folder: Path, stem: str, *dimensions: int) -> Path:
    """Return the idx file with any usual spelling of its name; prefer an uncompressed file."""
    spellings = [f"{stem}{sep}idx{n}-ubyte" for n in dimensions for sep in "-."]
    names = [name + end for end in ("", ".gz") for name in spellings]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: expected one of {', '.join(names)}, found none")


def _map(file: Path) -> NDArray[np.uint8]:
    if existing(file).stat().st_size == 0:
        return np.empty(0, np.uint8)  # an empty file cannot be mapped
    return np.memmap(file, np.uint8, "r")


def _unpack(file: Path) -> NDArray[np.uint8]:
    """Return the unpacked content of a gzip file, reading in pieces up to the limit."""
    packed = file.read_bytes()
    if packed[:2] != b"\x1f\x8b":
        raise ValueError(
            f"{file}: expected a gzip file (magic 1f 8b), got {packed[:2].hex(' ') or 'nothing'}"
        )
    most = _ROOM + _RATIO * len(packed)
    content = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            while piece := stream.read(1 << 20):
                content += piece
                if len(content) > most:
                    raise ValueError(
                        f"{file}: {len(packed)} bytes that unpack to more than {most}; if that is "
                        f"right, unpack the file first: gunzip {file.name}"
                    )
    except EOFError as error:
        raise ValueError(
            f"{file}: the gzip stream ends too early, after {len(packed)} bytes; truncated?"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file}: the gzip stream is damaged: {error}") from error
    return np.frombuffer(content, np.uint8)

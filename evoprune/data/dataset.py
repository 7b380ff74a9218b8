"""What a data set is: arrays, which of their rows belong to it, and how inputs are made of them.

The arrays are held as they are (uint8 stays uint8, a memory map stays on disk); an input is
(x - shift) * scale, made batch by batch by whoever draws the batches, so `split` and `subset` cost
an index, no copy. Nothing here reads files, shuffles or trains.
"""

from __future__ import annotations

import html
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from evoprune.common.checks import instance
from evoprune.common.types import Array

Normaliser: TypeAlias = float | NDArray[np.float32]


class Dataset:
    """Samples and targets, and how to make inputs of them.

    Attributes:
        x: (n, features), any real type; the rows that `rows` names are this set's samples.
        y: (n,) class numbers or values, or (n, outputs), or (n, positions) for sequences.
        rows: int64 row numbers into x and y, or None for all of them in order.
        shape: the shape of one sample, features last: (28, 28, 1), (64,), ...
        classes: names of the classes, in the order of their numbers; None for a regression.
        shift, scale: an input is (x - shift) * scale; each a float, or float32 of (features,).
        name: for tables and titles.

    Arrays are held, not copied (x of more than two dimensions is seen as (n, features)).

    Raises:
        ValueError: wrong ranks, lengths or shapes, no samples, rows out of range.
        TypeError: x or y is not made of real numbers.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        name: str = "data",
        shape: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        shift: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        rows: ArrayLike | None = None,
    ) -> None:
        self.x, self.y = _numbers("x", x), _numbers("y", y)
        if self.x.ndim < 2:
            raise ValueError(f"x: expected (samples, features...), got shape {self.x.shape}")
        if self.y.ndim < 1 or len(self.y) != len(self.x):
            raise ValueError(
                f"y: expected {len(self.x)} targets, one a sample of x, got shape {self.y.shape}"
            )
        if self.x.size == 0:
            raise ValueError(f"x: expected at least one number, got shape {self.x.shape}")
        self.shape = tuple(int(n) for n in (self.x.shape[1:] if shape is None else shape))
        if self.x.ndim > 2:
            self.x = self.x.reshape(len(self.x), -1)
        self.features: int = self.x.shape[1]
        if prod(self.shape) != self.features:
            raise ValueError(f"shape: expected {self.features} features, got {self.shape}")
        self.name = name
        self.classes = None if classes is None else tuple(str(c) for c in classes)
        self.shift = normaliser("shift", shift, self.features)
        self.scale = normaliser("scale", scale, self.features)
        self.rows = None if rows is None else _row_numbers(rows, len(self.x))

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.x) if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        """Name, samples x shape, type, classes."""
        return f"Dataset({', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        facts = html.escape(" · ".join(self._facts()[1:]))
        return f"<div><b>{html.escape(self.name)}</b> {facts}<br>{_thumbnails(self)}</div>"

    def _facts(self) -> list[str]:
        kind = f"{len(self.classes)} classes" if self.classes else f"targets {self.y.shape[1:]}"
        size = f"{len(self):,} x {' x '.join(map(str, self.shape))} {self.x.dtype}"
        return [repr(self.name), size, kind]

    def subset(self, indices: ArrayLike | slice, name: str | None = None) -> Dataset:
        """Make a data set of some samples, by number within this one: a slice, numbers or a mask.

        Only row numbers are stored (8 bytes a sample); x and y are shared.

        Raises:
            ValueError: a number out of range, a mask of another length, nothing chosen.
        """
        mine = np.arange(len(self.x)) if self.rows is None else self.rows
        if not isinstance(indices, slice):
            indices = _row_numbers(indices, len(self))
        return self._with(mine[indices], name or self.name)

    def split(self, n: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Split at random into (the rest, `n` samples held out); both keep the order of this set.

        Args:
            n: how many to hold out, or, below 1, what share of the samples.
            seed: the same seed gives the same split.

        Raises:
            ValueError: either part would be empty.
        """
        held = round(n * len(self)) if 0 < n < 1 else int(n)
        if not 0 < held < len(self):
            raise ValueError(f"n: expected to hold out 1 to {len(self) - 1} samples, got {n}")
        order = np.random.default_rng(seed).permutation(len(self))
        rest, part = np.sort(order[held:]), np.sort(order[:held])
        return self.subset(rest), self.subset(part, f"{self.name} (held out)")

    def batch(self, indices: ArrayLike | slice = slice(None)) -> tuple[Array, Array]:
        """Copy out inputs and targets of some samples, as a network would get them.

        Returns:
            Inputs (count, features), float32 where they are shifted or scaled and of x's own type
            otherwise; targets (count, ...) of y's type.
        """
        if not isinstance(indices, slice):
            indices = _row_numbers(indices, len(self))
        chosen = indices if self.rows is None else self.rows[indices]
        x, y = self.x[chosen].copy(), self.y[chosen].copy()
        if np.any(self.shift != 0) or np.any(self.scale != 1):
            x = (x.astype(np.float32) - np.float32(self.shift)) * np.float32(self.scale)
        return x, y

    def _with(self, rows: Array, name: str) -> Dataset:
        if len(rows) == 0:
            raise ValueError("indices: expected at least one sample, got none")
        return Dataset(
            self.x,
            self.y,
            name=name,
            shape=self.shape,
            classes=self.classes,
            shift=self.shift,
            scale=self.scale,
            rows=rows,
        )


class Text:
    """A text as numbers, for predicting the next character.

    Attributes:
        codes: (characters,) uint8 (int32 for more than 256 different ones): places in `vocabulary`.
        vocabulary: the different characters of the text, in order of code point.
        context: characters in a sample.
        train, validation: samples x (n, context) and their targets y (n, context), y being x moved
            on by one character; both are views of `codes`, whose rows overlap.
        name: for tables and titles.
    """

    def __init__(
        self,
        content: str,
        *,
        context: int = 64,
        held_out: float = 0.1,
        stride: int = 1,
        name: str = "text",
    ) -> None:
        if context < 1 or stride < 1:
            raise ValueError(f"context, stride: expected 1 or more, got {context}, {stride}")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out: expected a share between 0 and 1, got {held_out}")
        points, codes = np.unique(_code_points(content), return_inverse=True)
        self.name, self.context = name, context
        self.vocabulary = "".join(map(chr, points))
        self.codes = codes.astype(np.uint8 if len(points) <= 256 else np.int32)
        self.codes.flags.writeable = False
        cut = int((1 - held_out) * len(codes))
        shortest = min(cut, len(codes) - cut)
        if shortest <= context:
            raise ValueError(
                f"content: expected parts of more than {context} characters (context), got a text "
                f"of {len(codes)} whose shorter part has {shortest}"
            )
        self.train = self._windows(self.codes[:cut], stride, "train")
        # One window after the other: every character is predicted once.
        self.validation = self._windows(self.codes[cut:], context, "validation")

    def _windows(self, codes: Array, stride: int, part: str) -> Dataset:
        x, y = (sliding_window_view(c, self.context)[::stride] for c in (codes[:-1], codes[1:]))
        return Dataset(x, y, name=f"{self.name}/{part}", classes=tuple(self.vocabulary))

    def __len__(self) -> int:
        """Count the characters."""
        return len(self.codes)

    def __repr__(self) -> str:
        """Name, characters, size of the vocabulary, context."""
        different = len(self.vocabulary)
        return (
            f"Text({self.name!r}, {len(self):,} characters, {different} different, "
            f"context {self.context})"
        )

    def _repr_html_(self) -> str:
        start = html.escape(self.decode(self.codes[:200]))
        return f"<div>{html.escape(repr(self))}<pre>{start}…</pre></div>"

    def __iter__(self) -> Iterator[Dataset]:
        """Unpack as train, validation = text."""
        return iter((self.train, self.validation))

    def encode(self, content: str) -> Array:
        """Turn a string into codes, (len(content),) of the type of `codes`.

        Raises:
            ValueError: a character that the vocabulary lacks.
        """
        known, points = _code_points(self.vocabulary), _code_points(content)
        places = np.minimum(np.searchsorted(known, points), len(known) - 1)
        strange = np.flatnonzero(known[places] != points)
        if len(strange):
            at = int(strange[0])
            raise ValueError(
                f"content: character {content[at]!r} at {at} is not among the "
                f"{len(self.vocabulary)} of the vocabulary"
            )
        return places.astype(self.codes.dtype)

    def decode(self, codes: ArrayLike) -> str:
        """Turn codes into the string they stand for.

        Raises:
            ValueError: a code that is not 0 to len(vocabulary) - 1.
        """
        places = _row_numbers(codes, len(self.vocabulary), "codes")
        return "".join(self.vocabulary[i] for i in places)


def _numbers(name: str, values: ArrayLike) -> Array:
    """`values` as an array, itself if it is one; bool is seen as uint8."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array


def _row_numbers(values: ArrayLike, n: int, name: str = "indices") -> NDArray[np.int64]:
    """Integers 0 to n - 1, or a mask of n, as int64; negative ones count from the end."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        if array.shape != (n,):
            raise ValueError(f"{name}: expected a mask of shape ({n},), got {array.shape}")
        return np.flatnonzero(array)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected whole numbers in one dimension, got {array.dtype} {array.shape}"
        )
    low, high = int(array.min()), int(array.max())
    if low < -n or high >= n:
        raise ValueError(f"{name}: expected numbers below {n}, got {low} to {high}")
    return (array % n if low < 0 else array).astype(np.int64, copy=False)


def normaliser(name: str, value: ArrayLike, features: int) -> Normaliser:
    """A finite number as float, or one for each feature as float32 (features,)."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (features,)):
        raise ValueError(f"{name}: expected a number or shape ({features},), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return float(array) if array.ndim == 0 else np.ascontiguousarray(array, np.float32)


def _thumbnails(data: Dataset, count: int = 10) -> str:
    """The first samples side by side, as an inline PNG, where they are images; else nothing."""
    if len(data.shape) != 3 or data.shape[2] not in (1, 3) or max(data.shape) > 256:
        return ""
    height, width, channels = data.shape
    first = slice(0, min(count, len(data)))
    rows = data.x[first] if data.rows is None else data.x[data.rows[first]]
    pixels = rows.reshape(-1, height, width, channels).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    if not np.isfinite(high - low):
        return ""
    strip = np.moveaxis(pixels, 0, 1).reshape(height, -1)
    levels = np.round((strip - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    # PNG: every line starts with the number of its filter, 0 for none.
    lines = np.pad(levels, ((0, 0), (1, 0))).tobytes()
    size = struct.pack(
        ">IIBBBBB", len(pixels) * width, height, 8, 0 if channels == 1 else 2, 0, 0, 0
    )
    png = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", size), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        png += struct.pack(">I", len(body)) + kind + body
        png += struct.pack(">I", zlib.crc32(kind + body))
    image = b64encode(png).decode()
    return f'<img alt="the first {len(pixels)} samples" src="data:image/png;base64,{image}">'


def _code_points(content: str) -> NDArray[np.uint32]:
    instance("content", content, str)
    return np.frombuffer(content.encode("utf-32-le", "surrogatepass"), np.uint32)

"""Data sets: raw samples, row indices into shared arrays, and the normalization for a network.

Arrays are stored unchanged (uint8 stays uint8, a memory map stays on disk), so `split` and `subset`
only store row indices. A data set always returns raw samples; a network trained on it adopts the
shift and scale of the data set and applies them to inputs. Nothing here reads files, shuffles
or trains.
"""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterator, Sequence
from io import BytesIO
from math import prod
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from evoprune.common.checks import instance, number, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.data.inputs import as_array, as_numbers, column_names

Normalizer: TypeAlias = float | NDArray[np.float64]


class Table(NamedTuple):
    """Inputs and targets for the core: sample i is row rows[i], or row i if `rows` is None."""

    x: Array
    y: Array
    rows: Array | None

    @property
    def targets(self) -> Array:
        """Return the targets of the selected rows."""
        return self.y if self.rows is None else self.y[self.rows]

    def copied(self) -> tuple[Array, Array]:
        """Return the selected rows of inputs and targets: copies, or the arrays if all are used."""
        return (self.x, self.y) if self.rows is None else (self.x[self.rows], self.y[self.rows])


@spelled
class Dataset:
    """Raw samples and their targets, with the normalization that a network applies.

    It is a sequence: `data[i]` is (sample, target), the sample of shape `shape`; `data[2:5]` is a
    data set of three samples; `for x, y in data` iterates over all; `np.asarray(data)` has all
    samples, (n, *shape). All returned values are raw: a network adopts `shift` and `scale` when it
    is trained on the data set, and applies them itself.

    Attributes:
        x: raw samples, (n, features), any real type; a subset has only its own samples.
        y: targets, class codes or values: (n,), (n, outputs), or (n, positions) for sequences.
        shape: the shape of one sample, features last: (28, 28, 1), (64,), ...
        classes: names of the classes, in the order of their codes; None for a regression.
        feature_names: names of the columns of a data frame; None for other data.
        shift, scale: a network reads x as (x - shift) * scale; each a float, or (features,).
        target_shift, target_scale: a network learns (y - target_shift) * target_scale, and predicts
            in the units of y; if None, it learns y itself.
        name: name for tables and titles.
        table: the whole arrays and the row indices of this data set.

    Arrays are not copied (x of more than two dimensions is reshaped to (n, features)).

    Raises:
        ValueError: ranks, lengths or shapes are wrong, there are no samples, or rows are out of
            range.
        TypeError: x or y does not hold real numbers; `datasets.arrays` also takes labels by name.
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
        target_shift: ArrayLike | None = None,
        target_scale: ArrayLike | None = None,
        rows: ArrayLike | None = None,
    ) -> None:
        inputs, targets = as_numbers("x", x), as_numbers("y", y)
        if inputs.ndim < 2:
            raise ValueError(f"x: expected (samples, features...), got shape {inputs.shape}")
        if targets.ndim < 1 or len(targets) != len(inputs):
            raise ValueError(
                f"y: expected {len(inputs)} targets, one per sample of x, got shape {targets.shape}"
            )
        if inputs.size == 0:
            raise ValueError(f"x: expected at least one number, got shape {inputs.shape}")
        sizes = inputs.shape[1:] if shape is None else shape
        self.shape = tuple(whole("shape", n, 0, 2**63 - 1) for n in sizes)
        if inputs.ndim > 2:
            inputs = inputs.reshape(len(inputs), -1)
        self.features: int = inputs.shape[1]
        if prod(self.shape) != self.features:
            raise ValueError(f"shape: expected {self.features} features, got {self.shape}")
        self.name = name
        self.classes = None if classes is None else tuple(str(c) for c in classes)
        self.shift = normalizer("shift", shift, self.features)
        self.scale = normalizer("scale", scale, self.features)
        self.target_shift: Normalizer | None = None
        self.target_scale: Normalizer | None = None
        if target_shift is not None or target_scale is not None:
            outputs = prod(targets.shape[1:])
            self.target_shift = normalizer(
                "target_shift", 0.0 if target_shift is None else target_shift, outputs
            )
            self.target_scale = normalizer(
                "target_scale", 1.0 if target_scale is None else target_scale, outputs
            )
        self.table = Table(
            inputs, targets, None if rows is None else _row_numbers(rows, len(inputs))
        )
        self.feature_names = column_names(x)
        self._numbered = False  # True: class names are just their codes
        self._spelled = False  # True for a text: samples and targets are character codes

    @property
    def x(self) -> Array:
        """Raw samples, (n, features); a copy if their rows in the table are not contiguous."""
        return self.table.x if self.table.rows is None else self.table.x[self._slice_or_rows()]

    @property
    def y(self) -> Array:
        """Targets, (n, ...); a copy if their rows in the table are not contiguous."""
        return self.table.y if self.table.rows is None else self.table.y[self._slice_or_rows()]

    def _slice_or_rows(self) -> Any:
        """Return the rows, as a slice if they are contiguous, which avoids a copy."""
        rows = self.table.rows
        if rows is not None and len(rows) and bool((np.diff(rows) == 1).all()):
            return slice(int(rows[0]), int(rows[-1]) + 1)
        return rows

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.table.x if self.table.rows is None else self.table.rows)

    @overload
    def __getitem__(self, index: int) -> tuple[Array, Any]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | Array) -> Dataset: ...
    def __getitem__(self, index: Any) -> Any:
        """Return (sample, target) for an integer; a data set for a slice, integers or a mask.

        Raises:
            IndexError: the integer is out of range.
            ValueError: as for `subset`.
        """
        if isinstance(index, slice) or np.ndim(index):
            return self.subset(index)
        at = whole("index", index, -(2**63), 2**63 - 1)
        if not -len(self) <= at < len(self):
            raise IndexError(f"index: expected a number below {len(self)}, got {at}")
        row = at % len(self) if self.table.rows is None else int(self.table.rows[at])
        return self.table.x[row].reshape(self.shape), self.table.y[row]

    def __iter__(self) -> Iterator[tuple[Array, Any]]:
        """Iterate over (sample, target), in order."""
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all raw samples, (n, *shape)."""
        x = self.x.reshape(-1, *self.shape)
        made = x if dtype is None else x.astype(dtype, copy=False)
        if copy is False and not np.shares_memory(made, self.table.x):
            raise ValueError("copy: expected True or None for chosen rows or another dtype")
        return made.copy() if copy and np.shares_memory(made, self.table.x) else made

    def __repr__(self) -> str:
        """Return name, number of samples x shape, dtype and classes."""
        return f"Dataset({', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        facts = html.escape(" · ".join(self._facts()[1:]))
        return f"<div><b>{html.escape(self.name)}</b> {facts}<br>{_thumbnails(self)}</div>"

    def _facts(self) -> list[str]:
        targets = self.table.y.shape[1:]
        kind = f"{len(self.classes)} classes" if self.classes else f"targets {targets}"
        size = f"{len(self):,} x {' x '.join(map(str, self.shape))} {self.table.x.dtype}"
        return [repr(self.name), size, kind]

    @spelled
    def subset(self, indices: ArrayLike | slice, name: str | None = None) -> Dataset:
        """Return a data set of the samples at `indices`: a slice, integers or a mask.

        Only row indices are stored (8 bytes per sample); the table is shared.

        Raises:
            ValueError: an index is out of range, a mask has another length, or the subset is empty.
        """
        mine = np.arange(len(self.table.x)) if self.table.rows is None else self.table.rows
        if not isinstance(indices, slice):
            indices = _row_numbers(indices, len(self))
        return self._with(mine[indices], name or self.name)

    @spelled
    def split(self, n: float, seed: int = 0, *, stratify: bool = False) -> tuple[Dataset, Dataset]:
        """Split at random into (the rest, `n` held-out samples); both keep the order of this set.

        Args:
            n: number of samples to hold out (an integer), or their share of all samples (below 1).
            seed: the same seed gives the same split.
            stratify: hold out the same share of every class, up to rounding.

        Raises:
            ValueError: either part would be empty, or `stratify` is set and targets are not class
                codes.
        """
        rest, part = split_rows("n", n, len(self), seed, self.y if stratify else None)
        return self.subset(rest), self.subset(part, f"{self.name} (validation)")

    def batch(self, indices: ArrayLike | slice = slice(None)) -> tuple[Array, Array]:
        """Return copies of raw samples (count, features) and targets (count, ...).

        A network scales them itself: `net.predict(data.batch(slice(10))[0])`.
        """
        rows = self._rows(indices)
        return self.table.x[rows].copy(), self.table.y[rows].copy()

    def scaled(self, indices: ArrayLike | slice = slice(None)) -> Array:
        """Return (x - shift) * scale of some samples: float32 (count, features), for inspection.

        A network applies shift and scale itself: pass it raw samples.
        """
        x = self.table.x[self._rows(indices)]
        return np.asarray((x.astype(np.float64) - self.shift) * self.scale, np.float32)

    def _rows(self, indices: ArrayLike | slice) -> Any:
        if not isinstance(indices, slice):
            indices = _row_numbers(indices, len(self))
        return indices if self.table.rows is None else self.table.rows[indices]

    def _with(self, rows: Array, name: str) -> Dataset:
        if len(rows) == 0:
            raise ValueError("indices: expected at least one sample, got none")
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        made.name, made.table = name, Table(self.table.x, self.table.y, rows)
        return made


def split_rows(
    name: str, n: Any, samples: int, seed: int, classes: Array | None = None
) -> tuple[Array, Array]:
    """Split sample indices at random into (the rest, `n` held-out ones), each ascending.

    `n` is a number of samples or a share of them. With `classes`, the class codes of all samples,
    class shares are nearly the same in both parts.

    Raises:
        ValueError, TypeError: either part would be empty, or n is not a number.
    """
    if isinstance(n, np.floating):
        n = float(n)
    if isinstance(n, float) and not n.is_integer():
        share = number(name, n, 0, 1)
        held = round(share * samples)
        if not 0 < held < samples:
            raise ValueError(
                f"{name}: expected a share that leaves samples in both parts, got {n}, which of "
                f"{samples} samples is {held}"
            )
    else:
        if isinstance(n, float):
            raise ValueError(
                f"{name}: expected a share between 0 and 1, or a whole number of samples "
                f"from 1 to {samples - 1}, got {n!r}"
            )
        held = whole(name, n, -(2**63), 2**63 - 1)
        if not 0 < held < samples:
            raise ValueError(f"{name}: expected 1 to {samples - 1} samples, got {n}")
    order = np.random.default_rng(whole("seed", seed, 0, 2**63 - 1)).permutation(samples)
    if classes is not None:
        order = stratified(classes, order)
    return np.sort(order[held:]), np.sort(order[:held])


@spelled
class Text:
    """A text as character codes, for predicting the next character.

    Attributes:
        codes: indices in `vocabulary`, (characters,): uint8, or int32 if the vocabulary has more
            than 256 characters.
        vocabulary: the characters in the order of their codes: those given, such as a network's
            `classes`, or else the distinct characters of the text in order of code point.
        context: number of characters in a sample.
        train, validation: data sets of samples x (n, context) and targets y (n, context), the
            characters one position later; x and y are views of `codes`.
        name: name for tables and titles.
    """

    def __init__(
        self,
        content: str,
        *,
        context: int = 64,
        held_out: float = 0.1,
        stride: int = 1,
        name: str = "text",
        vocabulary: Sequence[str] | None = None,
    ) -> None:
        if context < 1 or stride < 1:
            raise ValueError(f"context, stride: expected 1 or more, got {context}, {stride}")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out: expected a share between 0 and 1, got {held_out}")
        points = np.unique(_code_points(content if vocabulary is None else "".join(vocabulary)))
        self.name, self.context = name, context
        self.vocabulary = "".join(map(chr, points)) if vocabulary is None else "".join(vocabulary)
        if len(points) != len(self.vocabulary):
            raise ValueError("vocabulary: expected different characters, got one more than once")
        codes = self.encode(content)
        self.codes = codes
        self.codes.flags.writeable = False
        cut = int((1 - held_out) * len(codes))
        shortest = min(cut, len(codes) - cut)
        if shortest <= context:
            raise ValueError(
                f"content: expected parts of more than {context} characters (context), got a text "
                f"of {len(codes)} whose shorter part has {shortest}"
            )
        self.train = self._windows(self.codes[:cut], stride, "train")
        # The stride equals the context length, so that windows do not overlap: every character is
        # predicted once.
        self.validation = self._windows(self.codes[cut:], context, "validation")

    def _windows(self, codes: Array, stride: int, part: str) -> Dataset:
        x, y = (sliding_window_view(c, self.context)[::stride] for c in (codes[:-1], codes[1:]))
        made = Dataset(x, y, name=f"{self.name}/{part}", classes=tuple(self.vocabulary))
        made._spelled = True
        return made

    def __len__(self) -> int:
        """Return the number of characters."""
        return len(self.codes)

    def __repr__(self) -> str:
        """Return name, number of characters, size of the vocabulary and context."""
        different = len(self.vocabulary)
        return (
            f"Text({self.name!r}, {len(self):,} characters, {different} different, "
            f"context {self.context})"
        )

    def _repr_html_(self) -> str:
        start = html.escape(self.decode(self.codes[:200]))
        return f"<div>{html.escape(repr(self))}<pre>{start}…</pre></div>"

    def __iter__(self) -> Iterator[Dataset]:
        """Iterate over the two parts, so that `train, validation = text` works."""
        return iter((self.train, self.validation))

    def encode(self, content: str) -> Array:
        """Return the codes of a string, (len(content),), with the dtype of `codes`.

        Raises:
            ValueError: a character is not in the vocabulary.
        """
        known, points = _code_points(self.vocabulary), _code_points(content)
        order = np.argsort(known, kind="stable")
        places = order[np.minimum(np.searchsorted(known, points, sorter=order), len(known) - 1)]
        strange = np.flatnonzero(known[places] != points)
        if len(strange):
            at = int(strange[0])
            raise ValueError(
                f"content: character {content[at]!r} at {at} is not among the "
                f"{len(self.vocabulary)} of the vocabulary"
            )
        return places.astype(np.uint8 if len(known) <= 256 else np.int32)

    def decode(self, codes: ArrayLike) -> str:
        """Return the string that codes stand for.

        Raises:
            ValueError: a code is out of range.
        """
        places = _row_numbers(codes, len(self.vocabulary), "codes")
        return "".join(self.vocabulary[i] for i in places)


def stratified(y: Array, order: Array) -> Array:
    """Reorder sample indices so that each contiguous part has about the same class shares.

    Args:
        y: class codes (n,).
        order: a permutation of 0 to n - 1; within each class, this order is kept.

    Raises:
        ValueError: y does not hold one class code per sample.
    """
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise ValueError(
            f"stratify: expected class numbers, one per sample, got {y.dtype} of shape {y.shape}"
        )
    place = np.empty(len(y))  # position of each sample within its class, 0 to 1
    shuffled = y[order]
    by_class = np.argsort(shuffled, kind="stable")
    counts = np.unique(shuffled, return_counts=True)[1]
    within = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    place[by_class] = within
    spread: Array = order[np.argsort(place, kind="stable")]
    return spread


def _row_numbers(values: ArrayLike, n: int, name: str = "indices") -> NDArray[np.int64]:
    """Convert indices (negative: from the end) or a mask (n,) to int64 indices from 0 to n - 1."""
    array = as_array(name, values)
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


def normalizer(name: str, value: ArrayLike, features: int) -> Normalizer:
    """Return `value`, checked to be finite: a float, or float64 (features,)."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (features,)):
        raise ValueError(f"{name}: expected a number or shape ({features},), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return float(array) if array.ndim == 0 else np.ascontiguousarray(array)


def _thumbnails(data: Dataset, count: int = 10) -> str:
    """Return an inline PNG with the first samples in a row if they are images, else ""."""
    if len(data.shape) != 3 or data.shape[2] not in (1, 3) or max(data.shape) > 256:
        return ""
    height, width, channels = data.shape
    first = slice(0, min(count, len(data)))
    pixels = data.batch(first)[0].reshape(-1, height, width, channels).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    if not np.isfinite(high - low):
        return ""
    strip = np.moveaxis(pixels, 0, 1).reshape(height, -1)
    levels = np.round((strip - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    from PIL import Image  # comes with matplotlib

    png = BytesIO()
    shape = (height, -1) if channels == 1 else (height, -1, channels)
    Image.fromarray(levels.reshape(shape)).save(png, "PNG")
    image = b64encode(png.getvalue()).decode()
    return f'<img alt="the first {len(pixels)} samples" src="data:image/png;base64,{image}">'


def _code_points(content: str) -> NDArray[np.uint32]:
    instance("content", content, str)
    return np.frombuffer(content.encode("utf-32-le", "surrogatepass"), np.uint32)

"""Convert a user's data to numeric NumPy arrays: lists, data frames, tensors, memory maps.

Numeric arrays are returned unchanged. Data that is not numeric is rejected with the row and column
of the first such value. Types of other libraries are recognized by their methods, without importing
these libraries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from evoprune.common.types import Array

DEEPEST = 16  # limit of the nesting depth of lists; no array here has that many axes

__all__ = [
    "as_array",
    "as_numbers",
    "column_names",
    "finite",
    "laid_out",
    "missing",
    "same_columns",
]


def as_array(name: str, value: Any) -> Array:
    """Return `value` as an array of any dtype, without a copy if it is an array already.

    Raises:
        TypeError: `value` is a sparse matrix, or NumPy cannot convert it.
        ValueError: values are masked, or rows have different lengths.
    """
    if isinstance(value, np.ma.MaskedArray):
        hidden = np.argwhere(np.ma.getmaskarray(value))
        if len(hidden):
            at = _place(tuple(hidden[0]))
            raise ValueError(f"{name}: expected no masked values, got one in {at}; fill or drop it")
        return np.asarray(value.data)
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "toarray") and hasattr(value, "tocsr"):
        kind = type(value).__name__
        raise TypeError(f"{name}: expected a dense array, got a sparse {kind}; give .toarray()")
    value = _settled(name, value)
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()  # a PyTorch tensor
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        array = np.asarray(value)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        ragged = "inhomogeneous" in str(error)
        why = "its rows have different lengths" if ragged else str(error)
        kind = type(value).__name__
        raise (ValueError if ragged else TypeError)(
            f"{name}: expected an array of numbers, got a {kind} that NumPy cannot turn into one "
            f"({why})"
        ) from error
    if array.dtype == object and array.ndim == 0 and value is not None:
        raise TypeError(f"{name}: expected an array of numbers, got {type(value).__name__}")
    return array


def _settled(name: str, value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Return `value` with all lists and tuples in it copied, since NumPy reads a list twice.

    __index__ or __array__ of an element may change the list in between, and NumPy would then read
    past its end. The core copies its arguments in the same way.
    """
    if not isinstance(value, list | tuple):
        return value
    if id(value) in inside or len(inside) == DEEPEST:
        raise ValueError(f"{name}: expected an array, got a list that holds itself or many others")
    items = [*value]
    if not any(issubclass(kind, list | tuple) for kind in set(map(type, items))):
        return items
    return [_settled(name, item, (*inside, id(value))) for item in items]


def as_numbers(name: str, value: Any) -> Array:
    """Return `value` as an array of real numbers of a dtype that the core reads.

    Arrays of these dtypes are returned unchanged. bool becomes uint8; types that the core does not
    read (float128, uint64, Python numbers, nullable columns) become float64.

    Raises:
        TypeError: a value is not a real number (text, dates, complex numbers); for Python objects,
            the message gives row and column.
        ValueError: a value is missing or masked, or rows have different lengths.
    """
    columns = _columns(value)
    if columns is not None:
        read = [_real(f"{name}: column {label!r}", as_array(name, c)) for label, c in columns]
        if not read:
            raise ValueError(f"{name}: expected at least one column, got none")
        return read[0][:, None] if len(read) == 1 else np.column_stack(read)
    return _real(name, as_array(name, value))


def _columns(value: Any) -> list[tuple[Any, Any]] | None:
    """Return labels and columns of a pandas or polars data frame; None for other types."""
    if isinstance(value, np.ndarray):
        return None
    if hasattr(value, "iter_columns") and hasattr(value, "columns"):
        return [(column.name, column) for column in value.iter_columns()]
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        return [(label, value.iloc[:, i]) for i, label in enumerate(value.columns)]
    return None


def column_names(value: Any) -> tuple[str, ...] | None:
    """Return the columns' names of a data frame; None for other types, or if any is not text."""
    labels = [label for label, _ in _columns(value) or ()]
    named = bool(labels) and all(isinstance(label, str) for label in labels)
    return tuple(labels) if named else None


def same_columns(
    name: str, found: tuple[str, ...] | None, expected: tuple[str, ...] | None
) -> None:
    """Check that data has the columns of the training data, in the same order.

    Data without column names, such as an array, passes.

    Raises:
        ValueError: a column differs; the message names the first such column.
    """
    if found is None or expected is None or found == expected:
        return
    where = f"{name}: expected the columns of the training data"
    lacking = [label for label in expected if label not in found]
    others = [label for label in found if label not in expected]
    if lacking or others:
        without = f"none named {lacking[0]!r}" if lacking else ""
        more = f"one named {others[0]!r}" if others else ""
        raise ValueError(f"{where}, got {' and '.join(filter(None, (without, more)))}")
    at = next(i for i in range(len(expected)) if i == len(found) or found[i] != expected[i])
    raise ValueError(
        f"{where} in their order, {expected[at]!r} at {at}, got {[*found, None][at]!r}; a network "
        "has them as feature_names"
    )


def _real(name: str, array: Array) -> Array:
    kind = array.dtype.kind
    if kind == "b":
        return array.view(np.uint8)
    if kind in "iuf":
        wide = array.dtype.itemsize > 8 or (kind == "u" and array.dtype.itemsize == 8)
        return array.astype(np.float64) if wide else array
    if kind == "O":
        return _of_objects(name, array)
    texts = {"U": "text", "S": "bytes", "T": "text", "M": "dates", "m": "durations"}
    what = texts.get(kind, "complex numbers" if kind == "c" else f"dtype {array.dtype}")
    hint = "; encode it as numbers first" if kind in "UST" else ""
    raise TypeError(f"{name}: expected real numbers, got {what}{hint}")


def _of_objects(name: str, array: Array) -> Array:
    """Cast Python numbers to float64; report the first object that is not a number."""
    numbers = np.empty(array.shape, np.float64)
    flat = numbers.reshape(-1)
    for i, item in enumerate(array.flat):
        at = tuple(int(n) for n in np.unravel_index(i, array.shape))
        if missing(item) and not isinstance(item, float):
            raise ValueError(
                f"{name}: expected numbers, got a missing value ({item}) in {_place(at)}"
            )
        try:
            if isinstance(item, str | bytes | complex):
                raise TypeError
            flat[i] = float(item)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name}: expected real numbers, got {item!r} in {_place(at)}; encode it as "
                "numbers first"
            ) from None
    return numbers


def finite(name: str, x: Array) -> None:
    """Check that samples have neither NaN nor infinity.

    Raises:
        ValueError: a sample has NaN or infinity; the message gives row and column.
    """
    if x.dtype.kind != "f" or not x.size:
        return
    # Fast path: a finite sum of squares proves that all elements are finite.
    if x.dtype.itemsize > 2 and math.isfinite(np.vdot(x, x)):
        return
    rows = x.reshape(len(x), -1)
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        at = tuple(bad[0])
        raise ValueError(f"{name}: expected finite numbers, got {rows[at]} in {_place(at)}")


def missing(value: Any) -> bool:
    """Return True for None, NaN, and pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _place(at: Iterable[int]) -> str:
    names = ("row", "column")
    parts = [f"{names[i] if i < 2 else 'axis ' + str(i)} {int(n)}" for i, n in enumerate(at)]
    return ", ".join(parts) or "a single value"


def laid_out(
    name: str, x: Array, shape: tuple[int, ...], sample: tuple[int, ...] | None = None
) -> bool:
    """Check that samples of x fit the input shape of a network; return True if x is one sample.

    Axes of length 1 are ignored and samples may be flat, (features,). A network that reads
    flat samples takes samples of any shape with the same number of elements.

    Args:
        name: name of the argument, for error messages.
        x: samples, or one sample.
        shape: the network's input shape.
        sample: shape of one sample, if x is from a data set; by default, the shape of a row of x.

    Raises:
        ValueError: x fits neither as samples nor as one sample; the message gives both shapes.
    """
    size = int(np.prod(shape))
    if sample is None and x.ndim == 1 and size == 1:
        return False  # samples with one feature each
    stated = x.shape[1:] if sample is None else sample
    if x.ndim and (sample is not None or x.ndim > 1) and _fits(stated, shape):
        return False
    if sample is None and x.ndim and _fits(x.shape, shape):
        return True
    numbers = " x ".join(map(str, shape))
    raise ValueError(
        f"{name}: expected samples of shape {shape} ({numbers} numbers, the network's input) or "
        f"flat rows of {size}, got "
        + (f"an array of shape {x.shape}" if sample is None else f"samples of shape {sample}")
    )


def _fits(stated: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    size = int(np.prod(shape))
    if int(np.prod(stated)) != size:
        return False
    flat = len(stated) == 1 or len(shape) == 1
    return flat or [n for n in stated if n != 1] == [n for n in shape if n != 1]

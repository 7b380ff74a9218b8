"""Convert class labels to codes, which are indices in `classes`.

Labels are matched by name, so that a test set has the codes of its training set even if it lacks
some classes. Integers are codes already, unless `classes` are integers too.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evoprune.common.types import Array
from evoprune.data.inputs import as_array, missing

__all__ = ["Labels", "coded", "is_bool", "is_named", "one_hot", "recoded", "whole_codes"]

MOST = 100_000  # maximum number of classes that get names if targets are integers


class Labels(NamedTuple):
    """Codes, names of the classes, and whether these names are just the codes."""

    codes: Array
    classes: tuple[str, ...] | None
    numbered: bool


def is_named(y: Any) -> bool:
    """Return True if targets are labels by name (text, categories), not numbers."""
    if _categories(y) is not None:
        return True
    array = y if isinstance(y, np.ndarray) else as_array("y", y)
    kind = array.dtype.kind
    return kind in "UST" or (
        kind == "O" and any(isinstance(item, str | bytes) for item in array.flat)
    )


def is_bool(y: Any) -> bool:
    """Return True if targets are booleans."""
    array = y if isinstance(y, np.ndarray) else as_array("y", y)
    return array.dtype.kind == "b" or (
        array.dtype == object
        and array.size > 0
        and all(isinstance(item, bool | np.bool_) for item in array.flat)
    )


def coded(y: Any, classes: Sequence[Any] | None = None, name: str = "y") -> Labels:
    """Return the codes of labels and the names of the classes.

    Args:
        y: labels: text, booleans, integers (also as floats), categories, or, with `classes`,
            one-hot rows. Without `classes`, other numbers are values, returned unchanged.
        classes: the classes in the order of their codes. By default: the categories of a
            categorical in their order; text in alphabetical order (in numerical order if all of it
            is integers); False and True; or 0 to the largest integer.
        name: name of the argument, for error messages.

    Raises:
        ValueError: a label is missing or not in `classes`; the message gives its row.
        TypeError: labels have several types, or an unsupported one.
    """
    if classes is not None and len(set(map(str, classes))) < len(classes):
        raise ValueError(f"classes: expected different names, got {_listed(classes)}")
    found = _categories(y)
    if found is not None:
        codes, categories = found
        _no_missing(name, codes < 0, "a missing label")
        names = tuple(map(str, categories))
        if classes is None:
            return Labels(codes, names, False)
        return Labels(
            recoded(name, codes, names, tuple(map(str, classes))), tuple(map(str, classes)), False
        )
    if isinstance(y, list | tuple) and any(isinstance(item, str) for item in y):
        y = np.array(y, object)  # keeps 1 and "1" distinct
    array = as_array(name, y)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "UOTS":
        array = array[:, 0]
    kind = array.dtype.kind
    if kind == "O":
        array = _of_one_type(name, array)
        kind = array.dtype.kind
    if kind == "S":
        array, kind = np.char.decode(array, "utf-8"), "U"
    if kind in "UT":
        return _of_names(name, array, classes)
    if kind == "b":
        bools = ("False", "True")
        if classes is not None and tuple(map(str, classes)) == bools[::-1]:
            array = ~array
        given = bools if classes is None else tuple(map(str, classes))
        return Labels(_within(name, array.view(np.uint8), given), given, False)
    if kind not in "iuf":
        raise TypeError(f"{name}: expected labels or real numbers, got dtype {array.dtype}")
    return _of_numbers(name, array, classes)


def _of_numbers(name: str, array: Array, classes: Sequence[Any] | None) -> Labels:
    if classes is None:
        whole = array.dtype.kind in "iu" and array.ndim == 1 and array.size > 0
        most = int(array.max()) if whole else -1
        if not whole or int(array.min()) < 0 or most >= MOST:
            return Labels(array, None, True)
        return Labels(array, tuple(map(str, range(most + 1))), True)
    names = tuple(map(str, classes))
    if array.ndim == 2 and array.shape[1] == len(names) > 1:
        hot = one_hot(array)
        if hot is not None:
            return Labels(hot, names, False)
    codes = whole_codes(name, array)
    if all(isinstance(c, numbers.Integral) and not isinstance(c, bool) for c in classes):
        values = np.array([int(c) for c in classes], np.int64)
        order = np.argsort(values)
        places = order[np.minimum(np.searchsorted(values, codes, sorter=order), len(values) - 1)]
        _known(name, codes, values[places] == codes, names)
        return Labels(places, names, False)
    return Labels(_within(name, codes, names), names, False)


def _of_names(name: str, array: Array, classes: Sequence[Any] | None) -> Labels:
    found, codes = np.unique(array, return_inverse=True)
    codes = codes.reshape(array.shape)
    names = [str(label) for label in found]
    if classes is None:
        if all(re.fullmatch(r"[+-]?\d+", label) for label in names):
            order = sorted(range(len(names)), key=lambda i: (int(names[i]), names[i]))
            places = np.empty(len(order), np.int64)
            places[order] = np.arange(len(order))
            names, codes = [names[i] for i in order], places[codes]
        return Labels(codes, tuple(names), False)
    given = tuple(map(str, classes))
    return Labels(recoded(name, codes, tuple(names), given), given, False)


def recoded(
    name: str, codes: Array, before: tuple[str, ...], after: tuple[str, ...], rows: Any = None
) -> Array:
    """Return codes for another list of classes, matched by name.

    Args:
        name: name of the argument, for error messages.
        codes: indices in `before`; -1 (no label) stays.
        before, after: names of the classes.
        rows: indices of the rows in use; only these are checked. None: all rows.

    Raises:
        ValueError: a label in use is not in `after`.
    """
    if before == after:
        return codes
    place = {label: i for i, label in enumerate(after)}
    # Maps old codes to new ones; -2: not in `after`. The last element maps -1 (no label) to itself.
    table = np.array([*(place.get(label, -2) for label in before), -1], np.int64)
    _within(name, codes if rows is None else codes[rows], before, least=-1)
    made = table[np.clip(codes.astype(np.int64, copy=False), -1, len(before) - 1)]
    meant, there = (made, codes) if rows is None else (made[rows], codes[rows])
    wrong = np.argwhere(meant == -2)
    if len(wrong):
        label = before[int(there[tuple(wrong[0])])]
        _refuse(name, repr(label), int(wrong[0][0]), after)
    return made


def one_hot(array: Array) -> Array | None:
    """Return the index of the 1 along the last axis; None if some row is not one-hot."""
    ones = array == 1
    if not array.size or not ((array == 0) | ones).all() or not (ones.sum(-1) == 1).all():
        return None
    return np.asarray(ones.argmax(-1))


def whole_codes(name: str, array: Array, rows: Any = None) -> Array:
    """Return integral floats as int64, booleans as uint8, and other numbers unchanged.

    Raises:
        ValueError: a value is missing (NaN); the message gives its row.
        TypeError: a value is not integral; the message gives its row.
    """
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind != "f":
        return array
    meant = np.atleast_1d(array if rows is None else array[rows])
    _no_missing(name, np.isnan(meant), "a missing label (nan)")
    wrong = np.argwhere((meant != np.floor(meant)) | (np.abs(meant) > 2**53))
    if len(wrong):
        value, row = meant[tuple(wrong[0])], int(wrong[0][0])
        raise TypeError(
            f"{name}: expected whole-number class labels, got {value:g} in row {row}; for values, "
            'train with loss="mean_squared_error"'
        )
    with np.errstate(invalid="ignore"):  # unused rows may hold any value
        return array.astype(np.int64)


def _categories(y: Any) -> tuple[Array, list[Any]] | None:
    """Return codes and categories of a pandas categorical or a polars Enum; else None."""
    if isinstance(y, np.ndarray | list | tuple):
        return None
    if hasattr(y, "iloc") and hasattr(y, "columns") and len(y.columns) == 1:
        y = y.iloc[:, 0]
    values = getattr(y, "cat", None) if type(y).__module__.startswith("pandas") else None
    values = y if values is None else values
    if type(y).__module__.startswith("polars"):
        if "Enum" not in str(getattr(y, "dtype", "")):
            return None
        codes = y.to_physical().fill_null(2**31 - 1).to_numpy().astype(np.int64)
        return np.where(codes == 2**31 - 1, -1, codes), list(y.dtype.categories)
    if hasattr(values, "categories") and hasattr(values, "codes"):
        return np.asarray(values.codes, np.int64), list(values.categories)
    return None


def _of_one_type(name: str, array: Array) -> Array:
    """Cast an array of Python objects to text, bytes, booleans or numbers.

    Raises:
        ValueError: a value is missing; the message gives its row.
        TypeError: the objects have several types, or an unsupported one.
    """
    flags = np.fromiter((missing(item) for item in array.flat), bool, array.size)
    if flags.any():
        at = int(np.argmax(flags))
        row = int(np.unravel_index(at, array.shape)[0])
        raise ValueError(
            f"{name}: expected a label, got a missing value ({array.flat[at]}) in row {row}; drop "
            "the sample or give it a class"
        )
    kinds = {_kind_of(item) for item in array.flat}
    if len(kinds) > 1 or not kinds <= {"text", "bytes", "bool", "number"}:
        odd = [next(i for i in array.flat if _kind_of(i) == kind) for kind in sorted(kinds)]
        raise TypeError(
            f"{name}: expected labels of one type, got {' and '.join(map(repr, odd[:2]))}"
        )
    to = {"text": str, "bytes": bytes, "bool": bool}.get(kinds.pop() if kinds else "number")
    if to is not None:
        return array.astype(to)
    floats = array.astype(np.float64)
    whole = bool((floats == np.floor(floats)).all()) and bool((np.abs(floats) < 2**53).all())
    return floats.astype(np.int64) if whole else floats


def _kind_of(item: Any) -> str:
    kinds = ((str, "text"), (bytes, "bytes"), (bool | np.bool_, "bool"), (numbers.Real, "number"))
    return next((name for kind, name in kinds if isinstance(item, kind)), type(item).__name__)


def _no_missing(name: str, flags: Array, what: str) -> None:
    if flags.any():
        row = int(np.argwhere(flags)[0][0])
        raise ValueError(
            f"{name}: expected a label, got {what} in row {row}; drop the sample or give it a class"
        )


def _within(name: str, codes: Array, classes: tuple[str, ...], least: int = 0) -> Array:
    wrong = (codes < least) | (codes >= len(classes))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        _refuse(name, str(codes[at]), int(at[0]), classes)
    return codes


def _known(name: str, values: Array, right: Array, classes: tuple[str, ...]) -> None:
    if not right.all():
        at = tuple(np.argwhere(~right)[0])
        _refuse(name, str(values[at]), int(at[0]), classes)


def _refuse(name: str, label: str, row: int, classes: tuple[str, ...]) -> None:
    raise ValueError(
        f"{name}: expected labels of the {len(classes)} classes {_listed(classes)}, got {label} in "
        f"row {row}"
    )


def _listed(classes: Sequence[Any]) -> str:
    names = [str(c) for c in classes]
    return ", ".join(names if len(names) <= 8 else [*names[:6], "...", names[-1]])

"""Read a CSV file as a data set: numeric columns and one target column.

Scaling and class names come from the file, or from another data set, such as the training set.
Errors give the line and the column in the file.
"""

from __future__ import annotations

import csv as reader
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.data.dataset import Dataset
from evoprune.data.inputs import same_columns

__all__ = ["column_at", "csv", "is_whole", "number_in", "read_cells"]


@spelled
def csv(
    path: str | PathLike[str],
    target: str | int = -1,
    *,
    regression: bool | None = None,
    like: Dataset | None = None,
    delimiter: str = ",",
) -> Dataset:
    """Read a CSV file: every column except the target is a feature.

    Each feature is normalized by its mean and standard deviation. The first line is a header if it
    has text in a numeric column.

    Args:
        path: the file, in UTF-8.
        target: the column to predict: its name, or its index, from the end if negative.
        regression: True: the target is a value; False: it is a class label; None: it is a label if
            the column has text or only integers.
        like: a data set, such as the training set, whose normalization and classes to use.
        delimiter: separator of columns.

    Returns:
        A data set of features (n, columns - 1) float32, named by the header, and class codes (n,),
        with `classes` in alphabetical or numerical order, or values (n, 1) float32.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: there are no rows, rows differ in length, a cell is empty or not a number, the
            target column does not exist, or a label is not in `like`.
    """
    file = Path(path)
    first, header, rows = read_cells(file, delimiter)
    if len(rows[0]) < 2:
        raise ValueError(
            f"{file}: expected a feature and a target, got 1 column; another delimiter?"
        )
    place = column_at(file, target, header, len(rows[0]))
    names = header or [str(i) for i in range(len(rows[0]))]
    features = tuple(header[:place] + header[place + 1 :]) or None
    x = np.empty((len(rows), len(names) - 1), np.float64)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row[:place] + row[place + 1 :]):
            column = names[j if j < place else j + 1]
            x[i, j] = number_in(cell, f"{file}: line {first + i}, column {column!r}")
    words = [row[place].strip() for row in rows]
    where = [f"{file}: line {first + i}, column {names[place]!r}" for i in range(len(rows))]
    if like is not None:
        regression = like.classes is None
    elif regression is None:
        regression = all(map(_is_number, words)) and not all(map(is_whole, words))
    if like is None:
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        varies = deviation > 1e-12 * np.abs(mean)
        shift, scale = mean, 1 / np.where(varies, deviation, 1.0)
    else:
        shift, scale = np.asarray(like.shift), np.asarray(like.scale)
        if x.shape[1] != like.features:
            raise ValueError(f"{file}: expected {like.features} features, got {x.shape[1]}")
        same_columns(str(file), features, like.feature_names)
    classes = None
    if regression:
        y: Array = np.array(
            [[number_in(w, at)] for w, at in zip(words, where, strict=True)], np.float32
        )
    else:
        known = _classes(words, where) if like is None or like.classes is None else like.classes
        classes, y = known, _codes(words, known, where)
    data = Dataset(
        x.astype(np.float32), y, name=file.stem, classes=classes, shift=shift, scale=scale
    )
    data.feature_names = features
    return data


def read_cells(file: Path, delimiter: str = ",") -> tuple[int, list[str], list[list[str]]]:
    """Return the line number of the first row, the header (empty if none), and the rows."""
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = [row for row in reader.reader(opened, delimiter=delimiter) if row]
    header: list[str] = []
    if rows and not all(_is_number(cell) for cell in rows[0]):
        later = rows[1] if len(rows) > 1 else rows[0]
        # Text above a number is a header; text above text is a label.
        if any(_is_number(b) and not _is_number(a) for a, b in zip(rows[0], later, strict=False)):
            header = [name.strip() for name in rows.pop(0)]
    if not rows:
        raise ValueError(f"{file}: expected at least one row, got none")
    first = 2 if header else 1
    width = len(header or rows[0])
    for i, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"{file}: line {first + i}: expected {width} cells, got {len(row)}")
    return first, header, rows


def column_at(file: Path, target: str | int, header: list[str], width: int) -> int:
    """Return the index of a column that is given by name or by index."""
    if isinstance(target, str):
        if target not in header:
            known = ", ".join(header) or "no header, give its place"
            raise ValueError(f"{file}: target: expected one of {known}, got {target!r}")
        return header.index(target)
    if not -width <= target < width:
        raise ValueError(f"{file}: target: expected a column below {width}, got {target}")
    return target % width


def number_in(cell: str, where: str) -> float:
    """Return the finite number in a cell; error messages begin with `where`."""
    try:
        value = float(cell)
    except ValueError:
        got = repr(cell) if cell.strip() else "an empty cell"
        raise ValueError(f"{where}: expected a number, got {got}") from None
    if not np.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {cell!r}")
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_whole(cell: str) -> bool:
    """Return True if a cell holds a whole number."""
    return _is_number(cell) and float(cell).is_integer()


def _classes(words: list[str], where: list[str]) -> tuple[str, ...]:
    for word, at in zip(words, where, strict=True):
        if not word:
            raise ValueError(f"{at}: expected a label, got an empty cell")
    if all(map(is_whole, words)):
        return tuple(str(n) for n in sorted({int(float(word)) for word in words}))
    return tuple(sorted(set(words)))


def _codes(words: list[str], classes: tuple[str, ...], where: list[str]) -> NDArray[np.int64]:
    places = {name: i for i, name in enumerate(classes)}
    codes = np.empty(len(words), np.int64)
    for i, word in enumerate(words):
        name = word if word in places or not is_whole(word) else str(int(float(word)))
        if name not in places:
            raise ValueError(f"{where[i]}: expected one of {', '.join(classes)}, got {word!r}")
        codes[i] = places[name]
    return codes

"""Inputs and targets as the core takes them, from what a user gives; and scores on them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.types import Array
from evoprune.data.dataset import Dataset

__all__ = ["Pair", "Scaling", "Score", "Table", "arrays_of", "table_of"]

Pair: TypeAlias = tuple[ArrayLike, ArrayLike]
Scaling: TypeAlias = tuple[float | Array, float | Array]


class Score(NamedTuple):
    """How good a network is on data: mean loss, accuracy 0 to 1 or NaN, total weight of it."""

    loss: float
    accuracy: float
    weight: float

    def __repr__(self) -> str:
        accuracy = "" if math.isnan(self.accuracy) else f", accuracy={self.accuracy:.2%}"
        return f"Score(loss={self.loss:.4f}{accuracy})"


class Table(NamedTuple):
    """Inputs and targets, as the core takes them; sample i is row rows[i], or row i."""

    x: Array
    y: Array
    rows: Array | None

    def copied(self) -> tuple[Array, Array]:
        """Inputs and targets of the samples alone; copied where rows choose them."""
        return (self.x, self.y) if self.rows is None else (self.x[self.rows], self.y[self.rows])


def table_of(name: str, data: Any, scaling: Scaling | None = None) -> Table:
    """Inputs and targets of a data set or a pair, without a copy.

    Args:
        name: the argument's, for error texts.
        data: a Dataset or (x, y).
        scaling: the network's (shift, scale), which a data set must agree with.

    Raises:
        TypeError: neither of them.
        ValueError: the data set is to be read in another way than the network reads its inputs.
    """
    if isinstance(data, Dataset):
        if scaling is not None and not _same(scaling, (data.shift, data.scale)):
            raise ValueError(
                f"{name}: {data.name} is to be read as (x - {_brief(data.shift)}) * "
                f"{_brief(data.scale)}, the network reads (x - {_brief(scaling[0])}) * "
                f"{_brief(scaling[1])}; give both the same normalisation, or plain arrays"
            )
        rows = data.rows
        if rows is not None and bool((np.diff(rows) == 1).all()):
            stretch = slice(int(rows[0]), int(rows[-1]) + 1)
            return Table(data.x[stretch], data.y[stretch], None)
        return Table(data.x, data.y, rows)
    if isinstance(data, tuple | list) and len(data) == 2:
        return Table(np.asarray(data[0]), np.asarray(data[1]), None)
    raise TypeError(f"{name}: expected a data set or (x, y), got {type(data).__name__}")


def arrays_of(name: str, data: Any, scaling: Scaling | None = None) -> tuple[Array, Array]:
    """Inputs and targets as two arrays, see `table_of`; copied where they must be."""
    return table_of(name, data, scaling).copied()


def _same(a: Scaling, b: Scaling) -> bool:
    """Equal as float32, which is as precise as the core may keep them; a number is one for all."""
    return all(
        bool(np.all(np.asarray(p, np.float32) == np.asarray(q, np.float32)))
        for p, q in zip(a, b, strict=True)
    )


def _brief(value: float | Array) -> str:
    return f"{float(value):.6g}" if np.ndim(value) == 0 else f"{np.size(value)} numbers"

"""Where batches come from: arrays that the core draws from itself, or an iterable of batches.

A feed knows how many steps make an epoch and how to run some of them; it knows no schedule, no
clock and no history.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evoprune._checks import whole
from evoprune._dataset import Array, Dataset

if TYPE_CHECKING:
    from evoprune.network import Network

__all__ = [
    "ArrayFeed",
    "BatchFeed",
    "Data",
    "Feed",
    "Schedules",
    "Score",
    "Table",
    "arrays_of",
    "feed_of",
    "table_of",
]

PER_STEP = ("loss", "hits", "weight", "counted")  # of a record of the core
TOTALS = ("steps", "compactions", "bound")

Pair: TypeAlias = tuple[ArrayLike, ArrayLike]
Data: TypeAlias = Dataset | Pair | Iterable[Pair]
Scaling: TypeAlias = tuple[float | Array, float | Array]


class Score(NamedTuple):
    """How good a network is on data: mean loss, accuracy 0 to 1 or NaN, total weight of it."""

    loss: float
    accuracy: float
    weight: float

    def __repr__(self) -> str:
        accuracy = "" if math.isnan(self.accuracy) else f", accuracy={self.accuracy:.2%}"
        return f"Score(loss={self.loss:.4f}{accuracy})"


class Schedules(NamedTuple):
    """Numbers for every step of a stretch: float64 (steps,) each."""

    rate: NDArray[np.float64]
    pressure: NDArray[np.float64]
    strength: NDArray[np.float64]

    def cut(self, start: int, stop: int) -> Schedules:
        """Steps start to stop - 1 of it."""
        return Schedules(*(numbers[start:stop] for numbers in self))


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


class ArrayFeed:
    """Batches drawn by the core from whole arrays: shuffled anew every epoch, by the seed.

    Attributes:
        scaling: (shift, scale) by which the numbers are to be read; None: as the network does.
    """

    def __init__(
        self,
        table: Table,
        batch: int,
        shuffle: bool,
        scaling: Scaling | None = None,
        steps: int | None = None,
    ) -> None:
        x, _, rows = table
        if x.ndim < 1 or len(x) == 0:
            raise ValueError(f"data: expected at least one sample, got shape {x.shape}")
        self.table, self.shuffle, self.scaling = table, shuffle, scaling
        self._before = 0  # steps of the network before the last call of `run`
        samples = len(x if rows is None else rows)
        self.batch = min(batch, samples)
        # With steps given, the core's own rounds through the data go on across epochs of so many.
        self.per_epoch = -(-samples // self.batch) if steps is None else whole("steps", steps, 1)

    def check(self, network: Network) -> None:
        """Raise what training would, before the first step; reads every label."""
        network.core.check_data(*self.table)

    def run(
        self, network: Network, first: int, pace: Schedules, threads: int, augment: Any, keep: bool
    ) -> dict[str, Any]:
        """Run the steps of `pace`, from batch `first` of all epochs on; the core's record.

        With `keep`, the last step keeps every gradient of an activation.
        """
        self._before = network.step
        return network.train(
            self.table.x,
            self.table.y,
            rows=self.table.rows,
            batch=self.batch,
            first=first,
            rate=pace.rate,
            pressure=pace.pressure,
            strength=pace.strength,
            shuffle=self.shuffle,
            threads=threads,
            augment=augment,
            keep=keep,
        )

    def made(self, network: Network) -> dict[str, Any]:
        """What the last call of `run` did, also if it failed: a record of the steps made."""
        if network.step == self._before:  # refused: the core's record is of the call before
            return _joined([])
        return _cut(network.core.record)


class BatchFeed:
    """Batches (x, y) that an iterable gives, in its order; it is begun anew every epoch."""

    shuffle = False
    scaling: Scaling | None = None

    def __init__(self, batches: Iterable[Pair], per_epoch: int | None) -> None:
        if per_epoch is None:
            if not hasattr(batches, "__len__"):
                raise ValueError(
                    "steps: must be given, the number of batches of an epoch, for an iterable "
                    f"without len(), got {type(batches).__name__}"
                )
            per_epoch = len(batches)  # type: ignore[arg-type]
        if per_epoch < 1:
            raise ValueError("data: expected at least one batch, got none")
        self.batches, self.per_epoch = batches, per_epoch
        self.batch = 0  # samples of the last one
        self._left: Iterator[Pair] | None = None
        self._records: list[dict[str, Any]] = []
        self._before = 0  # steps of the network before the last run
        self._at = -1  # the batch, counted over all epochs, that `_left` gives next

    def check(self, network: Network) -> None:
        """Nothing can be said before a batch is there; each is checked as it comes."""

    def _next(self, at: int) -> tuple[Array, Array]:
        if self._left is None or at != self._at or at % self.per_epoch == 0:
            self._left = iter(self.batches)
            for _ in range(at % self.per_epoch):  # going on in the middle of an epoch
                next(self._left, None)
        self._at = at + 1
        batch = next(self._left, None)
        if batch is None:
            raise ValueError(
                f"data: expected {self.per_epoch} batches an epoch, got {at % self.per_epoch}"
            )
        return arrays_of("data", batch)

    def run(
        self, network: Network, first: int, pace: Schedules, threads: int, augment: Any, keep: bool
    ) -> dict[str, Any]:
        """Run the steps of `pace`, one call of the core each; records joined."""
        self._records, self._before = [], network.step
        for i in range(len(pace.rate)):
            x, y = self._next(first + i)
            self.batch = len(x)
            self._records.append(
                network.train(
                    x,
                    y,
                    batch=len(x),
                    first=first + i,
                    rate=pace.rate[i : i + 1],
                    pressure=pace.pressure[i : i + 1],
                    strength=pace.strength[i : i + 1],
                    shuffle=False,
                    threads=threads,
                    augment=augment,
                    keep=keep and i + 1 == len(pace.rate),
                )
            )
        return _joined(self._records)

    def made(self, network: Network) -> dict[str, Any]:
        """What the last call of `run` did, also if it failed: a record of the steps made."""
        records = list(self._records)
        if network.step > self._before + len(records):  # the call that failed had made its step
            records.append(_cut(network.core.record))
        return _joined(records)


def _cut(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the steps that were not made."""
    steps = int(record["steps"])
    return {key: record[key][:steps] if key in PER_STEP else record[key] for key in record}


def _joined(records: list[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {key: sum(r[key] for r in records) for key in TOTALS}
    for key in (*PER_STEP, "deaths"):
        joined[key] = np.concatenate([r[key] for r in records]) if records else np.empty(0)
    return joined


Feed: TypeAlias = ArrayFeed | BatchFeed


def feed_of(data: Any, batch: int, shuffle: bool, steps: int | None) -> Feed:
    """Make a feed of whatever `Trainer.fit` takes; a data set says how its numbers are to be read.

    Raises:
        TypeError, ValueError: it is nothing that batches can be drawn from.
    """
    batch = whole("batch", batch, 1)
    if isinstance(data, Dataset):
        scaling = (data.shift, data.scale)
        return ArrayFeed(table_of("data", data), batch, shuffle, scaling, steps)
    if isinstance(data, tuple) and len(data) == 2:
        return ArrayFeed(table_of("data", data), batch, shuffle, None, steps)
    if isinstance(data, str | bytes | dict | np.ndarray) or not isinstance(data, Iterable):
        raise TypeError(
            "data: expected a data set, (x, y), or an iterable of batches (x, y), got "
            f"{type(data).__name__}"
        )
    return BatchFeed(data, steps)


def _same(a: Scaling, b: Scaling) -> bool:
    """Equal as float32, which is as precise as the core may keep them; a number is one for all."""
    return all(
        bool(np.all(np.asarray(p, np.float32) == np.asarray(q, np.float32)))
        for p, q in zip(a, b, strict=True)
    )


def _brief(value: float | Array) -> str:
    return f"{float(value):.6g}" if np.ndim(value) == 0 else f"{np.size(value)} numbers"

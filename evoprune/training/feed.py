"""Sources of batches: arrays from which the core draws batches, or an iterable of batches.

A feed has a number of steps per epoch, and runs any number of steps per call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoprune.common.checks import whole
from evoprune.common.types import Array
from evoprune.data.dataset import Dataset
from evoprune.data.table import Form, Pair, Understood, understood
from evoprune.training.ranks import Ranks

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["ArrayFeed", "BatchFeed", "Data", "Feed", "Schedules", "feed_of"]

# Entries of the record that the core returns: one value per step, or one value per call.
PER_STEP = ("loss", "hits", "weight", "counted")
TOTALS = ("steps", "compactions", "floor_reached")

Data: TypeAlias = Dataset | Pair | Iterable[Pair]


class Schedules(NamedTuple):
    """Values of the schedules for consecutive steps: float64 (steps,) each."""

    rate: NDArray[np.float64]
    pressure: NDArray[np.float64]
    strength: NDArray[np.float64]

    def slowed(self, factor: float, masses: bool) -> Schedules:
        """Return a copy with learning rates times `factor`; with `masses`, strengths as well."""
        if factor == 1:
            return self
        strength = self.strength * factor if masses else self.strength
        return Schedules(self.rate * factor, self.pressure, strength)


class ArrayFeed:
    """Batches that the core draws from arrays, shuffled every epoch with the network's seed.

    Attributes:
        data: the arrays, and the scaling and class names for the network.
        samples: the number of samples.
        weights: weights of the samples, in their order; None: all 1.
        ranks: the processes that share each batch.
    """

    def __init__(
        self, data: Understood, batch: int, shuffle: bool, steps: int | None = None
    ) -> None:
        x, _, rows = data.table
        if x.ndim < 1 or len(x) == 0:
            raise ValueError(f"data: expected at least one sample, got shape {x.shape}")
        self.data, self.table, self.shuffle = data, data.table, shuffle
        self.ranks = Ranks()
        self.weights: Array | None = None
        self._before = 0  # network.step before the last call of `run`
        self.samples: int | None = len(x if rows is None else rows)
        self.batch = min(batch, self.samples)
        # If `steps` is given, an epoch need not end where a pass through the data ends.
        self.per_epoch = (
            -(-self.samples // self.batch) if steps is None else whole("steps", steps, 1)
        )

    def check(self, network: Network) -> None:
        """Check batch size and all values now, to raise before the first step."""
        if (least := network.core.least_rows) > self.batch:
            raise ValueError(
                f"batch_size: expected at least {least}, for a batch norm of one value in each "
                f"channel of a sample, got {self.batch}"
            )
        network.core.check_data(*self.table, weights=self.weights)

    @property
    def targets(self) -> Array:
        """Return the targets of the samples, in their order."""
        return self.table.targets

    def run(
        self, network: Network, first: int, pace: Schedules, threads: int, augment: Any, keep: bool
    ) -> dict[str, Any]:
        """Run the steps of `pace` from batch `first` on; return the core's record.

        `first` counts the batches of all epochs. With `keep`, the core keeps the gradients of all
        activations of the last step.
        """
        self._before = network.step
        with self.ranks.in_core():
            return network.train(
                self.table.x,
                self.table.y,
                rows=self.table.rows,
                weights=self.weights,
                batch=self.batch,
                first=first,
                rate=pace.rate,
                pressure=pace.pressure,
                strength=pace.strength,
                shuffle=self.shuffle,
                threads=threads,
                augment=augment,
                keep=keep,
                ranks=self.ranks.argument,
            )

    def made(self, network: Network) -> dict[str, Any]:
        """Return the record of the steps made by the last call of `run`, even if it failed."""
        if network.step == self._before:  # no step: the core's record is of an earlier call
            return _joined([])
        return _cut(network.core.record)


class BatchFeed:
    """Batches (x, y) or (x, y, weights) from an iterable, which is iterated over in every epoch."""

    shuffle = False
    data: Understood | None = None
    samples: int | None = None  # unknown

    def __init__(self, batches: Iterable[Pair], per_epoch: int | None, form: Form) -> None:
        if per_epoch is None:
            if not hasattr(batches, "__len__"):
                raise ValueError(
                    "steps: must be given, the number of batches of an epoch, for an iterable "
                    f"without len(), got {type(batches).__name__}"
                )
            per_epoch = len(batches)  # type: ignore[arg-type]
        if per_epoch < 1:
            raise ValueError("data: expected at least one batch, got none")
        self.batches, self.per_epoch, self.form = batches, per_epoch, form
        self.ranks = Ranks()
        self.batch = 0  # number of samples in the last batch
        self._left: Iterator[Pair] | None = None
        self._records: list[dict[str, Any]] = []
        self._before = 0  # network.step before the last call of `run`
        self._at = -1  # index of the next batch of `_left`, counted over all epochs

    def check(self, network: Network) -> None:
        """Do nothing: each batch is checked when it is read."""

    def _next(self, at: int) -> tuple[Array, Array, Any]:
        if self._left is None or at != self._at or at % self.per_epoch == 0:
            self._left = iter(self.batches)
            for _ in range(at % self.per_epoch):  # resumed within an epoch: skip batches
                next(self._left, None)
        self._at = at + 1
        batch = next(self._left, None)
        if batch is None:
            raise ValueError(
                f"data: expected {self.per_epoch} batches per epoch, got {at % self.per_epoch}"
            )
        where = f"data: batch {at % self.per_epoch}"
        given: Any = batch
        weights = None
        if isinstance(given, tuple | list) and len(given) == 3:
            given, weights = given[:2], np.asarray(given[2])
        if not (isinstance(given, tuple | list) and len(given) == 2):
            raise TypeError(f"{where}: expected (x, y), got {type(given).__name__}")
        x, y = understood(where, given, self.form).table.copied()
        if len(x) == 0:
            raise ValueError(f"{where}: expected at least one sample, got none")
        return x, y, weights

    def run(
        self, network: Network, first: int, pace: Schedules, threads: int, augment: Any, keep: bool
    ) -> dict[str, Any]:
        """Run the steps of `pace`, one core call each; return the joined records."""
        self._records, self._before = [], network.step
        for i in range(len(pace.rate)):
            x, y, weights = self._next(first + i)
            self.batch = len(x)
            self.ranks.same({"the shape of a batch": x.shape})  # fails if a rank has no batch
            with self.ranks.in_core():
                record = network.train(
                    x,
                    y,
                    weights=weights,
                    batch=len(x),
                    first=first + i,
                    rate=pace.rate[i : i + 1],
                    pressure=pace.pressure[i : i + 1],
                    strength=pace.strength[i : i + 1],
                    shuffle=False,
                    threads=threads,
                    augment=augment,
                    keep=keep and i + 1 == len(pace.rate),
                    ranks=self.ranks.argument,
                )
            self._records.append(record)
        return _joined(self._records)

    def made(self, network: Network) -> dict[str, Any]:
        """Return the record of the steps made by the last call of `run`, even if it failed."""
        records = list(self._records)
        if network.step > self._before + len(records):  # a call failed after its step was complete
            records.append(_cut(network.core.record))
        return _joined(records)


def _cut(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of the core, cut to the steps that were completed."""
    steps = int(record["steps"])
    return {key: record[key][:steps] if key in PER_STEP else record[key] for key in record}


def _joined(records: list[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {key: sum(r[key] for r in records) for key in TOTALS}
    for key in (*PER_STEP, "deaths", "births"):
        joined[key] = np.concatenate([r[key] for r in records]) if records else np.empty(0)
    return joined


Feed: TypeAlias = ArrayFeed | BatchFeed


def feed_of(
    data: Any, y: Any, batch_size: int, shuffle: bool, steps: int | None, form: Form
) -> Feed:
    """Return a feed for the data given to `Trainer.fit`.

    Raises:
        TypeError, ValueError: batches cannot be drawn from the data, or it does not fit.
    """
    batch = whole("batch_size", batch_size, 1)
    if y is not None:
        if isinstance(data, Dataset):
            raise TypeError("y: expected None with a data set, which has its own targets")
        data = (data, y)
    elif isinstance(data, tuple) and len(data) == 2 and all(map(_is_batch, data)):
        raise TypeError("data: expected (x, y), got a tuple of two batches; give batches in a list")
    if isinstance(data, Dataset) or (isinstance(data, tuple) and len(data) == 2):
        return ArrayFeed(understood("data", data, form, training=True), batch, shuffle, steps)
    if hasattr(data, "shape") or isinstance(data, str | bytes | dict):
        raise TypeError(
            "data: expected a data set, (x, y), or an iterable of batches (x, y), got "
            f"{type(data).__name__} without targets; give fit(x, y)"
        )
    if not isinstance(data, Iterable):
        raise TypeError(
            "data: expected a data set, (x, y), or an iterable of batches (x, y), got "
            f"{type(data).__name__}"
        )
    return BatchFeed(data, steps, form)


def _is_batch(part: Any) -> bool:
    """True if `part` is a batch (x, y) of arrays, rather than x or y alone."""
    return isinstance(part, tuple) and len(part) == 2 and getattr(part[0], "ndim", 0) > 1

"""What looks on while a network is trained, and may stop it. Called between steps, never within.

The trainer calls; a callback reads trainer, network and history, and asks for a stop by
`trainer.stop()`. An exception in a callback ends the run and reaches the caller, network and
history being whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evoprune.common.types import Array

if TYPE_CHECKING:
    from evoprune.nets.network import Network
    from evoprune.records.history import History
    from evoprune.training.trainer import Trainer

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "JSONLLogger"]

Row = Mapping[str, float]


class Callback:
    """Does nothing; a callback overrides what it wants to hear of."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first step of `fit` or `resume`."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """After an epoch; `row` holds the columns of the history for it."""

    def on_extinction(self, trainer: Trainer, deaths: Array) -> None:
        """After a stretch of steps in which populations died: rows of `History.extinctions`."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """After the last step, however the run ended, but for an exception."""


class EarlyStopping(Callback):
    """Stop when a column of the history has not got better for a while.

    Args:
        monitor: the column; one with "accuracy" in its name shall rise, others fall.
        patience: so many epochs without a better value are borne.
        least: a value is better if it is so by more than this.
        restore: put the network back to where it was at its best.

    Attributes:
        best, best_epoch: the best value, and when it was.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        least: float = 0.0,
        restore: bool = False,
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience: expected at least 1 epoch, got {patience}")
        self.monitor, self.patience, self.least, self.restore = monitor, patience, least, restore
        self.best, self.best_epoch = np.nan, 0.0
        self._kept: Network | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Forget what an earlier run has reached."""
        self.best, self.best_epoch, self._kept = np.nan, 0.0, None

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Compare, and stop the run if patience is at its end."""
        if self.monitor not in row:
            raise KeyError(
                f"EarlyStopping: no column {self.monitor!r}; there are {', '.join(row)}"
                + (" (no validation data was given)" if "validation" in self.monitor else "")
            )
        value, epoch = row[self.monitor], row["epoch"]
        sign = -1.0 if "accuracy" in self.monitor else 1.0
        if np.isnan(self.best) or sign * (self.best - value) > self.least:
            self.best, self.best_epoch = value, epoch
            self._kept = trainer.network.copy() if self.restore else None
        elif epoch - self.best_epoch >= self.patience:
            trainer.stop()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Put the best network back, if that is wanted."""
        if self._kept is not None:
            trainer.network.become(self._kept)


class Checkpoint(Callback):
    """Write the whole state of training to a file every few epochs; `Trainer.restore` reads it.

    Args:
        path: the file; "{epoch}" in it is replaced by the number of the epoch.
        every: epochs from one to the next; the end of the run is written too.
    """

    def __init__(self, path: str | PathLike[str], every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1 epoch, got {every}")
        self.path, self.every = str(path), every

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write, if it is time."""
        if int(row["epoch"]) % self.every == 0:
            trainer.save(self.path.replace("{epoch}", f"{int(row['epoch'])}"))

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Write what the run has come to."""
        epoch = history["epoch"][-1] if history.epochs else 0
        trainer.save(self.path.replace("{epoch}", f"{epoch:g}"))


class JSONLLogger(Callback):
    """Append a line of JSON to a file for every epoch, and for every extinction.

    Lines have an "event": "epoch" with the columns of the history, or "extinction" with a row of
    `History.extinctions`. NaN is written as null.

    Args:
        path: the file; what is in it stays.
        extinctions: write these too.
    """

    def __init__(self, path: str | PathLike[str], extinctions: bool = True) -> None:
        self.path, self.extinctions = Path(path), extinctions

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write a line."""
        self._write([{"event": "epoch"} | {name: _plain(value) for name, value in row.items()}])

    def on_extinction(self, trainer: Trainer, deaths: Array) -> None:
        """Write a line a population."""
        if self.extinctions:
            names = deaths.dtype.names or ()
            self._write(
                [
                    {"event": "extinction"}
                    | {n: _plain(v) for n, v in zip(names, row, strict=True)}
                    for row in deaths.tolist()
                ]
            )

    def _write(self, lines: list[dict[str, object]]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value

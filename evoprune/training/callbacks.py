"""Callbacks: code that runs between the steps of training and can stop the run.

A callback reads trainer, network and history, and ends the run with `trainer.stop()`. An exception
in a callback ends the run and propagates to the caller; network and history stay consistent.

Callbacks are called in the order in which they are given. The order does not affect results: at the
end of an epoch every callback sees the epoch (`on_epoch_end`) before any of them writes files
(`on_epoch_saved`), and a network passed to `trainer.keep` replaces the trained network after the
last `on_fit_end`. The state of a callback is part of the trainer's state (`state`, `restore`), so
that a resumed run ends like one that was not stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.checks import instance, number, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.common.warn import warn
from evoprune.training.metrics import rises
from evoprune.training.naming import Template

if TYPE_CHECKING:
    from evoprune.nets.network import Network
    from evoprune.records.history import History
    from evoprune.training.trainer import Trainer

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "JSONLLogger", "Row", "listed"]

Row = Mapping[str, float]


class Callback:
    """Base class whose events do nothing; a callback overrides the events that it needs."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Called before the first step of `fit` or `resume`."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Called after an epoch; `row` maps the columns of the history to the epoch's values."""

    def on_epoch_saved(self, trainer: Trainer, row: Row) -> None:
        """Called after on_epoch_end() of all callbacks; write the trainer's state here."""

    def on_extinction(self, trainer: Trainer, deaths: Array) -> None:
        """Called after steps in which populations died; `deaths`: rows of `History.extinctions`."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Called after the last step, unless an exception ended the run."""

    def on_fit_error(self, trainer: Trainer, error: BaseException) -> None:
        """Called instead of on_fit_end() if an exception ends the run; close files here."""

    def state(self) -> dict[str, Any]:
        """Return the callback's state in the run: plain values and networks, by name."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned, before a run begins or resumes; {} resets the callback."""


def listed(callbacks: Any) -> list[Callback]:
    """Return one callback, or several, as a list.

    Raises:
        TypeError: an item is not a callback.
    """
    if isinstance(callbacks, Callback):
        return [callbacks]
    if isinstance(callbacks, type) and issubclass(callbacks, Callback):
        name = callbacks.__name__
        raise TypeError(f"callbacks: expected {name}(...), got the class itself")
    if isinstance(callbacks, str | bytes | Mapping) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: expected a list of callbacks, got {callbacks!r}")
    made = list(callbacks)
    for i, callback in enumerate(made):
        if isinstance(callback, type) and issubclass(callback, Callback):
            name = callback.__name__
            raise TypeError(f"callbacks[{i}]: expected {name}(...), got the class itself")
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{i}]: expected a Callback, got {callback!r}")
    return made


class _Monitor(Callback):
    """Track the best value of a column of the history.

    Attributes:
        monitor: the column.
        best, best_epoch: the best value so far, or NaN; and its epoch, or 0.
    """

    def __init__(self, monitor: str, min_delta: float = 0.0) -> None:
        owner = type(self).__name__
        if not isinstance(monitor, str):
            raise TypeError(f"{owner}: monitor: expected the name of a column, got {monitor!r}")
        self.monitor = monitor
        self.min_delta = number(f"{owner}: min_delta", min_delta, 0, 1e300)
        self.best, self.best_epoch = np.nan, 0.0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Check that the history will have the column `monitor`, as far as is known in advance."""
        if self.monitor.startswith("validation_") and not trainer.validates:
            raise KeyError(
                f"{type(self).__name__}: no column {self.monitor!r} (no validation data was given)"
            )
        if self.monitor.startswith("training_") and self.monitor not in trainer.measured:
            raise KeyError(
                f"{type(self).__name__}: no column {self.monitor!r}; metrics on the training data "
                f"are {', '.join(trainer.measured) or 'none'}; give metrics and training_metrics"
            )

    def improves(self, row: Row) -> bool:
        """Return True if the row has the best value so far, and store it; NaN is never the best."""
        if self.monitor not in row:
            raise KeyError(
                f"{type(self).__name__}: no column {self.monitor!r}; there are {', '.join(row)}"
            )
        value = row[self.monitor]
        sign = -1.0 if rises(self.monitor) else 1.0
        better = np.isnan(self.best) or sign * (self.best - value) > self.min_delta
        if not (better and np.isfinite(value)):
            return False
        self.best, self.best_epoch = float(value), float(row["epoch"])
        return True

    def state(self) -> dict[str, Any]:
        """Return column, best value and its epoch."""
        best = None if np.isnan(self.best) else self.best
        return {"monitor": self.monitor, "best": best, "best_epoch": self.best_epoch}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load the best value of the column `monitor`; reset it if `state` is of another column."""
        instance("state", state, Mapping)
        known = state if state.get("monitor") == self.monitor else {}
        best = known.get("best")
        self.best = np.nan if best is None else float(best)
        self.best_epoch = float(known.get("best_epoch", 0.0))


@spelled
class EarlyStopping(_Monitor):
    """Stop when a column of the history has not improved for some epochs.

    The best value and the network of that epoch are part of the trainer's state, so that a resumed
    run ends like one that was not stopped.

    Args:
        monitor: the column. Higher is better for an accuracy, r2, f1, auc or top5; for all others,
            lower is better.
        patience: epochs without improvement before training stops. NaN and infinite values are no
            improvement.
        min_delta: smallest change that counts as an improvement.
        restore: after the run, replace the network by the best epoch's network; `resume` still
            continues from the network of the last epoch.
        least: former name of `min_delta`.

    Attributes:
        best, best_epoch: the best value and its epoch.
        best_network: with `restore`, the network of the best epoch; None before the first epoch.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore: bool = False,
        *,
        least: float | None = None,
    ) -> None:
        if least is not None:
            text = "EarlyStopping: least is now called min_delta"
            warn(text, DeprecationWarning)
            min_delta = least
        super().__init__(monitor, min_delta)
        self.patience = whole("EarlyStopping: patience", patience, 1)
        self.keeps = bool(restore)
        self.best_network: Network | None = None
        self._stopped = False

    def state(self) -> dict[str, Any]:
        """Return best value, epoch and network, and whether patience has run out."""
        more = {"network": self.best_network, "stopped": self._stopped}
        return super().state() | more

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state` returned."""
        super().restore(state)
        known = state if state.get("monitor") == self.monitor else {}
        network = known.get("network") if self.keeps else None
        self.best_network = None if network is None else network.copy()
        self._stopped = bool(known.get("stopped", False))

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Stop at once if patience had run out before the state was saved."""
        super().on_fit_begin(trainer)
        if self._stopped:
            trainer.stop()

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Stop the run if there was no improvement for `patience` epochs."""
        if self.improves(row):
            self.best_network = trainer.network.copy() if self.keeps else None
        elif row["epoch"] - self.best_epoch >= self.patience:
            self._stopped = True
            trainer.stop()
            if np.isnan(self.best):
                warn(
                    f"EarlyStopping: {self.monitor} was never a finite number in {self.patience} "
                    "epochs; monitor another column",
                    UserWarning,
                )

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Replace the network by the best one, if `restore` was set."""
        if self.best_network is not None:
            trainer.keep(self.best_network)


@spelled
class Checkpoint(_Monitor):
    """Write the whole state of training to a file every few epochs; `Trainer.restore` reads it.

    A file is replaced only by a complete one, so that a loadable state exists at any moment.

    Args:
        path: the file. Columns of the history in braces are replaced by their values, with an
            optional format: "run/{epoch:03d}-{validation_loss:.3f}.safetensors". The columns are
            checked when the callback is created, the folder when the run begins.
        every: epochs from one file to the next. Without `best_only`, the state at the end of
            the run is also written.
        monitor: the column that `best_only` compares, as for `EarlyStopping`.
        best_only: write only when the column is better than at every earlier checkpoint.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        every: int = 1,
        *,
        monitor: str = "validation_loss",
        best_only: bool = False,
    ) -> None:
        super().__init__(monitor)
        self.path, self.every = str(path), whole("Checkpoint: every", every, 1)
        self.best_only = bool(best_only)
        self._template = Template("Checkpoint: path", self.path)
        self._due = False

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Check folder and columns before the first step."""
        if self.best_only:
            super().on_fit_begin(trainer)
        self._template.check(trainer.validates, trainer.measured)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Decide whether to write the state this epoch."""
        self._due = int(row["epoch"]) % self.every == 0
        if self._due and self.best_only:
            self._due = self.improves(row)

    def on_epoch_saved(self, trainer: Trainer, row: Row) -> None:
        """Write the state if it is due."""
        if self._due:
            trainer.save(self._template.filled(row))

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Write the state at the end of the run, unless `best_only` is set."""
        if not self.best_only:
            row = (
                {name: float(history[name][-1]) for name in history} if history.epochs_done else {}
            )
            trainer.save(self._template.filled(row))


@spelled
class JSONLLogger(Callback):
    """Append a line of JSON to a file for every epoch, and for every extinction.

    Lines have an "event": "epoch" with the columns of the history, or "extinction" with a row of
    `History.extinctions`. NaN is written as null.

    Args:
        path: the file; lines are appended to it.
        extinctions: also write extinctions.
    """

    def __init__(self, path: str | PathLike[str], extinctions: bool = True) -> None:
        self.path, self.extinctions = Path(path), extinctions

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Open the file once, so that a wrong path is an error before the first step."""
        self._write([])

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write a line."""
        self._write([{"event": "epoch"} | {name: _plain(value) for name, value in row.items()}])

    def on_extinction(self, trainer: Trainer, deaths: Array) -> None:
        """Write a line for each population."""
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

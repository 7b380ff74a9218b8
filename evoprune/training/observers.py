"""Callbacks that report a run without other libraries: CSV files and plain functions."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.training.callbacks import Callback, Row

if TYPE_CHECKING:
    from evoprune.records.history import History
    from evoprune.training.trainer import Trainer

__all__ = ["CSVLogger", "LambdaCallback"]


class CSVLogger(Callback):
    """Write the columns of the history to a CSV file, one line every epoch.

    `fit` replaces the file, `resume` appends to it. An empty cell means NaN.

    Args:
        path: the file.

    Raises:
        ValueError: a resumed run has other columns than the file.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Create the file; if the run is resumed and the file exists, read its columns instead."""
        self._columns = None
        resumed = trainer.history is not None and trainer.history.epochs_done > 0
        if resumed and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), None)
        else:
            self.path.write_text("", encoding="utf-8")

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write a line."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            if self._columns is None:
                self._columns = list(row)
                csv.writer(file).writerow(self._columns)
            if set(row) != set(self._columns):
                other = sorted(set(row) ^ set(self._columns))
                raise ValueError(
                    f"{self.path}: expected the columns {', '.join(self._columns)}; "
                    f"the run and the file differ in {', '.join(other)}"
                )
            csv.writer(file).writerow([_cell(row[name]) for name in self._columns])


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


@spelled
class LambdaCallback(Callback):
    """Call plain functions: LambdaCallback(on_epoch_end=lambda trainer, row: print(row["loss"])).

    Args:
        on_fit_begin: called with (trainer).
        on_epoch_end: called with (trainer, row).
        on_extinction: called with (trainer, deaths).
        on_fit_end: called with (trainer, history).
        on_fit_error: called with (trainer, error) instead of on_fit_end if an exception ends the
            run.

    Raises:
        TypeError: an argument cannot be called.
    """

    def __init__(
        self,
        *,
        on_fit_begin: Callable[[Trainer], Any] | None = None,
        on_epoch_end: Callable[[Trainer, Row], Any] | None = None,
        on_extinction: Callable[[Trainer, Array], Any] | None = None,
        on_fit_end: Callable[[Trainer, History], Any] | None = None,
        on_fit_error: Callable[[Trainer, BaseException], Any] | None = None,
    ) -> None:
        self._functions = {
            "on_fit_begin": on_fit_begin,
            "on_epoch_end": on_epoch_end,
            "on_extinction": on_extinction,
            "on_fit_end": on_fit_end,
            "on_fit_error": on_fit_error,
        }
        for name, function in self._functions.items():
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback: {name}: expected a function, got {function!r}")

    def _call(self, name: str, *arguments: Any) -> None:
        function = self._functions[name]
        if function is not None:
            function(*arguments)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Call the function given for this event, if any."""
        self._call("on_fit_begin", trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Call the function given for this event, if any."""
        self._call("on_epoch_end", trainer, row)

    def on_extinction(self, trainer: Trainer, deaths: Array) -> None:
        """Call the function given for this event, if any."""
        self._call("on_extinction", trainer, deaths)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Call the function given for this event, if any."""
        self._call("on_fit_end", trainer, history)

    def on_fit_error(self, trainer: Trainer, error: BaseException) -> None:
        """Call the function given for this event, if any."""
        self._call("on_fit_error", trainer, error)

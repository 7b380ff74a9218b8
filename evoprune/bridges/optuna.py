"""Optuna: a callback that reports a run to a trial, and stops runs that Optuna prunes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import evoprune as ep
from evoprune.bridges.extras import require

__all__ = ["OptunaPruning"]


class OptunaPruning(ep.Callback):
    """Report a column of the history to a trial after every epoch; stop if the trial is pruned.

    Call `check()` after the run: it raises `optuna.TrialPruned` if the trial was pruned. The run
    stops at the end of an epoch, so the network and the history are complete up to it.

    Args:
        trial: an `optuna.Trial`.
        monitor: the column of the history to report.

    Attributes:
        pruned: True once Optuna has pruned the trial.
    """

    def __init__(self, trial: Any, monitor: str = "validation_loss") -> None:
        self._optuna = require("optuna", "optuna", "OptunaPruning")
        self.trial, self.monitor, self.pruned = trial, monitor, False

    def on_epoch_end(self, trainer: ep.Trainer, row: Mapping[str, float]) -> None:
        """Report the column, and stop the run if Optuna prunes it."""
        if self.monitor not in row:
            raise KeyError(
                f"OptunaPruning: no column {self.monitor!r}; there are {', '.join(row)}"
                + (" (no validation data was given)" if "validation" in self.monitor else "")
            )
        self.trial.report(row[self.monitor], round(row["epoch"]))
        if self.trial.should_prune():
            self.pruned = True
            trainer.stop()

    def check(self) -> None:
        """Raise `optuna.TrialPruned` if the trial was pruned."""
        if self.pruned:
            raise self._optuna.TrialPruned(f"{self.monitor} is worse than in other trials")

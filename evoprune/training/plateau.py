"""A callback that lowers the learning rate when a run stops improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evoprune.common.checks import instance, number, whole
from evoprune.common.renames import spelled
from evoprune.training.callbacks import Callback, Row
from evoprune.training.metrics import rises

if TYPE_CHECKING:
    from evoprune.training.trainer import Trainer

__all__ = ["ReduceOnPlateau"]


@spelled
class ReduceOnPlateau(Callback):
    """Multiply the remaining learning rates of a run by `factor` when `monitor` stops improving.

    Use it with a constant rate, as in `AdamW(constant(1e-3))`. By default, masses then change more
    slowly too; see the setting `clock` of `Selection`.

    Args:
        monitor: column of the history to watch. Higher is better for an accuracy or similar,
            lower for others.
        factor: factor on the rates, above 0 and below 1.
        patience: epochs without improvement before the rates are lowered.
        min_delta: smallest change that counts as an improvement.
        lowest: lower limit of the rates, as a share of the planned rates.

    Attributes:
        best: the best value so far; NaN if there is none.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        factor: float = 0.5,
        patience: int = 3,
        *,
        min_delta: float = 0.0,
        lowest: float = 1e-3,
    ) -> None:
        self.monitor = monitor
        self.factor = number("ReduceOnPlateau: factor", factor, 1e-6, 1 - 1e-6)
        self.patience = whole("ReduceOnPlateau: patience", patience, 1)
        self.min_delta = number("ReduceOnPlateau: min_delta", min_delta, 0, 1e300)
        self.lowest = number("ReduceOnPlateau: lowest", lowest, 0, 1)
        self.best, self._waited = math.nan, 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Forget the values of an earlier run, unless this run is resumed."""
        if trainer.history is None or not trainer.history.epochs_done:
            self.best, self._waited = math.nan, 0

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Lower the rates if patience has run out."""
        if self.monitor not in row:
            raise KeyError(
                f"ReduceOnPlateau: no column {self.monitor!r}; there are {', '.join(row)}"
                + (" (no validation data was given)" if "validation" in self.monitor else "")
            )
        value = row[self.monitor]
        sign = -1.0 if rises(self.monitor) else 1.0
        if math.isnan(self.best) or sign * (self.best - value) > self.min_delta:
            self.best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._waited = 0
            if trainer.slowed * self.factor >= self.lowest:
                trainer.slow(self.factor)

    def state(self) -> dict[str, Any]:
        """Return the best value and the number of epochs without improvement."""
        best = None if math.isnan(self.best) else float(self.best)
        return {"best": best, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state` returned; {} resets the callback."""
        instance("state", state, Mapping)
        best = state.get("best")
        self.best, self._waited = math.nan if best is None else best, int(state.get("waited", 0))

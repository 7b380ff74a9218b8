"""Former names of attributes of a history: they work for one release, and warn."""

from __future__ import annotations

from typing import Any

from evoprune.common.renames import current_name
from evoprune.common.types import Array

__all__ = ["FormerNames"]

NAMES = {
    "alive": "living",
    "epochs": "epochs_done",
    "losses": "batch_losses",
    "steps": "record_steps",
}


class FormerNames:
    """Former names of a `History`'s attributes."""

    def alive(self: Any, layer: str | None = None) -> Array:
        """Former name of `living`."""
        current_name("History", NAMES, "alive")
        value: Array = self.living(layer)
        return value

    @property
    def epochs(self: Any) -> int:
        """Former name of `epochs_done`."""
        current_name("History", NAMES, "epochs")
        value: int = self.epochs_done
        return value

    @property
    def losses(self: Any) -> Array:
        """Former name of `batch_losses`."""
        current_name("History", NAMES, "losses")
        value: Array = self.batch_losses
        return value

    @property
    def steps(self: Any) -> Array:
        """Former name of `record_steps`."""
        current_name("History", NAMES, "steps")
        value: Array = self.record_steps
        return value

"""Former names of attributes and columns of a history: they work for one release, and warn."""

from __future__ import annotations

from typing import Any

from evoprune.common.renames import current_name
from evoprune.common.types import Array

__all__ = ["COLUMNS", "FormerNames", "NamedRow"]

NAMES = {
    "alive": "living",
    "epochs": "epochs_done",
    "losses": "batch_losses",
    "steps": "record_steps",
}
COLUMNS = {"held": "floor_reached"}


class NamedRow(dict[str, float]):
    """The values of an epoch by column, which can also be read by former names of columns."""

    def __missing__(self, name: str) -> float:
        if COLUMNS.get(name) not in self:
            raise KeyError(name)
        return self[current_name("History", COLUMNS, name)]


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

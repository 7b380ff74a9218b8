"""Laws: one interface to a generation, whichever code computes it.

`make_laws` gives the core's laws (`evoprune.Community`) to a model on the CPU and for every law
that only the core has, and the default law in torch operations to a model on another device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from evoprune.selection.settings import Selection

__all__ = ["Death", "Laws", "make_laws"]


@dataclass(frozen=True)
class Death:
    """A population that became extinct.

    Attributes:
        step: the step of the run after which it did.
        layer: index of its layer of populations.
        birth: its index among the founders of the layer.
        mass, fitness: its last ones.
    """

    step: int
    layer: int
    birth: int
    mass: float
    fitness: float


class Laws(Protocol):
    """Masses and fitness of all founders, and one generation of them.

    Vectors have an entry for every founder, layer after layer; mass has one more, which is 1.
    """

    mass: torch.Tensor
    alive: torch.Tensor
    upkeep: torch.Tensor

    def step(
        self,
        raw: torch.Tensor,
        *,
        at: int,
        strength: float | torch.Tensor = 1.0,
        pressure: float | torch.Tensor = 1.5,
        cost: torch.Tensor | None = None,
    ) -> None:
        """Let all populations live through a generation."""

    def deaths(self) -> list[Death]:
        """Return the deaths since the last call."""

    def smoothed(self) -> torch.Tensor:
        """Return fitness (founders,), corrected for the start of its memory."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all that changes."""


def make_laws(
    born: Mapping[str, int], selection: Selection, device: torch.device, seed: int
) -> Laws:
    """Return the laws of a selection for a model on a device."""
    from evoprune.bridges.torch.laws_device import DeviceLaws

    return DeviceLaws(born, selection, device)

"""Laws: one interface to masses, fitness and generations, computed by the core or by torch.

`make_laws` returns the core's laws (`evoprune.Community`) for a model on the CPU. On another device
the default law runs in torch operations; all other laws run in the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from evoprune import Community, Selection

__all__ = ["Death", "Generation", "HostLaws", "Laws", "Number", "Signals", "make_laws"]

Number: TypeAlias = float | torch.Tensor
Signals: TypeAlias = Mapping[str, torch.Tensor]
"""Inputs of the fitness law by name, (founders,) each; see signals.py."""


@dataclass(frozen=True)
class Death:
    """A population that became extinct.

    Attributes:
        step: the step of the run after which it became extinct.
        layer: index of its axis, in the order of `Evolution.born`.
        birth: its birth id, the index among the founders of the axis.
        mass, fitness: its last values.
    """

    step: int
    layer: int
    birth: int
    mass: float
    fitness: float


@dataclass(frozen=True)
class Generation:
    """Settings of one generation.

    Attributes:
        at: the step of the run, for the record of deaths.
        strength: strength of the dynamics, 0 to 1; with 0 masses do not change.
        pressure: selection pressure, the factor on upkeep.
        cost: share of every founder in the cost that upkeep uses (founders,).
        terms: samples in the loss of a step, for fitness "worth".
    """

    at: int
    strength: Number = 1.0
    pressure: Number = 1.5
    cost: torch.Tensor | None = None
    terms: int = 1


class Laws(Protocol):
    """Masses and fitness of all founders, and the step that updates them.

    Vectors have an entry for every founder, axis after axis. In names, `layer` means an axis.

    Attributes:
        mass: (founders + 1,): 1 at birth, 0 once extinct; the last entry is 1, for weights that
            belong to no population.
        alive: bool (founders,).
    """

    mass: torch.Tensor
    alive: torch.Tensor

    def step(self, signals: Signals, now: Generation) -> None:
        """Run one generation of all populations.

        If a signal is not finite, the generation is skipped: nothing changes.

        Args:
            signals: signals of this step, without smoothing.
            now: settings of this generation.
        """

    def deaths(self) -> list[Death]:
        """Return the deaths since the last call."""

    def smoothed(self) -> torch.Tensor:
        """Return smoothed fitness, corrected for starting at 0 as in Adam: (founders,)."""

    def upkeep(self) -> torch.Tensor:
        """Return the upkeep of every founder: (founders,)."""

    def state_dict(self) -> dict[str, Any]:
        """Return the mutable state: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the mutable state."""


class HostLaws:
    """The core's laws, in float64; masses are copied to the model's device after a generation."""

    def __init__(
        self, born: Mapping[str, int], selection: Selection, device: torch.device, seed: int = 0
    ) -> None:
        self._community = Community(born, selection, seed=seed, dtype="float64")
        self._sizes = list(born.values())
        self._device = device
        self._real = torch.float32 if device.type == "mps" else torch.float64
        self._cost: torch.Tensor | None = None
        self._new: list[Death] = []
        self.mass = torch.ones(sum(self._sizes) + 1, dtype=self._real, device=device)
        self.alive = torch.ones(sum(self._sizes), dtype=torch.bool, device=device)

    def step(self, signals: Signals, now: Generation) -> None:
        """See `Laws.step`."""
        arrays = {name: vector.cpu().double().numpy() for name, vector in signals.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            return
        changed = now.cost is not None and now.cost is not self._cost
        self._cost = now.cost
        deaths = self._community.step(
            **arrays,
            strength=float(now.strength),
            pressure=float(now.pressure),
            cost=now.cost.cpu().double().numpy() if changed and now.cost is not None else None,
            terms=now.terms,
        )
        self._copy(changed=len(deaths) > 0)
        layers = self._community.layers
        self._new += [
            Death(now.at, layers.index(str(d["layer"])), int(d["birth"]), d["mass"], d["fitness"])
            for d in deaths
        ]

    def _copy(self, changed: bool = True) -> None:
        """Copy masses to the model's device, and also `alive` if `changed`."""
        mass = np.concatenate(list(self._community.mass.values()))
        self.mass[:-1] = torch.from_numpy(mass)
        if changed:
            alive = np.concatenate(list(self._community.alive.values()))
            self.alive = torch.from_numpy(alive).to(self._device)

    def deaths(self) -> list[Death]:
        """See `Laws.deaths`."""
        found, self._new = self._new, []
        return found

    def _vector(self, by_layer: Mapping[str, Any]) -> torch.Tensor:
        return torch.from_numpy(np.nan_to_num(np.concatenate(list(by_layer.values()))))

    def smoothed(self) -> torch.Tensor:
        """See `Laws.smoothed`."""
        return self._vector(self._community.fitness)

    def upkeep(self) -> torch.Tensor:
        """See `Laws.upkeep`."""
        return self._vector(self._community.upkeep)

    def state_dict(self) -> dict[str, Any]:
        """See `Laws.state_dict`."""
        state = self._community.state_dict()
        extinct = state.pop("extinct")
        state["extinct"] = [row.tolist() for row in extinct]
        return {
            name: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
            for name, value in state.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Laws.load_state_dict`."""
        plain = {
            name: value.cpu().numpy() if isinstance(value, torch.Tensor) else value
            for name, value in state.items()
        }
        kind = self._community.extinct.dtype
        plain["extinct"] = np.array([tuple(row) for row in state["extinct"]], kind)
        self._community.load_state_dict(plain)
        self._copy()


def make_laws(
    born: Mapping[str, int], selection: Selection, device: torch.device, seed: int
) -> Laws:
    """Return the laws of a selection for a model on a device."""
    from evoprune.bridges.torch.laws_device import DeviceLaws

    if device.type != "cpu" and DeviceLaws.serves(selection):
        return DeviceLaws(born, selection, device)
    return HostLaws(born, selection, device, seed)

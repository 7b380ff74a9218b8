"""The default law in torch operations, so that the host never waits for a GPU in a generation.

Soft upkeep and bounded Malthusian growth for all populations at once: the same equations as
csrc/laws, in the same order, in float64 if the device supports it. Extinctions are recorded on the
device and copied only when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from evoprune import Dynamics, Fitness
from evoprune.bridges.torch.laws import Death, Generation, Number, Signals
from evoprune.bridges.torch.signals import raw_fitness

if TYPE_CHECKING:
    from evoprune import Selection

__all__ = ["DeviceLaws"]

USUAL_THRESHOLD = 1e-3  # mass at which a lifespan ends if the selection's threshold is 0


class DeviceLaws:
    """Masses and fitness of all founders on the model's device, and the step that updates them.

    Attributes:
        mass, alive: see `Laws`.
        fitness: smoothed fitness (founders,), not corrected for starting at 0.
        generations: number of generations so far, on the device.
        held: how often a layer's floor kept a population alive, on the device.
    """

    @staticmethod
    def serves(selection: Selection) -> bool:
        """True if this class implements the law of a selection."""
        law = selection.dynamics
        if not isinstance(law, Dynamics) or law.kind != "malthusian":
            return False
        named = isinstance(selection.fitness, Fitness)
        return bool(named and law.settings["growth"] == "bounded" and selection.upkeep == "soft")

    def __init__(self, born: Mapping[str, int], selection: Selection, device: torch.device) -> None:
        self.selection = selection.timed()
        sizes = list(born.values())
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        n = sum(sizes)
        self._real = torch.float32 if device.type == "mps" else torch.float64
        self._device = device

        def vector(value: float, n: int = n) -> torch.Tensor:
            return torch.full((n,), value, dtype=self._real, device=device)

        self.mass, self.fitness, self._upkeep = vector(1.0, n + 1), vector(0.0), vector(0.0)
        self.alive = torch.ones(n, dtype=torch.bool, device=device)
        self.generations = torch.zeros((), dtype=self._real, device=device)
        self.held = torch.zeros((), dtype=torch.int64, device=device)
        self._died = torch.full((n,), -1, dtype=torch.int64, device=device)
        self._last_mass, self._last_fitness = vector(0.0), vector(0.0)
        self._reported = 0
        index = torch.tensor([i for i, size in enumerate(sizes) for _ in range(size)])
        self._layer = index.to(device)
        whole = selection.niche == "network"
        self._niche = torch.zeros_like(self._layer) if whole else self._layer
        rivals = torch.tensor([n] * len(sizes) if whole else sizes, dtype=self._real) - 1
        self._rivals = rivals.clamp_min(1)[index].to(device)
        self._first = torch.tensor(self._starts)[index].to(device)
        self._places = torch.arange(n, device=device)

    def _sums(self, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Return for every founder the sum over all founders of the same index: (founders,)."""
        sums = torch.zeros(len(self._starts), dtype=values.dtype, device=values.device)
        return sums.index_add_(0, index, values)[index]

    @torch.no_grad()
    def step(self, signals: Signals, now: Generation) -> None:
        """See `Laws.step`."""
        strength = now.strength
        s = self.selection
        n = len(self.fitness)
        assert isinstance(s.fitness, Fitness)
        raw = raw_fitness(s.fitness, signals, self.mass[:-1], now.terms).to(self._real)
        raw = torch.where(self.alive, raw, 0.0)
        ok = torch.isfinite(raw).all()
        self.generations += ok
        remembered = s.memory * self.fitness + (1 - s.memory) * raw
        self.fitness = torch.where(ok, remembered, self.fitness)
        correction = 1 / (1 - s.memory ** self.generations.clamp_min(1))
        fitness = self.fitness * correction
        self._upkeep = upkeep = self._price(fitness, now.pressure, now.cost)

        law: Any = s.dynamics
        threshold = min(max(s.threshold or USUAL_THRESHOLD, 1e-30), 0.5)
        pace = strength * (-math.log(threshold) / law.lifespan)
        turnover = 0.5 * fitness.abs() + 0.5 * upkeep
        gain = 0.5 * fitness - 0.5 * upkeep
        growth = torch.where(turnover > 0, gain / turnover.clamp_min(1e-300), 0.0)
        mass = self.mass[:n]
        grown = (mass * torch.exp(pace * growth)).clamp_max(law.ceiling)
        grown = torch.where(ok & self.alive, grown, mass)
        if isinstance(strength, torch.Tensor) or strength == 0:
            grown = torch.where(torch.as_tensor(strength, device=ok.device) == 0, mass, grown)
        self._settle(ok, grown, fitness, now.at)

    def _price(
        self, fitness: torch.Tensor, pressure: Number, cost: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the soft upkeep of every founder: (founders,), 0 for extinct populations.

        It is `pressure` times the mean fitness of the other founders of the niche, where extinct
        populations and negative fitness count as 0. With `cost`, it is also multiplied by the
        population's cost relative to the mean cost of the living populations of its niche.
        """
        own = torch.where(self.alive, fitness.clamp_min(0), 0.0)
        others = self._sums(own, self._niche) - own
        upkeep = pressure * others / self._rivals
        if cost is not None:
            spent = torch.where(self.alive, cost.to(self._real), 0.0)
            living = self._sums(self.alive.to(self._real), self._niche)
            total = self._sums(spent, self._niche)
            upkeep = torch.where(total > 0, upkeep * spent / total * living, upkeep)
        return torch.where(self.alive, upkeep, 0.0)

    def _settle(self, ok: torch.Tensor, mass: torch.Tensor, fitness: torch.Tensor, at: int) -> None:
        """Mark populations below the threshold extinct, lightest first, until `floor` are left."""
        s = self.selection
        low = self.alive & (mass < s.threshold) & ok & (self.generations >= s.min_age)
        # Rank the `low` populations of every layer by mass: sort by mass, then stably by layer.
        order = torch.argsort(torch.where(low, mass, math.inf), stable=True)
        order = order[torch.argsort(self._layer[order], stable=True)]
        rank = torch.empty_like(self._places)
        rank[order] = self._places
        rank -= self._first
        spare = self._sums(self.alive.to(torch.int64), self._layer) - s.floor
        dies = low & (rank < spare)
        stays = low & ~dies
        self.held += stays.sum()
        self._died = torch.where(dies, at, self._died)
        self._last_mass = torch.where(dies, mass, self._last_mass)
        self._last_fitness = torch.where(dies, fitness, self._last_fitness)
        mass = torch.where(stays, s.threshold, mass)
        self.alive = self.alive & ~dies
        self.mass[:-1] = torch.where(self.alive, mass, 0.0)

    # ---- reads that wait for the device

    def deaths(self) -> list[Death]:
        """Return the deaths since the last call, in order. Waits for the device."""
        died = self._died.cpu()
        order = torch.argsort(died, stable=True)
        known = order[int((died < 0).sum()) :]
        new = known[self._reported :].tolist()
        self._reported = len(known)
        if not new:
            return []
        layer, mass, fitness = self._layer.cpu(), self._last_mass.cpu(), self._last_fitness.cpu()
        found = [
            Death(
                int(died[j]),
                int(layer[j]),
                j - self._starts[int(layer[j])],
                float(mass[j]),
                float(fitness[j]),
            )
            for j in new
        ]
        return sorted(found, key=lambda death: (death.step, death.layer, death.mass))

    def smoothed(self) -> torch.Tensor:
        """See `Laws.smoothed`."""
        memory = self.selection.memory
        return self.fitness / (1 - memory ** self.generations.clamp_min(1))

    def upkeep(self) -> torch.Tensor:
        """Return the upkeep of the last generation: (founders,)."""
        return self._upkeep

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the mutable state as tensors."""
        names = ("mass", "fitness", "alive", "generations", "held")
        own = ("_upkeep", "_died", "_last_mass", "_last_fitness")
        return {name: getattr(self, name).clone() for name in (*names, *own)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load the mutable state."""
        for name, value in state.items():
            setattr(self, name, value.to(self._device).clone())
        self._reported = int((self._died >= 0).sum())

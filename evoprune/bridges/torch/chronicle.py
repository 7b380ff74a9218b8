"""Chronicle: record a run as an `evoprune.History`, so that all plots and tables work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from evoprune import History
from evoprune.bridges.torch.laws import Death, Laws
from evoprune.common.types import Array

__all__ = ["Chronicle"]

RECORDS = 150  # number of records of masses in a run with a known number of steps
DEATH = np.dtype(
    [("step", "i8"), ("population", "i4"), ("birth", "i4"), ("mass", "f8"), ("fitness", "f8")]
)


class Chronicle:
    """Writes deaths, masses and the user's columns into a History."""

    def __init__(self, born: Mapping[str, int], steps: int | None, settings: str) -> None:
        every = max(1, steps // RECORDS) if steps else 10
        self.history = History(
            list(born), list(born.values()), record_every=every, settings={"selection": settings}
        )
        self._losses: list[float] = []

    def step(self, loss: float) -> None:
        """Record a step with its loss, or NaN if unknown."""
        self._losses.append(loss)

    def flush(self, deaths: Sequence[Death], laws: Laws, step: int) -> None:
        """Add the steps and deaths since the last call to the history.

        Record the masses too if `step` is a multiple of `history.record_every`.
        """
        if self._losses:
            losses = np.array(self._losses)
            known = np.isfinite(losses)
            self.history.add_steps(losses, np.zeros(len(losses)), known.astype(float))
            self._losses.clear()
        if deaths:
            rows = np.array([(d.step, d.layer, d.birth, d.mass, d.fitness) for d in deaths], DEATH)
            self.history.add_deaths(rows, self.history.layers, 0)
        if step % self.history.record_every == 0:
            self.record(step, laws)

    def record(self, step: int, laws: Laws) -> None:
        """Record mass, fitness and upkeep of living populations."""
        vectors = [laws.mass[:-1], laws.smoothed(), laws.upkeep()]
        counted: dict[str, Sequence[Array]] = {}
        start = 0
        for name, born in zip(self.history.layers, self.history.born, strict=True):
            births = torch.nonzero(laws.alive[start : start + born].cpu())[:, 0].numpy()
            parts = [v[start : start + born].cpu().numpy()[births] for v in vectors]
            counted[name] = [births, *parts]
            start += born
        self.history.add_record(step, counted)

    def row(self, step: int, columns: Mapping[str, float], laws: Laws) -> None:
        """Append a row to the columns. The `step` of the first row sets the steps per epoch."""
        history = self.history
        if not history.epochs_done:
            history.per_epoch = max(1, step)
        mass = laws.mass[:-1].double().cpu()
        shares = mass / mass.sum().clamp_min(1e-300)
        entropy = -(shares * shares.clamp_min(1e-300).log()).sum()
        upkeep = float((mass * laws.upkeep().double().cpu()).sum())
        history.add_epoch(
            {
                "epoch": step / history.per_epoch,
                "step": float(step),
                **columns,
                "diversity": float(entropy.exp()),
                "upkeep": upkeep,
            }
        )

    def state_dict(self) -> torch.Tensor:
        """Return the content of the history's file as a uint8 tensor (n_bytes,)."""
        return torch.frombuffer(bytearray(self.history.to_bytes()), dtype=torch.uint8)

    def load_state_dict(self, state: torch.Tensor) -> None:
        """Load the history from a saved state."""
        self.history = History.from_bytes(state.cpu().numpy().tobytes())
        self._losses.clear()

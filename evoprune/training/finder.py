"""Find a learning rate: a short run over rising rates, on a copy of the network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoprune.common.checks import instance, number, whole
from evoprune.common.errors import Diverged
from evoprune.common.renames import spelled
from evoprune.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RateSearch", "find_learning_rate"]

MEMORY = 0.9  # decay of the exponential mean that smooths the loss
WORSE = 4.0  # the search ends when the smoothed loss exceeds this multiple of its minimum
LEAST = 0.01  # smallest relative decrease of the loss that allows a suggestion
SKIPPED = 5  # number of first steps that are ignored: too few to show a trend


@dataclass(frozen=True, repr=False)
class RateSearch:
    """Result of a learning rate search.

    Attributes:
        rates: learning rate of every step (steps,).
        losses: loss of every step (steps,).
        smoothed: the losses, smoothed by an exponential mean (steps,).
        suggestion: the rate at which the smoothed loss falls fastest per decade of rate.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw loss against rate; see `evoprune.plot.learning_rate`."""
        from evoprune.plot import learning_rate

        return learning_rate(self, ax)

    def __repr__(self) -> str:
        low, high = self.rates[0], self.rates[-1]
        return (
            f"RateSearch(suggestion={self.suggestion:.2g}, {len(self.rates)} steps from "
            f"{low:.2g} to {high:.2g})"
        )


@spelled
def find_learning_rate(
    trainer: Trainer,
    data: Any,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 200,
    batch_size: int = 128,
) -> RateSearch:
    """Train a copy of the network at rising learning rates and find where the loss falls fastest.

    The method is Smith's (2017). Trainer and network do not change; no population becomes extinct.

    Args:
        trainer: provides network, loss and optimizer.
        data: as for `Trainer.fit`.
        lowest, highest: first and last rate; rates rise by a constant factor.
        steps: number of steps; the run ends early if the loss grows too large.
        batch_size: samples per step.

    Returns:
        Rates, losses and a suggestion, with `plot()`.

    Raises:
        ValueError: the rates do not rise, or the loss never falls.
        ValueError, TypeError: as for `Trainer.fit`.
    """
    instance("trainer", trainer, Trainer)
    low = number("lowest", lowest, 1e-30, 1e30)
    high = number("highest", highest, 1e-30, 1e30)
    if not high > low:
        raise ValueError(f"highest: expected a rate above lowest ({low:g}), got {high:g}")
    steps = whole("steps", steps, 4 * SKIPPED, 10**7)
    rates = np.geomspace(low, high, steps)
    optimizer = type(trainer.optimizer)(**(trainer.optimizer.settings | {"learning_rate": rates}))
    search = Trainer(trainer.network.copy(), loss=trainer.loss, optimizer=optimizer, selection=None)
    with suppress(Diverged):  # if the loss diverges, use the losses before that
        search.fit(data, epochs=1, batch_size=batch_size, steps=steps, progress=False)
    losses = np.empty(0) if search.history is None else search.history.batch_losses
    smoothed = _smoothed(losses)
    if len(smoothed):
        lowest_so_far = np.minimum.accumulate(smoothed)
        over = np.flatnonzero(smoothed > WORSE * np.abs(lowest_so_far))
        end = int(over[0]) if len(over) else len(smoothed)
        losses, smoothed = losses[:end], smoothed[:end]
    trend = smoothed[SKIPPED:]
    if len(trend) <= SKIPPED or not trend[0] - trend.min() > LEAST * abs(trend[0]):
        raise ValueError(
            f"find_learning_rate: the loss does not fall at any rate from {low:g} to "
            f"{high:g}; try lower rates, or check the data"
        )
    steepest = SKIPPED + int(np.argmin(np.gradient(trend)))
    return RateSearch(rates[: len(losses)], losses, smoothed, float(rates[steepest]))


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponential means of losses, corrected for the bias of starting at 0."""
    means, mean = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means[i] = mean / (1 - MEMORY ** (i + 1))
    return means

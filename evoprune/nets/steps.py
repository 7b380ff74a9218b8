"""Methods that run one part of a training step, or many steps by a direct call of the core."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from evoprune.common.errors import Diverged
from evoprune.common.types import Array
from evoprune.nets.described import Described
from evoprune.nets.populations import population

__all__ = ["Steps"]


class Steps(Described):
    """The part of `Network` that runs steps; `forward` and `backward` are in network.py."""

    def gradient(self) -> None:
        """Fill `gradients` from the last `backward`."""
        self.core.gradient()

    def update(self, rate: float) -> None:
        """Apply one optimizer step with learning rate `rate`."""
        self.core.update(rate)

    def evolve(self, pressure: float, strength: float = 1.0) -> Array:
        """Apply one generation of selection to the masses.

        Returns:
            The populations that went extinct: a structured array with the fields step, population
            (index of the layer of populations), birth (the birth id), mass and fitness.
        """
        deaths: Array = self.core.evolve(pressure, strength)
        return deaths

    def compact(self) -> bool:
        """Remove extinct populations from all arrays; return False if there were none."""
        return bool(self.core.compact())

    def kill(self, layer: str, births: ArrayLike) -> None:
        """Mark populations of a layer extinct, by birth id; the next compaction removes them.

        Raises:
            KeyError: there is no such layer of populations; the message lists the existing ones.
            ValueError: a birth id does not belong to a living population.
        """
        population(self.describe(), layer)
        self.core.kill(layer, births)

    def train(
        self,
        x: Any,
        y: Any,
        *,
        batch: int,
        first: int,
        rate: ArrayLike,
        pressure: ArrayLike,
        strength: ArrayLike,
        shuffle: bool = True,
        threads: int = 1,
        augment: dict[str, Any] | None = None,
        rows: Any = None,
        weights: Any = None,
        keep: bool = True,
        ranks: Any = None,
    ) -> dict[str, Any]:
        """Run many steps by a direct call of the core; `Trainer` is the usual way to train.

        Args:
            x, y: inputs and targets, as the core reads them.
            batch: samples per step.
            first: index of the first batch, counted over all epochs.
            rate, pressure, strength: learning rate, pressure and strength of selection at every
                step, (steps,) each.
            shuffle: draw the batches of an epoch in random order.
            threads: number of worker threads; it does not affect results.
            augment: random changes of images, see `Trainer.fit`.
            rows: the rows of x and y that are samples (n,); all by default.
            weights: weights of the samples (n,).
            keep: keep the gradients of all activations of the last step.
            ranks: the processes that share every batch, see `training.ranks.Ranks.argument`.

        Returns:
            A record of the steps. `loss` (mean), `hits` (correct predictions), `weight` (sum of the
            weights of predictions) and `counted` (predictions with weight > 0) have one number per
            step. `deaths` and `births` have one row per population. `steps`, `compactions` and
            `floor_reached` are counts.

        Raises:
            Diverged: the loss is not finite; the network is in its state before that step.
        """
        try:
            record: dict[str, Any] = self.core.train(
                x,
                y,
                batch=batch,
                first=first,
                rate=rate,
                pressure=pressure,
                strength=strength,
                shuffle=shuffle,
                threads=threads,
                augment=augment,
                rows=rows,
                weights=weights,
                keep=keep,
                ranks=ranks,
            )
        except self._module.Diverged as error:
            raise Diverged(str(error), getattr(error, "step", None)) from None
        return record

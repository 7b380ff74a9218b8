"""The row that an epoch adds to the columns of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evoprune.nets.populations import census
from evoprune.records.demography import hill, variance
from evoprune.records.former import NamedRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evoprune.data.table import Score, Table
    from evoprune.nets.network import Network
    from evoprune.records.history import History
    from evoprune.training.feed import Schedules
    from evoprune.training.metrics import Measures
    from evoprune.training.ranks import Ranks
    from evoprune.training.run import Run, Watch

__all__ = ["measured", "row_of"]


def row_of(
    network: Network,
    history: History,
    run: Run,
    watch: Watch,
    last: Schedules,
    score: Score | None,
    metrics: Mapping[str, float],
) -> NamedRow:
    """Return the row of the history for the epoch that ends now: one value for each column.

    Args:
        network: the network; it is only read.
        history: holds the losses of the epoch's batches.
        run: progress of the run.
        watch: measures the time of the run; this calls its `lap()`.
        last: learning rate and pressure of the last step.
        score: score on validation data, if there is any.
        metrics: values of the metrics by column, see `measured`.
    """
    loss, accuracy = history.means((run.done - 1) // run.per_epoch * run.per_epoch)
    if not network.loss.counts_hits(network.loss.kind):
        accuracy = np.nan
    alive = network.alive
    row = {
        "epoch": run.done / run.per_epoch,
        "step": float(run.done),
        "loss": loss,
        "accuracy": accuracy,
    }
    if score is not None:
        row |= {"validation_loss": score.loss, "validation_accuracy": score.accuracy}
    row |= metrics
    pressure = float(last.pressure[0])
    row |= {
        "alive": float(sum(alive.values())),
        **{f"alive.{name}": float(n) for name, n in alive.items()},
        "macs": network.macs,
        "parameters": float(network.parameters),
        **_populations(network, pressure),
        "rate": float(last.rate[0]) * run.slowed,
        "pressure": pressure,
        "ms_per_step": watch.lap(),
        "seconds": watch.elapsed(),
        "floor_reached": float(watch.floor_reached),
    }
    return NamedRow(row)


def _populations(network: Network, pressure: float) -> dict[str, float]:
    """Return upkeep and diversity of living populations, and the variance of their fitness."""
    if not network.born:
        return {"upkeep": 0.0}
    layers = census(network, pressure).values()
    mass, fitness, upkeep = (np.concatenate([layer[i] for layer in layers]) for i in (1, 2, 3))
    return {
        "upkeep": float(upkeep.sum()),
        "diversity": float(hill(mass)),
        "fitness_variance": float(variance(mass, fitness)),
    }


def measured(
    network: Network, tables: Mapping[str, Table | None], measures: Measures, ranks: Ranks
) -> dict[str, float]:
    """Return the values of the metrics, by their columns in the history.

    Args:
        network: the network; it is only read.
        tables: by prefix of a column ("validation_" or "training_"), the samples of this rank on
            which the metrics of these columns are computed; None: no such columns.
        measures: the metrics.
        ranks: the processes, each with samples of its own.
    """
    columns: dict[str, float] = {}
    for prefix, table in tables.items():
        if table is None or not measures.metrics:
            continue
        y, outputs = ranks.outputs(network, table)
        for name, metric in measures.metrics.items():
            value = metric(y, outputs)
            try:
                columns[prefix + name] = float(value)
            except (TypeError, ValueError):
                raise TypeError(f"metrics: expected a number of {name}, got {value!r}") from None
    return columns

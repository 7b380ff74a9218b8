"""Control of a run by a budget: measure the network's size and adjust the pressure."""

from __future__ import annotations

from evoprune.nets.network import Network
from evoprune.nets.populations import census
from evoprune.selection.budget import Budget
from evoprune.selection.settings import Selection
from evoprune.training.run import Run

__all__ = ["budget_of", "move"]


def budget_of(selection: Selection | None) -> Budget | None:
    """Return the budget that sets the pressure of a selection, if there is one."""
    pressure = None if selection is None else selection.pressure
    return pressure if isinstance(pressure, Budget) else None


def move(budget: Budget, network: Network, selection: Selection, run: Run) -> None:
    """Update a run's pressure; stop changing masses once the budget's size is reached."""
    if run.pressure is None:
        raise ValueError("run: expected one that began with a budget's pressure")
    if selection.removal != "never":
        network.compact()  # so that its size counts living populations only
    moving = max(1, round((1 - selection.rest) * run.total))
    run.resting = budget.reached(network)
    run.pressure = budget.steer(
        network,
        run.pressure,
        done=min(1.0, run.done / moving),
        lag=(selection.lifespan() or 0.0) * selection.every / moving,
        threshold=selection.threshold,
        masses=[mass for _, mass, *_ in census(network, 0.0).values()],
    )

"""The plot of a learning rate search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evoprune.common.renames import spelled
from evoprune.plot._ground import colors, label, legend, one

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evoprune.training.finder import RateSearch

__all__ = ["learning_rate"]


@spelled
def learning_rate(search: RateSearch, ax: Axes | None = None) -> Axes:
    """Draw the loss of every step against its learning rate, and the suggested rate.

    Args:
        search: result of `find_learning_rate`.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    if not hasattr(search, "suggestion"):
        raise TypeError(f"search: expected a RateSearch, got {type(search).__name__}")
    ax = one(ax, (6, 4))
    batch, mean = colors(2, ax)
    ax.plot(search.rates, search.losses, color=batch, alpha=0.35, label="batch")
    ax.plot(search.rates, search.smoothed, color=mean, label="smoothed")
    at = int(np.searchsorted(search.rates, search.suggestion))
    ax.plot(
        [search.suggestion],
        [search.smoothed[min(at, len(search.smoothed) - 1)]],
        "o",
        color=mean,
        label=f"falls fastest at {search.suggestion:.2g}",
    )
    ax.set_xscale("log")
    label(ax, "Search for a learning rate", "learning rate", "loss")
    legend(ax)
    return ax

"""Plots of runs and networks: each function takes data and returns matplotlib Axes.

The functions neither show nor save plots, and import matplotlib only when they draw. Each draws on
given Axes or on a new figure, in matplotlib's current style, light or dark; `style` switches to
evoprune's own style.
"""

from evoprune.common.renames import current_name
from evoprune.plot._ground import COLORS, style
from evoprune.plot._insides import features, filters, heads
from evoprune.plot._nets import fitness, pareto, structure
from evoprune.plot._rates import learning_rate
from evoprune.plot._runs import history, survival, trajectories
from evoprune.plot._shares import muller, phase, price

__all__ = [
    "COLORS",
    "features",
    "filters",
    "fitness",
    "heads",
    "history",
    "learning_rate",
    "muller",
    "pareto",
    "phase",
    "price",
    "structure",
    "style",
    "survival",
    "trajectories",
]


def __getattr__(name: str) -> object:
    """Return COLORS for its former spelling, and warn."""
    if name == "COLOURS":
        current_name("evoprune.plot", {"COLOURS": "COLORS"}, name)
        return COLORS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

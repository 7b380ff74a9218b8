"""Plots: data in, matplotlib Axes out.

The functions neither show nor save, and import matplotlib only when they draw. Each takes the Axes
to draw on, or makes a figure, and follows matplotlib's style, light or dark; `style` sets
evoprune's own.
"""

from evoprune.plot._ground import COLOURS, style
from evoprune.plot._insides import features, filters, heads
from evoprune.plot._nets import fitness, pareto, structure
from evoprune.plot._rates import learning_rate
from evoprune.plot._runs import history, survival, trajectories
from evoprune.plot._shares import muller, phase, price

__all__ = [
    "COLOURS",
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

"""Shared parts of all plots: figures, colors for light and dark backgrounds, titles, legends.

This module uses matplotlib and does not depend on runs or networks. The palette is that of Okabe &
Ito (2008), safe for color-blind readers; darker colors are lightened on dark backgrounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from evoprune.common.checks import instance
from evoprune.common.colors import COLORS
from evoprune.common.names import stem
from evoprune.common.types import Array

__all__ = [
    "COLORS",
    "CURVES",
    "calm",
    "colors",
    "figure",
    "grey",
    "is_dark",
    "label",
    "legend",
    "limits",
    "one",
    "paint",
    "style",
]

Color: TypeAlias = tuple[float, float, float]

LIFTED = ("#3FA9F5", "#F0B429", "#1FC99A", "#E39AC6", "#9AD4F7", "#FF7F3F", "#A8A8A8")
CURVES = "cividis"  # the color map if there are more layers than colors

DARK = "#15181C"
LOOK: Any = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
}


@contextmanager
def style(dark: bool = False) -> Iterator[None]:
    """Draw in evoprune's own style within a with-block.

    Without it plots use matplotlib's current style, light or dark.

        with ep.plot.style(dark=True):
            ax = ep.plot.trajectories(history)

    Args:
        dark: draw light lines on a dark background.
    """
    from matplotlib import pyplot

    with pyplot.style.context("dark_background" if dark else "default"), pyplot.rc_context(LOOK):
        if dark:
            pyplot.rcParams["figure.facecolor"] = pyplot.rcParams["axes.facecolor"] = DARK
            pyplot.rcParams["savefig.facecolor"] = DARK
        yield


def figure(rows: int, columns: int, size: tuple[float, float]) -> Array:
    """Return the Axes of a new figure: (rows * columns,)."""
    from matplotlib import pyplot

    _, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    return np.asarray(axes).ravel()


def one(ax: Any, size: tuple[float, float]) -> Any:
    """Return `ax`; if it is None, the Axes of a new figure of this size in inches."""
    if ax is None:
        return figure(1, 1, size)[0]
    from matplotlib.axes import Axes

    instance("ax", ax, Axes)
    return ax


def is_dark(ax: Any) -> bool:
    """True if the background of the Axes is darker than middle gray."""
    from matplotlib.colors import to_rgba

    red, green, blue, opacity = to_rgba(ax.get_facecolor())
    if opacity < 0.5:
        red, green, blue, _ = to_rgba(ax.figure.get_facecolor())
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.4


def colors(n: int, ax: Any) -> list[Color]:
    """Return n distinguishable colors for the background of the Axes."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    dark = is_dark(ax)
    if n <= len(COLORS):
        return [to_rgb(color) for color in (LIFTED if dark else COLORS)[:n]]
    low, high = (0.25, 1.0) if dark else (0.0, 0.85)
    return [to_rgb(color) for color in colormaps[CURVES](np.linspace(low, high, n))]


def paint(layers: Sequence[str], ax: Any) -> dict[str, Color]:
    """Return a color for every layer, by name.

    If there are more layers than colors, layers of one kind (heads1, heads2) get shades of one
    color. If all layers are of one kind, or there are more kinds than colors, the colors come from
    the color map CURVES.
    """
    kinds: dict[str, list[str]] = {}
    for name in layers:
        kinds.setdefault(stem(name), []).append(name)
    if len(layers) <= len(COLORS) or not 1 < len(kinds) <= len(COLORS):
        return dict(zip(layers, colors(len(layers), ax), strict=True))
    chosen = {}
    for names, hue in zip(kinds.values(), colors(len(kinds), ax), strict=True):
        for name, level in zip(names, np.linspace(-0.4, 0.5, len(names)), strict=True):
            end = 0.0 if level < 0 else 1.0
            red, green, blue = (float(c + abs(level) * (end - c)) for c in hue)
            chosen[name] = (red, green, blue)
    return {name: chosen[name] for name in layers}


def grey(ax: Any, strength: float = 0.5) -> Color:
    """Blend the background of the Axes with its text color, by `strength` from 0 to 1."""
    ground, ink = (0.09, 0.9) if is_dark(ax) else (1.0, 0.15)
    level = ground + strength * (ink - ground)
    return (level, level, level)


def limits(ax: Any, values: Array) -> None:
    """Limit the x axis to the range from the first value to the last."""
    if len(values) > 1 and values[-1] > values[0]:
        ax.set_xlim(values[0], values[-1])


def calm(values: Array, width: int) -> Array:
    """Smooth each column by a trailing mean over up to `width` rows; NaN stays NaN."""
    known = np.isfinite(values)
    start = np.zeros((1, values.shape[1]))
    sums = np.cumsum(np.vstack([start, np.where(known, values, 0)]), axis=0)
    counts = np.cumsum(np.vstack([start, known]), axis=0)
    at = np.arange(1, len(values) + 1)
    before = np.maximum(0, at - width)
    mean = (sums[at] - sums[before]) / np.maximum(1, counts[at] - counts[before])
    return np.where(known, mean, np.nan)


def label(ax: Any, title: str, x: str, y: str) -> None:
    """Set title and axis labels; remove the top and right spines."""
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    if x in ("epoch", "generation"):
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend(ax: Any, handles: Sequence[Any] | None = None, below: bool = False) -> None:
    """Add a legend if there are entries; with `below`, under the plot instead of inside it."""
    named = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if not named:
        return
    if not below:
        ax.legend(handles=named, frameon=False, fontsize="small")
        return
    longest = max(len(str(handle.get_label())) for handle in named)
    fits = int(11 * ax.figure.get_size_inches()[0] / (longest + 7))
    columns = max(1, min(4, len(named), fits))
    ax.legend(
        handles=named,
        frameon=False,
        fontsize="small" if len(named) <= 8 else "x-small",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=columns,
    )

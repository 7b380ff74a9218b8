"""Pictures: data in, matplotlib Axes out.

Nothing is shown or saved here, and matplotlib is imported only when something is drawn. Colours are
those of Okabe & Ito (2008), told apart by colour-blind eyes, on light and dark grounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune._dataset import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evoprune.history import History, Quantity

__all__ = ["COLOURS", "history", "survival", "trajectories"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")

# A population on its way out is drawn the fainter the less it weighs: (mass above, opacity).
FADING = ((0.4, 0.5), (0.15, 0.38), (0.05, 0.28), (0.015, 0.2), (0.005, 0.15), (0.0, 0.12))


def history(history: History, axes: Sequence[Axes] | Array | None = None) -> Array:
    """Draw how a run went by epoch: loss, accuracy, the living by layer, upkeep.

    Args:
        history: of the run.
        axes: four Axes to draw on; a figure of two by two if not given.

    Returns:
        The four Axes, (4,).
    """
    four = _figure(2, 2, (9, 6)) if axes is None else np.asarray(axes).ravel()
    if len(four) != 4:
        raise ValueError(f"axes: expected 4 of them, got {len(four)}")
    loss, accuracy, living, upkeep = four
    epochs = history["epoch"] if history.epochs else np.empty(0)
    for ax, name, title in ((loss, "loss", "Loss"), (accuracy, "accuracy", "Accuracy")):
        for column, label, style in (
            (name, "training", {"color": COLOURS[0]}),
            (f"validation_{name}", "validation", {"color": COLOURS[1], "linestyle": "--"}),
        ):
            if column in history and np.isfinite(history[column]).any():
                ax.plot(epochs, history[column], label=label, **style)
        _label(ax, title, "epoch", "nats" if name == "loss" else "share of right predictions")
        _legend(ax)
    survival(history, living)
    if "upkeep" in history:
        upkeep.plot(epochs, history["upkeep"], color=COLOURS[2], label="pressure x living share")
        upkeep.plot(epochs, history["pressure"], color=COLOURS[6], linestyle=":", label="pressure")
        upkeep.set_ylim(bottom=0)
    _label(upkeep, "Upkeep of the living", "epoch", "nats")
    _legend(upkeep)
    return four


def trajectories(
    history: History,
    quantity: Quantity = "mass",
    *,
    layer: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a line for every population over time: those that die fade, and end with a dot.

    Args:
        history: of the run.
        quantity: "mass" (on a scale of logarithms) or "fitness".
        layer: only the populations of this layer.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    if ax is None:
        ax = _figure(1, 1, (9, 5))[0]
    layers = history.layers if layer is None else (layer,)
    epochs = history.steps / history.per_epoch
    legend = []
    for name in layers:
        colour = COLOURS[history.layers.index(name) % len(COLOURS)]
        values = history.trajectories(quantity, name).T.astype(np.float64)
        mass = history.trajectories("mass", name).T
        if not values.size:
            continue
        if quantity == "mass":
            values = np.where(values > 0, values, np.nan)
        survives = ~np.isnan(mass[:, -1])
        lines = [(values[survives], 0.8, 3)]
        above = np.inf
        for least, opacity in FADING:
            # A point more at the light end, so that the parts of a line touch.
            inside = (mass >= least) & (mass < above)
            inside[:, 1:] |= inside[:, :-1] & ~np.isnan(mass[:, 1:])
            lines.append((np.where(inside, values, np.nan)[~survives], opacity, 2))
            above = least
        for part, opacity, order in lines:
            points = np.empty((*part.shape, 2))
            points[..., 0], points[..., 1] = epochs, part
            ax.add_collection(
                LineCollection(
                    list(points), colors=colour, linewidths=0.7, alpha=opacity, zorder=order
                )
            )
        dead = _deaths(history, name)
        if len(dead):
            ends = dead[quantity]
            ax.scatter(dead["epoch"], ends, s=4, color=colour, alpha=0.6, linewidths=0, zorder=4)
        text = f"{name}: {int(survives.sum()):,} of {len(survives):,} survive"
        legend.append(Line2D([], [], color=colour, label=text))
    if quantity == "mass":
        ax.set_yscale("log")
    ax.autoscale_view()
    if len(epochs) > 1:
        ax.set_xlim(epochs[0], epochs[-1])
    name = "Mass" if quantity == "mass" else "Fitness"
    unit = "mass (1 at birth)" if quantity == "mass" else "nats per unit of mass"
    _label(ax, f"{name} of every population", "epoch", unit)
    if legend:
        ax.legend(
            handles=legend,
            frameon=False,
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),  # below: the lines need all of the room above
            ncols=min(4, len(legend)),
        )
    return ax


def survival(history: History, ax: Axes | None = None) -> Axes:
    """Draw how many live, by layer, over time; a tick on the floor for every extinction.

    Args:
        history: of the run.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    if ax is None:
        ax = _figure(1, 1, (8, 4.5))[0]
    end = history.steps_done / history.per_epoch
    for at, name in enumerate(history.layers):
        colour = COLOURS[at % len(COLOURS)]
        alive = history.alive(name)
        if not len(alive):
            continue
        when = np.sort(_deaths(history, name)["epoch"])
        count = alive[0] - np.arange(len(when) + 1)
        ax.step(
            [0, *when, end],
            [*count, count[-1]],
            where="post",
            color=colour,
            label=f"{name}: {count[-1]:,} of {history.born[at]:,}",
        )
        ax.plot(
            when,
            np.full(len(when), 0.01 + 0.025 * at),
            "|",
            color=colour,
            alpha=0.35,
            markersize=5,
            transform=ax.get_xaxis_transform(),
        )
    ax.set_ylim(bottom=0)
    _label(ax, "Living populations", "epoch", "populations")
    _legend(ax)
    return ax


def _deaths(history: History, layer: str) -> Array:
    rows = history.extinctions
    mine: Array = rows[rows["layer"] == layer]
    return mine


def _figure(rows: int, columns: int, size: tuple[float, float]) -> Array:
    from matplotlib import pyplot

    _, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    return np.asarray(axes).ravel()


def _label(ax: Any, title: str, x: str, y: str) -> None:
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(ax: Any) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small")

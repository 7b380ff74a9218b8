"""Plots of a run over time: loss and accuracy, every population, numbers of survivors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evoprune.common.checks import instance
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.plot._ground import calm, colors, figure, grey, label, legend, limits, one, paint
from evoprune.records.history import History, Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = ["history", "survival", "trajectories"]

# The line of a population that becomes extinct fades with its mass: (smallest mass, opacity).
FADING = ((0.4, 0.5), (0.15, 0.38), (0.05, 0.28), (0.015, 0.2), (0.005, 0.15), (0.0, 0.12))
NAMES = {
    "mass": ("Mass of every population", "mass (1 at birth)"),
    "fitness": ("Fitness of every population", "nats"),
    "upkeep": ("Upkeep of every population", "nats"),
}


@spelled
def history(history: History, axes: Sequence[Axes] | Array | None = None) -> Array:
    """Draw a run by epoch: loss, accuracy, living populations by layer, upkeep.

    Args:
        history: the history of the run.
        axes: four Axes to draw on; a new 2 x 2 figure if not given.

    Returns:
        The four Axes, (4,).

    Raises:
        ValueError: `axes` does not hold four Axes.
    """
    instance("history", history, History)
    four = figure(2, 2, (9, 6)) if axes is None else np.asarray(axes).ravel()
    if len(four) != 4:
        raise ValueError(f"axes: expected 4 of them, got {len(four)}")
    four = np.array([one(ax, (9, 6)) for ax in four])
    loss, accuracy, living, upkeep = four
    epochs = history["epoch"] if history.epochs_done else np.empty(0)
    for ax, name, title in ((loss, "loss", "Loss"), (accuracy, "accuracy", "Accuracy")):
        train, held_out = colors(2, ax)
        for column, text, color, dashes in (
            (name, "training", train, "-"),
            (f"validation_{name}", "validation", held_out, "--"),
        ):
            if column in history and np.isfinite(history[column]).any():
                ax.plot(epochs, history[column], label=text, color=color, linestyle=dashes)
        label(ax, title, "epoch", "nats" if name == "loss" else "share of right predictions")
        legend(ax)
    survival(history, living)
    if "upkeep" in history:
        green = colors(3, upkeep)[2]
        upkeep.plot(epochs, history["upkeep"], color=green, label="all together")
        upkeep.set_ylim(bottom=0)
        if np.ptp(history["pressure"]) > 0:  # pressure varied: a schedule or a budget
            other = upkeep.twinx()
            shade = grey(upkeep, 0.6)
            other.plot(epochs, history["pressure"], color=shade, linestyle=":")
            other.set_ylim(bottom=0)
            other.set_ylabel("pressure (dotted)", color=shade)
            other.tick_params(colors=shade)
    label(upkeep, "Upkeep of the living", "epoch", "nats")
    legend(upkeep)
    return four


@spelled
def trajectories(
    history: History,
    quantity: Quantity = "mass",
    *,
    layer: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a line for every population over time; at extinction the line fades and ends in a dot.

    Args:
        history: the history of the run.
        quantity: "mass" (log scale), "fitness" (noisy, so averaged over a twentieth of the run;
            symmetric log scale) or "upkeep".
        layer: restrict to the populations of this layer.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.

    Raises:
        ValueError: unknown quantity; KeyError: no such layer.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    instance("history", history, History)
    ax = one(ax, (9, 5))
    layers = history.layers if layer is None else (layer,)
    hues = paint(history.layers, ax)
    epochs = history.record_steps / history.per_epoch
    handles = []
    for name in layers:
        values = history.trajectories(quantity, name).T.astype(np.float64)
        mass = history.trajectories("mass", name).T
        color = hues[name]
        if not values.size:
            continue
        if quantity == "mass":
            values = np.where(values > 0, values, np.nan)
        elif quantity == "fitness":
            values = calm(values.T, max(1, len(epochs) // 20)).T
        survives = ~np.isnan(mass[:, -1])
        lines = [(values[survives], 0.8, 3)]
        above = np.inf
        for least, opacity in FADING:
            # Add the next point to each segment, so that segments of different opacity touch.
            inside = (mass >= least) & (mass < above)
            inside[:, 1:] |= inside[:, :-1] & ~np.isnan(mass[:, 1:])
            lines.append((np.where(inside, values, np.nan)[~survives], opacity, 2))
            above = least
        for part, opacity, order in lines:
            points = np.empty((*part.shape, 2))
            points[..., 0], points[..., 1] = epochs, part
            ax.add_collection(
                LineCollection(
                    list(points), colors=color, linewidths=0.7, alpha=opacity, zorder=order
                )
            )
        dead = deaths(history, name)
        if len(dead) and quantity == "mass":
            ax.scatter(
                dead["epoch"], dead["mass"], s=4, color=color, alpha=0.6, linewidths=0, zorder=4
            )
        text = f"{name}: {int(survives.sum()):,} of {len(survives):,} survive"
        handles.append(Line2D([], [], color=color, label=text))
    if quantity == "mass":
        ax.set_yscale("log")
    elif quantity == "fitness":
        level = np.nanmedian(np.abs(history.trajectories("fitness"))) if len(epochs) else 0
        ax.set_yscale("symlog", linthresh=max(1e-9, float(np.nan_to_num(level))))
    ax.autoscale_view()
    limits(ax, epochs)
    title, unit = NAMES[quantity]
    label(ax, title, "epoch", unit)
    legend(ax, handles, below=True)
    return ax


@spelled
def survival(history: History, ax: Axes | None = None) -> Axes:
    """Draw the number of living populations of each layer over time; a tick marks an extinction.

    Args:
        history: the history of the run.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    instance("history", history, History)
    ax = one(ax, (8, 4.5))
    end = history.steps_done / history.per_epoch
    for at, (name, color) in enumerate(paint(history.layers, ax).items()):
        alive = history.living(name)
        if not len(alive):
            continue
        when = np.sort(deaths(history, name)["epoch"])
        count = alive[0] - np.arange(len(when) + 1)
        ax.step(
            [0, *when, end],
            [*count, count[-1]],
            where="post",
            color=color,
            label=f"{name}: {count[-1]:,} of {history.born[at]:,}",
        )
        ax.plot(
            when,
            np.full(len(when), 0.01 + min(0.025, 0.1 / len(history.layers)) * at),
            "|",
            color=color,
            alpha=0.35,
            markersize=5,
            transform=ax.get_xaxis_transform(),
        )
    ax.set_ylim(bottom=0)
    limits(ax, np.array([0, end]))
    label(ax, "Living populations", "epoch", "populations")
    legend(ax, below=len(history.layers) > 4)
    return ax


def deaths(history: History, layer: str) -> Array:
    """Return the rows of `History.extinctions` of a layer."""
    rows = history.extinctions
    mine: Array = rows[rows["layer"] == layer]
    return mine

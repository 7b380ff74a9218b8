"""Plots of a network's current state: fitness against upkeep, structure, size against error.

The functions read networks and finished runs; they do not train or change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.checks import instance
from evoprune.common.renames import spelled
from evoprune.common.table import number, share
from evoprune.common.types import Array
from evoprune.nets.network import Network
from evoprune.nets.populations import census
from evoprune.plot._ground import colors, grey, label, legend, one, paint
from evoprune.records.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = ["fitness", "pareto", "structure"]


@spelled
def fitness(
    source: Network | History,
    *,
    pressure: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw fitness / upkeep against mass: which populations grow, shrink or are near extinction.

    Populations above the line at 1 have more fitness than upkeep and grow. Populations below shrink
    and are drawn hollow; the closer to the threshold on the left, the sooner they become extinct.
    Fitness is smoothed over recent generations, so a population may be below the line only briefly.

    Args:
        source: a network, or a History, whose last record is drawn.
        pressure: selection pressure for the upkeep of a network; by default the pressure of its
            last training. A History has its own record of upkeep.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    instance("source", source, Network, History)
    ax = one(ax, (8, 5))
    people, threshold = _people(source, pressure)
    ratios = []
    hues = paint(list(people), ax)
    for name, (mass, worth, upkeep) in people.items():
        color = hues[name]
        ratio = np.divide(worth, upkeep, np.full(len(worth), np.nan), where=upkeep > 0)
        ratios.append(ratio)
        below = ratio < 1
        for some, face, line in ((~below, color, 0.0), (below, "none", 1.0)):
            ax.scatter(
                mass[some], ratio[some], s=22, facecolors=face, edgecolors=color,
                linewidths=line, alpha=0.8, zorder=3,
            )  # fmt: skip
        text = f"{name}: {len(mass):,} alive, {int(below.sum()):,} below upkeep"
        ax.scatter([], [], s=22, color=color, label=text)
    label(ax, "Fitness against upkeep", "mass (1 at birth)", "fitness / upkeep")
    if not any(np.isfinite(ratio).any() for ratio in ratios):  # a log axis needs finite values
        ax.text(
            0.5, 0.5, "no living population has an upkeep",
            transform=ax.transAxes, ha="center", va="center", color=grey(ax, 0.7),
        )  # fmt: skip
        return ax
    ax.set_xscale("log")
    ax.set_yscale("symlog", linthresh=2, linscale=1)
    from matplotlib.ticker import FuncFormatter, NullLocator

    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(1, color=grey(ax, 0.7), linestyle="--", linewidth=1, zorder=2)
    reach = np.concatenate(ratios) if ratios else np.zeros(0)
    reach = reach[np.isfinite(reach)]
    low, high = (reach.min(), reach.max()) if len(reach) else (0.0, 2.0)
    low, high = min(1.4 * low, -1.0), max(1.4 * high, 2.0)
    ax.axhspan(low, 1, color=grey(ax, 0.07), zorder=0, linewidth=0)
    ax.set_ylim(low, high)
    if threshold is not None:
        ax.axvline(threshold, color=grey(ax, 0.7), linestyle=":", linewidth=1, zorder=2)
        ax.annotate(
            "extinct", (threshold, 1), (4, -4), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", color=grey(ax, 0.7), fontsize="small",
        )  # fmt: skip
    legend(ax, below=len(people) > 3)
    return ax


def _people(source: Any, pressure: float | None) -> tuple[dict[str, tuple[Array, ...]], Any]:
    """Return mass, fitness and upkeep of living populations by layer, and the threshold.

    The threshold is None if `source` is a History or a network without a selection.
    """
    if hasattr(source, "trajectories"):
        found = {}
        for name in source.layers if len(source.record_steps) else ():
            mass = source.trajectories("mass", name)[-1]
            lives = ~np.isnan(mass)
            others = (source.trajectories(q, name)[-1][lives] for q in ("fitness", "upkeep"))
            found[name] = (mass[lives], *others)
        return found, None
    selection = source.selection
    if pressure is None:
        pressure = source.pressure
    if pressure is None:
        raise ValueError("pressure: must be given for a network that was not trained with one")
    census_now = census(source, pressure)
    threshold = selection.threshold if selection else None
    return {name: quantities[1:] for name, quantities in census_now.items()}, threshold


@spelled
def structure(network: Network, ax: Axes | None = None) -> Axes:
    """Draw every founding population as a cell: colored if living, empty if extinct.

    Layers run from left to right, cells in order of birth. The larger the mass, relative to the
    largest mass of the layer, the stronger the color. The text under a layer gives its number of
    populations, and the multiply-adds from the previous layer of populations up to this one, now
    and at birth; with more than five layers of populations, only the ratio of the multiply-adds.

    Args:
        network: the network; it is only read.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    instance("network", network, Network)
    people = census(network, 0.0)
    born = network.born
    costs = _costs(network)
    columns = [name for name, n in born.items() if n]
    tall = 32 if max(born.values(), default=1) > 128 else 16
    widths = [-(-born[name] // tall) for name in columns]
    brief = len(columns) > 5
    slots = [max(wide + 3, tall * (0.3 if brief else 0.46)) for wide in widths]
    size = 4.2 * sum(slots) / (1.3 * tall) + 0.6
    ax = one(ax, (min(16, max(7, size)), 5 if size <= 16 else max(3, 80 / size)))
    hues = paint(columns, ax)
    left = 0.0
    for name, wide, slot in zip(columns, widths, slots, strict=True):
        births, mass, *_ = people[name]
        n = born[name]
        rows, start = min(tall, n), left + (slot - wide) / 2
        at = np.arange(n)
        x, y = start + at // tall, (tall + rows) / 2 - 1 - at % tall
        strength = np.zeros(n)
        strength[births] = 0.45 + 0.55 * mass / max(1e-30, float(mass.max(initial=0)))
        lives = np.zeros(n, bool)
        lives[births] = True
        cells = [Rectangle((a + 0.08, b + 0.08), 0.84, 0.84) for a, b in zip(x, y, strict=True)]
        ground = np.asarray(grey(ax, 0.0))
        shade = np.where(
            lives[:, None],
            ground + strength[:, None] * (np.asarray(hues[name]) - ground),
            np.asarray(grey(ax, 0.09)),
        )
        ax.add_collection(PatchCollection(cells, facecolors=shade, linewidths=0))
        middle = left + slot / 2
        small = "small" if not brief else "x-small"
        ax.text(
            middle, tall + 0.8, name, ha="center", va="bottom", fontweight="bold", fontsize=small
        )
        now, once = costs.get(name, (0.0, 0.0))
        text = f"{len(births):,} of {n:,}" + ("" if brief else " alive")
        if once:
            amount = f"\n{number(now)} of\n{number(once)}\nmultiply-adds\n"
            text += ("\n" if brief else amount) + share(now, once)
        ax.text(middle, -0.8, text, ha="center", va="top", fontsize=small)
        left += slot
    ax.update_datalim([(0, -0.28 * tall), (max(left, 1), tall * 1.1)])
    ax.autoscale_view()
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_axis_off()
    kept = share(network.macs, network.founding_macs)
    ax.set_title(
        f"{sum(len(p[0]) for p in people.values()):,} of {sum(born.values()):,} populations alive, "
        f"{kept} of the multiply-adds",
        loc="left",
    )
    return ax


def _costs(network: Network) -> dict[str, tuple[float, float]]:
    """Return, by name, the multiply-adds of each layer of populations, now and at birth.

    They include those of the other layers since the previous layer of populations.
    """
    found = {}
    now = once = 0.0
    born = network.born
    for layer in network.describe()["layers"]:
        now, once = now + layer["macs"], once + layer["founding_macs"]
        if layer["name"] in born:
            found[layer["name"]] = (now, once)
            now = once = 0.0
    return found


@spelled
def pareto(
    runs: Mapping[str, Any],
    x: str = "macs",
    y: str = "error",
    *,
    reference: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw error or accuracy against size for several runs or groups of runs.

    Args:
        runs: name -> a History, a list of histories, or two vectors (sizes, errors in percent). A
            line joins the Pareto-optimal points of each group.
        x: the column that measures size: "macs", "parameters" or "alive".
        y: "error" or "accuracy" (percent), on the validation data if there was any; at the last
            epoch, never the best one.
        reference: other results to compare with: name -> (size, error in percent).
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.

    Raises:
        ValueError: unknown x or y; KeyError: a history lacks that column.
    """
    instance("runs", runs, Mapping)
    if y not in ("error", "accuracy"):
        raise ValueError(f"y: expected error or accuracy, got {y!r}")
    sizes = {"macs": "multiply-adds", "parameters": "parameters", "alive": "living populations"}
    if x not in sizes:
        raise ValueError(f"x: expected macs, parameters or alive, got {x!r}")
    ax = one(ax, (8, 5))
    start, sign = (0.0, 1.0) if y == "error" else (100.0, -1.0)
    drawn = bool(reference)
    for (name, group), color in zip(runs.items(), colors(len(runs), ax), strict=True):
        size, error = _points(group, x)
        drawn = drawn or bool((size > 0).any())
        order = np.argsort(size, kind="stable")
        size, error = size[order], error[order]
        best = error <= np.minimum.accumulate(error)
        ax.plot(size[best], start + sign * error[best], color=color, linewidth=1, alpha=0.6)
        ax.scatter(size, start + sign * error, color=color, s=28, zorder=3, label=name)
    for name, (across, up) in (reference or {}).items():
        ink, at = grey(ax, 0.6), (across, start + sign * up)
        ax.scatter(*at, marker="x", color=ink, s=26, linewidths=1.2, zorder=2)
        ax.annotate(
            name, at, (5, 3), textcoords="offset points",
            fontsize="x-small", color=ink,
        )  # fmt: skip
    if drawn:
        ax.set_xscale("log")
    else:
        ax.text(
            0.5, 0.5, "no run with an epoch",
            transform=ax.transAxes, ha="center", va="center", color=grey(ax, 0.7),
        )  # fmt: skip
    ax.grid(color=grey(ax, 0.1), linewidth=0.7)
    ax.set_axisbelow(True)
    title = "Error against size" if y == "error" else "Accuracy against size"
    label(ax, title, sizes[x], "% wrong" if y == "error" else "% right")
    legend(ax)
    return ax


def _points(group: Any, x: str) -> tuple[Array, Array]:
    """Return sizes and errors (percent) of a History, several histories, or two vectors."""
    if hasattr(group, "trajectories"):
        group = [group]
    if isinstance(group, Sequence) and all(hasattr(run, "trajectories") for run in group):
        kept = [run for run in group if run.epochs_done]
        held_out = "validation_accuracy"
        scores = [run[held_out if held_out in run else "accuracy"][-1] for run in kept]
        return np.array([run[x][-1] for run in kept]), 100 * (1 - np.array(scores))
    sizes, errors = (np.atleast_1d(np.asarray(v, np.float64)) for v in _pair(group))
    return sizes, errors


def _pair(group: Any) -> tuple[ArrayLike, ArrayLike]:
    if isinstance(group, Sequence) and len(group) == 2:
        return group[0], group[1]
    raise ValueError(f"runs: expected histories or (sizes, errors), got {type(group).__name__}")

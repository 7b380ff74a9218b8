"""Plots that compare populations: shares of mass, mass against fitness, Price's terms.

The functions take a History, or plain arrays as `evoprune.simulate` returns them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.checks import instance
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.plot._ground import (
    Color,
    calm,
    colors,
    grey,
    is_dark,
    label,
    legend,
    limits,
    one,
    paint,
)
from evoprune.records.demography import shares
from evoprune.records.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Masses: TypeAlias = History | ArrayLike

__all__ = ["muller", "phase", "price"]


@spelled
def muller(
    history: Masses,
    *,
    layer: str | None = None,
    labels: list[str] | None = None,
    parents: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a Muller plot: every population is a band as wide as its share of the layer's mass.

    Bands are stacked by birth id, layer above layer; the band of an extinct population closes. The
    band of a population born during the run opens inside its parent's band, and descendants of one
    founder have one shade. Survivors have strong shades of their layer's color, populations that
    become extinct pale shades. All layers have the same height.

    Args:
        history: the history of a run; or masses (times, populations) as an array.
        layer: restrict to the populations of this layer.
        labels: names of the populations, for an array with few of them.
        parents: for an array, the column of each population's parent, -1 without a parent.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    ax = one(ax, (9, 5))
    times, groups, x_name = _groups(history, layer)
    if isinstance(history, History):
        descent = [history.lineage(name) for name, _ in groups]
    else:
        descent = [_parents(parents, groups[0][1].shape[1])]
    handles = []
    hues = paint([name for name, _ in groups], ax)
    width = 1 / max(1, len(groups))
    for at, ((name, columns), parent) in enumerate(zip(groups, descent, strict=True)):
        order, founder = _by_descent(parent)
        mass = columns[:, order]
        color = hues[name]
        base = at * width
        edges = np.zeros((len(mass), mass.shape[1] + 1))
        np.cumsum(shares(mass), axis=1, out=edges[:, 1:])
        edges = base + width * edges
        survives = np.nan_to_num(mass[-1]) > 0 if len(mass) else np.zeros(0, bool)
        n = mass.shape[1]
        few = len(groups) == 1 and n <= 7
        names = _names(labels, n) if few else []
        bands = (
            colors(mass.shape[1], ax)
            if few
            else _shades(color, survives, ax, None if (parent < 0).all() else founder[order])
        )
        corners = np.empty((mass.shape[1], 2 * len(mass), 2))
        corners[:, :, 0] = np.concatenate([times, times[::-1]])
        corners[:, : len(mass), 1] = edges[:, :-1].T
        corners[:, len(mass) :, 1] = edges[::-1, 1:].T
        ax.add_collection(PolyCollection(list(corners), facecolors=bands, linewidths=0))
        if few:
            patches = zip(bands, (names[i] for i in order), strict=True)
            handles += [Patch(color=band, label=name) for band, name in patches][::-1]
        else:
            text = f"{name}: {int(survives.sum()):,} of {len(survives):,} survive"
            handles.append(Patch(color=color, label=text.removeprefix(": ")))
        if at:
            ax.axhline(base, color=ax.get_facecolor(), linewidth=1.5)
    ax.set_ylim(0, 1)
    limits(ax, times)
    several = len(groups) > 1
    label(
        ax, "Shares of mass by birth", x_name, "share of the layer's mass" if several else "share"
    )
    if several:  # each layer has its own section of the axis
        ax.set_yticks([(at + 0.5) * width for at in range(len(groups))], [n for n, _ in groups])
        ax.tick_params(axis="y", length=0, labelrotation=90 if len(groups) <= 3 else 0)
        for tick in ax.get_yticklabels():
            tick.set_verticalalignment("center")
    legend(ax, handles, below=True)
    return ax


def _names(labels: Any, n: int) -> list[str]:
    """Check `labels` and return it as a list; None gives n numbered names."""
    if labels is None:
        return [f"population {i}" for i in range(n)]
    if isinstance(labels, str) or len(labels) != n:
        raise ValueError(f"labels: expected {n} names, one per population, got {labels!r}")
    return list(labels)


def _parents(parents: ArrayLike | None, n: int) -> Array:
    """Check `parents` and return it as int64 (n,); None means that no population has a parent."""
    given = np.full(n, -1) if parents is None else np.asarray(parents)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise ValueError(f"parents: expected {n} columns or -1, got {parents!r}")
    if not ((given >= -1) & (given < np.arange(n))).all():
        raise ValueError("parents: expected earlier columns than each population's own, or -1")
    return given.astype(np.int64)


def _by_descent(parents: Array) -> tuple[Array, Array]:
    """Return an order of the bands of n populations, and each population's first ancestor.

    In this order, descendants follow their ancestor and the youngest child comes first: a band then
    opens next to its parent's. A founder or an immigrant is its own first ancestor.

    Args:
        parents: indices of the parents, or -1, int64 (n,).

    Returns:
        (order, founder): indices of populations, int64 (n,) each.
    """
    n = len(parents)
    founder = np.arange(n)
    children: list[list[int]] = [[] for _ in range(n)]
    for i, parent in enumerate(parents.tolist()):
        if parent >= 0:
            children[parent].append(i)
            founder[i] = founder[parent]
    order: list[int] = []
    stack = np.flatnonzero(parents < 0)[::-1].tolist()
    while stack:
        order.append(stack.pop())
        stack += children[order[-1]]
    return np.array(order, np.int64), founder


def _groups(history: Masses, layer: str | None) -> tuple[Array, list[tuple[str, Array]], str]:
    """Return times, masses by layer, and the unit of the times."""
    if isinstance(history, History):
        names = history.layers if layer is None else (layer,)
        groups = [(name, history.trajectories("mass", name)) for name in names]
        return history.record_steps / history.per_epoch, groups, "epoch"
    mass = np.asarray(history, np.float64)
    if mass.ndim != 2:
        raise ValueError(f"history: expected a History or (times, populations), got {mass.shape}")
    return np.arange(len(mass), dtype=np.float64), [("", mass)], "generation"


def _shades(color: Color, strong: Array, ax: Any, founder: Array | None = None) -> Array:
    """Return n shades of a color (n, 3), where neighbors have distinct shades.

    Populations with `strong`, bool (n,), have vivid shades, the others pale ones. If `founder` is
    given, descendants of one founder have nearly the same shade.
    """
    ground = np.array([0.09] * 3 if is_dark(ax) else [1.0] * 3)
    n = len(strong)
    turn = (np.arange(n) * 0.618034) % 1  # golden ratio: neighbors always differ
    if founder is not None:
        turn = 0.85 * ((founder * 0.618034) % 1) + 0.15 * turn
    hue = np.asarray(color)[None, :]
    dark = 0.55 + 0.45 * turn[:, None]
    vivid = np.clip(hue * dark + 0.18 * turn[:, None] * (1 - hue), 0, 1)
    depth = 0.16 + 0.2 * turn[:, None]
    pale = ground + depth * (hue - ground)
    shades: Array = np.where(strong[:, None], vivid, pale)
    return shades


@spelled
def phase(
    history: Masses,
    *,
    layer: str | None = None,
    labels: list[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the path of every population in the plane of mass and fitness.

    Fitness is noisy, so it is averaged over a sixth of the run. A dashed line is the layer's final
    upkeep: mass grows above it and shrinks below it. The paths of survivors end in a dot.

    If a layer or array has exactly three populations, their shares are drawn as one path in a
    triangle; at a corner one population has all of the mass.

    Args:
        history: the history of a run; or masses (times, 3) as an array.
        layer: restrict to the populations of this layer.
        labels: names of the three populations, written at the corners of the triangle.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.

    Raises:
        ValueError: an array that is not (times, 3).
    """
    times, groups, _ = _groups(history, layer)
    if sum(mass.shape[1] for _, mass in groups) == 3:
        three = np.concatenate([mass for _, mass in groups], axis=1)
        triangle: Axes = _triangle(three, labels, ax)
        return triangle
    if not isinstance(history, History):
        raise ValueError(f"history: expected masses (times, 3), got {groups[0][1].shape}")
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    ax = one(ax, (7, 5))
    handles = []
    every = []
    hues = paint(history.layers, ax)
    for name, mass in groups:
        if not mass.size or len(times) < 2:
            continue
        fitness = history.trajectories("fitness", name)[1:]  # fitness is unknown at birth
        fitness = calm(fitness, max(5, len(fitness) // 6))
        path = np.stack([mass[1:], fitness], axis=-1).transpose(1, 0, 2)
        survives = ~np.isnan(mass[-1])
        every.append(fitness)
        for some, opacity in ((survives, 0.5), (~survives, 0.16)):
            ax.add_collection(
                LineCollection(list(path[some]), colors=hues[name], linewidths=0.6, alpha=opacity)
            )
        ax.scatter(
            mass[-1][survives], fitness[-1][survives], s=12, color=hues[name], zorder=4,
            edgecolors=ax.get_facecolor(), linewidths=0.4,
        )  # fmt: skip
        cost = np.nanmean(history.trajectories("upkeep", name)[-1]) if survives.any() else np.nan
        ax.axhline(cost, color=hues[name], linestyle="--", linewidth=1, zorder=1)
        handles.append(Line2D([], [], color=hues[name], label=f"{name} (dashed: upkeep)"))
    if every:
        wide = np.concatenate([np.abs(f[np.isfinite(f)]) for f in every])
        ax.set_yscale("symlog", linthresh=max(1e-9, float(np.quantile(wide, 0.5))), linscale=1)
        ax.yaxis.set_minor_locator(_nowhere())
    ax.set_xscale("log")
    ax.autoscale_view()
    label(ax, "Mass and fitness", "mass (1 at birth)", "fitness (nats)")
    legend(ax, handles, below=True)
    return ax


def _nowhere() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _triangle(mass: Array, labels: list[str] | None, ax: Any) -> Any:
    from matplotlib.collections import LineCollection

    names = _names(labels, 3)
    ax = one(ax, (5.5, 5))
    corners = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
    path = shares(mass) @ corners
    ax.plot(*corners[[0, 1, 2, 0]].T, color=grey(ax, 0.6), linewidth=1)
    for i in range(3):  # grid lines at shares of 1/4, 1/2, 3/4
        a, b, c = corners[i], corners[(i + 1) % 3], corners[(i + 2) % 3]
        for share in (0.25, 0.5, 0.75):
            ends = np.array([share * a + (1 - share) * b, share * a + (1 - share) * c])
            ax.plot(*ends.T, color=grey(ax, 0.15), linewidth=0.7, zorder=0)
    for corner, name, (dx, dy), (ha, va) in zip(
        corners, names, ((0, -6), (0, -6), (0, 6)),
        (("center", "top"), ("center", "top"), ("center", "bottom")), strict=True,
    ):  # fmt: skip
        ax.annotate(name, corner, (dx, dy), textcoords="offset points", ha=ha, va=va)
    pieces = np.stack([path[:-1], path[1:]], axis=1)
    line = LineCollection(list(pieces), cmap="cividis", linewidths=1.8)
    line.set_array(np.linspace(0.1, 1.0, len(pieces)) if is_dark(ax) else np.arange(len(pieces)))
    ax.add_collection(line)
    blue, orange = colors(2, ax)
    ax.scatter(*path[0], s=30, color=blue, zorder=4, label="start")
    ax.scatter(*path[-1], s=50, color=orange, zorder=5, marker="*", label="end")
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title("Shares of three populations", loc="left", pad=18)
    legend(ax)
    return ax


@spelled
def price(
    history: History,
    trait: str = "fitness",
    *,
    layer: str | None = None,
    cumulative: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw Price's equation: how selection and transmission change the mean of a trait.

    The selection term comes from mass that moves between populations; the transmission term comes
    from changes of each population's trait as the network learns. Their sum is exactly the change
    of the mean.

    Args:
        history: the history of the run.
        trait: "fitness", "mass" or "upkeep".
        layer: restrict to the populations of this layer; by default the whole network.
        cumulative: sum the terms from the beginning; otherwise draw the terms between successive
            records, which are noisy.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.
    """
    instance("history", history, History)
    ax = one(ax, (8, 4.5))
    terms = history.price(trait, layer)  # type: ignore[arg-type]
    # Skip the first interval: it begins at birth, when fitness is not yet known.
    epochs = (terms.steps / history.per_epoch)[1:]
    blue, orange, _ = colors(3, ax)
    for values, text, color, order in (
        (terms.selection, "selection: Cov(w, z)", blue, 3),
        (terms.transmission, "transmission: E(w dz)", orange, 3),
        (terms.change, "change of the mean", grey(ax, 0.8), 2),
    ):
        line = values[1:]
        ax.plot(
            epochs,
            np.cumsum(line) if cumulative else line,
            color=color,
            zorder=order,
            linestyle=":" if text.startswith("change") else "-",
            label=text,
        )
    ax.axhline(0, color=grey(ax, 0.3), linewidth=0.8, zorder=1)
    what = f"Mean {trait}: selection and transmission"
    unit = "1 at birth" if trait == "mass" else "nats"
    label(ax, what, "epoch", f"{'summed change' if cumulative else 'change'} ({unit})")
    legend(ax)
    return ax

"""Draw the figures of docs/paper.md from the results of the scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import make_figures
import numpy as np
from matplotlib.ticker import ScalarFormatter

import evoprune as ep
from evoprune.plot import _ground as ground

Facts = dict[str, Any]


def save(name: str, draw: Callable[[], Any]) -> None:
    """Store a figure in docs/figures as paper-NAME, for light and dark pages."""
    make_figures.save(f"paper-{name}", draw)


def plain(axis: Any, ticks: Iterable[float]) -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    axis.set_ticks(list(ticks))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(lambda *_: "")


def beside(ax: Any, points: dict[str, tuple[float, float]], gap: float = 0.105) -> None:
    """Write names of points to the right of the axes, with lines to the points and no overlap."""
    low, high = ax.get_ylim()
    order = sorted(points, key=lambda name: points[name][1])
    places = [(points[name][1] - low) / (high - low) for name in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    over = max(0.0, places[-1] - 1.0) if places else 0.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i] - over, places[i + 1] - gap if i + 1 < len(places) else 1.0)
    for name, place in zip(order, places, strict=True):
        ax.annotate(
            name,
            points[name],
            (1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": ground.grey(ax, 0.4)},
        )


def curve(facts: Facts) -> None:
    """Draw accuracy against the pruned share, for every dynamics and the dense network."""
    x = 100 * np.array(facts["fractions"])
    laws = {name: found for name, found in facts["laws"].items() if "cut" in found}

    def draw() -> Any:
        ax = ground.figure(1, 1, (9, 5.4))[0]
        named = [n for n in laws if not n.startswith("dense") and "no extinctions" not in n]
        others = [n for n in laws if n not in named]
        palette = [*ground.colors(7, ax), *ground.colors(7, ax)]
        for i, name in enumerate(named):
            y = 100 * np.array(laws[name]["cut"]["accuracy"])
            style = {"linewidth": 2.6} if name == "Malthusian" else {"alpha": 0.8}
            ax.plot(x, y, color=palette[i], label=name, linestyle="--" if i > 6 else "-", **style)
        shades = iter(np.linspace(0.35, 0.8, max(2, len(others))))
        for name in others:
            y = 100 * np.array(laws[name]["cut"]["accuracy"])
            ax.plot(x, y, color=ground.grey(ax, next(shades)), linestyle=":", label=name)
        ax.scatter([35, 50], [95.5, 88.45], marker="x", color=ground.grey(ax, 0.9), zorder=5)
        for at, text in (((35, 95.5), "the paper"), ((50, 88.45), "the paper")):
            ax.annotate(text, at, (-6, -13), textcoords="offset points", ha="right", fontsize=8)
        ax.set_ylim(80, 99.2)
        ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
        ground.label(ax, "Hard pruning after training", "% of the populations cut", "% right")
        ax.legend(fontsize=8, ncols=2, loc="lower left")
        return ax

    save("curve", draw)


def extinct(facts: Facts, goal: Facts | None, published: dict[str, Any]) -> None:
    """Draw accuracy against living populations, with controls and published results."""
    told = facts["pressures"]

    def draw() -> Any:
        ax = ground.figure(1, 1, (9, 5.4))[0]
        blue, orange, green, pink, *_ = ground.colors(7, ax)
        for key, name, color in (
            ("ours", "selection, 20 epochs", blue),
            ("gradual", "gradual pruning, given the shape", green),
            ("scratch", "the shape from scratch", orange),
        ):
            rows = [row for row in told if key in row]
            x = [row[key]["alive"] for row in rows]
            y = [100 * row[key]["accuracy"] for row in rows]
            bar = [100 * row[key]["deviation"] for row in rows]
            ax.errorbar(x, y, bar, color=color, marker="o", markersize=4, capsize=2, label=name)
        if goal:
            points = [row["ours"] for row in goal["goal"]]
            ax.errorbar(
                [p["alive"] for p in points],
                [100 * p["accuracy"] for p in points],
                [100 * p["deviation"] for p in points],
                color=pink,
                linestyle="none",
                marker="D",
                markersize=5,
                capsize=2,
                label="selection, longer",
            )
        for name, (units, error) in published.items():
            ax.scatter(units, 100 - error, marker="x", color=ground.grey(ax, 0.7), zorder=4)
            ax.annotate(name, (units, 100 - error), (4, 4), textcoords="offset points", fontsize=8)
        ax.set_xscale("log")
        plain(ax.xaxis, (50, 75, 100, 150, 200, 300))
        ax.set_ylim(97.4, 98.8)
        ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
        ground.label(ax, "Accuracy against size", "living hidden units", "% right")
        ax.legend(fontsize=9, loc="lower right")
        return ax

    save("extinct", draw)


def points(told: list[Facts], key: str, x: Callable[[Facts], float]) -> tuple[Any, Any]:
    """Return sizes x(row[key]) and errors in percent of the rows whose row[key] has an accuracy."""
    found = [row[key] for row in told if key in row and "accuracy" in row[key]]
    sizes = [x(f) for f in found]
    return np.array(sizes), np.array([100 * (1 - f["accuracy"]) for f in found])


def hidden(found: Facts) -> float:
    """Return the number of living hidden units; layers[0], the input pixels, is left out."""
    return float(sum(found["layers"][1:]))


def front(facts: Facts, macs: dict[str, Any], units: dict[str, Any]) -> None:
    """Draw error against multiply-adds and hidden units."""
    told = facts["front"]

    def draw() -> Any:
        axes = ground.figure(1, 2, (11, 4.8))
        for ax, size, known, word in (
            (axes[0], lambda f: f["macs"], macs, "multiply-adds"),
            (axes[1], hidden, units, "living hidden units"),
        ):
            runs = {
                name: points(told, key, size)
                for name, key in (
                    ("selection", "ours"),
                    ("gradual pruning", "gradual"),
                    ("from scratch", "scratch"),
                )
            }
            ep.plot.pareto(runs, reference=known, ax=ax)
            ax.set_ylim(1.2, 6)
            ax.set_yscale("log")
            plain(ax.yaxis, (1.2, 1.4, 1.6, 2, 3, 4, 6))
            ax.set_xlabel(word)
        plain(axes[0].xaxis, (4_000, 10_000, 20_000, 40_000, 80_000))
        plain(axes[1].xaxis, (50, 75, 100, 150, 200, 300))
        return axes[0]

    save("front", draw)


def lenet(facts: Facts, known: dict[str, Any]) -> None:
    """Draw error against multiply-adds for LeNet-5."""

    def draw() -> Any:
        ax = ground.figure(1, 1, (8, 4.8))[0]
        runs = {
            name: points(facts["front"], key, lambda f: f["macs"])
            for name, key in (
                ("selection", "ours"),
                ("gradual pruning", "gradual"),
                ("from scratch", "scratch"),
            )
        }
        return ep.plot.pareto(
            {name: p for name, p in runs.items() if len(p[0])}, reference=known, ax=ax
        )

    save("lenet", draw)


def game(facts: Facts, known: Any) -> None:
    """Draw accuracy against living populations, for both definitions of benefit in game.py."""

    def draw() -> Any:
        ax = ground.figure(1, 1, (8, 4.8))[0]
        words = {"marginal": "-dL/ds: descends the loss", "product": "+<w, dL/dw>: the formula"}
        for (sign, word), color in zip(words.items(), ground.colors(2, ax), strict=True):
            rows = [r for r in facts["game"] if r["sign"] == sign and "alive" in r]
            ax.scatter(
                [max(r["alive"], 1) for r in rows],
                [100 * r["accuracy"] for r in rows],
                color=color,
                label=word,
            )
        x, y = zip(*known, strict=True)
        ax.scatter(
            x, [100 * a for a in y], marker="x", color=ground.grey(ax, 0.7), label="published"
        )
        ax.set_xscale("log")
        plain(ax.xaxis, (2, 10, 30, 100, 300, 768))
        ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
        ground.label(ax, "Pruning as a game", "living populations", "% right")
        ax.legend(fontsize=9)
        return ax

    save("game", draw)


def decides(facts: Facts) -> None:
    """Draw validation accuracy against living populations, one panel for each setting."""
    told = facts["ablations"]

    def draw() -> Any:
        columns = 3
        rows = -(-len(told) // columns)
        axes = ground.figure(rows, columns, (11.5, 0.6 + 3.2 * rows))
        for ax in axes[len(told) :]:
            ax.axis("off")
        for ax, (what, settings) in zip(axes, told.items(), strict=False):
            blue, *_ = ground.colors(7, ax)
            good = {n: f for n, f in settings.items() if f.get("accuracy", 0) > 0.9}
            for found in good.values():
                ax.errorbar(
                    found["alive"],
                    100 * found["accuracy"],
                    100 * found["deviation"],
                    found["alive_deviation"],
                    color=blue,
                    marker="o",
                    markersize=4,
                    linewidth=0.8,
                )
            ax.set_xscale("log")
            plain(ax.xaxis, (20, 30, 50, 70, 100, 150, 200, 300, 500, 768))
            ax.margins(x=0.1, y=0.2)
            beside(ax, {n: (f["alive"], 100 * f["accuracy"]) for n, f in good.items()})
            ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
            lost = [n for n in settings if n not in good]
            note = f" ({len(lost)} under 90 %)" if lost else ""
            ground.label(ax, what + note, "alive", "% right, held out")
            ax.title.set_fontsize(9.5)
        return axes[0]

    save("decides", draw)


def clock(facts: Facts) -> None:
    """Draw test accuracy against seconds of training; both are means over the runs of a method."""

    def draw() -> Any:
        ax = ground.figure(1, 1, (8, 4.8))[0]
        rows = facts["rows"]
        for row, color in zip(rows, ground.colors(len(rows), ax), strict=True):
            seconds = np.mean([run["seconds"] for run in row["runs"]], axis=0)
            accuracy = 100 * np.mean([run["accuracy"] for run in row["runs"]], axis=0)
            ax.plot(seconds, accuracy, color=color, label=row["name"])
            ax.scatter(seconds[-1:], accuracy[-1:], color=color, s=30, zorder=3)
        ax.set_ylim(96, 98.8)
        ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
        ground.label(ax, "Time to an accuracy", "seconds of training", "% right, test")
        ax.legend(fontsize=9, loc="lower right")
        return ax

    save("clock", draw)

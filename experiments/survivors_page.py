"""Draw the figures of docs/survivors.md and write its tables, from the results of four scripts.

    python experiments/survivors_page.py

The scripts are survivors.py and, for the share alive against pressure, laws.py, fashion.py and
run_length.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs"), str(ROOT / "benchmarks")]

import drawing  # noqa: E402
import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
from report import markdown  # noqa: E402

from evoprune.plot import _ground as ground  # noqa: E402

matplotlib.use("Agg")
FIGURES = ROOT / "docs" / "figures"
LAYERS = ("first hidden layer", "second hidden layer")
Facts = dict[str, Any]


def result(name: str) -> Facts:
    """Load the result of the script `name`."""
    facts: Facts = json.loads((HERE / "results" / f"{name}.json").read_text())
    return facts


def save(name: str, draw: Any) -> None:
    """Store a figure in docs/figures for light and dark pages."""
    drawing.save(FIGURES / f"survivors-{name}", draw)


def plain(axis: Any, ticks: Any) -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    axis.set_ticks(list(ticks), [f"{tick:g}" for tick in ticks])
    axis.set_minor_formatter(lambda *_: "")


def percent(row: Facts) -> str:
    """Return mean and deviation of the accuracy in percent, as in 98.51 ± 0.05."""
    return f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}"


def spreads(row: Facts) -> list[str]:
    """Return mean and deviation of the living neurons of every layer, as in 84.6 ± 2.8."""
    pairs = zip(row["layers"], row["layer_deviations"], strict=True)
    return [f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in pairs]


# ---- figures -------------------------------------------------------------------------------------


def tasks(rows: list[Facts]) -> None:
    """Draw the number of living neurons of each layer for every task."""

    def draw() -> Any:
        ax = ground.figure(1, 1, (9, 4.8))[0]
        for i, color in enumerate(ground.colors(2, ax)):
            mean = [row["layers"][i] for row in rows]
            spread = [row["layer_deviations"][i] for row in rows]
            at = np.arange(len(rows)) + (i - 0.5) * 0.32
            ax.bar(at, mean, 0.3, color=color, label=f"{LAYERS[i]}, {rows[0]['born'][i]} born")
            ax.errorbar(at, mean, spread, fmt="none", color=ground.grey(ax, 0.9), capsize=3)
            for x, y, wide in zip(at, mean, spread, strict=True):
                ax.annotate(
                    f"{y:.0f}",
                    (x, y + wide),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=9,
                )
        names = [row["task"].replace("digit ", "digit\n") for row in rows]
        names = [name.replace(" labels", "\nlabels") for name in names]
        ax.set_xticks(
            range(len(rows)),
            [f"{n}\n{100 * r['accuracy']:.1f} %" for n, r in zip(names, rows, strict=True)],
            fontsize=9,
        )
        ground.label(
            ax, "Survivors by task", "task, and accuracy on the test set", "living neurons"
        )
        ax.legend(fontsize=9)
        return ax

    save("tasks", draw)


def founders(rows: list[Facts]) -> None:
    """Draw the number of living neurons of each layer against its number of founders."""

    def draw() -> Any:
        ax = ground.figure(1, 1, (8, 4.8))[0]
        for i, color in enumerate(ground.colors(2, ax)):
            x = [row["born"][i] for row in rows]
            y = [row["layers"][i] for row in rows]
            bar = [row["layer_deviations"][i] for row in rows]
            ax.errorbar(
                x,
                y,
                bar,
                color=color,
                marker="o",
                capsize=3,
                label=LAYERS[i] + ", and test accuracy" * (i == 0),
            )
            for row, a, b in zip(rows, x, y, strict=True):
                if i == 0:
                    text = f"{100 * row['accuracy']:.1f} %"
                    ax.annotate(text, (a, b), (0, 9), textcoords="offset points", ha="center",
                                fontsize=9)  # fmt: skip
        ends = np.array([32, 128])
        ax.plot(ends, ends, color=ground.grey(ax, 0.5), linestyle=":", label="all survive")
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain(ax.xaxis, (32, 64, 128, 256, 512, 1024))
        plain(ax.yaxis, (10, 20, 50, 100))
        ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
        ground.label(
            ax, "Survivors by founders", "neurons born in the layer", "living neurons of the layer"
        )
        ax.legend(fontsize=9, loc="lower right")
        return ax

    save("founders", draw)


def curves() -> dict[str, list[tuple[float, float, float, float]]]:
    """Return the curves by name; a point is (pressure, mean, low, high).

    The last three are shares of the founders alive in percent. In the results of laws.py and
    fashion.py, low and high are one standard deviation below and above the mean; in those of
    run_length.py, they are the smallest and the largest share over the seeds.
    """
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for name, title in (("laws", "MNIST"), ("fashion", "Fashion-MNIST")):
        points = []
        for row in result(name)["pressures"]:
            ours = row["ours"]
            born = ours["alive"] / (1 - ours["extinct"])
            mean, spread = 100 * ours["alive"] / born, 100 * ours["alive_deviation"] / born
            points.append((row["pressure"], mean, mean - spread, mean + spread))
        found[f"{title}, 9,380 steps, 6.7 lifespans"] = points
    for lives in (7, 3, 1.5):
        rows = [r for r in result("run_length")["rows"] if r["table"] == "pressure"]
        found[f"MNIST 14 x 14, 1,000 steps, {lives:g} lifespans"] = [
            (r["pressure"], *(100 * r[k] for k in ("alive", "alive_low", "alive_high")))
            for r in rows
            if r["rule"] == f"lives {lives:g}"
        ]
    return found


def pressures() -> None:
    """Draw the share alive against pressure."""

    def draw() -> Any:
        ax = ground.figure(1, 1, (8, 4.8))[0]
        every = curves()
        for (name, points), color in zip(every.items(), ground.colors(6, ax), strict=False):
            x, y, low, high = np.transpose(points)
            bars = [y - low, high - y]
            style = {} if "14 x 14" not in name else {"linestyle": "--"}
            ax.errorbar(x, y, bars, color=color, marker="o", capsize=3, label=name, **style)
        x = np.geomspace(1, 6, 20)
        ax.plot(
            x, 100 / x, color=ground.grey(ax, 0.5), linestyle=":", label="the most, 1 / pressure"
        )
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain(ax.xaxis, (0.03, 0.1, 0.3, 0.5, 1, 1.5, 3, 5))
        plain(ax.yaxis, (5, 10, 20, 50, 100))
        ax.grid(color=ground.grey(ax, 0.1), linewidth=0.7)
        ground.label(ax, "Share alive by pressure", "pressure (no unit)", "% of the founders alive")
        ax.legend(fontsize=8, loc="lower left")
        return ax

    save("pressures", draw)


# ---- tables --------------------------------------------------------------------------------------


def page(facts: Facts) -> str:
    """Return the tables of docs/survivors.md."""
    head = ["first layer alive", "second layer alive", "accuracy, %"]
    lines = markdown(
        ["task, 512 + 256 born", *head],
        [[row["task"], *spreads(row), percent(row)] for row in facts["tasks"]],
    )
    lines += markdown(
        ["born", *head],
        [[" + ".join(map(str, r["born"])), *spreads(r), percent(r)] for r in facts["founders"]],
    )
    machine = facts["machine"]
    lines.append(
        f"<small>Means and standard deviations of {facts['tasks'][0]['seeds']} seeds. "
        f"`python experiments/survivors.py`: {machine['cpu']}, {machine['system']}; core "
        f"{facts['core']}, commit {facts['commit'][:10]}.</small>"
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    facts = result("survivors")
    tasks(facts["tasks"])
    founders(facts["founders"])
    pressures()
    (FIGURES / "survivors.md").write_text(page(facts))


if __name__ == "__main__":
    main()

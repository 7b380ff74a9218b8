"""Write docs/paper.md and its figures from the JSON files of the other scripts.

    python experiments/page.py             # from experiments/results into docs

Every number on the page is read from a file; results that do not exist yet are omitted. Published
numbers and their sources are in published.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs"), str(ROOT / "benchmarks"), str(HERE)]

import pictures  # noqa: E402
from page_cells import (  # noqa: E402
    CONTROLS,
    Facts,
    controls,
    figure,
    origin,
    percent,
    shape,
    thousand,
    verdict,
)
from published import GAME, LENET, MACS, PAPER, UNITS  # noqa: E402
from report import markdown  # noqa: E402

RESULTS = HERE / "results"


def result(name: str) -> Facts | None:
    """Load the result of a script; return None if there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def smallest(goal: str) -> list[Facts]:
    """Return the rows of smallest.py on the test set, for one of its goals."""
    facts = result("smallest") or {}
    told = facts.get(goal, {}).get("test", [])
    return [{"settings": row["settings"], "ours": row} for row in told]


def beside(name: str, told: list[Facts], label: str = "settings") -> list[Facts]:
    """Return rows of the result `name`, each with gradual pruning to its shape, where it was run.

    `label` is the key of a row's name in the results of controls_rows.py.
    """
    summary = (result(f"controls_rows_{name}") or {}).get("summary", {})
    names = [row[label] if label == "settings" else f"{row[label]:g}" for row in told]
    return [
        row | ({"gradual": summary[of]} if of in summary else {})
        for row, of in zip(told, names, strict=True)
    ]


# ---- sections -----------------------------------------------------------------------------------


def laws(facts: Facts) -> list[str]:
    """Return the section on the experiment of arXiv 2601.10765: pruning after training."""
    told = {name: found for name, found in facts["laws"].items() if "accuracy" in found}
    place = {fraction: i for i, fraction in enumerate(facts["fractions"])}
    rows = []
    for name, found in told.items():
        cut = found["cut"]
        cells = [
            f"{100 * cut['accuracy'][place[f]]:.2f} ± {100 * cut['deviation'][place[f]]:.2f}"
            for f in (0.35, 0.5, 0.7, 0.85)
        ]
        rows.append([name, percent(found), f"{found['alive']:.0f}", *cells, str(found["seeds"])])
    published = [f"{100 * PAPER[0.35]:.1f}", "88.3 to 88.6", "-", "-", "-"]
    rows.append(["*the paper, all its dynamics*", "about 98", "768", *published])
    ours = told["Malthusian"]
    least = min(ours["cut"]["accuracy"][place[f]] for f in (0.35, 0.5))
    head = ["dynamics", "as trained", "alive", "35 % cut", "50 %", "70 %", "85 %", "seeds"]
    pictures.curve(facts)
    return [
        "## The paper's experiment",
        "",
        "784-512-256-10 on MNIST, the defaults (20 epochs, batch 128, AdamW at 2e-3 with decay "
        "0.5), last epoch: mean and standard deviation over seeds of test accuracy in per cent, as "
        "trained and after a share of the 768 populations was cut by mass when training was over. "
        "The extinct count as cut, so cutting is free down to the number that live by themselves; "
        '"no extinctions" keeps all 768 until then, as the paper does.',
        "",
        *markdown(head, rows),
        *figure("curve", "Accuracy against the share of the populations that was cut"),
        verdict(
            "asked, hard pruning of 35 and 50 % at least 98.2 % for the default",
            least >= 0.982,
            f"{100 * least:.2f} % at the lower of the two",
        ),
        "",
    ]


def by_pressure(name: str, told: list[Facts]) -> list[str]:
    """Return the table of a result with runs under several pressures, and their controls."""
    rows = [
        [
            f"{row['pressure']:g}",
            percent(row["ours"]),
            f"{row['ours']['alive']:.0f} ± {row['ours']['alive_deviation']:.0f}",
            f"{100 * row['ours']['extinct']:.1f} %",
            thousand(row["ours"]["macs"]),
            *controls(row),
        ]
        for row in beside(name, told, "pressure")
    ]
    return markdown(["pressure", "accuracy", "alive", "extinct", "multiply-adds", *CONTROLS], rows)


def fashion(facts: Facts) -> list[str]:
    told = facts["pressures"]
    dense = told[0]["dense"]
    return [
        "### On Fashion-MNIST",
        "",
        f"By the same defaults, {dense['seeds']} seeds; dense: {percent(dense)} %.",
        "",
        *by_pressure("fashion", told),
        origin("fashion", facts),
    ]


def pressures(facts: Facts) -> list[str]:
    """Return the section on extinction under several pressures, and draw its figure."""
    told = facts["pressures"]
    by_itself = [row["ours"] for row in told if row["ours"]["extinct"] >= 0.85]
    by_itself = by_itself or [told[-1]["ours"]]
    best = max(by_itself, key=lambda found: found["accuracy"])
    with_gradual = facts | {"pressures": beside("laws", told, "pressure")}
    pictures.extinct(with_gradual, result("goal"), UNITS)
    return [
        "## Extinct by themselves",
        "",
        f"The same network and settings under pressures from {told[0]['pressure']:g} to "
        f"{told[-1]['pressure']:g}, {told[0]['ours']['seeds']} seeds, and what the "
        "same shapes are worth otherwise: trained from scratch for as long, or cut from a dense "
        f"network of the same seed ({percent(told[0]['dense'])} %) to as many in every layer, by "
        "the norm of their weights or at random, and trained no further. The strong control is "
        "gradual pruning by norm along a cubic schedule to the same shape, in as many epochs, with "
        "a rate and decay chosen on held-out images (`experiments/controls_rows.py`, 3 seeds). "
        "[More controls](controls.md) has others: from scratch is better with larger initial "
        "masses than here.",
        "",
        *by_pressure("laws", told),
        *figure("extinct", "Accuracy against the living, with controls and published results"),
        verdict(
            "asked, at least 98.2 % with at least 85 % extinct by themselves",
            best["accuracy"] >= 0.982,
            f"{percent(best)} % with {100 * best['extinct']:.1f} % extinct",
        ),
        "",
    ]


def paper(facts: Facts) -> list[str]:
    """Return the sections on the results of laws.py."""
    told = laws(facts) if "laws" in facts else []
    return [*told, *pressures(facts), origin("laws", facts)]


def goal(facts: Facts) -> list[str]:
    """Return the lines of the section on longer runs with fewer populations."""
    told = [*beside("goal", facts["goal"]), *smallest("alive")]
    rows = [
        [
            row["settings"],
            percent(row["ours"]),
            f"{row['ours']['alive']:.0f} ({shape(row['ours'])})",
            f"{100 * row['ours']['extinct']:.1f} %",
            thousand(row["ours"]["macs"]),
            *controls(row),
        ]
        for row in told
    ]
    ways = {
        "images as they are": [row for row in told if "shift" not in row["settings"]],
        "images moved": [row for row in told if "shift" in row["settings"]],
    }
    lines = [
        "## Smaller still",
        "",
        "The same network, for longer (lifespan 2000 where no other is said), five seeds; settings "
        "were chosen on held-out images (below). `shift 1`: every image is moved by up to a pixel "
        "each way at random, which published results mostly do without.",
        "",
        *markdown(
            ["settings", "accuracy", "alive", "extinct", "multiply-adds", *CONTROLS],
            rows,
        ),
    ]
    for way, of in ways.items():
        small = [row for row in of if row["ours"]["extinct"] >= 0.9] or of
        if small:
            nearest = max(small, key=lambda row: row["ours"]["accuracy"])
            best = nearest["ours"]
            lines.append(
                verdict(
                    f"goal, 98.4 % at 90 % extinct (77 alive), {way}",
                    best["accuracy"] >= 0.984 and best["extinct"] >= 0.9,
                    f"{percent(best)} % with {best['alive']:.0f} alive, by {nearest['settings']}",
                )
            )
    lines += [
        "",
        "Pressure, lifespan, ceiling, smoothed labels, decay and the batch move a run along one "
        "line of accuracy against size on held-out images, or below it; moved images lie above, "
        "and so does input dropout ([controls](controls.md)). `experiments/smallest.py` made the "
        "row with gelu ([what it tried](small_networks.md)).",
        "",
    ]
    return [*lines, "", origin("goal", facts)]


def explored(facts: Facts) -> list[str]:
    """Return the section on the settings that were tried on validation images."""
    rows = [
        [row["settings"], percent(row), f"{row['alive']:.0f} ({shape(row)})", thousand(row["macs"])]
        for row in facts["held_out_accuracy"]
    ]
    return [
        "### What was tried",
        "",
        f"Accuracy on the {facts['held_out']['images']:,} images held out of the training set; the "
        "test set is somewhat easier. 60 epochs, lifespan 2000 where no other is said.",
        "",
        *markdown(["settings", "held out", "alive", "multiply-adds"], rows),
        origin("explore", facts),
    ]


def front(facts: Facts) -> list[str]:
    """Return the section on networks with selected inputs, and draw its figure."""
    told = [*beside("front", facts["front"]), *smallest("macs")]
    rows = [
        [
            row["settings"],
            percent(row["ours"]),
            shape(row["ours"]),
            f"{sum(row['ours']['layers'][1:]):.0f}",
            thousand(row["ours"]["macs"]),
            *controls(row),
        ]
        for row in told
    ]
    good = [row["ours"] for row in told if row["ours"]["accuracy"] >= 0.984]
    lines = [
        "## The front of structured sparsity",
        "",
        "784-300-100-10 with populations on the pixels too. Controls have the same pixels or as "
        "many.",
        "",
        *markdown(["settings", "accuracy", "alive", "hidden", "multiply-adds", *CONTROLS], rows),
        *figure("front", "Error against multiply-adds and against hidden units"),
    ]  # fmt: skip
    if good:
        cheap = min(good, key=lambda found: found["macs"])
        few = min(good, key=lambda found: sum(found["layers"][1:]))
        cheapest, fewest = thousand(cheap["macs"]), f"{sum(few['layers'][1:]):.0f}"
        met = cheap["macs"] <= 9500, sum(few["layers"][1:]) <= 56
    else:
        cheapest = fewest = "nothing"
        met = False, False
    best = max((row["ours"] for row in told), key=lambda found: found["accuracy"])
    lines += [
        verdict(
            "goal, at most 1.6 % wrong at 9.5 k multiply-adds", met[0],
            f"{cheapest} is the least at that error; the most accurate run is at {percent(best)} %",
        ),
        verdict("goal, at most 56 hidden units at 1.6 % wrong", met[1], f"{fewest} is the least"),
        "",
        *in_the_way(told),
    ]  # fmt: skip
    pictures.front({"front": told}, MACS, UNITS)
    return [*lines, origin("front", facts)]


def in_the_way(told: list[Facts]) -> list[str]:
    """Return the paragraph on the reasons why some goals are not met."""
    gains = [
        100 * (row["ours"]["accuracy"] - row["scratch"]["accuracy"])
        for row in told
        if "scratch" in row
    ]
    if not gains:
        return []
    return [
        "On held-out images, moves of two pixels, rate, decay, batch, smoothed labels and ceiling "
        "shift a run along one line: the more accurate network has more multiply-adds. Moved "
        "images and four times as many epochs lift that line"
        + (
            "; so do gelu and a teacher ([what was tried](small_networks.md)), in the row that "
            "`experiments/smallest.py` made. "
            if smallest("macs")
            else ". "
        )
        + "It is not the shape: the same pixels and neurons trained from scratch for as long are "
        f"{min(gains):.1f} to {max(gains):.1f} points less accurate.",
        "",
    ]


def lenet(facts: Facts) -> list[str]:
    told = beside("lenet", facts["front"])
    rows = [
        [
            row["settings"],
            percent(row["ours"]),
            shape(row["ours"]),
            thousand(row["ours"]["macs"]),
            *controls(row),
        ]
        for row in told
    ]
    lines = [
        "## LeNet-5",
        "",
        f"20-50-800-500, 2.293 M multiply-adds at birth; {told[0]['ours']['seeds']} seeds. "
        "Pressures are a grid, not a choice; 2.2 and 2.4 joined it when the others had been read.",
        "",
        *markdown(["settings", "accuracy", "alive", "multiply-adds", *CONTROLS], rows),
        *figure("lenet", "LeNet-5: error against multiply-adds, with published points"),
    ]
    for error, most in ((0.86, 213e3), (1.0, 111e3)):
        good = [r["ours"]["macs"] for r in told if 100 * (1 - r["ours"]["accuracy"]) <= error]
        got = f"{thousand(min(good))} is the least" if good else "no run is as accurate"
        met = bool(good) and min(good) <= most
        asked = f"goal, {most / 1000:.0f} k multiply-adds or fewer at {error} % wrong"
        lines.append(verdict(asked, met, got))
    pictures.lenet({"front": told}, LENET)
    return [*lines, "", origin("lenet", facts)]


def game(facts: Facts) -> list[str]:
    """Return the section on the game of arXiv 2512.22106, and draw its figure."""
    words = {
        "marginal": r"$-\partial L/\partial s$",
        "product": r"$+\langle w, \partial L/\partial w\rangle$, the paper's",
    }
    rows = [
        [
            words[row["sign"]],
            f"{row['beta']:g}",
            f"{row['gamma']:g}",
            percent(row),
            f"{row['alive']:.0f}" if "alive" in row else "-",
        ]
        for row in facts["game"]
    ]
    rows += [["*published*", "-", "-", f"{100 * a:.2f}", f"{n}"] for n, a in GAME]
    lines = [
        "## Pruning as a game",
        "",
        "The dynamics of [arXiv:2512.22106](https://arxiv.org/abs/2512.22106), with the benefit "
        "that descends the loss and with the one in its formula.",
        "",
        *markdown(["benefit", "beta", "gamma", "accuracy", "alive"], rows),
        *figure("game", "Accuracy against the living for both signs of the benefit"),
    ]
    pictures.game(facts, GAME)
    return [*lines, origin("game", facts)]


def decides(facts: Facts) -> list[str]:
    lines = [
        "## What decides",
        "",
        "One setting changed at a time: accuracy on the held-out images against the living. The "
        "defaults are the fitness `taylor`, soft upkeep, pressure 1.5, Malthusian growth with "
        "lifespan 700 and ceiling 5, decay 0.5, memory 0.9, threshold 0.001, batch 128, the clock "
        "of the learning rate. Two panels are about upkeep in nats (`macs`, pressure 0.15, fitness "
        "`marginal`): the sign of fitness, and raw growth. At 11 % a network has collapsed to "
        "guessing.",
        "",
        *figure("decides", "Held-out accuracy against the living, one panel a setting"),
    ]
    rows = [  # seconds only of "removal", whose runs followed each other on one machine
        [
            what,
            name,
            percent(found),
            f"{found['alive']:.0f}",
            f"{found['seconds']:.1f}" if what == "removal" else "",
        ]
        for what, settings in facts["ablations"].items()
        for name, found in settings.items()
        if "alive" in found  # absent if all runs diverged
    ]
    lines += markdown(["", "", "held out", "alive", "seconds"], rows)
    pictures.decides(facts)
    return [*lines, origin("decides", facts)]


def clock(facts: Facts) -> list[str]:
    rows = [
        [
            row["name"],
            f"{row['seconds']['median']:.1f}",
            f"{row['times_ours']:.2f} x",
            f"{100 * row['accuracy']:.2f}",
            f"{row['alive']:.0f}",
        ]
        for row in facts["rows"]
    ]
    peers = ", ".join(f"{name} {version}" for name, version in facts.get("peers", {}).items())
    pictures.clock(facts)
    return [
        "## Time",
        "",
        f"Seconds of training to the last epoch, {facts['threads']} threads, in turn; {peers}.",
        "",
        *markdown(["", "seconds", "of ours", "accuracy", "alive"], rows),
        *figure("clock", "Test accuracy against seconds of training"),
        origin("clock", facts),
    ]


# Script -> the key that its result must have, and the function that writes its section.
SECTIONS: dict[str, tuple[str, Callable[[Facts], list[str]]]] = {
    "laws": ("pressures", paper),
    "fashion": ("pressures", fashion),
    "goal": ("goal", goal),
    "explore": ("held_out_accuracy", explored),
    "front": ("front", front),
    "lenet": ("front", lenet),
    "game": ("game", game),
    "decides": ("ablations", decides),
    "clock": ("peers", clock),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    options = parser.parse_args()
    globals()["RESULTS"] = options.results
    pictures.make_figures.OUT = options.docs / "figures"
    pictures.make_figures.OUT.mkdir(parents=True, exist_ok=True)
    lines = [
        "<!-- made by experiments/page.py; change that, not this -->",
        "# Results on networks of the literature",
        "",
        "What selection does to the networks of the literature, measured: the last epoch and never "
        "the best one, mean and deviation over seeds, the test set read once. Whatever was chosen "
        "was chosen on images held out of the training set. Each section says which script of "
        "`experiments/` made it.",
        "",
    ]
    for name, (needed, section) in SECTIONS.items():
        facts = result(name)
        if facts is not None and needed in facts:
            lines += section(facts)
    (options.docs / "paper.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()

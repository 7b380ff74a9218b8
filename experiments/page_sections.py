"""Sections of docs/paper.md without controls: pruning as a game, ablations, and time."""

from __future__ import annotations

import pictures
from page_cells import Facts, figure, origin, percent
from published import GAME
from report import markdown


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
        "The neurons of 784-512-256-10 are players that increase their utility, as in "
        "[arXiv:2512.22106](https://arxiv.org/abs/2512.22106). The strategy $s$ of a player is "
        "its mass; below 0.01 the player is removed. Its costs are $\\beta |w|^2 s^2 + \\gamma s$, "
        "with its weights $w$. Its benefit is either $-\\partial L/\\partial s$, with which $s$ "
        "grows where that lowers the loss $L$, or the formula of that paper, which has the "
        "opposite sign. Runs have 20 epochs of Adam at 1e-3 without weight decay, and 5 seeds. At "
        "11.35 % a network answers the same class for every image.",
        "",
        *markdown(["benefit", "beta", "gamma", "accuracy", "alive"], rows),
        *figure("game", "Accuracy against living populations for both signs of the benefit"),
    ]
    pictures.game(facts, GAME)
    return [*lines, origin("game", facts)]


def decides(facts: Facts) -> list[str]:
    lines = [
        "## Ablations",
        "",
        "One setting is changed at a time; accuracy is on the held-out images, 5 seeds. The "
        "defaults are the fitness `taylor`, soft upkeep, pressure 1.5, Malthusian growth with "
        "lifespan 700 and ceiling 5, weight decay 0.5, memory 0.9, threshold 0.001, batch 128, "
        "and the clock of the learning rate. Upkeep `macs`, `params` and `uniform` is in nats, "
        "with pressure 0.15 and the fitness `marginal`. The panels marked (macs) have that upkeep, "
        "and this fitness unless the row gives another. At 11 % a network answers the same class "
        "for every image. Seconds are given for the last two rows only, whose runs followed each "
        "other on one machine.",
        "",
        *figure("decides", "Held-out accuracy against living populations, by setting"),
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
        "Seconds are those of training until the end of the last epoch, without evaluation: "
        f"medians of {facts['rows'][0]['seconds']['n']} runs with {facts['threads']} threads; the "
        f'methods took turns ({peers}). "Of ours" is the ratio to the first row; accuracy and '
        'survivors are means. "PyTorch, masks" is selection by masks, without removal. "Train, '
        'prune, tune" prunes by norm at half of the epochs, to the size of the first row.',
        "",
        *markdown(["", "seconds", "of ours", "accuracy", "alive"], rows),
        *figure("clock", "Test accuracy against seconds of training"),
        origin("clock", facts),
    ]

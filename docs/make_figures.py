"""Train the networks of the documentation, and write docs/figures: their figures and facts.md.

    python docs/make_figures.py             # all, a few minutes on two processors
    python docs/make_figures.py vit lenet   # some of them
    python docs/make_figures.py --quick     # the same on little data, to try the script

Every figure is stored for light and dark pages; see drawing.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import drawing
import numpy as np

import evoprune as ep

OUT = Path(__file__).with_name("figures")


def save(name: str, draw: Callable[[], Any], width: int = 1000) -> None:
    """Draw and store a figure; `draw` returns Axes."""
    drawing.save(OUT / name, draw, width)


def train(
    net: Any, data: Any, epochs: int, lifespan: float, pressure: Any, **optimizer: Any
) -> Any:
    """Train under selection; return the history."""
    law = ep.Malthusian(lifespan=lifespan)
    selection = ep.Selection(pressure, dynamics=law, min_age=min(100, int(lifespan / 5)))
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(**optimizer))
    return trainer.fit(data[0], epochs=epochs, validation_data=data[1], progress=False)


def paper(data: Any, short: bool) -> list[str]:
    """Draw the plots of the paper's network."""
    net = ep.mlp(784, 512, 256, 10)
    life = 8 if short else 700  # n steps of a cosine are n / 2 generations: at least 6 lifespans
    history = train(net, data, 4 if short else 20, life, 1.5, learning_rate=2e-3, weight_decay=0.5)
    plot = ep.plot
    save("history", lambda: plot.history(history))
    save("trajectories", lambda: plot.trajectories(history))
    save("muller", lambda: plot.muller(history))
    save("survival", lambda: plot.survival(history))
    save("fitness", lambda: plot.fitness(net))
    save("phase", lambda: plot.phase(history))
    save("price", lambda: plot.price(history, layer="populations1"))
    save("structure", lambda: plot.structure(net))
    save("filters", lambda: plot.filters(net, most=60))
    return [fact("784-512-256-10, pressure 1.5, 20 epochs", net, history)]


def features(data: Any, short: bool) -> list[str]:
    """Draw a network whose input features can become extinct."""
    net = ep.mlp(784, 300, 100, 10, inputs=True)
    life = 8 if short else 700
    history = train(net, data, 4 if short else 20, life, 1.5, learning_rate=1e-3, weight_decay=0.5)
    save("features", lambda: ep.plot.features(net), 600)
    return [fact("784-300-100-10 with input populations, pressure 1.5, 20 epochs", net, history)]


def triangle(data: Any, short: bool) -> list[str]:
    """Draw a game of three strategies, without a network."""
    wins = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    game = ep.simulate(
        ep.Replicator(strength=1, clip=1),
        [1.2, 1, 0.8],
        lambda mass: 0.05 * wins @ (mass / mass.sum()),
        600,
    )
    names = ["rock", "paper", "scissors"]
    save("triangle", lambda: ep.plot.phase(game, labels=names), 600)
    return []


def lenet(data: Any, short: bool) -> list[str]:
    """Draw LeNet-5 and its kernels."""
    net = ep.lenet5()
    history = train(
        net,
        data,
        1 if short else 10,
        2 if short else 350,
        1.5,
        learning_rate=1e-3,
        weight_decay=0.5,
    )
    save("lenet", lambda: ep.plot.structure(net))
    save("kernels", lambda: ep.plot.filters(net, "filters1"), 600)
    return [fact("LeNet-5, pressure 1.5, 10 epochs", net, history)]


def vit(data: Any, short: bool) -> list[str]:
    """Draw a vision transformer, and its attention maps for the first test image."""
    net = ep.vit((28, 28, 1), patch=7, dim=64, layers=3, heads=4)
    history = train(
        net,
        data,
        1 if short else 10,
        2 if short else 350,
        1.5,
        learning_rate=2e-3,
        weight_decay=0.1,
    )
    save("heads", lambda: ep.plot.heads(net, data[1]), 700)
    save("vit", lambda: ep.plot.survival(history))
    return [fact("vision transformer, patches of 7 x 7, pressure 1.5, 10 epochs", net, history)]


def pareto(data: Any, short: bool) -> list[str]:
    """Draw accuracy and size under four pressures."""
    runs = []
    for pressure in (0.75, 1.5, 3, 6):
        net = ep.mlp(784, 512, 256, 10)
        life = 6 if short else 700
        runs.append(
            train(
                net, data, 3 if short else 20, life, pressure, learning_rate=2e-3, weight_decay=0.5
            )
        )
    published = {"L0": (69_300, 1.4), "SBP": (48_600, 1.55), "VIBNet": (9_560, 1.6)}
    title = "pressure 0.75, 1.5, 3 and 6"
    save("pareto", lambda: ep.plot.pareto({title: runs}, reference=published))
    return []


PARTS = {part.__name__: part for part in (paper, features, triangle, lenet, vit, pareto)}


def main() -> None:
    """Make all figures in the order of the page, or some of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"part: expected {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    globals()["OUT"] = options.out
    options.out.mkdir(parents=True, exist_ok=True)
    data = ep.datasets.mnist()
    if options.quick:
        data = data[0].subset(slice(3200)), data[1].subset(slice(500))
    made = [
        line
        for name, part in PARTS.items()
        if not options.parts or name in options.parts
        for line in part(data, options.quick)
    ]
    write_facts(OUT / "facts.md", made)


def write_facts(path: Path, made: list[str]) -> None:
    """Write the table of the runs; keep the rows of runs that were not repeated."""
    head = "| network | test accuracy | alive | multiply-adds |\n|---|---|---|---|\n"
    kept = path.read_text().removeprefix(head).splitlines(True) if path.exists() else []
    rows = {line.split("|")[1]: line for line in kept}
    rows |= {line.split("|")[1]: line for line in made}
    path.write_text(head + "".join(rows.values()))


def fact(what: str, net: Any, history: Any) -> str:
    """Return a line of the table of the runs."""
    alive = " + ".join(f"{n:,}" for n in net.alive.values())
    share = net.macs / net.founding_macs
    accuracy = history["validation_accuracy"][-1]
    return f"| {what} | {accuracy:.2%} | {alive} | {net.macs:,.0f} ({share:.1%}) |\n"


if __name__ == "__main__":
    main()

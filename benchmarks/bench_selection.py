"""Accuracy and size of networks of filters and heads under selection, for several seeds.

The cases are LeNet-5 and a vision transformer on MNIST, a convolutional network on Fashion-MNIST,
and a language model of characters on tiny Shakespeare. Selection has its defaults, except for the
pressure and, in the long run of the language model, the lifespan. Each case has a dense control:
same steps, same learning rate, no selection. Test data is read after the last step and affects no
choice.

With --keep, runs that have a row with the same settings are not repeated.

The folder EVOPRUNE_DATA holds fashion-mnist/ (idx files) and tiny-shakespeare/ (input.txt); cases
without their data are left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Result

Datasets = tuple[Any, Any]


@dataclass(frozen=True)
class Case:
    """A network, its data, its training, and targets for the mean over the seeds."""

    net: str
    data: Callable[[], Datasets]
    batch: int
    rate: float
    decay: float
    pressure: float
    epochs: int
    asked: tuple[str, ...]
    steps: int | None = None  # steps per epoch; None: one pass through the data
    clip: float = 0.0
    lifespan: float = 700

    def run(self, seed: int, selected: bool) -> dict[str, Any]:
        """Train a network and test it."""
        import evoprune as ep

        ep.set_threads(1)  # does not affect results; several runs share the processors
        train, test = self.data()
        net = networks()[self.net](seed=seed)
        law = ep.Malthusian(lifespan=self.lifespan)
        trainer = ep.Trainer(
            net,
            selection=ep.Selection(self.pressure, dynamics=law) if selected else None,
            optimizer=ep.AdamW(self.rate, weight_decay=self.decay, clip=self.clip),
        )
        begin = time.perf_counter()
        trainer.fit(
            train, epochs=self.epochs, batch_size=self.batch, steps=self.steps, progress=False
        )
        seconds = time.perf_counter() - begin
        score = net.evaluate(test)
        return {
            "loss": score.loss,
            "accuracy": score.accuracy,
            "alive": dict(net.alive),
            "born": dict(net.born),
            "macs": net.macs,
            "founding_macs": net.founding_macs,
            "parameters": net.parameters,
            "seconds": seconds,
        }


# ---- data ---------------------------------------------------------------------------------------


def place(name: str) -> Path:
    """Return the folder of a data set that is not bundled with the package."""
    return Path(os.environ.get("EVOPRUNE_DATA", common.ROOT.parent / "shared" / "data")) / name


def mnist() -> Datasets:
    """Return the bundled MNIST."""
    import evoprune as ep

    return ep.datasets.mnist()


def fashion() -> Datasets:
    """Return Fashion-MNIST."""
    import evoprune as ep

    return ep.datasets.fashion_mnist(place("fashion-mnist"))


def shakespeare() -> Datasets:
    """Return tiny Shakespeare: windows of 64 characters, the last tenth for validation."""
    import evoprune as ep

    book = ep.datasets.text(place("tiny-shakespeare") / "input.txt")
    return book.train, book.validation


def networks() -> dict[str, Callable[..., Any]]:
    """Return the functions that make networks, by the names in `Case.net`."""
    import evoprune as ep

    def charlm(seed: int) -> Any:
        book = ep.datasets.text(place("tiny-shakespeare") / "input.txt")
        return ep.charlm(book.vocabulary, book.context, seed=seed)

    return {
        "lenet": ep.lenet5,
        # Without batch norm, which would cancel a common factor of preceding masses.
        "cnn": partial(ep.cnn, (28, 28, 1), (32, 64, 128), 10, norm=False),
        "vit": partial(ep.vit, (28, 28, 1), patch=7),
        "charlm": charlm,
    }


# ---- targets ------------------------------------------------------------------------------------

Means = dict[str, float]
ASKED: dict[str, Callable[[Means], bool]] = {
    "accuracy at least 99.0 %": lambda mean: mean["accuracy"] >= 0.99,
    "at most 300 k multiply-adds": lambda mean: mean["macs"] <= 300e3,
    "within 0.5 points of dense": lambda mean: mean["accuracy"] >= mean["dense_accuracy"] - 0.005,
    "at least 70 % of the filters extinct": lambda mean: mean["extinct.filters"] >= 0.7,
    "within 0.3 points of dense": lambda mean: mean["accuracy"] >= mean["dense_accuracy"] - 0.003,
    "at most 1 % more loss than dense": lambda mean: mean["loss"] <= 1.01 * mean["dense_loss"],
    "at least half of the heads extinct": lambda mean: mean["extinct.heads"] >= 0.5,
    "at least half of the neurons extinct": lambda mean: mean["extinct.neurons"] >= 0.5,
}
HALVES = ("at least half of the heads extinct", "at least half of the neurons extinct")


CASES = {
    "lenet5 mnist": Case(
        "lenet", mnist, 128, 1e-3, 0.5, 1.5, 20,
        ("accuracy at least 99.0 %", "at most 300 k multiply-adds"),
    ),
    "cnn fashion-mnist": Case(
        "cnn", fashion, 128, 2e-3, 0.5, 1.1, 20,
        ("within 0.5 points of dense", "at least 70 % of the filters extinct"),
    ),
    "vit mnist": Case(
        "vit", mnist, 64, 1e-3, 0.5, 1.5, 10, ("within 0.3 points of dense", *HALVES), clip=1.0
    ),
    "charlm shakespeare": Case(
        "charlm", shakespeare, 16, 1e-3, 0.5, 1.5, 1,
        ("at most 1 % more loss than dense", *HALVES), 30000, clip=1.0, lifespan=3000,
    ),
}  # fmt: skip


# ---- runs ---------------------------------------------------------------------------------------


def job(name: str, seed: int, selected: bool) -> tuple[str, int, bool, dict[str, Any]]:
    """Run a case; return its name, seed, whether it was under selection, and its row."""
    return name, seed, selected, CASES[name].run(seed, selected)


def settings(case: Case, selected: bool) -> dict[str, Any]:
    """Return all settings of a run except its seed."""
    names = ["batch", "rate", "decay", "epochs", "steps", "clip"]
    names += ["pressure", "lifespan"] * selected
    return {"net": case.net, **{name: getattr(case, name) for name in names}}


def jobs(asked: list[tuple[str, int, bool]], workers: int) -> Iterator[Any]:
    """Execute the runs in parallel processes; yield their results in order."""
    with ProcessPoolExecutor(workers) as pool:
        for one in [pool.submit(job, *run) for run in asked]:
            yield one.result()


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return means over the seeds, for runs under selection and for dense runs."""
    ours = [row for row in rows if row["selected"]]
    dense = [row for row in rows if not row["selected"]]
    found = {
        "macs": np.mean([row["macs"] for row in ours]),
        "macs_share": np.mean([row["macs"] / row["founding_macs"] for row in ours]),
        "seconds": np.mean([row["seconds"] for row in ours]),
        "dense_seconds": np.mean([row["seconds"] for row in dense]),
    }
    for what in ("accuracy", "loss"):
        found[what] = np.mean([row[what] for row in ours])
        found[f"{what}_deviation"] = np.std([row[what] for row in ours])
        found[f"dense_{what}"] = np.mean([row[what] for row in dense])
    for what in ("filters", "heads", "neurons"):
        born = [sum(n for k, n in row["born"].items() if k.startswith(what)) for row in ours]
        alive = [sum(n for k, n in row["alive"].items() if k.startswith(what)) for row in ours]
        if born[0]:
            found[f"extinct.{what}"] = 1 - np.sum(alive) / np.sum(born)
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    at_once = common.processors()
    options = common.options(__doc__, seeds=(3, 1), workers=(at_once, at_once))
    seeds = options.seeds
    needs = {"cnn fashion-mnist": "fashion-mnist", "charlm shakespeare": "tiny-shakespeare"}
    names = [name for name in CASES if options.only in name]
    for name in [n for n in names if n in needs and not place(needs[n]).is_dir()]:
        print(f"without {name}: no {place(needs[name])}")
        names.remove(name)
    result = Result("selection", options, seeds=seeds)
    there = {(r["case"], r["seed"], r["selected"]): r["settings"] for r in result.facts["rows"]}
    asked = [
        (name, seed, selected)
        for name in names
        for seed in range(seeds)
        for selected in (True, False)
        if there.get((name, seed, selected)) != settings(CASES[name], selected)
    ]
    for name, seed, selected, found in jobs(asked, options.workers):
        of = settings(CASES[name], selected)
        result.add(case=name, seed=seed, selected=selected, settings=of, **found)
        what = "selected" if selected else "dense"
        print(
            f"{name:20} seed {seed} {what:8} {100 * found['accuracy']:.2f} %, loss "
            f"{found['loss']:.4f}, alive {'-'.join(map(str, found['alive'].values()))}, "
            f"{found['macs'] / 1000:.0f} k MAC, {found['seconds']:.0f} s",
            flush=True,
        )
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    for row in result.facts["rows"]:
        rows[row["case"]].append(row)
    summary = {name: means(of) for name, of in rows.items() if of}
    met: dict[str, dict[str, bool]] = {}
    for name, mean in summary.items():
        extinct = ", ".join(
            f"{100 * share:.0f} % of the {key[8:]} extinct"
            for key, share in mean.items()
            if key.startswith("extinct.")
        )
        print(
            f"{name}: {100 * mean['accuracy']:.2f} % (dense {100 * mean['dense_accuracy']:.2f}), "
            f"loss {mean['loss']:.4f} (dense {mean['dense_loss']:.4f}), "
            f"{mean['macs'] / 1000:.0f} k MAC, {extinct}"
        )
        met[name] = {what: ASKED[what](mean) for what in CASES[name].asked}
        for what, holds in met[name].items():
            print(f"    {what}: {'met' if holds else 'NOT met'}")
    result.write(summary=summary, met=met)
    result.close()


if __name__ == "__main__":
    main()

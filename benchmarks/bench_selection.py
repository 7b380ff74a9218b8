"""Accuracy and size of networks of filters and heads under selection, for several seeds.

LeNet-5 and a vision transformer on MNIST, a convolutional network on Fashion-MNIST, a language
model of characters on tiny Shakespeare; with the defaults of selection, except for pressure and,
in the long run of the language model, the lifespan. Each has a dense control: same steps, same
rate, no selection. Accuracy is that after the last step; test data affects no choice.

With --keep, runs that have a row with the same settings are not repeated.

Fashion-MNIST (idx files) and tiny Shakespeare (input.txt) are looked for in the folders
fashion-mnist and tiny-shakespeare of EVOPRUNE_DATA; cases without their data are left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Result

Datasets = tuple[Any, Any]


@dataclass(frozen=True)
class Case:
    """A network, its data, its training, and targets for the mean over the seeds."""

    net: Callable[[int], Any]
    data: Callable[[], Datasets]
    batch: int
    rate: float
    decay: float
    pressure: float
    epochs: int
    asked: Callable[[dict[str, float]], dict[str, bool]]
    steps: int | None = None  # steps per epoch; None: one pass through the data
    clip: float = 0.0
    lifespan: float = 700

    def run(self, seed: int, selected: bool) -> dict[str, Any]:
        """Train a network and test it."""
        import evoprune as ep

        ep.set_threads(1)  # does not affect results; two runs at a time use two processors
        train, test = self.data()
        net = self.net(seed)
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
    """Return the bundled data set."""
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


# ---- networks -----------------------------------------------------------------------------------


def lenet(seed: int) -> Any:
    import evoprune as ep

    return ep.lenet5(seed=seed)


def cnn(seed: int) -> Any:
    """Return a CNN without batch norm, which would cancel a common factor of preceding masses."""
    import evoprune as ep

    return ep.cnn((28, 28, 1), (32, 64, 128), 10, norm=False, seed=seed)


def vit(seed: int) -> Any:
    import evoprune as ep

    return ep.vit((28, 28, 1), patch=7, seed=seed)


def charlm(seed: int) -> Any:
    import evoprune as ep

    book = ep.datasets.text(place("tiny-shakespeare") / "input.txt")
    return ep.charlm(book.vocabulary, book.context, seed=seed)


# ---- targets ------------------------------------------------------------------------------------


def lenet_asked(mean: dict[str, float]) -> dict[str, bool]:
    return {
        "accuracy at least 99.0 %": mean["accuracy"] >= 0.99,
        "at most 300 k multiply-adds": mean["macs"] <= 300e3,
    }


def cnn_asked(mean: dict[str, float]) -> dict[str, bool]:
    return {
        "within 0.5 points of dense": mean["accuracy"] >= mean["dense_accuracy"] - 0.005,
        "at least 70 % of the filters extinct": mean["extinct.filters"] >= 0.7,
    }


def vit_asked(mean: dict[str, float]) -> dict[str, bool]:
    return {
        "within 0.3 points of dense": mean["accuracy"] >= mean["dense_accuracy"] - 0.003,
        **_halves(mean),
    }


def charlm_asked(mean: dict[str, float]) -> dict[str, bool]:
    return {
        "at most 1 % more loss than dense": mean["loss"] <= 1.01 * mean["dense_loss"],
        **_halves(mean),
    }


def _halves(mean: dict[str, float]) -> dict[str, bool]:
    return {
        "at least half of the heads extinct": mean["extinct.heads"] >= 0.5,
        "at least half of the neurons extinct": mean["extinct.neurons"] >= 0.5,
    }


CASES = {
    "lenet5 mnist": Case(lenet, mnist, 128, 1e-3, 0.5, 1.5, 20, lenet_asked),
    "cnn fashion-mnist": Case(cnn, fashion, 128, 2e-3, 0.5, 1.1, 20, cnn_asked),
    "vit mnist": Case(vit, mnist, 64, 1e-3, 0.5, 1.5, 10, vit_asked, clip=1.0),
    "charlm shakespeare": Case(
        charlm, shakespeare, 16, 1e-3, 0.5, 1.5, 1, charlm_asked, 30000, clip=1.0, lifespan=3000
    ),
}


# ---- runs ---------------------------------------------------------------------------------------


def job(name: str, seed: int, selected: bool) -> tuple[str, int, bool, dict[str, Any]]:
    """Run a job in a new process."""
    return name, seed, selected, CASES[name].run(seed, selected)


def settings(case: Case, selected: bool) -> dict[str, Any]:
    """Return what a run depends on, apart from the seed and the sources."""
    names = ["batch", "rate", "decay", "epochs", "steps", "clip"]
    names += ["pressure", "lifespan"] * selected
    return {"net": case.net.__name__, **{name: getattr(case, name) for name in names}}


def jobs(asked: list[tuple[str, int, bool]], workers: int) -> Iterator[Any]:
    """Return the results of all runs, in order."""
    with ProcessPoolExecutor(workers) as pool:
        for one in [pool.submit(job, *run) for run in asked]:
            yield one.result()


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return means over the seeds: of the remaining sizes, and of the dense runs."""
    ours = [row for row in rows if row["selected"]]
    dense = [row for row in rows if not row["selected"]]
    found = {
        "accuracy": np.mean([row["accuracy"] for row in ours]),
        "accuracy_deviation": np.std([row["accuracy"] for row in ours]),
        "loss": np.mean([row["loss"] for row in ours]),
        "loss_deviation": np.std([row["loss"] for row in ours]),
        "macs": np.mean([row["macs"] for row in ours]),
        "macs_share": np.mean([row["macs"] / row["founding_macs"] for row in ours]),
        "seconds": np.mean([row["seconds"] for row in ours]),
        "dense_accuracy": np.mean([row["accuracy"] for row in dense]),
        "dense_loss": np.mean([row["loss"] for row in dense]),
        "dense_seconds": np.mean([row["seconds"] for row in dense]),
    }
    for what in ("filters", "heads", "neurons"):
        born = [sum(n for k, n in row["born"].items() if k.startswith(what)) for row in ours]
        alive = [sum(n for k, n in row["alive"].items() if k.startswith(what)) for row in ours]
        if born[0]:
            found[f"extinct.{what}"] = 1 - np.sum(alive) / np.sum(born)
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--seeds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--workers", type=int, default=common.processors(), help="runs at a time")
    options = parser.parse_args()
    seeds = options.seeds or (1 if options.quick else 3)
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
    for name, mean in summary.items():
        met = CASES[name].asked(mean)
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
        for what, holds in met.items():
            print(f"    {what}: {'met' if holds else 'NOT met'}")
    result.write(
        summary=summary, met={name: CASES[name].asked(mean) for name, mean in summary.items()}
    )
    result.close()


if __name__ == "__main__":
    main()

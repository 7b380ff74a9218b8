"""Time of a training step: evoprune under selection, the floor, PyTorch, JAX and scikit-learn.

All contestants do equal work: an MLP of the same widths with ReLU, softmax cross-entropy, AdamW,
float32, batches drawn by shuffled index from MNIST's 60,000 images. "ours" is evoprune under
selection: it also converts images from uint8, and computes fitness and a generation of the dynamics
at every step; masses hardly change (strength 1e-9), so that no population dies during timing.
"ours, dense" is the same without selection. The floor is the time of the step's matrix products
alone, see floor.py.

A second part times steps of the paper's network with ever fewer living populations.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Result, exported, ratio
from ours import DECAY, RATE, Arena, row_of, training
from rounds import Contestant, Local, Peers, Times

CASES = [  # widths, batch size
    ((784, 512, 256, 10), 128),
    ((784, 512, 256, 10), 32),
    ((784, 512, 256, 10), 512),
    ((784, 300, 100, 10), 128),
    ((784, 150, 40, 10), 128),
    ((784, 74, 16, 10), 128),
]
LIVING = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02)  # shares of hidden neurons alive


def ours(name: str, widths: tuple[int, ...], batch: int, threads: int, selected: bool) -> Local:
    """Return a contestant that trains an MLP on MNIST with evoprune."""
    import evoprune as ep

    train, _ = ep.datasets.mnist()
    return training(name, ep.mlp(*widths), train, batch, threads, selected=selected)


class Mlps(Arena):
    """Contestants that train MLPs on MNIST.

    Attributes:
        data: MNIST in the peers' format.
    """

    def __init__(self, peers: Peers, folder: Path, options: Any) -> None:
        import evoprune as ep

        super().__init__(peers, options)
        self.data = exported(ep.datasets.mnist()[0], folder, "train")

    def ours(self, widths: tuple[int, ...], batch: int, threads: int) -> list[Contestant]:
        """Return contestants: evoprune with and without selection, and the floors."""
        return [
            ours("ours", widths, batch, threads, True),
            ours("ours, dense", widths, batch, threads, False),
            *self.floors(lambda floor: floor.mlp(widths, batch), threads),
        ]

    def others(self, widths: tuple[int, ...], batch: int, threads: int) -> list[Contestant]:
        """Return PyTorch, JAX and scikit-learn in every variant that may be their fastest."""
        settings = {
            "widths": widths,
            "batch": batch,
            "data": self.data,
            "decay": DECAY,
            "rate": RATE,
        }
        variants: list[tuple[str, str, str, dict[str, bool]]] = [
            ("PyTorch", "torch", "torch_step", {}),
            ("JAX", "jax", "jax_step", {}),
            ("JAX, scan", "jax", "jax_step", {"scanned": True}),
        ]
        if not self.options.quick:
            variants += [
                ("PyTorch, given batch", "torch", "torch_step", {"gather": False}),
                ("PyTorch, compiled", "torch", "torch_step", {"compiled": True}),
                ("scikit-learn", "sklearn", "sklearn_step", {}),
            ]
        add = self.peers.contestant
        return [
            contestant
            for name, library, make, more in variants
            for contestant in add(name, library, threads, make, **settings, **more)
        ]


def say(name: str, times: Times) -> None:
    cells = [f"{label} {np.median(ms):.3f}" for label, ms in times.items()]
    print(f"{name:40} ms: {', '.join(cells)}", flush=True)
    if "floor" in times:
        print(f"{'':40} ours is {1 / ratio(times['floor'], times['ours']):.2f} x floor", end="")
        print(f", selection {100 * (1 / ratio(times['ours, dense'], times['ours']) - 1):+.1f} %")


def main() -> None:
    options = common.options(__doc__, [2, 1], rounds=(21, 5), seconds=(0.4, 0.15))
    result = Result("step", options, rounds=options.rounds, seconds=options.seconds)
    with Peers() as peers, tempfile.TemporaryDirectory() as folder:
        arena = Mlps(peers, Path(folder), options)
        for threads in options.threads:
            for widths, batch in CASES:
                name = f"{'-'.join(map(str, widths))}, batch {batch}, {threads} threads"
                if options.only in name:
                    contestants = arena.ours(widths, batch, threads)
                    contestants += arena.others(widths, batch, threads)
                    times = arena.time(contestants, threads)
                    say(name, times)
                    row = {"part": "cases", "widths": widths, "batch": batch, "threads": threads}
                    result.add(**row, **row_of(times))
            if options.only in f"living, {threads} threads":
                shrink(arena, result, threads)
        result.write(peers=peers.versions)
    result.close()


def shrink(arena: Mlps, result: Result, threads: int) -> None:
    """Time steps of 784-512-256-10 at batch 128 with ever fewer populations."""
    for share in LIVING:
        widths = (784, max(1, round(512 * share)), max(1, round(256 * share)), 10)
        times = arena.time(arena.ours(widths, 128, threads), threads)
        living = sum(widths[1:-1])
        say(f"living {living} of 768, {threads} threads", times)
        row = {"part": "living", "widths": widths, "batch": 128, "threads": threads}
        result.add(**row, living=living, **row_of(times))


if __name__ == "__main__":
    main()

"""Time of a training step: ours under selection, the floor, PyTorch, JAX and scikit-learn.

Equal work for all: an MLP of the same widths with ReLU, softmax cross-entropy, AdamW, float32,
batches drawn by shuffled index from MNIST's 60,000 images. Ours also converts them from uint8, and
computes fitness and a generation of the dynamics at every step; masses hardly change (strength
1e-9), so that no population dies during timing. "ours, dense" is the same without selection.
The floor is the step's matrix products alone, see floor.py.

A second part times steps of the paper's network by the number of living populations.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Result, exported, ratio, spread
from floor import Floor, library, openblas
from ours import DECAY, RATE, training
from rounds import Contestant, Local, Peers, Times, contest

CASES = [  # widths, batch size
    ((784, 512, 256, 10), 128),
    ((784, 512, 256, 10), 32),
    ((784, 512, 256, 10), 512),
    ((784, 300, 100, 10), 128),
    ((784, 150, 40, 10), 128),
    ((784, 74, 16, 10), 128),
]
LIVING = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02)  # shares of 512 and 256


def ours(name: str, widths: tuple[int, ...], batch: int, threads: int, selected: bool) -> Local:
    """Return a contestant: our own training of an MLP on MNIST."""
    import evoprune as ep

    train, _ = ep.datasets.mnist()
    return training(name, ep.mlp(*widths), train, batch, threads, selected=selected)


class Arena:
    """Shared by all cases: the floor's library, the peers and the data in their format."""

    def __init__(self, peers: Peers, folder: Path, options: Any) -> None:
        import evoprune as ep

        train, _ = ep.datasets.mnist()
        self.peers, self.options = peers, options
        self.library, self.blas = library(), openblas(peers.openblas())
        if self.library is None:
            print("no C compiler: without the floor")
        elif self.blas is None:
            print("no scipy-openblas32 among the peers: the floor by our own product only")
        self.data = exported(train, folder, "train")

    def floors(self, widths: tuple[int, ...], batch: int, threads: int) -> list[Contestant]:
        """Time the products alone, by OpenBLAS and by our own product."""
        found: list[Contestant] = []
        if self.library is not None and self.blas is not None:
            floor = Floor(self.library, self.blas, threads).mlp(widths, batch)
            found.append(Local("floor", floor.run))
        if self.library is not None:
            floor = Floor(self.library, None, threads).mlp(widths, batch)
            found.append(Local("floor, own product", floor.run))
        return found

    def others(self, widths: tuple[int, ...], batch: int, threads: int) -> list[Contestant]:
        """Return PyTorch, JAX and scikit-learn in every variant that may be their fastest."""
        settings = {
            "widths": widths,
            "batch": batch,
            "data": self.data,
            "decay": DECAY,
            "rate": RATE,
        }
        add = self.peers.contestant
        found = add("PyTorch", "torch", threads, "torch_step", **settings)
        found += add("JAX", "jax", threads, "jax_step", **settings)
        found += add("JAX, scan", "jax", threads, "jax_step", scanned=True, **settings)
        if not self.options.quick:
            found += add(
                "PyTorch, given batch", "torch", threads, "torch_step", gather=False, **settings
            )
            found += add(
                "PyTorch, compiled", "torch", threads, "torch_step", compiled=True, **settings
            )
            found += add("scikit-learn", "sklearn", threads, "sklearn_step", **settings)
        return found

    def time(self, contestants: list[Contestant], threads: int) -> Times:
        trip = self.library.floor_trip if self.library is not None and threads > 1 else None
        return contest(contestants, self.options.rounds, self.options.seconds, trip)


def row_of(times: Times) -> dict[str, Any]:
    """Return statistics of a case, and ratios to our time, taken round by round."""
    against = {name: ratio(times[name], times["ours"]) for name in times if name != "ours"}
    return {
        "ms": {name: spread(samples) for name, samples in times.items()},
        "times_ours": against,  # above 1: ours is faster
        **times.facts(),
    }


def say(name: str, times: Times) -> None:
    cells = [f"{label} {np.median(ms):.3f}" for label, ms in times.items()]
    print(f"{name:40} ms: {', '.join(cells)}", flush=True)
    if "floor" in times:
        print(f"{'':40} ours is {1 / ratio(times['floor'], times['ours']):.2f} x floor", end="")
        print(f", selection {100 * (1 / ratio(times['ours, dense'], times['ours']) - 1):+.1f} %")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--threads", type=common.threads_of, default=[2, 1], metavar="N,N")
    parser.add_argument("--rounds", type=int, help="21, or 5 with --quick")
    parser.add_argument("--seconds", type=float, help="of a turn: 0.4, or 0.15 with --quick")
    options = parser.parse_args()
    options.rounds = options.rounds or (5 if options.quick else 21)
    options.seconds = options.seconds or (0.15 if options.quick else 0.4)
    result = Result("step", options, rounds=options.rounds, seconds=options.seconds)
    with Peers() as peers, tempfile.TemporaryDirectory() as folder:
        arena = Arena(peers, Path(folder), options)
        for threads in options.threads:
            for widths, batch in CASES:
                name = f"{'-'.join(map(str, widths))}, batch {batch}, {threads} threads"
                if options.only not in name:
                    continue
                contestants: list[Contestant] = [
                    ours("ours", widths, batch, threads, True),
                    ours("ours, dense", widths, batch, threads, False),
                    *arena.floors(widths, batch, threads),
                    *arena.others(widths, batch, threads),
                ]
                times = arena.time(contestants, threads)
                say(name, times)
                result.add(
                    part="cases", widths=widths, batch=batch, threads=threads, **row_of(times)
                )
            shrink(arena, result, threads)
        result.write(peers=peers.versions)
    result.close()


def shrink(arena: Arena, result: Result, threads: int) -> None:
    """Time steps of 784-512-256-10 at batch 128 with fewer and fewer populations."""
    if arena.options.only not in f"living, {threads} threads":
        return
    for share in LIVING:
        widths = (784, max(1, round(512 * share)), max(1, round(256 * share)), 10)
        contestants: list[Contestant] = [
            ours("ours", widths, 128, threads, True),
            ours("ours, dense", widths, 128, threads, False),
            *arena.floors(widths, 128, threads),
        ]
        times = arena.time(contestants, threads)
        say(f"living {sum(widths[1:-1])} of 768, {threads} threads", times)
        result.add(
            part="living",
            widths=widths,
            batch=128,
            threads=threads,
            living=sum(widths[1:-1]),
            **row_of(times),
        )


if __name__ == "__main__":
    main()

"""Time of a prediction: one call of predict, against NumPy by hand, ONNX Runtime, PyTorch, JAX.

All contestants compute the same MLP (ReLU, logits), with float32 inputs and random weights; ours
has masses, like a network after training. With one sample, the time is mostly the cost of a call;
with many samples, that of the matrix products.
"""

from __future__ import annotations

from itertools import product

import common
import numpy as np
from common import Result
from floor import library, trip_of
from ours import row_of
from rounds import Contestant, Local, Peers, contest

WIDTHS = [(784, 512, 256, 10), (784, 74, 16, 10)]
CASES = [(1, 1), (32, 1), (256, 1), (256, 2), (4096, 2)]  # batch size, threads


def ours(widths: tuple[int, ...], batch: int, threads: int) -> Contestant:
    """Return a contestant that calls evoprune's predict."""
    import evoprune as ep

    net = ep.mlp(*widths)
    x = np.random.default_rng(0).standard_normal((batch, widths[0]), np.float32)
    predict = net.predict

    def run(calls: int) -> None:
        for _ in range(calls):
            predict(x, threads)

    return Local("ours", run)


def others(
    peers: Peers, widths: tuple[int, ...], batch: int, threads: int, quick: bool
) -> list[Contestant]:
    """Return contestants: each peer in every variant that may be its fastest."""
    variants: list[tuple[str, str, dict[str, bool]]] = [
        ("NumPy", "numpy", {}),
        ("ONNX Runtime", "onnxruntime", {}),
        ("PyTorch", "torch", {}),
    ]
    if not quick:
        variants += [("PyTorch, frozen", "torch", {"scripted": True}), ("JAX", "jax", {})]
    return [
        contestant
        for name, library, more in variants
        for contestant in peers.contestant(
            name, library, threads, f"{library}_predict", widths=widths, batch=batch, **more
        )
    ]


def main() -> None:
    options = common.options(__doc__, rounds=(31, 7), seconds=(0.2, 0.05))
    result = Result("predict", options, rounds=options.rounds, seconds=options.seconds)
    floors = library()
    with Peers() as peers:
        for widths, (batch, threads) in product(WIDTHS, CASES):
            name = f"{'-'.join(map(str, widths))}, batch {batch}, {threads} threads"
            if options.only not in name:
                continue
            contestants = [ours(widths, batch, threads)]
            contestants += others(peers, widths, batch, threads, options.quick)
            trip = trip_of(floors, threads)
            times = contest(contestants, options.rounds, options.seconds, trip)
            shown = ", ".join(f"{k} {1000 * np.median(ms):.1f}" for k, ms in times.items())
            print(f"{name:40} us: {shown}", flush=True)
            result.add(widths=widths, batch=batch, threads=threads, **row_of(times))
        result.write(peers=peers.versions)
    result.close()


if __name__ == "__main__":
    main()

"""Time of a prediction: one call of predict, against NumPy by hand, ONNX Runtime, PyTorch, JAX.

The same MLP for all (ReLU, logits), float32 inputs, random weights; ours has masses, like a network
after training. One sample measures the cost of a call, many that of the product.
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from common import Result, ratio, spread
from floor import library
from rounds import Contestant, Local, Peers, contest

WIDTHS = [(784, 512, 256, 10), (784, 74, 16, 10)]
CASES = [(1, 1), (32, 1), (256, 1), (256, 2), (4096, 2)]  # batch size, threads


def ours(widths: tuple[int, ...], batch: int, threads: int) -> Contestant:
    """Return a contestant: calls of our predict."""
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
    """Return the peers in every variant that may be their fastest."""
    settings: dict[str, Any] = {"widths": widths, "batch": batch}
    add = peers.contestant
    found = add("NumPy", "numpy", threads, "numpy_predict", **settings)
    found += add("ONNX Runtime", "onnxruntime", threads, "onnxruntime_predict", **settings)
    found += add("PyTorch", "torch", threads, "torch_predict", **settings)
    if not quick:
        found += add(
            "PyTorch, frozen", "torch", threads, "torch_predict", scripted=True, **settings
        )
        found += add("JAX", "jax", threads, "jax_predict", **settings)
    return found


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="31, or 7 with --quick")
    parser.add_argument("--seconds", type=float, help="of a turn: 0.2, or 0.05 with --quick")
    options = parser.parse_args()
    rounds = options.rounds or (7 if options.quick else 31)
    seconds = options.seconds or (0.05 if options.quick else 0.2)
    result = Result("predict", options, rounds=rounds, seconds=seconds)
    floors = library()
    with Peers() as peers:
        for widths in WIDTHS:
            for batch, threads in CASES:
                name = f"{'-'.join(map(str, widths))}, batch {batch}, {threads} threads"
                if options.only not in name:
                    continue
                contestants = [
                    ours(widths, batch, threads),
                    *others(peers, widths, batch, threads, options.quick),
                ]
                trip = floors.floor_trip if floors is not None and threads > 1 else None
                times = contest(contestants, rounds, seconds, trip)
                shown = ", ".join(f"{k} {1000 * np.median(ms):.1f}" for k, ms in times.items())
                print(f"{name:40} us: {shown}", flush=True)
                result.add(
                    widths=widths,
                    batch=batch,
                    threads=threads,
                    ms={k: spread(ms) for k, ms in times.items()},
                    times_ours={k: ratio(times[k], times["ours"]) for k in times if k != "ours"},
                    **times.facts(),
                )
        result.write(peers=peers.versions)
    result.close()


if __name__ == "__main__":
    main()

"""Contestants that train with evoprune, and the floor; used by bench_step and bench_layers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import ratio, spread
from floor import Floor, library, openblas, trip_of
from rounds import Contestant, Local, Peers, Times, contest

RATE, DECAY = 1e-4, 0.5


def training(
    name: str, net: Any, data: Any, batch: int, threads: int, *, selected: bool = True
) -> Local:
    """Return a contestant that trains a network, on the fastest number of threads up to `threads`.

    The steps per call of the core and the threads are chosen as in `Trainer.fit`; nothing is
    recorded. With selection, fitness and a generation of the default dynamics are computed at every
    step; masses hardly change (strength 1e-9), so that no population dies during timing.
    """
    import evoprune as ep
    from evoprune.training.run import ThreadTuner, Watch

    net.scale_input(data.shift, data.scale)
    selection = ep.Selection()
    net.configure(
        optimizer="adamw",
        optimizer_config={"weight_decay": DECAY},
        selection=selection.config() if selected else None,
    )
    done, watch, tuner = 0, Watch(), ThreadTuner()

    def run(steps: int) -> None:
        nonlocal done
        ep.set_threads(threads)
        while steps > 0:
            chosen, n = tuner.choose(), min(steps, max(1, watch.steps // tuner.divisor))
            begin = time.perf_counter()
            net.core.train(
                data.x,
                data.y,
                batch=batch,
                first=done,
                rate=np.full(n, RATE),
                pressure=selection.pressures(n),
                strength=np.full(n, 1e-9),
                threads=chosen,
            )
            watch.add(n, time.perf_counter() - begin)
            tuner.record(n, watch.seconds_a_step)
            done += n
            steps -= n

    return Local(name, run)


class Arena:
    """Objects that all cases of a benchmark use: the library of the floor, peers and options.

    Attributes:
        library: the library that `floor.library` returns; None without a C compiler.
        blas: the address that `floor.openblas` returns; None without OpenBLAS.
    """

    def __init__(self, peers: Peers, options: Any) -> None:
        self.peers, self.options = peers, options
        self.library, self.blas = library(), openblas(peers.openblas())
        if self.library is None:
            print("no C compiler: without the floor")
        elif self.blas is None:
            print("no scipy-openblas32 among the peers: the floor by our own product only")

    def floors(
        self, plan: Callable[[Floor], Floor], threads: int, own: bool = True
    ) -> list[Contestant]:
        """Return the floors that can run here, as contestants.

        "floor" uses OpenBLAS; "floor, own product", only if `own`, uses `ep_gemm`.
        """
        found: list[Contestant] = []
        if self.library is not None and self.blas is not None:
            found.append(Local("floor", plan(Floor(self.library, self.blas, threads)).run))
        if self.library is not None and own:
            product = plan(Floor(self.library, None, threads))
            found.append(Local("floor, own product", product.run))
        return found

    def time(self, contestants: list[Contestant], threads: int) -> Times:
        """Time the contestants in turn."""
        trip = trip_of(self.library, threads)
        return contest(contestants, self.options.rounds, self.options.seconds, trip)


def row_of(times: Times) -> dict[str, Any]:
    """Return statistics of each contestant's times, and median ratios to our time."""
    return {
        "ms": {name: spread(samples) for name, samples in times.items()},
        "times_ours": against(times),  # above 1: ours is faster
        **times.facts(),
    }


def against(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the times of all other contestants as multiples of our time."""
    return {name: ratio(of, times["ours"]) for name, of in times.items() if name != "ours"}

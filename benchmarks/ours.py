"""Training by evoprune, timed as a contestant by bench_step and bench_layers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rounds import Local

RATE, DECAY = 1e-4, 0.5


def training(
    name: str, net: Any, data: Any, batch: int, threads: int, *, selected: bool = True
) -> Local:
    """Train a network on a data set, on the fastest number of threads up to the given one.

    Stretches of steps and threads are chosen as in `Trainer.fit`; nothing is recorded. With
    selection, fitness and a generation of the default dynamics run at every step; masses hardly
    change (strength 1e-9), so that no population dies during timing.
    """
    import evoprune as ep
    from evoprune.training.run import ThreadTuner, Watch

    net.scale_input(data.shift, data.scale)
    selection = ep.Selection()
    net.configure(
        optimizer="adamw",
        optimizer_config={"decay": DECAY},
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

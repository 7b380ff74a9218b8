"""Our own training as a contestant: what bench_step and bench_layers time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rounds import Local

RATE, DECAY = 1e-4, 0.5


def training(
    name: str, net: Any, data: Any, batch: int, threads: int, *, selected: bool = True
) -> Local:
    """Steps of a network on a data set, on as many threads, up to those given, as make it fast.

    Stretches of steps and threads are chosen as `Trainer.fit` chooses them; nothing is recorded.
    Selected: fitness and a generation of the default dynamics at every step, masses all but still
    (strength 1e-9), so that nobody dies while the clock runs.
    """
    import evoprune as ep
    from evoprune.training.run import Crew, Watch

    net.scale_input(data.shift, data.scale)
    selection = ep.Selection()
    net.configure(
        optimizer="adamw",
        optimizer_config={"decay": DECAY},
        selection=selection.config() if selected else None,
    )
    done, watch, crew = 0, Watch(), Crew()

    def run(steps: int) -> None:
        nonlocal done
        ep.set_threads(threads)
        while steps > 0:
            hired, n = crew.hire(), min(steps, max(1, watch.steps // crew.haste))
            begin = time.perf_counter()
            net.core.train(
                data.x,
                data.y,
                batch=batch,
                first=done,
                rate=np.full(n, RATE),
                pressure=selection.pressures(n),
                strength=np.full(n, 1e-9),
                threads=hired,
            )
            watch.add(n, time.perf_counter() - begin)
            crew.paid(n, watch.seconds_a_step)
            done += n
            steps -= n

    return Local(name, run)

"""Time one turn, in our process or a peer's: imports neither evoprune nor the peers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

WARM = 0.2  # warm-up before the timing, as a share of the turn


class Turn(NamedTuple):
    """The measurements of a turn."""

    ms: float  # milliseconds per call
    busy: float  # processors that this process kept busy
    others: float  # processors that other work used; 0 if unknown


def turn(run: Callable[[int], Any], seconds: float) -> Turn:
    """Time run(n), which makes n calls, for about `seconds`."""
    n, spent = 1, 0.0
    while True:  # warm up, and find how many calls fit into the time
        begin = time.perf_counter()
        run(n)
        last = time.perf_counter() - begin
        spent += last
        if spent >= WARM * seconds:
            break
        n = max(n, min(8 * n, int(n * 0.5 * WARM * seconds / max(last, 1e-7))))
    n = max(1, round(n * seconds / max(last, 1e-7)))
    everybody, own, begin = working(), time.process_time(), time.perf_counter()
    run(n)
    wall, busy = time.perf_counter() - begin, time.process_time() - own
    others = max(0.0, working() - everybody - busy)
    return Turn(1000 * wall / n, busy / wall, others / wall)


def working() -> float:
    """Return the busy seconds of all processors, summed, since the start of the system.

    Linux counts them in steps of 10 ms; other systems return 0.
    """
    try:
        with Path("/proc/stat").open(encoding="ascii") as file:
            numbers = [int(text) for text in file.readline().split()[1:9]]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, soft, steal = numbers
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")

"""Time of a season in which populations are born, in training steps of the same network.

A season is the generation in which births happen, once in `Births(every=...)` generations. Every
turn starts from the same network and trains three segments of equal length: without births, with
births at every fifth step, without births again. The difference to the mean of the first and the
last is the time of the seasons, and does not contain that of the larger network's steps. Times are
processor times of one thread, which other work on the machine affects least.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import common
import numpy as np
from common import Result

EVERY, NEVER, SEASONS, BATCH = 5, 10**9, 4, 128
STEPS = EVERY * SEASONS
CASES = {
    "mlp 784-512-256-10": lambda: networks().mlp(784, 512, 256, 10, seed=0),
    "lenet5": lambda: networks().lenet5(seed=0),
}
KINDS = ("division", "immigration")


def networks() -> Any:
    """Return the package, imported late so that --help is fast."""
    import evoprune as ep

    return ep


@dataclass
class Seasons:
    """Times turns of a network with births of one kind.

    Attributes:
        make: makes the network.
        share: births in a season, as a share of the founders.
    """

    make: Callable[[], Any]
    kind: str
    share: float
    x: Any
    y: Any

    def segment(self, net: Any, every: int) -> float:
        """Train STEPS steps with births once in `every` generations; return processor seconds."""
        ep = networks()
        births = ep.Births(self.share / EVERY, kind=self.kind, capacity=2, every=every)
        selection = ep.Selection(1.0, births=births, min_age=10**6)
        net.configure(selection=selection.config())
        ones = np.ones(STEPS)
        begin = time.process_time()
        net.core.train(
            self.x, self.y, batch=BATCH, first=0, rate=1e-3 * ones, pressure=ones, strength=ones,
            threads=1, keep=False,
        )  # fmt: skip
        return time.process_time() - begin

    def turn(self) -> dict[str, float]:
        """Return ms of a season, ms of a step, and the number of births in a season."""
        net = self.make()
        for _ in range(2):  # warm up
            self.segment(net, EVERY)
        before = self.segment(net, NEVER)
        n = sum(net.ever_born.values())
        during = self.segment(net, EVERY)
        after = self.segment(net, NEVER)
        plain = (before + after) / 2
        return {
            "season": 1000 * (during - plain) / SEASONS,
            "step": 1000 * plain / STEPS,
            "births": (sum(net.ever_born.values()) - n) / SEASONS,
        }


def main() -> None:
    options = common.options(__doc__, rounds=(25, 2))
    ep = networks()
    train, _ = ep.datasets.mnist()
    x, y = train.x[: STEPS * BATCH], train.y[: STEPS * BATCH]
    result = Result("births", options, every=EVERY, batch=BATCH, rounds=options.rounds)
    timed: dict[tuple[str, str, float], Seasons] = {
        (name, kind, share): Seasons(make, kind, share, *shaped(make(), x, y))
        for name, make in CASES.items()
        if options.only in name
        for kind in KINDS
        for share in (0.002, 0.01)
    }
    turns: dict[tuple[str, str, float], list[dict[str, float]]] = {key: [] for key in timed}
    for i in range(options.rounds):
        order = list(timed)
        for key in order if i % 2 else order[::-1]:
            turns[key].append(timed[key].turn())
    for (name, kind, share), rows in turns.items():
        steps = [row["season"] / row["step"] for row in rows]
        found = {what: common.spread([row[what] for row in rows]) for what in rows[0]}
        found["steps"] = common.spread(steps)
        births = statistics.mean(row["births"] for row in rows)
        result.add(case=name, kind=kind, share=share, births=births, ms=found)
        print(
            f"{name:20} {kind:12} {births:5.1f} births: {found['season']['median']:6.2f} ms, "
            f"{found['steps']['median']:.2f} steps of {found['step']['median']:.2f} ms"
        )
    result.close()


def shaped(net: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Return the data as the network's core takes them."""
    return np.ascontiguousarray(x.reshape(len(x), *net.spec["input"]), np.float32), y


if __name__ == "__main__":
    main()

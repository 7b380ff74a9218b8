"""The game of arXiv 2512.22106 (Shah & Khan): players increase their own utility.

Players are the neurons of 784-512-256-10, and a player's strategy s is its mass. Runs train on
MNIST for 20 epochs of batch 128, by Adam at 1e-3 without weight decay, with five seeds. A player's
benefit is either `marginal`, -dL/ds (how fast the loss L falls as s grows), or `product`,
+<w, dL/dw> with the player's weights w (the formula of that article). `product` has the opposite
sign: it rewards players whose growth raises the loss. A player's costs are beta |w|^2 s^2 and
gamma s; players with s below 0.01 are removed.
"""

from __future__ import annotations

from dataclasses import replace

import lab
from jobs import Job
from lab import Lab

SEEDS = 5
COSTS = ((1e-4, 0.0), (1e-2, 0.0), (0.0, 1e-3), (0.0, 1e-2))
SIGNS = ("marginal", "product")


def player(sign: str, beta: float, gamma: float, **changes: float) -> Job:
    """Return a job that runs the game with the benefit `sign` and these costs."""
    law = ["BestResponse", {"beta": beta, "gamma": gamma}]
    selection = {"pressure": 0.0, "dynamics": law, "fitness": sign, "threshold": 0.01}
    return replace(Job(selection=selection, rate=1e-3, decay=0.0), **changes)


def script(lab_: Lab) -> None:
    told = []
    for sign in SIGNS:
        for beta, gamma in COSTS:
            rows = lab_.run(player(sign, beta, gamma, seed=seed) for seed in lab_.seeds(SEEDS))
            told.append({"sign": sign, "beta": beta, "gamma": gamma, **lab.summary(rows)})
            lab_.write(game=told)


if __name__ == "__main__":
    lab.main("game", __doc__, script)

"""How the settings of the long runs were chosen: on 5,000 images held out of the training set.

784-512-256-10 on 55,000 images of MNIST, two seeds each; the test set is not read here. What the
other scripts take over is said in their first lines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lab
from lab import Job, Lab

SEEDS = 2


def long(pressure: float, lifespan: float, epochs: int = 60, **changes: Any) -> Job:
    """A long run under the default law."""
    selection = {"pressure": pressure, "dynamics": ["Malthusian", {"lifespan": lifespan}]}
    selection |= changes.pop("selection", {})
    return Job(**{"selection": selection, "epochs": epochs, "read": "held", **changes})


JOBS = {
    "60 epochs": long(1, 2000),
    "smoothing .1": long(1, 2000, smoothing=0.1),
    "smoothing .1, pressure 2": long(2, 2000, smoothing=0.1),
    "smoothing .1, pressure 2, rest .2": long(2, 2000, smoothing=0.1, selection={"rest": 0.2}),
    "smoothing .1, pressure 2, batch 64": long(2, 2000, batch=64, smoothing=0.1),
    "smoothing .1, decay 1": long(1, 2000, decay=1.0, smoothing=0.1),
    "batch 64": long(1, 2000, batch=64),
    "shift 1": long(1, 2000, shift=1),
    "shift 1, pressure 2": long(2, 2000, shift=1),
    "shift 1, pressure 3": long(3, 2000, shift=1),
    "shift 1, pressure 5": long(5, 2000, shift=1),
    "shift 1, pressure 8": long(8, 2000, shift=1),
    "pressure 3": long(3, 2000),
    "shift 1, smoothing .1, pressure 2": long(2, 2000, smoothing=0.1, shift=1),
    "pixels too, 60 epochs": long(1, 2000, net="seeing 784-300-100-10"),
    "pixels too, shift 1": long(1, 2000, net="seeing 784-300-100-10", shift=1),
    "pixels too, shift 1, pressure 3": long(3, 2000, net="seeing 784-300-100-10", shift=1),
}


def script(lab_: Lab) -> None:
    told = []
    for name, job in JOBS.items():
        rows = lab_.run(replace(job, seed=seed) for seed in lab_.seeds(SEEDS))
        found = lab.summary(rows)
        told.append({"settings": name, "job": job.told(), **found})
        layers = "+".join(f"{n:.0f}" for n in found["layers"])
        print(f"{100 * found['accuracy']:.2f} % @ {found['alive']:.0f} ({layers})  {name}")
        lab_.write(held_out_accuracy=told)


if __name__ == "__main__":
    lab.main("explore", __doc__, script)

"""Choose the settings of long runs on 5,000 validation images of the training set.

Each run trains 784-512-256-10 on 55,000 images of MNIST, with two seeds; the test set is not read
here. goal.py and front.py run the chosen settings and read the test set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lab
from jobs import Job
from lab import Lab

SEEDS = 2
ONE_NICHE = {"niche": "network"}


def long(pressure: float, lifespan: float, epochs: int = 60, **changes: Any) -> Job:
    """Return a long run under the default dynamics; `law=` gives further settings of dynamics."""
    settings = {"lifespan": lifespan, **changes.pop("law", {})}
    selection = {"pressure": pressure, "dynamics": ["Malthusian", settings]}
    selection |= changes.pop("selection", {})
    return Job(**{"selection": selection, "epochs": epochs, "read": "held", **changes})


def seeing(lifespan: float = 2000, pressure: float = 2, shift: int = 1, **changes: Any) -> Job:
    """Return a run in which pixels and neurons are in one niche, on randomly shifted images."""
    changes = {"selection": ONE_NICHE, "net": "seeing 784-300-100-10", "shift": shift, **changes}
    return long(pressure, lifespan, **changes)


SEEING = {
    "shift 2": seeing(shift=2),
    "rate 1e-3": seeing(4000, rate=1e-3),
    "rate 4e-3": seeing(rate=4e-3),
    "decay .1": seeing(decay=0.1),
    "decay 1": seeing(decay=1.0),
    "batch 64": seeing(4000, batch=64),
    "smoothing .1": seeing(smoothing=0.1),
    "ceiling 10": seeing(law={"ceiling": 10}),
    "ceiling 20": seeing(law={"ceiling": 20}),
    "ceiling 10, rate 4e-3": seeing(rate=4e-3, law={"ceiling": 10}),
    "ceiling 10, 240 epochs": seeing(8000, epochs=240, law={"ceiling": 10}),
    "ceiling 20, 240 epochs": seeing(8000, epochs=240, law={"ceiling": 20}),
    "ceiling 10, 240 epochs, pressure 2.4": seeing(8000, 2.4, epochs=240, law={"ceiling": 10}),
    "ceiling 10, 240 epochs, pressure 2.4, rate 4e-3": seeing(
        8000, 2.4, epochs=240, rate=4e-3, law={"ceiling": 10}
    ),
}
JOBS = {
    "60 epochs, pressure 1.5": long(1.5, 2000),
    "pressure 2": long(2, 2000),
    "pressure 3": long(3, 2000),
    "pressure 3, lifespan 4000": long(3, 4000),
    "pressure 4, lifespan 4000": long(4, 4000),
    "pressure 3, ceiling 10": long(3, 2000, law={"ceiling": 10}),
    "pressure 3, lifespan 4000, ceiling 10": long(3, 4000, law={"ceiling": 10}),
    "pressure 3, smoothing .1": long(3, 2000, smoothing=0.1),
    "pressure 3, decay .2": long(3, 2000, decay=0.2),
    "pressure 3, decay 1": long(3, 2000, decay=1.0),
    "pressure 3, batch 64": long(3, 4000, batch=64),
    "pressure 3, worth": long(3, 2000, selection={"fitness": "worth"}),
    "shift 1, pressure 2": long(2, 2000, shift=1),
    "shift 1, pressure 3": long(3, 2000, shift=1),
    "shift 1, pressure 4": long(4, 2000, shift=1),
    "shift 1, 120 epochs, pressure 3, lifespan 4000": long(3, 4000, 120, shift=1),
    "shift 1, 120 epochs, pressure 4, lifespan 4000": long(4, 4000, 120, shift=1),
    "pixels too, pressure 1.5": long(1.5, 2000, net="seeing 784-300-100-10"),
    "pixels too, pressure 2": long(2, 2000, net="seeing 784-300-100-10"),
    "pixels too, shift 1, pressure 1.5": long(1.5, 2000, net="seeing 784-300-100-10", shift=1),
    "pixels too, shift 1, pressure 2": long(2, 2000, net="seeing 784-300-100-10", shift=1),
    **{
        f"pixels too, shift 1, {epochs} epochs, one niche, pressure {p:g}, lifespan {span}": long(
            p, span, epochs, selection=ONE_NICHE, net="seeing 784-300-100-10", shift=1
        )
        for p, span, epochs in ((2, 2000, 60), (2.2, 8000, 240), (2.4, 8000, 240))
    },
    **{f"the first of these, {name}": job for name, job in SEEING.items()},
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

"""Ablations: the effect of single settings on survival and accuracy.

Each run trains 784-512-256-10 on 55,000 images of MNIST, with the defaults except for the named
setting, and is evaluated on 5,000 validation images; there are five seeds. Soft upkeep compares
populations within a layer, so any fitness works under the same pressure, whatever its unit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lab
from jobs import Job
from lab import Lab

SEEDS = 5


def under(**settings: Any) -> Job:
    """Return a job under selection with these settings, evaluated on validation images."""
    return Job(selection=settings, read="held")


def law(name: str, **settings: Any) -> dict[str, Any]:
    return {"dynamics": [name, settings]}


SIGNALS = (
    "taylor", "worth", "marginal", "relative", "gradient", "magnitude", "activity", "pull"
)  # fmt: skip

ABLATIONS: dict[str, dict[str, Job]] = {
    "pressure": {f"{p:g}": under(pressure=p) for p in (0.5, 1, 1.5, 2, 3)},
    "upkeep": {unit: under(upkeep=unit) for unit in ("soft", "macs", "params", "uniform")},
    "fitness": {name: under(fitness=name) for name in SIGNALS},
    "sign of fitness (macs)": {
        "-dL/dm": under(upkeep="macs"),
        "|dL/dm|": under(upkeep="macs", fitness="absolute"),
        "+dL/dm": under(upkeep="macs", fitness="against"),
    },
    "niche": {niche: under(niche=niche) for niche in ("layer", "network")},
    "niche (replicator)": {
        niche: under(**law("Replicator"), niche=niche) for niche in ("layer", "network")
    },
    "ceiling": {f"{most}": under(**law("Malthusian", ceiling=most)) for most in (1, 2, 5, 10, 30)},
    "lifespan": {
        f"{span}": under(**law("Malthusian", lifespan=span)) for span in (175, 350, 700, 1400, 2800)
    },
    "clock": {clock: under(clock=clock) for clock in ("rate", "steps")},
    "raw growth (macs), strength": {
        f"{h}": under(**law("Malthusian", growth="raw", strength=h)) for h in (1, 10, 100)
    },
    "decay": {
        f"{decay:g}": replace(under(), decay=decay) for decay in (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
    },
    "memory": {f"{memory:g}": under(memory=memory) for memory in (0.0, 0.5, 0.9, 0.99)},
    "threshold": {f"{at:g}": under(threshold=at) for at in (0.1, 1e-2, 1e-3, 1e-4)},
    "batch": {f"{batch}": replace(under(), batch=batch) for batch in (64, 128, 256, 512)},
    "removal": {"removed": under(), "masks": under(removal="never")},
}


def script(lab_: Lab) -> None:
    told: dict[str, Any] = {}
    for what, jobs in ABLATIONS.items():
        told[what] = {}
        for name, job in jobs.items():
            rows = lab_.run(replace(job, seed=seed) for seed in lab_.seeds(SEEDS))
            told[what][name] = lab.summary(rows)
        lab_.write(ablations=told)


if __name__ == "__main__":
    lab.main("decides", __doc__, script)

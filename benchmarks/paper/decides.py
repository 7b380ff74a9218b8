"""What decides who survives, and how well: one setting changed at a time.

784-512-256-10 on 55,000 images of MNIST, the defaults but for what is named, two seeds, read on
the 5,000 images held out. A fitness other than the marginal one is not in nats per unit of mass, so
that upkeep means something else for it: those are run under several pressures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lab
from lab import Job, Lab

SEEDS = 2
PRESSURE = 0.15


def under(**settings: Any) -> Job:
    """A run on the held-out split under the default selection with these settings changed."""
    return Job(selection=settings, read="held")


def law(name: str, **settings: Any) -> dict[str, Any]:
    return {"dynamics": [name, settings]}


def signals() -> dict[str, Job]:
    """Each fitness under pressures from the default to a thousand times as much."""
    jobs = {"marginal, x 1": under()}
    for name, factors in {
        "relative": (0.1, 1),
        "taylor": (1, 10),
        "gradient": (1, 100),
        "magnitude": (100, 1000),
        "activity": (100, 1000),
        "pull": (1, 10),
    }.items():
        for factor in factors:
            jobs[f"{name}, x {factor}"] = under(fitness=name, pressure=PRESSURE * factor)
    return jobs


ABLATIONS: dict[str, dict[str, Job]] = {
    "sign of fitness": {
        "-dL/dm": under(),
        "|dL/dm|": under(fitness="absolute"),
        "+dL/dm": under(fitness="against"),
    },
    "fitness": signals(),
    "niche (replicator)": {
        "layer": under(**law("Replicator")),
        "network": under(**law("Replicator"), niche="network"),
    },
    "upkeep": {unit: under(upkeep=unit) for unit in ("macs", "params", "uniform")},
    "decay": {
        f"{decay:g}": replace(under(), decay=decay) for decay in (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
    },
    "lifespan": {
        f"{span}": under(**law("Malthusian", lifespan=span)) for span in (175, 350, 700, 1400, 2800)
    },
    "raw growth, strength": {
        f"{h}": under(**law("Malthusian", growth="raw", strength=h)) for h in (1, 10, 100)
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

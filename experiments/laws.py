"""The experiment of arXiv 2601.10765: pruning after training, and extinction in training.

Runs train 784-512-256-10 on MNIST with the defaults and five seeds. The first part runs every
dynamics with its default fitness and upkeep, the default dynamics also with hard upkeep, and a
dense network. It measures accuracy after training, and after 0 to 95 % of the 768 populations are
pruned, ranked by mass (in the dense network: by norm, by Taylor score or at random). Extinct
populations are removed during training; two dynamics are also run as in that article, where no
population dies during training. The second part varies pressure from 0.03 to 5. The controls of
each run are the surviving shape trained from scratch, and a dense network pruned by norm and at
random.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lab
from jobs import Job
from lab import Lab

LAWS: dict[str, dict[str, Any] | None] = {
    "Malthusian": {},
    "Malthusian, upkeep in nats": {"upkeep": "macs"},
    "Replicator": {"dynamics": ["Replicator", {}]},
    "ReplicatorMutator": {"dynamics": ["ReplicatorMutator", {}]},
    "Logistic": {"dynamics": ["Logistic", {}]},
    "LotkaVolterra": {"dynamics": ["LotkaVolterra", {}]},
    "WrightFisher": {"dynamics": ["WrightFisher", {}]},
    "Moran": {"dynamics": ["Moran", {}]},
    "NoisyGrowth": {"dynamics": ["NoisyGrowth", {}]},
    "BestResponse": {"dynamics": ["BestResponse", {}]},
    "NoDynamics": None,
}
KEPT = ("Malthusian", "Replicator")  # also run without extinctions, as in arXiv 2601.10765
BORN = 768
FRACTIONS = [i / 100 for i in range(0, 100, 5)]
KEEPS = tuple(BORN - round(fraction * BORN) for fraction in FRACTIONS)
PRESSURES = (0.03, 0.3, 1.0, 1.5, 2.0, 3.0, 5.0)
SEEDS = 5
NEVER = 10**9  # a min_age at which no population dies


def curve(rows: list[lab.Row], by: str) -> dict[str, list[float]]:
    """Return mean and deviation of accuracy after pruning each of FRACTIONS, ranked by `by`."""
    at = [[row["cuts"][by][i]["accuracy"] for row in rows] for i in range(len(KEEPS))]
    return {"accuracy": [lab.mean(a) for a in at], "deviation": [lab.deviation(a) for a in at]}


def laws(lab_: Lab) -> None:
    """Run and prune every dynamics; write the results of each dynamics when its runs are done."""
    told: dict[str, Any] = {}
    for name, age in [(law, None) for law in LAWS] + [(law, NEVER) for law in KEPT]:
        selection = LAWS[name]
        if selection is not None and age is not None:
            selection = selection | {"min_age": age}
        by = ("mass",) if selection is not None else ("norm", "taylor", "random")
        job = Job(selection=selection, cuts=by, keeps=KEEPS)
        rows = lab_.run(replace(job, seed=seed) for seed in lab_.seeds(SEEDS))
        for way in by:
            shown = name if selection is not None else f"dense, by {way}"
            told[shown + (", no extinctions" if age else "")] = {
                **lab.summary(rows),
                "cut": curve(rows, way),
            }
        lab_.write(laws=told)


def pressures(lab_: Lab) -> list[dict[str, Any]]:
    """Run selection at several pressures, with controls."""
    groups = lab.groups_of(lab_, (Job(selection={"pressure": p}) for p in PRESSURES), SEEDS)
    beside = lab.controls(lab_, groups)
    return [
        {"pressure": p, "ours": lab.summary([row for _, row in group]), **control}
        for p, group, control in zip(PRESSURES, groups, beside, strict=True)
    ]


def script(lab_: Lab) -> None:
    lab_.write(fractions=FRACTIONS, pressures=pressures(lab_))
    laws(lab_)


if __name__ == "__main__":
    lab.main("laws", __doc__, script)

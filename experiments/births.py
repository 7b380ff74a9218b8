"""Growth by births on MNIST, against selection without births and against controls.

All methods use batch 128, AdamW as tuned for selection in controls.py, and the same steps and data
order; the test set is read once, after the last epoch.

- grown: 784-32-16-10 with births by division, which grows to its final shape.
- turnover: 784-512-256-10 with births, at a pressure under which about a quarter survives.
- selection: 784-512-256-10 without births, which shrinks to its final shape.
- gradual, from scratch: methods of controls.py that get the final shape of `grown`.
- gradual of selection's: the method `gradual` with the final shape of `selection`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import controls
import lab
from lab import Job, Lab, Row

import evoprune as ep

SEEDS, EPOCHS = 3, 10
RATE, DECAY = 2e-3, 0.5
GROWN = ep.Selection(0.15, births=ep.Births(capacity=8, every=50))
TURNOVER = ep.Selection(4.0, births=ep.Births(mutation=0.3))
PLAIN = ep.Selection(1.5)
METHODS = {
    "grown": ("mlp 784-32-16-10", GROWN),
    "turnover": ("mlp 784-512-256-10", TURNOVER),
    "selection": ("mlp 784-512-256-10", PLAIN),
}


def trained(job: Job, selection: ep.Selection, train: Any) -> tuple[ep.Network, ep.History]:
    """Train the network of a job under a selection; return network and history."""
    net = lab.network_of(job)
    optimizer = ep.AdamW(job.rate, weight_decay=job.decay)
    trainer = ep.Trainer(net, selection=selection, optimizer=optimizer)
    return net, trainer.fit(train, epochs=job.epochs, batch_size=job.batch, progress=False)


def measured(job: Job, quick: bool) -> dict[str, Row]:
    """Run every method with one seed; return accuracy, size and training cost of each network."""
    train, test = lab.data_of("mnist", "test", quick)
    found: dict[str, Row] = {}
    for name, (net_name, selection) in METHODS.items():
        net, history = trained(replace(job, net=net_name), selection, train)
        found[name] = lab.facts(net, test) | {
            "births": len(history.births),
            "deaths": len(history.extinctions),
            "seconds": history["seconds"][-1],
            "mean_macs": float(history["macs"].mean()),
        }
    large = replace(job, net="mlp 784-512-256-10")
    for name, of in (("gradual", "grown"), ("gradual of selection's", "selection")):
        told = controls.Found(found[of])
        found[name] = lab.facts(controls.gradual(large, train, told).net, test)
    told = controls.Found(found["grown"])
    found["from scratch"] = lab.facts(controls.from_scratch(large, train, told).net, test)
    return found


def script(lab_: Lab) -> None:
    epochs = 2 if lab_.options.quick else EPOCHS
    rows = []
    for seed in lab_.seeds(SEEDS):
        job = Job(rate=RATE, decay=DECAY, epochs=epochs, seed=seed)
        rows.append({"seed": seed, **measured(job, lab_.options.quick)})
        lab_.write(runs=rows)
    told = {name: lab.summary([row[name] for row in rows]) for name in rows[0] if name != "seed"}
    pairs = (
        ("grown", "gradual"), ("grown", "from scratch"), ("turnover", "selection"),
        ("selection", "gradual of selection's"),
    )  # fmt: skip
    for ours, other in pairs:
        gaps = [row[ours]["accuracy"] - row[other]["accuracy"] for row in rows]
        told[ours][f"minus {other}"] = lab.mean(gaps)
        told[ours][f"standard error to {other}"] = lab.deviation(gaps) / len(gaps) ** 0.5
    lab_.write(runs=rows, summary=told)


if __name__ == "__main__":
    lab.main("births", __doc__, script)

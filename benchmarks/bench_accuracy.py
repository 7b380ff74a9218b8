"""Accuracy and size on MNIST with the defaults, after the last epoch, for several seeds.

The settings are those of `evoprune train mnist`: 784-512-256-10, 20 epochs of batch 128, AdamW at
2e-3 with a cosine schedule, weight decay 0.5, and the default selection. The controls are the same
training without selection ("dense"), and that dense network pruned after training to the same
number of populations, by L2 norm and at random. Test data is read after the last epoch and affects
no choice.
"""

from __future__ import annotations

import time
from typing import Any

import common
import numpy as np
from common import Result

WIDTHS = (784, 512, 256, 10)
BATCH, RATE, DECAY = 128, 2e-3, 0.5
ASKED = {"accuracy": 0.983, "extinct": 0.75}  # targets for the means over the seeds


def trained(train: Any, epochs: int, seed: int, pressure: float | None) -> tuple[Any, float]:
    """Return a trained network and the training time in seconds; `pressure` None: no selection."""
    import evoprune as ep

    net = ep.mlp(*WIDTHS, seed=seed)
    selection = None if pressure is None else ep.Selection(pressure=pressure)
    trainer = ep.Trainer(net, optimizer=ep.AdamW(RATE, weight_decay=DECAY), selection=selection)
    begin = time.perf_counter()
    trainer.fit(train, epochs=epochs, batch_size=BATCH, progress=False)
    return net, time.perf_counter() - begin


def facts(net: Any, test: Any) -> dict[str, Any]:
    """Return accuracy and size of a network."""
    return {
        "accuracy": net.evaluate(test).accuracy,
        "alive": list(net.alive.values()),
        "macs": net.macs,
        "parameters": net.parameters,
    }


def controls(net: Any, alive: list[int], test: Any) -> dict[str, dict[str, Any]]:
    """Return accuracy and size of `net` (dense), and of copies pruned to `alive` in two ways."""
    found = {"dense": facts(net, test)}
    for by in ("norm", "random"):
        cut = net.copy()
        cut.prune(keep=dict(zip(cut.alive, alive, strict=True)), by=by)
        found[f"dense, cut by {by}"] = facts(cut, test)
    return found


def main() -> None:
    import evoprune as ep

    usual = ep.Selection().pressure
    options = common.options(
        __doc__, seeds=(5, 1), epochs=(20, 3), pressure=(usual, usual), controls=(1, 1)
    )
    epochs, pressure = options.epochs, options.pressure
    train, test = ep.datasets.mnist()
    born = sum(WIDTHS[1:-1])
    result = Result("accuracy", options, epochs=epochs, selection=repr(ep.Selection(pressure)))
    for seed in range(options.seeds):
        net, seconds = trained(train, epochs, seed, pressure)
        row: dict[str, Any] = {"ours": {**facts(net, test), "seconds": seconds}}
        if options.controls:
            dense, seconds = trained(train, epochs, seed, None)
            row |= controls(dense, row["ours"]["alive"], test)
            row["dense"]["seconds"] = seconds
        for name, of in row.items():
            took = f", {of['seconds']:.1f} s" if "seconds" in of else ""
            shape = "+".join(map(str, of["alive"]))
            print(
                f"seed {seed}  {name:22} {100 * of['accuracy']:.2f} %  {shape} of {born} alive, "
                f"{of['macs'] / 1000:.0f} k MAC{took}",
                flush=True,
            )
        result.add(seed=seed, **row)
    rows = result.facts["rows"]
    summary = {
        name: {
            "accuracy": float(np.mean([row[name]["accuracy"] for row in rows])),
            "deviation": float(np.std([row[name]["accuracy"] for row in rows])),
            "extinct": float(np.mean([1 - sum(row[name]["alive"]) / born for row in rows])),
            "macs": float(np.mean([row[name]["macs"] for row in rows])),
        }
        for name in rows[0]
        if name != "seed"
    }
    for name, of in summary.items():
        print(
            f"mean    {name:22} {100 * of['accuracy']:.2f} % (deviation "
            f"{100 * of['deviation']:.2f}), {100 * of['extinct']:.1f} % extinct, "
            f"{of['macs'] / 1000:.0f} k MAC"
        )
    met = all(summary["ours"][name] >= least for name, least in ASKED.items())
    print(
        f"asked: {100 * ASKED['accuracy']:.1f} % with {100 * ASKED['extinct']:.0f} % extinct: "
        f"{'met' if met else 'NOT met'}"
    )
    result.write(summary=summary, asked=ASKED, met=met)
    result.close()


if __name__ == "__main__":
    main()

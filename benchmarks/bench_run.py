"""Time of a whole run: the paper's network on MNIST, ours under selection against PyTorch dense.

All runs train 784-512-256-10 at batch 128 by AdamW with a cosine schedule, and measure accuracy on
the test set after every epoch. Ours is `Trainer.fit` as a user calls it, which records the history
of every population. PyTorch is eager, with batches by index and the fused optimizer; its network
stays dense. Contestants take turns: a round is one run of each with the same seed. Quick runs have
2 epochs, too few for any extinction: they test the script, not the speed.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Result, exported, spread
from ours import against
from rounds import PAUSE, Peers

WIDTHS = (784, 512, 256, 10)
BATCH, RATE, DECAY = 128, 2e-3, 0.5


def ours(train: Any, test: Any, epochs: int, seed: int, selected: bool) -> dict[str, Any]:
    """Run our training once; return seconds, accuracy by epoch and the remaining size."""
    import evoprune as ep

    net = ep.mlp(*WIDTHS, seed=seed)
    selection = ep.Selection() if selected else None
    trainer = ep.Trainer(net, optimizer=ep.AdamW(RATE, weight_decay=DECAY), selection=selection)
    begin = time.perf_counter()
    history = trainer.fit(
        train, epochs=epochs, batch_size=BATCH, validation_data=test, progress=False
    )
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "accuracy": [float(a) for a in history["validation_accuracy"]],
        "alive": net.alive,
        "macs": net.macs,
        "ms_per_step": [float(ms) for ms in history["ms_per_step"]],
    }


def main() -> None:
    import evoprune as ep

    options = common.options(__doc__, [2], epochs=(20, 2), rounds=(3, 1))
    epochs, rounds = options.epochs, options.rounds
    if options.quick:
        warnings.simplefilter("ignore", ep.NothingCanDie)
    train, test = ep.datasets.mnist()
    result = Result("run", options, epochs=epochs, rounds=rounds, batch=BATCH, widths=WIDTHS)
    with Peers() as peers, tempfile.TemporaryDirectory() as folder:
        settings = {
            "widths": WIDTHS,
            "batch": BATCH,
            "epochs": epochs,
            "data": exported(train, Path(folder), "train"),
            "test": exported(test, Path(folder), "test"),
            "decay": DECAY,
            "rate": RATE,
        }
        for threads in options.threads:
            ep.set_threads(threads)
            runs: dict[str, list[dict[str, Any]]] = {}
            for seed, name in product(range(rounds), ("ours", "ours, dense", "PyTorch, dense")):
                time.sleep(PAUSE)
                run: dict[str, Any] | None
                if name == "PyTorch, dense":
                    of = {**settings, "seed": seed}
                    run = peers.ask("torch", threads, do="call", call="torch_fit", settings=of)
                else:
                    run = ours(train, test, epochs, seed, name == "ours")
                if run is None:
                    continue
                runs.setdefault(name, []).append(run)
                alive = sum(run["alive"].values()) if "alive" in run else 768
                print(
                    f"{threads} threads, seed {seed}, {name:15} {run['seconds']:7.2f} s, "
                    f"accuracy {100 * run['accuracy'][-1]:.2f} %, {alive} alive",
                    flush=True,
                )
            seconds = {name: [run["seconds"] for run in of] for name, of in runs.items()}
            last = {name: [run["accuracy"][-1] for run in of] for name, of in runs.items()}
            for name, times in against(seconds).items():
                print(f"{threads} threads: {name} takes {times:.2f} x the time of ours")
            result.add(
                threads=threads,
                seconds={name: spread(s) for name, s in seconds.items()},
                times_ours=against(seconds),
                accuracy={name: float(np.mean(of)) for name, of in last.items()},
                runs=runs,
            )
        result.write(peers=peers.versions)
    result.close()


if __name__ == "__main__":
    main()

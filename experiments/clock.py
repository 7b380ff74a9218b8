"""Time to an accuracy: selection against dense training, hand-written masks, and train-prune-tune.

All methods train 784-512-256-10 on MNIST for 20 epochs with the same optimizer and two threads.
They take turns: a round is one run of every method with the same seed. Seconds are those of
training, without the evaluation that follows every epoch. PyTorch runs in an interpreter of its own
(EVOPRUNE_PEERS or .peers/bin/python). Train-prune-tune needs torch-pruning there: it trains for
half of the epochs, prunes by norm to as many neurons as survive in our run, and trains for the
other half.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

import common  # noqa: E402
from common import Result, exported, ratio, spread  # noqa: E402
from rounds import PAUSE  # noqa: E402

WIDTHS = (784, 512, 256, 10)
BATCH, RATE, DECAY = 128, 2e-3, 0.5
PEERS = {"PyTorch, dense": "dense", "PyTorch, masks": "masks", "train, prune, tune": "pruned"}


def ours(train: Any, test: Any, epochs: int, seed: int, selected: bool) -> dict[str, Any]:
    """Train once with evoprune, under selection if `selected`."""
    import evoprune as ep

    net = ep.mlp(*WIDTHS, seed=seed)
    selection = ep.Selection() if selected else None
    trainer = ep.Trainer(net, optimizer=ep.AdamW(RATE, weight_decay=DECAY), selection=selection)
    seconds: list[float] = []
    accuracy: list[float] = []
    begin = time.perf_counter()
    pauses = 0.0

    class Story(ep.Callback):
        def on_epoch_end(self, trainer: Any, row: Any) -> None:
            nonlocal pauses
            pause = time.perf_counter()
            seconds.append(pause - begin - pauses)
            accuracy.append(net.evaluate(test).accuracy)
            pauses += time.perf_counter() - pause

    trainer.fit(train, epochs=epochs, batch_size=BATCH, callbacks=[Story()], progress=False)
    return {"seconds": seconds, "accuracy": accuracy, "alive": list(net.alive.values())}


def theirs(python: Path, threads: int, **request: Any) -> dict[str, Any]:
    """Train once with PyTorch: run clock_peer.py in the interpreter `python`."""
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run(
        [python, str(HERE / "clock_peer.py"), "torch", str(threads)],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | counts,
    )
    if done.returncode:
        print(done.stderr[-2000:])
        return {}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--epochs", type=int, help="20, or 2 with --quick")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out = options.out or (None if options.quick else HERE / "results" / "clock.json")
    epochs = options.epochs or (2 if options.quick else 20)

    import evoprune as ep

    if options.quick:
        import warnings

        warnings.simplefilter("ignore", ep.NothingCanDie)
    ep.set_threads(options.threads)
    named = os.environ.get("EVOPRUNE_PEERS", "")
    python = Path(named) if named else common.ROOT / ".peers" / "bin" / "python"
    train, test = ep.datasets.mnist()
    law = ep.Selection()
    result = Result("clock", options, epochs=epochs, batch=BATCH, rate=RATE, decay=DECAY)
    runs: dict[str, list[dict[str, Any]]] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "widths": WIDTHS,
            "batch": BATCH,
            "rate": RATE,
            "decay": DECAY,
            "epochs": epochs,
            "pressure": law.pressure,
            "lifespan": law.lifespan(),
            "data": exported(train, Path(folder), "train"),
            "test": exported(test, Path(folder), "test"),
        }
        for seed in range(options.rounds or (1 if options.quick else 3)):
            for name in ("ours", "ours, dense", *PEERS):
                if options.only not in name:
                    continue
                time.sleep(PAUSE)
                if name.startswith("ours"):
                    run = ours(train, test, epochs, seed, name == "ours")
                elif not python.exists():
                    continue
                else:
                    keep = sum(runs["ours"][-1]["alive"])
                    asked = {**settings, "run": PEERS[name], "seed": seed, "keep": keep}
                    run = theirs(python, options.threads, **asked)
                    versions |= run.pop("versions", {})
                if not run:
                    continue
                runs.setdefault(name, []).append(run)
                print(
                    f"seed {seed}  {name:20} {run['seconds'][-1]:6.2f} s  "
                    f"{100 * run['accuracy'][-1]:.2f} %  {run['alive']} alive",
                    flush=True,
                )
    seconds = {name: [run["seconds"][-1] for run in of] for name, of in runs.items()}
    for name, of in runs.items():
        result.add(
            name=name,
            seconds=spread(seconds[name]),
            times_ours=ratio(seconds[name], seconds["ours"]),
            accuracy=sum(run["accuracy"][-1] for run in of) / len(of),
            alive=sum(sum(run["alive"]) for run in of) / len(of),
            runs=of,
        )
    result.write(peers=versions, threads=options.threads)
    result.close()


if __name__ == "__main__":
    main()

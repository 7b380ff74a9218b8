"""Compare selection with methods and libraries of others, in PyTorch, on MNIST.

    python experiments/controls_torch.py    needs torch; torch-pruning, fasterai, only-train-once

All methods train 784-512-256-10 from the initial weights that controls.py's runs have for the same
seed, with batch 128, AdamW and a cosine schedule; the order of batches differs from those runs. The
final size should be about that of selection, 69 k multiply-adds. Learning rate, decay and the
method's own strength are chosen on the 5,000 validation images of lab.py: the most accurate run of
at most MOST multiply-adds counts. The test set is read once, after the last epoch.

- L0 gates: a hard concrete gate on every hidden neuron (Louizos, Welling & Kingma 2018), one sample
  of it per batch; the strength is the weight of the expected number of open gates. A neuron whose
  gate is open in fewer than one of 100 batches is removed during training. Gates learn FASTER
  times as fast as weights: at the same rate, 20 epochs are too few for them.
- group penalty: group lasso over the incoming weights of each neuron, by a proximal step after each
  step of AdamW; the strength is its weight, relative to the square root of the group's size.
  Neurons at zero are removed during training, which is exact; the penalty ends at PENALTY_ENDS.
- Torch-Pruning, by magnitude: its MagnitudePruner in STEPS steps, an epoch each; the strength is
  the share of the run before the first. Torch-Pruning, group norm: its GroupNormPruner, which
  regularizes for half of the run and then prunes; the strength is that of its regularizer.
- HESSO: the optimizer of only-train-once, with the pruning schedule that its tutorial recommends;
  the strength is the target sparsity of groups. It trains the whole network, with zeros in it.
- fasterai: its PruneCallback in a Learner of fastai, along its default schedule; the strength is
  the share of neurons to remove.

A library that cannot be imported is listed under "missing". "dropout" after a name: a share of the
inputs is dropped in training. The options are those of lab.py; a script that was stopped continues
when it is started again. Costs are multiply-adds of forward passes of one sample, summed over
epochs, and seconds of processor time in one thread.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import controls_torch_methods as methods
import jobs
import lab
import numpy as np
import torch
from controls_torch_methods import KEPT, Run, linears, macs_of
from jobs import Job, Row
from lab import Lab
from torch import nn

MOST = 75_000  # multiply-adds of a run that may be chosen
SIZES = (784, 512, 256, 10)
CHOSEN_BY = 100  # the seed of the runs that choose settings
LIBRARIES = ("torch", "torch-pruning", "only-train-once", "fastai", "fasterai")


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        run: the function that trains.
        settings: learning rate, decay and strength, to choose from.
        epochs: length of the run.
        dropout: share of the inputs that is dropped in training.
        seeds: number of seeds.
    """

    run: Callable[[Run], nn.Module]
    settings: Sequence[tuple[float, float, float]]
    epochs: int = 20
    dropout: float = 0.0
    seeds: int = 3


def grid(*strengths: float) -> list[tuple[float, float, float]]:
    """Return the rates and decays that controls.py chose for pruning, with each strength."""
    return [(*pair, strength) for pair in ((2e-3, 0.1), (4e-3, 0.1)) for strength in strengths]


METHODS: Mapping[str, Method] = {
    "L0 gates": Method(methods.l0_gates, grid(1e-3, 3e-3), seeds=4),
    "L0 gates, dropout": Method(methods.l0_gates, [(4e-3, 0.1, 1e-3)], 28, 0.3, seeds=4),
    "group penalty": Method(
        methods.group_penalty,
        [*grid(0.03, 0.04), (4e-3, 0.1, 0.02), (2e-3, 0.5, 0.03), (2e-3, 0.5, 0.04)],
    ),
    "Torch-Pruning, by magnitude": Method(methods.magnitude_pruner, grid(0.25, 0.5)),
    "Torch-Pruning, group norm": Method(methods.group_norm_pruner, grid(1e-4)),
    "HESSO": Method(methods.hesso, [(2e-3, 0.1, 0.83), (4e-3, 0.1, 0.83), (2e-3, 0.1, 0.85)]),
    "fasterai": Method(methods.fasterai, grid(1 - KEPT)),
}
NAMES = ("rate", "decay", "strength")


def begun(method: Method, setting: Mapping[str, float], seed: int, data: Any, quick: bool) -> Run:
    """Return a run with the initial weights of controls.py for this seed."""
    torch.manual_seed(seed)
    begin = jobs.network_of(Job(seed=seed))
    modules: list[nn.Module] = [nn.Dropout(method.dropout)] if method.dropout else []
    for i, (inputs, outputs) in enumerate(pairwise(SIZES)):
        layer = nn.Linear(inputs, outputs)
        layer.weight.data = torch.from_numpy(np.array(begin[f"dense{i + 1}.weight"]).T.copy())
        nn.init.zeros_(layer.bias)
        modules += [layer, nn.ReLU()]
    epochs = 2 if quick else method.epochs
    x, y = tensors(data)
    return Run(
        nn.Sequential(*modules[:-1]),
        x,
        y,
        epochs,
        rate=setting["rate"],
        decay=setting["decay"],
        strength=setting["strength"],
    )


def tensors(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalized inputs, and labels."""
    x = (data.x.astype(np.float32) - np.float32(data.shift)) * np.float32(data.scale)
    return torch.from_numpy(x), torch.from_numpy(data.y.astype(np.int64))


def trained(name: str, setting: Mapping[str, float], seed: int, read: str, quick: bool) -> Row:
    """Run a method; return its facts."""
    method = METHODS[name]
    train, test = jobs.data_of("mnist", read, quick)
    run = begun(method, setting, seed, train, quick)
    founding = macs_of(run.net)
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries
        net = method.run(run)
    seconds = time.process_time() - begin
    x, y = tensors(test)
    with torch.inference_mode():
        right = (net.eval()(x).argmax(1) == y).float().mean()
    row = {
        "accuracy": round(float(right), 6),
        "alive": [layer.out_features for layer in linears(net)[:-1]],
        "born": list(SIZES[1:-1]),
        "macs": macs_of(net),
        "founding_macs": founding,
        "parameters": sum(p.numel() for p in net.parameters()),
        "training_macs": run.macs,
        "seconds": seconds,
    }
    alive = "+".join(map(str, row["alive"]))
    print(
        f"{seed}: {100 * row['accuracy']:.2f} % @ {alive}, {row['macs'] / 1e3:.1f} k, "
        f"{run.macs / 1e6:.1f} M, {seconds:.0f} s  {name}, {setting}",
        flush=True,
    )
    return row


def best(rows: Sequence[Row]) -> Row:
    """Return the most accurate row that is small enough; if there is none, the smallest row."""
    small = [row for row in rows if row["macs"] <= MOST]
    if small:
        return max(small, key=lambda row: (row["accuracy"], -row["macs"]))
    return min(rows, key=lambda row: row["macs"])


def chosen(name: str, lab_: Lab, tuned: list[Row]) -> dict[str, float]:
    """Return the setting of a method, chosen on validation images."""
    quick, method = lab_.options.quick, METHODS[name]
    for values in method.settings[:1] if quick else method.settings:
        setting = dict(zip(NAMES, values, strict=True))
        told = {"method": name, **setting}
        if not any(told.items() <= row.items() for row in tuned):
            lab_.check_time()
            tuned.append({**told, **trained(name, setting, CHOSEN_BY, "held", quick)})
            lab_.write(tuned=tuned)
    found = best([row for row in tuned if row["method"] == name])
    return {key: found[key] for key in NAMES}


def script(lab_: Lab) -> None:
    tuned: list[Row] = list(lab_.facts.get("tuned", ()))
    known = {row["seed"]: row for row in lab_.facts.get("runs", ())}
    settings: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name in METHODS:
        try:
            settings[name] = chosen(name, lab_, tuned)
        except ImportError as error:
            missing[name] = str(error)
            print(f"{name} is left out: {error}")
    lab_.write(libraries=versions(), missing=missing, chosen=settings)
    for seed in lab_.seeds(max(method.seeds for method in METHODS.values())):
        runs = known.setdefault(seed, {"seed": seed})
        for name, setting in settings.items():
            if name not in runs and seed < METHODS[name].seeds:
                lab_.check_time()
                runs[name] = trained(name, setting, seed, "test", lab_.options.quick)
                told = list(known.values())
                lab_.write(runs=told, summary=summary(told))


def versions() -> dict[str, str]:
    """Return the versions of the installed libraries."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def summary(rows: list[Row]) -> dict[str, Row]:
    """Return means over seeds."""
    told = {}
    for name, method in METHODS.items():
        some = [row[name] for row in rows if name in row]
        if some:
            means = {
                key: lab.mean(row[key] for row in some) for key in ("training_macs", "seconds")
            }
            told[name] = {**lab.summary(some), **means, "epochs": method.epochs}
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    lab.main("controls_torch", __doc__, script)

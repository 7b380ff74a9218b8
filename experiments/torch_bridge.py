"""The PyTorch bridge against the core: accuracy, living populations, and the cost of a step.

    python experiments/torch_bridge.py accuracy   MLP and LeNet-5 on MNIST, bridge and core, by seed
    python experiments/torch_bridge.py cost       ms per step: plain, selected, fewer populations
    python experiments/torch_bridge.py masses     ms per step of the optimizer: plain, selected

Options: `--quick` for tiny runs, `--seeds N` (5). Each run has one thread. Results are stored in
results/torch_bridge.json; runs in it are not repeated. Bridge and core have the same sizes, batch
(128), AdamW (weight decay 0.5, not on biases), cosine schedule, selection and seeds, but each draws
initial weights and batches by its own generator.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import evoprune as ep
import evoprune.torch as ept

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import common

RESULTS = Path(__file__).resolve().parent / "results" / "torch_bridge.json"
BATCH = 128

# Network -> (epochs, learning rate, lifespan).
RUNS = {"mlp 784-512-256-10": (20, 2e-3, 700.0), "lenet5": (6, 1e-3, 250.0)}


# ---- models ------------------------------------------------------------------------------------


def mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def lenet() -> nn.Sequential:
    """Return LeNet-5 with as many filters and neurons in each layer as `ep.lenet5`."""
    born = list(ep.lenet5().born.values())
    first, second, *hidden = born
    layers: list[nn.Module] = [
        nn.Conv2d(1, first, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    ]  # fmt: skip
    size = second * 25
    for n in hidden:
        layers += [nn.Linear(size, n), nn.ReLU()]
        size = n
    return nn.Sequential(*layers, nn.Linear(size, 10))


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.down = nn.Sequential()
        if stride != 1 or channels != out:
            self.down = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


def resnet(width: int, stages: int, blocks: int) -> nn.Sequential:
    sizes = [(width * 2 ** max(0, s - (i == 0)), width * 2**s, 2 if s and not i else 1)
             for s in range(stages) for i in range(blocks)]  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *[Block(*size) for size in sizes], nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(sizes[-1][1], 10),
    )  # fmt: skip


class Transformer(nn.Module):
    """A small vision transformer for 32 x 32 images, built from nn.TransformerEncoderLayer."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 4, patch: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        layers = [
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True)
            for _ in range(depth)
        ]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


def born(model: nn.Module) -> nn.Module:
    """Draw weights like the core: He's rule, with deviation 1 / sqrt(inputs) in the last layer."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        gain = 1.0 if layer is layers[-1] else 2.0
        nn.init.normal_(layer.weight, std=math.sqrt(gain / layer.weight[0].numel()))
        nn.init.zeros_(layer.bias)
    return model


# ---- accuracy ----------------------------------------------------------------------------------


def selection(lifespan: float) -> ep.Selection:
    return ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=lifespan))


def by_core(name: str, seed: int, quick: bool) -> dict[str, Any]:
    epochs, rate, lifespan = RUNS[name]
    train, test = data(quick)
    net = ep.lenet5(seed=seed) if name == "lenet5" else ep.mlp(784, 512, 256, 10, seed=seed)
    trainer = ep.Trainer(
        net, optimizer=ep.AdamW(rate, weight_decay=0.5), selection=selection(lifespan)
    )
    begin = time.process_time()
    trainer.fit(train, epochs=1 if quick else epochs, batch_size=BATCH, progress=False)
    return {
        "accuracy": net.evaluate(test).accuracy,
        "alive": list(net.alive.values()),
        "macs": net.macs / net.founding_macs,
        "cpu_seconds": time.process_time() - begin,
    }


def by_bridge(name: str, seed: int, quick: bool) -> dict[str, Any]:
    epochs, rate, lifespan = RUNS[name]
    epochs = 1 if quick else epochs
    train, test = data(quick)
    images = name == "lenet5"
    x, y = tensors(train, images)
    torch.manual_seed(seed)
    model = born(lenet() if images else mlp())
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": weights, "weight_decay": 0.5}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    steps = epochs * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin = time.process_time()
    evolution = ept.Evolution(model, optimizer, x[:2], selection(lifespan), steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    evolution.close()
    seconds = time.process_time() - begin
    u, v = tensors(test, images)
    with torch.no_grad():
        hits = sum(int((model(u[i : i + 1000]).argmax(1) == v[i : i + 1000]).sum())
                   for i in range(0, len(u), 1000))  # fmt: skip
    return {
        "accuracy": hits / len(u),
        "alive": list(evolution.alive.values()),
        "macs": evolution.macs / evolution.founding_macs,
        "cpu_seconds": seconds,
    }


def data(quick: bool) -> tuple[Any, Any]:
    train, test = ep.datasets.mnist()
    return (train.subset(slice(3200)), test.subset(slice(1000))) if quick else (train, test)


def tensors(part: Any, images: bool) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(part.scaled()).reshape((-1, 1, 28, 28) if images else (-1, 784))
    return x, torch.from_numpy(np.array(part.y, np.int64))


def accuracy(seeds: int, quick: bool) -> None:
    runs = {"core": by_core, "bridge": by_bridge}
    found: dict[tuple[str, str], list[Any]] = {}
    for seed in range(seeds):
        for name in RUNS:
            for how, run in runs.items():
                make = partial(run, name, seed, quick)
                found.setdefault((name, how), []).append(
                    keep(f"accuracy/{name}/{how}/{seed}", make, quick)
                )
    for (name, how), rows in found.items():
        hits = [100 * row["accuracy"] for row in rows]
        living = [sum(row["alive"]) for row in rows]
        macs = 100 * statistics.mean(row["macs"] for row in rows)
        print(
            f"{name:20} {how:7} accuracy {statistics.mean(hits):.2f} ({min(hits):.2f} to "
            f"{max(hits):.2f}) %, alive {min(living)} to {max(living)}, macs {macs:.1f} %"
        )


# ---- cost --------------------------------------------------------------------------------------

MODELS = {
    "MLP 784-512-256-10": (mlp, (128, 784)),
    "LeNet-5": (lenet, (128, 1, 28, 28)),
    "ResNet-20": (partial(resnet, 16, 3, 3), (64, 3, 32, 32)),
    "ResNet-18": (partial(resnet, 64, 4, 2), (64, 3, 32, 32)),
    "ViT 64 x 4": (Transformer, (64, 3, 32, 32)),
}


def cost(_seeds: int, quick: bool) -> None:
    for name in MODELS:
        repeats = 3 if quick else 8 if name == "ResNet-18" else 30
        row = keep(f"cost/{name}", partial(step_times, name, repeats), quick)
        more = 100 * (row["selected"] / row["plain"] - 1)
        print(
            f"{name:20} plain {row['plain']:.2f} ms, selected {row['selected']:.2f} ({more:+.1f} %)"
        )
        for share, ms in row["falling"]:
            print(f"{'':20} {100 * share:5.1f} % of the multiply-adds: {ms:.2f} ms")


def step_times(name: str, repeats: int) -> dict[str, Any]:
    """Measure the CPU time of a training step in ms; every time is the least of several steps.

    Returns:
        "plain": the time without selection. "selected": the time with selection in which no
        population dies. "falling": pairs (remaining share of the macs, time of a step), measured
        while populations are removed; empty for ResNet-18.
    """
    make, shape = MODELS[name]
    torch.manual_seed(0)
    x, y = torch.randn(shape), torch.randint(0, 10, shape[:1])

    def setup(selected: ep.Selection | None) -> Any:
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        evolution = ept.Evolution(model, optimizer, x[:2], selected) if selected else None

        def step() -> float:
            begin = time.process_time()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            return 1e3 * (time.process_time() - begin)

        return step, evolution

    plain, _ = setup(None)
    selected, _ = setup(ep.Selection(1.5, min_age=10**9))
    pairs = [(plain(), selected()) for _ in range(repeats)]
    best = [min(times) for times in zip(*pairs, strict=True)]
    step, evolution = setup(ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=15), min_age=5))
    falling: list[tuple[float, float]] = []
    for _ in range(14 if name != "ResNet-18" else 0):
        for _ in range(3):
            step()
        evolution.compact()
        share = evolution.macs / evolution.founding_macs
        if not falling or share < 0.8 * falling[-1][0]:
            falling.append((share, min(step() for _ in range(max(3, repeats // 4)))))
    return {"plain": best[0], "selected": best[1], "falling": falling}


def masses(_seeds: int, quick: bool) -> None:
    for name in MODELS:
        repeats = 3 if quick else 30 if name == "ResNet-18" else 200
        row = keep(f"masses/{name}", partial(optimizer_times, name, repeats), quick)
        whole = keep(f"cost/{name}", partial(step_times, name, 3), quick)["plain"]
        more = row["selected"] - row["plain"]
        print(
            f"| {name} | {whole:.1f} ms | {row['plain']:.1f} ms | {row['selected']:.1f} ms | "
            f"{100 * more / whole:.1f} % |"
        )


def optimizer_times(name: str, repeats: int) -> dict[str, float]:
    """Return the least CPU time in ms of `optimizer.step()`, without and with selection.

    Between the steps, other data are written to the CPU caches.
    """
    make, shape = MODELS[name]
    steps = []
    for selected in (None, ep.Selection(1.5, min_age=10**9)):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        if selected:
            ept.Evolution(model, optimizer, torch.randn(2, *shape[1:]), selected)
        for p in model.parameters():
            p.grad = 1e-3 * torch.randn_like(p)
        steps.append(optimizer.step)
    other = torch.zeros(4_000_000)
    found: list[list[float]] = [[], []]
    for _ in range(repeats):
        for step, times in zip(steps, found, strict=True):
            other.add_(1.0)
            begin = time.process_time()
            step()
            times.append(1e3 * (time.process_time() - begin))
    return {"plain": min(found[0]), "selected": min(found[1])}


# ---- results -----------------------------------------------------------------------------------


def read() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(key: str, make: Any, quick: bool) -> Any:
    rows = read()
    if quick:
        return make()
    if key not in rows:
        row = make()
        rows = {**read(), key: row}
        RESULTS.write_text(common.as_json(dict(sorted(rows.items()))))
    return rows[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["accuracy", "cost", "masses"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ep.NothingCanDie)  # expected in quick runs
    torch.set_num_threads(1)
    ep.set_threads(1)
    {"accuracy": accuracy, "cost": cost, "masses": masses}[arguments.what](
        arguments.seeds, arguments.quick
    )


if __name__ == "__main__":
    main()

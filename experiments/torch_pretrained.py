"""Compare the PyTorch bridge with torch-pruning on pretrained models.

    python experiments/torch_pretrained.py    needs torch-pruning, and EVOPRUNE_DATA with
                                              pretrained-resnet-cifar10 and fashion-mnist

ResNet-20 with its published CIFAR-10 weights, and a small ViT pretrained here on MNIST, are trained
on Fashion-MNIST (5,000 images of 32 x 32, three channels) for 2 epochs at batch size 32, by AdamW
with a cosine schedule. In the first half of the run, each model is reduced to half of its
multiply-adds: by selection with a Budget; by torch-pruning in one cut before the first step; or by
torch-pruning in ten equal cuts. All runs have the same number of steps. Accuracy is measured after
the last step, on 2,000 test images. Options: `--share` of multiply-adds (0.5), `--seeds N` (3),
`--quick`. Results are stored in results/torch_pretrained.json; runs in it are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch_bridge import Transformer

import evoprune as ep
import evoprune.torch as ept

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import common

RESULTS = Path(__file__).resolve().parent / "results" / "torch_pretrained.json"
DATA = Path(os.environ.get("EVOPRUNE_DATA", "data"))
IMAGES, TEST, BATCH, EPOCHS, RATE = 5000, 2000, 32, 2, 1e-3
CUTS = 10
WAYS = ("selection", "torch-pruning gradual", "torch-pruning one-shot", "dense")


class Block(nn.Module):
    """A block of the published ResNets.

    If it adds channels, its shortcut takes every second pixel and pads the channels with zeros.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.stride = 1 if channels == out else 2
        self.more = (out - channels) // 2
        self.conv1 = nn.Conv2d(channels, out, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20, with parameters that have the names of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = [16, 16, 32, 64]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*(Block(channels[i > 0], channels[1]) for i in range(3)))
            for channels in itertools.pairwise(sizes)
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


# ---- data and models ---------------------------------------------------------------------------


def images(name: str, train: bool, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first `count` images (count, 3, 32, 32) and their classes (count,).

    The 28 x 28 images are padded and standardized; the three channels are equal.
    """
    found = ep.datasets.mnist() if name == "mnist" else ep.datasets.fashion_mnist(DATA / name)
    part = found[0 if train else 1]
    x = torch.from_numpy(part.scaled()[:count]).reshape(-1, 1, 28, 28).float()
    x = (F.pad(x, (2, 2, 2, 2)) - 0.45) / 0.25
    y = torch.from_numpy(np.array(part.y[:count], np.int64))
    return x.expand(-1, 3, -1, -1).contiguous(), y


def published() -> nn.Module:
    """Return ResNet-20 with weights trained on CIFAR-10, and a new head."""
    model = ResNet20()
    with np.load(DATA / "pretrained-resnet-cifar10" / "resnet20.npz") as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    found = model.load_state_dict(state, strict=False)
    assert all("num_batches" in name for name in found.missing_keys), found
    model.linear = nn.Linear(64, 10)
    return model


def pretrained_vit(quick: bool) -> nn.Module:
    """Return a ViT trained on MNIST, with a new head that is trained later."""
    model = Transformer()
    train(model, *images("mnist", True, 500 if quick else IMAGES), [], epochs=EPOCHS)
    model.head = nn.Linear(64, 10)
    return model


# ---- training ----------------------------------------------------------------------------------


def train(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, hooks: list[Any], epochs: int = EPOCHS
) -> None:
    """Train; before a step, every hook is called as hook(step, steps, optimizer).

    A hook may prune the model, and returns True if it has replaced parameters.
    """
    steps = epochs * math.ceil(len(x) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    rows: list[torch.Tensor] = []
    model.train()
    for step in range(steps):
        for hook in hooks:
            if hook(step, steps, optimizer):
                optimizer = torch.optim.AdamW(model.parameters(), RATE)
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        if not rows:
            rows = list(torch.randperm(len(x)).split(BATCH))
        batch = rows.pop()
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    model.eval()


class Selecting:
    """A hook that begins selection at the first step."""

    def __init__(self, model: nn.Module, x: torch.Tensor, share: float) -> None:
        self.model, self.x, self.share = model, x, share

    def __call__(self, step: int, steps: int, optimizer: torch.optim.Optimizer) -> bool:
        if step == 0:
            life = ep.Malthusian(lifespan=steps / 16)
            budget = ep.Budget(macs=self.share)
            selection = ep.Selection(budget, dynamics=life, min_age=10, rest=0.5)
            self.evolution = ept.Evolution(
                self.model, optimizer, self.x[:2], selection, steps=steps
            )
        return False


class Cutting:
    """A hook that prunes by torch-pruning to a share of the multiply-adds, in equal cuts."""

    def __init__(self, model: nn.Module, x: torch.Tensor, share: float, cuts: int) -> None:
        import torch_pruning as tp

        self.model, self.x, self.share, self.cuts = model, x, share, cuts
        self.founding = macs(model, x)
        kept: list[nn.Module] = [m for m in model.modules() if getattr(m, "out_features", 0) == 10]
        if isinstance(model, Transformer):  # prune the feed-forward parts only
            kept += [model.patch]
            for m in model.modules():
                if isinstance(m, nn.MultiheadAttention):
                    kept += [m, m.out_proj]
                if isinstance(m, nn.TransformerEncoderLayer):
                    kept += [m.linear2]
        self.pruner = tp.pruner.MagnitudePruner(
            model,
            x[:2],
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True,
            pruning_ratio=0.95,
            iterative_steps=200,
            ignored_layers=kept,
            max_pruning_ratio=0.9,
        )

    def __call__(self, step: int, steps: int, _: torch.optim.Optimizer) -> bool:
        every = max(1, steps // 2 // self.cuts)
        done = step // every + 1
        if step % every or done > self.cuts:
            return False
        goal = 1 - (1 - self.share) * done / self.cuts
        for _ in range(200):
            if macs(self.model, self.x) <= goal * self.founding:
                break
            self.pruner.step()
        return True


@torch.no_grad()
def macs(model: nn.Module, x: torch.Tensor) -> float:
    """Return the multiply-adds of convolutions and linear maps, also in attention, per sample."""
    total = [0.0]

    def add(module: nn.Module, _: Any, out: torch.Tensor) -> None:
        positions = out[0].numel() / module.weight.shape[0]
        total[0] += positions * module.weight.numel()

    def attend(module: nn.Module, inputs: Any, _: Any) -> None:
        tokens = inputs[0].shape[1]
        total[0] += tokens * (module.in_proj_weight.numel() + module.out_proj.weight.numel())

    attentions = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    counted = [m.out_proj for m in attentions]  # counted by `attend`, not by their own hook
    handles = [m.register_forward_hook(attend) for m in attentions]
    handles += [
        m.register_forward_hook(add)
        for m in model.modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and m not in counted
    ]
    training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    model(x[:1])
    model.train(training)
    torch.backends.mha.set_fastpath_enabled(fast)
    for handle in handles:
        handle.remove()
    return total[0]


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    hits = [
        int((model(u).argmax(1) == v).sum())
        for u, v in zip(x.split(500), y.split(500), strict=True)
    ]
    return sum(hits) / len(x)


def run(name: str, way: str, seed: int, share: float, quick: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = published() if name == "ResNet-20" else pretrained_vit(quick)
    torch.manual_seed(seed)
    x, y = images("fashion-mnist", True, 320 if quick else IMAGES)
    founding = macs(model, x)
    hooks: list[Any] = []
    if way == "selection":
        hooks = [Selecting(model, x, share)]
    elif way != "dense":
        hooks = [Cutting(model, x, share, CUTS if "gradual" in way else 1)]
    begin = time.process_time()
    train(model, x, y, hooks)
    if way == "selection":
        hooks[0].evolution.close()
    seconds = time.process_time() - begin
    return {
        "accuracy": accuracy(model, *images("fashion-mnist", False, TEST)),
        "macs": macs(model, x) / founding,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": seconds,
    }


# ---- results -----------------------------------------------------------------------------------


def read() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ep.set_threads(1)
    rows = {} if arguments.quick else read()
    for seed in range(1 if arguments.quick else arguments.seeds):
        for name in ("ResNet-20", "ViT 64 x 4"):
            for way in WAYS:
                key = f"{name}/{way}/{arguments.share:g}/{seed}"
                if key not in rows:
                    rows[key] = run(name, way, seed, arguments.share, arguments.quick)
                    print(key, rows[key], flush=True)
                if not arguments.quick:
                    RESULTS.write_text(common.as_json(dict(sorted(rows.items()))))
    for name in ("ResNet-20", "ViT 64 x 4"):
        for way in WAYS:
            found = [
                v for k, v in rows.items() if k.startswith(f"{name}/{way}/{arguments.share:g}/")
            ]
            hits = [100 * row["accuracy"] for row in found]
            share = 100 * statistics.mean(row["macs"] for row in found)
            seconds = statistics.mean(row["cpu_seconds"] for row in found)
            hits_by = f"{statistics.mean(hits):.1f} ({min(hits):.1f} to {max(hits):.1f})"
            print(f"| {name} | {way} | {hits_by} | {share:.0f} % | {seconds:.0f} s |")


if __name__ == "__main__":
    main()

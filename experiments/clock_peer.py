"""The PyTorch runs of clock.py, with time and accuracy after every epoch.

clock.py runs this file in the interpreter that has PyTorch: `python clock_peer.py torch THREADS`.
The script reads a line of JSON with the name and arguments of a function from standard input, and
prints one line of JSON. It never imports evoprune: users without evoprune would write this code.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import peers
import torch
from torch.nn import functional

Facts = dict[str, Any]


class Story:
    """Record the seconds of training so far and the test accuracy after every epoch."""

    def __init__(self, test: Facts) -> None:
        self.x, self.y = (torch.from_numpy(array) for array in peers.load(test))
        self.seconds: list[float] = []
        self.accuracy: list[float] = []
        self.begin, self.testing = time.perf_counter(), 0.0

    def epoch(self, net: Callable[[Any], Any]) -> None:
        pause = time.perf_counter()
        self.seconds.append(pause - self.begin - self.testing)
        with torch.inference_mode():
            self.accuracy.append(float((net(self.x).argmax(1) == self.y).float().mean()))
        self.testing += time.perf_counter() - pause


def epochs(
    net: Any,
    x: Any,
    y: Any,
    story: Story,
    n: int,
    batch: int,
    rate: float,
    decay: float,
    after: Any,
) -> None:
    """Train with fused AdamW and a cosine schedule; after each step, call `after(rate / peak)`."""
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n * -(-len(x) // batch))
    for _ in range(n):
        order = torch.randperm(len(x))
        for at in range(0, len(x), batch):
            rows = order[at : at + batch]
            optimizer.zero_grad(set_to_none=True)
            output = net(torch.index_select(x, 0, rows))
            functional.cross_entropy(output, torch.index_select(y, 0, rows)).backward()
            optimizer.step()
            if after:
                after(schedule.get_last_lr()[0] / rate)
            schedule.step()
        story.epoch(net)


def told(story: Story, alive: list[int]) -> Facts:
    return {"seconds": story.seconds, "accuracy": story.accuracy, "alive": alive}


def begun(settings: Facts) -> tuple[Any, Any, Any, Story]:
    """Return the network, its training inputs and labels, and an empty Story."""
    x, y = (torch.from_numpy(array) for array in peers.load(settings["data"]))
    torch.manual_seed(settings["seed"])
    net = peers.torch_mlp(settings["widths"])
    return net, x, y, Story(settings["test"])


def dense(settings: Facts) -> Facts:
    """Train without selection."""
    net, x, y, story = begun(settings)
    epochs(net, x, y, story, settings["epochs"], *_how(settings), None)
    return told(story, settings["widths"][1:-1])


def _how(settings: Facts) -> tuple[int, float, float]:
    return settings["batch"], settings["rate"], settings["decay"]


class Masked(torch.nn.Module):
    """Linear layers with a mass for each neuron; selection changes masses and removes nothing."""

    def __init__(self, net: Any, pressure: float, lifespan: float) -> None:
        super().__init__()
        self.linears = torch.nn.ModuleList(m for m in net if isinstance(m, torch.nn.Linear))
        self.mass = [torch.ones(m.out_features, requires_grad=True) for m in self.linears[:-1]]
        self.fitness = [torch.zeros_like(m, requires_grad=False) for m in self.mass]
        self.pressure, self.pace, self.step = pressure, 6.907755 / lifespan, 0

    def forward(self, x: Any) -> Any:
        for linear, mass in zip(self.linears[:-1], self.mass, strict=True):
            x = torch.relu(linear(x)) * mass
        return self.linears[-1](x)

    @torch.no_grad()
    def select(self, share: float) -> None:
        """Apply one generation: ln m += pace (F - c) / (F + c).

        m is a mass, F the smoothed fitness |m dL/dm|, c the soft upkeep; pace is `self.pace` times
        `share`, the learning rate over its peak. Masses are at most 5; below 1e-3 a population is
        extinct.
        """
        self.step += 1
        for mass, fitness in zip(self.mass, self.fitness, strict=True):
            fitness.mul_(0.9).add_((mass * mass.grad).abs(), alpha=0.1)
            now = torch.where(mass > 0, fitness / (1 - 0.9**self.step), 0)
            upkeep = self.pressure * (now.sum() - now) / (len(mass) - 1)
            growth = (now - upkeep) / (now + upkeep).clamp_min(1e-30)
            mass.mul_(torch.exp(self.pace * share * growth)).clamp_max_(5)
            if self.step > 100:
                mass[mass < 1e-3] = 0
            mass.grad = None


def masks(settings: Facts) -> Facts:
    """Train with hand-written masks: extinct neurons cost as much as living ones."""
    plain, x, y, story = begun(settings)
    net = Masked(plain, settings["pressure"], settings["lifespan"])
    epochs(net, x, y, story, settings["epochs"], *_how(settings), net.select)
    return told(story, [int((mass > 0).sum()) for mass in net.mass])


def pruned(settings: Facts) -> Facts:
    """Train, prune by norm with torch-pruning, and train again.

    `keep` is the number of neurons that remain in both hidden layers together.
    """
    import torch_pruning as tp

    net, x, y, story = begun(settings)
    first = settings["epochs"] // 2
    epochs(net, x, y, story, first, *_how(settings), None)
    born = sum(settings["widths"][1:-1])
    pruner = tp.pruner.MagnitudePruner(
        net,
        x[:1],
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=1 - settings["keep"] / born,
        ignored_layers=[net[-1]],
    )
    pruner.step()
    epochs(net, x, y, story, settings["epochs"] - first, *_how(settings), None)
    linears = [m for m in net if isinstance(m, torch.nn.Linear)]
    return told(story, [linear.out_features for linear in linears[:-1]])


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    request = json.loads(sys.stdin.readline())
    answer = {"dense": dense, "masks": masks, "pruned": pruned}[request["run"]](request)
    versions = {"torch": torch.__version__}
    if request["run"] == "pruned":
        import torch_pruning

        versions["torch-pruning"] = torch_pruning.__version__
    print(json.dumps({**answer, "versions": versions}))

"""Ways of others to make a network smaller while it trains, in PyTorch, for controls_torch.py.

A method takes a `Run`, trains its network and returns the network that is left. The libraries are
imported when a method needs them.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

BATCH = 128
KEPT = 0.1625  # share of the neurons that gives selection's size, if the same in both layers
MARKS = 4  # per epoch: times at which neurons may be removed
FASTER = 10  # learning rate of gates, relative to that of weights
PENALTY_ENDS = 0.5  # share of the run
STEPS = 5  # of Torch-Pruning's iterative pruning


def macs_of(net: nn.Module) -> float:
    """Return the multiply-adds of a forward pass for one sample."""
    return float(sum(m.weight.numel() for m in linears(net)))


def linears(net: nn.Module) -> list[nn.Linear]:
    return [m for m in net.modules() if isinstance(m, nn.Linear)]


@dataclass
class Run:
    """One run: initial network, data, settings, and what training cost so far.

    Attributes:
        net: the network; methods may wrap it or return another.
        x: inputs, normalized.
        y: labels.
        epochs: length of the run.
        rate: peak of the learning rate.
        decay: weight decay.
        strength: the method's own setting.
        macs: sum over epochs of the network's multiply-adds.
        step: number of completed steps.
        order: rows of the data in this epoch.
    """

    net: nn.Sequential
    x: torch.Tensor
    y: torch.Tensor
    epochs: int
    rate: float
    decay: float
    strength: float
    macs: float = 0.0
    step: int = 0
    order: torch.Tensor = field(init=False)

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.x) / BATCH)

    @property
    def steps(self) -> int:
        return self.epochs * self.per_epoch

    def adamw(self, parameters: Any = None) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.net.parameters() if parameters is None else parameters,
            self.rate,
            weight_decay=self.decay,
            fused=True,
        )

    def train(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        until: float | None = None,
        penalty: Callable[[], torch.Tensor] | None = None,
        before: Callable[[], None] | None = None,
        after: Callable[[float], None] | None = None,
        mark: Callable[[], None] | None = None,
    ) -> None:
        """Train until an epoch; the default is the end of the run.

        Args:
            optimizer: its learning rate is set at every step.
            until: the epoch.
            penalty: returns a term to add to the loss.
            before: called between the backward pass and the step.
            after: called after the step, with the learning rate.
            mark: called MARKS times per epoch.
        """
        end = self.steps if until is None else round(until * self.per_epoch)
        every = math.ceil(self.per_epoch / MARKS)
        self.net.train()
        while self.step < end:
            at = self.step % self.per_epoch
            if at == 0:
                self.order = torch.randperm(len(self.x))
            rate = self.rate * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1)
            rows = self.order[BATCH * at : BATCH * (at + 1)]
            optimizer.zero_grad()
            loss = functional.cross_entropy(self.net(self.x[rows]), self.y[rows])
            if penalty:
                loss = loss + penalty()
            loss.backward()
            del loss  # its graph has the shapes before a removal
            if before:
                before()
            optimizer.step()
            if after:
                after(rate)
            self.step += 1
            self.macs += macs_of(self.net) / self.per_epoch
            if mark and (at + 1) % every == 0:
                mark()


# ---- removal -------------------------------------------------------------------------------------


def narrow(weights: Any, axis: int, keep: torch.Tensor, optimizer: Any = None) -> None:
    """Keep some rows of a parameter along an axis, and the same rows of the optimizer's moments."""
    size = weights.shape
    weights.data = weights.data.index_select(axis, keep)
    weights.grad = None
    moments = optimizer.state.get(weights, {}) if optimizer else {}
    for name, value in moments.items():
        if torch.is_tensor(value) and value.shape == size:
            moments[name] = value.index_select(axis, keep)


def remove(net: nn.Module, alive: Sequence[torch.Tensor], optimizer: Any = None) -> None:
    """Remove hidden neurons; `alive` has a boolean for each, by layer."""
    gates = gates_of(net)
    for i, (here, there) in enumerate(pairwise(linears(net))):
        keep = alive[i].nonzero()[:, 0]
        if len(keep) == here.out_features:
            continue
        narrow(here.weight, 0, keep, optimizer)
        narrow(here.bias, 0, keep, optimizer)
        narrow(there.weight, 1, keep, optimizer)
        if gates:
            narrow(gates[i].log_alpha, 0, keep, optimizer)
        here.out_features = there.in_features = len(keep)


# ---- L0 gates ------------------------------------------------------------------------------------


class Gate(nn.Module):
    """Hard concrete gates of the neurons of a layer."""

    LOW, HIGH, HEAT = -0.1, 1.1, 2 / 3

    def __init__(self, n: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(0.01 * torch.randn(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply the neurons by a sample of their gates."""
        u = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        return x * self.stretched((torch.logit(u) + self.log_alpha) / self.HEAT)

    def stretched(self, logit: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(logit) * (self.HIGH - self.LOW) + self.LOW).clamp(0, 1)

    def open(self) -> torch.Tensor:
        """Return the probability of a gate above 0."""
        return torch.sigmoid(self.log_alpha - self.HEAT * math.log(-self.LOW / self.HIGH))


def gates_of(net: nn.Module) -> list[Gate]:
    return [m for m in net.modules() if isinstance(m, Gate)]


def l0_gates(run: Run) -> nn.Module:
    plain = run.net
    gated: list[nn.Module] = []
    for module in plain:
        gated.append(module)
        if isinstance(module, nn.ReLU):
            gated.append(Gate(linears(nn.Sequential(*gated))[-1].out_features))
    run.net = nn.Sequential(*gated)
    gates = gates_of(run.net)
    ours = {id(gate.log_alpha) for gate in gates}
    weights = [p for p in run.net.parameters() if id(p) not in ours]
    alphas = [gate.log_alpha for gate in gates]
    optimizer = run.adamw(
        [{"params": weights}, {"params": alphas, "weight_decay": 0.0, "scale": FASTER}]
    )

    def penalty() -> torch.Tensor:
        return run.strength * torch.cat([gate.open() for gate in gates]).sum()

    @torch.no_grad()
    def mark() -> None:
        remove(run.net, [gate.open() >= 0.01 for gate in gates], optimizer)

    run.train(optimizer, penalty=penalty, mark=mark)
    with torch.no_grad():
        values = [gate.stretched(gate.log_alpha) for gate in gates]
        for layer, value in zip(linears(plain)[1:], values, strict=True):
            layer.weight *= value
        remove(run.net, [value > 0 for value in values])
    return plain


# ---- group penalty -------------------------------------------------------------------------------


@torch.no_grad()
def shrink(layer: nn.Linear, amount: float) -> None:
    """Apply the proximal step of a group lasso: shorten each neuron's weights by `amount`."""
    norm = (layer.weight.square().sum(1) + layer.bias.square()).sqrt()
    factor = (1 - amount / norm.clamp(min=1e-12)).clamp(min=0)
    layer.weight *= factor[:, None]
    layer.bias *= factor


def group_penalty(run: Run) -> nn.Module:
    optimizer = run.adamw()
    hidden = linears(run.net)[:-1]
    scales = [layer.in_features**0.5 for layer in hidden]  # of the groups at first, with all zeros

    def after(rate: float) -> None:
        for layer, scale in zip(hidden, scales, strict=True):
            shrink(layer, rate * run.strength * scale)

    def mark() -> None:
        remove(run.net, [(layer.weight != 0).any(1) for layer in hidden], optimizer)

    run.train(optimizer, until=PENALTY_ENDS * run.epochs, after=after, mark=mark)
    mark()
    run.train(optimizer)
    return run.net


# ---- libraries -----------------------------------------------------------------------------------


def pruner_of(run: Run, name: str, **settings: Any) -> Any:
    """Return a pruner of Torch-Pruning that removes a share 1 - KEPT of the hidden neurons."""
    import torch_pruning as tp

    return getattr(tp.pruner, name)(
        run.net,
        run.x[:1],
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=1 - KEPT,
        ignored_layers=linears(run.net)[-1:],
        **settings,
    )


def magnitude_pruner(run: Run) -> nn.Module:
    pruner = pruner_of(run, "MagnitudePruner", iterative_steps=STEPS)
    begin = run.strength * run.epochs
    for i in range(STEPS):
        run.train(run.adamw(), until=min(begin + i, run.epochs))
        pruner.step()
    run.train(run.adamw())
    return run.net


def group_norm_pruner(run: Run) -> nn.Module:
    pruner = pruner_of(run, "GroupNormPruner", reg=run.strength)
    run.train(run.adamw(), until=run.epochs / 2, before=lambda: pruner.regularize(run.net))
    pruner.step()
    run.train(run.adamw())
    return run.net


def hesso(run: Run) -> nn.Module:
    with adapted():
        from only_train_once import OTO

        oto = OTO(run.net, run.x[:1])
        optimizer = oto.hesso(
            variant="adamw",
            lr=run.rate,
            weight_decay=run.decay,
            target_group_sparsity=run.strength,
            start_pruning_step=run.steps // 10,
            pruning_steps=run.steps // 4,
            pruning_periods=10,
        )
        run.train(optimizer)
        with tempfile.TemporaryDirectory() as folder:
            oto.construct_subnet(out_dir=folder)
            net: nn.Module = torch.load(oto.compressed_model_path, weights_only=False)
    return net


@contextlib.contextmanager
def adapted() -> Any:
    """Adapt PyTorch to only-train-once 3.0.1: names that have moved, and `cuda()` without a GPU."""
    from torch.onnx._internal.torchscript_exporter import _globals, utils

    sys.modules.setdefault("torch.onnx._globals", _globals)
    if not hasattr(torch.onnx, "_optimize_graph"):
        torch.onnx._optimize_graph = utils._optimize_graph
    cuda = torch.Tensor.cuda
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self: self
    try:
        yield
    finally:
        torch.Tensor.cuda = cuda


def fasterai(run: Run) -> nn.Module:
    from fastai.callback.core import Callback
    from fastai.callback.schedule import ParamScheduler, SchedCos
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper
    from fasterai.core.criteria import large_final
    from fasterai.core.schedule import agp
    from fasterai.prune.prune_callback import PruneCallback

    def chosen(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        some = torch.as_tensor(list(rows))
        return run.x[some], run.y[some]

    def optimizer(parameters: Any, **settings: Any) -> Any:
        return OptimWrapper(parameters, torch.optim.AdamW, **settings)

    class Count(Callback):
        def after_batch(self) -> None:
            if self.training:
                run.macs += macs_of(self.learn.model) / run.per_epoch

    train = DataLoader(range(len(run.x)), bs=BATCH, shuffle=True, create_batch=chosen)
    some = DataLoader(range(BATCH), bs=BATCH, create_batch=chosen)
    learner = Learner(DataLoaders(train, some), run.net, nn.CrossEntropyLoss(), optimizer)
    prune = PruneCallback(run.strength, agp, "local", large_final, example_inputs=run.x[:1])
    cosine = ParamScheduler({"lr": SchedCos(run.rate, 0.0)})
    with learner.no_bar(), learner.no_logging():
        learner.fit(run.epochs, lr=run.rate, wd=run.decay, cbs=[prune, cosine, Count()])
    return run.net

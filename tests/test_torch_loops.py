"""The PyTorch bridge in usual training loops: optimizers, precision, averages, compile."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402

QUICK = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=20), min_age=8)
ROWS = 320


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


def task(dtype=torch.float64):
    random = torch.Generator().manual_seed(5)
    x = torch.randn(ROWS, 20, generator=random, dtype=torch.float64)
    return x.to(dtype), (x @ torch.randn(20, 4, generator=random, dtype=torch.float64)).argmax(1)


def batch(step, size=32):
    return torch.arange(step * size, (step + 1) * size) % ROWS


def plain(model, optimizer, steps=70, dtype=torch.float64):
    """Train in the usual loop; return losses."""
    x, y = task(dtype)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[batch(step)]), y[batch(step)])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, 2e-3),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, 2e-3, foreach=True),
    "AdamW fused": lambda p: torch.optim.AdamW(p, 2e-3, fused=True),
    "AdamW tensor rate": lambda p: torch.optim.AdamW(p, torch.tensor(2e-3), foreach=False),
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, 2e-3, amsgrad=True),
    "Adam": lambda p: torch.optim.Adam(p, 2e-3),
    "SGD": lambda p: torch.optim.SGD(p, 2e-2),
    "SGD Nesterov": lambda p: torch.optim.SGD(p, 2e-2, 0.9, nesterov=True, weight_decay=1e-3),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 2e-2),
    "NAdam": lambda p: torch.optim.NAdam(p, 2e-3),
    "RAdam": lambda p: torch.optim.RAdam(p, 2e-3),
    "Adamax": lambda p: torch.optim.Adamax(p, 2e-3),
    "Rprop": lambda p: torch.optim.Rprop(p, 1e-4),
    "Adadelta": lambda p: torch.optim.Adadelta(p, 1.0),
    "ASGD": lambda p: torch.optim.ASGD(p, 1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_continues_as_if_nothing_was_removed(name):
    """Removing extinct populations, or only setting them to 0, gives equal losses and deaths."""
    losses, deaths = [], []
    for removal in ("always", "never"):
        torch.manual_seed(0)
        model = torch_models.mlp().double()
        optimizer = OPTIMIZERS[name](model.parameters())
        x, _ = task()
        evolution = ept.Evolution(model, optimizer, x[:2], QUICK.replace(removal=removal))
        losses.append(plain(model, optimizer))
        deaths.append([(int(d["step"]), int(d["birth"])) for d in evolution.history.extinctions])
    assert deaths[0] == deaths[1]
    assert deaths[0]
    np.testing.assert_allclose(*losses, rtol=1e-7)


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_optimizers_with_statistics_of_a_matrix_go_on(name):
    if not hasattr(torch.optim, name):
        pytest.skip(f"this torch has no {name}")
    model = torch_models.mlp().double()
    if name == "Muon":  # takes matrices only: AdamW updates the other parameters
        optimizers = [
            torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], 1e-3),
            torch.optim.AdamW([p for p in model.parameters() if p.ndim != 2], 1e-3),
        ]
    else:
        optimizers = [torch.optim.Adafactor(model.parameters(), 1e-2)]
    x, y = task()
    evolution = ept.Evolution(model, optimizers, x[:2], QUICK)
    losses = []
    for step in range(100):
        loss = F.cross_entropy(model(x[batch(step)]), y[batch(step)])
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
    assert evolution.compactions
    assert np.isfinite(losses).all()
    for optimizer in optimizers:
        for p, state in optimizer.state.items():
            for value in state.values():
                assert value.ndim == 0 or all(
                    n in (1, m) for n, m in zip(value.shape, p.shape, strict=True)
                )


def test_a_step_that_calls_that_of_its_base_class_is_one_step():
    class Mine(torch.optim.AdamW):
        def step(self, closure=None):
            return super().step(closure)

    losses = []
    for make in (torch.optim.AdamW, Mine):
        torch.manual_seed(0)
        model = torch_models.mlp().double()
        optimizer = make(model.parameters(), 2e-3)
        evolution = ept.Evolution(model, optimizer, task()[0][:2], QUICK)
        losses.append(plain(model, optimizer))
        assert evolution.steps == 70
    np.testing.assert_allclose(*losses, rtol=1e-12)


class Looked(nn.Module):
    """A classifier of the mean of embedding rows; the table's gradient may be sparse."""

    def __init__(self, sparse):
        super().__init__()
        self.words = nn.Embedding(50, 16, sparse=sparse)
        self.body, self.head = nn.Linear(16, 24), nn.Linear(24, 4)

    def forward(self, x):
        return self.head(F.relu(self.body(self.words(x).mean(1))))


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("fitness", ["taylor", "pull"])
def test_sparse_gradients_of_embeddings_give_what_dense_ones_give(fitness, accumulate):
    runs = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = Looked(sparse).double()
        x, y = torch.randint(0, 50, (64, 5)), torch.randint(0, 4, (64,))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        selection = QUICK.replace(fitness=fitness, removal="always")
        evolution = ept.Evolution(model, optimizer, x[:2], selection)
        losses = []
        for step in range(60):
            if not accumulate or step % 4 == 0:
                optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert evolution.alive["words"] < 16
        assert model.words.embedding_dim == evolution.alive["words"]
        runs.append(losses)
    np.testing.assert_allclose(*runs, rtol=1e-9)


class Fails(torch.optim.SGD):
    fail = False

    def step(self, closure=None):
        if self.fail:
            raise KeyboardInterrupt
        return super().step(closure)


def test_the_step_after_one_that_failed_makes_the_module_whole():
    model = torch_models.mlp().double()
    optimizer = Fails(model.parameters(), 1e-2)
    x, y = task()
    selection = QUICK.replace(rest=0.5)  # masses do not change from step 15 on
    with pytest.warns(ep.NothingCanDie, match="lifespan"):
        evolution = ept.Evolution(model, optimizer, x[:2], selection, steps=30)
    plain(model, optimizer, 15)
    before = model(x).detach()
    assert any(np.ptp(evolution.masses(name)) > 0.1 for name in evolution.born)
    optimizer.param_groups[0]["lr"], optimizer.fail = 0.0, True
    F.cross_entropy(model(x), y).backward()
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert not torch.allclose(model(x), before)
    optimizer.fail = False
    optimizer.step()
    torch.testing.assert_close(model(x).detach(), before)


def test_two_optimizers_do_what_one_does():
    """Weights in one optimizer and biases in another give the losses of a single one."""
    losses = []
    for split in (False, True):
        torch.manual_seed(0)
        model = torch_models.mlp().double()
        x, y = task()
        groups = [[p for p in model.parameters() if (p.ndim == 2) == k] for k in (True, False)]
        if split:
            first, last = list(model[4].parameters()), list(model[:4].parameters())
            groups = [first, last]
        groups = groups if split else [list(model.parameters())]
        optimizers = [torch.optim.AdamW(group, 2e-3) for group in groups]
        evolution = ept.Evolution(model, optimizers, x[:2], QUICK)
        found = []
        for step in range(60):
            loss = F.cross_entropy(model(x[batch(step)]), y[batch(step)])
            model.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            found.append(float(loss.detach()))
        losses.append(found)
        assert evolution.compactions
        assert evolution.steps == 60
    np.testing.assert_allclose(*losses, rtol=1e-9)


def run(variant, model, optimizer, x, y, steps=70):
    """Train as `variant` says; return losses."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if "scaler" in variant else None
    schedule = None
    if "schedule" in variant:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    losses = []
    for step in range(steps):
        optimizer.zero_grad(set_to_none="keep" not in variant)
        parts = batch(step).chunk(4 if "accumulate" in variant else 1)
        total = 0.0
        for part in parts:
            with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in variant):
                loss = F.cross_entropy(model(x[part]), y[part]) / len(parts)
            (loss if scaler is None else scaler.scale(loss)).backward()
            total += float(loss.detach())
        if "clip" in variant:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        if scaler is not None:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(total)
    return losses


@pytest.mark.parametrize(
    ("variant", "tolerance"),
    [
        ("accumulate", 1e-9),
        ("keep", 1e-9),
        ("scaler", 1e-9),
        ("accumulate scaler", 1e-9),
    ],
)
def test_a_loop_that_computes_the_same_gives_the_same(variant, tolerance):
    results = []
    for kind in ("", variant):
        torch.manual_seed(0)
        model = torch_models.mlp().double()
        x, y = task()
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        evolution = ept.Evolution(model, optimizer, x[:2], QUICK)
        results.append(run(kind, model, optimizer, x, y))
        assert evolution.compactions
    np.testing.assert_allclose(*results, rtol=tolerance)


@pytest.mark.parametrize(
    "variant", ["clip", "scaler clip", "schedule", "autocast", "autocast scaler clip accumulate"]
)
def test_other_loops_learn_and_select(variant):
    model = torch_models.mlp()
    x, y = task(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    evolution = ept.Evolution(model, optimizer, x[:2], QUICK)
    losses = run(variant, model, optimizer, x, y, 100)
    assert evolution.history.extinctions.size
    assert np.mean(losses[-10:]) < losses[0]


def test_a_step_that_a_scaler_leaves_out_is_no_generation():
    model = torch_models.mlp()
    x, y = task(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    evolution = ept.Evolution(model, optimizer, x[:2], QUICK)
    scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    before = copy.deepcopy(model.state_dict())
    scaler.scale(F.cross_entropy(model(x), y) * 1e5).backward()
    scaler.step(optimizer)
    scaler.update()
    assert evolution.steps == 0
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_between_steps_the_module_is_an_ordinary_one():
    """Outputs equal those of unfolded weights with activations multiplied by masses."""
    model = torch_models.mlp().double()
    x, _ = task()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    evolution = ept.Evolution(model, optimizer, x[:2], QUICK.replace(removal="never"))
    plain(model, optimizer, 12)
    masses = {name: torch.from_numpy(evolution.masses(name)) for name in evolution.born}
    got, h = model(x), F.relu(model[0](x)) * masses["0"]
    h = F.relu(F.linear(h, model[2].weight / masses["0"], model[2].bias)) * masses["2"]
    want = F.linear(h, model[4].weight / masses["2"], model[4].bias)
    torch.testing.assert_close(got, want)
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks


def test_sparse_adam_continues():
    model = Looked(True)
    x, y = torch.randint(0, 50, (64, 5)), torch.randint(0, 4, (64,))
    others = [p for name, p in model.named_parameters() if name != "words.weight"]
    optimizers = [
        torch.optim.SparseAdam([model.words.weight], 1e-2),
        torch.optim.AdamW(others, 2e-3),
    ]
    evolution = ept.Evolution(model, optimizers, x[:2], QUICK)
    for _ in range(60):
        loss = F.cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert evolution.close().words.embedding_dim == evolution.alive["words"] < 16
    assert optimizers[0].state[model.words.weight]["exp_avg"].shape == model.words.weight.shape


def test_gradients_after_a_step_are_those_of_before():
    """With the bridge, an optimizer step does not change gradients, so loops may add to them."""
    model = torch_models.mlp().double()
    x, y = task()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    evolution = ept.Evolution(model, optimizer, x[:2], QUICK.replace(removal="never", min_age=99))
    plain(model, optimizer, 30)
    assert max(np.ptp(evolution.masses(name)) for name in evolution.born) > 1
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    before = [p.grad.clone() for p in model.parameters()]
    optimizer.step()
    for p, gradient in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_a_closure_is_evaluated_with_the_module_as_it_is():
    losses = []
    for closures in (False, True):
        torch.manual_seed(0)
        model = torch_models.mlp().double()
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        ept.Evolution(model, optimizer, task()[0][:2], QUICK)
        losses.append((by_closures if closures else plain)(model, optimizer))
    np.testing.assert_allclose(*losses, rtol=1e-12)


def by_closures(model, optimizer, steps=70):
    x, y = task()
    losses = []
    for step in range(steps):

        def closure(step=step):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[batch(step)]), y[batch(step)])
            loss.backward()
            return loss

        loss = optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)
        losses.append(float(loss.detach()))
    return losses


class Twice(torch.optim.SGD):
    """An optimizer that evaluates its closure twice in a step, like SAM."""

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            closure()
        super().step()
        with torch.enable_grad():
            return closure()


def test_an_optimizer_that_evaluates_the_loss_twice_is_refused_and_the_module_whole():
    model = torch_models.mlp().double()
    x, y = task()
    optimizer = Twice(model.parameters(), 0.0)
    evolution = ept.Evolution(model, optimizer, x[:2], QUICK)
    before = model(x).detach()

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with pytest.raises(ept.Unsupported, match="Twice: expected one evaluation"):
        optimizer.step(closure)
    torch.testing.assert_close(model(x).detach(), before)
    assert evolution.steps == 0

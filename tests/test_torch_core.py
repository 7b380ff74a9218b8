"""Runs with the PyTorch bridge equal runs of the core, and of a model with explicit masses."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402
from evoprune.bridges.torch.laws import Generation, HostLaws  # noqa: E402
from evoprune.bridges.torch.laws_device import DeviceLaws  # noqa: E402

STEPS, BATCH, ROWS = 400, 20, 400


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


def task():
    """Return rows and classes that a small network can partly learn."""
    random = np.random.default_rng(0)
    x = random.standard_normal((ROWS, 20))
    y = (x @ random.standard_normal((20, 4)) + random.standard_normal((ROWS, 4))).argmax(1)
    return x, y


class Batches:
    """Batches of the rows in order, so that both libraries see the same batches."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return ROWS // BATCH

    def __iter__(self):
        for at in range(0, ROWS, BATCH):
            yield self.x[at : at + BATCH], self.y[at : at + BATCH]


def decayed(model, rate, decay):
    """Return AdamW in which, as in the core, only weights decay, not biases."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)


LIFE = ep.Malthusian(lifespan=60)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"removal": "always"},
        {"niche": "network"},
        {"every": 2, "floor": 12, "dynamics": ep.Malthusian(lifespan=30)},
        {"fitness": "magnitude"},
        {"fitness": "gradient"},
        {"fitness": "pull", "upkeep": "macs", "pressure": 0.15},
        {"fitness": "marginal", "upkeep": "macs", "pressure": 0.3},
        {"fitness": "relative", "upkeep": "uniform", "pressure": 0.3},
        {"pressure": ep.schedules.linear(0.5, 2.0), "rest": 0.2, "clock": "steps"},
        {
            "dynamics": ep.WrightFisher(strength=50, clip=0.01),
            "upkeep": "uniform",
            "pressure": 0.1,
            "threshold": 0.3,
        },
    ],
    ids=str,
)
def test_runs_of_the_bridge_and_of_the_core_are_equal(settings):
    """The same weights, batches and settings in float64 give equal deaths and outputs."""
    x, y = task()
    selection = ep.Selection(**{"pressure": 1.5, "dynamics": LIFE, "min_age": 20, **settings})
    net = ep.mlp(20, 32, 24, 4, dtype="float64")
    model = torch_models.mlp().double()
    with torch.no_grad():
        for i, layer in enumerate((0, 2, 4), 1):
            weight = torch.from_numpy(np.array(net[f"dense{i}.weight"]))
            model[layer].weight.copy_(weight.T)
            model[layer].bias.copy_(torch.from_numpy(np.array(net[f"populations{i}.bias"])))
    trainer = ep.Trainer(net, optimizer=ep.AdamW(2e-3, weight_decay=0.5), selection=selection)
    epochs = STEPS * BATCH // ROWS
    history = trainer.fit(Batches(x, y), epochs=epochs, batch_size=BATCH, progress=False)

    optimizer = decayed(model, 2e-3, 0.5)
    example = torch.zeros(2, 20, dtype=torch.float64)
    evolution = ept.Evolution(model, optimizer, example, selection, steps=STEPS, patience=0.5)
    rows, classes = torch.from_numpy(x), torch.from_numpy(y)
    for step, rate in enumerate(ep.schedules.cosine(2e-3)(STEPS)):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        at = step * BATCH % ROWS
        loss = F.cross_entropy(model(rows[at : at + BATCH]), classes[at : at + BATCH])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    evolution.close()

    names = {"populations1": "0", "populations2": "2"}
    theirs = [(int(d["step"]), names[d["layer"]], int(d["birth"])) for d in history.extinctions]
    ours = [
        (int(d["step"]), str(d["layer"]), int(d["birth"])) for d in evolution.history.extinctions
    ]
    assert ours == theirs
    assert len(ours) >= 2
    want = net.predict(x)
    got = model(rows).detach().numpy()
    np.testing.assert_allclose(got, want, atol=1e-7 * abs(want).max())
    for deaths in ("mass", "fitness"):
        np.testing.assert_allclose(
            evolution.history.extinctions[deaths], history.extinctions[deaths], rtol=1e-6
        )


class Massive(nn.Module):
    """A perceptron that multiplies activations by masses, which are parameters."""

    def __init__(self, model):
        super().__init__()
        self.layers = nn.ModuleList(m for m in model if isinstance(m, nn.Linear))
        self.masses = nn.ParameterList(
            nn.Parameter(torch.ones(layer.out_features, dtype=torch.float64))
            for layer in self.layers[:-1]
        )

    def forward(self, x):
        for layer, mass in zip(self.layers, self.masses, strict=False):
            x = F.relu(layer(x)) * mass
        return self.layers[-1](x)


def test_masses_in_weights_are_masses_of_the_forward_pass():
    """The bridge, which folds masses into weights, trains like a model with masses as parameters.

    That model gets the gradients of masses from autograd and new masses from the law in NumPy.
    Both runs are equal up to rounding.
    """
    x, y = (torch.from_numpy(a) for a in task())
    model = torch_models.mlp().double()
    explicit = Massive(torch_models.mlp().double())
    explicit.layers.load_state_dict(
        {f"{i}.{k}": v for i, j in enumerate((0, 2, 4)) for k, v in model[j].state_dict().items()}
    )
    pressure, life, threshold, memory, age = 1.5, 60.0, 1e-3, 0.9, 20
    selection = ep.Selection(pressure, dynamics=LIFE, min_age=age, clock="steps")
    first = torch.optim.AdamW(model.parameters(), 2e-3)
    second = torch.optim.AdamW(explicit.layers.parameters(), 2e-3)
    evolution = ept.Evolution(model, first, x[:2], selection)
    born = [32, 24]
    remembered = [np.zeros(n) for n in born]
    alive = [np.ones(n, bool) for n in born]
    died = []
    for step in range(300):
        at = step * BATCH % ROWS
        losses = []
        for net, optimizer in ((model, first), (explicit, second)):
            loss = F.cross_entropy(net(x[at : at + BATCH]), y[at : at + BATCH])
            net.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        np.testing.assert_allclose(*losses, rtol=1e-8)
        for i, mass in enumerate(explicit.masses):
            m, gradient = mass.detach().numpy(), mass.grad.numpy()
            remembered[i] = memory * remembered[i] + (1 - memory) * abs(m * gradient)
            fitness = np.where(alive[i], remembered[i] / (1 - memory ** (step + 1)), 0)
            upkeep = pressure * (fitness.sum() - fitness) / (born[i] - 1)
            worth = np.where(alive[i], (fitness - upkeep) / (fitness + upkeep), 0)
            m = np.minimum(m * np.exp(-np.log(threshold) / life * worth), 5.0)
            if step + 1 >= age:
                gone = np.flatnonzero(alive[i] & (m < threshold))
                died += [(step + 1, str(2 * i), int(j)) for j in gone[np.argsort(m[gone])]]
                alive[i][gone] = False
            with torch.no_grad():
                mass.copy_(torch.from_numpy(np.where(alive[i], m, 0)))
    ours = [
        (int(d["step"]), str(d["layer"]), int(d["birth"])) for d in evolution.history.extinctions
    ]
    assert ours == died
    assert len(died) > 20
    for i, name in enumerate(evolution.born):
        np.testing.assert_allclose(
            evolution.masses(name), explicit.masses[i].detach().numpy(), rtol=1e-7
        )


@pytest.mark.parametrize("niche", ["layer", "network"])
@pytest.mark.parametrize("fitness", ["taylor", "marginal", "relative", "worth"])
def test_the_law_in_torch_operations_is_that_of_the_core(niche, fitness):
    """With random signals for 400 generations, deaths are equal, and masses up to rounding."""
    born = {"a": 30, "b": 12, "c": 5}
    life = ep.Malthusian(lifespan=40)
    selection = ep.Selection(1.5, dynamics=life, fitness=fitness, niche=niche, min_age=10, floor=8)
    cpu = torch.device("cpu")
    laws = [HostLaws(born, selection, cpu), DeviceLaws(born, selection, cpu)]
    random = np.random.default_rng(0)
    quality = random.gamma(1.0, size=47)
    costs = torch.tensor(np.repeat([0.5, 0.1, 0.3], [30, 12, 5]) / 10)
    deaths = [[], []]
    for step in range(1, 401):
        gradient = torch.from_numpy(random.normal(size=47) * quality)
        for law, found in zip(laws, deaths, strict=True):
            law.step(
                {"mass_gradient": gradient},
                Generation(
                    step, float(np.cos(step / 800 * np.pi)), 1.2 + step / 1000, costs, terms=3
                ),
            )
            if law is laws[0] or step % 7 == 0:
                found += law.deaths()
        torch.testing.assert_close(laws[0].mass, laws[1].mass, rtol=1e-9, atol=1e-12)
        assert torch.equal(laws[0].alive, laws[1].alive)
    deaths[1] += laws[1].deaths()
    torch.testing.assert_close(laws[0].smoothed()[laws[0].alive], laws[1].smoothed()[laws[0].alive])
    assert [(d.step, d.layer, d.birth) for d in deaths[0]] == [
        (d.step, d.layer, d.birth) for d in deaths[1]
    ]
    assert len(deaths[0]) > 2
    assert int(laws[1].held) > 0


@pytest.mark.parametrize("make", [HostLaws, DeviceLaws])
def test_a_generation_without_finite_signals_is_left_out(make):
    laws = make({"a": 4}, ep.Selection(1.5), torch.device("cpu"))
    laws.step({"mass_gradient": torch.tensor([1.0, 2.0, 3.0, 4.0])}, Generation(1))
    before = {
        key: torch.as_tensor(value).clone()
        for key, value in laws.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    laws.step({"mass_gradient": torch.tensor([1.0, torch.nan, 3.0, 4.0])}, Generation(2))
    for key, value in laws.state_dict().items():
        if key in before:
            torch.testing.assert_close(value, before[key], equal_nan=True)


def test_the_law_in_torch_operations_never_waits_for_the_device(monkeypatch):
    laws = DeviceLaws({"a": 6, "b": 5}, ep.Selection(1.5), torch.device("cpu"))

    def wait(*_args, **_settings):
        raise AssertionError("a generation waits for the device")

    signals = {"mass_gradient": torch.randn(11)}
    for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, wait)
    laws.step(signals, Generation(1, strength=torch.ones(())))


def test_a_fitness_in_python_is_called_as_in_the_core():
    seen = []

    @ep.fitness
    def mine(signals):
        seen.append(set(signals))
        return abs(signals["mass"] * signals["mass_gradient"])

    x, y = (torch.from_numpy(a) for a in task())
    runs = []
    for fitness in (mine, "taylor"):
        torch.manual_seed(1)
        model = torch_models.mlp().double()
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        selection = ep.Selection(1.5, dynamics=LIFE, min_age=20, fitness=fitness)
        evolution = ept.Evolution(model, optimizer, x[:2], selection, terms=BATCH)
        for step in range(150):
            at = step * BATCH % ROWS
            optimizer.zero_grad()
            F.cross_entropy(model(x[at : at + BATCH]), y[at : at + BATCH]).backward()
            optimizer.step()
        runs.append([(int(d["step"]), int(d["birth"])) for d in evolution.history.extinctions])
    assert runs[0] == runs[1]
    assert runs[0]
    assert {"mass", "mass_gradient", "owned_norm2", "owned_gradient2", "owned_product"} <= seen[0]

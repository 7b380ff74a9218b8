"""Populations found by the PyTorch bridge; removal changes neither outputs nor training."""

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
from evoprune.bridges.torch.trace import outputs, run  # noqa: E402

MODELS = torch_models.MODELS
QUICK = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=12), min_age=5)


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


def doubled(example):
    """Return an example with its real numbers in float64."""
    if isinstance(example, dict):
        return {key: doubled(value) for key, value in example.items()}
    if isinstance(example, tuple):
        return tuple(map(doubled, example))
    return example.double() if example.is_floating_point() else example


def flat(model, example):
    """Return all real outputs of a model in evaluation mode, as one vector."""
    model.eval()
    with torch.no_grad():
        found = [t.reshape(-1) for t in outputs(run(model, example)) if t.is_floating_point()]
    model.train()
    return torch.cat(found)


def loss_of(model, example):
    """Return a loss that depends on every output."""
    found = [t for t in outputs(run(model, example)) if t.is_floating_point() and t.ndim]
    return sum(
        (t - torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view(t.shape)).square().mean()
        for t in found
    )


def train(model, optimizer, example, steps):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, example)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", MODELS)
def test_the_populations_of_a_model_are_found(name):
    make, example, born = MODELS[name]
    model = make()
    before = copy.deepcopy(model.state_dict())
    mode = [m.training for m in model.modules()]
    found = ept.inspect(model, example())
    assert found.born == born
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert mode == [m.training for m in model.modules()]


@pytest.mark.parametrize("name", MODELS)
def test_removal_leaves_outputs_as_they_are(name):
    make, example, _ = MODELS[name]
    model, x = make().double(), doubled(example())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    selection = QUICK.replace(removal="never")
    evolution = ept.Evolution(model, optimizer, x, selection)
    train(model, optimizer, x, 60)
    assert sum(evolution.alive.values()) < sum(evolution.born.values())
    before, count = flat(model, x), sum(p.numel() for p in model.parameters())
    evolution.compact()
    after = flat(model, x)
    assert sum(p.numel() for p in model.parameters()) < count
    assert float((after - before).abs().max()) <= 1e-12 * float(before.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_survivors_go_on_as_in_a_run_that_removes_nothing(name):
    make, example, _ = MODELS[name]
    first = make().double()
    second, x = copy.deepcopy(first), doubled(example())
    losses = []
    for model, removal in ((first, "always"), (second, "never")):
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        evolution = ept.Evolution(model, optimizer, x, QUICK.replace(removal=removal))
        losses.append(train(model, optimizer, x, 70))
        deaths = evolution.history.extinctions
        assert (evolution.compactions > 0) == (removal == "always")
    assert len(deaths)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


def test_parameters_stay_the_same_objects_and_sizes_are_true():
    model, x = torch_models.ResNet(), torch_models.images()
    before = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    evolution = ept.Evolution(model, optimizer, x, QUICK)
    train(model, optimizer, x, 60)
    small = evolution.close()
    assert small is model
    assert all(before[name] is p for name, p in model.named_parameters())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels)
        if isinstance(module, nn.BatchNorm2d):
            assert len(module.running_mean) == len(module.weight) == module.num_features
    for p in model.parameters():
        assert optimizer.state[p]["momentum_buffer"].shape == p.shape


def test_multiply_adds_are_those_of_the_layers():
    model = torch_models.lenet(28)
    optimizer = torch.optim.AdamW(model.parameters())
    evolution = ept.Evolution(model, optimizer, torch.randn(3, 1, 28, 28))
    by_hand = {
        "0": 24 * 24 * 6 * 25,
        "3": 8 * 8 * 16 * 6 * 25,
        "7": 40 * 256,
        "9": 10 * 40,
    }
    assert {k: v for k, v in evolution.macs_by_module.items() if v} == by_hand
    assert evolution.macs == evolution.founding_macs == sum(by_hand.values())
    assert evolution.parameters == sum(p.numel() for p in model.parameters())


def test_macs_equal_those_of_a_network_built_at_the_living_shape():
    model = torch_models.mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    evolution = ept.Evolution(model, optimizer, torch.randn(4, 20), QUICK.replace(removal="never"))
    train(model, optimizer, torch.randn(16, 20), 50)
    a, b = evolution.alive.values()
    assert a + b < 56
    assert evolution.macs == 20 * a + a * b + b * 4
    assert evolution.parameters == 21 * a + (a + 1) * b + (b + 1) * 4
    evolution.compact()
    assert evolution.parameters == sum(p.numel() for p in model.parameters())


class Softmaxed(nn.Module):
    """A softmax over neurons: removing one neuron changes the outputs of the others."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.c(F.relu(self.b(self.a(x).softmax(-1))))


class Written(nn.Module):
    """A model that splits a tensor by sizes that are constants in `forward`."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 12), nn.Linear(12, 6)
        self.c = nn.Linear(3, 2)

    def forward(self, x):
        p, q = F.relu(self.b(F.relu(self.a(x)))).split([3, 3], -1)
        return self.c(p * q)


@pytest.mark.parametrize(
    ("model", "example", "born", "reason"),
    [
        (Softmaxed, (4, 5), {"b": 6}, "taken together"),
        (Written, (4, 5), {"a": 12}, "removing some of its 3 changes the model"),
    ],
)
def test_what_cannot_evolve_is_named_with_the_operator(model, example, born, reason):
    found = ept.inspect(model(), torch.randn(example))
    assert found.born == born
    assert any(reason in why for why in found.why.values()), found.why


def test_states_of_recurrent_layers_and_tied_weights_keep_their_size_with_the_reason():
    found = ept.inspect(torch_models.Recurrent(), torch.randn(4, 6, 4))
    for dimension, layer in {
        "lstm.weight_hh_l0[1] (8)": "lstm (LSTM)",
        "between.weight[1] (8)": "lstm (LSTM)",
        "gru.weight_ih_l1[0] (18)": "gru (GRU)",
        "again.weight[1] (6)": "gru (GRU)",
        "cell.weight_ih[0] (7)": "cell (RNNCell)",
    }.items():
        assert found.why[dimension].startswith(f"{layer}: the state of a recurrent layer")
    found = ept.inspect(torch_models.Tied(), torch.randint(0, 20, (3, 7)))
    assert found.why["embed.weight[1] (12)"] == (
        "embed.weight both reads and makes it: its weights are shared"
    )


def test_a_wrong_rule_is_caught_by_removal(monkeypatch):
    """A rule that treats softmax as elementwise must fail the check."""
    from evoprune.bridges.torch import operators

    monkeypatch.setitem(operators.RULES, "_softmax", operators.pointwise)
    found = ept.inspect(Softmaxed(), torch.randn(4, 5))
    assert found.born == {"b": 6}
    assert "changes the model" in found.why["a"]


def test_attention_of_the_bridge_gives_what_that_of_torch_gives():
    from evoprune.bridges.torch.attention import free_heads

    ours = nn.MultiheadAttention(16, 4, batch_first=True)
    theirs = copy.deepcopy(ours)
    assert free_heads(ours)
    x, y = torch.randn(3, 5, 16), torch.randn(3, 7, 16)
    square, oblong = torch.randn(5, 5), torch.randn(12, 5, 7) > 1
    pad = torch.zeros(3, 7, dtype=torch.bool)
    pad[0, 5:] = True
    calls = [
        ((x, x, x), {}),
        ((x, x, x), {"need_weights": False}),
        ((x, x, x), {"attn_mask": square}),
        ((x, y, y), {"key_padding_mask": pad}),
        ((x, y, y), {"attn_mask": oblong, "key_padding_mask": pad, "average_attn_weights": False}),
        ((x[0], x[0], x[0]), {}),
        (
            (x, x, x),
            {
                "attn_mask": nn.Transformer.generate_square_subsequent_mask(5),
                "is_causal": True,
                "need_weights": False,
            },
        ),
    ]
    for args, settings in calls:
        for got, want in zip(ours(*args, **settings), theirs(*args, **settings), strict=True):
            assert (got is None) == (want is None)
            if want is not None:
                torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


class Cached(nn.Module):
    """A module that caches a function of a weight in evaluation mode, as LeViT does."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(5, 8), nn.Linear(8, 2)
        self.log_scale = nn.Parameter(torch.rand(8))
        self.scale = None

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self.scale = None
        return self

    def forward(self, x):
        if self.training:
            return self.c(F.relu(self.a(x)) * self.log_scale.exp())
        if self.scale is None:
            self.scale = self.log_scale.exp()
        return self.c(F.relu(self.a(x)) * self.scale)


def test_what_a_module_caches_in_evaluation_mode_is_dropped():
    model, x = Cached().double().eval(), torch.randn(4, 5).double()
    with torch.no_grad():
        before = model(x)
        assert ept.inspect(model, x).born == {"a": 8}
        torch.testing.assert_close(model(x), before)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    evolution = ept.Evolution(model, optimizer, x, QUICK.replace(removal="never"))
    train(model.train(), optimizer, x, 60)
    before = flat(model, x)
    model.eval()
    evolution.compact()
    assert model.a.out_features < 8
    assert not model.training
    with torch.no_grad():
        torch.testing.assert_close(model(x).reshape(-1), before)


class Conv1D(nn.Module):
    """Like `Conv1D` of transformers: a linear map with weight (in, out) that stores its sizes."""

    def __init__(self, out, size):
        super().__init__()
        self.nf, self.nx = out, size
        self.weight, self.bias = nn.Parameter(torch.randn(size, out)), nn.Parameter(torch.ones(out))

    def forward(self, x):
        rows = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return rows.view((*x.shape[:-1], self.nf))


class FusedHeads(nn.Module):
    """Attention as in GPT-2: one Conv1D for queries, keys and values."""

    def __init__(self, size=32, heads=4):
        super().__init__()
        self.embed_dim = self.split_size = size
        self.num_heads, self.head_dim = heads, size // heads
        self.c_attn, self.c_proj = Conv1D(3 * size, size), Conv1D(size, size)

    def forward(self, x):
        q, k, v = (
            part.view(*part.shape[:-1], -1, self.head_dim).transpose(1, 2)
            for part in self.c_attn(x).split(self.split_size, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).flatten(2))


def test_heads_of_a_fused_map_that_stores_its_sizes_evolve():
    found = ept.inspect(FusedHeads(), torch.randn(2, 7, 32))
    assert found.born == {"c_attn": 4}
    assert found.kinds == {"c_attn": "heads"}

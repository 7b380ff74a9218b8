"""PyTorch modules as networks: equal outputs, populations where possible, or an error."""

from __future__ import annotations

import exported
import numpy as np
import pytest

import evoprune as ep

torch = pytest.importorskip("torch", reason="needs evoprune[torch]")

from torch import nn  # noqa: E402 - needs torch
from torch.nn import functional as F  # noqa: E402 - needs torch


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def stirred(module: nn.Module) -> nn.Module:
    """Return the module, with random biases and random statistics of batch norms."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 1.5)
            if getattr(part, "bias", None) is not None:
                part.bias.normal_()
    return module


def check(module: nn.Module, shape: tuple[int, ...], **settings) -> ep.Network:
    """Convert a module, assert equal outputs for inputs with channels last, return the network."""
    net = ep.from_torch(stirred(module), shape, **settings)
    x = torch.randn(4, *shape)
    module.eval()
    with torch.no_grad():
        expected = module(x).numpy()
    first = tuple(net.spec["input"]) != shape
    got = net.predict((x.movedim(1, -1) if first else x).numpy())
    exported.agree(got, np.moveaxis(expected, 1, -1) if got.shape != expected.shape else expected)
    return net


# `to_torch` writes these networks with a module that selects or scales entries, because some
# entries are extinct. `from_torch` cannot convert this module.
KEEP_EXTINCT = {
    "mlp_inputs": "no layer for Entries",
    "cnn_inputs": "no layer for Entries",
    "resnet_stream": "no layer for Scale",
    "vit_stream": "no layer for",
}


@pytest.mark.parametrize("name", exported.NETS)
def test_modules_of_to_torch_are_converted_back(name):
    net = exported.net(name)
    module, x = ep.to_torch(net), exported.inputs(net)
    shape = tuple(net.spec["input"])
    shape = (shape[-1], *shape[:-1]) if len(shape) == 3 else shape
    if name in KEEP_EXTINCT:
        with pytest.raises(ValueError, match=f"from_torch: .*{KEEP_EXTINCT[name]}"):
            ep.from_torch(module, shape)
        return
    again = ep.from_torch(module, shape)
    exported.agree(again.predict(x), net.predict(x))
    alive = {of: n for of, n in net.alive.items() if not of.endswith("_dims")}
    assert list(again.born.values()) == list(alive.values())


MODULES = {
    "mlp": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), (6,), 5),
    "every activation": (
        nn.Sequential(
            nn.Linear(6, 5), nn.LeakyReLU(0.2), nn.Linear(5, 4), nn.GELU("tanh"), nn.Linear(4, 5),
            nn.SiLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 2),
        ), (6,), 23,
    ),
    "cnn": (
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 5, (3, 2), (2, 1), dilation=(1, 2)), nn.ReLU(), nn.Flatten(),
            nn.Linear(30, 6), nn.Dropout(0.2), nn.Sigmoid(), nn.Linear(6, 2),
        ), (3, 10, 10), 15,
    ),
    "global mean": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 3),
        ), (2, 5, 6), 4,
    ),
    "same padding": (
        nn.Sequential(nn.Conv2d(2, 4, 4, padding="same"), nn.Tanh(), nn.Conv2d(4, 3, 1)),
        (2, 5, 6), 4,
    ),
    "depthwise": (
        nn.Sequential(
            nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4),
            nn.ReLU(), nn.Conv2d(4, 3, 1),
        ), (2, 6, 5), 4,
    ),
    "sequence": (
        nn.Sequential(
            nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(),
            nn.Linear(12, 2),
        ), (3, 9), 4,
    ),
    "padded pools": (
        nn.Sequential(
            nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Flatten(),
            nn.Linear(12, 2),
        ), (3, 7, 6), 0,
    ),
    "flat image": (nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.ReLU(), nn.Linear(4, 2)),
                   (2, 3, 5), 4),
    "norms": (
        nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5), nn.RMSNorm(5),
                      nn.Linear(5, 2)), (3, 4), 6,
    ),
}  # fmt: skip


class FromInput(nn.Module):
    """A residual branch that is added to the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 3, 3, padding=1)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        y = torch.add(x, self.second(torch.relu(self.first(x))))
        return self.last(y.mean((2, 3)))


class Tokens(nn.Module):
    """A text classifier: embedding, convolution over positions, mean of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.conv = nn.Embedding(9, 4), nn.Conv1d(4, 5, 3, padding=1)
        self.norm, self.last = nn.LayerNorm(5), nn.Linear(5, 2)

    def forward(self, x):
        y = torch.relu(self.conv(self.table(x).transpose(1, 2))).permute(0, 2, 1)
        return self.last(self.norm(y).mean(1))


def test_a_residual_branch_from_the_input_gives_equal_outputs():
    assert check(FromInput(), (3, 6, 5)).born == {"relu": 5}


def test_codes_give_equal_outputs():
    module = stirred(Tokens())
    net = ep.from_torch(module, (7,))
    x = np.random.default_rng(0).integers(0, 9, (4, 7))
    exported.agree(net.predict(x), module(torch.tensor(x)).detach().numpy())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", MODULES)
def test_sequentials_give_equal_outputs(name):
    module, shape, born = MODULES[name]
    assert sum(check(module, shape).born.values()) == born
    assert not check(module, shape, populations=False).born


class Block(nn.Module):
    """A residual block as usually written by hand."""

    def __init__(self, into: int, out: int, stride: int, learned: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.more = out - into
        self.stride = stride
        self.shortcut = nn.Sequential()
        if learned and stride > 1:
            conv = nn.Conv2d(into, out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.more and not len(self.shortcut):
            pads = (0, 0, 0, 0, self.more // 2, self.more // 2)
            y += F.pad(x[:, :, :: self.stride, :: self.stride], pads, "constant", 0)
        else:
            y += self.shortcut(x)
        return F.relu(y)


class ResNet(nn.Module):
    """The published ResNets for CIFAR-10, with the published names of arrays."""

    def __init__(self, blocks: int, width: int = 16, learned: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        into = width
        for stage in range(3):
            made = []
            for block in range(blocks):
                out = width << stage
                made.append(Block(into, out, 2 if stage and not block else 1, learned))
                into = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.linear = nn.Linear(into, 10)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        y = F.avg_pool2d(y, y.size()[3])
        return self.linear(y.view(y.size(0), -1))


@pytest.mark.parametrize("learned", [False, True], ids=["shortcuts", "learned_shortcuts"])
def test_a_resnet_written_by_hand_gives_equal_outputs(learned):
    net = check(ResNet(2, 4, learned), (3, 16, 16))
    assert sum(net.born.values()) == 2 * (4 + 8 + 16)  # filters inside the blocks


@pytest.mark.parametrize("depth", [20, 56])
def test_published_weights_loaded_both_ways_give_equal_logits(depth, data_root):
    path = data_root("pretrained-resnet-cifar10") / f"resnet{depth}.npz"
    twin = ResNet((depth - 2) // 6)
    with np.load(path) as arrays:
        missing = twin.load_state_dict(
            {name: torch.tensor(a) for name, a in arrays.items()}, strict=False
        )
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    loaded = ep.load_resnet(path)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((torch.tensor(images) / 255 - mean) / std).movedim(-1, 1)
    twin.eval()
    with torch.no_grad():
        expected = twin(x).numpy()
        back = ep.to_torch(loaded)(torch.tensor(images).movedim(-1, 1).float()).numpy()
    exported.agree(loaded.predict(images), expected, 1e-4)
    exported.agree(back, expected, 1e-4)
    net = ep.from_torch(twin, (3, 32, 32))
    net.scale_input(*loaded.input_scaling)
    exported.agree(net.predict(images), expected, 1e-4)
    assert sum(net.born.values()) == sum(loaded.born.values())


def test_a_state_dict_is_read_without_tracing():
    twin = stirred(ResNet(1, 4, learned=True)).eval()
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = twin(((torch.tensor(images) / 255 - mean) / std).movedim(-1, 1)).numpy()
    exported.agree(ep.load_resnet(twin.state_dict()).predict(images), expected)


def test_converted_networks_learn_under_selection():
    module = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    net = ep.from_torch(module)
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=50), min_age=5)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(1e-2))
    trainer.fit((x, y), epochs=20, batch_size=40, progress=False)
    assert 0 < sum(net.alive.values()) < 32
    assert net.evaluate(x, y).accuracy > 0.9


def test_a_module_stays_in_training_mode():
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    module[1].eval()
    ep.from_torch(module)
    assert [part.training for part in module] == [True, False, True]


def test_float64_stays_float64():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    net = ep.from_torch(module)
    x = np.random.default_rng(0).normal(size=(3, 3))
    assert net.dtype == "float64"
    exported.agree(net.predict(x), module(torch.tensor(x)).detach().numpy(), 1e-13)


class Odd(nn.Module):
    """A module with an unsupported forward."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.linear, self.call = nn.Linear(4, 4), forward

    def forward(self, x):
        return self.call(self, x)


REFUSED = {
    "module": (nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)), (2, 4), "no layer for LSTM"),
    "function": (Odd(lambda m, x: torch.cumsum(m.linear(x), -1)), (4,), "cumsum"),
    "erf": (nn.Sequential(nn.Linear(4, 4), nn.GELU()), (4,), r"GELU\(approximate=\"tanh\"\)"),
    "groups": (nn.Conv2d(4, 6, 1, groups=2), (4, 3, 3), "expected groups of 1 or depthwise"),
    "padding": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 4), "got reflect"),
    "ceil": (nn.MaxPool2d(2, ceil_mode=True), (2, 5, 5), "without dilation, ceil_mode"),
    "counted": (nn.AvgPool2d(2, padding=1), (2, 4, 4), "counted padding"),
    "adaptive": (nn.AdaptiveAvgPool2d(2), (2, 4, 4), "one window over everything"),
    "scalar": (Odd(lambda m, x: m.linear(x) + 1), (4,), "expected the sum of two values"),
    "shape": (nn.Linear(4, 2), (5,), "does not run on inputs"),
    "branch": (Odd(lambda m, x: x if x.sum() > 0 else m.linear(x)), (4,), "cannot trace"),
    "two outputs": (Odd(lambda m, x: (m.linear(x), x)), (4,), "one output"),
    "no shape": (nn.Conv2d(2, 3, 1), None, "expected input="),
    "half": (nn.Linear(4, 2).half(), (4,), "float32 or float64, got float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_layer_is_refused_by_name(name):
    module, shape, why = REFUSED[name]
    with pytest.raises(ValueError, match=why):
        ep.from_torch(module, shape)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got dict"):
        ep.from_torch({})

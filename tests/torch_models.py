"""Small PyTorch models of every kind that the bridge to PyTorch must understand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F


@contextmanager
def steady() -> Iterator[None]:
    """Use one thread and seed 0, so that equal runs agree up to rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class BasicBlock(nn.Module):
    """Two convolutions with batch norm, and a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.down = None
        if stride != 1 or channels != out:
            self.down = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    def __init__(self, width: int = 8, blocks: tuple[int, ...] = (2, 2), classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        layers, channels = [], width
        for stage, count in enumerate(blocks):
            for i in range(count):
                out = width * 2**stage
                layers.append(BasicBlock(channels, out, 2 if stage and not i else 1))
                channels = out
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.layers(F.relu(self.norm(self.stem(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Dense(nn.Module):
    """Layers joined by concatenation, as in DenseNet, and a split."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 6, 3, padding=1)
        self.n = nn.BatchNorm2d(14)
        self.c = nn.Conv2d(14, 12, 1)
        self.d = nn.Conv2d(5, 4, 3)
        self.e = nn.Conv2d(7, 4, 3)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        a = F.relu(self.a(x))
        x = F.relu(self.c(self.n(torch.cat([a, F.relu(self.b(a))], 1))))
        p, q = x.split([self.d.in_channels, self.e.in_channels], 1)
        return self.fc((self.d(p) * torch.sigmoid(self.e(q))).mean((2, 3)))


class Grouped(nn.Module):
    """Depthwise, grouped, transposed convolutions; PReLU; group norm with one channel per group."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 16, 1)
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.each = nn.GroupNorm(16, 16)
        self.act = nn.PReLU(16)
        self.project = nn.Conv2d(16, 12, 1)
        self.group = nn.Conv2d(12, 12, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(12, 6, 2, 2)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = F.relu(self.project(self.act(self.each(self.depth(self.expand(x))))))
        return self.last(F.relu(self.up(F.relu(self.group(x)))))


class Block(nn.Module):
    """A transformer block with fused qkv."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.n1(x)).view(b, t, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1)
        x = x + self.proj(y)
        return x + self.fc2(F.gelu(self.fc1(self.n2(x))))


class ViT(nn.Module):
    def __init__(self, width: int = 16, heads: int = 4, depth: int = 2, patch: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        return self.head(self.norm(self.blocks(x))[:, 0])


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Decoder(nn.Module):
    """A decoder as in Llama: grouped-query attention with separate q, k, v, and a gated MLP."""

    def __init__(self, vocabulary: int = 30, width: int = 16, heads: int = 4, kv: int = 2) -> None:
        super().__init__()
        self.heads, self.kv, self.size = heads, kv, width // heads
        self.embed = nn.Embedding(vocabulary, width)
        self.n1, self.n2, self.n3 = RMSNorm(width), RMSNorm(width), RMSNorm(width)
        self.q = nn.Linear(width, heads * self.size, bias=False)
        self.k = nn.Linear(width, kv * self.size, bias=False)
        self.v = nn.Linear(width, kv * self.size, bias=False)
        self.o = nn.Linear(heads * self.size, width, bias=False)
        self.gate = nn.Linear(width, 24, bias=False)
        self.up = nn.Linear(width, 24, bias=False)
        self.down = nn.Linear(24, width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        b, t, _ = x.shape
        y = self.n1(x)
        q = self.q(y).view(b, t, -1, self.size).transpose(1, 2)
        k, v = (f(y).view(b, t, -1, self.size).transpose(1, 2) for f in (self.k, self.v))
        repeat = self.heads // self.kv
        k, v = (
            z[:, :, None].expand(b, z.shape[1], repeat, t, self.size).reshape(b, -1, t, self.size)
            for z in (k, v)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.size)
        mask = torch.full((t, t), -math.inf, dtype=x.dtype).triu(1)
        y = ((scores + mask).softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1)
        x = x + self.o(y)
        y = self.n2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.head(self.n3(x))


class Queries(nn.Module):
    """Grouped-query attention by PyTorch's own operator, with enable_gqa=True."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(12, 24), nn.Linear(12, 24)
        self.o = nn.Linear(24, 5)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.q(x).view(b, t, -1, 4).transpose(1, 2)
        k, v = self.kv(x).view(b, t, 2, -1, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.o(y.transpose(1, 2).flatten(2))


class Tied(nn.Module):
    """A model whose embedding table is also the weight of its output layer, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.fc1, self.fc2 = nn.Linear(12, 32), nn.Linear(32, 12)
        self.head = nn.Linear(12, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        return self.head(x + self.fc2(F.relu(self.fc1(x))))


class Gated(nn.Module):
    """Gated linear units of neurons and of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(6, 5, 3)
        self.c, self.d = nn.Linear(5, 16), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.b(F.glu(self.a(x), 1))).mean((2, 3))
        return self.d(F.glu(self.c(x)))


class TwoInputs(nn.Module):
    """Several inputs by name, several outputs in a dict, an embedding that can lose features."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 12)
        self.numbers = nn.Linear(5, 12)
        self.body = nn.Linear(12, 16)
        self.a, self.b = nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, words, numbers):
        x = torch.tanh(self.words(words) + self.numbers(numbers))
        x = F.relu(self.body(x))
        return {"classes": self.a(x), "value": (self.b(x), x.new_zeros(()))}


class Pair(nn.Module):
    """A model with an optional second input, which returns a tuple of a tensor and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 12), nn.Linear(6, 12)
        self.c, self.d = nn.Linear(12, 9), nn.Linear(9, 3)

    def forward(self, x, y=None):
        h = F.relu(self.a(x) if y is None else self.a(x) + self.b(y))
        h = torch.tanh(self.c(h))
        return self.d(h), [h.new_ones(()), self.d(-h)]


class Recurrent(nn.Module):
    """Recurrent layers of three kinds: their inputs can lose features, their states cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(4, 10)
        self.lstm = nn.LSTM(10, 8, batch_first=True)
        self.between = nn.Linear(8, 12)
        self.gru = nn.GRU(12, 6, num_layers=2, batch_first=True)
        self.again = nn.Linear(6, 9)
        self.cell = nn.RNNCell(9, 7)
        self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = F.relu(self.between(self.lstm(F.relu(self.inputs(x)))[0]))
        x = F.relu(self.again(self.gru(x)[0][:, -1]))
        return self.b(F.relu(self.a(self.cell(x))))


class Attended(nn.Module):
    """PyTorch's own attention, as a module and in an encoder layer."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=batch_first)
        self.cross = nn.MultiheadAttention(16, 4, batch_first=batch_first)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.layer(x)
        return self.fc(x + self.cross(x, x, x, need_weights=False)[0])


def mlp(inputs: int = 20, hidden: tuple[int, int] = (32, 24), out: int = 4) -> nn.Sequential:
    first, second = hidden
    return nn.Sequential(
        nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
        nn.Linear(second, out),
    )  # fmt: skip


def lenet(size: int = 28, channels: int = 1) -> nn.Sequential:
    side = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * side * side, 40), nn.ReLU(), nn.Linear(40, 10),
    )  # fmt: skip


def images(n: int = 4, size: int = 12) -> torch.Tensor:
    return torch.randn(n, 3, size, size)


# name -> (function that makes the model, function that makes its inputs, populations that must be
# found).
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], object], dict[str, int]]] = {
    "mlp": (mlp, lambda: torch.randn(4, 20), {"0": 32, "2": 24}),
    "lenet": (
        lambda: lenet(20, 3),
        lambda: images(4, 20),
        {"0": 6, "3": 16, "7": 40},
    ),
    "resnet": (
        ResNet,
        images,
        {
            "stem": 8,
            "layers.0.conv1": 8,
            "layers.1.conv1": 8,
            "layers.2.conv1": 16,
            "layers.2.conv2": 16,
            "layers.3.conv1": 16,
        },
    ),
    "dense": (Dense, images, {"a": 8, "b": 6, "c": 5, "c#2": 7, "d": 4}),
    "grouped": (Grouped, images, {"expand": 16, "project": 4, "up": 6}),
    "vit": (
        ViT,
        images,
        {"blocks.0.qkv": 4, "blocks.0.fc1": 64, "blocks.1.qkv": 4, "blocks.1.fc1": 64},
    ),
    "decoder": (Decoder, lambda: torch.randint(0, 30, (3, 7)), {"q": 2, "gate": 24}),
    "queries": (Queries, lambda: torch.randn(3, 5, 12), {"q": 3}),
    "tied": (Tied, lambda: torch.randint(0, 20, (3, 7)), {"fc1": 32}),
    "gated": (Gated, images, {"a": 6, "b": 5, "c": 8}),
    "two inputs": (
        TwoInputs,
        lambda: {"words": torch.randint(0, 20, (6,)), "numbers": torch.randn(6, 5)},
        {"words": 12, "body": 16},
    ),
    "pair": (
        Pair,
        lambda: (torch.randn(6, 5), torch.randn(6, 6)),
        {"a": 12, "c": 9},
    ),
    "recurrent": (
        Recurrent,
        lambda: torch.randn(4, 6, 4),
        {"inputs": 10, "between": 12, "again": 9, "a": 8},
    ),
    "attended": (
        Attended,
        lambda: torch.randn(3, 5, 16),
        {"layer.self_attn": 4, "layer.linear1": 32, "cross": 4},
    ),
}

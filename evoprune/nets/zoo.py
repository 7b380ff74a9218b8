"""Whole networks: what a user may begin with instead of a list of layers.

Each is a list of nodes of layers.py and a shape; nothing here computes. Populations stand wherever
a width is free: neurons, filters, heads, the neurons of a transformer's feed-forward part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evoprune.common.checks import whole
from evoprune.nets.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    MeanPool,
    Nodes,
    Patches,
    Populations,
    Positions,
    Residual,
    Shortcut,
    Take,
    Token,
    filters,
    heads,
    neurons,
)
from evoprune.nets.network import Dtype, Network, Sequential

__all__ = ["charlm", "cnn", "lenet5", "mlp", "resnet", "vit"]


def mlp(
    *sizes: int,
    activation: str = "relu",
    inputs: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a multilayer perceptron: mlp(784, 512, 256, 10) has two hidden layers of populations.

    Args:
        sizes: features of a sample, neurons of every hidden layer, outputs.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        inputs: let input features be populations too, to live and die.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError, TypeError: fewer than two sizes, or one that is no size.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes: expected at least features and outputs, got {sizes}")
    features, *hidden, outputs = (whole("sizes", size, 1) for size in sizes)
    nodes: list[Nodes] = [_living("features")] if inputs else []
    nodes += [neurons(units, activation) for units in hidden]
    nodes += _readout(outputs)
    return Sequential(nodes, input=features, seed=seed, dtype=dtype)


def lenet5(
    input: Sequence[int] = (28, 28, 1),  # noqa: A002 - the word for it
    outputs: int = 10,
    *,
    filters: Sequence[int] = (20, 50),
    neurons: int = 500,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make LeNet-5 as Caffe has it, the yardstick of structured pruning: 20-50-800-500.

    Two layers of 5 x 5 filters without padding, each with 2 x 2 max pooling, a layer of neurons;
    relu everywhere. 2.293 million multiply-adds at birth for (28, 28, 1).

    Args:
        input: height, width and channels of an image.
        outputs: classes.
        filters: filters born in the two layers.
        neurons: neurons born.
        seed, dtype: as for `Sequential`.
    """
    first, second = filters
    nodes: list[Nodes] = [
        _filters(first, 5, padding=0, pool=2),
        _filters(second, 5, padding=0, pool=2),
        Flatten(),
        _neurons(neurons, name="neurons1"),
        *_readout(outputs),
    ]
    return Sequential(nodes, input=input, seed=seed, dtype=dtype)


def cnn(
    input: Sequence[int],  # noqa: A002 - the word for it
    widths: Sequence[int],
    outputs: int,
    *,
    kernel: int = 3,
    activation: str = "relu",
    norm: bool = True,
    inputs: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a plain convolutional network: cnn((32, 32, 3), (32, 64, 128), 10).

    Each layer of filters halves height and width by max pooling; the mean over what positions are
    left is read out.

    Args:
        input: height, width and channels of an image.
        widths: filters born in every layer.
        outputs: classes.
        kernel: size of the window.
        activation: one that never falls: relu, leaky_relu, identity, tanh or sigmoid.
        norm: batch norm in every layer.
        inputs: let input channels be populations too.
        seed, dtype: as for `Sequential`.
    """
    nodes: list[Nodes] = [_living("channels")] if inputs else []
    nodes += [filters(width, kernel, activation, norm=norm, pool=2) for width in widths]
    nodes += [MeanPool(), *_readout(outputs)]
    return Sequential(nodes, input=input, seed=seed, dtype=dtype)


def resnet(
    depth: int = 20,
    width: int = 16,
    *,
    input: Sequence[int] = (32, 32, 3),  # noqa: A002 - the word for it
    outputs: int = 10,
    learned_shortcuts: bool | Sequence[int] = False,
    living_stream: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a residual network for small images (He et al. 2015, section 4.2): resnet(20), (56), ...

    Three stages of (depth - 2) / 6 blocks with width, 2 width and 4 width channels; a block is two
    3 x 3 convolutions with batch norm. Populations are the filters inside the blocks. Shortcuts
    between stages have no parameters (option A of the paper) or are learned (option B).

    Args:
        depth: layers with weights, 6 n + 2.
        width: channels of the first stage.
        input: height, width and channels of an image.
        outputs: classes.
        learned_shortcuts: make shortcuts into stages 2 and 3 1 x 1 convolutions with batch norm;
            a list of stages: only into these.
        living_stream: let channels of the residual stream be populations too, each with one mass
            for all layers of its stage that write it.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError: a depth that is not 6 n + 2, or stages other than 2 and 3.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth: expected 6 n + 2 (8, 14, 20, ...), got {depth}")
    learned = (2, 3) if learned_shortcuts is True else tuple(learned_shortcuts or ())
    if not set(learned) <= {2, 3}:
        raise ValueError(f"learned_shortcuts: expected stages 2, 3 or both, got {learned}")
    nodes: list[Nodes] = [
        Conv2d(width, 3, name="stem"),
        BatchNorm(name="stem_norm"),
        Populations(
            "relu", mass=living_stream, bias=False, name="stage1" if living_stream else "stem_relu"
        ),
    ]
    for stage in range(3):
        for block in range((depth - 2) // 6):
            name = f"stage{stage + 1}_block{block + 1}"
            down = 2 if stage and not block else 1
            inner = width << stage
            branch: list[Nodes] = [
                filters(inner, 3, norm=True, stride=down, padding=1, name=name),
                Conv2d(0, 3, name=f"{name}_out"),
                BatchNorm(name=f"{name}_out_norm"),
            ]
            skip: Nodes | None = None
            if down == 2:
                if stage + 1 in learned:
                    convolution = Conv2d(inner, 1, stride=2, padding=0, name=f"{name}_skip")
                    skip = [convolution, BatchNorm(name=f"{name}_skip_norm")]
                else:
                    skip = [Shortcut(inner, stride=2, name=f"{name}_skip")]
                skip += [_living(f"stage{stage + 1}")] if living_stream else []
            if living_stream:
                branch.append(_living(f"{name}_written", shared=True))
            nodes += [
                Residual(*branch, shortcut=skip, name=f"{name}_sum"),
                Populations("relu", mass=False, bias=False, name=f"{name}_relu"),
            ]
    nodes += [MeanPool(), *_readout(outputs)]
    return Sequential(nodes, input=input, seed=seed, dtype=dtype)


def vit(
    input: Sequence[int] = (28, 28, 1),  # noqa: A002 - the word for it
    outputs: int = 10,
    *,
    patch: int | Sequence[int] = 4,
    dim: int = 64,
    layers: int = 4,
    heads: int = 4,
    hidden: int | None = None,
    dropout: float = 0.0,
    living_dims: bool = False,
    living_stream: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a vision transformer (Dosovitskiy et al. 2020): patches, a class token, then blocks.

    Populations are the heads and the neurons of the feed-forward parts.

    Args:
        input: height, width and channels of an image.
        outputs: classes.
        patch: size of a patch; it must divide height and width.
        dim: features of the residual stream.
        layers: blocks of attention and feed-forward part.
        heads: heads born in every block, of dim / heads dimensions each.
        hidden: neurons born in every block; 4 dim if not given.
        dropout: rate, on what a branch adds to the stream.
        living_dims: let dimensions inside the heads be populations too.
        living_stream: let features of the residual stream be populations too, each with one mass
            for all layers that write it or read it.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError: heads do not divide dim, or patch the image.
    """
    block = _Block(heads, hidden, dropout, living_dims, living_stream)
    nodes: list[Nodes] = [
        Patches(patch),
        Dense(dim, contract=3, gain=1.0, name="embed"),
        Token(),
        Positions(),
        *([_living("stream")] if living_stream else []),
        *_blocks(layers, dim, block, causal=False),
        *_normed("last_norm", living_stream),
        Take(0),
        *_readout(outputs),
    ]
    return Sequential(nodes, input=input, seed=seed, dtype=dtype)


def charlm(
    vocabulary: str | int,
    context: int = 64,
    *,
    dim: int = 128,
    layers: int = 4,
    heads: int = 4,
    hidden: int | None = None,
    dropout: float = 0.0,
    living_dims: bool = False,
    living_stream: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a language model of characters: a transformer that sees what came before only.

    It reads codes (context,) and gives logits (context, vocabulary) for the character behind each.
    Populations are the heads and the neurons of the feed-forward parts.

    Args:
        vocabulary: the characters, as `datasets.text(path).vocabulary`, which are the network's
            `classes`; or only their number.
        context: characters of a sample.
        dim: features of the residual stream.
        layers: blocks of attention and feed-forward part.
        heads: heads born in every block, of dim / heads dimensions each.
        hidden: neurons born in every block; 4 dim if not given.
        dropout: rate, on what a branch adds to the stream.
        living_dims: let dimensions inside the heads be populations too.
        living_stream: let features of the residual stream be populations too, each with one mass
            for all layers that write it or read it.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError: heads do not divide dim.
    """
    size = len(vocabulary) if isinstance(vocabulary, str) else whole("vocabulary", vocabulary, 1)
    layers = whole("layers", layers, 1)
    block = _Block(heads, hidden, dropout, living_dims, living_stream)
    nodes: list[Nodes] = [
        Embedding(size, dim, deviation=0.1),
        Positions(deviation=0.1),
        *([_living("stream")] if living_stream else []),
        *_blocks(layers, dim, block, causal=True),
        *_normed("last_norm", living_stream),
        *_readout(size),
    ]
    network = Sequential(nodes, input=context, seed=seed, dtype=dtype)
    if isinstance(vocabulary, str):
        network.notes["vocabulary"] = vocabulary
    return network


@dataclass(frozen=True)
class _Block:
    """How the blocks of a transformer are made, beside their number and width."""

    heads: int
    hidden: int | None
    dropout: float
    living_dims: bool
    living_stream: bool


def _blocks(layers: int, dim: int, block: _Block, *, causal: bool) -> list[Nodes]:
    """Blocks of a transformer, norms first (Xiong et al. 2020).

    What the 2 `layers` branches add to the stream begins with 1 / (2 layers) of its variance.
    """
    number = block.heads
    if number < 1 or dim % number:
        raise ValueError(f"heads: expected a number that divides dim ({dim}), got {number}")
    gain = (2 * max(1, layers)) ** -0.5
    drop: list[Nodes] = [Dropout(block.dropout)] if block.dropout else []
    blocks: list[Nodes] = []
    for i in range(1, layers + 1):
        attention = heads(
            number, dim // number, causal=causal, gain=gain, living_dims=block.living_dims,
            name=f"heads{i}",
        )  # fmt: skip
        feed = neurons(block.hidden or 4 * dim, "gelu", name=f"neurons{i}")
        back = Dense(gain=gain, name=f"neurons{i}_out")
        for name, branch in ((f"heads{i}", [attention]), (f"neurons{i}", [feed, back])):
            written = [_living(f"{name}_written", shared=True)] if block.living_stream else []
            nodes = [*_normed(f"{name}_norm", block.living_stream), *branch, *written, *drop]
            blocks.append(Residual(*nodes, name=f"{name}_sum"))
    return blocks


def _normed(name: str, living: bool) -> list[Nodes]:
    """A norm of the stream; of living features what it reads is scaled by their mass too.

    A norm makes something of a zero, and nothing shall be left to read of a feature that dies.
    """
    return [LayerNorm(name=name), *([_living(f"{name}_read", shared=True)] if living else [])]


def _living(name: str, *, shared: bool = False) -> Layer:
    """Features that are populations; shared: those that the axis has already."""
    return Populations("identity", bias=False, shared=shared, name=name)


def _readout(outputs: int) -> list[Nodes]:
    """The last linear map, with a bias for each output; nobody lives there."""
    return [Dense(outputs, gain=1.0), Populations("identity", mass=False)]


_filters, _neurons = filters, neurons  # for functions whose arguments have these names

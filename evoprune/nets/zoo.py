"""Ready-made network architectures.

Each is an input shape and a list of layers (layers.py) and arrangements (arrangements.py); nothing
here computes. Every width that can be chosen freely is an axis of populations: neurons, filters,
heads, and the neurons of a transformer's feed-forward part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evoprune.common.checks import whole
from evoprune.common.renames import spelled
from evoprune.nets import arrangements
from evoprune.nets.arrangements import Flatten, Residual
from evoprune.nets.described import Dtype
from evoprune.nets.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    MeanPool,
    Patches,
    Populations,
    Positions,
    Shortcut,
    Take,
    Token,
)
from evoprune.nets.network import Network
from evoprune.nets.plan import Activation, Layer, Nodes
from evoprune.nets.sequential import Sequential

__all__ = ["charlm", "cnn", "lenet5", "mlp", "resnet", "vit"]


@spelled
def mlp(
    *sizes: int,
    activation: Activation = "relu",
    inputs: bool = False,
    input_dropout: float = 0.0,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a multilayer perceptron: mlp(784, 512, 256, 10) has two hidden layers of populations.

    Args:
        sizes: features of a sample, neurons of every hidden layer, outputs.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        inputs: make input features populations too.
        input_dropout: dropout rate of the input features in training. In longer runs it makes
            small networks more accurate; docs/small_networks.md has numbers.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError, TypeError: there are fewer than two sizes, or one is not a positive integer.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes: expected at least features and outputs, got {sizes}")
    features, *hidden, outputs = (whole("sizes", size, 1) for size in sizes)
    nodes: list[Nodes] = [Dropout(input_dropout)] if input_dropout else []
    nodes += [_living("features")] if inputs else []
    nodes += [arrangements.neurons(units, activation) for units in hidden]
    nodes += _readout(outputs)
    return Sequential(nodes, input=features, seed=seed, dtype=dtype)


@spelled
def lenet5(
    input: Sequence[int] = (28, 28, 1),  # noqa: A002 - the common name
    outputs: int = 10,
    *,
    filters: Sequence[int] = (20, 50),
    neurons: int = 500,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make LeNet-5 as in Caffe, a common benchmark of structured pruning.

    It has two layers of 5 x 5 filters without padding, each with 2 x 2 max pooling, and one layer
    of neurons, all with relu. By default, it has 20 and 50 filters and 500 neurons, and needs 2.293
    million multiply-adds at birth.

    Args:
        input: height, width and channels of an image.
        outputs: number of classes.
        filters: numbers of filters born in the two layers.
        neurons: number of neurons born.
        seed, dtype: as for `Sequential`.
    """
    first, second = filters
    nodes: list[Nodes] = [
        arrangements.filters(first, 5, padding=0, pool=2),
        arrangements.filters(second, 5, padding=0, pool=2),
        Flatten(),
        arrangements.neurons(neurons, name="neurons1"),
        *_readout(outputs),
    ]
    return Sequential(nodes, input=input, seed=seed, dtype=dtype)


@spelled
def cnn(
    input: Sequence[int],  # noqa: A002 - the common name
    widths: Sequence[int],
    outputs: int,
    *,
    kernel: int = 3,
    activation: Activation = "relu",
    norm: bool = True,
    inputs: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a plain convolutional network: cnn((32, 32, 3), (32, 64, 128), 10).

    Each layer of filters halves height and width by max pooling. The readout takes the mean over
    the remaining positions.

    Args:
        input: height, width and channels of an image.
        widths: number of filters born in each layer.
        outputs: number of classes.
        kernel: size of the window.
        activation: a monotonic activation: relu, leaky_relu, identity, tanh or sigmoid.
        norm: use batch norm in every layer.
        inputs: make input channels populations too.
        seed, dtype: as for `Sequential`.
    """
    nodes: list[Nodes] = [_living("channels")] if inputs else []
    nodes += [
        arrangements.filters(width, kernel, activation, norm=norm, pool=2) for width in widths
    ]
    nodes += [MeanPool(), *_readout(outputs)]
    return Sequential(nodes, input=input, seed=seed, dtype=dtype)


@spelled
def resnet(
    depth: int = 20,
    width: int = 16,
    *,
    input: Sequence[int] = (32, 32, 3),  # noqa: A002 - the common name
    outputs: int = 10,
    learned_shortcuts: bool | Sequence[int] = False,
    living_stream: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a residual network for small images, such as resnet(20) (He et al. 2015, section 4.2).

    It has three stages of (depth - 2) / 6 blocks with width, 2 width and 4 width channels. A block
    is two 3 x 3 convolutions with batch norm; the filters inside blocks are populations. Shortcuts
    between stages have no parameters (option A of the paper) or are learned (option B).

    Args:
        depth: number of layers with weights, 6 n + 2.
        width: number of channels of the first stage.
        input: height, width and channels of an image.
        outputs: number of classes.
        learned_shortcuts: use 1 x 1 convolutions with batch norm as shortcuts into stages 2 and 3,
            or only into the listed stages.
        living_stream: make channels of the residual stream populations too, each with one mass for
            all layers of its stage that write to it.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError: depth is not 6 n + 2, or a stage is not 2 or 3.
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
                arrangements.filters(inner, 3, norm=True, stride=down, padding=1, name=name),
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


@spelled
def vit(
    input: Sequence[int] = (28, 28, 1),  # noqa: A002 - the common name
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
        outputs: number of classes.
        patch: size of a patch; it must divide height and width.
        dim: number of features of the residual stream.
        layers: number of blocks, each of attention and feed-forward part.
        heads: number of heads born in each block, of dim / heads dimensions each.
        hidden: number of neurons born in each block; 4 dim by default.
        dropout: dropout rate of each branch's contribution to the stream.
        living_dims: make dimensions inside the heads populations too.
        living_stream: make features of the residual stream populations too, each with one mass for
            all layers that write to it or read it.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError: heads does not divide dim, or patch does not divide the image.
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


@spelled
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
    """Make a character-level language model: a causal transformer.

    It reads codes (context,) and returns, for every position, logits of the next character:
    (context, vocabulary). Populations are the heads and the neurons of the feed-forward parts.

    Args:
        vocabulary: the characters, as in `datasets.text(path).vocabulary`, which become the
            network's `classes`; or only their number.
        context: number of characters in a sample.
        dim, layers, heads, hidden, dropout, living_dims, living_stream: as for `vit`.
        seed, dtype: as for `Sequential`.

    Raises:
        ValueError: heads does not divide dim.
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
    """Settings of a transformer's blocks, other than their number and width."""

    heads: int
    hidden: int | None
    dropout: float
    living_dims: bool
    living_stream: bool


def _blocks(layers: int, dim: int, block: _Block, *, causal: bool) -> list[Nodes]:
    """Return the blocks of a pre-norm transformer (Xiong et al. 2020).

    There are 2 * layers branches. The gains of their last linear maps are chosen so that,
    initially, all branches together add a variance of about 1 to the residual stream.
    """
    number = block.heads
    if number < 1 or dim % number:
        raise ValueError(f"heads: expected a number that divides dim ({dim}), got {number}")
    gain = (2 * max(1, layers)) ** -0.5
    drop: list[Nodes] = [Dropout(block.dropout)] if block.dropout else []
    blocks: list[Nodes] = []
    for i in range(1, layers + 1):
        attention = arrangements.heads(
            number, dim // number, causal=causal, gain=gain, living_dims=block.living_dims,
            name=f"heads{i}",
        )  # fmt: skip
        feed = arrangements.neurons(block.hidden or 4 * dim, "gelu", name=f"neurons{i}")
        back = Dense(gain=gain, name=f"neurons{i}_out")
        for name, branch in ((f"heads{i}", [attention]), (f"neurons{i}", [feed, back])):
            written = [_living(f"{name}_written", shared=True)] if block.living_stream else []
            nodes = [*_normed(f"{name}_norm", block.living_stream), *branch, *written, *drop]
            blocks.append(Residual(*nodes, name=f"{name}_sum"))
    return blocks


def _normed(name: str, living: bool) -> list[Nodes]:
    """Return a layer norm of the residual stream; if `living`, a scaling by mass follows.

    The norm maps zeros to other values; the scaling by mass makes extinct features 0 again.
    """
    return [LayerNorm(name=name), *([_living(f"{name}_read", shared=True)] if living else [])]


def _living(name: str, *, shared: bool = False) -> Layer:
    """Return a layer that makes features populations.

    If `shared`, the layer uses the masses of an earlier layer.
    """
    return Populations("identity", bias=False, shared=shared, name=name)


def _readout(outputs: int) -> list[Nodes]:
    """Return the last linear map and a layer that adds its biases; outputs are not populations."""
    return [Dense(outputs, gain=1.0), Populations("identity", mass=False)]

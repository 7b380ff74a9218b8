"""Classes of layers.py. Made by tools/make_stubs.py from the core's catalogue."""

from collections.abc import Sequence
from typing import Literal

from evoprune.nets.plan import Layer

__all__ = [
    "Attention",
    "BatchNorm",
    "Conv2d",
    "Dense",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "MaxPool",
    "MeanPool",
    "Patches",
    "Populations",
    "Positions",
    "RMSNorm",
    "Shortcut",
    "Sum",
    "Take",
    "Token",
]

class Dense(Layer):
    """y = x w: a linear map of the last axes of x, without bias. Input (..., in), output
    (..., units). With a second input the output has the axes of that input (its
    elements are not read), so that a branch can be added to a residual stream.

    Args:
        units: sizes of the output axes, one to three; left out when a second input gives them (in
            [1, 1e+09]).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        contract: number of trailing axes of the input that are summed over; 0: all (in [0, 4];
            default 1).
        gain: initial weights are normal with deviation gain / sqrt(fan in); sqrt(2) suits relu (in
            [0, 100]; default 1.41421).
    """
    def __init__(
        self,
        units: int | Sequence[int] | None = None,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        contract: int = 1,
        gain: float = 1.4142135623730951,
    ) -> None: ...
    @property
    def units(self) -> tuple[int, ...] | None: ...
    @property
    def contract(self) -> int: ...
    @property
    def gain(self) -> float: ...

class Conv2d(Layer):
    """y = the sum over a window of x w, without bias. Input (height, width, channels), output
    (height, width, filters); or (length, channels) and (length, filters). With a second
    input the filters are that input's channels (its elements are not read), so that a
    branch can be added to a residual stream.

    Args:
        filters: output channels; 0 if a second input gives them, or if depthwise (in [0, 1e+09];
            default 0).
        kernel: size of the window: one number, or height and width (in [1, 1e+06]; default 3).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        stride: steps between windows; left out: 1 (in [1, 1e+06]).
        padding: zeros beyond each edge; left out: as many as keep the size (divided by
    stride, rounded up) (in [0, 1e+06]).
        dilation: steps between the elements under a window; left out: 1 (in [1, 1e+06]).
        depthwise: one filter per input channel; the output has the input's axis of channels
            (default False).
        gain: initial weights are normal with deviation gain / sqrt(fan in); sqrt(2) suits relu (in
            [0, 100]; default 1.41421).
    """
    def __init__(
        self,
        filters: int = 0,
        kernel: int | Sequence[int] = 3,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] | None = None,
        dilation: int | Sequence[int] | None = None,
        depthwise: bool = False,
        gain: float = 1.4142135623730951,
    ) -> None: ...
    @property
    def filters(self) -> int: ...
    @property
    def kernel(self) -> tuple[int, ...]: ...
    @property
    def stride(self) -> tuple[int, ...] | None: ...
    @property
    def padding(self) -> tuple[int, ...] | None: ...
    @property
    def dilation(self) -> tuple[int, ...] | None: ...
    @property
    def depthwise(self) -> bool: ...
    @property
    def gain(self) -> float: ...

class Populations(Layer):
    """h = m * phi(z + b) along one axis: every entry of the axis is a population with a mass
    m >= 0 (1 at birth), an optional bias b and the activation phi. Directly after the
    input it makes the input features populations.

    Args:
        activation: phi; gelu is the tanh form (Hendrycks & Gimpel 2016) (identity, relu,
            leaky_relu, gelu, silu, tanh, sigmoid; default 'identity').
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        axis: the axis whose entries are populations, counted without the batch; -1: the last (in
            [-4, 3]; default -1).
        bias: add a bias per population before phi (default True).
        mass: scale by a mass under selection; false: an ordinary bias and activation (default
            True).
        shared: use the masses that an earlier layer declared for the axis, instead of new ones
            (default False).
        slope: slope of leaky_relu below zero (in [0, 1]; default 0.01).
    """
    def __init__(
        self,
        activation: Literal[
            "identity", "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"
        ] = "identity",
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        axis: int = -1,
        bias: bool = True,
        mass: bool = True,
        shared: bool = False,
        slope: float = 0.01,
    ) -> None: ...
    @property
    def activation(
        self,
    ) -> Literal["identity", "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"]: ...
    @property
    def axis(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    @property
    def mass(self) -> bool: ...
    @property
    def shared(self) -> bool: ...
    @property
    def slope(self) -> float: ...

class Attention(Layer):
    """softmax(scale q k') v for every head; reads queries, keys and values, each
    (positions, heads, dims) on the same axes, as dense layers give them: the first with
    units (heads, dims), the others with the first as their second input. After it,
    populations along axis -2 make the heads populations.

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        causal: a position attends to itself and to those before it only (default False).
        scale: factor on the scores; 0: 1 / sqrt(founding head dimensions), also after removals (in
            [0, 1e+06]; default 0).
    """
    def __init__(
        self,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        causal: bool = False,
        scale: float = 0.0,
    ) -> None: ...
    @property
    def causal(self) -> bool: ...
    @property
    def scale(self) -> float: ...

class LayerNorm(Layer):
    """y = (x - mean) / sqrt(variance + epsilon) * gain + bias over the last axis. The
    output has the shape of the input.

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        affine: scale by a learned gain (layer norm: and add a learned bias) per feature (default
            True).
        epsilon: added to the variance under the root (in [0, 1]; default 1e-05).
    """
    def __init__(
        self,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        affine: bool = True,
        epsilon: float = 1e-05,
    ) -> None: ...
    @property
    def affine(self) -> bool: ...
    @property
    def epsilon(self) -> float: ...

class RMSNorm(Layer):
    """y = x / sqrt(mean square + epsilon) * gain over the last axis. The output has
    the shape of the input.

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        affine: scale by a learned gain (layer norm: and add a learned bias) per feature (default
            True).
        epsilon: added to the variance under the root (in [0, 1]; default 1e-05).
    """
    def __init__(
        self,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        affine: bool = True,
        epsilon: float = 1e-05,
    ) -> None: ...
    @property
    def affine(self) -> bool: ...
    @property
    def epsilon(self) -> float: ...

class BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + epsilon) * gain + bias, channel by channel (the last
    axis). In training mean and variance are those of a block of 32 rows of the batch (the
    last block takes what is left over), otherwise the tracked ones. The output has the
    shape of the input.

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        affine: scale by a learned gain and add a learned bias, per channel (default True).
        epsilon: added to the variance under the root (in [0, 1]; default 1e-05).
        momentum: weight of the newest batch in the tracked mean and variance (in [0, 1]; default
            0.1).
    """
    def __init__(
        self,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        affine: bool = True,
        epsilon: float = 1e-05,
        momentum: float = 0.1,
    ) -> None: ...
    @property
    def affine(self) -> bool: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def momentum(self) -> float: ...

class MaxPool(Layer):
    """The largest element of every window. Input (height, width, channels) or (length,
    channels); without a size the output is (channels).

    Args:
        size: size of the window: one number, or height and width; left out: one window over
    everything, and the output has no spatial axes (in [1, 1e+06]).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        stride: steps between windows; left out: the size of a window (in [1, 1e+06]).
        padding: how far windows may extend beyond each edge, where no elements count; left out: 0
            (in [0, 1e+06]).
    """
    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] | None = None,
    ) -> None: ...
    @property
    def size(self) -> tuple[int, ...] | None: ...
    @property
    def stride(self) -> tuple[int, ...] | None: ...
    @property
    def padding(self) -> tuple[int, ...] | None: ...

class MeanPool(Layer):
    """The mean of every window's elements inside the input. Input (height, width, channels)
    or (length, channels); without a size the output is (channels).

    Args:
        size: size of the window: one number, or height and width; left out: one window over
    everything, and the output has no spatial axes (in [1, 1e+06]).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        stride: steps between windows; left out: the size of a window (in [1, 1e+06]).
        padding: how far windows may extend beyond each edge, where no elements count; left out: 0
            (in [0, 1e+06]).
    """
    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] | None = None,
    ) -> None: ...
    @property
    def size(self) -> tuple[int, ...] | None: ...
    @property
    def stride(self) -> tuple[int, ...] | None: ...
    @property
    def padding(self) -> tuple[int, ...] | None: ...

class Embedding(Layer):
    """Rows of a learned table (vocabulary, units) by id: (...) whole numbers ->
    (..., units). An id outside the table gives NaN. A second input, if there is one, is
    not read; it only gives the last axis.

    Args:
        vocabulary: rows of the table; ids are 0 to vocabulary - 1 (in [1, 1.67772e+07]).
        units: elements per row; left out when a second input gives the axis (in [0, 1e+09]; default
            0).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        deviation: standard deviation of the normally distributed initial values (in [0, 100];
            default 0.02).
    """
    def __init__(
        self,
        vocabulary: int,
        units: int = 0,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        deviation: float = 0.02,
    ) -> None: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def deviation(self) -> float: ...

class Positions(Layer):
    """Adds a learned table (positions, features) to an input (..., positions, features).

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        deviation: standard deviation of the normally distributed initial values (in [0, 100];
            default 0.02).
    """
    def __init__(
        self, *, name: str | None = None, inputs: str | Sequence[str] = (), deviation: float = 0.02
    ) -> None: ...
    @property
    def deviation(self) -> float: ...

class Dropout(Layer):
    """In training, sets each element to 0 with probability rate and scales the others by
    1 / (1 - rate); outside training, the identity.

    Args:
        rate: probability that an element is dropped in training (in [0, 0.999]; default 0.1).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
    """
    def __init__(
        self, rate: float = 0.1, *, name: str | None = None, inputs: str | Sequence[str] = ()
    ) -> None: ...
    @property
    def rate(self) -> float: ...

class Sum(Layer):
    """Adds two to four inputs on the same axes: a residual connection. A branch ends on
    the axes it began on if its last dense or convolution has the branch's input as its
    second input.

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
    """
    def __init__(self, *, name: str | None = None, inputs: str | Sequence[str] = ()) -> None: ...

class Shortcut(Layer):
    """Every stride-th position of (height, width, channels) or (length, channels), zeros for
    the channels that the input does not have, as many before as after: a residual shortcut
    without parameters.

    Args:
        channels: channels of the output, at least as many as the input has (in [1, 1e+09]).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        stride: steps between the positions that are kept; left out: 1 (in [1, 1e+06]).
    """
    def __init__(
        self,
        channels: int,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        stride: int | Sequence[int] | None = None,
    ) -> None: ...
    @property
    def channels(self) -> int: ...
    @property
    def stride(self) -> tuple[int, ...] | None: ...

class Token(Layer):
    """Adds a learned position before the first: (positions, features) -> (positions + 1,
    features). The class token of a vision transformer.

    Args:
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        deviation: standard deviation of the normally distributed initial values (in [0, 100];
            default 0.02).
    """
    def __init__(
        self, *, name: str | None = None, inputs: str | Sequence[str] = (), deviation: float = 0.02
    ) -> None: ...
    @property
    def deviation(self) -> float: ...

class Take(Layer):
    """One position of (positions, ...), or with mean=True the mean of all: (...).

    Args:
        position: index of the position; a negative one counts from the end (in [-1e+09, 1e+09];
            default 0).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
        mean: take the mean of all positions instead of one position (default False).
    """
    def __init__(
        self,
        position: int = 0,
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
        mean: bool = False,
    ) -> None: ...
    @property
    def position(self) -> int: ...
    @property
    def mean(self) -> bool: ...

class Patches(Layer):
    """Cuts an image (height, width, channels) into patches without overlap: (patches, rows,
    columns, channels), row by row.

    Args:
        size: rows and columns of a patch; one number for both (in [1, 1e+06]).
        name: name of the layer; kind and number if not given.
        inputs: names of earlier layers to read as well, after the previous one (default []).
    """
    def __init__(
        self,
        size: int | Sequence[int],
        *,
        name: str | None = None,
        inputs: str | Sequence[str] = (),
    ) -> None: ...
    @property
    def size(self) -> tuple[int, ...]: ...

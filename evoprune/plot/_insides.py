"""Plots of surviving populations: kernels, receptive fields, attention maps, input features.

The functions read arrays of a network by name; they do not train or change anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.checks import instance, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.data.dataset import Dataset
from evoprune.data.table import inputs_of
from evoprune.nets.network import Network
from evoprune.nets.populations import census
from evoprune.plot._ground import grey, is_dark, one

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["features", "filters", "heads"]


@spelled
def filters(
    network: Network,
    layer: str | None = None,
    *,
    shape: tuple[int, int] | Dataset | Array | None = None,
    most: int = 120,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of surviving populations as images, largest mass first.

    A filter is drawn as its kernel, averaged over channels, or in color for the three channels of
    an image. A neuron that reads an image is drawn as an image of its weights. Red is positive,
    blue negative, each image on its own scale; extinct inputs are left empty.

    Args:
        network: the network; it is only read.
        layer: a layer of populations; by default the first whose weights can be drawn.
        shape: (rows, columns) of the image that neurons read, if it is not square; or a data set
            of images, an array of images, or one image, which gives the shape.
        most: maximum number of populations to draw.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.

    Raises:
        ValueError: no such layer, or its weights cannot be drawn as images.
    """
    instance("network", network, Network)
    name, births, mass, pictures = _pictures(network, layer, _rows_and_columns(network, shape))
    order = np.argsort(-mass, kind="stable")[:most]
    pictures, births = pictures[order], births[order]
    n, high, wide = pictures.shape[:3]
    columns = max(1, min(n, int(np.ceil(np.sqrt(1.6 * n * high / wide)))))
    rows = -(-n // columns) if n else 1
    gap = max(1, round(0.12 * high))
    ax = one(ax, (8, min(9, 0.6 + 8 * rows * (high + gap) / (columns * (wide + gap)))))
    ground = np.asarray(grey(ax, 0.0))
    sheet = np.tile(ground, (rows * (high + gap) - gap, columns * (wide + gap) - gap, 1))
    for i, picture in enumerate(pictures):
        r, c = i // columns * (high + gap), i % columns * (wide + gap)
        sheet[r : r + high, c : c + wide] = _colored(picture, ax)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    left_out = f", the {n:,} heaviest" if n < len(mass) else ""
    ax.set_title(f"What {name} reads: {len(mass):,} survivors{left_out}", loc="left")
    return ax


def _rows_and_columns(network: Network, shape: Any) -> tuple[int, int] | None:
    """Return (rows, columns) of images; `shape` is that pair, a data set, or images.

    Raises:
        ValueError: the data does not hold images for this network.
    """
    if shape is None or (isinstance(shape, tuple) and len(shape) == 2):
        return shape
    size = int(np.prod(network.spec["input"]))
    sizes = shape.shape if isinstance(shape, Dataset) else np.shape(shape)
    for image in (sizes, sizes[1:]):
        if len(image) in (2, 3) and int(np.prod(image)) == size:
            return int(image[0]), int(image[1])
    raise ValueError(f"shape: expected (rows, columns) or images of {size} numbers, got {sizes}")


def _colored(picture: Array, ax: Any) -> Array:
    """Return an image (height, width) or (height, width, 3) as colors (height, width, 3)."""
    from matplotlib import colormaps

    if picture.ndim == 3:
        low, high = np.nanmin(picture), np.nanmax(picture)
        image: Array = (picture - low) / max(1e-30, high - low)
        return image
    most = np.nanmax(np.abs(picture), initial=0) if np.isfinite(picture).any() else 0
    scaled = 0.5 + 0.5 * picture / (most or 1)
    painted = colormaps["managua" if is_dark(ax) and "managua" in colormaps else "RdBu_r"](scaled)
    return np.where(np.isnan(picture)[..., None], grey(ax, 0.08), painted[..., :3])


def _pictures(
    network: Network, layer: str | None, shape: tuple[int, int] | None
) -> tuple[str, Array, Array, Array]:
    """Return a layer's name, and birth ids, masses and images of its living populations."""
    facts = network.describe()
    people = census(network, 0.0)
    if layer is not None and layer not in people:
        raise ValueError(f"layer: expected one of {', '.join(people) or 'none'}, got {layer!r}")
    sizes = {axis["name"]: axis for axis in facts["axes"]}
    tensors = {tensor["name"]: tensor for tensor in facts["tensors"]}
    axes = {row["layer"]: row["axis"] for row in facts["populations"]}
    for name in people if layer is None else (layer,):
        for reader in facts["layers"]:
            weight = f"{reader['name']}.weight"
            if reader["kind"] not in ("conv2d", "dense") or weight not in tensors:
                continue
            if axes[name] not in reader["output"]:
                continue
            values = np.asarray(network[weight], np.float64)
            names = tensors[weight]["axes"]
            births, mass, *_ = people[name]
            if reader["kind"] == "conv2d" and values.ndim == 4 and values.shape[1] > 1:
                places = _places(network, name, values.shape[-1])
                kernels = np.moveaxis(values, -1, 0)[places]
                color = kernels.shape[-1] == 3 and reader["inputs"] == ["input"]
                return name, births, mass, kernels if color else kernels.mean(-1)
            if (
                reader["kind"] == "dense"
                and names[0].startswith("input")
                and names[-1] == axes[name]
            ):
                image = _image(network, values, [sizes[a] for a in names[:-1]], shape)
                if image is not None:
                    return name, births, mass, image[_places(network, name, len(image))]
    asked = f"those of {layer}" if layer else "those of any layer"
    raise ValueError(
        "layer: expected weights that are pictures (a convolution's, or those of neurons that read "
        f"an image), {asked} are none; shape=(rows, columns) helps where an image is not square"
    )


def _places(network: Network, name: str, size: int) -> Array:
    alive = np.flatnonzero(network[f"{name}.alive"] > 0)
    return alive[alive < size]


def _image(
    network: Network, values: Array, axes: list[dict[str, Any]], shape: tuple[int, int] | None
) -> Array | None:
    """Return weights (inputs ..., neurons) as images (neurons, rows, columns).

    Return None if the number of inputs is not rows * columns.
    """
    sizes = [int(axis["born"]) for axis in axes]
    if shape is None:
        if len(sizes) >= 2:
            shape = (sizes[0], sizes[1])
        else:
            side = round(np.sqrt(sizes[0]))
            shape = (side, side)
    if np.prod(shape) != np.prod(sizes[: max(1, min(2, len(sizes)))]):
        return None
    whole = np.full((*sizes, values.shape[-1]), np.nan)
    whole[np.ix_(*(np.asarray(axis["birth"]) for axis in axes), np.arange(values.shape[-1]))] = (
        values
    )
    if len(sizes) == 3:
        whole = whole.mean(2)
    return np.moveaxis(whole.reshape(*shape, -1), -1, 0)


@spelled
def features(
    network: Network,
    layer: str | None = None,
    *,
    shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the masses of input features as an image; extinct features are left empty.

    Args:
        network: a network with input populations, such as mlp(..., inputs=True).
        layer: the layer of input populations; by default the first of the network.
        shape: rows and columns of the image; square if not given.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.

    Raises:
        ValueError: the network has no input populations, or they do not fill the shape.
    """
    from matplotlib import colormaps

    instance("network", network, Network)
    people = census(network, 0.0)
    facts = network.describe()
    reads = {row["name"]: row["inputs"] for row in facts["layers"]}
    name = layer or next((n for n in people if reads[n] == ["input"]), None)
    if name not in people:
        raise ValueError("layer: the network has no populations on its input; mlp(inputs=True) has")
    born = network.born[name]
    if shape is None:
        side = round(np.sqrt(born))
        shape = (side, side)
    if np.prod(shape) != born:
        raise ValueError(f"shape: expected rows and columns of {born} features, got {shape}")
    births, mass, *_ = people[name]
    image = np.full(born, np.nan)
    image[births] = mass
    ax = one(ax, (5, 5))
    scale = np.log(np.maximum(image, 1e-6))
    low, high = (np.nanmin(scale), np.nanmax(scale)) if len(births) else (0.0, 1.0)
    level = 0.25 + 0.75 * (scale - low) / max(1e-9, high - low)
    painted = colormaps["cividis"](np.nan_to_num(level))[:, :3]
    painted = np.where(np.isnan(image)[:, None], grey(ax, 0.06), painted)
    ax.imshow(painted.reshape(*shape, 3), interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(f"{len(births):,} of {born:,} input features live", loc="left")
    return ax


@spelled
def heads(
    network: Network,
    x: Dataset | ArrayLike,
    layer: str | None = None,
    *,
    sample: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw the attention map of every surviving head: queries down, keys across.

    Args:
        network: a network with attention; it runs one forward pass on the sample.
        x: raw samples as `Network.predict` takes them: a data set, an array, or one sample.
        layer: one layer of heads ("heads2"); by default all layers, one in each row.
        sample: index of the sample.
        ax: where to draw; a new figure if not given.

    Returns:
        The Axes.

    Raises:
        ValueError: the network has no attention layer, or no layer of that name.
    """
    from matplotlib import colormaps

    instance("network", network, Network)
    facts = network.describe()
    found = [row for row in facts["layers"] if row["kind"] == "attention"]
    # Show an attention layer under the name of the layer that has its heads as populations.
    mortal = {row["axis"]: row["layer"] for row in facts["populations"]}
    names = {row["name"]: mortal.get(row["output"][-2], row["name"]) for row in found}
    wanted = [row for row in found if layer in (None, row["name"], names[row["name"]])]
    if not wanted:
        known = ", ".join(names.values()) or "none"
        raise ValueError(f"layer: expected a layer of attention ({known}), got {layer!r}")
    network.forward(_sample(network, x, sample), training=False)
    configs = {row["name"]: row["config"] for row in network.spec["layers"]}
    rows = [_maps(network, row, configs[row["name"]]) for row in wanted]
    ids = {axis["name"]: axis for axis in facts["axes"]}
    most = max(len(maps) for maps in rows)
    ax = one(ax, (min(12, 1.2 + 1.6 * most), min(10, 0.8 + 1.8 * len(rows))))
    cmap = colormaps["cividis"]
    pitch = 1.14  # distance of two rows of maps of height 1, with space for titles
    for at, (row, maps) in enumerate(zip(wanted, rows, strict=True)):
        r = pitch * at
        births = np.asarray(ids[row["output"][-2]]["birth"])
        ax.text(-0.12, r + 0.5, names[row["name"]], ha="right", va="center", fontsize="small")
        for c, picture in enumerate(maps):
            level = np.sqrt(picture / max(1e-30, picture.max()))
            ax.imshow(cmap(level), extent=(c, c + 0.94, r + 0.94, r), interpolation="nearest")
            ax.text(c, r - 0.02, f"head {births[c]}", fontsize="x-small", va="bottom")
        if not len(maps):
            ax.text(0, r + 0.5, "no head is left", va="center", color=grey(ax, 0.6))
    ax.set_xlim(-0.1, most)
    ax.set_ylim(pitch * len(rows) - 0.14, -0.15)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title("What the surviving heads attend to", loc="left", pad=14)
    return ax


def _sample(network: Network, x: Any, sample: int) -> Array:
    """Return one sample as a batch of size 1."""
    if isinstance(x, Dataset):
        return np.asarray(x[whole("sample", sample, 0, len(x) - 1)][0])[None]
    inputs = inputs_of("x", x, network.form())
    at = whole("sample", sample, 0, len(inputs.x) - 1)
    return inputs.x[at : at + 1]


def _maps(network: Network, row: dict[str, Any], config: dict[str, Any]) -> Array:
    """Return attention weights for the sample of the last forward pass: (heads, queries, keys)."""
    q, k = (np.asarray(network.activations[name][0], np.float64) for name in row["inputs"][:2])
    scale = config.get("scale") or 1 / np.sqrt(q.shape[-1])
    scores = np.einsum("qhd,khd->hqk", q, k) * scale
    if config.get("causal"):
        later = np.triu(np.ones(scores.shape[1:], bool), 1)
        scores = np.where(later, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
    maps: Array = weights / weights.sum(-1, keepdims=True)
    return maps

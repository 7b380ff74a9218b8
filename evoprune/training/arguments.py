"""Arguments of `Trainer.fit` and `resume`, checked before anything changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evoprune.common.checks import known_keys, number, whole
from evoprune.common.warn import warn
from evoprune.data.dataset import Dataset, split_rows
from evoprune.data.table import Table, Understood, table_of, warn_of_scale
from evoprune.nets.network import Network
from evoprune.selection.groups import Loss
from evoprune.selection.python_laws import PythonLoss
from evoprune.training.feed import ArrayFeed, Feed
from evoprune.training.metrics import Measures

__all__ = ["augment_of", "checked_data", "former_places", "limit_of", "parted", "take_over"]


def former_places(
    data: Any, y: Any, former: tuple[Any, ...], epochs: int, batch_size: int
) -> tuple[Any, int, int]:
    """Return (y, epochs, batch_size), also for the former call fit(data, epochs, batch_size)."""
    whole_data = isinstance(data, Dataset) or not hasattr(data, "shape")
    if not former and not (whole_data and isinstance(y, int | np.integer)):
        return y, epochs, batch_size
    if len(former) > 1 or not isinstance(y, int | np.integer):
        raise TypeError(
            f"Trainer.fit: expected fit(data) or fit(x, y) and the rest by name, got "
            f"{2 + len(former)} arguments without one"
        )
    warn(
        "Trainer.fit: give epochs and batch_size by name; the second argument is y",
        DeprecationWarning,
    )
    return None, int(y), former[0] if former else batch_size


def _split(feed: Feed, share: float, seed: int) -> tuple[Understood, Table]:
    """Split off a share of a feed's samples; return the remaining data and the split-off samples.

    The feed keeps the weights of the remaining samples.

    Raises:
        ValueError: a part would be empty; TypeError: the data comes in batches.
    """
    if not isinstance(feed, ArrayFeed):
        raise TypeError(
            "validation_split: expected a data set or (x, y) to split, got batches; give "
            "validation_data"
        )
    samples = int(feed.samples or 0)
    mine = np.arange(samples) if feed.table.rows is None else feed.table.rows
    rest, part = split_rows("validation_split", share, samples, seed)
    table = feed.data.table
    feed.weights = None if feed.weights is None else feed.weights[rest]
    return feed.data._replace(table=table._replace(rows=mine[rest])), table._replace(
        rows=mine[part]
    )


def parted(
    network: Network,
    feed: Feed,
    validation: Any,
    share: float | None,
    batch_size: int,
    steps: int | None,
) -> tuple[Feed, Table | None]:
    """Split validation samples off the training data if validation_split is given.

    Args:
        network: its seed determines which samples are drawn.
        feed: the training data.
        validation, share: the arguments validation_data and validation_split.
        batch_size, steps: arguments of `fit`, for the feed of the remaining samples.

    Returns:
        The feed of the remaining samples and the table of validation samples; or, without a share,
        `feed` and None.
    """
    if isinstance(validation, float | int) and not isinstance(validation, bool):
        raise TypeError(
            f"validation_data: expected a data set or (x, y), got {validation!r}; to validate on "
            f"a share of the training data, give validation_split={validation!r}"
        )
    if share is None:
        return feed, None
    if validation is not None:
        raise ValueError("validation_split: expected None with validation_data; give one of them")
    seed = int(network.spec["seed"])
    rest, held_out = _split(feed, number("validation_split", share, 0, 1), seed)
    weights = feed.weights if isinstance(feed, ArrayFeed) else None
    feed = ArrayFeed(rest, int(batch_size), feed.shuffle, steps)
    feed.weights = weights
    return feed, held_out


def checked_data(
    network: Network,
    loss: Loss | PythonLoss,
    feed: Feed,
    held_out: Table | None,
    validation: Any,
    measures: Measures,
) -> Table | None:
    """Check all data of a run before its first step, and return the table of validation data.

    Args:
        network, loss: what is trained; the network is configured as for the run.
        feed, held_out: what `parted` returns.
        validation: the argument validation_data.
        measures: the metrics; without validation data, they must be computed on training data.

    Raises:
        ValueError, TypeError: the data does not fit the network; nothing has changed.
    """
    if measures.training and feed.data is None:
        raise TypeError(
            "training_metrics: expected a data set or (x, y) to compute metrics on, got batches"
        )
    if measures.metrics and not measures.training and validation is None and held_out is None:
        raise ValueError(
            "metrics: expected validation data to compute them on, got none; training_metrics=True "
            "computes them on the training data"
        )
    _check_masses(network)
    feed.check(network)
    taken = feed.data
    if taken is not None and not loss.facts["judges"] and taken.target_scaling is None:
        warn_of_scale(taken.table)
    if validation is not None:
        form = network.form(loss)
        if taken is not None:
            form = form._replace(
                classes=taken.classes,
                scaling=taken.scaling,
                target_scaling=taken.target_scaling,
                features=taken.features,
            )
        held_out = table_of("validation_data", validation, form)
    if held_out is not None:
        network.core.check_data(*held_out)
    return held_out


def limit_of(seconds: float | None) -> float:
    """Return the time limit of a run in seconds."""
    return np.inf if seconds is None else number("seconds", seconds, 0, np.inf)


def augment_of(augment: Any) -> dict[str, Any] | None:
    """Check settings of augmentation: {"shift": pixels, "flip": bool, "shape": sizes of an image}.

    Raises:
        TypeError: a key is unknown, or a value has a wrong type.
        ValueError: a value is out of bounds.
    """
    if augment is None:
        return None
    if not isinstance(augment, Mapping):
        raise TypeError(f"augment: expected a dict or None, got {augment!r}")
    known_keys("augment", "key", map(str, augment), ("shift", "flip", "shape"))
    checked = dict(augment)
    if checked.get("shift") is not None:
        checked["shift"] = whole("augment: shift", checked["shift"], 0)
    flip = checked.get("flip")
    if flip is not None:
        if not isinstance(flip, bool | np.bool_):
            raise TypeError(f"augment: flip: expected True or False, got {flip!r}")
        checked["flip"] = bool(flip)
    return checked


def take_over(network: Network, data: Understood) -> None:
    """Copy scalings, class names and feature names from the training data to a network."""
    before = network.input_scaling
    # After scale_input(), the core checks all data again: call it only if the scaling differs.
    if not all(map(np.array_equal, before, data.scaling)):
        network.scale_input(*data.scaling)
    outputs = network.form().output[-1]
    several = data.classes is not None and outputs > 1
    network.classes = data.classes[:outputs] if several and data.classes else data.classes
    network.output_scaling = data.target_scaling
    network.feature_names = data.features


def _check_masses(network: Network) -> None:
    """Check that living populations have masses above 0: laws multiply them and cannot change 0.

    Raises:
        ValueError: a mass is not above 0; the message gives layer and birth id.
    """
    for layer in network.born:
        alive = network[f"{layer}.alive"] > 0
        wrong = np.flatnonzero(alive & ~(network[f"{layer}.mass"] > 0))
        if len(wrong):
            birth = int(network.births(layer)[alive[: wrong[0]].sum()])
            mass = network[f"{layer}.mass"][wrong[0]]
            raise ValueError(
                f"{layer}.mass: expected masses above 0, got {mass:g} "
                f"for birth id {birth}; net.kill({layer!r}, [{birth}]) makes it extinct"
            )

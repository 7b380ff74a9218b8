"""Arguments of `Trainer.fit` and `resume`, checked before anything changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from evoprune.common.checks import known_keys, number, whole
from evoprune.data.dataset import Dataset, split_rows
from evoprune.data.table import Table, Understood
from evoprune.training.callbacks import Callback
from evoprune.training.feed import ArrayFeed, Feed

__all__ = ["augment_of", "checked_until", "former_places", "listeners_of", "split"]


def former_places(
    data: Any, y: Any, former: tuple[Any, ...], epochs: int, batch_size: int
) -> tuple[Any, int, int]:
    """Read fit(data, epochs, batch_size), as it was called before y could be given."""
    whole_data = isinstance(data, Dataset) or not hasattr(data, "shape")
    if not former and not (whole_data and isinstance(y, int | np.integer)):
        return y, epochs, batch_size
    if len(former) > 1 or not isinstance(y, int | np.integer):
        raise TypeError(
            f"Trainer.fit: expected fit(data) or fit(x, y) and the rest by name, got "
            f"{2 + len(former)} arguments without one"
        )
    warnings.warn(
        "Trainer.fit: give epochs and batch_size by name; the second argument is y",
        DeprecationWarning,
        stacklevel=4,
    )
    return None, int(y), former[0] if former else batch_size


def checked_until(until: float | None) -> float | None:
    """Check the epochs after which a run is to stop."""
    return None if until is None else number("until", until, 0, 1e18)


def listeners_of(callbacks: Any) -> list[Callback]:
    """A callback, or several, as a list.

    Raises:
        TypeError: something else is among them.
    """
    given = [callbacks] if isinstance(callbacks, Callback | type) else callbacks
    if not isinstance(given, Iterable):
        raise TypeError(f"callbacks: expected callbacks, got {callbacks!r}")
    listeners = list(given)
    for listener in listeners:
        if isinstance(listener, type):
            name = listener.__name__
            raise TypeError(f"callbacks: expected {name}(...), got the class {name} itself")
        if not isinstance(listener, Callback):
            raise TypeError(f"callbacks: expected callbacks, got {listener!r}")
    return listeners


def split(feed: Feed, share: float, seed: int) -> tuple[Understood, Table]:
    """Return the data of a feed without a share of its samples, and that share.

    Raises:
        ValueError: a part would be empty; TypeError: the data comes in batches.
    """
    if not isinstance(feed, ArrayFeed):
        raise TypeError(
            "validation_split: expected a data set or (x, y) to split, got batches; give "
            "validation_data"
        )
    mine = np.arange(feed.samples) if feed.table.rows is None else feed.table.rows
    rest, part = split_rows("validation_split", share, feed.samples, seed)
    table = feed.data.table
    return feed.data._replace(table=table._replace(rows=mine[rest])), table._replace(
        rows=mine[part]
    )


def augment_of(augment: Any) -> dict[str, Any] | None:
    """Check what images are changed by: {"shift": pixels, "flip": bool, "shape": sizes}.

    Raises:
        TypeError: an unknown key, or a value of a wrong type; ValueError: out of bounds.
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

"""Living populations of a network: their indices, birth ids, fitness and upkeep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.types import Array

if TYPE_CHECKING:
    from evoprune.nets.described import Described
    from evoprune.nets.network import Network

__all__ = ["census", "living", "population"]


def population(facts: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """Return the description of a layer's populations.

    Raises:
        KeyError: the layer has none; the message lists the layers that have populations.
        ValueError: the populations are the network's outputs, which cannot go extinct.
    """
    rows: list[dict[str, Any]] = facts["populations"]
    for row in rows:
        if row["layer"] == layer:
            return row
    names = ", ".join(row["layer"] for row in rows) or "none"
    if any(row["name"] == layer and row["fixed"] for row in facts["layers"]):
        raise ValueError(
            f"{layer}: its populations are the network's outputs, which cannot go extinct"
        )
    raise KeyError(f"no populations in a layer {layer!r}; there are {names}")


def living(
    network: Described, facts: Mapping[str, Any], row: Mapping[str, Any]
) -> tuple[Array, Array]:
    """Return a layer's living populations: their indices along the axis, and their birth ids.

    Both arrays are (alive,).
    """
    axis = next(axis for axis in facts["axes"] if axis["name"] == row["axis"])
    places = np.flatnonzero(network.core.array(f"{row['layer']}.alive") > 0)
    return places, np.asarray(axis["birth"], np.int32)[places]


def census(network: Network, pressure: float) -> dict[str, tuple[Array, ...]]:
    """Return birth ids, mass, fitness and upkeep of living populations by layer, each (alive,).

    The core computes them. Upkeep is that of the next generation at this pressure if fitness does
    not change.
    """
    by = network.selection
    found: dict[str, tuple[Array, ...]] = network.core.census(
        pressure, None if by is None else by.settings()
    )
    return found

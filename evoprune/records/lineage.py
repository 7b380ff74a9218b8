"""Descent among populations: functions of births, which are rows of `History.births`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evoprune.common.types import Array

__all__ = ["aligned", "ancestors", "ever_born", "heirs", "parents_of"]


def ever_born(layers: Sequence[str], born: Sequence[int], births: Array) -> tuple[int, ...]:
    """Return the number of populations born so far by layer: `born`, plus the rows of `births`."""
    if not len(births):
        return tuple(born)
    names, counts = np.unique(births["layer"], return_counts=True)
    more = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return tuple(n + more.get(layer, 0) for layer, n in zip(layers, born, strict=True))


def labels_of(layers: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, int]]:
    """Return layer and birth id of every population, for `sizes` populations by layer."""
    return [(layer, birth) for layer, n in zip(layers, sizes, strict=True) for birth in range(n)]


def parents_of(layers: Sequence[str], sizes: Sequence[int], births: Array) -> Array:
    """Return the index of every population's parent, or -1: int64 (sum(sizes),), layer by layer."""
    starts = np.cumsum([0, *sizes])
    parents = np.full(starts[-1], -1, np.int64)
    for layer, start in zip(layers, starts.tolist(), strict=False):
        rows = births[births["layer"] == layer]
        parent = rows["parent"].astype(np.int64)
        parents[start + rows["birth"]] = np.where(parent >= 0, start + parent, -1)
    return parents


def aligned(
    records: Sequence[Array], sizes: Mapping[int, Sequence[int]], now: Sequence[int]
) -> Array:
    """Return records as rows of one length, NaN for populations born after a record.

    Args:
        records: one array each, with values of the populations born by then, layer by layer.
        sizes: the number of populations by layer, for each length of a record.
        now: the number of populations by layer in the returned rows.
    """
    rows = np.full((len(records), sum(now)), np.nan, np.float32)
    starts = np.cumsum([0, *now])
    for row, record in zip(rows, records, strict=True):
        at = 0
        for start, n in zip(starts.tolist(), sizes.get(len(record), now), strict=False):
            row[start : start + n] = record[at : at + n]
            at += n
    return rows


def ancestors(mass: Array, parents: Array) -> Array:
    """Return each population's closest ancestor alive at the previous record, or -1.

    The result has indices of populations, (records - 1, populations). A population that was alive
    itself at the previous record is its own ancestor.
    """
    there = ~np.isnan(mass)
    origin = np.tile(np.arange(mass.shape[1]), (max(0, len(mass) - 1), 1))
    for row, before, after in zip(origin, there, there[1:], strict=False):
        for column in np.flatnonzero(after & ~before):
            ancestor = column
            while ancestor >= 0 and not before[ancestor]:
                ancestor = parents[ancestor]
            row[column] = ancestor
    return origin


def heirs(after: Array, origin: Array) -> Array:
    """Return, for every record and population, the mass of its descendants at the next record.

    Args:
        after: masses at the next record, (records - 1, populations).
        origin: index of every population's ancestor, from `ancestors`.

    Returns:
        Sums of `after` over the populations with the same ancestor, in the shape of `after`.
    """
    total = np.zeros_like(after)
    for sums, values, row in zip(total, after, origin, strict=True):
        np.add.at(sums, row[row >= 0], values[row >= 0])
    return total

"""Report: tables of an evolution, in the same format as the tables of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evoprune.common import table
from evoprune.common.table import number, share

if TYPE_CHECKING:
    from evoprune.bridges.torch.readings import Readings

__all__ = ["as_html", "as_text", "outlook"]

HEAD = ["layer", "kind", "alive / born", "multiply-adds", "parameters"]


def as_text(evolution: Readings) -> str:
    """Return, as text, a table with a row for each module that has parameters."""
    title, rows, total = _table(evolution)
    return f"{title}\n{table.as_text(HEAD, rows, total)}"


def as_html(evolution: Readings) -> str:
    """Return, as HTML, a table with a row for each module that has parameters."""
    title, rows, total = _table(evolution)
    return table.as_html(title, HEAD, rows, total)


def _table(evolution: Readings) -> tuple[str, list[list[str]], list[str]]:
    alive, born = evolution.alive, evolution.born
    macs, parameters = evolution.macs_by_module, evolution.parameters_by_module
    rows = []
    for path in parameters:
        named = [name for name in born if name.partition("#")[0] == path]
        living = ", ".join(f"{alive[name]:,} / {born[name]:,}" for name in named)
        kind = type(evolution.model.get_submodule(path)).__name__
        size = number(macs.get(path, 0.0)) if macs.get(path) else ""
        rows.append([path, kind, living, size, number(parameters[path])])
    whole, founding = evolution.macs, evolution.founding_macs
    count, count_born = evolution.parameters, evolution.founding_parameters
    total = [
        "total",
        "",
        f"{sum(alive.values()):,} / {sum(born.values()):,}",
        f"{number(whole)} ({share(whole, founding)})",
        f"{number(count)} ({share(count, count_born)})",
    ]
    title = f"{type(evolution.model).__name__} under selection, {evolution.steps:,} steps"
    return title, rows, total


def outlook(evolution: Readings) -> str:
    """Return a table with quantiles of mass and fitness, and with upkeep, for each axis.

    The table also has the number of populations whose fitness is below their upkeep.
    """
    rows = []
    for name in evolution.born:
        births = evolution.births(name)
        if not len(births):
            rows.append([name, "0 alive", *[""] * 6])
            continue
        mass, fitness, upkeep = (
            values[births]
            for values in (evolution.masses(name), evolution.fitness(name), evolution.upkeep(name))
        )
        cells = [name, f"{len(births)} alive", f"{np.median(mass):.3g}"]
        cells += [f"{np.quantile(fitness, q):.2e}" for q in (0.1, 0.5, 0.9)]
        cells += [f"{np.mean(upkeep):.2e}", f"{int(np.sum(fitness < upkeep)):,}"]
        rows.append(cells)
    head = ["populations", "", "mass", "fitness 10 %", "50 %", "90 %", "upkeep", "below upkeep"]
    return table.as_text(head, rows)

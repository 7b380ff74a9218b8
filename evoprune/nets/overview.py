"""The text overview of a network: the table of layers, and which populations may go extinct."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune import core
from evoprune.common.table import as_text, number, share
from evoprune.common.types import Array
from evoprune.nets.populations import census
from evoprune.selection.laws import Malthusian

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["outlook", "overview"]

MANY = 20  # with more layers than this, the table has one row for each group of layers

Overview = tuple[str, list[str], list[list[str]], list[str], str]


def overview(network: Network) -> Overview:
    """Return title, head, rows, total and note of the table of layers, from a consistent state."""
    with network.core:
        return _overview(network)


def _overview(network: Network) -> Overview:
    facts = network.describe()
    counts = {p["layer"]: (int(p["alive"]), int(p["born"])) for p in facts["populations"]}
    rows = []
    held = 0
    for name, layers in _rows(facts["layers"], counts):
        size = sum(network[tensor].nbytes for layer in layers for tensor in layer["tensors"])
        held += size
        alive = "{:,} / {:,}".format(*counts[name]) if name in counts else ""
        macs, parameters = (sum(layer[key] for layer in layers) for key in ("macs", "parameters"))
        costs = [number(n) if n else "" for n in (macs, parameters, size)]
        rows.append([name, _kind(layers), alive, *costs])
    alive_all, born_all = (sum(c[i] for c in counts.values()) for i in (0, 1))
    whole = network.macs, network.parameters
    total = [
        "total",
        "",
        f"{alive_all:,} / {born_all:,}" if counts else "",
        f"{number(whole[0])} ({share(whole[0], network.founding_macs)})",
        f"{number(whole[1])} ({share(whole[1], network.founding_parameters)})",
        number(held),
    ]
    spec = network.spec
    sizes = " x ".join(map(str, spec["input"]))
    living = {axis["name"]: axis["n"] for axis in facts["axes"]}
    out = " x ".join(str(living[axis]) for axis in facts["layers"][-1]["output"])
    title = (
        f"Network {sizes} -> {out}, {network.dtype}, seed {spec['seed']}, "
        f"{network.step:,} steps, {network.generation:,} generations"
    )
    notes = []
    if fixed := [layer["name"] for layer in facts["layers"] if layer["fixed"]]:
        notes.append(f"{', '.join(fixed)}: outputs, which cannot go extinct; their masses stay 1")
    if network.timing is not None:
        ms, batch = network.timing
        each = ms / batch
        sample = f"{each:.3g} ms" if each >= 1 else f"{1000 * each:.3g} us"
        timing = f"{ms:.3g} ms per step of {batch} samples, {sample} per sample"
        notes.append(timing)
    note = "\n".join(notes)
    head = ["layer", "kind", "alive / born", "multiply-adds", "parameters", "bytes"]
    return title, head, rows, total, note


def _rows(layers: list[Any], populations: Iterable[str]) -> list[tuple[str, list[Any]]]:
    """Group layers into rows: a row per layer or, in a large network, per layer of populations.

    Layers belong to the populations "heads1" by their names: heads1_queries, heads1_out, ...
    """
    rows: dict[str, list[Any]] = {}
    for layer in layers:
        name = layer["name"]
        owners = [p for p in populations if name == p or name.startswith(f"{p}_")]
        key = max(owners, key=len) if owners and len(layers) > MANY else name
        rows.setdefault(key, []).append(layer)
    return list(rows.items())


def _kind(layers: list[Any]) -> str:
    """Return the text in the column "kind" for a row of the table, which stands for `layers`.

    It is the kind of the layer if there is only one, else the kind of the populations.
    """
    kinds = [layer["kind"] for layer in layers]
    if len(kinds) == 1:
        return str(kinds[0])
    made = "heads" if "attention" in kinds else "filters" if "conv2d" in kinds else "neurons"
    return f"{made} ({len(kinds)} layers)"


def outlook(network: Network, pressure: float | None) -> str:
    """Return a table of fitness and upkeep by layer of populations, or why there is none."""
    facts = network.describe()
    if not facts["populations"]:
        return "no populations that could go extinct"
    if pressure is None:
        pressure = network.pressure
    if network.generation == 0:
        return "not selected yet: fitness is not known"
    rows = []
    counted = census(network, pressure or 0.0)
    for name, (births, mass, fitness, upkeep) in counted.items():
        if not len(births):
            rows.append([name, "0 alive", *[""] * 7])
            continue
        cells = [name, f"{len(births)} alive", f"{np.median(mass):.3g}"]
        cells += [f"{np.quantile(fitness, q):.2e}" for q in (0.1, 0.5, 0.9)]
        if pressure is None:
            cells += ["", "", ""]
        else:
            cells.append(f"{np.mean(upkeep):.2e}")
            cells.append(f"{int(np.sum(fitness < upkeep)):,}")
            cells.append(_next_death(network, mass, fitness, upkeep))
        rows.append(cells)
    head = ["populations", "", "mass", "fitness 10 %", "50 %", "90 %"]
    head += ["upkeep", "below upkeep", "next extinction"]
    return as_text(head, rows)


def _next_death(network: Network, mass: Array, fitness: Array, upkeep: Array) -> str:
    """Return, as text, in how many generations the first population goes extinct; "" if unknown.

    Assumes constant fitness and upkeep.
    """
    selection = network.selection
    law = selection.dynamics if selection else None
    if selection is None or not isinstance(law, Malthusian):
        return ""
    after, _ = core.core64.dynamics_step(
        law.kind, law.config(), mass, fitness, upkeep, threshold=selection.threshold
    )
    growth = np.log(after / mass)
    falling = growth < 0
    if not falling.any():
        return "none"
    left = np.log(mass[falling] / max(selection.threshold, 1e-30)) / -growth[falling]
    return f"in {max(0, np.ceil(left.min())):,.0f} generations"

"""Signals: the raw fitness of every population, by the selection's fitness law.

The equations are those of csrc/laws/fitness.c, over what a model's weights and gradients give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.placement import Placement
from evoprune.selection.laws import Fitness, PythonFitness
from evoprune.selection.settings import Selection

__all__ = ["check_fitness", "raw_fitness"]

OWNED = {"gradient": "gradient2", "magnitude": "norm2", "pull": "product"}


def check_fitness(selection: Selection, terms: int | None) -> None:
    """Check that a model's weights and gradients tell the fitness that a selection names.

    Raises:
        Unsupported: fitness "activity", which is of outputs; "worth" without `terms`.
    """
    law = selection.fitness
    if not isinstance(law, Fitness):
        return
    if law.kind == "activity":
        raise Unsupported(
            "fitness: expected one that weights and gradients tell, got 'activity', which is of "
            "the outputs of a layer; 'magnitude' or 'taylor' come closest"
        )
    if law.kind == "worth" and terms is None:
        raise Unsupported("fitness: 'worth' needs terms=, the number of samples in a step's loss")


def raw_fitness(
    selection: Selection,
    placement: Placement,
    change: torch.Tensor,
    mass: torch.Tensor,
    born: Mapping[str, int],
    terms: int | None,
) -> torch.Tensor:
    """Return the fitness of every founder by this step alone: (founders,).

    Called while weights are W and gradients those of W, after the optimizer's step.

    Args:
        selection: whose fitness is measured.
        placement: of the masses.
        change: m dL/dm (founders,).
        mass: (founders + 1,); 0 for the extinct, whose fitness is 0 or without meaning.
        born: founders by population.
        terms: samples in the loss of a step.
    """
    law = selection.fitness
    mass = mass[:-1]
    if isinstance(law, PythonFitness):
        return _by_python(law, placement, change, mass, born, terms)
    assert isinstance(law, Fitness)
    kind = law.kind
    if kind == "taylor":
        return change.abs()
    if kind == "relative":
        return -change
    if kind == "marginal":
        return torch.where(mass > 0, -change / torch.where(mass > 0, mass, 1.0), 0.0)
    if kind == "worth":
        return change * ((terms or 1) * change / 2 - 1)
    values = placement.owned(OWNED[kind], change.dtype)
    return -values if kind == "pull" else values.sqrt()


def _by_python(
    law: PythonFitness,
    placement: Placement,
    change: torch.Tensor,
    mass: torch.Tensor,
    born: Mapping[str, int],
    terms: int | None,
) -> torch.Tensor:
    """Call a fitness written in Python with the living of every layer."""
    gradient = torch.where(mass > 0, change / torch.where(mass > 0, mass, 1.0), 0.0)
    vectors = {
        "mass": mass,
        "mass_gradient": gradient,
        "owned_norm2": placement.owned("norm2", change.dtype),
        "owned_gradient2": placement.owned("gradient2", change.dtype),
        "owned_product": placement.owned("product", change.dtype),
    }
    host = {name: vector.cpu().numpy() for name, vector in vectors.items()}
    fitness = np.zeros(len(mass))
    start = 0
    for name, size in born.items():
        living = start + np.flatnonzero(host["mass"][start : start + size] > 0)
        signals: dict[str, Any] = {key: vector[living].copy() for key, vector in host.items()}
        signals["terms"] = terms
        values = np.asarray(law(signals), np.float64)
        if values.shape not in ((), living.shape) or not np.isfinite(values).all():
            raise ValueError(
                f"fitness {law.__name__}: expected {len(living)} finite numbers for {name}, "
                f"got {values}"
            )
        fitness[living] = values
        start += size
    return torch.as_tensor(fitness, dtype=change.dtype, device=change.device)

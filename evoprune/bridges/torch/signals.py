"""Signals: inputs of the fitness laws, computed from a model's weights and gradients."""

from __future__ import annotations

from typing import Any

import torch

from evoprune import Dynamics, Fitness, Selection
from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.placement import Placement

__all__ = ["check_laws", "measure", "raw_fitness"]

OWNED = {"norm": "norm2", "gradient": "gradient2", "product": "product"}


def check_laws(selection: Selection, terms: int | None, optimizers: int) -> None:
    """Check that the signals of a selection's laws can be computed from weights and gradients.

    Raises:
        Unsupported: the selection has births, fitness by activity, fitness by owned weights with
            several optimizers, "worth" without `terms`, or dynamics with competition by similarity.
    """
    if selection.births is not None:
        raise Unsupported(
            "births: expected None for a PyTorch model, whose modules cannot grow; ep.Trainer "
            "trains a Network with births"
        )
    dynamics: Any = selection.dynamics
    if isinstance(dynamics, Dynamics):
        overlaps = [need for need in dynamics.facts["needs"] if need.endswith("overlap")]
        if overlaps and not len(dynamics.config().get("interaction", ())):
            raise Unsupported(
                f"dynamics: expected one that takes masses and fitness, got {dynamics.kind!r}, "
                "which takes how alike populations are; give its interaction, or another dynamics"
            )
    law = selection.fitness
    needs = needs_of(selection)
    if "activity" in needs and isinstance(law, Fitness):
        raise Unsupported(
            "fitness: expected one that weights and gradients tell, got 'activity', which is of "
            "the outputs of a layer; 'magnitude' and 'taylor' come closest"
        )
    if isinstance(law, Fitness) and law.kind == "worth" and terms is None:
        raise Unsupported("fitness: 'worth' needs terms=, the number of samples in a step's loss")
    if optimizers > 1 and needs & set(OWNED):
        raise Unsupported(
            "fitness: expected 'taylor', 'marginal', 'relative' or 'worth' with several "
            f"optimizers, got {law!r}"
        )


def needs_of(selection: Selection) -> set[str]:
    """Return the names of the inputs that the fitness law needs besides dL/dm.

    A law written in Python gets all inputs.
    """
    law = selection.fitness
    return set(law.facts["needs"]) if isinstance(law, Fitness) else {*OWNED, "activity"}


def measure(
    selection: Selection, placement: Placement, change: torch.Tensor, mass: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the inputs of the fitness law of a selection, (founders,) each.

    Call it after the optimizer's step, before weights are multiplied by masses (placement.py).

    Args:
        selection: settings with the fitness law.
        placement: placement of the masses.
        change: m dL/dm (founders,), for masses m and the loss L.
        mass: the masses (founders + 1,).
    """
    gradient = torch.where(mass[:-1] > 0, change / mass[:-1], 0.0)
    signals = {"mass_gradient": gradient}
    for need in sorted(needs_of(selection) & set(OWNED)):
        what = OWNED[need]
        signals[f"owned_{what}"] = placement.owned(what, change.dtype)
    return signals


def raw_fitness(
    law: Fitness, signals: dict[str, torch.Tensor] | Any, mass: torch.Tensor, terms: int
) -> torch.Tensor:
    """Return the unsmoothed fitness of every founder, in torch operations: (founders,).

    The equations are those of csrc/laws/fitness.c.
    """
    gradient = signals["mass_gradient"]
    change = mass * gradient
    if law.kind == "taylor":
        return change.abs()
    if law.kind == "marginal":
        return -gradient
    if law.kind == "relative":
        return -change
    if law.kind == "worth":
        return change * (terms * change / 2 - 1)
    if law.kind == "pull":
        return -signals["owned_product"]
    owned = {"gradient": "owned_gradient2", "magnitude": "owned_norm2"}[law.kind]
    return torch.as_tensor(signals[owned]).sqrt()

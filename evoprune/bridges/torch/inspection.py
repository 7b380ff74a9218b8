"""Inspection: before training, find which parts of a model can evolve, and why others cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from evoprune.bridges.torch.attention import free_heads
from evoprune.bridges.torch.checks import excluded, unwrap
from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.populations import Piece, find_populations, pieces_of
from evoprune.bridges.torch.trace import samples_of, trace
from evoprune.bridges.torch.verify import Attribute, verify
from evoprune.common import table
from evoprune.common.checks import meant
from evoprune.common.renames import spelled

__all__ = ["Inspection", "inspect"]


@dataclass
class Inspection:
    """The populations of a model.

    Attributes:
        born: number of founding populations of each axis (neurons of a layer, channels, heads), by
            the name of the module whose weights write the axis.
        kinds: what the populations of each axis are: neurons, filters or heads.
        why: every dimension that cannot evolve, with the reason.
        pieces: every parameter and buffer with the axes on its dimensions.
        attributes: sizes of axes that modules store: (module, attribute) -> (index of the axis,
            value of the attribute / size of the axis).
    """

    born: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    attributes: dict[Attribute, tuple[int, int]] = field(default_factory=dict)

    def reasons(self) -> str:
        """Return the reasons, one per line, after a line break."""
        return "".join(f"\n  {name}: {why}" for name, why in self.why.items())

    def __str__(self) -> str:
        rows = [[name, self.kinds[name], f"{born:,}"] for name, born in self.born.items()]
        return f"{table.as_text(['population', 'kind', 'born'], rows)}\nfixed:{self.reasons()}"


def _modules(argument: str, names: str | Iterable[str], model: nn.Module) -> list[str]:
    """Return the names as a list, after checking that the model has modules of these names."""
    listed = [names] if isinstance(names, str) else list(names)
    known = [name for name, _ in model.named_modules()]
    for name in listed:
        if name not in known:
            raise Unsupported(
                f"{argument}: expected names of modules of the model, got {name!r}"
                f"{meant(name, known)}"
            )
    return listed


@spelled
def inspect(
    model: nn.Module,
    example: Any,
    *,
    include: Iterable[str] | None = None,
    fixed: Iterable[str] = (),
    inner: bool = False,
    trained: Collection[int] | None = None,
) -> Inspection:
    """Find the populations of a model and verify them by removal; restore all parameters.

    Plain nn.MultiheadAttention modules change their class to one whose heads can be removed, with
    the same parameters and results.

    Args:
        model: a module.
        example: inputs of one forward pass; two samples or more.
        include: names of modules whose populations may evolve, including submodules; all if not
            given.
        fixed: names of modules whose populations may not evolve.
        inner: let several factors of one dimension evolve, such as heads and the dimensions in a
            head; otherwise only the outermost does.
        trained: ids of the parameters that an optimizer trains; all if not given.

    Raises:
        Unsupported: the model has no module of a name in `include` or `fixed`.
    """
    model = unwrap(model)[0]
    if trained is None:
        trained = {id(p) for p in model.parameters() if p.requires_grad}
    include = None if include is None else _modules("include", include, model)
    fixed = _modules("fixed", fixed, model)
    for module in model.modules():
        free_heads(module)
    tracer = trace(model, example)
    populations, why = find_populations(tracer, inner=inner)
    chosen = []
    for population in populations:
        reason = excluded(population, include, fixed, trained)
        if reason:
            why[population.name] = reason
        else:
            chosen.append(population)
    slots = list(tracer.slots.values())
    attributes: dict[Attribute, tuple[int, int]] = {}
    if chosen:
        pieces = pieces_of(model, slots, chosen)
        good, attributes, failed = verify(model, example, chosen, pieces)
        why |= failed
        chosen = [chosen[i] for i in good]
    return Inspection(
        {population.name: population.size for population in chosen},
        {population.name: population.kind for population in chosen},
        why,
        pieces_of(model, slots, chosen, samples_of(example)),
        attributes,
    )

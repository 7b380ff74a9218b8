"""Populations: find which axes of a traced model can evolve, and why others cannot.

An axis of populations is not fixed, is written by a weight, and is read only by weights whose
columns can be multiplied by masses. A Piece holds what surgery.py needs to know about a
parameter or buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from evoprune.bridges.torch.axes import Axis, coordinates, factors, fix, free_axes
from evoprune.bridges.torch.trace import Slot, Tracer

__all__ = ["Piece", "Population", "find_populations", "pieces_of"]


@dataclass(eq=False)
class Population:
    """An axis of populations: the neurons, channels or heads that one module writes.

    A slot is a parameter or buffer in a trace, see `trace.Slot`.

    Attributes:
        name: name of the module whose weight writes the axis.
        size: number of founders.
        readers: (slot, dimension) of the weights that read the axis; masses multiply their columns.
        owns: (slot, dimension) of all parameters and buffers that have the axis.
        kind: "neurons", "filters" or "heads", inferred from the writer.
    """

    name: str
    axis: Axis
    size: int
    readers: list[tuple[Slot, int]]
    owns: list[tuple[Slot, int]]
    kind: str = "neurons"


@dataclass(eq=False)
class Piece:
    """A parameter or buffer, and the axes of populations on its dimensions.

    Attributes:
        name: as in `model.named_parameters()`.
        owner, attribute: the module that holds it, and the name of its attribute.
        trained: True for a parameter, False for a buffer.
        macs: multiply-adds per element of the tensor, for one sample.
        places: dimension -> one vector for each axis on it, int64 (size,): for every entry the
            index of its founder among all founders of the model, or -1 for none.
        reads: the dimension along which masses multiply the tensor; None if it reads no population.
    """

    name: str
    owner: nn.Module
    attribute: str
    trained: bool
    macs: float
    places: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    reads: int | None = None

    @property
    def tensor(self) -> torch.Tensor:
        """The current parameter or buffer."""
        tensor: torch.Tensor = getattr(self.owner, self.attribute)
        return tensor

    def staying(self, alive: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return the indices of the remaining entries of every dimension that loses entries.

        Args:
            alive: bool (founders + 1,) on the CPU; the last is True, for entries of no population.
        """
        out = {}
        for dim, vectors in self.places.items():
            stay = torch.ones(len(vectors[0]), dtype=torch.bool)
            for places in vectors:
                stay &= alive[places]
            if not stay.all():
                out[dim] = torch.nonzero(stay)[:, 0]
        return out

    def shape_of(self, alive: torch.Tensor) -> list[int]:
        """Return the shape after removing extinct populations."""
        shape = list(self.tensor.shape)
        for dim, stay in self.staying(alive).items():
            shape[dim] = len(stay)
        return shape


def find_populations(
    tracer: Tracer, *, inner: bool = False
) -> tuple[list[Population], dict[str, str]]:
    """Return the axes that may evolve, and the reason why each of the others may not.

    Args:
        tracer: the trace of a model; this function fixes more of its axes.
        inner: let several factors of one dimension evolve, too, such as heads and the dimensions in
            a head; otherwise only the outermost does.

    Returns:
        The axes, in the order of the model's parameters; and reasons by "parameter[dimension]".
    """
    slots = list(tracer.slots.values())
    for slot in slots:
        for dim, axis in enumerate(slot.dims):
            roles = slot.roles[dim]
            if "read" in roles and roles != {"read"}:
                fix([axis], f"{slot.name} both reads and makes it: its weights are shared")
            if not roles and slot.tensor.numel() > 1 and slot.tensor.requires_grad:
                fix([axis], f"{slot.name} was not used in the forward pass")
    if not inner:
        for slot in slots:
            for axis in slot.dims:
                free = [part for part in factors([axis]) if not part.fixed]
                for part in free[1:]:
                    fix([part], "it lies inside another population; inner=True lets it evolve")
    found: dict[int, tuple[Axis, list[tuple[Slot, int]]]] = {}
    for slot in slots:
        for dim, axis in enumerate(slot.dims):
            for part in free_axes([axis]):
                found.setdefault(id(part), (part, []))[1].append((slot, dim))
    populations: list[Population] = []
    reasons: dict[str, str] = {}
    names: dict[str, int] = {}
    for axis, owns in found.values():
        readers = [(slot, dim) for slot, dim in owns if slot.roles[dim] == {"read"}]
        writers = _writers(owns)
        first = (writers or owns)[0][0]
        reason = axis.fixed or _missing(readers, writers, axis)
        if owns[0][0].roles[owns[0][1]] == {"kernel"}:
            continue
        if reason:
            at = (writers or owns)[0][1]
            reasons.setdefault(f"{first.name}[{at}] ({axis.size})", reason)
            continue
        name = first.name.rpartition(".")[0] or first.name
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name = f"{name}#{names[name]}"
        kind = _kind(writers, axis)
        populations.append(Population(name, axis, axis.size, readers, owns, kind))
    return populations, reasons


def _writers(owns: Sequence[tuple[Slot, int]]) -> list[tuple[Slot, int]]:
    """Return the matrices with role "write" along an axis.

    If there are none, return those with role "follow", which a grouped convolution has for the axis
    that it writes; if there are none either, return the vectors with role "write".
    """
    for roles in ({"write"}, {"write", "follow"}):
        matrices = [(s, d) for s, d in owns if s.roles[d] & roles and s.tensor.ndim > 1]
        if matrices:
            return matrices
    return [(s, d) for s, d in owns if "write" in s.roles[d]]


def _missing(readers: Sequence[object], writers: Sequence[object], axis: Axis) -> str:
    if axis.size < 2:
        return "it has one entry"
    if not readers:
        return "no weight reads it"
    return "" if writers else "no weight makes it"


def _kind(writers: Sequence[tuple[Slot, int]], axis: Axis) -> str:
    """Return what the populations of an axis are, by the first weight that writes the axis."""
    slot, dim = writers[0]
    if slot.tensor.ndim > 2:
        return "filters"
    return "neurons" if slot.dims[dim].size == axis.size else "heads"


def pieces_of(
    model: nn.Module, slots: Sequence[Slot], populations: Sequence[Population], samples: int = 1
) -> list[Piece]:
    """Return every parameter and buffer of a model, with the axes on its dimensions.

    Founders are numbered consecutively over all axes. Multiply-adds are divided by the number of
    samples in the example.
    """
    owned: dict[Slot, dict[int, list[tuple[Population, int]]]] = {slot: {} for slot in slots}
    start = 0
    for population in populations:
        for slot, dim in population.owns:
            owned[slot].setdefault(dim, []).append((population, start))
        start += population.size
    pieces = []
    for slot, dims in owned.items():
        path, _, attribute = slot.name.rpartition(".")
        trained = isinstance(slot.tensor, nn.Parameter)
        owner = model.get_submodule(path)
        piece = Piece(slot.name, owner, attribute, trained, slot.macs / samples)
        for dim, members in dims.items():
            piece.places[dim] = []
            for population, first in members:
                at = coordinates([slot.dims[dim]], population.axis)
                piece.places[dim].append(torch.where(at >= 0, at + first, -1))
                if (slot, dim) in population.readers:
                    piece.reads = dim
        pieces.append(piece)
    return pieces

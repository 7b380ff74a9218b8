"""Placement: masses are stored in the weights that read a population.

The module holds W m: weights W whose columns (slices that read one population) are multiplied by
that population's mass m. Before an optimizer's step the columns are divided by m and their
gradients multiplied by m, so that the optimizer updates W; after the step, columns are multiplied
by the new m. With loss L, the sum of W m * dL/d(W m) over the columns that read a population is
exactly m dL/dm.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

import torch

from evoprune.bridges.torch.populations import Piece

__all__ = ["Placement"]

Layout: TypeAlias = tuple[
    torch.Tensor, list[torch.Size], list[int], list[tuple[torch.dtype, torch.device]]
]
"""(index, shapes, sizes, kinds): how to compute the factors that multiply several weights.

Factor j is the product of the masses of the founders index[:, j]; index is int64 (k, factors). For
each weight, `shapes` has the shape of its factors, `sizes` their number, and `kinds` the weight's
(dtype, device)."""


class Placement:
    """Multiplies columns of weights by masses, and sums weights and gradients by population.

    A reader is a trained weight that reads populations. Methods take readers as indices into
    `self.readers`. Columns that read no population have the index `self.founders`, one past the
    last founder, where the mass is 1.

    Call `rebuild` after every change of a parameter's shape to recompute the indices.
    """

    def __init__(self, pieces: Sequence[Piece], founders: int, device: torch.device) -> None:
        self.pieces = [piece for piece in pieces if piece.trained]
        self.readers = [piece for piece in self.pieces if piece.reads is not None]
        self.founders = founders
        self.device = device
        self.rebuild()

    def rebuild(self) -> None:
        """Recompute indices from the current `places` of the pieces."""
        self._reads = [self._founders_of(piece, piece.reads) for piece in self.readers]
        self._owns: dict[tuple[str, int], torch.Tensor] = {}
        self._joined: dict[tuple[tuple[int, ...], bool], torch.Tensor] = {}
        self._rooms: dict[torch.dtype, torch.Tensor] = {}
        self._layouts: dict[tuple[int, ...], Layout] = {}
        # Keys are indices of readers; values have a tensor for each of these readers: in _held the
        # factors by which the weights are multiplied now, in _owed the inverses of these factors
        # from divide() to multiply().
        self._held: dict[tuple[int, ...], list[torch.Tensor]] = {}
        self._owed: dict[tuple[int, ...], list[torch.Tensor]] = {}

    # ---- multiplication of weights by masses, and division

    def divide(self, mass: torch.Tensor, readers: Collection[int]) -> None:
        """Divide weights by masses m: convert W m to W, and gradients of W m to those of W.

        Args:
            mass: the masses m (founders + 1,); the last entry is 1.
            readers: indices of readers.
        """
        if not readers:
            return
        weights = [self.readers[i].tensor for i in readers]
        key = tuple(readers)
        if key not in self._held:
            self._held[key] = self._factors(mass, readers)
        scales = self._held[key]
        # Multiplication is several times faster than division.
        inverse = torch.where(mass > 0, 1 / mass, 1)
        inverses = self._factors(inverse, readers)
        torch._foreach_mul_(weights, inverses)
        _multiply_gradients(weights, scales)
        self._owed[key] = inverses

    def multiply(self, mass: torch.Tensor, readers: Collection[int], ratio: bool = False) -> None:
        """Multiply weights by masses m: convert W to W m, and gradients of W to those of W m.

        With `ratio`, convert W m to W m' for new masses m'; `mass` then holds m' / m.
        """
        if not readers:
            return
        weights = [self.readers[i].tensor for i in readers]
        scales = self._factors(mass, readers)
        torch._foreach_mul_(weights, scales)
        inverses = self._owed.pop(tuple(readers), None)
        if inverses is not None:
            _multiply_gradients(weights, inverses)
        if ratio:
            self._held.clear()
        else:
            self._held[tuple(readers)] = scales

    def _factors(self, mass: torch.Tensor, readers: Collection[int]) -> list[torch.Tensor]:
        """Return the factors of each reader's columns, in a shape that broadcasts to the weight."""
        key = tuple(readers)
        if key not in self._layouts:
            self._layouts[key] = self._layout(readers)
        index, shapes, sizes, kinds = self._layouts[key]
        factors = mass.index_select(0, index[0])
        for more in index[1:]:
            factors = factors * mass.index_select(0, more)
        parts = {
            (dtype, device): factors.to(dtype=dtype, device=device).split(sizes)
            for dtype, device in set(kinds)
        }
        return [parts[kind][i].view(shapes[i]) for i, kind in enumerate(kinds)]

    def _layout(self, readers: Collection[int]) -> Layout:
        """Return the layout of factors for the weights of readers."""
        weights = [self.readers[i].tensor for i in readers]
        shapes = [w.shape[self.readers[i].reads :] for i, w in zip(readers, weights, strict=True)]
        kinds = [(w.dtype, w.device) for w in weights]
        index = self._index(readers, spread=True)
        return index, shapes, [math.prod(shape) for shape in shapes], kinds

    # ---- sums

    def measure(self, readers: Collection[int], dtype: torch.dtype) -> torch.Tensor:
        """Return these readers' part of m dL/dm by founder, for mass m and loss L: (founders,)."""
        total = torch.zeros(self.founders + 1, dtype=dtype, device=self.device)
        used = [i for i in readers if self.readers[i].tensor.grad is not None]
        sums = []
        for i in used:
            weight = self.readers[i].tensor
            product = torch.mul(weight.detach(), weight.grad, out=self._scratch(weight))
            sums.append(_sums_along(product, self.readers[i].reads).to(total))
        if used:
            each = torch.cat(sums)
            for index in self._index(used):
                total.index_add_(0, index, each)
        return total[:-1]

    def _scratch(self, weight: torch.Tensor) -> torch.Tensor | None:
        """Return a reused buffer in the shape of a weight; None if it is not on the CPU.

        On the CPU, newly allocated memory is slow.
        """
        if weight.device.type != "cpu":
            return None
        room = self._rooms.get(weight.dtype)
        if room is None or room.numel() < weight.numel():
            room = self._rooms[weight.dtype] = torch.empty_like(weight).flatten()
        return room[: weight.numel()].view(weight.shape)

    def _index(self, readers: Collection[int], spread: bool = False) -> torch.Tensor:
        """Return the founders that the columns of readers read, concatenated: int64 (k, columns).

        k is the largest number of populations to which one column belongs, such as 2 for a feature
        in a head. If a column belongs to fewer, its other rows hold `self.founders`. With `spread`,
        each column of reader i is repeated `_positions(i)` times, because multiplying by factors of
        full size is fastest.
        """
        key = tuple(readers), spread
        if key not in self._joined:
            parts = [self._reads[i] for i in readers]
            deep = max(len(part) for part in parts)
            padded = [self._padded(part, deep) for part in parts]
            if spread:
                padded = [
                    part.repeat_interleave(self._positions(i), dim=1)
                    for i, part in zip(readers, padded, strict=True)
                ]
            self._joined[key] = torch.cat(padded, dim=1)
        return self._joined[key]

    def _positions(self, i: int) -> int:
        """Return the product of the sizes after reader i's column dimension.

        For a convolution this is the number of positions in a kernel, for nn.Linear it is 1.
        """
        dim = self.readers[i].reads
        assert dim is not None
        return math.prod(self.readers[i].tensor.shape[dim + 1 :])

    def owned(self, what: str, dtype: torch.dtype) -> torch.Tensor:
        """Return for each population a sum over the weights that are removed with it: (founders,).

        Args:
            what: "norm2" (of w^2), "gradient2" (of g^2) or "product" (of w g), for weights w with
                gradients g.
            dtype: type of the sums.
        """
        total = torch.zeros(self.founders + 1, dtype=dtype, device=self.device)
        for piece in self.pieces:
            weight = piece.tensor.detach()
            gradient = piece.tensor.grad
            if what != "norm2" and gradient is None:
                continue
            if what == "norm2":
                values = weight * weight
            else:
                assert gradient is not None
                gradient = gradient.to_dense() if gradient.is_sparse else gradient
                values = gradient * (gradient if what == "gradient2" else weight)
            for dim in piece.places:
                each = _sums_along(values, dim).to(total)
                key = piece.name, dim
                if key not in self._owns:
                    self._owns[key] = self._founders_of(piece, dim)
                for index in self._owns[key]:
                    total.index_add_(0, index, each)
        return total[:-1]

    def _founders_of(self, piece: Piece, dim: int | None) -> torch.Tensor:
        """Return the founders of the entries along dimension `dim` of a piece.

        Returns:
            int64 (axes on the dimension, size of the dimension); `self.founders` for no population.
        """
        assert dim is not None
        index = torch.stack(piece.places[dim])
        return torch.where(index < 0, self.founders, index).to(self.device)

    def _padded(self, index: torch.Tensor, rows: int) -> torch.Tensor:
        """Append rows of `self.founders` (no population), so that `index` is (rows, size)."""
        if len(index) == rows:
            return index
        more = index.new_full((rows - len(index), index.shape[1]), self.founders)
        return torch.cat([index, more])


def _multiply_gradients(weights: Sequence[torch.Tensor], factors: Sequence[torch.Tensor]) -> None:
    """Multiply the gradients of weights in place; skip weights without gradients."""
    known = [(w.grad, f) for w, f in zip(weights, factors, strict=True) if w.grad is not None]
    if known:
        torch._foreach_mul_([gradient for gradient, _ in known], [f for _, f in known])


def _sums_along(values: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Return the sums of a tensor over all dimensions but one: (size,).

    Leading dimensions are summed first, since one sum over all dimensions is about 30 times slower
    in PyTorch on the CPU.
    """
    assert dim is not None
    if dim > 0:
        values = values.flatten(0, dim - 1).sum(0)
    return values.flatten(1).sum(1) if values.ndim > 1 else values.clone()

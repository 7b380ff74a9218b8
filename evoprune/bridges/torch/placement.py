"""Placement: masses are stored in the weights that read a population.

The module holds W m. Around an optimizer's step the columns are divided by m, and their gradients
multiplied by it, so that the optimizer steps in W; afterwards columns are multiplied by the new m.
Then sum(W m * dL/d(W m)) over the columns that read a population is m dL/dm, exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from evoprune.bridges.torch.populations import Piece

__all__ = ["Placement"]


class Placement:
    """The columns that masses scale, and sums measured over them.

    Call `rebuild` after every change of a parameter's shape to recompute the indices.
    """

    def __init__(self, pieces: Sequence[Piece], founders: int, device: torch.device) -> None:
        self.pieces = [piece for piece in pieces if piece.trained]
        self.readers = [piece for piece in self.pieces if piece.reads is not None]
        self.founders = founders
        self.device = device
        self.rebuild()

    def rebuild(self) -> None:
        """Recompute indices from the current places of pieces."""
        self._reads = [self._founders_of(piece, piece.reads) for piece in self.readers]
        self._owns: dict[tuple[str, int], torch.Tensor] = {}
        self._joined: dict[tuple[int, ...], torch.Tensor] = {}
        self._rooms: dict[torch.dtype, torch.Tensor] = {}

    def scales(self, mass: torch.Tensor, readers: Collection[int]) -> list[torch.Tensor]:
        """Return the factor on the columns of readers, shaped to be multiplied with them.

        Args:
            mass: (founders + 1,), the last 1.
            readers: indices of readers.
        """
        if not readers:
            return []
        index = self._index(readers)
        factors = mass[index[0]] if len(index) == 1 else mass[index].prod(0)
        parts = factors.split([self._reads[i].shape[1] for i in readers])
        out = []
        for i, part in zip(readers, parts, strict=True):
            weight, dim = self.readers[i].tensor, self.readers[i].reads
            assert dim is not None
            # It broadcasts over leading dimensions. Written out over kernels, products run at the
            # speed of memory.
            shape = (-1,) + (1,) * (weight.ndim - 1 - dim)
            part = part.to(device=weight.device, dtype=weight.dtype).view(shape)
            out.append(part.expand(weight.shape[dim:]).contiguous())
        return out

    def measure(self, readers: Collection[int], dtype: torch.dtype) -> torch.Tensor:
        """Return the contribution of these readers to m dL/dm of every founder: (founders,)."""
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
        """Return memory for a product with a weight on the CPU, where new memory is slow."""
        if weight.device.type != "cpu":
            return None
        room = self._rooms.get(weight.dtype)
        if room is None or room.numel() < weight.numel():
            room = self._rooms[weight.dtype] = torch.empty_like(weight).flatten()
        return room[: weight.numel()].view(weight.shape)

    def _index(self, readers: Collection[int]) -> torch.Tensor:
        """Return the founders of the columns of readers, joined: int64 (k, columns).

        Columns of fewer than k populations have one past the last founder in the other rows.
        """
        key = tuple(readers)
        if key not in self._joined:
            parts = [self._reads[i] for i in key]
            deep = max(len(part) for part in parts)
            self._joined[key] = torch.cat([self._padded(part, deep) for part in parts], dim=1)
        return self._joined[key]

    def owned(self, what: str, dtype: torch.dtype) -> torch.Tensor:
        """Return sums over the weights that a population owns: (founders,).

        Args:
            what: "norm2" (of w^2), "gradient2" (of dw^2) or "product" (of w dw).
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
        """Return the founder of every entry, or one past the last for none: int64 (k, size)."""
        assert dim is not None
        index = torch.stack(piece.places[dim])
        return torch.where(index < 0, self.founders, index).to(self.device)

    def _padded(self, index: torch.Tensor, rows: int) -> torch.Tensor:
        """Return an index matrix with rows for no population added: int64 (rows, size)."""
        if len(index) == rows:
            return index
        more = index.new_full((rows - len(index), index.shape[1]), self.founders)
        return torch.cat([index, more])


def _sums_along(values: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Return the sums of a tensor over all dimensions but one: (size,).

    Leading dimensions first: in one sum over all, PyTorch is some 30 times slower on the CPU.
    """
    assert dim is not None
    if dim > 0:
        values = values.flatten(0, dim - 1).sum(0)
    return values.flatten(1).sum(1) if values.ndim > 1 else values.clone()

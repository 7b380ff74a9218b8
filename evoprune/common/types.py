"""Types shared by all packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

__all__ = ["Array", "Sized"]

Array: TypeAlias = NDArray[Any]


class Sized(Protocol):
    """The attributes of a network that a budget reads: its current and founding sizes."""

    @property
    def macs(self) -> float:
        """Multiply-adds of one sample's forward pass."""

    @property
    def founding_macs(self) -> float:
        """Multiply-adds of one sample's forward pass at birth."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""

    @property
    def founding_parameters(self) -> int:
        """Number of parameters at birth."""

    @property
    def alive(self) -> Mapping[str, int]:
        """Number of living populations by layer."""

    @property
    def born(self) -> Mapping[str, int]:
        """Number of founding populations by layer."""

"""What can go wrong in the bridge that has no name of its own in PyTorch or Python."""

from __future__ import annotations

__all__ = ["RanksDisagree", "Unsupported"]


class Unsupported(ValueError):
    """A model, optimizer or setting that selection cannot work with; the message names it."""


class RanksDisagree(RuntimeError):
    """Processes that train one model found different populations alive."""

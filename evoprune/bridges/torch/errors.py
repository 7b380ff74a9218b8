"""Exceptions of the bridge that PyTorch and Python do not define."""

from __future__ import annotations

__all__ = ["RanksDisagree", "Unsupported"]


class Unsupported(ValueError):
    """A model, optimizer or setting that selection cannot work with; the message names it."""


class RanksDisagree(RuntimeError):
    """Raised if processes that train the same model found different populations alive."""

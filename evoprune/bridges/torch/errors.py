"""Exceptions that the PyTorch bridge defines."""

from __future__ import annotations

__all__ = ["RanksDisagree", "Unsupported"]


class Unsupported(ValueError):
    """A model, optimizer or setting that selection cannot work with; the message names it."""


class RanksDisagree(RuntimeError):
    """Raised if the processes that train one model disagree on which populations are alive."""

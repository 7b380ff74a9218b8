"""What can go wrong that has no name of its own in Python, and what deserves a warning.

Wrong arguments are ValueError and TypeError, as everywhere; nothing here decides when to raise.
"""

from __future__ import annotations

__all__ = ["Diverged", "FileFormatError", "NothingCanDie"]


class Diverged(ArithmeticError):
    """The loss is not finite.

    The step that found it was not applied: the network is as it was before.

    Attributes:
        step: the step that was not applied, counted from the network's birth; None if unknown.
    """

    def __init__(self, text: str = "the loss is not finite", step: int | None = None) -> None:
        super().__init__(text)
        self.step = step


class FileFormatError(ValueError):
    """A file is not what it should be: broken, truncated, or of another kind. Names the file."""


class NothingCanDie(UserWarning):
    """Selection is on, but no population can become extinct in this run."""

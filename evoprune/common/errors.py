"""Exceptions and warnings of the package.

Invalid arguments raise ValueError and TypeError instead.
"""

from __future__ import annotations

__all__ = ["Diverged", "FileFormatError", "NothingCanDie"]


class Diverged(ArithmeticError):
    """The loss is not finite.

    The step in question was not applied: the network is in its state before that step.

    Attributes:
        step: number of the step that was not applied, counted from the network's creation;
            None if unknown.
    """

    def __init__(self, text: str = "the loss is not finite", step: int | None = None) -> None:
        super().__init__(text)
        self.step = step


class FileFormatError(ValueError):
    """A file is damaged, truncated, or has another format; the message names the file."""


class NothingCanDie(UserWarning):
    """Selection is on, but no population can go extinct in this run."""

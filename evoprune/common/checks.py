"""Checks of arguments that the core never sees, with the core's manner of saying what is wrong."""

from __future__ import annotations

from operator import index
from typing import Any

__all__ = ["instance", "number", "one_of", "whole"]


def whole(name: str, value: Any, low: int, high: int = 2**31 - 1) -> int:
    """`value` as an int from low to high.

    Raises:
        TypeError: no whole number; ValueError: out of bounds.
    """
    try:
        n = index(value)
    except TypeError:
        n = None
    if n is None or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if not low <= n <= high:
        raise ValueError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return n


def number(name: str, value: Any, low: float, high: float) -> float:
    """`value` as a float from low to high.

    Raises:
        TypeError: no number; ValueError: out of bounds.
    """
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        x = float(value)
    except TypeError:
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    if not low <= x <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return x


def instance(name: str, value: Any, *kinds: type) -> None:
    """Check that `value` is of one of some types.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value`, if it is one of some names.

    Raises:
        ValueError: it is not; they are listed.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value

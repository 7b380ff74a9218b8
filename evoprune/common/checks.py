"""Checks of arguments that do not reach the core, with error messages in the core's style."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from operator import index
from typing import Any

import numpy as np

from evoprune.common.types import Array

__all__ = ["floats", "instance", "items", "known_keys", "meant", "number", "one_of", "whole"]


def whole(name: str, value: Any, low: int, high: int = 2**31 - 1) -> int:
    """Return `value` as an int from low to high.

    Raises:
        TypeError: `value` is not an integer; ValueError: `value` is out of bounds.
    """
    try:
        n = index(value)
    except TypeError:
        n = None
    if n is None or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if not low <= n <= high:
        raise ValueError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return n


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float from low to high.

    Raises:
        TypeError: `value` is not a number; ValueError: `value` is out of bounds.
    """
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        x = float(value)
    except TypeError:
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    except OverflowError:  # an int too large for a float
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}") from None
    if not low <= x <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return x


def floats(name: str, values: Any) -> Array:
    """Return `values` as float64; an integer too large for a float becomes infinite.

    Raises:
        TypeError: `values` are not numbers; ValueError: rows have different lengths.
    """
    try:
        return np.asarray(values, np.float64)
    except OverflowError:
        return np.asarray(np.vectorize(_float)(np.asarray(values, object)), np.float64)
    except (TypeError, ValueError) as error:
        ragged = "inhomogeneous" in str(error)
        raise (ValueError if ragged else TypeError)(
            f"{name}: expected numbers, got {values!r}"
        ) from None


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def items(name: str, values: Any) -> list[Any]:
    """Return the items of an iterable.

    Raises:
        TypeError: `values` is not iterable, or is a memoryview of an unsupported format.
    """
    try:
        return list(values)
    except (TypeError, NotImplementedError):
        raise TypeError(f"{name}: expected several items, got {type(values).__name__}") from None


def instance(name: str, value: Any, *kinds: type) -> None:
    """Check that `value` is an instance of one of `kinds`.

    Raises:
        TypeError: `value` is of another type.
    """
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        ValueError: `value` is not one of them; the message lists all choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name}: expected one of {', '.join(choices)}, got {value!r}{meant(value, choices)}"
        )
    return value


def meant(given: Any, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known name closest to a misspelled one, or ""."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(str(given).lower(), names, 1, 0.6)
    return f"; did you mean {names[near[0]]}?" if near else ""


def known_keys(where: str, what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that every name is known.

    Args:
        where: owner of the names, for the error message: "augment", "Malthusian".
        what: what a name stands for: "key", "setting", "argument".
        given: names to check.
        known: all known names.

    Raises:
        TypeError: a name is unknown; the message lists all known names and suggests the closest.
    """
    names = list(known)
    for name in given:
        if name not in names:
            has = ", ".join(names) or "none"
            raise TypeError(f"{where}: no {what} {name!r}; it has {has}{meant(name, names)}")

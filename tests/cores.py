"""The compiled cores to test: all that are built and that this processor can run."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from evoprune import core


def built(bits: int) -> list[ModuleType]:
    names = [f"evoprune.core._core{bits}_{level}" for level in core.LEVELS]
    level = core.core32.cpu_level()
    return [import_module(name) for name in names[: level + 1] if find_spec(name)]


CORE32 = core.core32
CORE64 = core.core64
BOTH = [CORE32, CORE64]
EVERY32 = built(32)
EVERY = EVERY32 + built(64)


def name_of(core: ModuleType) -> str:
    return core.__name__.rpartition("_core")[2]


def real(core: ModuleType) -> type[np.floating]:
    return np.dtype(core.dtype).type


def close(core: ModuleType, got, expected, factor: float = 1.0, scale=None) -> None:
    """Assert that `got` differs from `expected` by at most 16 * factor * eps * scale.

    Here eps is the machine epsilon of the core's type, and `scale` the magnitude of the terms of a
    sum; by default, `scale` is the largest expected value.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == real(core)
    assert got.shape == expected.shape
    size = np.max(np.abs(expected), initial=0) if scale is None else scale
    allowed = 16 * factor * np.finfo(core.dtype).eps * size
    gap = np.max(np.abs(got - expected), initial=0)
    assert gap <= allowed, f"off by {gap}, allowed {allowed}"

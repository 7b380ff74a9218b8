"""Import the compiled core for this processor and precision.

The C sources are compiled several times (see setup.py), each time to a separate module: `_core32_*`
computes in float32, `_core64_*` in float64. The rest of the name is the instruction level: `base`
runs anywhere, `avx2` and `avx512` on x86-64 processors with these instructions. This package only
chooses which module to import. The float64 core is imported on first use.

Environment:
    EVOPRUNE_CPU    base, avx2 or avx512: the highest level to use, for comparisons and debugging
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

LEVELS = ("base", "avx2", "avx512")

__all__ = ["LEVELS", "core32", "core64", "variant"]


def _built(bits: int) -> list[str]:
    """Return the levels whose module is installed, in ascending order."""
    return [level for level in LEVELS if find_spec(f"{__package__}._core{bits}_{level}")]


def _choose(bits: int) -> str:
    """Return the highest installed level that the processor and EVOPRUNE_CPU allow."""
    built = _built(bits)
    if not built:
        raise ImportError(
            f"evoprune's compiled core for float{bits} is missing; "
            "in a checkout run 'make build', elsewhere install the package again"
        )
    # The module of the lowest level runs on every supported processor: let it detect the highest
    # level that this processor can run.
    lowest = import_module(f"{__package__}._core{bits}_{built[0]}")
    allowed = int(lowest.cpu_level())
    limit = os.environ.get("EVOPRUNE_CPU", "")
    if limit:
        if limit not in LEVELS:
            raise ValueError(f"EVOPRUNE_CPU: expected one of {', '.join(LEVELS)}, got {limit!r}")
        allowed = min(allowed, LEVELS.index(limit))
    fitting = [level for level in built if LEVELS.index(level) <= allowed]
    return fitting[-1] if fitting else built[0]


def _load(bits: int) -> ModuleType:
    return import_module(f"{__package__}._core{bits}_{_choose(bits)}")


core64: ModuleType
core32: ModuleType = _load(32)
variant: str = core32.__name__.rpartition("_")[2]
"""Level of the float32 core in use: "base", "avx2" or "avx512"."""


def __getattr__(name: str) -> ModuleType:
    """Import the float64 core on first use (PEP 562)."""
    if name == "core64":
        globals()["core64"] = core = _load(64)
        return core
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

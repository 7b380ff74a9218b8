"""The number of threads. The core takes it as an argument of every call and does not store it.

The first of these that is set determines the number: `set_threads`, the environment variables
EVOPRUNE_NUM_THREADS and OMP_NUM_THREADS; by default, it is the number of processors available to
this process. It does not affect results.
"""

from __future__ import annotations

import os

from evoprune.common.checks import whole

__all__ = ["get_threads", "set_threads"]

MOST = 1024

_chosen: int | None = None


def set_threads(n: int | None) -> None:
    """Use `n` threads in this process from now on; None: use the environment or all processors.

    Raises:
        TypeError, ValueError: n is not an integer from 1 to 1024.
    """
    global _chosen  # noqa: PLW0603 - the only process-wide setting
    _chosen = None if n is None else whole("n", n, 1, MOST)


def get_threads() -> int:
    """Return the number of threads that training and prediction use.

    Raises:
        ValueError: EVOPRUNE_NUM_THREADS is set, but not to an integer from 1 to 1024.
    """
    if _chosen is not None:
        return _chosen
    own = os.environ.get("EVOPRUNE_NUM_THREADS", "").strip()
    if own:
        n = int(own) if own.isdecimal() else 0
        if not 1 <= n <= MOST:
            raise ValueError(
                f"EVOPRUNE_NUM_THREADS: expected a whole number from 1 to {MOST}, got {own!r}"
            )
        return n
    # OpenMP's variable may be a list, one number per nesting level: use the first. If that is not
    # a number from 1 to MOST, ignore the variable.
    shared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if shared.isdecimal() and 1 <= int(shared) <= MOST:
        return int(shared)
    if hasattr(os, "sched_getaffinity"):
        return min(MOST, len(os.sched_getaffinity(0)))
    return min(MOST, os.cpu_count() or 1)

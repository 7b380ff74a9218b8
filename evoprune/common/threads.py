"""How many threads the package uses. The core is told at every call and keeps no setting itself.

In order: `set_threads`, the environment (EVOPRUNE_NUM_THREADS, then OMP_NUM_THREADS), the
processors that this process may run on. The number never changes a result, only the time it takes.
"""

from __future__ import annotations

import os

from evoprune.common.checks import whole

__all__ = ["get_threads", "set_threads"]

MOST = 1024

_chosen: int | None = None


def set_threads(n: int | None) -> None:
    """Use `n` threads from now on, in this process; None: decide by environment and processors.

    Raises:
        TypeError, ValueError: n is not a whole number from 1 to 1024.
    """
    global _chosen  # noqa: PLW0603 - the one process-wide setting there is
    _chosen = None if n is None else whole("n", n, 1, MOST)


def get_threads() -> int:
    """Return the number of threads that training and prediction use.

    Raises:
        ValueError: EVOPRUNE_NUM_THREADS is set to something that is no number from 1 to 1024.
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
    # OpenMP's variable may be a list, one number for each nesting level; it is not ours to reject.
    shared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if shared.isdecimal() and 1 <= int(shared) <= MOST:
        return int(shared)
    if hasattr(os, "sched_getaffinity"):
        return min(MOST, len(os.sched_getaffinity(0)))
    return min(MOST, os.cpu_count() or 1)

"""Memory of this process. Imports only the standard library, because peers use it too."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path


def resident() -> int:
    """Return the resident memory of this process in bytes; 0 if unknown (not Linux)."""
    return _field("VmRSS")


def forget() -> None:
    """Reset `peak`; if the system cannot, `peak` counts from the start of the process.

    Before that, return free memory to the system if the C library can, so that memory
    counts when it is allocated again.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak() -> int:
    """Return the maximum resident memory in bytes since the last call of `forget`.

    Where /proc is missing, since the start of the process.
    """
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _field("VmHWM") or most * (1 if sys.platform == "darwin" else 1024)


def _field(name: str) -> int:
    try:
        lines = Path(f"/proc/{os.getpid()}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 0)

"""The peak memory of a process, for tests that limit it."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path


def forget() -> None:
    """Reset the peak, if the system supports that (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """Return the peak memory in KiB.

    `ru_maxrss` of a new program starts at the memory of the process that started it, which can be
    larger than the program's own, so the kernel's peak of this program is preferred.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most

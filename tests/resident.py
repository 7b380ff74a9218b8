"""The most memory a process has held, for tests that bound it."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path


def forget() -> None:
    """Measure from here on, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """Return KiB.

    `ru_maxrss` of a new program starts at what the process that started it held, so large tests
    would hide what a small program needs; the kernel's own mark of this program is read first.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most

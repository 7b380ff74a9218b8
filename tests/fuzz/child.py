"""Run fuzz cases in a process of its own; if the process crashes, its log holds the last call.

    python -m fuzz.child FUZZER FIRST CASES LOG [MEGABYTES]

Prints a line of JSON for every fault, and one with the number of calls for every case.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import resource
import signal
import sys
import warnings
from importlib import import_module
from pathlib import Path

from fuzz.play import Watch
from fuzz.report import Fault

ROOM = 4096
SLOW = 60.0  # seconds of a call after which the process prints a traceback and exits


class Log:
    """A memory-mapped file that holds the last call, even if the process crashes in it."""

    def __init__(self, path: str) -> None:
        with Path(path).open("wb+") as file:
            file.truncate(ROOM)
            self.map = mmap.mmap(file.fileno(), ROOM)

    def __call__(self, seed: int, text: str) -> None:
        line = f"{seed}\n{text}".encode(errors="replace")[: ROOM - 1]
        self.map[:] = line.ljust(ROOM, b"\0")
        faulthandler.dump_traceback_later(SLOW, exit=True)


def main() -> None:
    """Run cases one after the other."""
    fuzzer, first, cases, path, *more = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    warnings.simplefilter("ignore")
    if more and int(more[0]):
        resource.setrlimit(resource.RLIMIT_AS, (int(more[0]) << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    case, watch = import_module(f"fuzz.{fuzzer}").case, Log(path)
    # Text that warnings or progress bars print must not mix with the report.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for seed in range(int(first), int(first) + int(cases)):
        done, fault = _play(case, seed, watch)
        if fault is not None:
            report.write(fault.line() + "\n")
        report.write(json.dumps({"calls": done}) + "\n")
    report.write(json.dumps({"end": True}) + "\n")
    report.flush()
    faulthandler.cancel_dump_traceback_later()
    os._exit(0)


def _play(case: object, seed: int, watch: Watch) -> tuple[int, Fault | None]:
    done = 0
    try:
        for fault in case(seed, watch):  # type: ignore[operator]
            done += 1
            if fault is not None:
                return done, fault
    except MemoryError:
        pass  # the memory limit was reached outside a call
    return done, None


if __name__ == "__main__":
    main()

"""The faults that a fuzzer has found: one entry per kind, with the command that repeats it."""

from __future__ import annotations

import json
import re
import traceback
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Fault:
    """A fault, and how to repeat it."""

    kind: str  # "error", "inconsistent", "memory", "hang", "death" (of a child), "fuzzer"
    where: str  # the call or the file format
    what: str  # the error, shortened
    seed: int
    detail: str = ""

    @property
    def key(self) -> str:
        """Return a key shared by faults with one cause: the fault without numbers and quotes."""
        plain = re.sub(r"'[^']*'|\"[^\"]*\"", "_", self.what)
        return f"{self.kind} {self.where} {re.sub(r'-?[0-9][0-9.e+-]*', '#', plain)[:120]}"

    def line(self) -> str:
        """Return the fault as one line of JSON."""
        return json.dumps(asdict(self))


def of_error(error: BaseException, where: str, seed: int, detail: str) -> Fault:
    """Return the fault of an error that is not allowed."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = [f for f in frames if "evoprune" in f.filename and "/fuzz/" not in f.filename]
    at = f" at {inner[-1].filename.rpartition('evoprune/')[2]}:{inner[-1].name}" if inner else ""
    return Fault("error", where, f"{type(error).__name__}{at}: {str(error)[:300]}", seed, detail)


def summary(faults: list[Fault], command: str, limit: int = 100) -> str:
    """Return a text with an entry for every kind of fault."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.key, []).append(fault)
    lines: list[Any] = []
    for same in sorted(kinds.values(), key=len, reverse=True)[:limit]:
        first = min(same, key=lambda fault: len(fault.detail))
        lines += [f"{len(same)} x {first.kind}: {first.where}: {first.what}"]
        lines += [f"    {first.detail}"] * bool(first.detail)
        lines += [f"    again: {command} --seed {first.seed} --cases 1"]
    return "\n".join(lines)

"""Shared by all benchmarks: a clean environment, facts of the machine, statistics, results.

Timing is in rounds.py. A result is a JSON file that states machine, time, sources and method of
the measurement; report.py converts it to tables. Import this before NumPy, see environment.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - must come before NumPy
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # for a checkout built in place but not installed

Facts = dict[str, Any]


# ---- the machine and the sources ----------------------------------------------------------------


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> Facts:
    """Return the facts of processor and system that times depend on."""
    return {
        "cpu": _cpu_name(),
        "processors": processors(),
        "caches": _caches(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{fields.get('model name', platform.machine())} ({family})"


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (index / name).read_text().strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def commit() -> Facts:
    """Return the commit of the sources, and whether they differ from it; unknown without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = git(
            "status",
            "--porcelain",
            "--",
            "csrc",
            "evoprune",
            "setup.py",
            "benchmarks/*.py",
            "benchmarks/*.c",
        )
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}


def package() -> Facts:
    """Return the version of the package, and which of its compiled cores runs."""
    import evoprune as ep
    from evoprune import core

    return {"evoprune": ep.__version__, "core": core.variant}


def exported(data: Any, folder: Path, name: str) -> Facts:
    """Write a data set as .npy files into a folder; return the arguments of peers.load."""
    files = {part: str(folder / f"{name}_{part}.npy") for part in ("x", "y")}
    np.save(files["x"], data.x)
    np.save(files["y"], data.y)
    return {**files, "shift": float(data.shift), "scale": float(data.scale)}


# ---- statistics ---------------------------------------------------------------------------------


def spread(samples: Sequence[float]) -> Facts:
    """Return median, quartiles, minimum and number of samples."""
    q1, median, q3 = np.percentile(samples, [25, 50, 75])
    return {
        "median": float(median),
        "q1": float(q1),
        "q3": float(q3),
        "least": float(min(samples)),
        "n": len(samples),
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of above / below over rounds.

    Both are measured in every round, so that changes of the machine's speed cancel.
    """
    return float(np.median(np.asarray(above) / np.asarray(below)))


# ---- arguments and results ----------------------------------------------------------------------


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments of all benchmarks."""
    parser = argparse.ArgumentParser(description=(about or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="short rounds, to test the benchmark")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only cases whose name contains TEXT"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file for the JSON")
    parser.add_argument(
        "--keep", action="store_true", help="keep the rows of the file that are not measured again"
    )
    return parser


def options(
    about: str | None, threads: list[int] | None = None, **defaults: tuple[Any, Any]
) -> argparse.Namespace:
    """Parse the arguments of all benchmarks and those of this one.

    Args:
        about: description of the benchmark; --help shows its first line.
        threads: default of --threads; None: there is no such argument.
        defaults: argument -> (value of a full run, value of a quick run), numbers or lists of them.
    """
    parser = arguments(about)
    if threads is not None:
        parser.add_argument("--threads", type=numbers_of, default=threads, metavar="N,N")
    for name, (full, quick) in defaults.items():
        listed = isinstance(full, list)
        shown = [",".join(map(str, value)) if listed else value for value in (full, quick)]
        parser.add_argument(
            f"--{name}",
            type=numbers_of if listed else type(full),
            help="{}, or {} with --quick".format(*shown),
        )
    chosen = parser.parse_args()
    for name, (full, quick) in defaults.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, quick if chosen.quick else full)
    return chosen


def numbers_of(text: str) -> list[int]:
    """Read whole numbers from a text like "2,1"."""
    return [int(part) for part in text.split(",")]


def _case(row: Facts) -> str:
    """Return the settings of a row as a key that identifies its case."""
    names = ("part", "case", "kind", "shape", "network", "share", "widths", "batch", "threads")
    names += ("seed", "selected", "epochs", "module", "function", "name")
    return json.dumps([row.get(name) for name in names])


def rounded(value: Any) -> Any:
    """Round every float of plain data to five significant digits; further digits are noise."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def as_json(facts: Facts) -> str:
    """Return the text of a result file: one line for each fact, row or entry of a table."""

    def entries(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n ]"
        if isinstance(value, dict) and any(isinstance(v, dict | list) for v in value.values()):
            lines = (f"  {json.dumps(key)}: {json.dumps(of)}" for key, of in value.items())
            return "{\n" + ",\n".join(lines) + "\n }"
        return json.dumps(value)

    lines = (f" {json.dumps(key)}: {entries(rounded(value))}" for key, value in facts.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


class Result:
    """A benchmark's result, written to its file after every row.

    Full runs go to benchmarks/results/NAME.json, which is kept with the sources; quick ones to
    build/benchmarks/NAME.json.
    """

    def __init__(self, name: str, options: argparse.Namespace, **settings: Any) -> None:
        folder = ROOT / "build" / "benchmarks" if options.quick else HERE / "results"
        self.path: Path = options.out or folder / f"{name}.json"
        self.facts: Facts = {
            "benchmark": name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            **commit(),
            **package(),
            "machine": machine(),
            "settings": settings,
            "rows": self._kept() if options.keep else [],
        }

    def _kept(self) -> list[Facts]:
        """Return the rows of the existing file."""
        if not self.path.exists():
            return []
        kept: list[Facts] = json.loads(self.path.read_text())["rows"]
        return kept

    def add(self, **row: Any) -> None:
        """Add a row, which replaces an existing row of the same case, and write the file."""
        rows = self.facts["rows"]
        cases = [_case(other) for other in rows]
        if _case(row) in cases:
            rows[cases.index(_case(row))] = row
        else:
            rows.append(row)
        self.write()

    def write(self, **facts: Any) -> None:
        """Write the file, with these facts added to its header."""
        self.facts |= facts
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(as_json(self.facts))

    def close(self) -> None:
        """Write the file and print its path."""
        self.write()
        shown = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        print(f"written: {shown}")

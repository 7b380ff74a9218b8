"""The parent process: start children, read their reports, find out what ended them, summarize."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from fuzz import report
from fuzz.report import Fault

FUZZERS = ("boundary", "api", "files")
TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
MEGABYTES = 6000  # limit of a child's address space; no limit under a sanitizer
ROUND = 500  # cases per child


class Runner:
    """Runs cases of one fuzzer in child processes."""

    def __init__(self, fuzzer: str, environment: Mapping[str, str], out: str | None) -> None:
        self.fuzzer, self.environment, self.out = fuzzer, environment, out
        self.faults: list[Fault] = []
        self.calls = self.cases = 0
        self._lock = threading.Lock()

    def child(self, first: int, cases: int) -> int:
        """Run cases from `first` on in one process; return how many ran, also if one crashed."""
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            log = Path(folder, "log")
            limit = "0" if "LD_PRELOAD" in self.environment else str(MEGABYTES)
            command = [sys.executable, "-m", "fuzz.child", self.fuzzer, str(first), str(cases)]
            errors = Path(folder, "errors")
            with errors.open("wb") as file:
                done = subprocess.run(
                    [*command, str(log), limit],
                    env={**os.environ, **self.environment, "TMPDIR": folder},
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    cwd=folder,
                    check=False,
                )
            lines = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
            ended = any(line.get("end") for line in lines)
            self._take(lines)
            if ended:
                return cases
            last = log.read_bytes() if log.exists() else b""  # no log: no call was made
            seed, _, call = last.rstrip(b"\0").decode(errors="replace").partition("\n")
            tail = errors.read_text(errors="replace")
        self._add(_death(seed, call, tail, done.returncode))
        return int(seed or first) - first + 1

    def _take(self, lines: list[dict[str, object]]) -> None:
        with self._lock:
            self.calls += sum(int(str(line["calls"])) for line in lines if "calls" in line)
        for line in lines:
            if "kind" in line:
                self._add(Fault(**line))  # type: ignore[arg-type]

    def _add(self, fault: Fault) -> None:
        with self._lock:
            new = fault.key not in {f.key for f in self.faults}
            self.faults.append(fault)
            if self.out:
                with Path(self.out).open("a") as file:
                    file.write(fault.line() + "\n")
        if new:
            print(f"[{self.fuzzer}] {fault.kind}: {fault.where}: {fault.what[:200]}", flush=True)

    def run(self, first: int, cases: int | None, calls: int | None, end: float, jobs: int) -> None:
        """Run cases from `first` on, up to a number of cases or calls, or until the time `end`."""
        at = first

        def work() -> None:
            nonlocal at
            while time.time() < end and (calls is None or self.calls < calls):
                with self._lock:
                    n = ROUND if cases is None else min(ROUND, first + cases - at)
                    start, at = at, at + max(n, 0)
                if n <= 0:
                    return
                done = 0
                while done < n and time.time() < end:
                    done += self.child(start + done, n - done)
                with self._lock:
                    self.cases += done

        threads = [threading.Thread(target=work) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _death(seed: str, call: str, tail: str, status: int) -> Fault:
    """Return the fault of a child that a signal, a sanitizer, the watchdog or an error ended."""
    marks = [line for line in tail.splitlines() if "ERROR: " in line or "runtime error" in line]
    frames = [line.strip() for line in tail.splitlines() if line.strip().startswith("#")]
    own = [f.partition(" in ")[2].split(" (")[0] for f in frames if "csrc/" in f][:3]
    kind, what = "death", f"exit status {status}"
    if marks:
        what = f"{marks[0].split(' on ')[0].partition('==ERROR: ')[2] or marks[0]} {own}"
    elif "Timeout (" in tail:
        inner = [line.strip() for line in tail.splitlines() if 'File "' in line][:2]
        kind, what = "hang", f"deaf to Ctrl-C: {inner}"
    elif "Traceback (most recent" in tail:
        kind, what = "fuzzer", " | ".join(tail.strip().splitlines()[-3:])
    where = call.partition("(")[0]
    return Fault(kind, where, what, int(seed or 0), call)


def sanitized(folder: Path) -> dict[str, str]:
    """Build the core with ASan and UBSan in a folder; return the environment to run it in."""
    build = {"EVOPRUNE_SANITIZE": "address,undefined", "EVOPRUNE_VARIANTS": "32_base,64_base"}
    places = ["--build-lib", str(folder / "lib"), "--build-temp", str(folder / "objects")]
    command = [sys.executable, "setup.py", "-q", "build_ext", *places]
    subprocess.run(command, cwd=ROOT, env=os.environ | build, check=True)
    package = folder / "lib" / "evoprune"
    for path in sorted((ROOT / "evoprune").rglob("*")):
        target = package / path.relative_to(ROOT / "evoprune")
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif path.suffix != ".so" and not target.exists():
            target.symlink_to(path)
    # If the C++ library is not preloaded, ASan ends the process at the first C++ exception, which
    # PyTorch raises.
    libraries = [_library(name) for name in ("libasan.so", "libstdc++.so.6")]
    return {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": f"{folder / 'lib'}{os.pathsep}{TESTS}",
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2000"
        ":hard_rss_limit_mb=4000:handle_segv=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _library(name: str) -> str:
    compiler = os.environ.get("CC", "gcc").split()[-1]
    command = [compiler, f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def plain() -> dict[str, str]:
    """Return the environment that runs the package without sanitizers."""
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}


def drive(args: argparse.Namespace) -> int:
    """Run the fuzzers that a command line names; return 1 if there were faults."""
    end = time.time() + (args.hours * 3600 if args.hours else 1e9)
    names = args.fuzzers or list(FUZZERS)
    found = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-build-") as folder:
        environment = sanitized(Path(args.build or folder).resolve()) if args.sanitize else plain()
        for i, name in enumerate(names):
            runner = Runner(name, environment, args.out)
            until = time.time() + (end - time.time()) / (len(names) - i) if args.hours else end
            runner.run(args.seed, args.cases, args.calls, until, args.jobs)
            command = f"PYTHONPATH=.:tests python -m fuzz {name}"
            print(f"== {name}: seeds {args.seed} to {args.seed + runner.cases - 1}, "
                  f"{runner.calls} calls, {len(runner.faults)} faults")  # fmt: skip
            print(report.summary(runner.faults, command))
            found += len(runner.faults)
    return 1 if found else 0

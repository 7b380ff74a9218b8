"""Run Python programs in new processes, for tests that need one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import evoprune

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


def run(code: str, *arguments: str, timeout: float = 120, **environment: str) -> str:
    """Run a program that can import the package and the tests; return its output, or fail.

    Warnings are errors in the program, as in all tests.
    """
    return _run(["-c", textwrap.dedent(code), *arguments], timeout, environment)


def run_file(path: Path, *arguments: str, timeout: float = 120, **environment: str) -> str:
    """Run a program file like `run`; child processes of the program can import the file."""
    return _run([str(path), *arguments], timeout, environment)


def _run(command: list[str], timeout: float, environment: dict[str, str]) -> str:
    package = str(Path(evoprune.__file__).resolve().parents[1])
    path = os.pathsep.join([package, str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout

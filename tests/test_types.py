"""Type checkers accept the right calls of typed_calls.py and reject the wrong ones."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CALLS = ROOT / "tests" / "typed_calls.py"
WRONG = {i for i, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# wrong")}


def run(module: str, *arguments: str) -> str:
    """Return the output of a type checker; skip the test if it is not installed."""
    command = [sys.executable, "-m", module] if importlib.util.find_spec(module) else []
    command = command or [shutil.which(module) or pytest.skip(f"{module} is not installed")]
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 600}
    if subprocess.run([*command, "--version"], **options).returncode:
        pytest.skip(f"{module} does not start here: pyright downloads itself at its first run")
    done = subprocess.run([*command, *arguments], **options)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_there_are_wrong_calls_of_every_kind():
    assert len(WRONG) > 15


@pytest.mark.slow
def test_mypy_reports_exactly_the_wrong_calls():
    text = run("mypy", "--config-file", "pyproject.toml", str(CALLS))
    found = re.findall(r"^tests/typed_calls\.py:(\d+): error: (.*)", text, re.M)
    assert {int(line) for line, _ in found} == WRONG, text
    assert any('Unexpected keyword argument "unts"' in message for _, message in found)


@pytest.mark.slow
def test_pyright_reports_exactly_the_wrong_calls():
    text = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(CALLS))
    found = [row for row in json.loads(text)["generalDiagnostics"] if row["severity"] == "error"]
    assert {row["range"]["start"]["line"] + 1 for row in found} == WRONG, found
    assert any('No parameter named "unts"' in row["message"] for row in found)

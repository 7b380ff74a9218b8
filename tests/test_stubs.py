"""The stub of the compiled core says what the core says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_stub_is_fresh():
    pytest.importorskip("ruff")
    script = ROOT / "tools" / "make_stubs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_function_of_the_core_has_a_signature():
    import inspect

    from evoprune.core import core32

    for owner in (core32, core32.Network, core32.Community):
        for name, thing in vars(owner).items():
            if callable(thing) and not name.startswith("_") and not isinstance(thing, type):
                assert inspect.signature(thing) is not None, name
                assert thing.__doc__

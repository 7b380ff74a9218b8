"""Set up all tests: optional data sets, matplotlib without windows, repeatable examples."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# Background jobs of a shell ignore Ctrl-C, and processes started by tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # nohup sets SIGHUP to be ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]

try:
    from hypothesis import settings
except ImportError:  # hypothesis is optional: test files that need it skip themselves
    pass
else:
    # Use the same examples on every run, and no deadlines, since the machine may be busy.
    settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("steady")


def find_data(name: str) -> Path:
    """Return the folder of a data set that is not bundled; skip the test if it is absent."""
    named = os.environ.get("EVOPRUNE_DATA")
    root = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (root / name).is_dir():
        pytest.skip(f"no data set {name} in {root} (EVOPRUNE_DATA names another place)")
    return root / name


@pytest.fixture(scope="session")
def data_root():
    """Return a function that finds the folder of a data set by name, or skips the test."""
    return find_data


@pytest.fixture(scope="session")
def mnist():
    """Return (train, test) of the bundled MNIST."""
    from evoprune import datasets

    return datasets.mnist()

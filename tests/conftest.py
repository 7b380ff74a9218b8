"""What every test file gets: data that may be absent, a quiet matplotlib, steady examples."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# A shell's background jobs have Ctrl-C ignored, and would hand that on to the processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # nohup ignores this one
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]

try:
    from hypothesis import settings
except ImportError:  # the files that need it say so themselves
    pass
else:
    # The same examples on every run, and no verdict from a busy machine's clock.
    settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("steady")


def find_data(name: str) -> Path:
    """The folder of a data set that is not bundled; skips the test where there is none."""
    named = os.environ.get("EVOPRUNE_DATA")
    root = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (root / name).is_dir():
        pytest.skip(f"no data set {name} in {root} (EVOPRUNE_DATA names another place)")
    return root / name


@pytest.fixture(scope="session")
def data_root():
    """Call it with a name, such as "fashion-mnist", to get its folder or a skip."""
    return find_data


@pytest.fixture(scope="session")
def mnist():
    """(train, test) of the bundled MNIST."""
    from evoprune import datasets

    return datasets.mnist()

"""A short run of the fuzzers on fixed cases; `make fuzz` runs them for hours, under sanitizers."""

from __future__ import annotations

import os
import sys

import pytest
from fuzz import report
from fuzz.drive import Runner, plain
from scripts import run

CASES = {"boundary": 150, "api": 120, "files": 250}
FIRST = 1


SAME = """
    import hashlib

    from fuzz.files import mutated

    digest = hashlib.sha256()
    for seed in range(150):
        digest.update(mutated(seed)[1])
    print(digest.hexdigest())
"""


def test_a_seed_stands_for_one_file():
    """A seed gives the same file in every process and at any time: faults can be repeated."""
    assert run(SAME) == run(SAME)


@pytest.mark.skipif(sys.platform != "linux", reason="limits and counts memory as Linux does")
@pytest.mark.parametrize("fuzzer", CASES)
def test_no_case_shows_a_fault(fuzzer):
    runner = Runner(fuzzer, plain(), None)
    jobs = min(2, len(os.sched_getaffinity(0)))
    runner.run(FIRST, CASES[fuzzer], None, float("inf"), jobs)
    print(f"seeds {FIRST} to {FIRST + CASES[fuzzer] - 1}, {runner.calls} calls")
    again = f"PYTHONPATH=.:tests python -m fuzz {fuzzer}"
    assert runner.cases == CASES[fuzzer]
    assert not runner.faults, report.summary(runner.faults, again)

"""Training is bit-identical: hashes of small runs equal those stored in tests/golden."""

from __future__ import annotations

import json

import pytest
from golden import golden

from evoprune.common import threads


@pytest.mark.parametrize("level", golden.LEVELS)
def test_training_matches_the_stored_hashes(level):
    try:
        name = golden.identity(level)
        stored = json.loads(golden.HASHES.read_text()).get(name)
        if stored is None:
            pytest.skip(f"no hashes are stored for {name}")
        now = golden.at_level(level)
    except LookupError as error:
        pytest.skip(str(error))
    assert {run: now[run] for run in stored} == stored


def test_the_number_of_threads_does_not_change_a_hash():
    for stored in json.loads(golden.HASHES.read_text()).values():
        for net in ("mlp", "lenet5"):
            assert len({stored[run] for run in stored if run.startswith(f"{net},")
                        and run.endswith("threads")}) == 1  # fmt: skip


def test_populations_die_in_the_golden_runs():
    """A run without extinctions would test little."""
    table = golden.samples(120, 3, 12)
    before = threads.get_threads()
    try:
        for law in [name for name in golden.DYNAMICS if name != "none"]:
            network = golden.mlp()
            by = golden.selection(1.5 if law == "malthusian" else 0.15, law)
            golden.trained(network, table, by, epochs=12)
            assert sum(network.alive.values()) < 40, law
    finally:
        threads.set_threads(None)
    assert threads.get_threads() == before

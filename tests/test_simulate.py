"""Laws by themselves: the textbook results, through the public door."""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep
from evoprune.core.spec import known
from evoprune.selection.laws import Dynamics


def test_the_replicator_keeps_the_total_and_follows_its_closed_form():
    fitness = np.array([0.001, 0.002, 0.004])
    masses = ep.simulate(ep.Replicator(strength=1, clip=1), [1, 2, 3], fitness, 50)
    assert masses.shape == (51, 3)
    assert np.allclose(masses.sum(1), 6)
    expected = np.array([1, 2, 3]) * np.exp(50 * fitness)
    assert np.allclose(masses[-1] / masses[-1].sum(), expected / expected.sum())


def test_two_species_exclude_each_other_or_live_together():
    def end(a12, a21):
        law = ep.LotkaVolterra(interaction=[1, a12, a21, 1], clip=0.1)
        return ep.simulate(law, [0.2, 0.1], 1.0, 3000)[-1]

    assert np.allclose(end(0.5, 0.5), 2 / 3, atol=1e-3)
    assert end(0.5, 1.5)[1] < 1e-6 < 0.99 < end(0.5, 1.5)[0]
    assert end(1.5, 1.5)[1] < 1e-6  # who is more numerous wins


def test_fitness_may_depend_on_the_others():
    masses = ep.simulate("malthusian", [0.1, 5], lambda mass: 1 - mass, 4000, upkeep=0.5)
    assert np.allclose(masses[-1], 0.5, atol=0.02)


def test_python_laws_are_called_as_in_training():
    seen = []

    @ep.dynamics
    def law(cohort):
        seen.append(cohort)
        return cohort["mass"] * 0.5

    masses = ep.simulate(law, [1, 2], [0, 0], 3, threshold=0.3, upkeep=[0.1, 0.2])
    assert np.allclose(masses, [[1, 2], [0.5, 1], [0, 0.5], [0, 0]])
    assert [c["generation"] for c in seen] == [1, 2, 3]
    assert seen[0]["upkeep"].tolist() == [0.1, 0.2]
    assert np.allclose(ep.simulate(lambda m, f: m + f, 1.0, 1.0, 2).ravel(), [1, 2, 3])


def test_chance_goes_by_the_seed():
    runs = [ep.simulate("wright_fisher", np.ones(5), 0.0, 20, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("name", list(known(Dynamics)))
def test_every_law_can_be_simulated(name):
    masses = ep.simulate(name, [1.0, 0.5, 2.0], [0.1, 0.2, -0.1], 20, upkeep=0.05)
    assert np.isfinite(masses).all()
    assert (masses >= 0).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mass": [[1.0]]}, "mass: expected a vector"),
        ({"mass": []}, "mass: expected a vector"),
        ({"mass": [1, -1]}, "mass: expected finite numbers of at least 0"),
        ({"fitness": [1, np.nan]}, "fitness: expected 2 finite numbers"),
        ({"generations": -1}, "generations: expected a whole number from 0"),
        ({"threshold": -1}, "threshold: expected a number from 0"),
        ({"overlap": np.eye(3)}, r"overlap: expected \(2, 2\) numbers"),
        ({"dynamics": "war"}, "no dynamics is called 'war'"),
    ],
)
def test_wrong_arguments_are_named(change, text):
    settings = {"dynamics": "malthusian", "mass": [1, 1], "fitness": [0, 0], "generations": 3}
    with pytest.raises(ValueError, match=text):
        ep.simulate(**(settings | change))

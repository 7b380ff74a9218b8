"""Laws without a network: textbook results, through the public functions."""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep
from evoprune.core.spec import known
from evoprune.selection.groups import Dynamics


def test_the_replicator_keeps_the_total_and_follows_its_closed_form():
    fitness = np.array([0.001, 0.002, 0.004])
    masses = ep.simulate(ep.Replicator(strength=1, clip=1), [1, 2, 3], fitness, 50)
    assert masses.shape == (51, 3)
    assert np.allclose(masses.sum(1), 6)
    expected = np.array([1, 2, 3]) * np.exp(50 * fitness)
    assert np.allclose(masses[-1] / masses[-1].sum(), expected / expected.sum())


def test_two_species_exclude_each_other_or_coexist():
    def end(a12, a21):
        law = ep.LotkaVolterra(interaction=[1, a12, a21, 1], clip=0.1)
        return ep.simulate(law, [0.2, 0.1], 1.0, 3000)[-1]

    assert np.allclose(end(0.5, 0.5), 2 / 3, atol=1e-3)
    assert end(0.5, 1.5)[1] < 1e-6 < 0.99 < end(0.5, 1.5)[0]
    assert end(1.5, 1.5)[1] < 1e-6  # the species that starts with more mass wins


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


def test_draws_depend_on_the_seed():
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


@pytest.mark.parametrize("name", list(known(Dynamics)))
def test_memory_grows_with_the_number_of_populations_alone(name):
    """10,000 populations: a matrix of all pairs would take 800 MB."""
    import tracemalloc

    n = 10_000
    tracemalloc.start()
    try:
        masses = ep.simulate(name, np.ones(n), np.linspace(-1, 1, n), 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert masses.shape == (2, n)
    assert peak < 40e6


@pytest.mark.parametrize("name", list(known(Dynamics)))
def test_subnormal_masses_are_handled(name):
    masses = ep.simulate(name, [1e-310, 3e-310], [1.0, 2.0], 5)
    assert np.isfinite(masses).all()
    if name in ("moran", "wright_fisher", "replicator"):
        assert np.allclose(masses.sum(1) / 4e-310, 1, rtol=1e-6)


def test_large_masses_keep_their_total():
    masses = ep.simulate("replicator", [1e40, 3e40], [0.1, 0.2], 50)
    assert np.allclose(masses.sum(1), 4e40)
    assert masses[-1, 1] > 3e40


def test_capped_masses_warn():
    law = ep.NoisyGrowth(strength=1, clip=700, noise=0)
    with pytest.warns(RuntimeWarning, match="reached 1e\\+300"):
        masses = ep.simulate(law, [1.0], [700.0], 2)
    assert masses[-1, 0] == 1e300
    with pytest.raises(ValueError, match="mass: expected numbers of at most 1e\\+300"):
        ep.simulate(law, [1e305], [0.0], 1)


def test_a_lifespan_without_a_threshold_is_the_usual_one():
    masses = ep.simulate(ep.Malthusian(lifespan=50), [1.0, 1.0], [0.0, 1.0], 50, upkeep=0.5)
    assert masses[-1, 0] == pytest.approx(1e-3)


def test_extinct_populations_stay_extinct():
    law = ep.BestResponse(strength=1, gamma=0.5, beta=0)
    worth = iter(np.array([-1.0, 5, 5]) if at else np.array([-1.0, 0.4, 0.5]) for at in range(9))
    masses = ep.simulate(law, [0.5, 1, 1], lambda mass: next(worth) + mass, 4, threshold=0.2)
    assert (masses[1:, 0] == 0).all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"fitness": [1.0, 2, 3]}, ValueError, r"fitness: expected one number or 2, .*\(3,\)"),
        ({"fitness": lambda mass: mass[:1]}, ValueError, "fitness: expected one number or 2"),
        ({"upkeep": [1.0, 2, 3]}, ValueError, "upkeep: expected one number or 2"),
        ({"upkeep": [-1.0, 2]}, ValueError, "upkeep: expected numbers of at least 0"),
        ({"strength": -1}, ValueError, "strength: expected a number from 0"),
        ({"strength": np.nan}, ValueError, "strength: expected a number from 0"),
        ({"dynamics": lambda m, f: m[:1]}, ValueError, "dynamics"),
        ({"dynamics": lambda m, f: -m}, ValueError, "dynamics: expected finite .* at least 0"),
        ({"dynamics": lambda m, f: m * np.nan}, ValueError, "dynamics: expected finite"),
    ],
)
def test_arguments_refused_by_training_are_refused(change, error, text):
    settings = {"dynamics": "malthusian", "mass": [1, 1], "fitness": [0, 0], "generations": 3}
    with pytest.raises(error, match=text):
        ep.simulate(**(settings | change))

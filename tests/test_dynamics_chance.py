"""The distributions of stochastic laws.

Every bound is five standard deviations of the average, which a right law exceeds with a
probability of about one in a million. Seeds are fixed, so results do not change between runs.
"""

from __future__ import annotations

import numpy as np
import pytest
from cohorts import FREE, run, step
from cores import BOTH, CORE64, name_of

every_core = pytest.mark.parametrize("core", BOTH, ids=name_of)


def within(values, expected) -> None:
    """Assert that the mean of `values` is `expected`, up to five standard errors."""
    values = np.asarray(values, float)
    doubt = 5 * values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) <= doubt, f"{values.mean()} not {expected} +- {doubt}"


def fates(name, mass, fitness, config, times, most=100_000):
    """Return for each run whether the first of two populations ends with all of the mass."""
    won = []
    for seed in range(times):
        m = np.array(mass, float)
        for generation in range(most):
            m = step(CORE64, name, m, fitness, config, seed=seed, generation=generation)
            if m[0] == 0 or m[1] == 0:
                break
        won.append(m[0] > 0)
    return won


# ---- noisy growth ------------------------------------------------------------------------------


@every_core
def test_log_mass_is_normal_with_the_drift_and_variance_of_ito(core):
    n, t, h, s, surplus = 20000, 3, 2.0, 0.1, 0.05
    config = {"strength": h, "noise": s, **FREE}
    mass = run(core, "noisy_growth", np.ones(n), np.full(n, 0.07), config, t,
               upkeep=np.full(n, 0.02), seed=4)  # fmt: skip
    log = np.log(mass.astype(float))
    within(log, (surplus - s * s / 2) * h * t)
    within((log - log.mean()) ** 2, s * s * h * t)
    z = (log - log.mean()) / log.std()
    assert abs(np.mean(z**3)) <= 5 * np.sqrt(6 / n)
    assert abs(np.mean(z**4) - 3) <= 5 * np.sqrt(24 / n)
    within(mass, np.exp(surplus * h * t))


def test_generations_and_seeds_have_noise_of_their_own():
    n = 20000
    draws = [
        np.log(step(CORE64, "noisy_growth", np.ones(n), np.zeros(n), seed=s, generation=g))
        for s, g in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    apart = np.corrcoef(draws) - np.eye(4)
    assert np.abs(apart).max() <= 5 / np.sqrt(n)
    series = draws[0] - draws[0].mean()
    assert abs(series[1:] @ series[:-1] / (series @ series)) <= 5 / np.sqrt(n)


def test_without_noise_it_is_raw_growth():
    config = {"strength": 3.0, **FREE}
    plain = step(CORE64, "malthusian", [1, 2], [0.1, -0.2], config | {"growth": "raw"})
    quiet = step(CORE64, "noisy_growth", [1, 2], [0.1, -0.2], config | {"noise": 0.0})
    assert np.array_equal(plain, quiet)


def test_noise_belongs_to_the_birth_id():
    one = step(CORE64, "noisy_growth", [1, 1, 1], [0, 0, 0], birth=[5, 2, 9], born=10)
    other = step(CORE64, "noisy_growth", [1, 1], [0, 0], birth=[9, 5], born=10)
    assert np.array_equal(one[[2, 0]], other)


# ---- Wright-Fisher -----------------------------------------------------------------------------


@every_core
def test_masses_are_whole_numbers_of_individuals(core):
    mass = run(core, "wright_fisher", np.ones(5), [0.1, 0, 0, -0.1, 0], {"size": 50}, 10)
    assert mass * 50 == pytest.approx(np.round(mass * 50), abs=1e-4)
    assert mass.sum(dtype=float) == pytest.approx(5, rel=1e-6)


def test_drift_alone_loses_diversity_at_one_over_n():
    """With equal fitness, two of N individuals differ with probability H(t) = H(0) (1 - 1/N)^t."""
    size, times = 40, 15
    left = []
    for seed in range(2000):
        x = run_seeded("wright_fisher", [0.5, 0.25, 0.25], {"size": size}, times, seed)
        left.append(1 - x @ x)
    within(left, (1 - 0.375) * (1 - 1 / size) ** times)


def run_seeded(name, mass, config, times, seed):
    for generation in range(times):
        mass = step(CORE64, name, mass, np.zeros(len(mass)), config, seed=seed,
                    generation=generation)  # fmt: skip
    return mass


def test_a_neutral_population_is_fixed_with_the_probability_of_its_share():
    within(fates("wright_fisher", [0.3, 0.7], [0, 0], {"size": 10}, 1500), 0.3)


def test_half_a_generation_has_half_the_drift():
    """With strength eta, N / eta individuals are drawn, so the variance is multiplied by eta."""
    n = 4000
    moved = [
        step(CORE64, "wright_fisher", [1, 1], [0, 0], {"size": 100}, seed=seed, strength=0.25)[0]
        for seed in range(n)
    ]
    within((np.array(moved) - 1) ** 2, 0.25 * 0.5 * 0.5 / 200 * 4)


@every_core
def test_drift_at_defaults_keeps_most_populations_for_many_epochs(core):
    """With equal fitness, a population is lost within T generations with P = e^(-2 size / T).

    With the default size of 10,000, P is 5 % at T = 6667; this test runs 1000 generations.
    """
    mass = run(core, "wright_fisher", np.ones(64), np.zeros(64), None, 1000)
    assert np.all(mass > 1e-3)
    assert 0.1 < mass.std() < 0.6  # Var m = 1000 / size = 0.1 after 1000 generations


# ---- Moran -------------------------------------------------------------------------------------


def chain(r, size):
    """Return settings and fitness of a textbook Moran chain: one death and birth per generation.

    r is the ratio of the two fitnesses, and `size` the number of individuals.
    """
    config = {"strength": 1.0, "size": float(size), "turnover": 1 / size, **FREE}
    return config, [np.log(r) / size, 0.0]


@pytest.mark.parametrize(("r", "k"), [(1.5, 1), (1.5, 3), (1.0, 2), (0.7, 5)])
def test_one_event_moves_by_one_with_the_probabilities_of_the_chain(r, k):
    size, n = 8, 6000
    config, fitness = chain(r, size)
    moves = [
        step(CORE64, "moran", [k / size, 1 - k / size], fitness, config, seed=seed)[0] * size - k
        for seed in range(n)
    ]
    moves = np.round(moves)
    assert set(moves) <= {-1, 0, 1}
    parent = r * k / (r * k + size - k)
    within(moves == 1, parent * (size - k) / size)
    within(moves == -1, (1 - parent) * k / size)


@pytest.mark.parametrize(("r", "k"), [(1.5, 1), (1.0, 2), (0.8, 4)])
def test_fixation_has_the_probability_of_the_gambler(r, k):
    size = 6
    config, fitness = chain(r, size)
    expected = k / size if r == 1 else (1 - r**-k) / (1 - r**-size)
    within(fates("moran", [k / size, 1 - k / size], fitness, config, 1500), expected)


@every_core
@pytest.mark.parametrize("turnover", [0.02, 0.4, 0.9, 1.0])
def test_deaths_per_generation_equal_the_turnover(core, turnover):
    config = {"size": 100.0, "turnover": turnover}
    before = np.array([0.01, 1.0, 2.0, 0.5, 0.49])
    for generation in range(50):
        mass = step(core, "moran", before, [0.1, 0, -0.1, 0, 0], config, generation=generation)
        counts = mass.astype(float) * 100
        assert counts == pytest.approx(np.round(counts), abs=1e-3)
        moved = np.abs(counts - before * 100).sum() / 2
        assert moved <= round(turnover * 400) + 1e-3
        assert mass.sum(dtype=float) == pytest.approx(4, rel=1e-6)


def test_counts_survive_being_stored_as_masses():
    """After three generations, masses are whole numbers of individuals, 100 per unit of mass."""
    mass = run(BOTH[0], "moran", np.ones(300), np.zeros(300), {"turnover": 0.2}, 3)
    counts = mass.astype(float) * 100
    assert np.abs(counts - np.round(counts)).max() < 1e-3
    assert np.round(counts).sum() == 30000


def test_an_unfit_population_dies_in_the_expected_time():
    """100 individuals without offspring last about ln(100) / turnover = 920 generations."""
    fitness = np.r_[np.zeros(63), -1.0]
    mass = np.ones(64)
    for generation in range(3000):
        mass = step(CORE64, "moran", mass, fitness, {"clip": 1.0}, generation=generation)
        if mass[-1] == 0:
            break
    assert 300 < generation < 2500

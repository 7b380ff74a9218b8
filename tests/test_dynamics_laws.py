"""Properties of single laws: closed forms, fixed points, outcomes of competition.

Growth is unbounded here (a large `clip`), as in textbooks, except in tests of clip. A generation
is computed in double and rounded once, so t generations cost about t roundings.
"""

from __future__ import annotations

import numpy as np
import pytest
from cohorts import FREE, run, step
from cores import BOTH, CORE64, name_of, real
from hypothesis import given
from hypothesis import strategies as st

every_core = pytest.mark.parametrize("core", BOTH, ids=name_of)

MASSES = st.lists(st.floats(1 / 64, 10, width=32), min_size=2, max_size=8)
SEEDS = st.integers(0, 2**32 - 1)


def eps(core, times=1):
    return 16 * times * float(np.finfo(core.dtype).eps)


def fitnesses(core, n, seed, scale=0.1):
    values = np.random.default_rng(seed).normal(0, scale, n)
    return values.astype(real(core)).astype(float)


def shares(mass):
    mass = np.asarray(mass, float)
    return mass / mass.sum()


# ---- malthusian --------------------------------------------------------------------------------

RAW = {"growth": "raw", "strength": 1.0, "ceiling": 1e30, **FREE}


@every_core
@given(m0=MASSES, seed=SEEDS, h=st.sampled_from([0.25, 1.0, 16.0]))
def test_raw_growth_is_exponential_at_any_step_size(core, m0, seed, h):
    fitness, upkeep = fitnesses(core, len(m0), seed), np.full(len(m0), 0.0625)
    mass = run(core, "malthusian", m0, fitness, RAW | {"strength": h}, 5, upkeep=upkeep)
    expected = np.array(m0) * np.exp(5 * h * (fitness - upkeep))
    np.testing.assert_allclose(mass, expected, rtol=eps(core, 8))


@every_core
@given(m0=MASSES, seed=SEEDS)
def test_the_shares_of_raw_growth_obey_the_replicator(core, m0, seed):
    fitness = fitnesses(core, len(m0), seed)
    grown = run(core, "malthusian", m0, fitness, RAW, 5)
    shared = run(core, "replicator", m0, fitness, {"strength": 1.0, **FREE}, 5)
    np.testing.assert_allclose(shares(grown), shares(shared), rtol=eps(core, 5))


def test_raw_growth_is_clipped_and_strength_scales_the_step():
    mass = step(CORE64, "malthusian", [1, 1], [5, -5], {"growth": "raw"})
    assert mass == pytest.approx(np.exp([0.2, -0.2]))
    mass = step(CORE64, "malthusian", [1, 1], [5, -5], {"growth": "raw"}, strength=0.5)
    assert mass == pytest.approx(np.exp([0.1, -0.1]))


@every_core
@pytest.mark.parametrize("growth", ["bounded", "raw"])
def test_no_mass_grows_above_the_ceiling(core, growth):
    config = {"growth": growth, "ceiling": 1.0}
    wide = {"growth": growth, "ceiling": 1e30}
    free = step(core, "malthusian", [0.5, 1, 3], [5, 5, -5], wide, upkeep=[1, 1, 1])
    mass = step(core, "malthusian", [0.5, 1, 3], [5, 5, -5], config, upkeep=[1, 1, 1])
    assert free[1] > 1
    assert np.array_equal(mass, [free[0], 1, 1])


@every_core
@pytest.mark.parametrize("upkeep", [1e-12, 1e-3, 40.0])
@pytest.mark.parametrize("threshold", [1e-3, 1e-2])
def test_without_fitness_a_population_lives_exactly_lifespan(core, upkeep, threshold):
    mass = run(core, "malthusian", [1], [0], {"lifespan": 70}, 70, upkeep=[upkeep],
               threshold=threshold)  # fmt: skip
    assert mass[0] == pytest.approx(threshold, rel=eps(core, 10))
    earlier = run(core, "malthusian", [1], [0], {"lifespan": 70}, 69, upkeep=[upkeep],
                  threshold=threshold)  # fmt: skip
    assert earlier[0] > threshold * 1.05


@every_core
@given(m0=MASSES, seed=SEEDS)
def test_growth_has_the_sign_of_fitness_less_upkeep(core, m0, seed):
    upkeep = np.abs(fitnesses(core, len(m0), seed))
    mass = np.array(m0, real(core))
    free = {"ceiling": 1e30}
    assert np.array_equal(step(core, "malthusian", mass, upkeep, free, upkeep=upkeep), mass)
    more = step(core, "malthusian", mass, upkeep + 0.5, free, upkeep=upkeep)
    less = step(core, "malthusian", mass, upkeep - 0.5, free, upkeep=upkeep)
    assert np.all(more > mass)
    assert np.all(less < mass)
    # With fitness F and upkeep c, (F - c) / (|F| + c) is in [-1, 1], which limits the growth.
    bound = np.log(1000) / 700 * (1 + eps(core, 100))
    assert np.all(np.abs(np.log(np.float64(more) / mass)) <= bound + eps(core))


def test_a_threshold_of_zero_or_one_gives_finite_growth():
    for threshold in (0.0, 1.0):
        mass = step(CORE64, "malthusian", [1], [0], upkeep=[1], threshold=threshold)
        assert 0 < mass[0] < 1


# ---- replicator --------------------------------------------------------------------------------

REPLICATOR = {"strength": 1.0, **FREE}


@every_core
@given(m0=MASSES, seed=SEEDS)
def test_shares_grow_as_their_fitness_over_that_of_all(core, m0, seed):
    fitness = fitnesses(core, len(m0), seed)
    mass = run(core, "replicator", m0, fitness, REPLICATOR, 10)
    grown = np.array(m0) * np.exp(10 * fitness)
    np.testing.assert_allclose(shares(mass), grown / grown.sum(), rtol=eps(core, 10))
    # The log ratio of two masses grows at exactly the difference of their fitness.
    ratio = np.float64(mass[0]) / mass[1]
    expected = m0[0] / m0[1] * np.exp(10 * (fitness[0] - fitness[1]))
    assert ratio == pytest.approx(expected, rel=eps(core, 20))


@every_core
@given(m0=MASSES, seed=SEEDS, constant=st.sampled_from([-0.5, 0.25, 8.0]))
def test_a_constant_added_to_every_fitness_changes_nothing(core, m0, seed, constant):
    fitness = np.round(fitnesses(core, len(m0), seed) * 2**10) / 2**10
    one = step(core, "replicator", m0, fitness)
    other = step(core, "replicator", m0, fitness + constant)
    # Allow for the rounding of the mean fitness in double, which is in proportion to |constant|.
    cost = 1 + 50 * abs(constant) * 2.0**-53 / np.finfo(core.dtype).eps
    np.testing.assert_allclose(one, other, rtol=eps(core, cost))


@every_core
@given(m0=MASSES, seed=SEEDS, clip=st.sampled_from([1e-3, 0.01, 1e6]))
def test_mean_fitness_never_falls_even_with_clip(core, m0, seed, clip):
    fitness = fitnesses(core, len(m0), seed)
    config = {"strength": 10.0, "clip": clip}
    mass, before = np.array(m0), shares(m0) @ fitness
    for _ in range(5):
        mass = step(core, "replicator", mass, fitness, config)
        after = shares(mass) @ fitness
        assert after >= before - eps(core) * np.abs(fitness).max()
        before = after


@given(m0=MASSES, seed=SEEDS)
def test_fisher_mean_fitness_rises_at_the_variance(m0, seed):
    """d Fbar = Var(F) + E[dF] and sum x'^2 / x = Var(F) (Baez 2021), as the step goes to zero.

    F is fitness and x the shares of the total mass. Fbar, E and Var are means and variance
    weighted by x. d and the prime denote the change per unit of time.
    """
    fitness = fitnesses(CORE64, len(m0), seed)
    change = fitnesses(CORE64, len(m0), seed + 1)
    h = 1e-5
    x = shares(m0)
    y = shares(step(CORE64, "replicator", m0, fitness, {"strength": h, **FREE}))
    mean = x @ fitness
    variance = x @ (fitness - mean) ** 2
    later = fitness + h * change
    assert (y @ later - mean) / h == pytest.approx(variance + x @ change, abs=h + 1e-9)
    assert ((y - x) / h) ** 2 @ (1 / x) == pytest.approx(variance, abs=h + 1e-9)


def test_the_fittest_takes_all_and_clip_bounds_how_fast():
    mass = run(
        CORE64, "replicator", np.ones(4), [0.1, 0.3, 0.2, 0.0], {"strength": 5.0, **FREE}, 100
    )
    assert mass == pytest.approx([0, 4, 0, 0], abs=1e-12)
    slow = step(CORE64, "replicator", [1, 1], [1e6, -1e6], {"clip": 0.01})
    assert np.log(slow[0] / slow[1]) == pytest.approx(0.02)


# ---- replicator-mutator ------------------------------------------------------------------------


@every_core
@given(m0=MASSES, seed=SEEDS)
def test_without_mutation_it_is_the_replicator(core, m0, seed):
    fitness, n = fitnesses(core, len(m0), seed), len(m0)
    plain = step(core, "replicator", m0, fitness, REPLICATOR)
    for still in ({"mutation": 0.0}, {"kernel": np.eye(n).ravel()}):
        mass = step(core, "replicator_mutator", m0, fitness, REPLICATOR | still)
        np.testing.assert_allclose(mass, plain, rtol=eps(core))


@every_core
@pytest.mark.parametrize("given_kernel", [False, True])
def test_the_limit_is_the_perron_vector(core, given_kernel):
    n, fitness = 5, fitnesses(core, 5, 3)
    q = 0.8 * np.eye(n) + 0.2 / n
    config = REPLICATOR | {"mutation": 0.2}
    if given_kernel:
        q = np.random.default_rng(1).uniform(0.1, 1, (n, n))
        q /= q.sum(axis=1, keepdims=True)
        config = REPLICATOR | {"kernel": q.ravel()}
    mass = run(core, "replicator_mutator", np.ones(n), fitness, config, 400)
    # Up to a factor, a generation multiplies the masses by W with W_ij = Q_ji e^F_j.
    values, vectors = np.linalg.eig(q.T * np.exp(fitness))
    perron = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    np.testing.assert_allclose(shares(mass), shares(perron), rtol=eps(core, 20))


@pytest.mark.parametrize(("q", "a"), [(0.9, 2.0), (0.8, 1.5), (0.6, 1.5), (0.5, 1.9)])
def test_the_quasispecies_has_an_error_threshold(q, a):
    """A type, `a` times as fit as its mutant and copied with probability q, survives if q > 1/a."""
    kernel = [q, 1 - q, 0, 1]
    config = REPLICATOR | {"kernel": kernel}
    mass = run(CORE64, "replicator_mutator", [1, 1], [np.log(a), 0], config, 3000)
    expected = (a * q - 1) / (a - 1) if q > 1 / a else 0
    assert shares(mass)[0] == pytest.approx(expected, abs=1e-9)


def test_mutants_are_spread_over_living_populations_only():
    mass = step(CORE64, "replicator_mutator", [3, 0, 1], [0, 9, 0], {"mutation": 1.0})
    assert mass == pytest.approx([2, 0, 2])
    kernel = [0.5, 0.25, 0.25, 0, 1, 0, 0, 0, 1]
    mass = step(CORE64, "replicator_mutator", [2, 0, 1], [0, 9, 0], {"kernel": kernel})
    assert mass == pytest.approx([1.5, 0, 1.5])  # no mutants enter an extinct population


def test_the_kernel_is_by_birth_id():
    kernel = np.eye(4)
    kernel[3] = [0, 0.5, 0, 0.5]
    config = {"kernel": kernel.ravel()}
    mass = step(CORE64, "replicator_mutator", [1, 1], [0, 0], config, birth=[3, 1], born=4)
    assert mass == pytest.approx([0.5, 1.5])


def test_mutation_at_its_default_does_not_keep_the_unfit_above_the_threshold():
    """A population that loses 1 % per generation falls below 1e-3 of the mean mass."""
    fitness = np.r_[np.zeros(99), -1.0]
    mass = run(CORE64, "replicator_mutator", np.ones(100), fitness, None, 1500)
    assert mass[-1] < 1e-3


# ---- logistic ----------------------------------------------------------------------------------

LOGISTIC = {"strength": 1.0, **FREE}


@every_core
@pytest.mark.parametrize("start", [0.01, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("h", [0.1, 1.0, 30.0])
def test_equal_populations_grow_as_verhulst_says(core, start, h):
    n, k, r, times = 3, 2.0 * 3, 0.5, 20
    config = LOGISTIC | {"strength": h, "capacity": 2.0}
    mass = run(core, "logistic", np.full(n, start), np.full(n, r), config, times)
    expected = k / (1 + (k / (n * start) - 1) * np.exp(-r * h * times))
    assert mass.sum(dtype=float) == pytest.approx(expected, rel=eps(core, times))


@every_core
@given(m0=MASSES, seed=SEEDS)
def test_ten_small_steps_are_one_large(core, m0, seed):
    """With constant fitness, equal for all or not, steps are exact while the total mass grows."""
    fitness = np.abs(fitnesses(core, len(m0), seed)) + 0.01
    small = run(core, "logistic", m0, fitness, LOGISTIC, 10)
    large = step(core, "logistic", m0, fitness, LOGISTIC | {"strength": 10.0})
    np.testing.assert_allclose(small, large, rtol=eps(core, 100))


def test_unequal_populations_follow_the_differential_equation():
    """Integrate m_i' = m_i (r_i - max(rbar, 0) M/K) in small steps; the total M falls at first.

    m are masses, r fitness, rbar the mean fitness weighted by mass, M the total mass, K the
    capacity.
    """
    m0, r, k = np.array([2.0, 1.0, 0.5]), np.array([-0.5, 0.4, 0.9]), 6.0
    mass, dt = m0.copy(), 1e-4

    def slope(m):
        mean = max(m @ r / m.sum(), 0)
        return m * (r - mean * m.sum() / k)

    for _ in range(40000):
        half = mass + dt / 2 * slope(mass)
        mass = mass + dt * slope(half)
    stepped = run(CORE64, "logistic", m0, r, LOGISTIC | {"capacity": 2.0, "strength": 0.005}, 800)
    np.testing.assert_allclose(stepped, mass, rtol=1e-3)  # the sign of rbar changes within a step


@every_core
@given(m0=MASSES, seed=SEEDS, h=st.sampled_from([0.1, 1.0, 100.0]))
def test_the_total_never_crosses_the_capacity(core, m0, seed, h):
    fitness = fitnesses(core, len(m0), seed)
    mass, k = np.array(m0), 2.0 * len(m0)
    for _ in range(10):
        before = mass.sum(dtype=float)
        mass = step(core, "logistic", mass, fitness, LOGISTIC | {"strength": h, "capacity": 2.0})
        after = mass.sum(dtype=float)
        if before <= k:
            assert after <= k * (1 + eps(core))
        elif np.all(fitness > 0):
            assert after >= k * (1 - eps(core))


def test_at_the_capacity_selection_continues():
    mass = run(CORE64, "logistic", [1, 1], [0.1, 0.3], LOGISTIC, 10)
    assert mass.sum() == pytest.approx(2)  # the total equals the capacity from the start
    assert mass[1] / mass[0] == pytest.approx(np.exp(2))
    beyond = step(CORE64, "logistic", [5, 5], [-0.1, -0.3], LOGISTIC)
    assert beyond == pytest.approx(5 * np.exp([-0.1, -0.3]))


# ---- Lotka-Volterra ----------------------------------------------------------------------------


def rivals(a12, a21, start, k1=1.0, k2=1.0, core=CORE64):
    """Run two species with textbook coefficients for 4000 generations at growth rate 0.1."""
    interaction = [1 / k1, a12 / k1, a21 / k2, 1 / k2]
    config = {"strength": 1.0, **FREE, "interaction": interaction}
    return run(core, "lotka_volterra", start, [0.1, 0.1], config, 4000, overlap=np.eye(2))


@every_core
def test_two_species_exclude_each_other_coexist_or_depend_on_the_start(core):
    k1, k2 = 1.0, 0.8
    # The first species can invade if a12 < K1/K2 = 1.25, the second if a21 < K2/K1 = 0.8.
    assert rivals(0.5, 1.2, [0.1, 0.9], k1, k2, core) == pytest.approx([k1, 0], abs=1e-4)
    assert rivals(1.5, 0.5, [0.9, 0.1], k1, k2, core) == pytest.approx([0, k2], abs=1e-4)
    a12, a21 = 0.6, 0.4
    both = np.array([k1 - a12 * k2, k2 - a21 * k1]) / (1 - a12 * a21)
    assert rivals(a12, a21, [0.9, 0.1], k1, k2, core) == pytest.approx(both, rel=1e-4)
    assert rivals(a12, a21, [0.1, 0.9], k1, k2, core) == pytest.approx(both, rel=1e-4)
    assert rivals(2.0, 2.0, [0.6, 0.4], k1, k2, core) == pytest.approx([k1, 0], abs=1e-4)
    assert rivals(2.0, 2.0, [0.1, 0.9], k1, k2, core) == pytest.approx([0, k2], abs=1e-4)


@every_core
@given(m0=MASSES, seed=SEEDS)
def test_without_interaction_each_is_logistic(core, m0, seed):
    n, r = len(m0), np.abs(fitnesses(core, len(m0), seed)) + 0.01
    config = {"strength": 1.0, **FREE, "capacity": 2.0, "interaction": np.eye(n).ravel()}
    mass = run(core, "lotka_volterra", m0, r, config, 10, overlap=np.ones((n, n)))
    expected = 2 / (1 + (2 / np.array(m0) - 1) * np.exp(-10 * r))
    np.testing.assert_allclose(mass, expected, rtol=eps(core, 10))


@every_core
@given(m0=MASSES, r=st.sampled_from([0.125, 2.0]))
def test_the_total_of_equal_populations_is_logistic(core, m0, r):
    n = len(m0)
    alike = step(core, "lotka_volterra", m0, np.full(n, r), LOGISTIC, overlap=np.ones((n, n)))
    logistic = step(core, "logistic", m0, np.full(n, r), LOGISTIC)
    np.testing.assert_allclose(alike, logistic, rtol=eps(core, 4))


def test_similar_populations_are_crowded_more():
    overlap = [[1, 1, 0.1], [1, 1, 0.1], [0.1, 0.1, 1]]
    mass = run(CORE64, "lotka_volterra", np.ones(3), np.full(3, 0.05), LOGISTIC, 500,
               overlap=overlap)  # fmt: skip
    assert mass[0] == pytest.approx(mass[1])
    assert mass[0] < 0.9
    assert mass[2] > 1.2
    assert mass.sum() == pytest.approx(3, rel=1e-3)  # the capacity of the niche


def test_unfit_populations_decay_at_any_density():
    for size in (0.01, 100):
        mass = step(CORE64, "lotka_volterra", [size, size], [-0.1, 0.1], LOGISTIC,
                    overlap=np.eye(2))  # fmt: skip
        assert mass[0] == pytest.approx(size * np.exp(-0.1))


def test_competition_at_a_large_step_does_not_oscillate():
    n = 6
    mass = np.full(n, 3.0)
    for _ in range(20):
        mass = step(CORE64, "lotka_volterra", mass, np.full(n, 5.0), LOGISTIC,
                    overlap=np.full((n, n), 0.9) + 0.1 * np.eye(n))  # fmt: skip
        assert np.all(mass >= 1 - 1e-12)  # every mass falls to the capacity and stays there
    assert mass == pytest.approx(np.ones(n), rel=1e-9)


# ---- best response -----------------------------------------------------------------------------


@every_core
@given(seed=SEEDS)
def test_alone_a_player_settles_at_the_soft_threshold(core, seed):
    rng = np.random.default_rng(seed)
    benefit, norm2 = rng.normal(0.3, 0.3, 6), rng.uniform(0.5, 2, 6)
    config = {"strength": 1.0, "alpha": 1.5, "beta": 0.2, "gamma": 0.1}
    mass = run(core, "best_response", np.full(6, 0.5), benefit, config, 400, norm2=norm2,
               overlap=np.eye(6))  # fmt: skip
    best = np.clip((1.5 * benefit - 0.1) / (0.4 * norm2), 0, 1)
    np.testing.assert_allclose(mass, best, atol=eps(core, 4))


def test_a_small_step_climbs_the_utility():
    rng = np.random.default_rng(2)
    n, h = 4, 1e-6
    s, fitness, upkeep = rng.uniform(0.3, 0.7, n), rng.normal(size=n), rng.uniform(size=n)
    w = rng.normal(size=(n, 5))
    overlap, norm2 = w @ w.T, (w * w).sum(axis=1)
    config = {"alpha": 0.7, "beta": 0.3, "gamma": 0.2, "eta": 0.4}

    def utility(i, si):
        others = sum(s[j] * overlap[i, j] for j in range(n) if j != i)
        return si * (0.7 * (fitness[i] - upkeep[i]) - 0.3 * norm2[i] * si - 0.2 - 0.4 * others)

    slope = [(utility(i, s[i] + 1e-4) - utility(i, s[i] - 1e-4)) / 2e-4 for i in range(n)]
    moved = step(CORE64, "best_response", s, fitness, config | {"strength": h}, upkeep=upkeep,
                 overlap=overlap, norm2=norm2)  # fmt: skip
    assert (moved - s) / h == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_masses_stay_in_the_unit_interval_and_can_rise_from_zero():
    wide = {"overlap": np.eye(3), "norm2": np.ones(3)}
    mass = step(CORE64, "best_response", [0, 0, 1], [5, -5, 5], {}, **wide)
    assert mass == pytest.approx([1, 0, 1])


def test_competition_removes_the_less_useful_copy():
    w = np.array([[1.0, 0], [1, 0], [0, 1]])
    mass = run(CORE64, "best_response", np.full(3, 0.5), [0.5, 0.4, 0.4],
               {"strength": 0.1, "beta": 0.1, "eta": 1.0}, 500,
               overlap=w @ w.T, norm2=np.ones(3))  # fmt: skip
    assert mass[0] == pytest.approx(1)
    assert mass[1] == 0
    assert mass[2] == pytest.approx(1)

"""Properties of every dynamics: equality with NumPy, invariants, extreme values.

The laws are those of the catalogue: a new law is tested here as soon as it is listed, and fails
until it has a twin, a NumPy function in tests/reference/dynamics.py. Properties of single laws are
in test_dynamics_laws.py, those of stochastic laws in test_dynamics_chance.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from cohorts import keywords, random_cohort, random_config, step, step_cohort, take
from cores import BOTH, CORE32, EVERY, name_of, real
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import dynamics as twins

LAWS = CORE32.catalogue()["dynamics"]
MULTIPLICATIVE = sorted(set(LAWS) - {"best_response"})  # laws that keep a mass of 0
CONSERVING = [name for name, entry in LAWS.items() if entry["conserves"]]

SEEDS = st.integers(0, 2**32 - 1)
every_core = pytest.mark.parametrize("core", BOTH, ids=name_of)
every_law = pytest.mark.parametrize("name", LAWS)


def drawn(core, name, seed):
    rng = np.random.default_rng(seed)
    cohort = random_cohort(core, rng)
    return cohort, random_config(LAWS[name], rng, cohort.born)


def near(core, got, expected, growth=1.0, scale=0.0) -> None:
    """Assert that elements are equal up to a few roundings.

    `growth` multiplies the allowed relative error: a relative error e of g becomes g * e in exp(g).
    `scale` is the magnitude of the terms of a law's sums, whose roundings are allowed, too.
    """
    eps = np.finfo(core.dtype).eps
    assert got.dtype == real(core)
    roundings = 16 + np.size(expected)  # a sum over n numbers rounds n times
    np.testing.assert_allclose(
        got, expected, rtol=roundings * eps * max(1, growth), atol=roundings * eps * scale
    )


# ---- equality with NumPy -----------------------------------------------------------------------


def test_every_law_has_a_twin_and_no_twin_is_left_over():
    assert sorted(LAWS) == sorted(twins.EXACT | twins.CHANCE)


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize("name", twins.EXACT)
@settings(max_examples=60)
@given(seed=SEEDS)
def test_a_generation_is_that_of_the_twin(core, name, seed):
    cohort, config = drawn(core, name, seed)
    expected = twins.EXACT[name](config, cohort)
    growth = config.get("clip", 1) * cohort.strength
    if name == "logistic":  # errors grow by the ratio of total mass to capacity
        growth = max(growth, cohort.mass.sum() / (config["capacity"] * cohort.born))
    costs = (1 + np.abs(cohort.fitness).max()) * 100 if name == "best_response" else 0
    near(core, step_cohort(core, name, config, cohort), expected, growth, costs)


@every_core
@pytest.mark.parametrize("name", twins.CHANCE)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_mean_and_covariance_of_a_generation_are_those_of_the_twin(core, name, strength):
    """Averages over 4000 draws are within five standard errors of the twin's values."""
    draws = 4000
    config = {"clip": 1.0, "noise": 0.03, "size": 200.0, "turnover": 0.3, "strength": 1.0}
    fields = {field["name"] for field in LAWS[name]["fields"]}
    config = {key: value for key, value in config.items() if key in fields}
    cohort = twins.Cohort(
        mass=np.array([1.0, 2.0, 0.0, 0.5, 1.5]),
        fitness=np.array([0.25, -0.125, 0.5, 0.0, 0.125]),
        upkeep=np.array([0.0, 0.0625, 0.0, 0.0625, 0.125]),
        birth=np.array([4, 0, 2, 7, 1]),
        born=8,
        strength=strength,
    )
    mean, covariance = twins.CHANCE[name](config, cohort)
    got = np.array(
        [step_cohort(core, name, config, cohort, seed=5, generation=g) for g in range(draws)],
        dtype=float,
    )
    spread = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(got.mean(axis=0) - mean) <= 5 * spread / np.sqrt(draws) + 1e-6)
    # `doubt` is the standard deviation of a sample covariance of normal numbers. Counts in the
    # hundreds are close enough to normal.
    doubt = np.sqrt((np.outer(spread, spread) ** 2 + covariance**2) / draws)
    assert np.all(np.abs(np.cov(got.T) - covariance) <= 5 * doubt + 1e-9)


# ---- invariants --------------------------------------------------------------------------------


@every_core
@every_law
@settings(max_examples=15)
@given(seed=SEEDS)
def test_strength_zero_keeps_masses_fixed(core, name, seed):
    cohort, config = drawn(core, name, seed)
    cohort.strength = 0.0
    assert np.array_equal(step_cohort(core, name, config, cohort), cohort.mass)


@every_core
@pytest.mark.parametrize("name", MULTIPLICATIVE)
@settings(max_examples=30)
@given(seed=SEEDS)
def test_zero_stays_zero_and_nothing_turns_negative(core, name, seed):
    cohort, config = drawn(core, name, seed)
    mass = step_cohort(core, name, config, cohort, seed=seed)
    assert np.all(mass[cohort.mass == 0] == 0)
    assert np.all(mass >= 0)


@every_core
@every_law
@settings(max_examples=30)
@given(seed=SEEDS)
def test_the_order_of_populations_does_not_matter(core, name, seed):
    cohort, config = drawn(core, name, seed)
    order = np.random.default_rng(seed).permutation(len(cohort.mass))
    mass = step_cohort(core, name, config, cohort, seed=seed)
    moved = step_cohort(core, name, config, take(cohort, order), seed=seed)
    scale = 1 if name == "best_response" else 1e-6
    near(core, moved, mass[order].astype(float), config.get("clip", 1), scale)


@every_core
@every_law
@settings(max_examples=30)
@given(seed=SEEDS)
def test_removing_extinct_populations_leaves_the_others_bit_identical(core, name, seed):
    cohort, config = drawn(core, name, seed)
    living = cohort.mass > 0
    whole = step_cohort(core, name, config, cohort, seed=seed)
    removed = step_cohort(core, name, config, take(cohort, living), seed=seed)
    assert np.array_equal(whole[living], removed)


@every_core
@pytest.mark.parametrize("name", CONSERVING)
@settings(max_examples=30)
@given(seed=SEEDS)
def test_a_law_that_conserves_keeps_the_total_mass(core, name, seed):
    cohort, config = drawn(core, name, seed)
    mass = step_cohort(core, name, config, cohort, seed=seed).astype(float)
    eps = np.finfo(core.dtype).eps  # allow for the rounding of each mass
    assert abs(mass.sum() - cohort.mass.sum()) <= 4 * eps * cohort.mass.sum()


@every_core
@pytest.mark.parametrize("name", CONSERVING)
@settings(max_examples=30)
@given(seed=SEEDS)
def test_equal_upkeep_has_no_effect_if_the_total_is_conserved(core, name, seed):
    cohort, config = drawn(core, name, seed)
    fitness = np.round(cohort.fitness * 2**20) / 2**20  # so that subtracting 1/8 is exact
    bare = {**keywords(cohort), "upkeep": None}
    taxed = {**keywords(cohort), "upkeep": np.full_like(fitness, 0.125)}
    fitness[np.abs(fitness) > 4] = 0
    kept = step(core, name, cohort.mass, fitness, config, **bare, seed=seed)
    same = step(core, name, cohort.mass, fitness, config, **taxed, seed=seed)
    near(core, same, kept.astype(float), config.get("clip", 1), scale=1e-6)


@every_core
@every_law
@settings(max_examples=15)
@given(seed=SEEDS)
def test_the_fitter_of_two_equals_does_not_end_below(core, name, seed):
    """Of two populations alike in all but fitness, the fitter ends with at least as much mass.

    For stochastic laws, this holds on average.
    """
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.normal(0, 0.01, 2))
    entry = LAWS[name]
    config = random_config(
        {"fields": [f for f in entry["fields"] if f["type"] != "vector"]}, rng, 2
    )
    if "capacity" in config:
        config["capacity"] = 2.0  # above it, lotka_volterra shrinks the fitter one more
    fixed = {"overlap": np.ones((2, 2)), "norm2": np.ones(2), "upkeep": np.full(2, 0.002)}
    times = 40 if name in twins.CHANCE else 1
    got = np.mean(
        [step(core, name, [1, 1], [low, high], config, seed=seed, generation=g, **fixed)
         for g in range(times)],
        axis=0,
    )  # fmt: skip
    if name in twins.CHANCE:
        cohort = twins.Cohort(np.ones(2), np.array([low, high]), fixed["upkeep"], np.arange(2), 2)
        difference = np.array([-1, 1])
        spread = np.sqrt(difference @ twins.CHANCE[name](config, cohort)[1] @ difference / times)
    else:
        spread = 0
    assert got[1] - got[0] >= -6 * spread


@every_core
@every_law
@settings(max_examples=20)
@given(seed=SEEDS)
def test_price_equation_holds_in_every_generation(core, name, seed):
    """For any trait z, d zbar = Cov(w/wbar, z) + E[w/wbar dz], with means weighted by mass.

    w is the ratio of new to old mass, 0 for extinct populations. d is the change in a generation;
    E and bars denote means.
    """
    rng = np.random.default_rng(seed)
    cohort = random_cohort(core, rng, n=30, dead=0)
    config = random_config(LAWS[name], rng, cohort.born)
    after = step_cohort(core, name, config, cohort, seed=seed).astype(float)
    after[after < np.quantile(after, 0.3)] = 0  # 30 % become extinct
    if after.sum() == 0:
        return
    z, dz = rng.normal(size=30), rng.normal(size=30)
    x, w = cohort.mass / cohort.mass.sum(), after / cohort.mass
    w = w / (x @ w)
    selection = x @ (w * z) - (x @ w) * (x @ z)
    transmission = x @ (w * dz)
    change = after @ (z + dz) / after.sum() - x @ z
    assert change == pytest.approx(selection + transmission, abs=1e-12 * w.max())


# ---- extreme values ----------------------------------------------------------------------------

HUGE = st.sampled_from([0.0, 1e-45, 1e-30, 1e-3, 1.0, 1e10, 1e30, 3e38])
MASS = st.sampled_from([0.0, 1e-38, 1e-20, 1e-3, 1.0, 7.5, 1e10, 1e30])
POPULATION = st.tuples(MASS, HUGE, st.sampled_from([-1, 1]), HUGE, HUGE)


@every_core
@every_law
@settings(max_examples=60)
@given(cohort=st.lists(POPULATION, min_size=1, max_size=6), free=st.booleans(), seed=SEEDS)
def test_finite_numbers_give_finite_masses(core, name, cohort, free, seed):
    mass, size, sign, upkeep, norm2 = (
        np.array(column, float) for column in zip(*cohort, strict=True)
    )
    fields = {field["name"] for field in LAWS[name]["fields"]}
    config = {"clip": 1e6, "strength": 1e9} if free else {}
    if "growth" in fields and free:
        config["growth"] = "raw"
    config = {key: value for key, value in config.items() if key in fields}
    n = len(mass)
    got = step(core, name, mass, size * sign, config, upkeep=upkeep, norm2=norm2,
               overlap=np.full((n, n), 0.5), seed=seed)  # fmt: skip
    assert np.all(np.isfinite(got))
    assert np.all(got >= 0)
    if name in MULTIPLICATIVE:
        assert np.all(got[mass == 0] == 0)
    for total in (mass.astype(real(core)).sum(dtype=float),) if name in CONSERVING else ():
        # The sum may shrink: the largest masses are capped, and the smallest underflow to 0.
        assert got.sum(dtype=float) <= total * (1 + 1e-5)


@every_core
@pytest.mark.parametrize("strength", [1e-300, 1e-9, 1e9])
@every_law
def test_any_strength_gives_finite_masses(core, strength, name):
    wide = {"overlap": np.ones((3, 3)), "norm2": np.ones(3), "upkeep": [0.1, 0.1, 0.0]}
    mass = step(core, name, [1, 2, 0], [0.5, -0.5, 0.1], strength=strength, **wide)
    assert np.all(np.isfinite(mass))


@every_core
@every_law
def test_niches_of_zero_and_one_population(core, name):
    wide = {"overlap": np.ones((0, 0)), "norm2": np.ones(0), "born": 4}
    assert step(core, name, [], [], **wide).shape == (0,)
    wide = {"overlap": np.ones((1, 1)), "norm2": np.ones(1)}
    alone = step(core, name, [1], [0.25], **wide)
    assert np.isfinite(alone[0])
    if name in CONSERVING:
        assert alone[0] == 1
    assert np.all(step(core, name, np.zeros(3), np.zeros(3), overlap=np.ones((3, 3)),
                       norm2=np.ones(3)) == 0)  # fmt: skip


@every_law
def test_zero_fitness_and_zero_upkeep_give_finite_masses(name):
    wide = {"overlap": np.ones((4, 4)), "norm2": np.ones(4)}
    mass = step(CORE32, name, np.ones(4), np.zeros(4), upkeep=np.zeros(4), **wide)
    assert np.all(np.isfinite(mass))


@pytest.mark.parametrize("name", MULTIPLICATIVE)
def test_a_nan_fitness_never_gives_a_valid_mass(name):
    """A NaN fitness gives a NaN mass or, with stochastic laws, leaves all masses unchanged."""
    mass = step(CORE32, name, [1, 1], [np.nan, 1], overlap=np.ones((2, 2)))
    assert np.isnan(mass).any() or np.array_equal(mass, [1, 1])


# ---- all cores, and settings -------------------------------------------------------------------


@every_law
def test_inputs_are_not_modified(name):
    rng = np.random.default_rng(3)
    cohort, config = random_cohort(CORE32, rng), {}
    before = [np.copy(a) for a in (cohort.mass, cohort.fitness, cohort.upkeep, cohort.overlap)]
    step_cohort(CORE32, name, config, cohort)
    after = (cohort.mass, cohort.fitness, cohort.upkeep, cohort.overlap)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@every_law
def test_every_core_of_a_precision_agrees(name):
    """Masses are equal up to fused multiply-adds; random draws are identical."""
    cohort, config = drawn(CORE32, name, 11)
    one, *others = [
        step_cohort(core, name, config, cohort, seed=1)
        for core in EVERY
        if core.dtype == CORE32.dtype
    ]
    for other in others:
        near(CORE32, other, one.astype(float), scale=1e-6)


@every_law
def test_a_setting_outside_its_bounds_is_refused_by_name(name):
    cohort = random_cohort(CORE32, np.random.default_rng(0))
    for field in LAWS[name]["fields"]:
        assert field["doc"]
        if field["type"] in ("vector", "choice"):
            continue
        assert field["low"] <= field["default"] <= field["high"]
        for wrong in (field["low"] - 1, field["high"] * 2 + 1, np.nan):
            with pytest.raises(ValueError, match=field["name"]):
                step_cohort(CORE32, name, {field["name"]: wrong}, cohort)
    with pytest.raises(TypeError, match="quickness"):
        step_cohort(CORE32, name, {"quickness": 1.0}, cohort)


@pytest.mark.parametrize(
    ("name", "config", "text"),
    [
        ("lotka_volterra", {"interaction": [1, 0, 0]}, "born .* 2 \\* 2 .*got 3"),
        ("lotka_volterra", {"interaction": [1, -1, 0, 1]}, "interaction"),
        ("replicator_mutator", {"kernel": [1, 0, 0]}, "born .* 2 \\* 2 .*got 3"),
        ("replicator_mutator", {"kernel": [1, 0, 0.5, 0.25]}, "sum to 1, row 1 has 0.75"),
        ("malthusian", {"growth": "wild"}, "growth"),
    ],
)
def test_settings_that_do_not_fit_are_explained(name, config, text):
    with pytest.raises(ValueError, match=text):
        step(CORE32, name, [1, 1], [0, 0], config, overlap=np.ones((2, 2)))

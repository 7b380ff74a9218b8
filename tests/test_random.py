"""Random numbers have known values and the right distributions, without hidden state.

Bounds on averages are five standard deviations, which a correct generator exceeds once in two
million tries. Seeds are fixed, so results do not change between runs.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from cores import CORE32 as core
from cores import EVERY, name_of
from hypothesis import given
from hypothesis import strategies as st

U64 = st.integers(0, 2**64 - 1)


def joined(low: int, high: int) -> int:
    return high << 32 | low


# Counter, key and expected words, from the file kat_vectors of Philox's authors.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_published_answers(core, counter, key, words):
    c = [int(word, 16) for word in counter.split()]
    k = [int(word, 16) for word in key.split()]
    got = core.random_words(joined(*k), joined(*c[2:]), joined(*c[:2]), 1)
    assert got.dtype == np.uint32
    assert [f"{word:08x}" for word in got[0]] == words.split()


@pytest.mark.parametrize("name", ["random_uniform", "random_normal", "random_words"])
def test_a_number_is_a_function_of_seed_stream_and_index(name):
    draw = getattr(core, name)
    whole = draw(3, 5, 100, 50)
    assert np.array_equal(whole, draw(3, 5, 100, 50))
    assert np.array_equal(whole[20:], draw(3, 5, 120, 30))
    assert not np.array_equal(whole, draw(4, 5, 100, 50))
    assert not np.array_equal(whole, draw(3, 6, 100, 50))
    assert draw(2**64 - 1, 2**64 - 1, 2**64 - 1, 2).shape[0] == 2  # the index wraps to 0


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_every_core_draws_the_same_numbers(core):
    one = EVERY[0]
    for name in ("random_uniform", "random_normal"):
        a, b = getattr(one, name)(1, 2, 3, 1000), getattr(core, name)(1, 2, 3, 1000)
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    for args in ((1, 2, 1000, 100, 0.3), (1, 2, 1000, 10**6, 1e-6)):
        assert np.array_equal(one.random_binomial(*args), core.random_binomial(*args))


def largest_gap(sample: np.ndarray, cumulative) -> float:
    """Return Kolmogorov's distance between a sample and a distribution, in units of 1 / sqrt(n)."""
    x, n = np.sort(sample), len(sample)
    f = cumulative(x)
    gap = max(np.max(np.arange(1, n + 1) / n - f), np.max(f - np.arange(n) / n))
    return gap * math.sqrt(n)


def test_uniform_is_uniform_on_the_open_interval():
    n = 200_000
    u = core.random_uniform(11, 1, 0, n)
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert abs(u.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / n)
    assert abs((u**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / n)
    assert largest_gap(u, lambda x: x) < 2.2  # exceeded with probability 2 exp(-2 * 2.2^2) = 1e-4
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / math.sqrt(n)


def test_normal_has_the_moments_and_the_shape_of_a_normal():
    n = 200_000
    z = core.random_normal(12, 1, 0, n)
    # E z^(2k) = 1, 3, 15, 105, ...: the variance of z^k is E z^(2k) - (E z^k)^2
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 5 * math.sqrt(variance / n), power
    phi = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
    assert largest_gap(z, phi) < 2.2
    assert abs(np.corrcoef(z[1:], z[:-1])[0, 1]) < 5 / math.sqrt(n)


def test_streams_and_branches_are_apart():
    n = 50_000
    streams = [core.random_uniform(7, stream, 0, n) for stream in (0, 1, 2, 2**63)]
    streams += [core.random_uniform(*core.random_fork(7, 1, branch), 0, n) for branch in range(3)]
    streams.append(core.random_uniform(8, 1, 0, n))
    for a, b in itertools.combinations(streams, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(n)
    branches = {core.random_fork(seed, 1, b) for seed in range(10) for b in range(1000)}
    assert len(branches) == 10_000


# ---- permutations -------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [*range(70), 127, 128, 129, 1000, 4096, 4097, 60_000, 2**17 + 1])
def test_a_permutation_has_every_place_once(n):
    places = core.random_permutation(5, n, n)
    assert places.dtype == np.int64
    assert np.array_equal(np.sort(places), np.arange(n))


@given(U64, U64, st.integers(1, 2000))
def test_a_permutation_is_a_bijection_for_every_seed(seed, stream, n):
    places = core.random_permutation(seed, stream, n)
    assert np.array_equal(np.sort(places), np.arange(n))


def chi_square(counts, expected) -> float:
    """Return chi^2 minus its mean (the number of cells less 1), in standard deviations."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    freedom = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_permutations_of_a_few_come_equally_often(n):
    draws = 400 * math.factorial(n)
    kinds = dict.fromkeys(itertools.permutations(range(n)), 0)
    for seed in range(draws):
        kinds[tuple(core.random_permutation(seed, 3, n).tolist())] += 1
    assert chi_square(list(kinds.values()), [400] * len(kinds)) < 5


@pytest.mark.parametrize("n", [10, 16, 50, 64])
def test_each_item_comes_to_each_place_equally_often(n):
    draws = 4000
    counts, follows = np.zeros((n, n)), 0
    for seed in range(draws):
        places = core.random_permutation(seed, 9, n)
        counts[np.arange(n), places] += 1
        follows += np.count_nonzero(np.diff(places) == 1)
    assert abs(chi_square(counts, np.full((n, n), draws / n))) < 5
    # An element keeps its right neighbor with probability 1 / n.
    mean = draws * (n - 1) / n
    assert abs(follows - mean) < 5 * math.sqrt(mean)


def test_a_long_permutation_is_uncorrelated_with_the_order():
    n = 60_000
    places = core.random_permutation(1, 2, n)
    for lag in (1, 2, 128, 256):
        assert abs(np.corrcoef(places[lag:], places[:-lag])[0, 1]) < 5 / math.sqrt(n)
    assert abs(np.corrcoef(places, np.arange(n))[0, 1]) < 5 / math.sqrt(n)
    other = core.random_permutation(2, 2, n)
    assert abs(np.corrcoef(places, other)[0, 1]) < 5 / math.sqrt(n)


# ---- binomial -----------------------------------------------------------------------------------


def log_choose(n: int, k: np.ndarray) -> np.ndarray:
    lgamma = np.vectorize(math.lgamma)
    return math.lgamma(n + 1) - lgamma(k + 1.0) - lgamma(n - k + 1.0)


# With q = min(p, 1 - p), binomial numbers are drawn by inversion if trials * q < 10, else by
# rejection. A number for p > 1/2 is `trials` minus a number for 1 - p.
@pytest.mark.parametrize(
    ("trials", "p"),
    [(1, 0.3), (10, 0.5), (50, 0.1), (33, 0.3), (34, 0.3), (100, 0.2), (1000, 0.5), (40, 0.9),
     (30, 0.97), (10_000, 0.003), (10**6, 0.4)],
)  # fmt: skip
def test_binomial_has_its_distribution(trials, p):
    n = 40_000
    x = core.random_binomial(21, trials, n, trials, p)
    assert x.min() >= 0
    assert x.max() <= trials
    mean, variance = trials * p, trials * p * (1 - p)
    assert abs(x.mean() - mean) < 5 * math.sqrt(variance / n)
    fourth = variance * (1 + 3 * variance * (1 - 2 / trials))  # fourth central moment
    assert abs(((x - mean) ** 2).mean() - variance) < 5 * math.sqrt((fourth - variance**2) / n)
    # compare the whole distribution, in cells of at least 20 expected draws
    spread = 8 * math.sqrt(variance) + 10
    k = np.arange(max(0, math.floor(mean - spread)), min(trials, math.ceil(mean + spread)) + 1)
    pmf = np.exp(log_choose(trials, k) + k * math.log(p) + (trials - k) * math.log1p(-p))
    cell = np.floor(np.cumsum(pmf * n) / max(20, n / 300)).astype(int)
    expected = np.bincount(cell, pmf * n)
    counts = np.bincount(cell, np.bincount(x - k[0], minlength=len(k)))
    keep = expected > 5
    expected, counts = expected[keep], counts[keep]
    if len(counts) > 1:
        assert abs(chi_square(counts, expected)) < 5


def test_binomial_at_its_ends():
    assert core.random_binomial(1, 1, 100, 10, 0.0).tolist() == [0] * 100
    assert core.random_binomial(1, 1, 100, 10, 1.0).tolist() == [10] * 100
    assert core.random_binomial(1, 1, 100, 0, 0.5).tolist() == [0] * 100
    assert core.random_binomial(1, 1, 1000, 10**12, 1e-13).max() <= 5
    assert core.random_binomial(1, 1, 0, 10, 0.5).shape == (0,)


@given(U64, st.integers(0, 10**9), st.floats(0, 1))
def test_binomial_stays_within_its_range(seed, trials, p):
    x = core.random_binomial(seed, 0, 20, trials, p)
    assert x.min() >= 0
    assert x.max() <= trials


# ---- arguments ----------------------------------------------------------------------------------


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"whole number from 0 to 2\^64 - 1, got -1"):
        core.random_uniform(-1, 0, 0, 1)
    with pytest.raises(ValueError, match=r"got 18446744073709551616"):
        core.random_uniform(2**64, 0, 0, 1)
    with pytest.raises(TypeError, match="whole number, got float"):
        core.random_uniform(1.0, 0, 0, 1)
    with pytest.raises(TypeError, match="whole number, got bool"):
        core.random_uniform(True, 0, 0, 1)
    with pytest.raises(ValueError, match="count: expected a whole number from 0 .*got -1"):
        core.random_normal(1, 0, 0, -1)
    with pytest.raises(ValueError, match="count: expected a whole number from 0 .*got -1"):
        core.random_words(1, 0, 0, -1)
    with pytest.raises((MemoryError, ValueError)):
        core.random_uniform(1, 0, 0, 2**62)
    with pytest.raises(ValueError, match="p: expected a number from 0 to 1"):
        core.random_binomial(1, 1, 1, 1, math.nan)
    with pytest.raises(ValueError, match="count: expected a whole number from 0"):
        core.random_binomial(1, 1, 1, -1, 0.5)

"""exp, log, tanh, sigmoid and log1p: their errors in ulp, and their special values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cores import CORE64, EVERY, EVERY32, name_of, real

EXACT = {
    "exp": np.exp,
    "log": np.log,
    "log1p_unit": np.log1p,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
# name: (largest error of the float32 function in ulp, range of x)
BOUNDS = {
    "exp": (2, (-87.3, 88.3)),
    "log": (2, (1.2e-38, 3.4e38)),
    "log1p_unit": (3, (0, 1)),
    "tanh": (2, (-20, 20)),
    "sigmoid": (3, (-87, 88)),
}


def grid(low: float, high: float) -> np.ndarray:
    """Return float32 numbers in [low, high], evenly spaced ones and many near 0."""
    even = np.linspace(low, high, 200_001)
    small = np.geomspace(1.2e-38, max(abs(low), abs(high)), 100_001)
    x = np.concatenate([even, small, -small]).astype(np.float32)
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize("core", EVERY32, ids=name_of)
@pytest.mark.parametrize("name", BOUNDS)
def test_float32_is_within_the_stated_last_places(core, name):
    places, (low, high) = BOUNDS[name]
    x = grid(low, high)
    y = core.elementary(name, x)
    exact = EXACT[name](x.astype(np.float64))
    unit = np.spacing(np.maximum(np.abs(exact), 1.2e-38).astype(np.float32)).astype(np.float64)
    off = np.abs(y - exact) / unit
    worst = off.argmax()
    assert off[worst] <= places, f"{name}({x[worst]}) is off by {off[worst]:.2f} last places"


@pytest.mark.parametrize("name", BOUNDS)
def test_float64_is_libm(name):
    _, (low, high) = BOUNDS[name]
    x = grid(low, high).astype(np.float64)
    np.testing.assert_allclose(CORE64.elementary(name, x), EXACT[name](x), rtol=1e-15, atol=5e-324)


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_special_values(core):
    def of(name, *x):
        return core.elementary(name, np.array(x, core.dtype)).tolist()

    inf, nan = math.inf, math.nan
    for name in EXACT:
        assert math.isnan(of(name, nan)[0]), name
    assert of("exp", -inf, -104, 0, 710, inf)[:1] + of("exp", 0, inf) == [0, 1, inf]
    assert of("log", 0, 1, inf) == [-inf, 0, inf]
    assert math.isnan(of("log", -1)[0])
    assert math.isnan(of("log", -inf)[0])
    assert of("tanh", -inf, -0.0, 0, 100, inf) == [-1, 0, 0, 1, 1]
    assert of("sigmoid", -inf, 0, inf) == [0, 0.5, 1]
    assert of("log1p_unit", 0) == [0]


@pytest.mark.parametrize("core", EVERY32, ids=name_of)
def test_far_ends_of_exp_are_zero_and_infinity(core):
    assert not core.elementary("exp", np.linspace(-1e30, -87.7, 1000)).any()
    assert np.isinf(core.elementary("exp", np.linspace(88.8, 1e30, 1000))).all()
    assert np.isfinite(core.elementary("exp", np.linspace(80, 88.37, 1000))).all()


@pytest.mark.parametrize("core", EVERY32, ids=name_of)
def test_bounded_functions_keep_their_bounds_and_tanh_its_symmetry(core):
    x = np.linspace(0, 30, 30_001).astype(np.float32)
    y = core.elementary("tanh", x)
    assert y.max() <= 1
    assert np.array_equal(core.elementary("tanh", -x), -y)
    y = core.elementary("sigmoid", np.concatenate([-x, x]))
    assert y.min() > 0
    assert y.max() <= 1


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize("name", BOUNDS)
def test_results_do_not_depend_on_position(core, name):
    # a loop is vectorized and its remainder is scalar: both must be bit-identical
    low, high = BOUNDS[name][1]
    x = np.linspace(max(low, -20), min(high, 20), 67).astype(core.dtype)
    whole = core.elementary(name, x)
    alone = np.concatenate([core.elementary(name, x[i : i + 1]) for i in range(len(x))])
    assert np.array_equal(whole, alone)
    assert np.array_equal(whole[3:], core.elementary(name, x[3:]))


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_arguments_are_checked_and_not_modified(core):
    x = np.array([1.0, 2.0], core.dtype)
    before = x.copy()
    y = core.elementary("exp", x)
    assert y.dtype == real(core)
    assert np.array_equal(x, before)
    assert core.elementary("exp", []).shape == (0,)
    assert core.elementary("exp", [1, 2]).shape == (2,)
    with pytest.raises(ValueError, match="no elementary function 'cosh'"):
        core.elementary("cosh", x)
    with pytest.raises(ValueError, match=r"x: expected an array of shape \(\?,\), got \(1, 2\)"):
        core.elementary("exp", [[1, 2]])
    with pytest.raises(TypeError, match="x: expected an array of real numbers, got dtype complex"):
        core.elementary("exp", [1j])

"""Optimizer steps equal the NumPy twin and closed forms; arrays may be updated in two parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cores import BOTH, CORE32, CORE64, EVERY, close, name_of
from hypothesis import given
from hypothesis import strategies as st
from reference import laws

CONFIGS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0}),
    ("sgd", {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ("adamw", {}),
    ("adamw", {"beta1": 0, "beta2": 0.5, "epsilon": 1e-3, "weight_decay": 0.3}),
]


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize(("name", "config"), CONFIGS)
@pytest.mark.parametrize("n", [1, 16, 37])
def test_twenty_steps_equal_the_twin(core, name, config, n):
    config = core.settings("optimizers", name, config)
    moments = core.catalogue()["optimizers"][name]["moments"]
    rng = np.random.default_rng(n)
    c = [rng.normal(size=n).astype(core.dtype), *np.zeros((2, n), core.dtype)]
    twin = [array.astype(float) for array in c]
    for step in range(1, 21):
        g = (rng.normal(size=n) * 10 ** rng.uniform(-3, 0)).astype(core.dtype)
        rate, scale = 0.1 / step, 0.5 + step / 20
        c = core.optimizer_step(name, config, c[0], g, c[1], c[2], rate, None, scale, step)
        args = (g.astype(float), twin[1], twin[2], rate, config["weight_decay"], scale, step)
        twin = getattr(laws, name)(config, twin[0], *args)
        for got, expected in zip(c[: 1 + moments], twin, strict=False):
            close(core, got, expected, factor=4)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_adamw_moves_by_its_rate_under_a_constant_gradient(core):
    # Moments are (1 - beta1^t) g and (1 - beta2^t) g^2, so a corrected step is rate * sign(g).
    g = np.array([1e-3, -0.5, 2, 1e3])
    value, first, second = np.zeros(4), None, None
    for step in range(1, 101):
        value, first, second = core.optimizer_step(
            "adamw", {"epsilon": 1e-15}, value, g, first, second, rate=0.01, decay=0.0, step=step
        )
        np.testing.assert_allclose(value, -0.01 * step * np.sign(g), rtol=1e-5)
    np.testing.assert_allclose(first, (1 - 0.9**100) * g, rtol=1e-5)
    np.testing.assert_allclose(second, (1 - 0.999**100) * g**2, rtol=1e-4)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_sgd_gathers_momentum_as_a_geometric_sum(core):
    mu, rate, value, first = 0.8, 0.1, np.zeros(1), None
    for step in range(1, 31):
        value, first, _ = core.optimizer_step(
            "sgd", {"momentum": mu}, value, [2.0], first, rate=rate, step=step
        )
        np.testing.assert_allclose(first, 2 * (1 - mu**step) / (1 - mu), rtol=1e-6)
    moved = sum(2 * (1 - mu**k) / (1 - mu) for k in range(1, 31))
    np.testing.assert_allclose(value, -rate * moved, rtol=1e-5)
    plain = core.optimizer_step("sgd", {"momentum": 0}, [1.0], [2.0], [7.0], rate=0.1)
    np.testing.assert_allclose(plain[0], 0.8, rtol=1e-6)
    # Nesterov's step equals the next step of classical momentum at the same gradient.
    ahead = core.optimizer_step("sgd", {"momentum": mu, "nesterov": True}, [0.0], [2.0], rate=1.0)
    np.testing.assert_allclose(ahead[0], -(2 + mu * 2), rtol=1e-6)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_is_decoupled_from_the_gradient(core, name):
    value = np.array([3.0, -5, 0])
    moved = core.optimizer_step(name, {}, value, np.zeros(3), rate=0.1, decay=0.25)
    np.testing.assert_allclose(moved[0], value * (1 - 0.1 * 0.25), rtol=1e-6)
    assert not moved[1].any()
    still = core.optimizer_step(
        name, {"weight_decay": 0.25}, value, np.zeros(3), rate=0.1, decay=0.0
    )
    assert np.array_equal(still[0], value.astype(core.dtype))
    own = core.optimizer_step(name, {"weight_decay": 0.25}, value, np.zeros(3), rate=0.1)
    assert np.array_equal(own[0], moved[0])


@given(st.floats(1e-3, 1e3), st.integers(1, 1000))
def test_adamw_is_invariant_to_the_scale_of_the_loss(size, step):
    rng = np.random.default_rng(step)
    g, first, second = rng.normal(size=5), rng.normal(size=5), rng.random(5) + 0.1
    one = CORE64.optimizer_step("adamw", {"epsilon": 1e-20}, np.zeros(5), g, first, second,
                                rate=1.0, step=step)  # fmt: skip
    other = CORE64.optimizer_step("adamw", {"epsilon": 1e-20}, np.zeros(5), g, first * size,
                                  second * size**2, rate=1.0, scale=size, step=step)  # fmt: skip
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize(("name", "config"), CONFIGS)
@pytest.mark.parametrize("cut", [1, 3, 16, 21, 63])
def test_a_range_may_be_cut_anywhere_with_the_same_bits(core, name, config, cut):
    rng = np.random.default_rng(cut)
    value, g, first, second = rng.normal(size=(4, 67))
    second = second**2

    def step(part):
        return core.optimizer_step(name, config, value[part], g[part], first[part], second[part],
                                   rate=0.01, step=7)  # fmt: skip

    whole, left, right = step(slice(None)), step(slice(cut)), step(slice(cut, None))
    for w, a, b in zip(whole, left, right, strict=True):
        assert np.array_equal(w, np.concatenate([a, b]))


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_moments_without_gradients_fade_to_zero_not_to_subnormals(core, name):
    smallest = np.finfo(core.dtype).tiny
    value, first, second = np.ones(3), np.array([1e-20, 1, -1]), np.array([1e-25, 1, 1])
    for step in range(1, 9000):
        value, first, second = core.optimizer_step(
            name, {}, value, np.zeros(3), first, second, step=step
        )
        assert not ((first != 0) & (np.abs(first) < smallest)).any()
        if not first.any():
            break
    assert not first.any()
    assert np.isfinite(value).all()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_gradient_that_is_not_finite_shows_in_the_value(name):
    value, _, _ = CORE32.optimizer_step(name, {}, [1.0, 1, 1], [math.nan, 0, math.inf])
    assert np.isnan(value[0])
    assert np.isfinite(value[1])
    assert not np.isfinite(value[2])


def test_inputs_are_not_modified():
    arrays = [np.full(4, 0.5, np.float32) for _ in range(4)]
    got = CORE32.optimizer_step("adamw", {}, *arrays)
    assert all((array == 0.5).all() for array in arrays)
    assert not any(np.shares_memory(a, b) for a in arrays for b in got)
    assert CORE32.optimizer_step("adamw", {}, [], [])[0].shape == (0,)


BAD = [
    ({"name": "lion"}, ValueError, "no optimizer is called 'lion'"),
    ({"gradient": [1, 2]}, ValueError, r"gradient: expected an array of shape \(3,\), got \(2,\)"),
    ({"first": [1]}, ValueError, r"first: expected an array of shape \(3,\), got \(1,\)"),
    ({"second": [[1]]}, ValueError, r"second: expected an array of shape \(3,\), got \(1, 1\)"),
    ({"value": 1.0}, ValueError, r"value: expected an array of shape \(\?,\), got \(\)"),
    ({"step": 0}, ValueError, "step: expected at least 1, got 0"),
    ({"config": {"beta1": 1}}, ValueError, "adamw: beta1 must be from 0 to 0.999999, got 1"),
    ({"config": {"weight_decay": -1}}, ValueError,
     "adamw: weight_decay must be from 0 to 1000000, got -1"),
    ({"config": {"momentum": 0.9}}, TypeError,
     "adamw: no setting 'momentum'; it has beta1, beta2, epsilon, weight_decay"),
    ({"config": {3: 0.9}}, TypeError, "adamw: no setting 3; it has beta1"),
    ({"config": {"beta2": "big"}}, TypeError, "adamw: beta2 must be a number, got str"),
    ({"config": {"beta2": None}}, TypeError, "adamw: beta2 must be a number, got NoneType"),
    ({"config": {"beta2": True}}, TypeError, "adamw: beta2 must be a number, got bool"),
]  # fmt: skip


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("change", "kind", "text"), BAD)
def test_bad_input_is_named(core, change, kind, text):
    good = {"name": "adamw", "config": {}, "value": np.ones(3), "gradient": np.ones(3)}
    core.optimizer_step(**good)
    with pytest.raises(kind, match=text):
        core.optimizer_step(**(good | change))

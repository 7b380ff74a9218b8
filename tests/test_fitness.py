"""Fitness: equality of every law with tests/reference/laws.py, signs, and required signals."""

from __future__ import annotations

import numpy as np
import pytest
from cores import BOTH, CORE32, EVERY, close, name_of, real
from reference import laws

SIGNALS = ("mass", "mass_gradient", "owned_norm2", "owned_gradient2", "owned_product", "activity")
NEEDS = {
    "norm": "owned_norm2",
    "gradient": "owned_gradient2",
    "product": "owned_product",
    "activity": "activity",
}
ENTRIES = CORE32.catalogue()["fitness"]


def signals(n: int, dtype: str) -> dict:
    rng = np.random.default_rng(n)
    s = {name: rng.normal(size=n).astype(dtype) for name in SIGNALS}
    for name in ("mass", "owned_norm2", "owned_gradient2", "activity"):
        s[name] = np.abs(s[name])
    return s


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("n", [0, 1, 16, 37])
def test_equals_the_twin(core, name, n):
    s = signals(n, core.dtype)
    before = {key: array.copy() for key, array in s.items()}
    got = core.fitness_measure(name, {}, **s, terms=n + 3)
    assert got.dtype == real(core)
    as_float = {k: v.astype(float) for k, v in s.items()}
    close(core, got, getattr(laws, name)({}, as_float | {"terms": n + 3}))
    assert all(np.array_equal(s[key], before[key]) for key in s)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("name", ENTRIES)
def test_needs_are_the_required_signals(core, name):
    s = signals(5, core.dtype)
    needed = {"mass", "mass_gradient", *(NEEDS[need] for need in ENTRIES[name]["needs"])}
    core.fitness_measure(name, {}, **{key: s[key] for key in needed})
    for key in needed - {"mass", "mass_gradient"}:
        left = {k: v for k, v in s.items() if k != key}
        with pytest.raises(ValueError, match=f"{name}: {key} must be given"):
            core.fitness_measure(name, {}, **left)


def test_growth_that_lowers_the_loss_is_fit():
    # L = (m w x - 1)^2 / 2 at m w x = 1/2: a larger mass m or weight w lowers the loss L
    s = {"mass": [0.5], "mass_gradient": [-0.5], "owned_product": [-0.25]}
    for name in ("marginal", "relative", "pull", "taylor"):
        assert CORE32.fitness_measure(name, {}, **s)[0] > 0
    worse = {"mass": [1.0], "mass_gradient": [0.5], "owned_product": [0.25]}
    for name in ("marginal", "relative", "pull"):
        assert CORE32.fitness_measure(name, {}, **worse)[0] < 0
    assert CORE32.fitness_measure("taylor", {}, **worse)[0] > 0


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_bad_input_is_named(core):
    with pytest.raises(ValueError, match="no fitness is called 'luck'"):
        core.fitness_measure("luck", {}, [1], [1])
    with pytest.raises(ValueError, match=r"mass_gradient: expected an array of shape \(2,\)"):
        core.fitness_measure("marginal", {}, [1, 1], [1])
    with pytest.raises(
        ValueError, match=r"activity: expected an array of shape \(2,\), got \(3,\)"
    ):
        core.fitness_measure("activity", {}, [1, 1], [1, 1], activity=[1, 2, 3])
    with pytest.raises(TypeError, match="marginal: no setting 'sign'; it has none"):
        core.fitness_measure("marginal", {"sign": 1}, [1], [1])
    with pytest.raises(TypeError, match="mass: expected an array of real numbers"):
        core.fitness_measure("marginal", {}, ["x"], [1])

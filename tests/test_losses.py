"""Losses: equality with tests/reference/laws.py, directional derivatives, and invariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cores import BOTH, CORE32, CORE64, EVERY, EVERY32, close, name_of, real
from hypothesis import given
from hypothesis import strategies as st
from reference import laws

CONFIGS = [
    ("cross_entropy", {}),
    ("cross_entropy", {"label_smoothing": 0.1}),
    ("cross_entropy", {"class_weights": "some"}),
    ("cross_entropy", {"class_weights": "some", "label_smoothing": 0.3}),
    ("mean_squared_error", {}),
    ("binary_cross_entropy", {}),
    ("soft_cross_entropy", {}),
    ("mean_absolute_error", {}),
    ("huber", {}),
    ("huber", {"delta": 0.25}),
    ("poisson", {}),
    ("hinge", {}),
    ("hinge", {"margin": 3.0}),
]
CLASSES = ("cross_entropy", "hinge")  # the losses whose targets are class numbers


def test_every_loss_of_the_catalogue_is_tested():
    assert {name for name, _ in CONFIGS} == set(CORE64.catalogue()["losses"])


# Shapes (rows, n). The core processes 1024 elements at a time; n is below, at and above that.
SHAPES = [(1, 1), (3, 2), (128, 10), (9, 65), (5, 1023), (2, 1024), (3, 1025), (2, 3001)]


def example(name: str, config: dict, rows: int, n: int, seed: int = 0):
    """Return settings, outputs (rows, n) and targets; class losses ignore some rows (target -1)."""
    rng = np.random.default_rng((seed, rows, n))
    config = CORE64.settings("losses", name, {} if "class_weights" in config else config) | config
    if config.get("class_weights") == "some":
        config["class_weights"] = (rng.random(n) + 0.1).tolist()
    y = rng.normal(size=(rows, n)) * 3
    if name in CLASSES:
        targets = rng.integers(0, n, rows)
        targets[1::4] = -1
    elif name == "soft_cross_entropy":
        targets = rng.dirichlet(np.ones(n), rows)
        targets[::3] = np.eye(n)[rng.integers(0, n, len(targets[::3]))]
    elif name == "poisson":
        targets = rng.poisson(2, (rows, n)).astype(float)
    elif name == "binary_cross_entropy":
        targets = rng.random((rows, n)).round(2)
    else:
        targets = rng.normal(size=(rows, n))
    return config, y, targets


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize(("rows", "n"), SHAPES)
@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_equals_the_twin(core, name, config, rows, n):
    config, y, targets = example(name, config, rows, n)
    y = y.astype(core.dtype)
    if name not in CLASSES:
        targets = targets.astype(core.dtype)
    loss, hit, dy = core.loss_measure(name, config, y, targets, 0.25)
    twin = getattr(laws, name)(config, y.astype(float), targets)
    close(core, loss, twin[0], factor=4)
    assert hit.dtype == real(core)
    assert np.array_equal(hit, twin[2])
    close(core, dy, 0.25 * twin[3], factor=4)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_without_a_scale_the_gradient_is_that_of_the_weighted_mean(core, name, config):
    config, y, targets = example(name, config, 12, 7)
    twin = getattr(laws, name)(config, y.astype(core.dtype).astype(float), targets)
    _, _, dy = core.loss_measure(name, config, y, targets)
    close(core, dy, twin[3] / twin[1].sum(), factor=4)


@pytest.mark.parametrize(("name", "config"), CONFIGS)
@pytest.mark.parametrize(("rows", "n"), [(5, 1), (6, 10), (2, 1500)])
def test_the_gradient_is_the_derivative(name, config, rows, n):
    config, y, targets = example(name, config, rows, n, seed=1)
    direction = np.random.default_rng(2).normal(size=y.shape)
    h = 1e-5

    def total(y):
        return CORE64.loss_measure(name, config, y, targets)[0].sum()

    # central difference with one Richardson step: error of the order of h^4
    near = (total(y + h * direction) - total(y - h * direction)) / (2 * h)
    far = (total(y + 2 * h * direction) - total(y - 2 * h * direction)) / (4 * h)
    slope = (4 * near - far) / 3
    dy = CORE64.loss_measure(name, config, y, targets, 1.0)[2]
    size = np.abs(dy * direction).sum() + abs(total(y)) * 1e-3
    assert abs((dy * direction).sum() - slope) <= 1e-8 * size + 1e-14


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize(("name", "config"), CONFIGS)
@pytest.mark.parametrize("n", [1, 10, 33, 1500])
def test_a_row_is_bit_identical_at_any_position(core, name, config, n):
    config, y, targets = example(name, config, 7, n)
    whole = core.loss_measure(name, config, y, targets, 0.5)
    for r in range(7):
        alone = core.loss_measure(name, config, y[r : r + 1], targets[r : r + 1], 0.5)
        for a, b in zip(whole, alone, strict=True):
            assert np.array_equal(a[r : r + 1], b)


@pytest.mark.parametrize(
    ("name", "config", "call"),
    [
        ("cross_entropy", {"label_smoothing": 0.1}, "cross_entropy(y, t, label_smoothing=0.1)"),
        ("soft_cross_entropy", {}, "cross_entropy(y, t)"),
        ("binary_cross_entropy", {}, "binary_cross_entropy_with_logits(y, t)"),
        ("mean_squared_error", {}, "mse_loss(y, t)"),
        ("mean_absolute_error", {}, "l1_loss(y, t)"),
        ("huber", {"delta": 0.7}, "huber_loss(y, t, delta=0.7)"),
        ("poisson", {}, "poisson_nll_loss(y, t)"),
        ("hinge", {"margin": 2.0}, "multi_margin_loss(y, t, margin=2.0)"),
    ],
)
def test_equals_pytorch(name, config, call):
    torch = pytest.importorskip("torch")
    config, y, targets = example(name, config, 12, 7)
    if name in CLASSES:
        targets = np.abs(targets)
    leaf = torch.tensor(y, requires_grad=True)
    space = {"y": leaf, "t": torch.tensor(targets)} | vars(torch.nn.functional)
    right = eval(call, space)
    right.backward()
    loss, _, dy = CORE64.loss_measure(name, config, y, targets)
    np.testing.assert_allclose(loss.mean(), right.item(), rtol=1e-12)
    np.testing.assert_allclose(dy, leaf.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_ignored_rows_count_for_nothing_even_when_not_finite(core):
    y = np.array([[1.0, 2, 3], [math.nan, 0, math.inf], [3, 2, 1]])
    for config in ({}, {"label_smoothing": 0.1}, {"class_weights": [1, 2, 3]}):
        loss, hit, dy = core.loss_measure("cross_entropy", config, y, [2, -1, 0])
        assert np.isfinite(loss).all()
        assert loss[1] == hit[1] == 0
        assert not dy[1].any()
        two = core.loss_measure("cross_entropy", config, y[::2], [2, 0])
        assert np.array_equal(loss[::2], two[0])
        assert np.array_equal(dy[::2], two[2])
    loss, hit, dy = core.loss_measure("cross_entropy", {}, y, [-1, -1, -1])
    assert not loss.any()
    assert not hit.any()
    assert not dy.any()


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize("n", [3, 8, 17, 2000])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", [0, 1, -1])
def test_values_that_are_not_finite_affect_their_row_only(core, n, bad, at):
    for name in sorted({name for name, _ in CONFIGS}):
        if name == "hinge" and bad == math.inf and at == 0:
            continue  # the right class leads by an infinite margin: the loss is valid
        config, y, targets = example(name, {}, 4, n)
        targets = np.zeros(4, int) if name in CLASSES else np.zeros((4, n))
        y[2, at] = bad
        loss, hit, dy = core.loss_measure(name, config, y, targets)
        assert not np.isfinite(loss[2])
        assert not (math.isnan(bad) and hit[2] and at == 0)
        assert np.isfinite(np.delete(loss, 2)).all()
        assert np.isfinite(np.delete(dy, 2, axis=0)).all()


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_huge_logits_neither_overflow_nor_vanish(core):
    y = np.array([[1e4, -1e4], [-1e4, 1e4]])
    loss, hit, dy = core.loss_measure("cross_entropy", {}, y, [0, 0], 1.0)
    assert loss.tolist() == [0, 2e4]
    assert hit.tolist() == [1, 0]
    assert dy.tolist() == [[0, 0], [-1, 1]]
    loss, hit, dy = core.loss_measure("binary_cross_entropy", {}, y, [[1, 0], [1, 0]], 1.0)
    assert loss.tolist() == [0, 1e4]
    assert hit.tolist() == [1, 0]
    assert dy.tolist() == [[0, 0], [-0.5, 0.5]]
    masked = core.loss_measure("cross_entropy", {}, [[0, -math.inf, 0]], [0], 1.0)
    assert masked[0][0] == pytest.approx(math.log(2), rel=1e-6)
    assert masked[2].tolist() == [[-0.5, 0, 0.5]]


@pytest.mark.parametrize("core", EVERY32, ids=name_of)
def test_a_tiny_loss_keeps_its_digits(core):
    y = np.array([[5.0], [12], [17], [30]])
    loss, _, _ = core.loss_measure("binary_cross_entropy", {}, y, np.ones((4, 1)))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-y[:, 0])), rtol=5e-7)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_the_first_of_equal_outputs_is_the_prediction(core):
    y = np.zeros((3, 12))
    y[1, 3:] = 1
    y[2, 9:] = 1
    hit = core.loss_measure("cross_entropy", {}, y, [0, 3, 10])[1]
    assert hit.tolist() == [1, 1, 0]
    assert core.loss_measure("cross_entropy", {}, y, [1, 4, 9])[1].tolist() == [0, 0, 1]


@given(
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.floats(-50, 50),
    st.floats(0, 0.9),
)
def test_cross_entropy_depends_on_differences_only(n, seed, shift, smoothing):
    rng = np.random.default_rng(seed)
    y, target = rng.normal(size=(3, n)) * 5, rng.integers(0, n, 3)
    config = {"label_smoothing": smoothing}
    loss, hit, dy = CORE64.loss_measure("cross_entropy", config, y, target, 1.0)
    moved = CORE64.loss_measure("cross_entropy", config, y + shift, target, 1.0)
    np.testing.assert_allclose(moved[0], loss, atol=1e-12, rtol=1e-12)
    np.testing.assert_allclose(dy.sum(axis=1), 0, atol=1e-14)
    assert (loss > -1e-12).all()
    assert ((hit == 0) | (loss < math.log(max(n, 2)) + smoothing * 100)).all()


def test_inputs_of_every_type_are_accepted_and_not_modified():
    y, target = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    expected = CORE32.loss_measure("cross_entropy", {}, y, target)
    wide = np.zeros((3, 4), np.float32)
    wide[:, ::2] = y
    frozen = y.astype(np.float32)
    frozen.flags.writeable = False
    forms = [y.tolist(), y.astype(np.float16), wide[:, ::2], np.asfortranarray(y), frozen,
             y.astype(">f8"), y.astype(np.uint8)]  # fmt: skip
    for form in forms:
        before = np.array(form)
        got = CORE32.loss_measure("cross_entropy", {}, form, target.astype(np.int8))
        assert np.array_equal(np.array(form), before)
        for a, b in zip(got, expected, strict=True):
            assert np.array_equal(a, b)
    assert CORE32.loss_measure("cross_entropy", {}, np.zeros((0, 3)), [])[2].shape == (0, 3)


BAD = [
    ({"targets": [0, 3]}, ValueError, r"targets: row 1: expected a class from 0 to 2, or -1 .* 3"),
    ({"targets": [-2, 0]}, ValueError, r"targets: row 0: .* got -2"),
    (
        {"targets": [0.0, 1.0]},
        TypeError,
        "targets: expected an array of whole numbers, got .*float",
    ),
    ({"targets": [True, False]}, TypeError, "whole numbers, got dtype bool"),
    ({"targets": [0]}, ValueError, r"targets: expected an array of shape \(2,\), got \(1,\)"),
    ({"targets": np.array([2**64 - 1, 0], np.uint64)}, ValueError, r"above 2\^63 - 1"),
    ({"y": [1, 2]}, ValueError, r"y: expected an array of shape \(\?, \?\), got \(2,\)"),
    ({"y": [["a", "b"]]}, TypeError, "y: expected an array of real numbers"),
    ({"y": None}, TypeError, "y: expected an array of real numbers"),
    ({"name": "bogus"}, ValueError, "no loss is called 'bogus'"),
    ({"config": []}, TypeError, "cross_entropy: settings must be a dict, got list"),
    ({"config": {"class_weights": [1, 2]}}, ValueError, "each of the 3 outputs, got 2"),
    ({"config": {"class_weights": [0, 0, 0]}}, ValueError, "must not all be 0"),
    ({"config": {"class_weights": [1, -1, 1]}}, ValueError, r"class_weights\[1\] must be from 0"),
    ({"config": {"class_weights": [1, math.nan, 1]}}, ValueError, r"\[1\] must be .* got nan"),
    ({"config": {"class_weights": "abc"}}, TypeError, "cross_entropy: class_weights: expected"),
    (
        {"config": {"label_smoothing": 1}},
        ValueError,
        "label_smoothing must be from 0 to 0.999, got",
    ),
    ({"scale": "1"}, TypeError, "real number"),
]


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("change", "kind", "text"), BAD)
def test_bad_input_is_named(core, change, kind, text):
    good = {"name": "cross_entropy", "config": {}, "y": np.zeros((2, 3)), "targets": [0, 1]}
    core.loss_measure(**good)
    with pytest.raises(kind, match=text):
        core.loss_measure(**(good | change))


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("target", [-0.1, 1.1, math.nan])
def test_binary_targets_are_between_0_and_1(core, target):
    with pytest.raises(ValueError, match="targets: row 1: expected numbers from 0 to 1"):
        core.loss_measure("binary_cross_entropy", {}, [[0.0], [0]], [[0], [target]])

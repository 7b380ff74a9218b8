"""A sample of weight n counts as n samples, of weight 0 as none, in all losses and data forms."""

from __future__ import annotations

import numpy as np
import pytest
from cores import CORE64

import evoprune as ep

LOSSES = sorted(CORE64.catalogue()["losses"])
COUNTS = np.array([2, 0, 1, 3, 1, 0, 2])


def example(loss, rows=7, outputs=4, seed=0):
    """Return a float64 network configured for a loss, inputs, and valid targets."""
    rng = np.random.default_rng(seed)
    net = ep.mlp(5, 6, outputs, activation="tanh", seed=seed, dtype="float64")
    net.configure(loss=loss, optimizer="sgd")
    x = rng.normal(size=(rows, 5))
    if CORE64.catalogue()["losses"][loss]["target"] == "class":
        return net, x, rng.integers(0, outputs, rows)
    y = rng.random((rows, outputs))
    return net, x, y / y.sum(axis=1, keepdims=True)


def gradients(net):
    net.core.gradient()
    return {name: array.copy() for name, array in net.gradients.items()}


@pytest.mark.parametrize("loss", LOSSES)
def test_an_integer_weight_counts_as_n_samples(loss):
    net, x, y = example(loss)
    net.forward(x)
    weighted = net.core.backward(y, weights=COUNTS.astype(float))
    found = gradients(net)
    net.forward(x.repeat(COUNTS, axis=0))
    repeated = net.core.backward(y.repeat(COUNTS, axis=0))
    assert weighted == pytest.approx(repeated, rel=1e-13)
    for name, right in gradients(net).items():
        np.testing.assert_allclose(found[name], right, rtol=1e-11, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_are_weighted_means(loss):
    net, x, y = example(loss)
    found = net.core.evaluate(x, y, weights=COUNTS / 7)
    right = net.core.evaluate(x.repeat(COUNTS, axis=0), y.repeat(COUNTS, axis=0))
    assert found[0] == pytest.approx(right[0], rel=1e-13)
    assert found[2] == pytest.approx(COUNTS.sum() / 7, rel=1e-12)


def test_networks_and_trainers_take_weights():
    net, x, y = example("cross_entropy")
    trainer = ep.Trainer(net, selection=None)
    right = net.evaluate(x.repeat(COUNTS, axis=0), y.repeat(COUNTS, axis=0))
    for owner in (net, trainer):
        score = owner.evaluate(x, y, sample_weight=COUNTS.tolist())
        assert score.loss == pytest.approx(right.loss, rel=1e-13)
        assert score.weight == COUNTS.sum()
        kept = COUNTS > 0
        assert score.accuracy == pytest.approx(net.evaluate(x[kept], y[kept]).accuracy)
    net.forward(x)
    assert net.backward(y, sample_weight=COUNTS) == pytest.approx(right.loss, rel=1e-13)
    with pytest.raises(ValueError, match="weights"):
        net.evaluate(x, y, sample_weight=[1.0])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_of_one_batch_equals_its_parts(loss, threads):
    weights = np.random.default_rng(1).random(7)
    one, x, y = example(loss)
    record = one.core.train(
        x, y, batch=7, first=0, rate=[0.1], pressure=[0.0], strength=[0.0], shuffle=False,
        weights=weights, threads=threads,
    )  # fmt: skip
    other, _, _ = example(loss)
    other.forward(x)
    mean = other.core.backward(y, weights=weights)
    other.gradient()
    other.update(0.1)
    assert record["loss"].tolist() == [mean]
    assert record["weight"][0] == pytest.approx(weights.sum(), rel=1e-12)
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-13, atol=1e-16)


def test_weights_follow_their_samples_when_batches_are_drawn():
    net, x, y = example("cross_entropy", rows=50)
    weights = np.arange(50.0)
    record = net.core.train(
        x, y, batch=8, first=0, rate=[0.0] * 7, pressure=[0.0] * 7, strength=[0.0] * 7,
        weights=weights,
    )  # fmt: skip
    assert record["weight"].sum() == weights.sum()
    mean = net.core.evaluate(x, y, weights=weights)[0]
    found = (record["loss"] @ record["weight"]) / record["weight"].sum()
    assert found == pytest.approx(mean, rel=1e-12)
    rows = np.arange(0, 50, 2)
    some = net.core.evaluate(x, y, rows=rows, weights=weights[rows])
    assert some == pytest.approx(net.core.evaluate(x[rows], y[rows], weights=weights[rows]))


def test_a_sample_of_weight_0_counts_for_nothing_even_if_its_loss_is_infinite():
    net = ep.mlp(5, 4, dtype="float64")
    net.configure(loss="poisson", optimizer="sgd")
    net["dense1.weight"] = 1.0
    x, y = np.zeros((3, 5)), np.ones((3, 4))
    x[1] = 1e4  # row 1 has weight 0; its loss is e^50000, infinite
    weights = np.array([1.0, 0, 1])
    net.forward(x)
    assert net.core.backward(y, weights=weights) == 1.0
    assert np.isfinite(gradients(net)["dense1.weight"]).all()
    assert net.core.evaluate(x, y, weights=weights)[0] == 1.0
    assert not np.isfinite(net.core.evaluate(x, y)[0])


def test_predictions_of_a_sequence_have_weights_of_their_own():
    rng = np.random.default_rng(0)
    net = ep.charlm("abc", 6, dim=8, layers=1, heads=2, dtype="float64")
    net.configure(loss="cross_entropy", optimizer="sgd")
    x = rng.integers(0, 3, (4, 6)).astype(float)
    y = rng.integers(0, 3, (4, 6))
    weights = rng.integers(0, 2, (4, 6)).astype(float)
    hidden = np.where(weights > 0, y, -1)
    found = net.core.evaluate(x, y, weights=weights)
    np.testing.assert_allclose(found, net.core.evaluate(x, hidden), rtol=1e-13)
    per_sample = net.core.evaluate(x, y, weights=np.array([1.0, 0, 0, 2]))
    each = net.core.evaluate(x, y, weights=np.array([1.0, 0, 0, 2]).repeat(6).reshape(4, 6))
    assert per_sample == each


@pytest.mark.parametrize(
    ("weights", "kind", "text"),
    [
        (np.ones(6), ValueError, r"weights: expected an array of shape \(7,\)"),
        (-np.ones(7), ValueError, "weights: expected finite numbers of at least 0 .* row 0"),
        (np.full(7, np.nan), ValueError, "weights: expected finite numbers"),
        (np.full(7, np.inf), ValueError, "weights: expected finite numbers"),
        (np.zeros(7), ValueError, "weights: expected at least one above 0"),
        (["a"] * 7, TypeError, "weights: expected an array of real numbers"),
        (np.ones((7, 2)), ValueError, r"weights: expected an array of shape \(7, 1\)"),
    ],
)
def test_invalid_weights_are_refused(weights, kind, text):
    net, x, y = example("cross_entropy")
    net.forward(x)
    for call in (
        lambda: net.core.evaluate(x, y, weights=weights),
        lambda: net.core.backward(y, weights=weights),
        lambda: net.core.check_data(x, y, weights=weights),
    ):
        with pytest.raises(kind, match=text):
            call()

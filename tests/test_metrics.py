"""Metrics against scikit-learn, the one-cycle schedule, and the search for a learning rate."""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep
from evoprune.training.metrics import METRICS, named, rises


def example(classes, n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    outputs = rng.normal(size=(n, classes))
    outputs[np.arange(n), y] += 0.7
    return y, outputs.round(1)  # rounded, so that some are equal


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_metrics_of_classes_equal_scikit_learn(classes):
    sk = pytest.importorskip("sklearn.metrics")
    y, outputs = example(classes)
    found = outputs.argmax(axis=1)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chance = powers / powers.sum(axis=1, keepdims=True)
    right = {
        "accuracy": sk.accuracy_score(y, found),
        "balanced_accuracy": sk.balanced_accuracy_score(y, found),
        "f1": sk.f1_score(y, found, average="macro"),
        "auc": sk.roc_auc_score(y, outputs[:, 1] - outputs[:, 0])
        if classes == 2
        else sk.roc_auc_score(y, chance, multi_class="ovr"),
    }
    for name, value in right.items():
        assert METRICS[name](y, outputs) == pytest.approx(value, rel=1e-12), name
    if classes > 5:
        top = sk.top_k_accuracy_score(y, outputs + 1e-9 * np.arange(classes)[::-1], k=5)
        assert METRICS["top5"](y, outputs) == pytest.approx(top, rel=1e-12)
        top = sk.top_k_accuracy_score(y, outputs + 1e-9 * np.arange(classes)[::-1], k=3)
        assert named("top3")["top3"](y, outputs) == pytest.approx(top, rel=1e-12)


def test_metrics_of_values_equal_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 3))
    y[:, 2] = 4.0
    outputs = (y + rng.normal(size=y.shape)).astype(np.float32)
    exact = outputs.astype(float)
    assert METRICS["r2"](y, outputs) == pytest.approx(sk.r2_score(y, exact), rel=1e-12)
    assert METRICS["mae"](y, outputs) == pytest.approx(sk.mean_absolute_error(y, exact), rel=1e-12)
    root = np.sqrt(((y - exact) ** 2).mean())
    assert METRICS["rmse"](y, outputs) == pytest.approx(root, rel=1e-12)
    assert METRICS["mae"](y[:, 0], outputs[:, :1]) == pytest.approx(np.abs(y - exact)[:, 0].mean())


def test_ignored_targets_do_not_count():
    y, outputs = example(4)
    some = y.copy()
    some[::3] = -1
    kept = some >= 0
    for name in ("accuracy", "f1", "balanced_accuracy"):
        assert METRICS[name](some, outputs) == METRICS[name](y[kept], outputs[kept])


def test_targets_of_another_shape_are_refused():
    y, outputs = example(4)
    with pytest.raises(ValueError, match=r"class numbers for outputs of shape \(200, 4\)"):
        METRICS["accuracy"](y.reshape(-1, 2), outputs)
    with pytest.raises(ValueError, match=r"values for outputs of shape \(200, 4\)"):
        METRICS["r2"](y, outputs)


def test_metrics_have_names():
    def mine(targets, outputs):
        return 1.0

    assert list(named(["f1", mine, np.max])) == ["f1", "mine", "max"]
    assert list(named({"best": "auc", "mine": mine})) == ["best", "mine"]
    assert list(named("f1")) == ["f1"]
    for bad in ("f2", "top0", "top"):
        with pytest.raises(ValueError, match=f"expected one of accuracy, top5, .* got '{bad}'"):
            named([bad])
    with pytest.raises(TypeError, match="names or functions, got 3"):
        named([3])


def test_names_of_metrics_tell_which_values_are_better():
    for column in (
        "validation_accuracy",
        "accuracy",
        "validation_r2",
        "training_f1",
        "validation_top3",
    ):
        assert rises(column)
    for column in ("loss", "validation_loss", "validation_mae", "validation_mine"):
        assert not rises(column)


# ---- schedules -----------------------------------------------------------------------------------


def test_one_cycle_rises_and_falls_along_cosines():
    schedule = ep.schedules.one_cycle(0.5, 0.25)
    rate = schedule(400)
    gone = np.arange(100) / 100
    np.testing.assert_allclose(rate[:100], 0.02 + 0.48 * (1 - np.cos(np.pi * gone)) / 2, rtol=1e-12)
    gone = np.arange(300) / 300
    np.testing.assert_allclose(
        rate[100:], 0.5 + (5e-5 - 0.5) * (1 - np.cos(np.pi * gone)) / 2, rtol=1e-12
    )
    assert repr(schedule) == "one_cycle(0.5, share=0.25)"
    assert eval(repr(schedule), vars(ep.schedules)) == schedule
    assert len(ep.schedules.one_cycle(1.0, 1.0)(7)) == len(ep.schedules.one_cycle(1.0, 0.0)(7)) == 7


def test_one_cycle_equals_pytorch():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 0.1)
    # In n steps, PyTorch reaches the peak at index pct_start * n - 1 and the end at index n - 1.
    # `one_cycle` reaches the peak at index share * n and the end at index n, after the last step.
    steps, top = 201, 61
    torch_schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, total_steps=steps + 0, pct_start=top / steps, cycle_momentum=False
    )
    rates = []
    for _ in range(steps):
        rates.append(torch_schedule.get_last_lr()[0])
        optimizer.step()
        if len(rates) < steps:
            torch_schedule.step()
    ours = ep.schedules.one_cycle(0.4, (top - 1) / (steps - 1), final=0.4 / 25 / 1e4)(steps - 1)
    np.testing.assert_allclose(ours, rates[:-1], rtol=1e-9)


def test_one_cycle_trains(blobs):
    trainer = ep.Trainer(
        ep.mlp(6, 8, 2), optimizer=ep.AdamW(ep.schedules.one_cycle(1e-2)), selection=None
    )
    history = trainer.fit(blobs, epochs=5, progress=False)
    np.testing.assert_allclose(history["rate"], ep.schedules.one_cycle(1e-2)(10)[1::2])


@pytest.mark.parametrize(("peak", "share"), [(-1.0, 0.3), (np.nan, 0.3), (1.0, 1.5)])
def test_one_cycle_refuses_wrong_arguments(peak, share):
    with pytest.raises(ValueError, match="peak|share"):
        ep.schedules.one_cycle(peak, share)


# ---- search for a learning rate ------------------------------------------------------------------


@pytest.fixture
def blobs():
    x = np.random.default_rng(0).normal(size=(256, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def test_a_search_finds_a_rate_that_trains(blobs):
    trainer = ep.Trainer(ep.mlp(6, 16, 2), selection=None)
    before = {name: array.copy() for name, array in trainer.network.items()}
    found = ep.find_learning_rate(trainer, blobs, batch_size=32)
    for name, array in trainer.network.items():
        np.testing.assert_array_equal(array, before[name])
    assert trainer.history is None
    assert 1e-4 < found.suggestion < 1
    np.testing.assert_allclose(found.rates, np.geomspace(1e-6, 1, 200)[: len(found.rates)])
    trainer = ep.Trainer(
        trainer.network, optimizer=ep.AdamW(found.suggestion, weight_decay=0.01), selection=None
    )
    loss = trainer.fit(blobs, epochs=10, progress=False)["loss"]
    assert loss[-1] < 0.5 * loss[0]


def test_a_search_ends_where_the_loss_explodes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 6)).astype(np.float32)
    trainer = ep.Trainer(
        ep.mlp(6, 16, 1), loss="mean_squared_error", optimizer="sgd", selection=None
    )
    found = ep.find_learning_rate(trainer, (x, x[:, :1]), highest=1e6, steps=300)
    assert found.rates[-1] < 1e3
    assert np.isfinite(found.losses).all()
    assert 1e-3 < found.suggestion < 10


def test_a_search_can_be_drawn(blobs):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = ep.find_learning_rate(ep.Trainer(ep.mlp(6, 16, 2), selection=None), blobs, steps=60)
    ax = found.plot()
    assert ax.get_xscale() == "log"
    batch, smoothed, mark = ax.get_lines()
    np.testing.assert_array_equal(batch.get_ydata(), found.losses)
    np.testing.assert_array_equal(smoothed.get_xdata(), found.rates)
    assert mark.get_xdata()[0] == found.suggestion
    pyplot.close("all")


def test_a_search_without_a_result_is_an_error(blobs):
    trainer = ep.Trainer(ep.mlp(6, 16, 2), selection=None)
    with pytest.raises(ValueError, match="highest: expected a rate above lowest"):
        ep.find_learning_rate(trainer, blobs, lowest=1, highest=0.1)
    constant = np.ones((64, 6), np.float32), np.zeros(64, np.int64)
    x, y = constant
    y[::2] = 1  # labels do not depend on the inputs: the loss is at its minimum
    net = ep.mlp(6, 2)
    net["dense1.weight"] = 0
    with pytest.raises(ValueError, match="the loss does not fall at any rate"):
        ep.find_learning_rate(ep.Trainer(net, selection=None), (x, y), batch_size=64, steps=30)

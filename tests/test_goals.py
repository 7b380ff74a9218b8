"""What a run minimizes and when it ends: sample and class weights, metrics, plateaus, time limits.

All are given to `Trainer.fit`.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

import evoprune as ep
from evoprune.training.metrics import METRICS


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 5)).astype(np.float32)
    y = (x[:, 0] + 0.5 * rng.normal(size=90) > 0.8).astype(np.int64)
    return x, y


def trainer_of(**settings):
    settings = {"optimizer": ep.SGD(0.1), "selection": None} | settings
    return ep.Trainer(ep.mlp(5, 8, 2, dtype="float64"), **settings)


def run(data, batch_size=90, epochs=3, trainer=None, **more):
    trainer = trainer or trainer_of()
    trainer.fit(data, epochs=epochs, batch_size=batch_size, progress=False, **more)
    return trainer


def arrays(trainer):
    return dict(trainer.network.items())


# ---- weights -------------------------------------------------------------------------------------


def test_whole_weights_train_as_repeated_samples_do(data):
    x, y = data
    counts = np.random.default_rng(1).integers(0, 3, len(y))
    weighted = run(data, sample_weight=counts)
    total = counts.sum()
    repeated = run((x.repeat(counts, axis=0), y.repeat(counts)), batch_size=total)
    for name, array in arrays(weighted).items():
        np.testing.assert_allclose(array, arrays(repeated)[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(weighted.history["loss"], repeated.history["loss"], rtol=1e-12)


def test_weights_belong_to_the_samples_of_a_subset(data):
    x, y = data
    rows = np.arange(0, 90, 3)
    weights = np.random.default_rng(1).random(30)
    part = ep.datasets.arrays(x, y).subset(rows)
    one = run(part, batch_size=30, sample_weight=weights)
    other = run((x[rows], y[rows]), batch_size=30, sample_weight=weights)
    np.testing.assert_array_equal(one.history.batch_losses, other.history.batch_losses)


def test_balanced_class_weights_equal_those_of_scikit_learn(data):
    sk = pytest.importorskip("sklearn.utils")
    x, y = data
    weights = sk.compute_sample_weight("balanced", y)
    right = run(data, sample_weight=weights)
    for class_weights in ("balanced", {0: weights[y == 0][0], 1: weights[y == 1][0]}):
        found = run(data, class_weights=class_weights)
        np.testing.assert_array_equal(found.history.batch_losses, right.history.batch_losses)
    names = ep.datasets.arrays(x, y, classes=["no", "yes"])
    by_name = {"no": weights[y == 0][0], "yes": weights[y == 1][0]}
    found = run(names, class_weights=by_name)
    np.testing.assert_array_equal(found.history.batch_losses, right.history.batch_losses)


def test_class_weights_equal_those_of_the_loss(data):
    in_loss = run(
        data, trainer=trainer_of(loss=ep.CrossEntropy(class_weights=[1, 5])), batch_size=30
    )
    in_fit = run(data, class_weights={1: 5.0}, batch_size=30)
    np.testing.assert_allclose(
        in_fit.history.batch_losses, in_loss.history.batch_losses, rtol=1e-12
    )


def test_class_and_sample_weights_multiply(data):
    _, y = data
    weights = np.random.default_rng(1).random(90)
    both = run(data, sample_weight=weights, class_weights={1: 3.0})
    one = run(data, sample_weight=weights * np.where(y == 1, 3, 1))
    np.testing.assert_array_equal(both.history.batch_losses, one.history.batch_losses)


def test_an_iterable_gives_weights_with_its_batches(data):
    x, y = data
    weights = np.random.default_rng(1).random(90)
    batches = [(x[i : i + 30], y[i : i + 30], weights[i : i + 30]) for i in (0, 30, 60)]
    found = run(batches)
    right = run(data, batch_size=30, sample_weight=weights, shuffle=False)
    np.testing.assert_allclose(found.history.batch_losses, right.history.batch_losses, rtol=1e-12)
    with pytest.raises(ValueError, match=r"an iterable gives batches \(x, y, weights\)"):
        run(batches, sample_weight=weights)


def test_a_resumed_run_with_weights_ends_as_one_that_was_not_stopped(data):
    weights = np.random.default_rng(1).random(90)
    whole = run(data, batch_size=20, sample_weight=weights)
    part = run(data, batch_size=20, sample_weight=weights, until=1)
    part.resume(data, sample_weight=weights, progress=False)
    np.testing.assert_array_equal(part.history.batch_losses, whole.history.batch_losses)


@pytest.mark.parametrize(
    ("more", "kind", "text"),
    [
        ({"sample_weight": np.ones(80)}, ValueError, r"sample_weight: expected shape \(90,\)"),
        ({"sample_weight": -np.ones(90)}, ValueError, "at least 0, got -1.0 in row 0"),
        ({"sample_weight": np.full(90, np.nan)}, ValueError, "got nan in row 0"),
        ({"sample_weight": np.zeros(90)}, ValueError, "at least one above 0"),
        ({"sample_weight": ["a"] * 90}, TypeError, "sample_weight: expected real numbers"),
        ({"class_weights": "even"}, ValueError, "expected balanced or weights by class"),
        ({"class_weights": {"cat": 1.0}}, ValueError, "got 'cat'"),
        ({"class_weights": {1: -1.0}}, ValueError, "got -1.0 for class 1"),
    ],
)
def test_bad_weights_change_nothing(data, more, kind, text):
    trainer = trainer_of()
    with pytest.raises(kind, match=text):
        run(data, trainer=trainer, **more)
    assert trainer.history is None
    assert trainer.network.step == 0


def test_class_weights_need_classes(data):
    x, _ = data
    trainer = ep.Trainer(ep.mlp(5, 1), loss="huber", selection=None)
    with pytest.raises(TypeError, match="class_weights: expected class numbers"):
        trainer.fit((x, x[:, :1]), progress=False, class_weights="balanced")


def test_soft_labels_of_one_class_train_as_classes_do(data):
    x, y = data
    hard = run(data, batch_size=30)
    soft = run((x, np.eye(2)[y]), batch_size=30, trainer=trainer_of(loss="soft_cross_entropy"))
    np.testing.assert_allclose(soft.history.batch_losses, hard.history.batch_losses, rtol=1e-12)
    np.testing.assert_allclose(soft.history["accuracy"], hard.history["accuracy"])


def test_a_stratified_split_keeps_the_shares_of_classes():
    y = np.repeat([0, 1, 2], [600, 90, 10])
    data = ep.datasets.arrays(np.arange(700.0)[:, None], y)
    rest, part = data.split(0.1, seed=3, stratify=True)
    assert np.abs(np.bincount(part.y, minlength=3) - [60, 9, 1]).max() <= 1
    assert len(rest) == 630
    both = np.concatenate([rest.x, part.x]).ravel()
    assert sorted(both) == list(range(700))
    again = data.split(0.1, seed=3, stratify=True)[1]
    other = data.split(0.1, seed=4, stratify=True)[1]
    np.testing.assert_array_equal(again.x, part.x)
    assert (other.x != part.x).any()
    with pytest.raises(ValueError, match="stratify: expected class numbers"):
        ep.datasets.arrays(y[:, None], y * 0.5).split(0.1, stratify=True)


# ---- metrics -------------------------------------------------------------------------------------


def test_metrics_are_columns(data):
    sk = pytest.importorskip("sklearn.metrics")
    x, y = data

    def share_of_ones(targets, outputs):
        return (outputs.argmax(axis=1) == 1).mean()

    trainer = run(data, validation_data=data, metrics=["f1", "auc", "accuracy", share_of_ones])
    history, outputs = trainer.history, trainer.predict(x)
    found = outputs.argmax(axis=1)
    assert history["validation_f1"][-1] == pytest.approx(sk.f1_score(y, found, average="macro"))
    score = outputs[:, 1] - outputs[:, 0]
    assert history["validation_auc"][-1] == pytest.approx(sk.roc_auc_score(y, score))
    np.testing.assert_allclose(history["validation_accuracy"][-1], (found == y).mean())
    assert history["validation_share_of_ones"][-1] == found.mean()


def test_metrics_are_for_regressions_too(data):
    sk = pytest.importorskip("sklearn.metrics")
    x, _ = data
    y = x[:, :2] + 1
    trainer = ep.Trainer(ep.mlp(5, 8, 2), loss="huber", selection=None)
    trainer.fit((x, y), epochs=2, validation_data=(x, y), metrics={"fit": "r2", "off": "mae"},
                progress=False)  # fmt: skip
    outputs = trainer.predict(x).astype(float)
    assert trainer.history["validation_fit"][-1] == pytest.approx(sk.r2_score(y, outputs))
    right = sk.mean_absolute_error(y, outputs)
    assert trainer.history["validation_off"][-1] == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("name", ["balanced_accuracy", "neg_log_loss", "roc_auc"])
def test_scorers_of_scikit_learn_are_metrics(data, name):
    sk = pytest.importorskip("sklearn.metrics")
    x, y = data
    trainer = run(data, validation_data=data, metrics=[ep.scorer(name)])
    outputs = trainer.predict(x)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chance = powers / powers.sum(axis=1, keepdims=True)
    right = {
        "balanced_accuracy": sk.balanced_accuracy_score(y, outputs.argmax(axis=1)),
        "neg_log_loss": -sk.log_loss(y, chance),
        "roc_auc": sk.roc_auc_score(y, chance[:, 1]),
    }[name]
    assert trainer.history[f"validation_accuracy_{name}"][-1] == pytest.approx(right, rel=1e-9)


def test_a_scorer_of_values_is_a_metric(data):
    sk = pytest.importorskip("sklearn.metrics")
    x, _ = data
    trainer = ep.Trainer(ep.mlp(5, 1), loss="huber", selection=None)
    trainer.fit((x, x[:, :1]), epochs=1, validation_data=(x, x[:, :1]), metrics=[ep.scorer("r2")],
                progress=False)  # fmt: skip
    right = sk.r2_score(x[:, :1], trainer.predict(x))
    assert trainer.history["validation_accuracy_r2"][-1] == pytest.approx(right)
    with pytest.raises(ValueError, match="bogus"):
        ep.scorer("bogus")


def test_a_metric_decides_when_to_stop(data):
    values = iter([0.1, 0.5, 0.4, 0.3, 0.9])

    def f1(targets, outputs):
        return next(values)

    stopping = ep.EarlyStopping("validation_f1", patience=2)
    trainer = run(data, epochs=5, validation_data=data, metrics=[f1], callbacks=[stopping])
    assert trainer.history.epochs_done == 4
    assert (stopping.best, stopping.best_epoch) == (0.5, 2)


def test_metrics_need_validation_data_and_numbers(data):
    with pytest.raises(ValueError, match="metrics: expected validation data"):
        run(data, metrics=["f1"])
    with pytest.raises(ValueError, match="metrics: expected one of accuracy"):
        run(data, validation_data=data, metrics=["f2"])
    with pytest.raises(TypeError, match="metrics: expected a number of mine, got 'high'"):
        run(data, validation_data=data, metrics={"mine": lambda targets, outputs: "high"})


def test_metrics_of_the_training_data_are_columns_too(data):
    sk = pytest.importorskip("sklearn.metrics")
    x, y = data
    rest = (x[:20], y[:20])
    metrics = ["f1", "auc"]
    trainer = run(data, validation_data=rest, metrics=metrics, training_metrics=True)
    history, outputs = trainer.history, trainer.predict(x)
    right = sk.f1_score(y, outputs.argmax(axis=1), average="macro")
    assert history["training_f1"][-1] == pytest.approx(right)
    right = sk.roc_auc_score(y, outputs[:, 1] - outputs[:, 0])
    assert history["training_auc"][-1] == pytest.approx(right)
    right = sk.f1_score(y[:20], outputs[:20].argmax(axis=1), average="macro")
    assert history["validation_f1"][-1] == pytest.approx(right)
    alone = run(data, metrics=metrics, training_metrics=True).history
    np.testing.assert_array_equal(alone["training_f1"], history["training_f1"])
    assert "validation_f1" not in alone


def test_metrics_of_the_training_data_are_those_of_its_own_samples(data):
    x, y = data
    part = ep.datasets.arrays(x, y).subset(np.arange(0, 90, 3))
    history = run(part, metrics=["accuracy"], training_metrics=True, batch_size=10).history
    chosen = run((x[::3], y[::3]), metrics=["accuracy"], training_metrics=True, batch_size=10)
    np.testing.assert_array_equal(history["training_accuracy"], chosen.history["training_accuracy"])
    split = run(data, metrics=["accuracy"], training_metrics=True, validation_split=0.2)
    counts = [
        split.history[f"{part}_accuracy"] * n for part, n in (("training", 72), ("validation", 18))
    ]
    for count in counts:
        np.testing.assert_allclose(count, count.round(), atol=1e-9)


def test_a_resumed_run_has_the_metrics_of_one_that_was_not_stopped(data):
    def f1(targets, outputs):
        return METRICS["f1"](targets, outputs)

    more = {"metrics": [f1], "training_metrics": True, "batch_size": 20}
    whole = run(data, epochs=6, **more)
    seen = []
    stopping = ep.EarlyStopping("training_f1", patience=2)
    part = run(data, epochs=6, until=3.4, callbacks=[stopping], **more)
    assert np.isnan(part.history["training_f1"][-1])  # the epoch is incomplete
    del more["batch_size"]
    part.resume(data, progress=False, callbacks=[stopping], **more)
    seen = part.history["training_f1"]
    np.testing.assert_array_equal(seen, whole.history["training_f1"][: len(seen)])
    best = seen[: int(stopping.best_epoch)].argmax() + 1
    assert stopping.best_epoch == best


def test_metrics_of_targets_that_were_scaled_are_in_their_units(data):
    x, _ = data
    y = 100 + 30 * x[:, :1]
    scaled = ep.datasets.arrays(x, y, normalize_target=True)
    trainer = ep.Trainer(ep.mlp(5, 8, 1), loss="mean_squared_error", selection=None)
    trainer.fit(scaled, epochs=2, validation_data=(x, y), metrics=["mae"], training_metrics=True,
                progress=False)  # fmt: skip
    right = np.abs(trainer.predict(x).astype(float) - y).mean()
    assert trainer.history["validation_mae"][-1] == pytest.approx(right, rel=1e-5)
    assert trainer.history["training_mae"][-1] == pytest.approx(right, rel=1e-5)


def test_metrics_of_the_training_data_are_shown(data, capsys):
    trainer = trainer_of()
    trainer.fit(data, epochs=2, batch_size=30, metrics=["f1"], training_metrics=True)
    assert f"training f1 {trainer.history['training_f1'][-1]:.3f}" in capsys.readouterr().err


def test_metrics_of_the_training_data_need_metrics_and_data(data):
    x, y = data
    with pytest.raises(ValueError, match="training_metrics: expected metrics"):
        run(data, training_metrics=True)
    with pytest.raises(TypeError, match="training_metrics: expected a data set or .* got batches"):
        run([(x, y)], metrics=["f1"], training_metrics=True)
    with pytest.raises(KeyError, match=r"no column 'training_f1'; .* are training_auc"):
        run(data, metrics=["auc"], training_metrics=True, callbacks=ep.EarlyStopping("training_f1"))


def test_a_checkpoint_is_named_by_metrics(data, tmp_path):
    keep = ep.Checkpoint(tmp_path / "{epoch}-{training_f1:.3f}-{validation_f1:.3f}.safetensors")
    trainer = run(data, validation_data=data, metrics=["f1"], training_metrics=True, callbacks=keep)
    names = {
        f"{epoch:.0f}-{f1:.3f}-{f1:.3f}.safetensors"
        for epoch, f1 in zip(*(trainer.history[n] for n in ("epoch", "training_f1")), strict=True)
    }
    assert {path.name for path in tmp_path.iterdir()} == names
    with pytest.raises(ValueError, match=r"metrics \(validation_auc\), got {training_f1}"):
        run(data, validation_data=data, metrics=["auc"], callbacks=keep)


# ---- plateaus ------------------------------------------------------------------------------------


def steps_of_loss(values):
    """Return the argument `metrics` of a run: `made` gives these values, one per epoch."""
    left = iter(values)
    return {"made": lambda targets, outputs: next(left)}


def test_rates_are_lowered_where_nothing_improves(data):
    trainer = run(
        data,
        epochs=7,
        trainer=trainer_of(optimizer=ep.SGD(ep.schedules.constant(0.1))),
        validation_data=data,
        metrics=steps_of_loss([3, 2, 2, 2, 1, 1, 1]),
        callbacks=[ep.ReduceOnPlateau("validation_made", 0.5, patience=2)],
    )
    np.testing.assert_allclose(trainer.history["rate"], [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05])
    assert trainer.slowed == 0.25


def test_lower_rates_are_those_that_the_weights_move_by(data):
    slowed = trainer_of(optimizer=ep.SGD(ep.schedules.constant(0.1)))
    halve = ep.LambdaCallback(
        on_epoch_end=lambda trainer, row: trainer.slow(0.5) if row["epoch"] == 2 else None
    )
    run(data, epochs=4, trainer=slowed, callbacks=[halve])
    planned = trainer_of(optimizer=ep.SGD([0.1, 0.1, 0.05, 0.05]))
    run(data, epochs=4, trainer=planned)
    for name, array in arrays(slowed).items():
        np.testing.assert_array_equal(array, arrays(planned)[name])


def test_rates_stay_low_when_a_run_is_resumed(data, tmp_path):
    trainer = trainer_of(optimizer=ep.SGD(ep.schedules.constant(0.1)))
    run(data, epochs=4, trainer=trainer, until=2)
    trainer.slow(0.5)
    trainer.save(tmp_path / "state")
    other = trainer_of(optimizer=ep.SGD(ep.schedules.constant(0.1)))
    other.restore(tmp_path / "state")
    history = other.resume(data, progress=False)
    np.testing.assert_allclose(history["rate"], [0.1, 0.1, 0.05, 0.05])


def test_rates_are_not_lowered_below_a_share(data):
    trainer = run(
        data,
        epochs=9,
        validation_data=data,
        metrics=steps_of_loss([1] * 9),
        callbacks=[ep.ReduceOnPlateau("validation_made", 0.1, patience=1, lowest=0.01)],
    )
    assert trainer.slowed == pytest.approx(0.01)


def test_a_plateau_needs_its_column(data):
    with pytest.raises(KeyError, match="no validation data was given"):
        run(data, callbacks=[ep.ReduceOnPlateau()])
    with pytest.raises(ValueError, match="factor"):
        ep.ReduceOnPlateau(factor=1.5)


# ---- time ----------------------------------------------------------------------------------------


def test_time_ends_a_run_within_an_epoch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20000, 64)).astype(np.float32)
    trainer = ep.Trainer(ep.mlp(64, 256, 2), selection=None)
    begin = time.perf_counter()
    history = trainer.fit(
        (x, (x[:, 0] > 0).astype(int)), epochs=1000, batch_size=16, seconds=0.3, progress=False
    )
    assert 0 < history.steps_done < 1250 * 1000
    assert time.perf_counter() - begin < 60  # without a limit it would take an hour
    steps = history.steps_done
    history = trainer.resume((x, (x[:, 0] > 0).astype(int)), seconds=0.0, progress=False)
    assert history.steps_done == steps


def test_time_is_a_number(data):
    with pytest.raises(TypeError, match="seconds: expected a number"):
        run(data, seconds="1")

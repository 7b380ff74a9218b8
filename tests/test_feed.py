"""Sources of training data: arrays, data sets, epochs of a given length, iterables of batches."""

from __future__ import annotations

import numpy as np
import pytest
from trainers import Batches, data, fit, make, quiet, same

import evoprune as ep

# ---- arrays and data sets ----------------------------------------------------------------------


@quiet
def test_a_last_batch_may_be_smaller():
    trainer = make()
    history = fit(trainer, data(100), epochs=2, batch=48)
    assert trainer.network.step == 6
    assert history["loss"][0] == pytest.approx(
        np.average(history.batch_losses[:3], weights=[48, 48, 4]), rel=1e-6
    )
    fit(trainer, data(20), epochs=1, batch=48)  # fewer samples than a batch


def test_data_sets_are_read_with_their_scaling():
    x, y = data()
    train = ep.datasets.arrays(100 * x + 7, y, normalize="global")
    trainer = make()
    fit(trainer, train, validation_data=train.subset(np.arange(0, 240, 7)))
    shift, scale = trainer.network.input_scaling
    assert float(shift) == pytest.approx(train.shift)
    assert float(scale) == pytest.approx(train.scale)
    part, held_out = train.split(40)
    fit(trainer, part, validation_data=held_out)
    fit(trainer, train, validation_data=ep.datasets.arrays(100 * x + 7, y))  # a set without scaling
    with pytest.raises(ValueError, match=r"validation_data: data is to be read as \(x - 3\)"):
        fit(trainer, train, validation_data=ep.datasets.arrays(x, y, shift=3))


def test_chosen_rows_are_drawn_without_a_copy():
    x, y = data(n=300)
    whole = ep.datasets.arrays(x, y)
    part, rest = whole.split(60, seed=4)
    one, other = make(), make()
    fit(one, part, validation_data=rest)
    fit(other, part.batch(), validation_data=rest.batch())
    same(one, other)
    assert one.evaluate(rest) == other.evaluate(rest.batch())


@quiet
def test_an_epoch_can_be_given_a_length():
    one, other = make(), make()
    fit(one, epochs=3, batch_size=48)  # 5 batches are one pass through the data
    history = fit(other, epochs=5, batch_size=48, steps=3)
    assert (history.per_epoch, history.steps_done) == (3, 15)
    assert np.array_equal(
        one.history.batch_losses, history.batch_losses
    )  # the same samples in the same order
    third = make()
    fit(third, epochs=5, batch_size=48, steps=3, until=2.5)
    third.resume(data(), progress=False)
    same(other, third)
    with pytest.raises(ValueError, match="steps: expected a whole number from 1"):
        fit(make(), steps=0)


@quiet
def test_accuracy_counts_predictions_whatever_their_weight():
    x, y = data()
    loss = ep.CrossEntropy(class_weights=[1, 5, 0.2])
    trainer = make(loss=loss, selection=None, optimizer=ep.AdamW(1e-12))
    right = float((trainer.network.predict(x).argmax(1) == y).mean())
    history = fit(trainer, (x, y), epochs=1, validation_data=(x, y))
    assert history["accuracy"][-1] == pytest.approx(right, abs=0.01)
    assert history["validation_accuracy"][-1] == pytest.approx(right, abs=0.01)
    assert trainer.evaluate((x, y)).accuracy == pytest.approx(right, abs=0.01)


def test_ignored_positions_are_not_counted():
    net = ep.charlm(4, 6, dim=8, layers=1, heads=2)
    x = np.random.default_rng(0).integers(0, 4, (10, 6))
    y = net.predict(x).argmax(-1)
    y[:, :3] = -1
    score = net.evaluate(x, y)
    assert (score.accuracy, score.weight) == (1, 30)
    trainer = ep.Trainer(net, selection=None, optimizer=ep.AdamW(1e-12))
    assert fit(trainer, (x, y), epochs=1)["accuracy"][-1] == 1


# ---- iterables of batches ----------------------------------------------------------------------


def test_an_iterable_of_batches_equals_arrays():
    one, other = make(), make()
    fit(one, shuffle=False)
    batches = Batches(data())
    history = fit(other, batches)
    assert batches.begun == 10
    same(one, other)
    assert history.per_epoch == 5


def test_a_run_on_an_iterable_can_be_resumed():
    one, other = make(), make()
    fit(one, Batches(data()))
    fit(other, Batches(data()), until=2.6)
    other.resume(Batches(data()), progress=False)
    same(one, other)


@quiet
def test_an_iterable_has_a_length_or_steps_are_given():
    endless = (batch for _ in range(100) for batch in Batches(data()))
    fit(make(), endless, epochs=2, steps=7)
    with pytest.raises(ValueError, match="steps: must be given"):
        fit(make(), (batch for batch in ()))
    with pytest.raises(ValueError, match="expected 6 batches per epoch, got 5"):
        fit(make(), Batches(data(), 6))
    with pytest.raises(ValueError, match="at least one batch"):
        fit(make(), [])


@pytest.mark.parametrize("batches", [False, True])
def test_losses_before_a_failure_are_kept(batches):
    def failing(mass, fitness):
        if trainer.network.generation == 6:
            raise RuntimeError("enough")
        return mass

    trainer = make(selection=ep.Selection(dynamics=failing, min_age=0))
    with pytest.raises(RuntimeError, match="enough"):
        fit(trainer, Batches(data()) if batches else None)
    assert trainer.network.step == trainer.history.steps_done == 7
    assert np.isfinite(trainer.history.batch_losses).all()


def test_an_error_of_the_core_is_raised_unchanged():
    trainer = make()
    with pytest.raises((TypeError, ValueError), match="augment"):
        fit(trainer, augment={"shift": 1})  # the samples are vectors, not images
    assert trainer.network.step == trainer.history.steps_done == 0
    fit(trainer)
    made = trainer.history.steps_done
    assert made == len(trainer.history.batch_losses) == trainer.network.step

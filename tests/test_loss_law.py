"""Losses written in Python: bit-identical to the core's if they compute the same."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import evoprune as ep


@ep.loss
def squared(outputs, targets):
    gap = outputs - targets
    return (gap**2).mean(axis=1), 2 * gap / outputs.shape[1]


@ep.loss(target="class")
def entropy(outputs, targets):
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(targets))
    one_hot = np.zeros_like(outputs)
    one_hot[rows, targets] = 1
    return -np.log(chances[rows, targets]), chances - one_hot


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5))
    return x, x[:, :2] ** 2, (x[:, 0] > 0).astype(np.int64)


def trainer_of(loss, **more):
    return ep.Trainer(ep.mlp(5, 8, 2, dtype="float64"), loss=loss, selection=None, **more)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("mine", "core"), [(squared, "mean_squared_error"),
                                            (entropy, "cross_entropy")])  # fmt: skip
def test_it_trains_as_the_same_loss_of_the_core(data, mine, core, weighted):
    x, values, classes = data
    y = classes if mine.target == "class" else values
    more = {"sample_weight": np.arange(64.0)} if weighted else {}
    one, other = trainer_of(mine), trainer_of(core)
    for trainer in (one, other):
        trainer.fit((x, y), epochs=4, batch_size=16, validation_data=(x, y), progress=False, **more)
    np.testing.assert_allclose(one.history.batch_losses, other.history.batch_losses, rtol=1e-11)
    for column in ("accuracy", "validation_loss", "validation_accuracy"):
        np.testing.assert_allclose(one.history[column], other.history[column], rtol=1e-10)


def test_single_steps_call_it_too(data):
    x, values, _ = data
    nets = [ep.mlp(5, 8, 2, dtype="float64") for _ in range(2)]
    for net, loss in zip(nets, (squared, "mean_squared_error"), strict=True):
        net.configure(loss=loss)
        net.forward(x)
    assert nets[0].backward(values) == pytest.approx(nets[1].backward(values), rel=1e-13)
    for net in nets:
        net.gradient()
    for name, gradient in nets[0].gradients.items():
        np.testing.assert_allclose(gradient, nets[1].gradients[name], rtol=1e-10, atol=1e-15)


def test_an_exception_ends_the_run_and_reaches_the_caller(data):
    x, values, _ = data
    calls = []

    @ep.loss
    def fails(outputs, targets):
        calls.append(len(outputs))
        if len(calls) == 3:
            raise KeyError("mine")
        return squared(outputs, targets)

    trainer = trainer_of(fails)
    with pytest.raises(KeyError, match="mine"):
        trainer.fit((x, values), epochs=2, batch_size=16, progress=False)
    assert trainer.network.step == 2
    assert len(trainer.history.batch_losses) == 2
    trainer.loss = squared
    trainer._configure()

    @ep.loss
    def never(outputs, targets):
        raise ZeroDivisionError

    net = trainer.network
    net.configure(loss=never)
    with pytest.raises(ZeroDivisionError):
        net.evaluate(x, values)
    net.forward(x)
    with pytest.raises(ZeroDivisionError):
        net.backward(values)


@pytest.mark.parametrize(
    ("result", "kind", "text"),
    [
        (3.0, TypeError, r"loss: expected \(values, gradient\)"),
        ((np.ones(3), np.ones((16, 2))), ValueError, r"loss: values: expected .* shape \(16,\)"),
        ((np.ones(16), np.ones(16)), ValueError, r"loss: gradient: expected .* shape \(16, 2\)"),
        ((["a"] * 16, np.ones((16, 2))), TypeError, "loss: values: expected an array of real"),
    ],
)
def test_what_it_returns_is_checked(data, result, kind, text):
    x, values, _ = data
    trainer = trainer_of(ep.loss(lambda outputs, targets: result))
    with pytest.raises(kind, match=text):
        trainer.fit((x, values), epochs=1, batch_size=16, progress=False)
    assert trainer.network.step == 0


def test_a_value_that_is_not_finite_diverges(data):
    x, values, _ = data

    @ep.loss
    def bad(outputs, targets):
        return np.full(len(outputs), np.nan), outputs

    with pytest.raises(ep.Diverged):
        trainer_of(bad).fit((x, values), epochs=1, progress=False)


def test_it_cannot_call_its_network_and_may_change_its_copies(data):
    x, values, _ = data

    @ep.loss
    def spoils(outputs, targets):
        value, gradient = squared(outputs, targets)
        value, gradient = value.copy(), gradient.copy()
        outputs[:] = np.nan
        targets[:] = np.nan
        return value, gradient

    one, other = trainer_of(spoils), trainer_of(squared)
    for trainer in (one, other):
        trainer.fit((x, values), epochs=2, batch_size=16, progress=False)
    np.testing.assert_array_equal(one.history.batch_losses, other.history.batch_losses)

    @ep.loss
    def reenters(outputs, targets):
        trainer.network.predict(x)
        return squared(outputs, targets)

    trainer = trainer_of(reenters)
    with pytest.raises(RuntimeError):
        trainer.fit((x, values), epochs=1, progress=False)


def test_files_and_copies_of_its_network(data, tmp_path):
    x, values, _ = data
    trainer = trainer_of(squared)
    trainer.fit((x, values), epochs=1, progress=False)
    trainer.network.save(tmp_path / "net")
    again = ep.load(tmp_path / "net")
    assert repr(again.loss) == "MeanSquaredError()"
    assert again.evaluate(x, values).loss == pytest.approx(trainer.evaluate((x, values)).loss)
    copy = trainer.network.copy()
    assert copy.evaluate(x, values) == trainer.network.evaluate(x, values)


def test_a_network_and_its_loss_are_freed_together():
    class Holder:
        pass

    holder = Holder()
    held = weakref.ref(holder)
    net = ep.mlp(5, 2)
    holder.net = net

    @ep.loss
    def circle(outputs, targets, holder=holder):
        return squared(outputs, targets)

    net.configure(loss=circle)
    del holder, net, circle
    gc.collect()
    assert held() is None


def test_what_is_no_loss_is_refused():
    with pytest.raises(TypeError, match="must take 2 argument"):
        ep.loss(lambda outputs: 1)
    with pytest.raises(ValueError, match="target: expected class or real"):
        ep.loss(target="text")(lambda outputs, targets: 1)
    with pytest.raises(TypeError, match="@loss: expected a function"):
        ep.loss(3)
    assert repr(squared) == "loss(squared)"

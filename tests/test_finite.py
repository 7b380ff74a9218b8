"""A run stops at the step that reads a value that is not finite, without that step's update."""

from __future__ import annotations

import re

import cases
import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, name_of

x0 = np.random.default_rng(0).integers(0, 100, (40, 6))
y0 = np.arange(40) * 7 % 3


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_run_stops_before_an_invalid_value_is_applied(core, threads, clip, bad):
    x, y = runs.data(core)
    broken = x.copy()
    settings = {"shuffle": False, "batch": 32, "threads": threads}
    net, reference = (runs.network(core, clip=clip) for _ in range(2))
    net.check_data(broken, y)
    broken[70, 2] = bad  # after the data was checked
    with pytest.raises(core.Diverged, match="not finite at step 2; the update was not") as caught:
        runs.train(net, (broken, y), 10, **settings)
    assert caught.value.step == 2
    assert isinstance(caught.value, ArithmeticError)
    runs.train(reference, (x, y), 2, **settings)
    assert runs.same(runs.state(net), runs.state(reference))
    runs.train(net, (x, y), 3, **settings)
    runs.train(reference, (x, y), 3, **settings)
    assert runs.same(runs.state(net), runs.state(reference))


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("loss", ["mean_squared_error", "huber", "mean_absolute_error", "poisson"])
def test_targets_whose_second_moments_overflow_are_refused(core, loss):
    """A weight with an infinite second moment never changes again, while the loss stays finite."""
    t = np.ones((40, 3), runs.data(core)[0].dtype)
    most = 1e15 if t.dtype == np.float32 else 1e140
    net = runs.network(core, loss=loss)
    t[3, 1] = most * 2
    before = runs.state(net)
    with pytest.raises(ValueError, match=rf"y: expected targets of {loss} in \[.*\], got [12]"):
        runs.train(net, (x0, t), 2, batch=40)
    assert runs.same(runs.state(net), before)
    if loss == "mean_squared_error":
        t[3, 1] = most / 2
        runs.train(net, (x0, t), 5, batch=40)
        assert all(np.isfinite(net.array(n, "second")).all() for n in runs.names(net))


def test_bad_targets_and_bad_weights_are_seen():
    t = np.zeros((40, 3), np.float32)
    t[3, 1] = np.nan
    net = runs.network(loss="mean_squared_error")
    before = runs.state(net)
    with pytest.raises(ValueError, match="y: expected finite numbers, got nan in row 3, column 1"):
        runs.train(net, (x0, t), 2, batch=40)
    assert runs.same(runs.state(net), before)
    t[3, 1] = 0
    net.check_data(x0, t)
    t[3, 1] = np.nan  # after the data was checked
    with pytest.raises(CORE32.Diverged):
        runs.train(net, (x0, t), 2, batch=40)
    assert runs.same(runs.state(net), before)
    net = runs.network()
    net.array("in1.weight")[3, 3] = np.nan
    before = runs.state(net)
    with pytest.raises(CORE32.Diverged):
        runs.train(net, (x0, y0), 2)
    assert runs.same(runs.state(net), before)


def test_a_diverging_run_stops_with_a_usable_network():
    net = runs.network(optimizer="sgd", selection=None)
    with pytest.raises(CORE32.Diverged) as caught:
        runs.train(net, (1e3 * x0, y0), 500, rate=1e4)
    assert 0 < caught.value.step == net.step < 500
    assert re.search(r"step \d+", str(caught.value))


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_attention_is_finite_for_scores_of_any_size(core):
    case = {"input": (70, 4), "config": {}, "inputs": [1, 1, 1],
            "before": [("dense", {"units": [3, 5]}, [0])]}  # fmt: skip
    net = cases.filled(core.Network(cases.spec(core, "attention", case, True)))
    x = np.random.default_rng(0).standard_normal((3, 70, 4))
    x = (3e7 * x / np.abs(x)).astype(core.dtype)  # scores around 1e15, many equal to the largest
    assert np.isfinite(net.predict(x)).all()


def test_bad_inputs_are_named_before_the_first_step():
    x, y = runs.data()
    net = runs.network()
    before = runs.state(net)
    for row, column, bad in [(0, 0, np.nan), (70, 2, np.inf), (99, 5, -np.inf)]:
        broken = x.copy()
        broken[row, column] = bad
        for kind in (np.float32, np.float64, ">f4", np.float16):
            with pytest.raises(ValueError, match=f"x: .*got -?(nan|inf) in row {row}, .*{column}$"):
                runs.train(net, (broken.astype(kind), y), 1)
        chosen = np.setdiff1d(np.arange(100), [row])
        net.check_data(broken, y, rows=chosen)  # only chosen rows are checked
        with pytest.raises(ValueError, match=f"in row {row}, column {column}"):
            net.check_data(broken, y, rows=[5, row])
        with pytest.raises(ValueError, match=f"in row {row}, column {column}"):
            net.evaluate(broken, y)
    large = x.astype(np.float64)
    large[3, 1] = 1e300  # infinite as float32
    with pytest.raises(ValueError, match=r"got (inf|1e\+300) in row 3, column 1"):
        net.check_data(large, y)
    assert runs.same(runs.state(net), before)


def test_labels_are_checked_in_chosen_rows_only():
    x, y = runs.data()
    net = runs.network()
    y[7] = 12
    for rows in ([1, 2, 3], np.arange(8, 100), [99] * 5):
        net.check_data(x, y, rows=rows)
        net.evaluate(x, y, rows=rows)
        runs.train(net, (x, y), 1, rows=rows, first=0)
    for rows in (None, [3, 7]):
        with pytest.raises(ValueError, match=r"labels must be in \[0, 2\], got 12 in row 7"):
            net.check_data(x, y, rows=rows)


@pytest.mark.parametrize("bad", [-1.0, 1.0001, 5, np.nan, np.inf])
def test_targets_of_binary_cross_entropy_are_checked(bad):
    x, _ = runs.data()
    t = np.random.default_rng(0).uniform(0, 1, (100, 3))
    net = runs.network(loss="binary_cross_entropy")
    runs.train(net, (x, t), 1)
    t[12, 1] = bad
    net.forward(x)
    fails = [
        lambda: runs.train(net, (x, t.copy()), 1),
        lambda: net.evaluate(x, t.copy()),
        lambda: net.check_data(x, t.copy()),
        lambda: net.backward(t),
    ]
    for fail in fails:
        with pytest.raises(
            ValueError, match=r"binary_cross_entropy in \[0, 1\].* row 12, column 1"
        ):
            fail()
    assert net.step == 1


def normed(core, affine=True):
    layers = [
        {"kind": "dense", "name": "a", "config": {"units": [4]}},
        {"kind": "batch_norm", "name": "norm", "config": {"affine": affine}},
        {"kind": "dense", "name": "out", "config": {"units": [3]}},
    ]
    net = core.Network({"seed": 1, "input": [6], "layers": layers})
    net.configure(optimizer="sgd")
    return net


@pytest.mark.parametrize("threads", [1, 3])
def test_a_variance_that_overflows_stops_the_run(threads):
    """Without a check, outputs would stay finite: a number divided by infinity is 0."""
    x, y = runs.data()
    net = normed(CORE32)
    before = runs.state(net)
    with pytest.raises(
        CORE32.Diverged, match="norm: the variance of the batch overflows at step 0"
    ):
        runs.train(net, (1e22 * x, y), 2, threads=threads)
    assert runs.same(runs.state(net), before)
    runs.train(net, (1e15 * x, y), 2, threads=threads)
    assert all(np.isfinite(net.array(f"norm.{name}")).all() for name in ("mean", "variance"))


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_a_batch_of_one_value_is_not_tracked(core):
    """Tracked mean and variance equal NumPy's over the batches of more than one value."""
    x, y = runs.data(core, rows=33)
    net = normed(core, affine=False)
    mean, variance = np.zeros(4), np.ones(4)
    for first in range(4):
        z = x @ net.array("a.weight").astype(np.float64)
        runs.train(net, (x, y), 1, rate=0.0, shuffle=False, batch=32, first=first)
        if first % 2 == 0:  # in odd steps, the batch is one sample
            mean += 0.1 * (z[:32].mean(0) - mean)
            variance += 0.1 * (z[:32].var(0, ddof=1) - variance)
        assert np.allclose(net.array("norm.mean"), mean, rtol=1e-4)
        assert np.allclose(net.array("norm.variance"), variance, rtol=1e-4)
    assert (net.least_rows, runs.network(core).least_rows) == (2, 1)


@pytest.mark.parametrize("law", CORE32.catalogue()["dynamics"])
def test_a_nan_fitness_changes_no_mass(law):
    x, y = runs.data()
    net = runs.network(selection={"dynamics": law})
    before = runs.state(net)
    x[0, 0] = np.nan
    net.forward(x, training=True)
    net.backward(y)
    net.gradient()
    with pytest.raises(CORE32.Diverged, match="fitness of 'h0' is not finite; no mass changed"):
        net.evolve(1.5)
    assert runs.same(before, runs.state(net))

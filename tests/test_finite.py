"""Numbers that are not finite: a run stops at the step that meets one, before it does harm."""

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
def test_a_run_stops_before_a_bad_number_does_harm(core, threads, clip, bad):
    x, y = runs.data(core)
    broken = x.copy()
    broken[70, 2] = bad
    settings = {"shuffle": False, "batch": 32, "threads": threads}
    net, reference = (runs.network(core, clip=clip) for _ in range(2))
    with pytest.raises(core.Diverged, match="not finite at step 2; the update was not") as caught:
        runs.train(net, (broken, y), 10, **settings)
    assert caught.value.step == 2
    assert isinstance(caught.value, ArithmeticError)
    runs.train(reference, (x, y), 2, **settings)
    assert runs.same(runs.state(net), runs.state(reference))
    runs.train(net, (x, y), 3, **settings)
    runs.train(reference, (x, y), 3, **settings)
    assert runs.same(runs.state(net), runs.state(reference))


def test_bad_targets_and_bad_weights_are_seen():
    t = np.zeros((40, 3), np.float32)
    t[3, 1] = np.nan
    net = runs.network(loss="mean_squared_error")
    before = runs.state(net)
    with pytest.raises(CORE32.Diverged):
        runs.train(net, (x0, t), 2, batch=40)
    assert runs.same(runs.state(net), before)
    net = runs.network()
    net.array("in1.weight")[3, 3] = np.nan
    before = runs.state(net)
    with pytest.raises(CORE32.Diverged):
        runs.train(net, (x0, y0), 2)
    assert runs.same(runs.state(net), before)


def test_a_run_that_blows_up_is_stopped_where_it_can_still_be_used():
    net = runs.network(optimizer="sgd", selection=None)
    with pytest.raises(CORE32.Diverged) as caught:
        runs.train(net, (1e3 * x0, y0), 500, rate=1e4)
    assert 0 < caught.value.step == net.step < 500
    assert re.search(r"step \d+", str(caught.value))


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_attention_stands_scores_of_any_size(core):
    case = {"input": (70, 4), "config": {}, "inputs": [1, 1, 1],
            "before": [("dense", {"units": [3, 5]}, [0])]}  # fmt: skip
    net = cases.filled(core.Network(cases.spec(core, "attention", case, True)))
    x = np.random.default_rng(0).standard_normal((3, 70, 4))
    x = (3e7 * x / np.abs(x)).astype(core.dtype)  # products of 1e15, of which many are the largest
    assert np.isfinite(net.predict(x)).all()

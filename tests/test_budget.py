"""Budgets: sizes approach the target from above and stay, and stopped runs resume exactly."""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((600, 16)).astype(np.float32)
    return x, (x @ random.standard_normal((16, 4))).argmax(1)


def trainer(**budget):
    selection = ep.Selection(ep.Budget(**budget), dynamics=ep.Malthusian(lifespan=80), min_age=20)
    net = ep.mlp(16, 64, 48, 4)
    return ep.Trainer(net, selection=selection, optimizer=ep.AdamW(3e-3, weight_decay=0.3))


@pytest.mark.parametrize(
    ("budget", "size"),
    [
        ({"alive": 0.4}, lambda net: sum(net.alive.values()) / 112),
        ({"macs": 0.3}, lambda net: net.macs / net.founding_macs),
        ({"params": 0.3}, lambda net: net.parameters / net.founding_parameters),
    ],
)
def test_a_size_is_reached(data, budget, size):
    one = trainer(**budget)
    history = one.fit(data, epochs=160, batch_size=60, progress=False)
    wish = next(iter(budget.values()))
    assert 0.85 * wish < size(one.network) < 1.1 * wish
    assert len(np.unique(history["pressure"])) > 5
    assert history["pressure"].min() < history["pressure"].max()


def test_a_number_is_a_size_too():
    net = ep.mlp(16, 64, 48, 4)
    assert ep.Budget(macs=net.founding_macs / 4).target(net) == pytest.approx(0.25)
    assert ep.Budget(alive=28).target(net) == pytest.approx(0.25)
    assert ep.Budget(alive=1.0).target(net) == 1
    assert ep.Budget(params=1e12).target(net) == 1
    assert ep.Budget(macs=0.1, start=2.0).first(net) == 2
    assert ep.Budget(macs=0.1).first(net) > ep.Budget(macs=0.5).first(net)


def test_pressure_rises_while_the_network_is_too_big():
    net = ep.mlp(16, 64, 48, 4)
    net.kill("populations1", np.arange(40))
    net.compact()
    masses = [net["populations1.mass"], net["populations2.mass"]]
    state = {"done": 0.5, "lag": 0.1, "threshold": 1e-3, "masses": masses}
    assert not ep.Budget(alive=0.1).reached(net)
    assert 1 < ep.Budget(alive=0.1).steer(net, 1.0, **state) < 1.05
    assert ep.Budget(alive=0.1).steer(net, 1.0, **(state | {"done": 0.05})) == 1.0
    assert ep.Budget(alive=0.9).reached(net)
    assert ep.Budget(alive=0.9).steer(net, 1.0, **state) == 1.0


def test_masses_are_fixed_when_the_size_is_reached(data):
    one = trainer(alive=0.6)
    history = one.fit(data, epochs=160, batch_size=60, progress=False)
    assert sum(one.network.alive.values()) <= 0.6 * 112
    mass = history.trajectories()
    still = np.flatnonzero((mass[1:] == mass[:-1]).sum(1) == history.living()[1:])
    assert len(still) > 20
    assert still[-1] == len(mass) - 2


@pytest.mark.parametrize("at", [13.4, 30.0, 35.15])
def test_a_resumed_run_equals_an_uninterrupted_one(data, tmp_path, at):
    whole = trainer(macs=0.45)
    expected = whole.fit(data, epochs=40, batch_size=60, progress=False)
    first = trainer(macs=0.45)
    first.fit(data, epochs=40, batch_size=60, progress=False, until=at)
    first.save(tmp_path / "state")
    second = trainer(macs=0.45)
    second.restore(tmp_path / "state")
    history = second.resume(data, progress=False)
    assert second._run == whole._run
    assert np.array_equal(history["pressure"], expected["pressure"])
    for name, values in whole.network.items():
        assert np.array_equal(values, second.network[name]), name


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "expected one of macs, params and alive, got none"),
        ({"macs": 0.1, "alive": 0.1}, "got macs and alive"),
        ({"macs": 0}, "Budget: macs: expected a number from"),
        ({"alive": -3}, "Budget: alive: expected a number from"),
        ({"alive": 0.5, "by": 2}, "Budget: by: expected a number from 0.05 to 1"),
        ({"alive": 0.5, "start": 0}, "Budget: start: expected a number from"),
    ],
)
def test_wrong_budgets_are_named(settings, text):
    with pytest.raises(ValueError, match=text):
        ep.Budget(**settings)


def test_a_budget_of_macs_needs_removal():
    with pytest.raises(ValueError, match="give one of alive"):
        ep.Selection(ep.Budget(macs=0.1), removal="never")
    ep.Selection(ep.Budget(alive=0.1), removal="never")


def test_the_repr_of_a_budget():
    text = repr(ep.Selection(ep.Budget(macs=0.1)))
    assert text.startswith("Selection(pressure=Budget(macs=0.1)")

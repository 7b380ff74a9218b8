"""`Trainer.plan`: the plan of a run agrees with the run."""

import json
from pathlib import Path

import numpy as np
import pytest

import evoprune as ep
from evoprune import schedules

ROWS, BATCH = 240, 48


def data():
    x = np.random.default_rng(0).normal(size=(ROWS, 12)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.int64)


@ep.fitness
def doomed(signals):
    """Return a fitness of 0 for the first population, and of 1 for all others."""
    worth = np.ones_like(signals["mass"])
    worth[0] = 0.0
    return worth


def make(selection, optimizer=None, dtype="float32"):
    net = ep.mlp(12, 24, 16, 2, seed=1, dtype=dtype)
    return ep.Trainer(net, optimizer=optimizer or ep.AdamW(2e-3), selection=selection)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("settings", "optimizer"),
    [
        ({}, ep.AdamW(2e-3)),
        ({}, ep.AdamW(schedules.one_cycle(5e-3))),
        ({}, ep.SGD(schedules.constant(1e-2))),
        ({"every": 3}, ep.AdamW(schedules.warmup(2e-3, 0.2))),
        ({"clock": "steps", "rest": 0.5}, ep.AdamW(1e-3)),
        ({"min_age": 130}, ep.AdamW(2e-3)),
        ({"dynamics": ep.Malthusian(lifespan=33), "threshold": 0.1}, ep.AdamW(2e-3)),
        ({"pressure": schedules.linear(0.5, 2.0)}, ep.AdamW(2e-3)),
        ({"niche": "network"}, ep.AdamW(2e-3)),
    ],
    ids=str,
)
def test_the_earliest_death_is_that_of_a_population_without_fitness(settings, optimizer, dtype):
    trainer = make(ep.Selection(**settings), optimizer, dtype)
    plan = trainer.plan(data(), epochs=80, batch_size=BATCH)
    worst = make(ep.Selection(**settings | {"fitness": doomed, "upkeep": "soft"}), optimizer, dtype)
    history = worst.fit(data(), epochs=80, batch_size=BATCH, progress=False)
    assert history.extinctions["step"].min() == plan.first_death
    assert plan.lifespan == worst.network.selection.lifespan()
    assert plan.min_age == worst.network.selection.min_age


def test_a_second_run_begins_with_the_masses_there_are():
    selection = ep.Selection(fitness=doomed, upkeep="soft")
    trainer = make(selection)
    trainer.fit(data(), epochs=80, batch_size=BATCH, progress=False, until=6)
    plan = trainer.plan(data(), epochs=80, batch_size=BATCH)
    fresh = make(selection).plan(data(), epochs=80, batch_size=BATCH)
    history = trainer.fit(data(), epochs=80, batch_size=BATCH, progress=False)
    assert history.extinctions["step"].min() == plan.first_death
    assert plan.first_death < fresh.first_death


def test_a_plan_changes_nothing():
    one, other = make(ep.Selection()), make(ep.Selection())
    one.plan(data(), epochs=80, batch_size=BATCH)
    for trainer in (one, other):
        trainer.fit(data(), epochs=80, batch_size=BATCH, progress=False)
    assert np.array_equal(one.history.batch_losses, other.history.batch_losses)
    assert one.network.step == 400


def test_its_numbers_are_those_of_the_run():
    trainer = make(ep.Selection(2.0))
    plan = trainer.plan(*data(), epochs=60, batch_size=BATCH, validation_split=0.2)
    trainer.fit(*data(), epochs=60, batch_size=BATCH, validation_split=0.2, progress=False, until=1)
    rates = schedules.cosine(1.0)(240)
    assert (plan.steps, plan.epochs, plan.per_epoch) == (240, 60, 4)
    assert plan.generations == pytest.approx(rates.sum())
    assert plan.memory == trainer.network.nbytes
    assert plan.lifespan == round(rates.sum() / 7 + 20 + 0.02 / 2e-3)
    assert "240 steps, 60 epochs of 4" in repr(plan)
    assert f"step {plan.first_death:,}" in repr(plan)
    assert f"{plan.memory / 1e6:,.1f} MB" in plan._repr_html_()


def test_the_expected_share_is_interpolated_from_the_measured_table():
    file = Path(ep.__file__).parent / "selection" / "expected.json"
    table = json.loads(file.read_text())
    pressure, lives = table["pressure"], table["lives"]
    for p, n in ((0, 3), (2, 5), (len(pressure) - 1, len(lives) - 2)):
        law = ep.Malthusian(lifespan=200.0 / lives[n])
        selection = ep.Selection(pressure[p], dynamics=law, clock="steps", min_age=0)
        plan = make(selection).plan(data(), epochs=40, batch_size=BATCH)
        assert plan.expected[0] == pytest.approx(table["alive"][p][n])
        assert plan.expected[1] <= plan.expected[0] <= plan.expected[2] <= 1
    middle = np.sqrt(pressure[0] * pressure[1])  # between two pressures of the table
    plan = make(ep.Selection(middle, clock="steps", dynamics=ep.Malthusian(lifespan=100))).plan(
        data(), epochs=40, batch_size=BATCH
    )
    at = lives.index(2.0)
    mean = (table["alive"][0][at] + table["alive"][1][at]) / 2
    assert plan.expected[0] == pytest.approx(mean)
    for settings in ({"upkeep": "macs"}, {"pressure": 50.0}, {"dynamics": "replicator"}):
        plan = make(ep.Selection(**settings)).plan(data(), epochs=80, batch_size=BATCH)
        assert plan.expected is None
        assert "not measured" in repr(plan)


def test_a_run_without_deaths_says_why():
    plan = make(ep.Selection()).plan(data(), epochs=3, batch_size=BATCH)
    assert plan.first_death is None
    assert plan.expected == (1.0, 1.0, 1.0)
    assert "none: the first extinction needs" in repr(plan)
    assert "train for at least 66 steps" in repr(plan)
    assert "longer than the run" in repr(plan)
    assert "all founders" in repr(plan)
    plan = make(None).plan(data(), epochs=3, batch_size=BATCH)
    assert "there is no selection" in repr(plan)
    assert plan.expected == (1.0, 1.0, 1.0)


def test_a_network_that_lost_populations_is_not_one_that_was_measured():
    trainer = make(ep.Selection())
    trainer.network.kill("populations1", np.arange(14, dtype=np.int32))
    plan = trainer.plan(data(), epochs=80, batch_size=BATCH)
    assert plan.first_death is not None
    assert plan.expected is None
    plan = trainer.plan(data(), epochs=3, batch_size=BATCH)
    assert plan.expected == (26 / 40, 26 / 40, 26 / 40)
    assert "65 % of the founders, as now" in repr(plan)


def test_an_iterable_is_not_read():
    def batches():
        raise AssertionError("read")
        yield

    plan = make(ep.Selection()).plan(batches(), epochs=80, steps=5)
    assert plan.steps == 400
    assert plan.memory is None

"""Time constants left at None are chosen by the length of the run, recorded, and kept on resume.

Expected lifespans are computed here from the rule as docs/run_length.md states it.
"""

import numpy as np
import pytest

import evoprune as ep
from evoprune.core.spec import catalogue, known
from evoprune.selection.groups import Dynamics
from evoprune.training import pace
from evoprune.training.run import Run

ROWS, BATCH = 240, 48


def data(n=ROWS):
    x = np.random.default_rng(0).normal(size=(n, 12)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.int64)


def make(optimizer=None, selection=None, **settings):
    net = ep.mlp(12, 24, 16, 2, seed=1)
    selection = selection or ep.Selection(**settings)
    return ep.Trainer(net, optimizer=optimizer or ep.AdamW(2e-3), selection=selection)


def rule(rates, peak=None, every=1, rest=0.0):
    """Return the expected lifespan: a seventh of the generations, plus generations for learning.

    `rates` are the learning rates of all steps, `peak` is the highest rate of AdamW (SGD: None),
    `every` is the number of steps per generation, and `rest` the share of steps at the end of the
    run in which masses do not change. If the result is more than the generations of the run, it
    is multiplied by 10, so that masses hardly change.
    """
    moving = len(rates) - round(rest * len(rates))
    generations = np.sum(rates[:moving] / np.max(rates)) / every
    learning = 20 + (20 if peak is None else 0.02 / (peak * every))
    span = float(round(generations / 7 + learning))
    return span if span <= generations else 10 * span


def fitted(trainer, epochs=100, **settings):
    trainer.fit(data(), epochs=epochs, batch_size=BATCH, progress=False, **settings)
    return trainer


def lifespan(trainer):
    return trainer.network.selection.dynamics.lifespan


# ---- the rule for the lifespan -----------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
@pytest.mark.parametrize(
    "schedule",
    [ep.schedules.constant, ep.schedules.cosine, ep.schedules.warmup, ep.schedules.one_cycle],
)
def test_a_lifespan_follows_run_schedule_and_rate(rate, schedule):
    trainer = fitted(make(ep.AdamW(schedule(rate))), until=0)
    rates = np.asarray(schedule(rate)(500))
    assert lifespan(trainer) == rule(rates, rates.max())
    assert trainer.network.selection.min_age == int(lifespan(trainer) / 7)


@pytest.mark.parametrize("epochs", [60, 100, 4000])
def test_a_longer_run_has_a_longer_lifespan(epochs):
    trainer = fitted(make(), epochs, until=0)
    assert lifespan(trainer) == rule(ep.schedules.cosine(2e-3)(5 * epochs), 2e-3)


def test_without_second_moments_the_rate_does_not_matter():
    for rate in (1e-3, 0.1):
        trainer = fitted(make(ep.SGD(rate)), until=0)
        assert lifespan(trainer) == rule(ep.schedules.cosine(rate)(500))


def test_generations_of_several_steps_and_rest_count():
    trainer = fitted(make(every=3, rest=0.2), 400, until=0)
    assert lifespan(trainer) == rule(ep.schedules.cosine(2e-3)(2000), 2e-3, every=3, rest=0.2)
    trainer = fitted(make(clock="steps"), 400, until=0)
    assert lifespan(trainer) == rule(np.ones(2000), 2e-3)


def test_given_numbers_stay():
    trainer = fitted(make(dynamics=ep.Malthusian(lifespan=70)), until=0)
    assert (lifespan(trainer), trainer.network.selection.min_age) == (70, 10)
    trainer = fitted(make(min_age=33), until=0)
    assert trainer.network.selection.min_age == 33


@pytest.mark.parametrize("kind", [k for k in catalogue("dynamics") if k != "none"])
def test_the_effect_of_a_law_does_not_depend_on_run_length(kind):
    """A rate is its default for a lifespan of 700 generations, times 700 / lifespan."""
    law = known(Dynamics)[kind]()
    rows = {row["name"]: row["default"] for row in catalogue("dynamics")[kind]["fields"]}
    timed = law.timed(70.0)
    for name in {"strength", "clip", "turnover"} & set(rows):
        assert getattr(law, name) is None
        if kind != "malthusian":
            assert getattr(timed, name) == pytest.approx(10 * rows[name])
    assert law.timed(700.0).config() | rows == rows | law.timed(700.0).config()
    assert timed.timed(5.0) == timed
    if kind == "malthusian":
        assert timed == ep.Malthusian(lifespan=70)
        raw = ep.Malthusian(growth="raw").timed(70.0)
        assert (raw.strength, raw.clip) == pytest.approx((100.0, 2.0))


def test_a_given_rate_stays():
    law = ep.Replicator(strength=3.0).timed(70.0)
    assert (law.strength, law.clip) == (3.0, pytest.approx(0.1))


# ---- records, stop and resume -------------------------------------------------------------------


def test_the_numbers_are_in_the_history_and_in_the_network():
    trainer = fitted(make(), until=1)
    expected = rule(ep.schedules.cosine(2e-3)(500), 2e-3)
    assert trainer.history.settings["run"]["lifespan"] == expected
    assert f"Malthusian(lifespan={expected:g})" in trainer.history.settings["selection"]
    assert trainer.selection.dynamics.lifespan is None  # the selection itself is unchanged


@pytest.mark.parametrize("by", ["memory", "file"])
def test_a_resumed_run_keeps_its_lifespan(by, tmp_path):
    whole, parts = fitted(make()), fitted(make(), until=40)
    if by == "file":
        parts.save(tmp_path / "run.evo")
        parts = make()
        parts.restore(tmp_path / "run.evo")
    parts.resume(data(), progress=False)
    assert lifespan(whole) == lifespan(parts)
    assert sum(whole.network.alive.values()) < 40
    for name, array in whole.network.items():
        assert np.array_equal(array, parts.network[name]), name
    assert np.array_equal(whole.history.extinctions, parts.history.extinctions)


def test_a_run_of_an_older_version_keeps_its_lifespan():
    """If no lifespan is recorded, it is 700 generations, the former default."""
    trainer = fitted(make(), 2000, until=1)
    state = trainer.state()
    state["run"].pop("lifespan")
    trainer.restore(state)
    trainer.resume(data(), progress=False, until=2)
    assert (lifespan(trainer), trainer.network.selection.min_age) == (700, 100)


# ---- runs of unknown or changed length ----------------------------------------------------------


def test_without_a_trainer_the_length_is_unknown():
    for config in (ep.Selection().config(), ep.Selection().timed().config()):
        assert config["dynamics_config"]["lifespan"] == 700
        assert config["min_age"] == 100
    own = ep.Selection().timed(350, 2e-3).config()  # 350 generations without a trainer
    assert own["dynamics_config"]["lifespan"] == 80
    assert own["min_age"] == 11


def test_an_iterable_needs_its_length_and_then_has_a_lifespan():
    x, y = data()
    batches = [(x[at : at + BATCH], y[at : at + BATCH]) for at in range(0, ROWS, BATCH)]
    trainer = make()
    with pytest.raises(ValueError, match="steps: must be given"):
        trainer.fit((batch for batch in batches), epochs=100, progress=False)
    trainer.fit(batches, epochs=100, progress=False, until=0)
    assert lifespan(trainer) == rule(ep.schedules.cosine(2e-3)(500), 2e-3)


def test_early_stopping_and_until_count_the_planned_run():
    stop = ep.EarlyStopping(patience=1)
    trainer = fitted(make(), 400, until=2, validation_data=data(60), callbacks=[stop])
    assert lifespan(trainer) == rule(ep.schedules.cosine(2e-3)(2000), 2e-3)


def test_a_second_run_has_a_lifespan_of_its_own():
    trainer = fitted(fitted(make(), 100), 400, until=0)
    assert lifespan(trainer) == rule(ep.schedules.cosine(2e-3)(2000), 2e-3)


def test_a_validation_share_shortens_the_run():
    trainer = fitted(make(), 400, until=0, validation_split=0.5)
    assert lifespan(trainer) == rule(ep.schedules.cosine(2e-3)(1200), 2e-3)


def test_a_community_takes_the_number_of_generations():
    assert ep.Community(4).selection.dynamics.lifespan == 700
    community = ep.Community(4, generations=140)
    assert community.selection.dynamics.lifespan == 60
    with pytest.raises(TypeError, match="generations: expected a number"):
        ep.Community(4, generations="long")
    deaths = [len(community.step(fitness=[0.0, 1.0, 1.0, 1.0])) for _ in range(61)]
    assert np.flatnonzero(deaths).tolist() in ([59], [60])  # mass 0 is 1e-3 at 60, up to rounding


def test_a_simulation_fits_its_generations():
    masses = ep.simulate("malthusian", [1.0, 1.0], [0.0, 1.0], 140, upkeep=0.5)
    assert masses[60, 0] == pytest.approx(1e-3)
    fixed = ep.simulate(ep.Malthusian(lifespan=60), [1.0, 1.0], [0.0, 1.0], 140, upkeep=0.5)
    assert np.array_equal(masses, fixed)


# ---- runs that are too short ---------------------------------------------------------------------


def test_a_run_that_is_too_short_says_how_long_it_has_to_be():
    trainer = make()
    with pytest.warns(ep.NothingCanDie, match=r"35 generations \(lifespan\)") as caught:
        fitted(trainer, 6)
    text = str(caught[0].message)
    assert "has 16 at full learning rate (30 steps)" in text
    assert "at least 68 steps" in text  # 35 * 30 / 15.5; 15.5 is rounded to 16 above
    with pytest.warns(ep.NothingCanDie):
        fitted(make(), 13, until=0)
    fitted(make(), 15, until=0)  # a warning would fail the test


def test_a_run_that_is_too_short_is_an_ordinary_one():
    """If no population can go extinct, low masses would only do harm, so masses hardly fall."""
    trainer = make()
    with pytest.warns(ep.NothingCanDie):
        fitted(trainer, 10)
    mass = trainer.network["populations1.mass"]
    assert mass.min() > 1e-3 ** (1 / 10)  # under a tenth of the way to 1e-3 in log mass


def test_the_named_number_of_steps_is_enough():
    fitted(make(), 14, until=0)  # 70 steps; a warning would fail the test
    selection = ep.Selection(dynamics=ep.Malthusian(lifespan=15))  # as the warning suggests
    fitted(make(selection=selection), 6, until=0)


@pytest.mark.parametrize(
    ("rate", "mean"),
    [
        (ep.schedules.cosine(1e-3), 0.5),
        (ep.schedules.constant(1e-3), 1.0),
        (ep.schedules.warmup(ep.schedules.linear(1e-3), 0.2), 0.1 + 0.4),
    ],
)
def test_the_generations_of_a_run_of_any_length_are_the_integral_of_its_clock(rate, mean):
    for steps in (5 * pace.BLOCK, (pace.SAMPLED + 1) * pace.BLOCK + 7, 2**31 * 5):
        run = Run(steps, 1, 1, 0, shuffle=True, augment=None, lifespan=5)
        strength = pace.Pace(ep.AdamW(rate), ep.Selection(1.5, rest=0), run).strength()
        assert strength == pytest.approx(mean * steps, rel=1e-3)

"""Runs of a trainer: learning, stopping, resuming, errors, and laws in Python."""

from __future__ import annotations

import numpy as np
import pytest
from trainers import data, fit, make, quiet, same

import evoprune as ep

# ---- runs --------------------------------------------------------------------------------------


def test_a_network_learns_and_gets_smaller():
    selection = ep.Selection(0.5, dynamics=ep.Malthusian(lifespan=100))
    trainer = make(selection=selection)
    history = fit(trainer, epochs=100, validation_data=data())
    net = trainer.network
    assert history is trainer.history
    assert history["validation_accuracy"][-1] > 0.9
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert sum(net.alive.values()) < 30
    assert net.step == 100 * 5
    assert net["dense2.weight"].shape == tuple(net.alive.values())
    assert net.timing[0] > 0
    assert net.timing[1] == 48
    assert net.selection == trainer.selection.timed()
    assert net.pressure == 0.5
    assert trainer.evaluate(data()) == net.evaluate(data())
    assert trainer.predict(data()[0]).shape == (240, 3)
    assert "Malthusian(lifespan=100)" in repr(trainer)


def test_without_selection_no_population_goes_extinct():
    trainer = make(selection=None)
    history = fit(trainer, epochs=20)
    assert trainer.network.alive == trainer.network.born
    assert trainer.network.generation == 0
    assert (history["upkeep"] == 0).all()


def test_the_same_seed_gives_the_same_bits():
    one, other = make(), make()
    fit(one)
    fit(other)
    same(one, other)
    third = make(seed=2)
    fit(third)
    assert not np.array_equal(third.history.batch_losses, one.history.batch_losses)


@pytest.mark.parametrize("until", [4, 3.4, 0])
def test_stopping_and_resuming_changes_nothing(until):
    whole, parts = make(), make()
    fit(whole, validation_data=data(60, seed=3))
    fit(parts, validation_data=data(60, seed=3), until=until)
    assert parts.network.step == round(5 * until)
    parts.resume(data(), validation_data=data(60, seed=3), progress=False)
    same(whole, parts)
    parts.resume(data(), progress=False)  # the run is already complete
    assert parts.network.step == 50


@pytest.mark.parametrize("by_file", [False, True])
def test_a_state_can_be_resumed_elsewhere(by_file, tmp_path):
    whole, first, second = make(), make(), make(seed=1)
    fit(whole)
    fit(first, until=3.4)
    state = first.state()
    if by_file:
        first.save(tmp_path / "state.safetensors")
        state = tmp_path / "state.safetensors"
    first.resume(data(), progress=False)
    second.restore(state)
    assert second.network.step == 17
    second.resume(data(), progress=False)
    same(whole, second)
    same(whole, first)


@quiet
def test_a_second_run_restarts_schedules_and_continues_shuffling():
    trainer = make()
    first = fit(trainer, epochs=2)
    second = fit(trainer, epochs=3, record_every=5)
    assert second is not first
    assert trainer.network.step == 25
    assert second.record_steps.tolist() == [0, 5, 10, 15]
    assert second["epoch"].tolist() == [1, 2, 3]


def test_chunks_do_not_affect_results(monkeypatch):
    from evoprune.training import run as _run

    one, other = make(), make()
    fit(one)
    monkeypatch.setattr(_run, "SEGMENT", 1e-9)  # one step per call of the core
    fit(other)
    same(one, other)


@quiet
def test_zero_epochs_are_a_run():
    trainer = make()
    history = fit(trainer, epochs=0)
    assert history.epochs_done == 0
    assert history.record_steps.tolist() == [0]
    assert trainer.network.step == 0


def test_values_can_be_learned():
    x, _ = data()
    trainer = ep.Trainer(
        ep.mlp(12, 16, 2),
        loss="mean_squared_error",
        optimizer=ep.SGD(0.05),
        selection=None,
    )
    history = fit(trainer, (x, x[:, :2]), epochs=20, validation_data=(x, x[:, :2]))
    assert history["validation_loss"][-1] < 0.5 * history["validation_loss"][0]
    assert np.isnan(history["accuracy"]).all()
    assert np.isnan(history["validation_accuracy"]).all()
    score = trainer.network.copy().evaluate(x, x[:, :2])
    assert np.isnan(score.accuracy)
    assert repr(score) == f"Score(loss={score.loss:.4f})"


def test_the_bar_has_no_accuracy_for_values(capsys):
    x, _ = data()
    trainer = ep.Trainer(ep.mlp(12, 16, 2), loss="mean_squared_error", selection=None)
    fit(trainer, (x, x[:, :2]), epochs=2, validation_data=(x, x[:, :2]), progress=True)
    shown = capsys.readouterr().err
    assert "val 0." in shown or "val 1." in shown
    assert "acc" not in shown


def test_the_time_of_a_run_continues_when_resumed():
    trainer = make()
    fit(trainer, until=4)
    before = trainer.history["seconds"][-1], trainer.history["floor_reached"][-1]
    trainer.resume(data(), progress=False)
    assert np.all(np.diff(trainer.history["seconds"]) > 0)
    assert trainer.history["seconds"][4] > before[0] > 0
    assert trainer.history["floor_reached"][4] >= before[1]


# ---- invalid arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"epochs": -1}, ValueError, "epochs: expected a whole number from 0"),
        ({"epochs": 2.5}, TypeError, "epochs: expected a whole number, got 2.5"),
        ({"batch": 0}, ValueError, "batch_size: expected a whole number from 1"),
        ({"record_every": 0}, ValueError, "record_every"),
        ({"xy": "mnist"}, TypeError, "data: expected a data set"),
        ({"xy": np.zeros((3, 12))}, TypeError, "data: expected a data set"),
        ({"xy": (np.zeros((0, 12)), np.zeros(0, int))}, ValueError, "data: expected at least one"),
        ({"xy": (data()[0][:9], data()[1])}, ValueError, "y: expected as many rows"),
        ({"xy": (data()[0], data()[1] + 1)}, ValueError, "y: labels must be in"),
        ({"validation_data": (data()[0], data()[1] - 1)}, ValueError, "y: labels must be in"),
        ({"validation_data": 3}, TypeError, "validation_data: expected a data set"),
    ],
)
def test_bad_requests_change_nothing(settings, error, text):
    trainer = make()
    before = trainer.network.copy()
    with pytest.raises(error, match=text):
        fit(trainer, **settings)
    assert trainer.history is None
    assert trainer.network.step == 0
    assert all(np.array_equal(trainer.network[name], before[name]) for name in before)


def test_bad_trainers_are_refused():
    net = ep.mlp(12, 8, 3)
    with pytest.raises(ValueError, match="no loss is called 'happiness'; known: cross_entropy"):
        ep.Trainer(net, loss="happiness")
    with pytest.raises(TypeError, match="network: expected a Network, got str"):
        ep.Trainer("net")
    with pytest.raises(TypeError, match="selection: expected a Selection or None"):
        ep.Trainer(net, selection="natural")
    with pytest.raises(ValueError, match="given must hold|upkeep"):
        ep.Trainer(net, selection=ep.Selection(upkeep=[0.1, 0.2]))
    with pytest.raises(ValueError, match="there is no run to continue"):
        ep.Trainer(net).resume(data())
    trainer = make()
    fit(trainer, until=1)
    with pytest.raises(ValueError, match="expected 5 batches per epoch"):
        trainer.resume(data(100))


@pytest.mark.parametrize(
    ("selection", "epochs", "text"),
    [
        (ep.Selection(0.0), 300, "pressure is 0"),
        (ep.Selection(dynamics="none"), 300, "dynamics is none"),
        (ep.Selection(min_age=100), 10, "min_age"),
        (ep.Selection(), 2, "lifespan"),
    ],
)
def test_fit_warns_when_no_population_can_go_extinct(selection, epochs, text):
    with pytest.warns(ep.NothingCanDie, match=text):
        fit(make(selection=selection), epochs=epochs, until=0)


def test_fit_warns_when_there_are_no_populations():
    net = ep.Sequential([ep.Dense(3)], input=12)
    with pytest.warns(ep.NothingCanDie, match="no populations"):
        fit(ep.Trainer(net), epochs=300, until=0)


def test_a_loss_that_is_not_finite_stops_the_run():
    x, y = data()
    trainer = make()

    class Spoil(ep.Callback):
        def on_fit_begin(self, trainer):
            x[200:] = np.nan  # after the data was checked

    with pytest.raises(ep.Diverged, match="not finite") as caught:
        fit(trainer, (x, y), shuffle=False, callbacks=[Spoil()])
    assert caught.value.step == trainer.network.step == 4
    assert all(np.isfinite(array).all() for _, array in trainer.network.items())
    assert trainer.history.steps_done == 4
    trainer.resume(data(), progress=False)
    assert trainer.network.step == 50


# ---- laws in Python ----------------------------------------------------------------------------


def test_laws_may_be_python_functions():
    seen = []

    @ep.fitness
    def usefulness(signals):
        seen.append(set(signals))
        return -signals["mass_gradient"]

    @ep.dynamics
    def growth(mass, fitness, upkeep):
        return mass * np.exp(np.clip(10 * (fitness - upkeep), -0.2, 0.2))

    trainer = make(selection=ep.Selection(1.0, dynamics=growth, fitness=usefulness, min_age=10))
    history = fit(trainer, epochs=20)
    assert len(history.extinctions) > 0
    assert {"mass", "mass_gradient"} <= seen[0]
    assert repr(trainer.selection) == (
        "Selection(pressure=1, dynamics=dynamics(growth), fitness=fitness(usefulness))"[:-1]
        + ", min_age=10)"
    )


def test_an_exception_in_a_law_ends_the_run():
    def broken(mass, fitness):
        if len(fitness) and trainer.network.generation > 20:
            raise RuntimeError("broken law")
        return mass

    trainer = make(selection=ep.Selection(dynamics=broken, min_age=10))
    with pytest.raises(RuntimeError, match="broken law"):
        fit(trainer)
    assert 15 < trainer.network.step < 25
    assert trainer.history.steps_done == trainer.network.step


@pytest.mark.parametrize(
    "law", [lambda mass, fitness: mass[:-1], lambda mass, fitness: -mass, lambda mass, _: mass / 0]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_law_with_an_invalid_result_ends_the_run(law):
    with pytest.raises(ValueError, match="dynamics"):
        fit(make(selection=ep.Selection(dynamics=law, min_age=10)))


def eager(network, clip=0.0, removal="auto"):
    """Return a trainer of a network, under which many populations die."""
    law = ep.Malthusian(lifespan=5)
    selection = ep.Selection(2.0, dynamics=law, min_age=5, removal=removal)
    optimizer = ep.AdamW(3e-3, weight_decay=0.3, clip=clip)
    return ep.Trainer(network, selection=selection, optimizer=optimizer)


def stream(seed=2):
    return ep.vit(
        (12, 1, 1), 3, patch=(3, 1), dim=24, layers=2, heads=4, living_stream=True, seed=seed
    )


def narrow(seed=2):
    return ep.mlp(12, 24, 16, 3, seed=seed)


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("net", [stream, narrow])
def test_a_run_in_parts_equals_a_whole_one_if_sums_depend_on_layout(net, clip, tmp_path):
    """Layer norms and gradient clipping sum over arrays, whose layout changes at a removal."""
    x, y = data()
    if net is stream:
        x = x.reshape(-1, 12, 1, 1)
    settings = {"epochs": 6, "batch_size": 48, "progress": False, "record_every": 3}
    whole, kept = eager(net(), clip), []

    class Keep(ep.Callback):
        def on_extinction(self, trainer, deaths):
            step = trainer.history.steps_done
            if 8 < step < 24 and step % 5 and len(kept) < 3:  # not at the end of an epoch
                trainer.save(tmp_path / f"{len(kept)}.safetensors")
                kept.append(tmp_path / f"{len(kept)}.safetensors")

    whole.fit((x, y), callbacks=[Keep()], **settings)
    parts = eager(net(), clip)
    parts.fit((x, y), until=1.4, **settings)
    parts.resume((x, y), until=2.6, progress=False)
    other = eager(net(), clip)
    other.restore(parts.state())
    other.resume((x, y), progress=False)
    same(whole, other)
    parts.resume((x, y), progress=False)
    same(whole, parts)
    assert kept
    for path in kept:
        third = eager(net(), clip)
        third.restore(path)
        third.resume((x, y), progress=False)
        same(whole, third)
    assert sum(whole.network.alive.values()) < sum(whole.network.born.values()) / 2

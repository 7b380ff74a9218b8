"""Runs: learning, stopping, going on, looking on, and what is refused before the first step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import evoprune as ep

quiet = pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")


def data(n=240, features=12, classes=3, seed=0):
    """Samples in classes that a linear map tells apart."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)).astype(np.float32)
    return x, (x @ random.standard_normal((features, classes))).argmax(1)


def make(seed=1, **settings):
    """A trainer under which many die within 100 steps."""
    selection = ep.Selection(1.0, dynamics=ep.Malthusian(lifespan=40), min_age=10)
    settings = {"selection": selection, "optimizer": ep.AdamW(3e-3, decay=0.3)} | settings
    return ep.Trainer(ep.mlp(12, 24, 16, 3, seed=seed), **settings)


def fit(trainer, xy=None, epochs=10, batch=48, **settings):
    return trainer.fit(
        data() if xy is None else xy, epochs, batch, **{"progress": False, **settings}
    )


def same(a, b):
    """Two trainers have come to the same bits."""
    one, other = a.network, b.network
    assert one.alive == other.alive
    assert (one.step, one.generation) == (other.step, other.generation)
    for name in one:
        assert np.array_equal(one[name], other[name]), name
    for left, right in zip(one.moments, other.moments, strict=True):
        for name in one:
            assert np.array_equal(left[name], right[name]), name
    left, right = a.history, b.history
    assert list(left) == list(right)
    for name in set(left) - {"ms_per_step", "seconds", "held"}:
        assert np.array_equal(left[name], right[name], equal_nan=True), name
    assert np.array_equal(left.losses, right.losses)
    assert np.array_equal(left.steps, right.steps)
    for quantity in ("mass", "fitness"):
        pair = left.trajectories(quantity), right.trajectories(quantity)
        assert np.array_equal(*pair, equal_nan=True)
    rows = left.extinctions, right.extinctions
    assert all(np.array_equal(rows[0][n], rows[1][n], equal_nan=n[0] == "l" and n != "layer")
               for n in rows[0].dtype.names)  # fmt: skip


# ---- runs ------------------------------------------------------------------------------------


def test_a_network_learns_and_gets_smaller():
    selection = ep.Selection(0.3, dynamics=ep.Malthusian(lifespan=100))
    trainer = make(selection=selection)
    history = fit(trainer, epochs=60, validation=data())
    net = trainer.network
    assert history is trainer.history
    assert history["validation_accuracy"][-1] > 0.9
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert sum(net.alive.values()) < 30
    assert net.step == 60 * 5
    assert net["dense2.weight"].shape == tuple(net.alive.values())
    assert net.timing[0] > 0
    assert net.timing[1] == 48
    assert net.selection == trainer.selection
    assert net.pressure == 0.3
    assert trainer.evaluate(data()) == net.evaluate(data())
    assert trainer.predict(data()[0]).shape == (240, 3)
    assert "Malthusian(lifespan=100)" in repr(trainer)


def test_without_selection_nobody_dies():
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
    assert not np.array_equal(third.history.losses, one.history.losses)


@pytest.mark.parametrize("until", [4, 3.4, 0])
def test_stopping_and_going_on_changes_nothing(until):
    whole, parts = make(), make()
    fit(whole, validation=data(60, seed=3))
    fit(parts, validation=data(60, seed=3), until=until)
    assert parts.network.step == round(5 * until)
    parts.resume(data(), validation=data(60, seed=3), progress=False)
    same(whole, parts)
    parts.resume(data(), progress=False)  # there is nothing left to do
    assert parts.network.step == 50


@pytest.mark.parametrize("by_file", [False, True])
def test_a_state_goes_on_elsewhere(by_file, tmp_path):
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
def test_a_second_run_begins_anew_and_shuffles_on():
    trainer = make()
    first = fit(trainer, epochs=2)
    second = fit(trainer, epochs=3, record_every=5)
    assert second is not first
    assert trainer.network.step == 25
    assert second.steps.tolist() == [0, 5, 10, 15]
    assert second["epoch"].tolist() == [1, 2, 3]


def test_chunks_do_not_show(monkeypatch):
    from evoprune import _run

    one, other = make(), make()
    fit(one)
    monkeypatch.setattr(_run, "STRETCH", 1e-9)  # a step at a time
    fit(other)
    same(one, other)


@quiet
def test_zero_epochs_are_a_run():
    trainer = make()
    history = fit(trainer, epochs=0)
    assert history.epochs == 0
    assert history.steps.tolist() == [0]
    assert trainer.network.step == 0


@quiet
def test_a_last_batch_may_be_smaller():
    trainer = make()
    history = fit(trainer, data(100), epochs=2, batch=48)
    assert trainer.network.step == 6
    assert history["loss"][0] == pytest.approx(
        np.average(history.losses[:3], weights=[48, 48, 4]), rel=1e-6
    )
    fit(trainer, data(20), epochs=1, batch=48)  # fewer than a batch


def test_data_sets_are_read_as_they_say():
    x, y = data()
    train = ep.datasets.arrays(100 * x + 7, y, normalise="global")
    trainer = make()
    fit(trainer, train, validation=train.subset(np.arange(0, 240, 7)))
    shift, scale = trainer.network.input_scaling
    assert float(shift) == pytest.approx(train.shift)
    assert float(scale) == pytest.approx(train.scale)
    part, held_out = train.split(40)
    fit(trainer, part, validation=held_out)
    with pytest.raises(ValueError, match=r"validation: data is to be read as \(x - 0\)"):
        fit(trainer, train, validation=ep.datasets.arrays(x, y))


def test_values_can_be_learned():
    x, _ = data()
    trainer = ep.Trainer(
        ep.mlp(12, 16, 2),
        loss="mean_squared_error",
        optimizer=ep.SGD(0.05),
        selection=None,
    )
    history = fit(trainer, (x, x[:, :2]), epochs=20, validation=(x, x[:, :2]))
    assert history["validation_loss"][-1] < 0.5 * history["validation_loss"][0]
    assert np.isnan(history["accuracy"]).all()


# ---- batches that an iterable gives ----------------------------------------------------------


class Batches:
    """Batches of 48, the same every epoch; counts how often it was begun."""

    def __init__(self, xy, length=5):
        self.xy, self.length, self.begun = xy, length, 0

    def __len__(self):
        return self.length

    def __iter__(self):
        self.begun += 1
        x, y = self.xy
        for at in range(0, len(x), 48):
            yield [x[at : at + 48], y[at : at + 48]]


def test_an_iterable_of_batches_is_as_good():
    one, other = make(), make()
    fit(one, shuffle=False)
    batches = Batches(data())
    history = fit(other, batches)
    assert batches.begun == 10
    same(one, other)
    assert history.per_epoch == 5


def test_an_iterable_can_be_taken_up_again():
    one, other = make(), make()
    fit(one, Batches(data()))
    fit(other, Batches(data()), until=2.6)
    other.resume(Batches(data()), progress=False)
    same(one, other)


@quiet
def test_an_iterable_says_its_length_or_is_told():
    endless = (batch for _ in range(100) for batch in Batches(data()))
    fit(make(), endless, epochs=2, steps=7)
    with pytest.raises(ValueError, match="steps: must be given"):
        fit(make(), (batch for batch in ()))
    with pytest.raises(ValueError, match="expected 6 batches an epoch, got 5"):
        fit(make(), Batches(data(), 6))
    with pytest.raises(ValueError, match="at least one batch"):
        fit(make(), [])


@quiet
def test_an_epoch_can_be_given_a_length():
    one, other = make(), make()
    fit(one, epochs=3, batch=48)  # 5 batches go once through the data
    history = fit(other, epochs=5, batch=48, steps=3)
    assert (history.per_epoch, history.steps_done) == (3, 15)
    assert np.array_equal(one.history.losses, history.losses)  # the same samples in the same order
    third = make()
    fit(third, epochs=5, batch=48, steps=3, until=2.5)
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
    history = fit(trainer, (x, y), epochs=1, validation=(x, y))
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


def test_chosen_rows_are_drawn_without_a_copy():
    x, y = data(n=300)
    whole = ep.datasets.arrays(x, y)
    part, rest = whole.split(60, seed=4)
    one, other = make(), make()
    fit(one, part, validation=rest)
    fit(other, part.batch(), validation=rest.batch())
    same(one, other)
    assert one.evaluate(rest) == other.evaluate(rest.batch())


@pytest.mark.parametrize("batches", [False, True])
def test_losses_before_a_failure_are_kept(batches):
    def failing(mass, fitness):
        if trainer.network.generation == 7:
            raise RuntimeError("enough")
        return mass

    trainer = make(selection=ep.Selection(dynamics=failing, min_age=0))
    with pytest.raises(RuntimeError, match="enough"):
        fit(trainer, Batches(data()) if batches else None)
    assert trainer.network.step == trainer.history.steps_done == 7
    assert np.isfinite(trainer.history.losses).all()


# ---- looking on ------------------------------------------------------------------------------


class Log(ep.Callback):
    def __init__(self, stop_at=None):
        self.events, self.dead, self.stop_at = [], 0, stop_at

    def on_fit_begin(self, trainer):
        self.events.append("begin")

    def on_epoch_end(self, trainer, row):
        self.events.append(row["epoch"])
        assert row["loss"] == trainer.history["loss"][-1]
        if row["epoch"] == self.stop_at:
            trainer.stop()

    def on_extinction(self, trainer, deaths):
        self.dead += len(deaths)

    def on_fit_end(self, trainer, history):
        self.events.append("end")


def test_callbacks_hear_of_everything():
    trainer, log = make(), Log()
    history = fit(trainer, callbacks=[log])
    assert log.events == ["begin", *range(1, 11), "end"]
    assert log.dead == len(history.extinctions) > 0


def test_a_callback_may_stop_the_run():
    trainer, log = make(), Log(stop_at=3)
    history = fit(trainer, callbacks=[log])
    assert log.events == ["begin", 1, 2, 3, "end"]
    assert not history.interrupted
    assert trainer.network.step == 15
    trainer.resume(data(), progress=False)
    whole = make()
    fit(whole)
    same(whole, trainer)


def test_an_exception_in_a_callback_leaves_all_whole():
    class Fails(ep.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 4:
                raise RuntimeError("no more")

    trainer = make()
    with pytest.raises(RuntimeError, match="no more"):
        fit(trainer, callbacks=[Fails()])
    assert trainer.network.step == 20
    assert trainer.history.epochs == 4
    trainer.resume(data(), progress=False)
    whole = make()
    fit(whole)
    same(whole, trainer)


def test_early_stopping():
    stopping = ep.EarlyStopping("loss", patience=2, least=10.0)
    trainer = make()
    history = fit(trainer, callbacks=[stopping])
    assert history.epochs == 3
    assert stopping.best_epoch == 1
    restoring = ep.EarlyStopping("loss", patience=2, least=10.0, restore=True)
    trainer = make()
    fit(trainer, callbacks=[restoring])
    assert trainer.network.step == 5
    with pytest.raises(KeyError, match=r"no column 'validation_loss'.*no validation data"):
        fit(make(), callbacks=[ep.EarlyStopping()])
    with pytest.raises(ValueError, match="patience"):
        ep.EarlyStopping(patience=0)


def test_checkpoints_are_whole_states(tmp_path):
    trainer = make()
    keep = ep.Checkpoint(tmp_path / "at{epoch}.safetensors", every=4)
    fit(trainer, callbacks=[keep])
    assert {p.name for p in tmp_path.iterdir()} == {f"at{n}.safetensors" for n in (4, 8, 10)}
    other = make()
    other.restore(tmp_path / "at4.safetensors")
    other.resume(data(), progress=False)
    same(trainer, other)
    assert ep.load(tmp_path / "at10.safetensors").alive == trainer.network.alive
    trainer.network.save(tmp_path / "plain.safetensors")
    with pytest.raises(ep.FileFormatError, match="without the state of a trainer"):
        other.restore(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="same spec"):
        ep.Trainer(ep.mlp(12, 5, 3)).restore(tmp_path / "at4.safetensors")


def test_a_log_of_lines(tmp_path):
    trainer = make()
    history = fit(trainer, callbacks=[ep.JSONLLogger(tmp_path / "log.jsonl")])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == history["epoch"].tolist()
    dead = [line for line in lines if line["event"] == "extinction"]
    assert [line["birth"] for line in dead] == history.extinctions["birth"].tolist()


@quiet
def test_the_bar_says_how_it_goes(capsys):
    trainer = make()
    trainer.fit(data(), 4, 48, validation=data())
    text = capsys.readouterr().err
    assert "loss" in text
    assert "alive" in text
    assert "20/20" in text


# ---- Ctrl-C ----------------------------------------------------------------------------------


class Strike(ep.Callback):
    """Ctrl-C, at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, row):
        if row["epoch"] == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_stops_and_leaves_all_whole():
    trainer = make()
    history = fit(trainer, callbacks=[Strike(3)])
    assert history.interrupted
    assert "interrupted" in repr(history)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert trainer.network.step == 15
    trainer.resume(data(), progress=False)
    assert not trainer.history.interrupted
    whole = make()
    fit(whole)
    same(whole, trainer)


def test_a_second_ctrl_c_is_an_exception():
    class Twice(Strike):
        def on_fit_end(self, trainer, history):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(make(), callbacks=[Twice(2)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_works_outside_the_main_thread():
    trainer, found = make(), []
    thread = threading.Thread(target=lambda: found.append(fit(trainer)))
    thread.start()
    thread.join()
    assert found[0].epochs == 10


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"epochs": -1}, ValueError, "epochs: expected a whole number from 0"),
        ({"epochs": 2.5}, TypeError, "epochs: expected a whole number, got 2.5"),
        ({"batch": 0}, ValueError, "batch: expected a whole number from 1"),
        ({"record_every": 0}, ValueError, "record_every"),
        ({"xy": "mnist"}, TypeError, "data: expected a data set"),
        ({"xy": np.zeros((3, 12))}, TypeError, "data: expected a data set"),
        ({"xy": (np.zeros((0, 12)), np.zeros(0, int))}, ValueError, "data: expected at least one"),
        ({"xy": (data()[0][:9], data()[1])}, ValueError, "y: expected as many rows"),
        ({"xy": (data()[0], data()[1] + 1)}, ValueError, "y: labels must be in"),
        ({"validation": (data()[0], data()[1] - 1)}, ValueError, "y: labels must be in"),
        ({"validation": 3}, TypeError, "validation: expected a data set"),
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
    with pytest.raises(ValueError, match="there is no run to go on with"):
        ep.Trainer(net).resume(data())
    trainer = make()
    fit(trainer, until=1)
    with pytest.raises(ValueError, match="expected 5 batches an epoch"):
        trainer.resume(data(100))


@pytest.mark.parametrize(
    ("selection", "epochs", "text"),
    [
        (ep.Selection(0.0), 300, "pressure is 0"),
        (ep.Selection(dynamics="none"), 300, "dynamics is none"),
        (ep.Selection(), 10, "min_age"),
        (ep.Selection(), 100, "lifespan"),
    ],
)
def test_it_is_said_aloud_when_nobody_can_die(selection, epochs, text):
    with pytest.warns(ep.NothingCanDie, match=text):
        fit(make(selection=selection), epochs=epochs, until=0)


def test_it_is_said_aloud_when_there_is_nobody():
    net = ep.Sequential([ep.Dense(3)], input=12)
    with pytest.warns(ep.NothingCanDie, match="no populations"):
        fit(ep.Trainer(net), epochs=300, until=0)


def test_a_loss_that_is_not_finite_stops_the_run():
    x, y = data()
    x[200:] = np.nan
    trainer = make()
    with pytest.raises(ep.Diverged, match="not finite") as caught:
        fit(trainer, (x, y), shuffle=False)
    assert caught.value.step == trainer.network.step == 4
    assert all(np.isfinite(array).all() for _, array in trainer.network.items())
    assert trainer.history.steps_done == 4
    trainer.resume(data(), progress=False)
    assert trainer.network.step == 50


# ---- laws in Python --------------------------------------------------------------------------


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
    history = fit(trainer)
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
def test_a_law_that_gives_nonsense_ends_the_run(law):
    with pytest.raises(ValueError, match="dynamics"):
        fit(make(selection=ep.Selection(dynamics=law, min_age=10)))


# ---- the package -----------------------------------------------------------------------------


def test_importing_is_quick_and_light():
    code = """
        import sys, time
        begin = time.perf_counter()
        import evoprune
        took = time.perf_counter() - begin
        heavy = {"matplotlib", "tqdm", "safetensors", "pandas", "sklearn"} & set(sys.modules)
        print(took, heavy)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    took, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "set()"
    assert float(took) < 1.5  # 0.3 s on a machine with nothing else to do

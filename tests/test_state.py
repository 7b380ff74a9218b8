"""The state of a trainer: callbacks, copies, pickle, files; resumed runs equal whole runs."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import resident
from scripts import run
from trainers import data, fit, make, quiet, same

import evoprune as ep

VALIDATION = data(60, seed=3)


def noise():
    """Return data and validation data with random labels, so that overfitting begins early."""
    random = np.random.default_rng(0)
    draw = lambda: (random.normal(size=(40, 5)), random.integers(0, 2, 40))  # noqa: E731
    return draw(), draw()


def stopping_run(cut, reload=False, by_file=None):
    """Return trainer and `EarlyStopping` of a run that is stopped after `cut` epochs and resumed.

    It is resumed with a new callback if `reload`, and by a new trainer that reads the file
    `by_file` if that is given. It is not stopped if `cut` is None.
    """
    xy, held = noise()
    stop = ep.EarlyStopping(patience=3, restore=True)
    make_trainer = lambda: ep.Trainer(  # noqa: E731
        ep.mlp(5, 64, 2), selection=None, optimizer=ep.AdamW(1e-2)
    )
    trainer = make_trainer()
    settings = {"validation_data": held, "progress": False}
    trainer.fit(xy, epochs=30, batch_size=40, until=cut, callbacks=[stop], **settings)
    if cut is not None:
        if by_file is not None:
            trainer.save(by_file)
            trainer = make_trainer()
            trainer.restore(by_file)
        if reload:
            stop = ep.EarlyStopping(patience=3, restore=True)
        trainer.resume(xy, callbacks=[stop], **settings)
    return trainer, stop


@pytest.mark.parametrize("how", ["same", "new", "file"])
@pytest.mark.parametrize("cut", [0, 1, 3, 4.5])
def test_early_stopping_survives_a_stop(how, cut, tmp_path):
    whole, before = stopping_run(None)
    path = tmp_path / "state.safetensors" if how == "file" else None
    parts, after = stopping_run(cut, how != "same", path)
    losses = whole.history["validation_loss"]
    best = int(np.argmin(losses))  # the first lowest value; three more epochs follow (patience)
    assert len(losses) == best + 4
    assert best > 0
    assert (before.best, before.best_epoch) == (losses[best], best + 1)
    assert (after.best, after.best_epoch) == (before.best, before.best_epoch)
    same(whole, parts)
    assert whole.network.step == best + 1  # one batch an epoch: the best network is restored


def test_a_resumed_run_continues_from_the_last_network():
    trainer, _ = stopping_run(None)
    epochs = trainer.history.epochs_done
    trainer.resume(noise()[0], progress=False, until=epochs + 1)
    assert trainer.network.step == epochs + 1


def test_a_run_out_of_patience_stays_stopped(tmp_path):
    trainer, _ = stopping_run(None)
    trainer.save(tmp_path / "end.safetensors")
    other = ep.Trainer(ep.mlp(5, 64, 2), selection=None, optimizer=ep.AdamW(1e-2))
    other.restore(tmp_path / "end.safetensors")
    xy, held = noise()
    stop = ep.EarlyStopping(patience=3, restore=True)
    settings = {"validation_data": held, "progress": False}
    other.resume(xy, callbacks=[stop], **settings)
    same(trainer, other)


def test_a_monitor_that_is_never_a_number_stops_the_run():
    x = noise()[0][0]
    stop = ep.EarlyStopping(monitor="validation_accuracy", patience=2)
    trainer = ep.Trainer(ep.mlp(5, 8, 1), loss="mean_squared_error", selection=None)
    pair = (x, x[:, :1])
    with pytest.warns(UserWarning, match="validation_accuracy was never a finite number"):
        trainer.fit(pair, validation_data=pair, epochs=30, callbacks=[stop], progress=False)
    assert trainer.history.epochs_done == 2
    assert np.isnan(stop.best)


def test_min_delta_and_its_former_name():
    rows = [{"epoch": i + 1.0, "loss": v} for i, v in enumerate([1.0, 0.95, 0.89, 0.88, 0.8])]
    stop = ep.EarlyStopping("loss", patience=3, min_delta=0.1)
    assert [stop.improves(row) for row in rows] == [True, False, True, False, False]
    with pytest.warns(DeprecationWarning, match="now called min_delta"):
        assert ep.EarlyStopping("loss", least=0.1).min_delta == 0.1


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_order_of_callbacks_does_not_matter(order, tmp_path):
    """In any order, a state written by a checkpoint resumes exactly."""

    def callbacks(name):
        made = [
            ep.EarlyStopping("loss", patience=2, min_delta=0.05, restore=True),
            ep.Checkpoint(tmp_path / f"{name}-{{epoch}}.safetensors"),
            ep.Checkpoint(tmp_path / f"{name}-best.safetensors", monitor="loss", best_only=True),
        ]
        return made[order:] + made[:order]

    whole = make()
    fit(whole, callbacks=callbacks("whole"), epochs=15)
    best = 1 + int(np.argmin(whole.history["loss"]))
    for epoch in range(1, whole.history.epochs_done + 1):
        other = make()
        other.restore(tmp_path / f"whole-{epoch}.safetensors")
        other.resume(data(), progress=False, callbacks=callbacks("part"))
        same(whole, other)
    assert ep.load(tmp_path / "whole-best.safetensors").step == 5 * best


def test_callbacks_are_checked():
    for bad, text in [
        (ep.EarlyStopping, r"callbacks: expected EarlyStopping\(\.\.\.\), got the class"),
        ([ep.EarlyStopping], r"callbacks\[0\]: expected EarlyStopping\(\.\.\.\), got the class"),
        ([ep.EarlyStopping("loss"), None], r"callbacks\[1\]: expected a Callback, got None"),
        (3, "callbacks: expected a list of callbacks, got 3"),
        ("loss", "callbacks: expected a list"),
    ]:
        trainer = make()
        with pytest.raises(TypeError, match=text):
            fit(trainer, callbacks=bad)
        assert trainer.history is None


def test_a_run_cannot_begin_during_a_run():
    seen = []

    class Meddles(ep.Callback):
        def on_epoch_end(self, trainer, row):
            for call in (
                lambda: trainer.fit(data(), progress=False),
                lambda: trainer.resume(data(), progress=False),
                lambda: trainer.restore(trainer.state()),
            ):
                with pytest.raises(RuntimeError, match="a run is in progress"):
                    call()
                seen.append(row["epoch"])

    meddled, quiet_one = make(), make()
    fit(meddled, callbacks=[Meddles()])
    fit(quiet_one)
    assert len(seen) == 30
    same(meddled, quiet_one)


def test_a_network_may_become_another_within_a_run():
    class Becomes(ep.Callback):
        def on_epoch_end(self, trainer, row):
            trainer.network.become(trainer.network.copy())

    changed, whole = make(), make()
    fit(changed, callbacks=[Becomes()])
    fit(whole)
    same(changed, whole)


@pytest.mark.parametrize("until", [-1, np.nan, np.inf])
def test_until_is_checked(until):
    trainer = make()
    with pytest.raises(ValueError, match="until: expected a number from 0"):
        fit(trainer, until=until)
    assert trainer.history is None


def test_other_data_is_refused_when_a_run_is_resumed():
    trainer = make()
    fit(trainer, until=1)
    with pytest.raises(ValueError, match="expected 240 samples"):
        trainer.resume(data(230), progress=False)


# ---- copies ------------------------------------------------------------------------------------

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "cloudpickle": lambda thing: pickle.loads(pytest.importorskip("cloudpickle").dumps(thing)),
}


def by_joblib(thing, tmp_path):
    joblib = pytest.importorskip("joblib")
    joblib.dump(thing, tmp_path / "thing.joblib")
    return joblib.load(tmp_path / "thing.joblib")


@pytest.fixture(params=[*COPIES, "joblib"])
def duplicate(request, tmp_path):
    if request.param == "joblib":
        return lambda thing: by_joblib(thing, tmp_path)
    return COPIES[request.param]


def test_copies_of_a_network_are_equal_and_independent(duplicate):
    trainer = make()
    fit(trainer)
    net = trainer.network
    net.notes["about"] = {"score": 0.5}
    other = duplicate(net)
    for name in net:
        assert np.array_equal(net[name], other[name]), name
    for one, two in zip(net.moments, other.moments, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in net)
    assert (net.step, net.alive, net.spec) == (other.step, other.alive, other.spec)
    assert (net.selection, net.pressure) == (other.selection, other.pressure)
    assert np.array_equal(net.predict(data()[0]), other.predict(data()[0]))
    before = net["dense1.weight"].copy()
    other["dense1.weight"] += 1
    other.notes["about"]["score"] = 0.7
    assert np.array_equal(net["dense1.weight"], before)
    assert net.notes == {"about": {"score": 0.5}}


def test_copies_of_a_trainer_continue_identically(duplicate):
    whole, trainer = make(), make()
    settings = {"validation_data": VALIDATION}
    stop = [ep.EarlyStopping(patience=9, restore=True)]
    fit(whole, callbacks=[ep.EarlyStopping(patience=9, restore=True)], **settings)
    fit(trainer, until=3.4, callbacks=stop, **settings)
    other = duplicate(trainer)
    for each in (trainer, other):
        again = [ep.EarlyStopping(patience=9, restore=True)]
        each.resume(data(), progress=False, callbacks=again, **settings)
        same(whole, each)


def test_copies_of_histories_selections_data_and_callbacks(duplicate):
    trainer = make()
    history = fit(trainer)
    again = duplicate(history)
    assert all(np.array_equal(history[n], again[n], equal_nan=True) for n in history)
    assert np.array_equal(history.extinctions, again.extinctions)
    again.add_epoch({"epoch": 11.0})
    assert history.epochs_done == 10
    assert duplicate(trainer.selection) == trainer.selection
    assert duplicate(ep.AdamW(ep.schedules.warmup(1e-3))) == ep.AdamW(ep.schedules.warmup(1e-3))
    d = ep.datasets.arrays(*data()).subset(slice(5, 20))
    assert np.array_equal(duplicate(d).x, d.x)
    assert len(duplicate(d)) == 15
    stop = ep.EarlyStopping("loss", patience=4, restore=True)
    fit(make(), callbacks=[stop])
    assert duplicate(stop).best == stop.best
    assert duplicate(ep.Checkpoint("at-{epoch:02d}")).path == "at-{epoch:02d}"


LAWS = """
import multiprocessing, pickle, copy
import numpy as np
import evoprune as ep

@ep.fitness
def mine(signals):
    return -signals["mass"] * signals["mass_gradient"]

@ep.dynamics
def grow(mass, fitness, upkeep):
    return mass * np.exp(np.clip(fitness - upkeep, -0.1, 0.1))

def plain(mass, fitness):
    return mass

def use(law):
    return law.__name__

if __name__ == "__main__":
    for law in (mine, grow, ep.dynamics(plain)):
        again = pickle.loads(pickle.dumps(law))
        assert again == law and copy.deepcopy(law) == law, law
    selection = ep.Selection(0.1, dynamics=grow, fitness=mine)
    assert pickle.loads(pickle.dumps(selection)) == selection
    trainer = ep.Trainer(ep.mlp(4, 6, 2), selection=selection)
    copy.deepcopy(trainer)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(use, [mine, grow, ep.dynamics(plain)]))
"""


def test_laws_in_python_are_pickled_by_reference(tmp_path):
    from scripts import run_file

    file = tmp_path / "laws.py"
    file.write_text(LAWS)
    assert run_file(file) == "['mine', 'grow', 'plain']\n"


def test_local_laws_are_pickled_by_value_with_cloudpickle():
    cloudpickle = pytest.importorskip("cloudpickle")

    @ep.fitness
    def local(signals):
        return 2 * signals["mass"]

    again = pickle.loads(cloudpickle.dumps(local))
    assert np.array_equal(again({"mass": np.ones(2)}), [2, 2])


def test_a_pickled_trainer_continues_in_another_process(tmp_path):
    whole, trainer = make(), make()
    fit(whole)
    fit(trainer, until=3.4)
    (tmp_path / "trainer.pickle").write_bytes(pickle.dumps(trainer))
    run(
        """
        import pickle, sys
        from trainers import data
        trainer = pickle.loads(open(sys.argv[1] + "/trainer.pickle", "rb").read())
        trainer.resume(data(), progress=False)
        trainer.save(sys.argv[1] + "/end.safetensors")
        """,
        str(tmp_path),
    )
    other = make()
    other.restore(tmp_path / "end.safetensors")
    same(whole, other)


# ---- errors change nothing -----------------------------------------------------------------------


def test_restore_is_all_or_nothing():
    trainer, other = make(), make(seed=1)
    fit(trainer, until=3)
    fit(other, until=2)
    good = other.state()
    for harm in (
        {"run": {**good["run"], "epochs": "many"}},
        {"run": {**good["run"], "done": 7}},
        {"run": {"epochs": 3}},
        {"run": {**good["run"], "validation_split": {"a": 1}}},
        {"run": {**good["run"], "validation_split": 1.5}},
        {"history": good["history"][:-50]},
        {"history": None},
        {"batches": 1.5},
        {"network": 3},
        {"standing": ep.mlp(12, 3, 3)},
    ):
        before, step = trainer.network.copy(), trainer.network.step
        with pytest.raises((ValueError, TypeError), match="."):
            trainer.restore(good | harm)
        assert trainer.network.step == step
        assert all(np.array_equal(before[n], trainer.network[n]) for n in before)
    whole = make()
    fit(whole)
    trainer.resume(data(), progress=False)
    same(whole, trainer)


class SavedAtExtinctions(ep.Callback):
    """A callback that writes the whole state at each extinction, into files of a folder."""

    def __init__(self, folder):
        self.folder = folder

    def on_extinction(self, trainer, deaths):
        trainer.save(self.folder / f"{trainer.network.step}")


@quiet
@pytest.mark.parametrize(("epochs", "batch"), [(12, 48), (60, 240)])
def test_a_state_saved_at_an_extinction_ends_like_the_uninterrupted_run(tmp_path, epochs, batch):
    """This also holds at the last step of an epoch, before the history gets the epoch's row."""
    whole, per_epoch = make(seed=4), 240 // batch
    settings = {"epochs": epochs, "batch": batch, "validation_data": VALIDATION}
    fit(whole, callbacks=[SavedAtExtinctions(tmp_path)], **settings)
    steps = sorted(int(path.name) for path in tmp_path.iterdir())
    at_ends = [step for step in steps if step % per_epoch == 0]
    assert len(at_ends) > 1
    for step in {steps[0], *at_ends[:3], at_ends[-1]}:
        trainer = make(seed=4)
        trainer.restore(tmp_path / f"{step}")
        trainer.resume(data(), validation_data=VALIDATION, progress=False)
        same(whole, trainer)


# ---- very long runs ------------------------------------------------------------------------------


@quiet
def test_a_run_of_two_thousand_million_epochs_needs_little_memory():
    trainer, other = make(), make()
    resident.forget()
    before = resident.peak()
    fit(trainer, epochs=2**31 - 1, until=2)
    assert resident.peak() - before < 100_000  # KiB
    assert trainer.network.step == 10
    # The first steps of such a long run have the initial rate, like a constant schedule.
    rate = trainer.optimizer.learning_rate
    other.optimizer = ep.AdamW(
        ep.schedules.constant(rate), weight_decay=trainer.optimizer.weight_decay
    )
    other._configure()
    fit(other, epochs=2)
    assert np.array_equal(trainer.history.batch_losses, other.history.batch_losses)


@pytest.mark.parametrize("steps", [1, 7, 65_535, 65_536, 200_001])
@pytest.mark.parametrize(
    "schedule",
    [
        ep.schedules.cosine(3e-3, 1e-5),
        ep.schedules.warmup(ep.schedules.cosine(0.7), 0.3),
        ep.schedules.linear(0.1, 0.9),
        ep.schedules.warmup(ep.schedules.constant(2.0), 1.0),
        ep.schedules.cosine(0.0, 0.2),
    ],
)
def test_a_schedule_by_blocks_equals_the_whole_one(schedule, steps):
    from evoprune.training.pace import Numbers

    whole, numbers = schedule(steps), Numbers("rate", schedule, steps)
    random = np.random.default_rng(0)
    cuts = sorted({0, steps, *random.integers(0, steps + 1, 5).tolist()})
    parts = [numbers.cut(a, b) for a, b in pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert numbers.highest() == whole.max()

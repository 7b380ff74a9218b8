"""Observing a run: callbacks, the files they write, the progress bar, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from trainers import data, fit, make, quiet, same

import evoprune as ep

# ---- callbacks and the progress bar ------------------------------------------------------------


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


def test_callbacks_are_called_for_every_event():
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


def test_an_exception_in_a_callback_leaves_a_consistent_state():
    class Fails(ep.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 4:
                raise RuntimeError("no more")

    trainer = make()
    with pytest.raises(RuntimeError, match="no more"):
        fit(trainer, callbacks=[Fails()])
    assert trainer.network.step == 20
    assert trainer.history.epochs_done == 4
    trainer.resume(data(), progress=False)
    whole = make()
    fit(whole)
    same(whole, trainer)


def test_early_stopping():
    stopping = ep.EarlyStopping("loss", patience=2, min_delta=10.0)
    trainer = make()
    history = fit(trainer, callbacks=[stopping])
    assert history.epochs_done == 3
    assert stopping.best_epoch == 1
    restoring = ep.EarlyStopping("loss", patience=2, min_delta=10.0, restore=True)
    trainer = make()
    fit(trainer, callbacks=[restoring])
    assert trainer.network.step == 5
    with pytest.raises(KeyError, match=r"no column 'validation_loss'.*no validation data"):
        fit(make(), callbacks=[ep.EarlyStopping()])
    with pytest.raises(ValueError, match="patience"):
        ep.EarlyStopping(patience=0)


def test_checkpoints_are_complete_states(tmp_path):
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
def test_the_bar_shows_progress(capsys):
    trainer = make()
    trainer.fit(data(), epochs=4, batch_size=48, validation_data=data())
    text = capsys.readouterr().err
    assert "loss" in text
    assert "alive" in text
    assert "20/20" in text


# ---- Ctrl-C ------------------------------------------------------------------------------------


class Strike(ep.Callback):
    """A callback that raises SIGINT at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, row):
        if row["epoch"] == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_stops_and_leaves_a_consistent_state():
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
    assert found[0].epochs_done == 10

"""Runs watched live: one display that is replaced, seldom enough; a table where there is none."""

from __future__ import annotations

import io
import sys
import time
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest

import evoprune as ep
from evoprune import live


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((240, 12)).astype(np.float32)
    return x, (x @ random.standard_normal((12, 3))).argmax(1)


def trainer():
    selection = ep.Selection(1.0, dynamics=ep.Malthusian(lifespan=60), min_age=20)
    return ep.Trainer(ep.mlp(12, 24, 16, 3), selection=selection)


class Notebook:
    """What a notebook's kernel would show."""

    def __init__(self, monkeypatch):
        self.shown = []
        handle = SimpleNamespace(update=lambda content, raw: self.shown.append(content))
        display = SimpleNamespace(display=lambda *_, **__: handle)
        module = SimpleNamespace(
            get_ipython=lambda: SimpleNamespace(kernel=object()), display=display
        )
        monkeypatch.setitem(sys.modules, "IPython", module)


def test_one_display_is_replaced(data, monkeypatch, capsys):
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr(live, "LEAST", 0.0)
    monkeypatch.setattr(live, "SHARE", 1)
    history = trainer().fit(data, 30, 40, validation=data, live=True)
    assert len(notebook.shown) > 2
    last = notebook.shown[-1]
    assert last["text/plain"] == repr(history)
    root = ET.fromstring(last["image/svg+xml"])
    text = " ".join(root.itertext())
    assert "epoch 30.0 of 30" in text
    for title in ("Loss", "Accuracy", "Living", "Mass"):
        assert title in text
    assert "script" not in last["image/svg+xml"]
    assert capsys.readouterr() == ("", "")  # no bar, no table


def test_a_terminal_gets_a_table(data, capsys):
    with pytest.warns(ep.NothingCanDie):
        history = trainer().fit(data, 3, 40, validation=data, live=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["epoch", "loss", "accuracy", "held", "out", "living", "ms/step"]
    assert lines[-1].split()[:2] == ["3", f"{history['loss'][-1]:.4f}"]
    assert "24 + 16" in lines[-1]


def test_a_network_without_populations_is_shown_too(capsys):
    x, y = np.zeros((20, 4), np.float32), np.zeros((20, 2), np.float32)
    ep.Trainer(ep.mlp(4, 2), loss="mean_squared_error", selection=None).fit((x, y), 2, live=True)
    assert capsys.readouterr().out.splitlines()[1].split()[2:5] == ["-", "-", "-"]


def test_drawing_is_held_back():
    shown = []
    view = live.Live(shown.append)
    history = ep.History(("a",), (2,), per_epoch=10)
    run = SimpleNamespace(total=100, done=0, per_epoch=10, epochs=10)
    watch = SimpleNamespace(seconds_a_step=1e-3)
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.5:
        view.show(history, run, watch, None)
    assert 1 <= len(shown) <= 3
    assert view.seconds < 0.5
    with view:
        pass
    assert len(shown) == view.drawings <= 4  # the last state is always drawn


@pytest.mark.parametrize("history", [ep.History(), ep.History(("a", "b"), (3, 1))])
def test_nothing_yet_can_be_drawn(history):
    ET.fromstring(live.picture(history, "a < b & c"))


def test_a_big_run_is_drawn_quickly_and_small():
    net = ep.mlp(4, 512, 256, 2)
    history = ep.History(tuple(net.born), tuple(net.born.values()), per_epoch=10)
    for step in range(400):
        history.record(step, net, 0.9)
    history.add_steps(*np.ones((3, 400)))
    live.picture(history)
    begin = time.process_time()
    svg = live.picture(history)
    assert time.process_time() - begin < 0.1  # about 5 ms
    assert len(svg) < 150_000


def test_a_stop_keeps_what_there_is(data, capsys):
    class Stop(ep.Callback):
        def on_epoch_end(self, trainer, row):
            import signal

            signal.raise_signal(signal.SIGINT)

    history = trainer().fit(data, 30, 40, live=True, callbacks=[Stop()])
    assert history.interrupted
    assert history.epochs == 1
    assert "interrupted after 6 of 180 steps" in capsys.readouterr().out


def test_the_table_may_go_elsewhere():
    out = io.StringIO()
    view = live.Live(out=out)
    history = ep.History()
    history.add_epoch({"epoch": 1, "loss": 0.5, "ms_per_step": 0.1})
    view.show(history, None, None, None)
    view.show(history, None, None, None)
    assert out.getvalue().count("\n") == 2

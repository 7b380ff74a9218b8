"""Live views: one display that is updated at intervals; a table where there is no display."""

from __future__ import annotations

import io
import sys
import time
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
from trainers import data, fit, make, quiet

import evoprune as ep
from evoprune.training import live


class Notebook:
    """Collects what a notebook's kernel would show."""

    def __init__(self, monkeypatch):
        self.shown = []
        handle = SimpleNamespace(update=lambda content, raw: self.shown.append(content))
        display = SimpleNamespace(display=lambda *_, **__: handle)
        module = SimpleNamespace(
            get_ipython=lambda: SimpleNamespace(kernel=object()), display=display
        )
        monkeypatch.setitem(sys.modules, "IPython", module)


def test_one_display_is_replaced(monkeypatch, capsys):
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr(live, "LEAST", 0.0)
    monkeypatch.setattr(live, "SHARE", 1)
    history = fit(make(), epochs=30, validation_data=data(), live=True)
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


@quiet
def test_a_terminal_gets_a_table(capsys):
    history = fit(make(), epochs=3, validation_data=data(), live=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    head = ["epoch", "loss", "accuracy", "validation", "living", "upkeep", "ms/step"]
    assert lines[0].split() == head
    assert lines[-1].split()[:2] == ["3", f"{history['loss'][-1]:.4f}"]
    assert "24 + 16" in lines[-1]


def test_a_network_without_populations_is_shown_too(capsys):
    x, y = np.zeros((20, 4), np.float32), np.zeros((20, 2), np.float32)
    trainer = ep.Trainer(ep.mlp(4, 2), loss="mean_squared_error", selection=None)
    trainer.fit((x, y), epochs=2, live=True)
    assert capsys.readouterr().out.splitlines()[1].split()[2:5] == ["-", "-", "-"]
    trainer.fit((x, y), epochs=1, validation_data=(x, y), live=True)
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[2:5] == ["-", f"{trainer.history['validation_loss'][0]:.4f}", "-"]


@quiet
def test_a_language_model_is_judged_by_its_perplexity(capsys):
    book = ep.datasets.Text("one and two and three\n" * 60, context=8)
    net = ep.charlm(book.vocabulary, book.context, dim=8, layers=3, heads=2)
    history = ep.Trainer(net).fit(
        book.train, epochs=1, batch_size=16, steps=3, validation_data=book.validation, live=True
    )
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[2:5] == ["accuracy", "perplexity", "living"]
    assert line.split()[4] == f"{np.exp(history['validation_loss'][0]):.3f}"
    # With more than four layers, living populations are added up by kind of layer.
    assert " heads 6 + neurons 96 " in line


@quiet
def test_the_table_is_a_callback_too():
    out = io.StringIO()
    history = fit(make(), epochs=2, callbacks=[live.Table(out)])
    head, *lines = out.getvalue().splitlines()
    assert head.split()[0] == "epoch"
    assert [float(line.split()[1]) for line in lines] == history["loss"].round(4).tolist()
    assert len({len(line) for line in (head, *lines)}) == 1


@quiet
def test_the_table_continues_when_a_run_is_resumed(capsys):
    trainer = make()
    fit(trainer, epochs=4, until=2.5, live=True)
    assert len(capsys.readouterr().out.splitlines()) == 3
    trainer.resume(data(), live=True)
    epochs = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert epochs == ["epoch", "1", "2", "3", "4"]  # after other output, the whole table is printed


def test_drawing_is_limited():
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
def test_a_run_without_records_can_be_drawn(history):
    ET.fromstring(live.picture(history, "a < b & c"))


def test_a_big_run_is_drawn_quickly_and_small():
    net = ep.mlp(4, 512, 256, 2)
    history = ep.History(tuple(net.born), tuple(net.born.values()), per_epoch=10)
    for step in range(400):
        history.record(step, net)
    history.add_steps(*np.ones((3, 400)))
    live.picture(history)
    begin = time.process_time()
    svg = live.picture(history)
    assert time.process_time() - begin < 0.1  # about 5 ms
    assert len(svg) < 150_000


def test_a_stop_keeps_the_display(capsys):
    class Stop(ep.Callback):
        def on_epoch_end(self, trainer, row):
            import signal

            signal.raise_signal(signal.SIGINT)

    history = fit(make(), epochs=30, live=True, callbacks=[Stop()])
    assert history.interrupted
    assert history.epochs_done == 1
    assert "interrupted after 5 of 150 steps" in capsys.readouterr().out

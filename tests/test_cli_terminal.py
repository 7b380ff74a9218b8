"""Output of the command line fits a terminal of 80 columns or fewer, and is complete."""

from __future__ import annotations

import csv
import os
import re
import struct
import sys

import pytest
from shells import TRAIN, env, make_folder, make_run

import evoprune as ep
from evoprune.shell import cli, screen

pty = pytest.importorskip("pty")  # not on Windows
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("little"))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return make_run(folder, tmp_path_factory.mktemp("out"))[1]


def at_terminal(*arguments, columns=80, **environment):
    """Return what a command writes to a terminal, without colors, and its exit status."""
    import fcntl
    import termios

    process, terminal = pty.fork()
    if process == 0:
        command = [sys.executable, "-m", "evoprune", *map(str, arguments)]
        os.execve(sys.executable, command, env() | {"TERM": "xterm"} | environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    content = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        content += part
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return ESCAPES.sub("", content.decode()), status


def longest(text):
    return max(len(line) for line in re.split(r"[\r\n]+", text))


@pytest.mark.parametrize("columns", [50, 80])
def test_the_layers_fit_the_terminal(trained, columns):
    text, status = at_terminal("show", trained / "model.safetensors", columns=columns)
    assert status == 0
    lines = text.replace("\r", "").splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["layer", "kind"])
    assert max(map(len, lines[head:])) <= columns
    net = ep.load(trained / "model.safetensors")
    shown = "\n".join(lines[head:])
    assert f"{net.alive['populations1']} / 24" in shown
    assert f"{net.macs:,.0f}" in shown
    assert ("bytes" in lines[head]) == (columns == 80)


def test_the_epochs_fit_the_terminal(trained):
    text, _ = at_terminal("show", trained / "history.npz")
    table = text.partition("epoch ")[2]
    assert longest("epoch " + table) <= 80
    last = ep.History.load(trained / "history.npz")["validation_accuracy"][-1]
    assert f"{last:.4g}" in table


def test_a_run_at_a_terminal_has_a_bar_and_lines_that_fit(folder, tmp_path):
    text, status = at_terminal("train", folder, *TRAIN, "--out", tmp_path / "run")
    assert status == 0
    assert "360/360" in text  # in the progress bar
    assert "loss " in text
    rows = [line for line in re.split(r"[\r\n]+", text) if re.match(r" +\d+ +\d\.\d{4} ", line)]
    assert [int(row.split()[0]) for row in rows] == list(range(1, 13))
    # Paths of result files may be longer than the terminal is wide.
    assert longest(text.partition(str(tmp_path))[0]) <= 80


def test_colors_are_left_out_on_request(trained, monkeypatch):
    monkeypatch.setattr(screen, "width", lambda: 80)
    head, rows = ["a", "b", "n"], [["x", "y", "1"]]
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[36m" in screen.tabulated(head, rows)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in screen.tabulated(head, rows)


def test_tables_are_plain_if_output_is_not_a_terminal(trained, capsys):
    assert cli.main(["show", str(trained / "model.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert text.isascii()


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)])
def test_help_fits_80_columns(command):
    text, status = at_terminal(*command, "--help")
    assert status == 0
    assert longest(text) <= 80


def test_a_sweep_prints_what_varies(folder, tmp_path, capsys):
    pytest.importorskip("joblib")
    (tmp_path / "sweep.toml").write_text(
        f'seeds = 2\n[fixed]\ndata = "{folder}"\nepochs = 3\nbatch = 20\n'
        "[grid]\npressure = [1.0, 2.0]\nwidths = [[8], [12, 8]]\n"
    )
    text, status = at_terminal("sweep", tmp_path / "sweep.toml", "--jobs", "1")
    assert status == 0
    assert longest(text[text.index("pressure ") :]) <= 80
    lines = text[text.index("pressure ") :].replace("\r", "").splitlines()
    assert lines[0].split()[:4] == ["pressure", "widths", "seed", "alive"]
    assert [line.split()[:3] for line in lines[2:10]] == [
        [p, w, s] for p in "12" for w in ("8", "12,8") for s in "01"
    ]
    capsys.readouterr()
    assert cli.main(["sweep", str(tmp_path / "sweep.toml"), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 8
    assert {"data", "epochs", "loss", "parameters", "error"} <= set(rows[0])
    assert [line.split()[3] for line in lines[2:10]] == [f"{float(r['alive']):.0f}" for r in rows]

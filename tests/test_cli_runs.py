"""Command line runs that are stopped, killed, piped or resumed: no results are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from shells import TRAIN, env, make_folder, make_run

import evoprune as ep
from evoprune.shell import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("little"))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return make_run(folder, tmp_path_factory.mktemp("out"))


def start(folder, out, *more, **settings):
    """Start a practically endless run in a new process, from the command line."""
    command = [sys.executable, "-m", "evoprune", "train", str(folder), *map(str, TRAIN)]
    command += ["--epochs", "100000", "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **settings)


def after_epochs(process, n):
    """Read lines until the n-th epoch is complete."""
    for line in process.stdout:
        if line.split()[:1] == [str(n)]:
            return
    raise AssertionError("the run has ended")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_run_with_its_results_written(number, status, folder, tmp_path):
    with start(folder, tmp_path / "run") as process:
        after_epochs(process, 3)
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(60) == status
    assert "interrupted after" in rest
    assert "evoprune resume" in rest
    history = ep.History.load(tmp_path / "run" / "history.npz")
    assert history.interrupted
    assert ep.load(tmp_path / "run" / "model.safetensors").step == history.steps_done
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["interrupted"], metrics["steps"]) == (True, history.steps_done)


def test_a_signal_that_is_ignored_stays_ignored(folder, tmp_path):
    """Under nohup, SIGHUP is ignored when the run starts."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with start(folder, tmp_path / "run", preexec_fn=ignore) as process:
        after_epochs(process, 2)
        process.send_signal(signal.SIGHUP)
        after_epochs(process, 5)
        process.terminate()
        process.stdout.read()
        assert process.wait(60) == 143


def test_a_closed_pipe_ends_a_run_with_everything_written(folder, tmp_path):
    with start(folder, tmp_path / "run", stderr=subprocess.PIPE) as process:
        after_epochs(process, 1)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141
    history = ep.History.load(tmp_path / "run" / "history.npz")
    assert history.interrupted
    assert ep.load(tmp_path / "run" / "model.safetensors").step == history.steps_done


@pytest.mark.parametrize("arguments", [["show", "history.npz", "--csv"], ["show", "."]])
def test_a_closed_pipe_ends_other_commands_quietly(arguments, trained, tmp_path):
    out = trained[1]
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "evoprune", *arguments]
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, cwd=out, text=True, timeout=60, env=env()
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_ends_a_run_and_leaves_the_last_state(folder, tmp_path):
    """The size of files is limited, and the state of the run grows beyond the limit."""
    import resource

    out = tmp_path / "run"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # noqa: E731
    with start(folder, out, stderr=subprocess.PIPE, preexec_fn=limit) as process:
        process.stdout.read()
        error = process.stderr.read()
        assert process.wait(60) == 1
    assert error.count("\n") == 1
    assert "File too large; the run has stopped" in error
    assert not [p for p in out.iterdir() if p.name.endswith(".draft")]
    trainer = ep.Trainer(ep.load(out / "state.safetensors"))
    trainer.restore(out / "state.safetensors")
    assert trainer.history.epochs_done >= 1


def test_a_killed_run_resumes_bit_identically(trained, folder, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "evoprune", "train", str(folder), *map(str, TRAIN)]
    with subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, text=True
    ) as process:
        after_epochs(process, 5)
        process.kill()
        process.stdout.read()
    assert cli.main(["train", str(folder), "--out", str(out)]) == 2  # `out` contains a run
    assert cli.main(["resume", str(out)]) == 0
    one, other = (ep.load(o / "model.safetensors") for o in (trained[1], out))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    histories = [ep.History.load(o / "history.npz") for o in (trained[1], out)]
    assert np.array_equal(histories[0].batch_losses, histories[1].batch_losses)
    assert np.array_equal(histories[0].extinctions, histories[1].extinctions)


@pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")
def test_a_run_is_not_overwritten_by_accident(folder, tmp_path, capsys):
    out = tmp_path / "run"
    quick = ["train", str(folder), "--widths", "4", "--epochs", "1", "--out", str(out)]
    assert cli.main(quick) == 0
    before = (out / "model.safetensors").read_bytes()
    assert cli.main(quick) == 2
    error = capsys.readouterr().err
    assert "holds a run already" in error
    assert "--force" in error
    assert (out / "model.safetensors").read_bytes() == before
    assert cli.main([*quick, "--resume"]) == 0  # the run is already complete
    assert (out / "model.safetensors").read_bytes() == before
    assert cli.main([*quick[:-2], "--seed", "3", "--out", str(out), "--resume"]) == 2
    assert "--seed: the run in" in capsys.readouterr().err
    assert cli.main([*quick, "--seed", "3", "--force"]) == 0
    assert (out / "model.safetensors").read_bytes() != before
    (out / "run.json").write_text('{"format": "song"}')
    assert cli.main(["resume", str(out)]) == 2
    assert "run.json: expected what `evoprune train` wrote" in capsys.readouterr().err


def test_a_terminal_gets_a_bar_and_lines_that_fit(folder, tmp_path):
    import pty
    import termios

    main, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 72))
    command = [sys.executable, "-m", "evoprune", "train", str(folder), *map(str, TRAIN)]
    process = subprocess.Popen(
        [*command, "--out", "run"],
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env=env() | {"COLUMNS": "72", "TERM": "dumb"},
    )
    os.close(terminal)
    text = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    assert process.wait(60) == 0
    os.close(main)
    pieces = text.decode().replace("\r", "\n").split("\n")
    assert any("%|" in piece for piece in pieces)  # a progress bar
    rows = [piece for piece in pieces if piece.split()[:1] == ["12"]]
    assert len(rows) == 1
    assert max(len(piece) for piece in pieces if "populations1" in piece) <= 72
    assert len(rows[0]) <= 72

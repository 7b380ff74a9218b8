"""The command line, tried as a user would: a folder of idx files in, a folder of results out."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import evoprune as ep
from evoprune.shell import cli


def write_idx(path, array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A little MNIST: 600 images to train on and 200 to test on, of 6 x 6 pixels."""
    root = tmp_path_factory.mktemp("little")
    random = np.random.default_rng(0)
    shapes = random.integers(0, 256, (10, 6, 6))
    for part, n in (("train", 600), ("t10k", 200)):
        labels = random.integers(0, 10, n).astype(np.uint8)
        images = np.clip(shapes[labels] + random.normal(0, 60, (n, 6, 6)), 0, 255)
        write_idx(root / f"{part}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(root / f"{part}-labels-idx1-ubyte", labels)
    return root


def run(*arguments):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "evoprune", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


HEAD = ["epoch", "loss", "accuracy", "held", "out", "living", "upkeep", "ms/step"]
TRAIN = (
    "--widths",
    "24,16",
    "--epochs",
    "12",
    "--batch",
    "20",
    "--pressure",
    "1",
    "--lifespan",
    120,
)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """(what was printed, folder of results) of a training run."""
    out = tmp_path_factory.mktemp("out") / "deep" / "run"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *a, **k: lines.append(" ".join(map(str, a))))
        status = cli.main(["train", str(folder), *map(str, TRAIN), "--out", str(out)])
    assert status == 0
    return "\n".join(lines), out


def test_training_prints_a_table_as_it_goes(trained):
    text, _ = trained
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["epoch", "loss"])
    assert lines[head].split() == HEAD
    rows = lines[head + 1 : head + 13]
    assert [int(row.split()[0]) for row in rows] == list(range(1, 13))
    assert " 24 + 16 " in rows[0]
    assert "%" in rows[-1]
    assert "alive / born" in text
    assert "600 samples to train on, 200 to test on" in text


def test_a_budget_takes_the_place_of_a_pressure(folder, tmp_path, capsys):
    out = tmp_path / "run"
    options = TRAIN[: TRAIN.index("--pressure")] + TRAIN[TRAIN.index("--lifespan") :]
    arguments = ["train", str(folder), *map(str, options), "--epochs", "40", "--budget", "0.4"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    capsys.readouterr()
    history = ep.History.load(out / "history.npz")
    assert "Budget(macs=0.4)" in history.settings["selection"]
    assert len(np.unique(history["pressure"])) > 2
    net = ep.load(out / "model.safetensors")
    assert net.flops < 0.5 * net.founding_flops
    with pytest.raises(SystemExit):
        cli.main(["train", str(folder), "--budget", "0.4", "--pressure", "1"])
    assert "--pressure: not allowed with argument --budget" in capsys.readouterr().err


def test_training_leaves_files(trained, folder):
    text, out = trained
    files = ["model.safetensors", "history.npz", "trajectories.png", "history.png"]
    assert sorted(p.name for p in out.iterdir()) == sorted(files)
    for name in files:
        assert str(out / name) in text
    net, history = ep.load(out / "model.safetensors"), ep.History.load(out / "history.npz")
    assert history.epochs == 12
    assert sum(net.alive.values()) == history["alive"][-1] < 40
    _, test = ep.datasets.idx(folder)
    assert net.evaluate(test).accuracy == pytest.approx(history["validation_accuracy"][-1])
    for name in files[2:]:
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")
@pytest.mark.parametrize(
    ("net", "options", "living"),
    [
        ("cnn", ["--widths", "6,8"], "6 + 8"),
        ("vit", ["--dim", "8", "--layers", "3", "--heads", "2"], "heads 6 + neurons 96"),
    ],
)
def test_filters_and_heads_are_trained(net, options, living, folder, tmp_path, capsys):
    folder = write_larger(folder, tmp_path)
    arguments = ["train", str(folder), "--net", net, *options, *map(str, TRAIN[2:])]
    assert cli.main([*arguments, "--epochs", "2", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert f" {living} " in text
    assert sum(ep.load(tmp_path / "out" / "model.safetensors").born.values()) > 10


def write_larger(folder, to):
    """The same images with a margin, 8 x 8 pixels."""
    for part in ("train", "t10k"):
        labels = f"{part}-labels-idx1-ubyte"
        (to / labels).write_bytes((folder / labels).read_bytes())
        images = ep.datasets.read_idx(folder / f"{part}-images-idx3-ubyte")
        write_idx(to / f"{part}-images-idx3-ubyte", np.pad(images, ((0, 0), (1, 1), (1, 1))))
    return to


@pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")
def test_a_text_is_trained_and_gone_on_with(tmp_path, capsys):
    file, out = tmp_path / "text.txt", tmp_path / "out"
    file.write_text("one and two and three\n" * 60)
    small = ["--dim", "8", "--layers", "1", "--heads", "2", "--context", "8"]
    arguments = ["train", "text", "--data", file, *small, "--epochs", 2, "--steps", 20]
    assert cli.main([*map(str, arguments), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "perplexity" in text
    assert " 2 + 32 " in text
    model = str(out / "model.safetensors")
    assert cli.main(["generate", model, "--prompt", "two", "--length", "30"]) == 0
    assert set(capsys.readouterr().out) <= set("one and two and three\n")
    assert cli.main(["generate", model, "--prompt", "TWO"]) == 2
    assert "'T' at 0 is not in the vocabulary" in capsys.readouterr().err


def test_show(trained, capsys):
    _, out = trained
    assert cli.main(["show", str(out / "model.safetensors")]) == 0
    assert "alive / born" in capsys.readouterr().out
    assert cli.main(["show", str(out / "history.npz")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("History: 12 epochs")
    assert "selection: Selection(pressure=1, dynamics=Malthusian(lifespan=120))" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "nowhere"], "data: expected mnist, .* or a folder"),
        (["train", "text"], "--data: must be given, where text lies"),
        (["train", "text", "--data", "FOLDER", "--net", "vit"], "vit does not read text"),
        (["train", "text", "--data", "none.txt"], "none.txt"),
        (["train", "fashion-mnist", "--data", "none"], "none"),
        (["train", "FOLDER", "--net", "charlm"], "charlm reads text"),
        (["train", "FOLDER", "--net", "lenet5"], "a window that reaches over 5"),
        (["train", "FOLDER", "--net", "vit", "--inputs"], "vit has no such choice"),
        (["train", "FOLDER", "--steps", "0"], "steps"),
        (["generate", "nothing.safetensors"], "nothing.safetensors"),
        (["train", "."], "No such file|no |expected"),
        (["show", "nothing.safetensors"], "nothing.safetensors"),
        (["show", "nothing.npz"], "nothing.npz"),
        (["train", "FOLDER", "--widths", "0"], "."),
        (["train", "FOLDER", "--pressure", "-1"], "pressure"),
        (["train", "FOLDER", "--budget", "0"], "Budget: macs: expected a number from"),
        (["train", "FOLDER", "--lifespan", "0"], "lifespan"),
        (["train", "FOLDER", "--dynamics", "darwin"], "no dynamics is called 'darwin'"),
        (["train", "FOLDER", "--dynamics", "moran", "--lifespan", "9"], "only the malthusian"),
        (["train", "FOLDER", "--batch", "0"], "batch"),
        (["train", "FOLDER", "--epochs", "-1"], "epochs"),
        (["train", "FOLDER", "--threads", "0"], "n: expected"),
    ],
)
def test_bad_requests_are_one_line_and_status_2(
    arguments, text, folder, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [str(folder) if a == "FOLDER" else a for a in arguments]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("evoprune: ")
    assert error.count("\n") == 1
    assert pytest.importorskip("re").search(text, error)


@pytest.mark.parametrize("arguments", [[], ["grow"], ["train"], ["train", "x", "--widths", "a"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: evoprune" in capsys.readouterr().err


def test_a_run_that_diverges_is_status_1(folder, tmp_path, capsys):
    arguments = ["train", str(folder), *map(str, TRAIN), "--rate", "1e30", "--out", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert "not finite" in capsys.readouterr().err


def test_help_and_version():
    assert "COMMAND" in run("--help").stdout
    assert "--pressure" in run("train", "--help").stdout
    assert run("--version").stdout.startswith("evoprune ")


def test_ctrl_c_writes_what_there_is(folder, tmp_path):
    command = [sys.executable, "-m", "evoprune", "train", str(folder), *map(str, TRAIN)]
    command += ["--epochs", "100000", "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:  # until the first epochs are through
            if line.split()[:1] == ["3"]:
                break
        os.kill(process.pid, signal.SIGINT)
        begin = time.perf_counter()
        rest = process.stdout.read()
        status = process.wait(60)
        took = time.perf_counter() - begin
    assert status == 130
    assert "interrupted after" in rest
    assert took < 20
    history = ep.History.load(tmp_path / "run" / "history.npz")
    assert history.interrupted
    assert ep.load(tmp_path / "run" / "model.safetensors").step == history.steps_done

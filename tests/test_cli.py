"""The command line as a user calls it, from a folder of idx files to a folder of results."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from shells import HEAD, TRAIN, env, make_folder, make_run, run, write_idx

import evoprune as ep
from evoprune.shell import cli
from evoprune.training.live import Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("little"))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return make_run(folder, tmp_path_factory.mktemp("out"))


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


def test_a_budget_replaces_a_pressure(folder, tmp_path, capsys):
    out = tmp_path / "run"
    options = TRAIN[: TRAIN.index("--pressure")] + TRAIN[TRAIN.index("--lifespan") :]
    arguments = ["train", str(folder), *map(str, options), "--epochs", "40", "--budget", "0.4"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    capsys.readouterr()
    history = ep.History.load(out / "history.npz")
    assert "Budget(macs=0.4)" in history.settings["selection"]
    assert len(np.unique(history["pressure"])) > 2
    net = ep.load(out / "model.safetensors")
    assert net.macs < 0.5 * net.founding_macs
    with pytest.raises(SystemExit):
        cli.main(["train", str(folder), "--budget", "0.4", "--pressure", "1"])
    assert "--pressure: not allowed with argument --budget" in capsys.readouterr().err


def test_training_leaves_files(trained, folder):
    text, out = trained
    files = ["model.safetensors", "history.npz", "trajectories.png", "history.png"]
    more = ["metrics.json", "state.safetensors", "run.json"]
    assert sorted(p.name for p in out.iterdir()) == sorted(files + more)
    for name in files:
        assert str(out / name) in text
    net, history = ep.load(out / "model.safetensors"), ep.History.load(out / "history.npz")
    assert history.epochs_done == 12
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
    """Write the images of `folder` into `to`, padded to 8 x 8 pixels."""
    for part in ("train", "t10k"):
        labels = f"{part}-labels-idx1-ubyte"
        (to / labels).write_bytes((folder / labels).read_bytes())
        images = ep.datasets.read_idx(folder / f"{part}-images-idx3-ubyte")
        write_idx(to / f"{part}-images-idx3-ubyte", np.pad(images, ((0, 0), (1, 1), (1, 1))))
    return to


@pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")
def test_a_text_model_is_trained_and_continues_a_text(tmp_path, capsys):
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
    assert "selection: Selection(pressure=1, dynamics=Malthusian(lifespan=120), min_age=17)" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "nowhere"], "data: expected mnist, .*, a folder with idx files or a .csv file"),
        (["train", "text"], "--data: missing: expected a text file"),
        (["train", "text", "--data", "FOLDER", "--net", "vit"], "vit does not read text"),
        (["train", "text", "--data", "none.txt"], "none.txt"),
        (["train", "fashion-mnist", "--data", "none"], "none"),
        (["train", "FOLDER", "--net", "charlm"], "charlm reads text"),
        (["train", "FOLDER", "--net", "lenet5"], "a window of extent 5"),
        (["train", "FOLDER", "--net", "vit", "--inputs"], "--inputs: not an option of vit"),
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
        (["train", "FOLDER", "--threads", "0"], "--threads: expected a whole number from 1"),
        (["train", "FOLDER", "--seed", "-1"], "--seed: expected a whole number from 0"),
        (["train", "FOLDER", "--widths", ","], "--widths: expected numbers"),
        (["train", "FOLDER", "--rate", "nan"], "--rate: expected a number"),
        (["train", "FOLDER", "--heads", "3"], "--heads: not an option of mlp, only of vit, charlm"),
        (
            ["train", "FOLDER", "--net", "lenet5", "--widths", "3"],
            "--widths: not an option of",
        ),
        (["train", "FOLDER", "--net", "vit", "--context", "3"], "--context: not an option of"),
        (["train", "FOLDER", "--data", "."], "--data: not with a folder"),
        (["resume", "nowhere"], "nowhere/run.json: no such file"),
        (["evaluate", "nothing.safetensors", "mnist"], "nothing.safetensors"),
        (["export", "nothing.safetensors", "net.xyz"], "a name that ends in .onnx"),
        (["sweep", "nothing.toml"], "nothing.toml: no such file"),
    ],
)
def test_bad_requests_are_one_line_and_status_2(
    arguments, text, folder, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [str(folder) if a == "FOLDER" else a for a in arguments]
    assert cli.main(arguments) == 2
    assert not list(tmp_path.iterdir())  # all options are checked before a folder is made
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


SMALL_TEXT = ["--steps", "20", "--dim", "16", "--layers", "1", "--heads", "1", "--context", "8"]


@pytest.mark.parametrize("letters", ["abcdefgh ", "äöüß€ "])
def test_a_text_without_new_lines_in_any_encoding(letters, tmp_path):
    """The text has no newline to start a sample with, and stdout can encode only ASCII."""
    file, out = tmp_path / "text.txt", tmp_path / "out"
    file.write_text(letters * 80, encoding="utf-8")
    command = [sys.executable, "-m", "evoprune", "train", "text", "--data", str(file)]
    done = subprocess.run(
        [*command, *SMALL_TEXT, "--epochs", "1", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        env=env() | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert ep.load(out / "model.safetensors").notes["vocabulary"] == "".join(sorted(set(letters)))
    assert "Traceback" not in done.stderr
    model = ep.load(out / "model.safetensors")
    assert len(ep.generate(model, length=5)) == 5


def test_a_short_run_warns_that_nothing_can_die(folder, tmp_path):
    done = run("train", folder, "--widths", "4", "--epochs", "1", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert done.stderr.startswith("evoprune: no population can go extinct in this run")
    assert "give --lifespan a smaller number" in done.stderr
    assert done.stderr.count("\n") == 1


def test_options_in_a_file(folder, tmp_path, capsys):
    config, out = tmp_path / "run.toml", tmp_path / "out"
    lines = [f'dataset = "{folder}"', "widths = [6, 5]", "epochs = 3", "inputs = true"]
    lines += ["budget = 0.5", "batch_size = 50", "lifespan = 20"]
    config.write_text("\n".join(lines))
    arguments = ["train", "--config", str(config), "--epochs", "2", "--out", str(out)]
    assert cli.main(arguments) == 0
    history = ep.History.load(out / "history.npz")
    assert history.epochs_done == 2  # options take precedence over the configuration file
    assert history.layers == ("features", "populations1", "populations2")
    assert history.born == (36, 6, 5)
    assert history.per_epoch == 12
    assert "Budget(macs=0.5)" in history.settings["selection"]
    config.write_text(f'dataset = "{folder}"\nepoch = 3\n')
    capsys.readouterr()
    assert cli.main(arguments) == 2
    assert "no option 'epoch'; did you mean epochs?" in capsys.readouterr().err
    config.write_text("epochs 3")
    assert cli.main(arguments) == 2
    assert "run.toml: not valid TOML" in capsys.readouterr().err


def test_a_summary_and_its_metrics(trained):
    text, out = trained
    metrics = json.loads((out / "metrics.json").read_text())
    net, history = ep.load(out / "model.safetensors"), ep.History.load(out / "history.npz")
    assert metrics["alive"] == sum(net.alive.values())
    assert metrics["born"] == 40
    assert (metrics["macs"], metrics["founding_macs"]) == (net.macs, 36 * 24 + 24 * 16 + 16 * 10)
    assert metrics["validation_accuracy"] == history["validation_accuracy"][-1]
    ms = history["ms_per_step"]
    assert metrics["speed_up"] == ms[0] / ms[-1]
    assert f"populations  40 -> {metrics['alive']}" in text
    assert f"accuracy     {100 * metrics['validation_accuracy']:.2f} %" in text
    assert f"step         {ms[0]:.3g} -> {ms[-1]:.3g} ms" in text


def test_a_history_as_a_table_json_and_csv(trained, capsys):
    _, out = trained
    history = ep.History.load(out / "history.npz")
    assert cli.main(["show", str(out / "history.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("epoch"))
    assert [line.split()[0] for line in lines[head + 2 : head + 14]] == [
        str(i + 1) for i in range(12)
    ]
    assert f"{len(history.extinctions)} extinctions" in lines[-1]
    assert cli.main(["show", str(out / "history.npz"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["epochs"]["loss"] == history["loss"].tolist()
    assert cli.main(["show", str(out / "history.npz"), "--csv"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == list(history)
    assert [float(row[rows[0].index("loss")]) for row in rows[1:]] == history["loss"].tolist()
    assert cli.main(["show", str(out / "model.safetensors"), "--json"]) == 0
    net = ep.load(out / "model.safetensors")
    assert json.loads(capsys.readouterr().out)["alive"] == net.alive
    assert cli.main(["show", str(out)]) == 0
    both = capsys.readouterr().out
    assert "alive / born" in both
    assert "extinctions" in both


def test_predicting_and_evaluating(trained, folder, tmp_path, capsys):
    _, out = trained
    model, net = str(out / "model.safetensors"), ep.load(out / "model.safetensors")
    _, test = ep.datasets.idx(folder)
    classes = net.predict(test.x).argmax(1)
    assert cli.main(["evaluate", model, str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"] == pytest.approx((classes == test.y).mean())
    assert told["samples"] == 200
    assert cli.main(["predict", model, str(folder)]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["sample", "prediction"]
    assert [int(row[1]) for row in rows[1:]] == classes.tolist()
    np.save(tmp_path / "x.npy", test.x[:5])
    to = tmp_path / "outputs.npy"
    arguments = ["predict", model, str(tmp_path / "x.npy"), "--outputs", "--out", str(to)]
    assert cli.main(arguments) == 0
    assert np.array_equal(np.load(to), net.predict(test.x[:5]))
    table = np.column_stack([test.x[:50], test.y[:50]])
    names = ",".join(f"pixel{i}" for i in range(36)) + ",label"
    np.savetxt(tmp_path / "t.csv", table, "%d", ",", header=names, comments="")
    assert cli.main(["evaluate", model, str(tmp_path / "t.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"] == pytest.approx((classes[:50] == test.y[:50]).mean())
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    assert cli.main(["evaluate", model, str(tmp_path / "t.csv")]) == 2
    assert "expected 36 columns, and a target, got 2 columns" in capsys.readouterr().err


def test_measuring_and_looking_at_data(trained, folder, capsys):
    _, out = trained
    model = str(out / "model.safetensors")
    assert cli.main(["bench", model, "--seconds", "0", "--batch", "16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["speed_up"] == told["founding_ms"] / told["ms"] > 0
    assert told["founding_macs"] == 36 * 24 + 24 * 16 + 16 * 10
    assert cli.main(["data", str(folder), "--json"]) == 0
    train, test = json.loads(capsys.readouterr().out)
    assert (train["samples"], test["samples"], train["shape"]) == (600, 200, [6, 6, 1])
    labels = ep.datasets.idx(folder)[0].y
    assert list(train["classes"].values()) == np.bincount(labels, minlength=10).tolist()


def test_misspelt_options_are_named(capsys):
    for arguments, meant in (
        (["--verison"], "--version"),
        (["train", "x", "--epoks=3"], "--epochs"),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert f"did you mean {meant}?" in capsys.readouterr().err


def test_completion_scripts(capsys):
    pytest.importorskip("shtab")
    assert cli.main(["--print-completion", "bash"]) == 0
    assert "--lifespan" in capsys.readouterr().out


def test_lines_of_epochs_fit_the_terminal(trained, capsys):
    history = ep.History.load(trained[1] / "history.npz")
    Table(width=80).show(history, ep.load(trained[1] / "model.safetensors"))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80

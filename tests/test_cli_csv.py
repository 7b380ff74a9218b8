"""CSV files at the command line: training, prediction, evaluation, errors for invalid files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import evoprune as ep
from evoprune.shell import cli


def write(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


@pytest.fixture
def flowers(tmp_path):
    """Write a file of 300 flowers of three species, with the species in the first column."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 4)) + 1000 + 3 * np.eye(4)[kinds]
    rows = [[("rose", "aster", "iris")[k], *point] for k, point in zip(kinds, x, strict=True)]
    return write(tmp_path / "flowers.csv", ["kind", "a", "b", "c", "d"], rows), rows


def test_labels_are_learned_predicted_and_evaluated_by_name(flowers, tmp_path, capsys):
    file, rows = flowers
    out = tmp_path / "run"
    arguments = ["train", file, "--target", "kind", "--out", str(out), "--epochs", "40"]
    assert cli.main(arguments) == 0
    assert "240 samples to train on, 60 to test on" in capsys.readouterr().out
    model = str(out / "model.safetensors")
    network = ep.load(model)
    assert network.classes == ("aster", "iris", "rose")
    assert network.spec["input"] == [4]
    history = ep.History.load(out / "history.npz")
    assert history["validation_accuracy"][-1] > 0.8

    assert cli.main(["predict", model, file, "--target", "kind"]) == 0
    found = [row[1] for row in csv.reader(capsys.readouterr().out.splitlines())][1:]
    x = np.array([row[1:] for row in rows])
    assert found == network.predict_classes(x, names=True).tolist()
    right = np.mean([f == row[0] for f, row in zip(found, rows, strict=True)])
    assert cli.main(["evaluate", model, file, "--target", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"] == pytest.approx(right)
    assert told["samples"] == 300

    bare = write(tmp_path / "bare.csv", ["a", "b", "c", "d"], [row[1:] for row in rows[:5]])
    assert cli.main(["predict", model, bare]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == found[:5]
    assert cli.main(["evaluate", model, bare]) == 2
    assert "expected targets" in capsys.readouterr().err


def test_features_are_scaled_by_the_training_rows(flowers, tmp_path, capsys):
    file, rows = flowers
    out = tmp_path / "run"
    arguments = ["--target", "kind", "--epochs", "1", "--lifespan", "5", "--out", str(out)]
    assert cli.main(["train", file, *arguments]) == 0
    x = np.array([row[1:] for row in rows], np.float32)
    whole = ep.datasets.csv(file, "kind")
    rest, part = whole.split(0.2, seed=0, stratify=True)
    assert len(rest) + len(part) == len(x)
    shift, scale = ep.load(out / "model.safetensors").input_scaling
    np.testing.assert_allclose(shift, rest.x.astype(float).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, 1 / rest.x.astype(float).std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("whole", [False, True])
def test_values_are_a_regression(whole, tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = 500 + 100 * x[:, 0] - 40 * x[:, 1] + rng.normal(size=400)
    y = y.round() if whole else y
    rows = [[*point, int(value) if whole else value] for point, value in zip(x, y, strict=True)]
    file, out = write(tmp_path / "prices.csv", ["a", "b", "c", "price"], rows), tmp_path / "run"
    assert cli.main(["train", file, "--out", str(out), "--epochs", "60", "--pressure", "0.3"]) == 0
    assert "on the test set" in capsys.readouterr().out
    model = ep.load(out / "model.safetensors")
    outputs = model.predict(x)[:, 0]
    assert np.corrcoef(outputs, y)[0, 1] > 0.97
    assert abs(outputs.mean() - y.mean()) < 10  # outputs are in the units of the file
    assert cli.main(["evaluate", str(out / "model.safetensors"), file, "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["loss"]
    assert loss == pytest.approx(model.evaluate(x, y[:, None]).loss, rel=1e-6)


def test_few_whole_numbers_are_classes_unless_they_are_said_to_be_values(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    rows = [[*point, int(point[0] > 0)] for point in x]
    file = write(tmp_path / "signs.csv", ["a", "b", "sign"], rows)
    assert cli.main(["data", file]) == 0
    assert "  1: " in capsys.readouterr().out
    assert cli.main(["data", file, "--regression", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["classes"] is None


def test_a_run_on_a_file_is_resumed(flowers, tmp_path, capsys):
    file, _ = flowers
    whole, part = tmp_path / "whole", tmp_path / "part"
    options = ["--target", "kind", "--epochs", "12", "--lifespan", "60"]
    assert cli.main(["train", file, *options, "--out", str(whole)]) == 0

    class Stops(ep.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 5:
                trainer.stop()

    fit = ep.Trainer.fit

    def stopped(self, *data, callbacks, **more):
        return fit(self, *data, callbacks=[*callbacks, Stops()], **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ep.Trainer, "fit", stopped)
        cli.main(["train", file, *options, "--out", str(part)])
    assert cli.main(["resume", str(part)]) == 0
    one, other = (ep.load(out / "model.safetensors") for out in (whole, part))
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "{}", "--target", "kid"], "target: expected one of kind, a, b, c, d, got 'kid'"),
        (["train", "{}", "--target", "7"], "target: expected a column below 5, got 7"),
        (["train", "{}"], "line 2, column 'kind': expected a number, got"),
        (["train", "{}", "--net", "cnn", "--target", "kind"], "--net: cnn reads images"),
        (["train", "nothing.csv"], "nothing.csv: no such file"),
        (["train", "mnist", "--target", "x"], "--target: only with a .csv file as DATA"),
        (["train", "mnist", "--regression"], "--regression: only with a .csv file as DATA"),
        (["train", "{}", "--data", "x"], "--data: not with a folder or file as DATA"),
    ],
)
def test_bad_requests_are_named_and_nothing_is_written(arguments, text, flowers, tmp_path, capsys):
    file, _ = flowers
    out = tmp_path / "out"
    filled = [argument.format(file) for argument in arguments]
    assert cli.main([*filled, "--out", str(out)]) == 2
    assert text in capsys.readouterr().err
    assert not out.exists()


def test_columns_in_another_order_are_refused(flowers, tmp_path, capsys):
    file, rows = flowers
    out = tmp_path / "run"
    assert cli.main(["train", file, "--target", "kind", "--out", str(out), "--epochs", "1"]) == 0
    model = str(out / "model.safetensors")
    assert ep.load(model).feature_names == ("a", "b", "c", "d")
    mixed = [[kind, b, a, c, d] for kind, a, b, c, d in rows]
    other = write(tmp_path / "mixed.csv", ["kind", "b", "a", "c", "d"], mixed)
    for command in ("predict", "evaluate"):
        assert cli.main([command, model, other, "--target", "kind"]) == 2
        assert "in their order, 'a' at 0, got 'b'" in capsys.readouterr().err
    unknown = write(tmp_path / "new.csv", ["d", "c", "b", "a"], [row[:0:-1] for row in rows])
    assert cli.main(["predict", model, unknown]) == 2

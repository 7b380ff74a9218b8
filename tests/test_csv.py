"""CSV files as data sets: values, labels, and errors that name line and column."""

from __future__ import annotations

import csv as plain

import numpy as np
import pytest

import evoprune as ep

IRIS = """\
length,kind,width
5.1,setosa,3.5
7.0,versicolor,3.2
6.3,virginica,3.3
4.9,setosa,3.0
"""


def written(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_features_are_normalized_and_labels_are_names(tmp_path):
    data = ep.datasets.csv(written(tmp_path, IRIS), "kind")
    x = np.array([[5.1, 3.5], [7.0, 3.2], [6.3, 3.3], [4.9, 3.0]])
    np.testing.assert_allclose(data.x, x, rtol=1e-6)
    np.testing.assert_allclose(data.shift, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(data.scale, 1 / x.std(axis=0), rtol=1e-6)
    assert data.classes == ("setosa", "versicolor", "virginica")
    assert data.y.tolist() == [0, 1, 2, 0]


def test_a_test_set_takes_scaling_and_classes_of_the_training_set(tmp_path):
    train = ep.datasets.csv(written(tmp_path, IRIS), "kind")
    text = "length,kind,width\n5.0,virginica,3.1\n"
    test = ep.datasets.csv(written(tmp_path, text, "test.csv"), "kind", like=train)
    assert test.y.tolist() == [2]
    np.testing.assert_array_equal(test.shift, train.shift)
    bad = written(tmp_path, text.replace("virginica", "rosa"), "bad.csv")
    with pytest.raises(ValueError, match=r"bad.csv: line 2, column 'kind': .*got 'rosa'"):
        ep.datasets.csv(bad, "kind", like=train)


@pytest.mark.parametrize(
    ("column", "regression", "classes", "y"),
    [
        (["1.5", "2", "-1"], None, None, [[1.5], [2], [-1]]),
        (["7", "-3", "7"], None, ("-3", "7"), [1, 0, 1]),
        (["10", "9.0", "10"], None, ("9", "10"), [1, 0, 1]),
        (["10", "9", "10"], True, None, [[10], [9], [10]]),
        (["b", "a", "b"], None, ("a", "b"), [1, 0, 1]),
    ],
)
def test_targets_are_values_or_labels(tmp_path, column, regression, classes, y):
    text = "\n".join(f"{i}.25,{cell}" for i, cell in enumerate(column))
    data = ep.datasets.csv(written(tmp_path, text), regression=regression)
    assert data.classes == classes
    assert data.y.tolist() == y
    assert data.features == 1


def test_a_file_goes_into_fit(tmp_path):
    rng = np.random.default_rng(0)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        rows = plain.writer(file, delimiter=";")
        rows.writerow(["a", "b", "side"])
        for a, b in rng.normal(50, 20, (300, 2)):
            rows.writerow([a, b, "right" if a > b else "left"])
    train = ep.datasets.csv(tmp_path / "rows.csv", delimiter=";")
    trainer = ep.Trainer(ep.mlp(2, 8, 2), optimizer=ep.AdamW(1e-2), selection=None)
    trainer.fit(train, epochs=80, progress=False)
    assert trainer.evaluate(train).accuracy > 0.95


@pytest.mark.parametrize(
    ("text", "target", "error"),
    [
        ("a,b\n1,2\n3\n", -1, "line 3: expected 2 cells, got 1"),
        ("a,b\n1,2\n,4\n", -1, "line 3, column 'a': expected a number, got an empty cell"),
        ("a,b\n1,2\nred,4\n", -1, "line 3, column 'a': expected a number, got 'red'"),
        ("a,b\n1,2\nnan,4\n", -1, "line 3, column 'a': expected a finite number, got 'nan'"),
        ("a,b\n1,2\n", "c", "target: expected one of a, b, got 'c'"),
        ("1,2\n", "c", "no header, give its place"),
        ("a,b\n1,2\n", 2, "expected a column below 2, got 2"),
        ("", -1, "at least one row, got none"),
        ("a;b\n1;2\n", -1, "another delimiter"),
    ],
)
def test_errors_are_named(tmp_path, text, target, error):
    with pytest.raises(ValueError, match=f"data.csv: .*{error}"):
        ep.datasets.csv(written(tmp_path, text), target)

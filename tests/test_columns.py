"""Columns of data frames and CSV files: a network accepts the columns that it was trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import evoprune as ep

random = np.random.default_rng(0)
FRAME = pd.DataFrame(random.normal(size=(60, 3)), columns=["age", "height", "weight"])
Y = (FRAME["age"] > 0).astype(int).to_numpy()
MIXED = FRAME[["height", "weight", "age"]]
MORE = FRAME.rename(columns={"weight": "mass"})


@pytest.fixture
def trainer():
    made = ep.Trainer(ep.mlp(3, 8, 2, seed=0), selection=None)
    made.fit(FRAME, Y, epochs=2, batch_size=20, progress=False)
    return made


def test_a_network_keeps_the_names_of_its_columns(trainer, tmp_path):
    assert trainer.network.feature_names == ("age", "height", "weight")
    trainer.network.save(tmp_path / "net.safetensors")
    again = ep.load(tmp_path / "net.safetensors")
    assert again.feature_names == ("age", "height", "weight")
    assert np.array_equal(again.predict(FRAME), trainer.network.predict(FRAME.to_numpy()))
    assert again.copy().feature_names == again.feature_names


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (MIXED, "columns of the training data in their order, 'age' at 0, got 'height'"),
        (MORE, "columns of the training data, got none named 'weight' and one named 'mass'"),
        (FRAME.assign(size=1.0), "columns of the training data, got one named 'size'"),
        (FRAME[["age"]], "columns of the training data, got none named 'height'"),
    ],
    ids=["another order", "another name", "one more", "too few"],
)
def test_other_columns_are_refused(trainer, frame, text):
    network, data = trainer.network, ep.datasets.arrays(frame, Y)
    before = {name: network[name].copy() for name in network}
    calls = [
        lambda: network.predict(frame),
        lambda: network.predict_classes(frame),
        lambda: network.evaluate(frame, Y),
        lambda: network.evaluate(data),
        lambda: network.predict(data[:5]),
        lambda: trainer.evaluate(data),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=text):
            call()
    if frame.shape[1] == 3:
        with pytest.raises(ValueError, match=text):
            trainer.fit(FRAME, Y, epochs=1, validation_data=(frame, Y), progress=False)
    assert all(np.array_equal(before[name], network[name]) for name in network)


def test_columns_in_the_order_of_the_network_give_the_same(trainer):
    network = trainer.network
    ordered = MIXED[list(network.feature_names)]
    assert np.array_equal(network.predict(ordered), network.predict(FRAME))


def test_arrays_have_no_names_to_check(trainer):
    assert trainer.network.predict(MIXED.to_numpy()).shape == (60, 2)
    numbered = pd.DataFrame(FRAME.to_numpy())
    assert trainer.network.predict(numbered).shape == (60, 2)
    trainer.fit(FRAME.to_numpy(), Y, epochs=1, progress=False)
    assert trainer.network.feature_names == ("age", "height", "weight")


def test_a_resumed_run_needs_the_same_columns():
    parts = ep.Trainer(ep.mlp(3, 8, 2, seed=0), selection=None)
    parts.fit(FRAME, Y, epochs=3, batch_size=20, until=1, progress=False)
    with pytest.raises(ValueError, match="in their order, 'age' at 0, got 'height'"):
        parts.resume(MIXED, Y, progress=False)
    assert parts.resume(FRAME, Y, progress=False).epochs_done == 3


def test_a_csv_file_names_its_columns(tmp_path):
    for name, frame in (("train", FRAME), ("mixed", MIXED)):
        frame.assign(label=np.where(Y, "old", "young")).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    train = ep.datasets.csv(tmp_path / "train.csv")
    assert train.feature_names == ("age", "height", "weight")
    with pytest.raises(ValueError, match=r"mixed.csv: expected the columns .* 'age' at 0, got 'h"):
        ep.datasets.csv(tmp_path / "mixed.csv", like=train)
    (tmp_path / "bare.csv").write_text("1,2,a\n3,4,b\n")
    assert ep.datasets.csv(tmp_path / "bare.csv").feature_names is None

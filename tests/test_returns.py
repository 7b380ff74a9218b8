"""Input features that return after extinction, compared with a NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import runs
from cores import CORE64
from reference import births as twin

import evoprune as ep


def returning(dtype="float64", returns=0.1, every=2, **births):
    """Return a network that has lost 6 of 10 input features, its settings, and data."""
    net = ep.mlp(10, 12, 3, inputs=True, seed=1, activation="tanh", dtype=dtype)
    net.kill("features", [0, 3, 4, 7, 8, 9])
    law = ep.Births(0.0, returns=returns, every=every, **births)
    selection = ep.Selection(1.0, dynamics="none", births=law, min_age=0, upkeep="soft")
    net.configure(selection=selection.config())
    random = np.random.default_rng(0)
    return net, selection, random.normal(size=(40, 10)).astype(dtype), random.integers(0, 3, 40)


@pytest.mark.parametrize("removed", [False, True])
def test_input_features_return_as_the_twin_says_and_keep_outputs(removed):
    """They keep their ids, have mass 1, and the layer that reads them has weights of 0."""
    net, selection, x, y = returning()
    if removed:
        net.compact()
    config, back = selection.births.config(), []
    for generation in range(1, 9):
        alive = net["features.alive"] > 0
        ids = net.births("features")
        extinct = [j for j in range(10) if j not in ids]
        noise = CORE64.random_fork(net.spec["seed"], 3_000_000, generation)
        place = CORE64.random_permutation(*noise, 10)
        expected = twin.returning(config, extinct, 10, place, generation)
        weight = dict(zip(ids, net["dense1.weight"][alive].copy(), strict=True))
        before, after = runs.bear(net, x, y)
        now = net.births("features").tolist()
        assert now == sorted([*ids, *expected])
        assert np.abs(after - before).max() <= 1e-13 * np.abs(before).max()
        if expected:
            assert (net["features.mass"] == 1).all()
            for j, row in zip(now, net["dense1.weight"], strict=True):
                assert np.array_equal(row, weight.get(j, np.zeros(12)))
        back += expected
    assert len(back) == 6
    assert net.ever_born == net.born


@pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")
def test_a_feature_that_has_returned_reads_its_column_and_learns():
    """The class depends on column 3 alone, which returns: the network learns it."""
    net, _, x, _ = returning("float32", returns=0.5, every=1)
    y = (x[:, 3] > 0).astype(int)
    selection = ep.Selection(
        0.0, births=ep.Births(0.0, returns=0.5, every=1), dynamics="none", min_age=0
    )
    history = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(1e-2)).fit(
        (x, y), epochs=100, batch_size=20, progress=False
    )
    assert net.births("features").tolist() == list(range(10))
    assert sorted(history.returns["birth"].tolist()) == [0, 3, 4, 7, 8, 9]
    assert net.evaluate((x, y)).accuracy == 1
    moved = x.copy()
    moved[:, 3] *= -1
    assert net.evaluate((moved, y)).accuracy < 0.3


def test_only_input_features_that_a_layer_sums_can_return():
    births = ep.Births(returns=0.1)
    with pytest.raises(ValueError, match="they are not input features"):
        ep.mlp(4, 8, 2).configure(selection=ep.Selection(births=births).config())
    with pytest.raises(ValueError, match="only features of a network's data"):
        ep.Community(4, ep.Selection(births=births))
    net = ep.Sequential([ep.Populations(bias=False), ep.LayerNorm(), ep.Dense(2)], input=6)
    with pytest.raises(ValueError, match="returns: .* got none that can return"):
        net.configure(selection=ep.Selection(births=births).config())

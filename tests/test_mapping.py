"""A network is a mapping from names to arrays, and `Sequential` is a class."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

import evoprune as ep


@pytest.fixture
def net():
    return ep.Sequential([ep.neurons(8), ep.Dense(3)], input=5, seed=1)


def test_a_network_is_a_mapping(net):
    assert isinstance(net, Mapping)
    names = ["dense1.weight", "populations1.bias"]
    assert [name for name in net if name in names] == names
    assert net.keys() == set(net) == {name for name, _ in net.items()}
    assert len(net) == len(net.keys()) == len(net.values()) == len(list(net))
    for name, array in net.items():
        assert np.shares_memory(array, net[name])
    for name, array in zip(net, net.values(), strict=True):
        assert np.shares_memory(array, net[name])
    assert {**net}.keys() == net.keys()


def test_get_returns_the_default_for_unknown_names(net):
    assert np.shares_memory(net.get("dense1.weight"), net["dense1.weight"])
    assert net.get("dense1.height") is None
    assert net.get("dense1.height", 7) == 7
    with pytest.raises(KeyError, match=r"no array 'dense1.height'; there are dense1.weight"):
        net["dense1.height"]


def test_networks_are_equal_only_to_themselves(net):
    other = net.copy()
    assert net == net
    assert net != other
    assert len({net, other, net}) == 2
    assert net.gradients != net.gradients


def test_gradients_and_moments_are_mappings(net):
    for arrays in (net.gradients, *net.moments):
        assert isinstance(arrays, Mapping)
        assert arrays.keys() == net.keys()
        assert arrays.get("dense1.height") is None
        assert arrays["dense1.weight"].shape == net["dense1.weight"].shape


def test_views_of_names_read_like_lists(net):
    assert "dense1.weight" in net.keys()  # noqa: SIM118
    assert repr(net.keys()) == f"Names({list(net)})"
    with pytest.warns(DeprecationWarning, match=r"use list\(network\)"):
        assert net.keys()[0] == next(iter(net))


def test_sequential_is_a_class(net):
    assert isinstance(ep.Sequential, type)
    assert issubclass(ep.Sequential, ep.Network)
    assert isinstance(net, ep.Sequential)
    assert isinstance(ep.mlp(4, 3, 2), ep.Network)
    assert not isinstance(ep.Network(net.spec), ep.Sequential)


@pytest.mark.parametrize(
    "again",
    [
        ep.Network.copy,
        copy.copy,
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        ep.Network.expanded,
    ],
    ids=["copy", "copy.copy", "copy.deepcopy", "pickle", "expanded"],
)
def test_copies_have_the_class_of_the_original(net, again):
    for original in (net, ep.Network(net.spec)):
        made = again(original)
        assert type(made) is type(original)
        assert all(np.array_equal(made[name], original[name]) for name in original)


def test_a_class_builds_from_a_spec(net):
    made = ep.Sequential.from_spec(net.spec, net.dtype)
    assert type(made) is ep.Sequential
    assert all(np.array_equal(made[name], net[name]) for name in net)

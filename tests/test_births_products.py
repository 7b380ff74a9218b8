"""Births of populations whose outputs layers multiply: which products allow them, and which do not.

A sum of products is linear in the masses if exactly one of its factors is after them.
"""

from __future__ import annotations

import numpy as np
import pytest
import runs
from cores import CORE32, CORE64, name_of

import evoprune as ep

KINDS = ["division", "immigration"]
PARTS = ("queries", "keys", "values")


def law(kind: str, rate=1.0, capacity=2.0) -> dict:
    births = ep.Births(rate, kind=kind, every=1, capacity=capacity, mutation=0)
    return ep.Selection(1.0, dynamics="none", births=births, min_age=0, upkeep="soft").config()


def keeps_outputs(net: ep.Network, within=1e-12) -> None:
    """Assert that a season of births leaves outputs unchanged; all populations are dimensions."""
    random, shape = np.random.default_rng(0), (6, *net.spec["input"])
    before, after = runs.bear(net, random.normal(size=shape).astype(net.dtype), np.ones((6, 3)))
    assert len(net.alive) == 1
    assert all(n > net.born[layer] for layer, n in net.alive.items())
    assert np.abs(after - before).max() <= within * np.abs(before).max()


def attention(
    *, queries=False, keys=False, values=False, read=True, same=("", ""), bias=False
) -> dict:
    """Return attention whose dimensions have a mass before the given parts, and after it (`read`).

    `same` names two parts that are one value. With `bias`, keys have a bias, so that their weights
    alone do not make them.
    """
    config = {"activation": "identity", "axis": -1, "bias": False}
    made = [{"kind": "dense", "name": "queries", "config": {"units": [2, 4]}}]
    names = {name: same[0] if name == same[1] else name for name in PARTS}
    for name in sorted(set(names.values()) - {"queries"}):
        made.append({"kind": "dense", "name": name, "inputs": ["input", "queries"], "config": {}})
    if bias:
        made.append({
            "kind": "populations", "name": "biased", "inputs": ["keys"],
            "config": config | {"mass": False, "bias": True},
        })  # fmt: skip
        names["keys"] = "biased"
    shared = False
    for name, on in zip(PARTS, (queries, keys, values), strict=True):
        if on:
            made.append({
                "kind": "populations", "name": f"{name}_dims", "inputs": [names[name]],
                "config": config | {"shared": shared},
            })  # fmt: skip
            names |= {of: f"{name}_dims" for of in PARTS if names[of] == names[name]}
            shared = True
    made.append({"kind": "attention", "name": "attention", "inputs": [names[n] for n in PARTS]})
    if read:
        made.append({
            "kind": "populations", "name": "read", "config": config | {"shared": shared}
        })  # fmt: skip
    made.append({"kind": "dense", "name": "out", "config": {"units": [3], "contract": 3}})
    return {"seed": 1, "input": [5, 6], "layers": made}


REFUSED = {
    "no mass before the product": ({}, "product of two of their outputs, none of them after"),
    "a mass in both factors": (
        {"queries": True, "keys": True}, "product of two of their outputs, both after"
    ),
    "queries that are the keys": (
        {"queries": True, "same": ("queries", "keys")}, "two of their outputs, both after"
    ),
    "keys with a bias": ({"queries": True, "bias": True}, "no weights of their own make"),
    "values with the mass twice": ({"queries": True, "values": True}, "more than once"),
    "values without a mass": ({"queries": True, "read": False}, "before their masses"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("core", [CORE32, CORE64], ids=name_of)
def test_other_products_are_refused_with_a_reason(case, core):
    settings, message = REFUSED[case]
    net = core.Network(attention(**settings))
    with pytest.raises(ValueError, match=f"births: expected populations that can.*{message}"):
        net.configure(loss="mean_squared_error", selection=law("division"))


ALLOWED = {
    "masses of queries": {"queries": True},
    "masses of keys": {"keys": True},
    "keys that are the values": {"queries": True, "same": ("keys", "values")},
    "values that are the queries": {"queries": True, "same": ("queries", "values"), "read": False},
    "masses of queries and values": {"queries": True, "values": True, "read": False},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ALLOWED)
def test_either_factor_may_have_the_masses(case, kind):
    net = ep.Network(attention(**ALLOWED[case]), dtype="float64")
    net.configure(loss="mean_squared_error", selection=law(kind))
    keeps_outputs(net)


def two_readers(second: bool) -> dict:
    """Return two layers of attention that read the same keys; both have masses if `second`."""
    dims = {"activation": "identity", "axis": -1, "bias": False}
    whole = attention(queries=True)
    made = whole["layers"][:-1]
    like = {"inputs": ["input", "queries"], "config": {}}
    made += [{"kind": "dense", "name": name} | like for name in ("queries2", "values2")]
    queries = "queries2"
    if second:
        queries = "queries2_dims"
        made.append({"kind": "populations", "name": queries, "inputs": ["queries2"]})
        made[-1]["config"] = dims | {"shared": True}
    inputs = [queries, "keys", "values2"]
    made.append({"kind": "attention", "name": "attention2", "inputs": inputs})
    made.append({"kind": "populations", "name": "read2", "config": dims | {"shared": True}})
    for name, source in (("out", "read"), ("out2", "read2")):
        inputs = [source, *(["out"] if name == "out2" else [])]
        config = {"contract": 3} | ({"units": [3]} if name == "out" else {})
        made.append({"kind": "dense", "name": name, "inputs": inputs, "config": config})
    made.append({"kind": "sum", "name": "both", "inputs": ["out", "out2"]})
    return whole | {"layers": made}


@pytest.mark.parametrize("kind", KINDS)
def test_keys_may_have_two_readers_if_both_have_masses(kind):
    net = ep.Network(two_readers(True), dtype="float64")
    net.configure(loss="mean_squared_error", selection=law(kind))
    keeps_outputs(net)
    with pytest.raises(ValueError, match="none of them after their masses"):
        ep.Network(two_readers(False)).configure(loss="mean_squared_error", selection=law(kind))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_more_dimensions_than_founders_fit_into_scratch_memory(dtype):
    """The queries of 1,600 dimensions need more scratch than those of the 4 founders.

    The sum reads `first` again after attention, so it notices if scratch reached into it.
    """
    whole = attention(queries=True) | {"input": [64, 6]}
    for layer in whole["layers"]:
        if "inputs" in layer:
            layer["inputs"] = [name.replace("input", "first") for name in layer["inputs"]]
    whole["layers"][-1] |= {"inputs": ["read", "first"], "config": {"contract": 2}}
    whole["layers"] = [
        {"kind": "dense", "name": "first", "inputs": ["input"], "config": {"units": [6]}},
        *whole["layers"],
        {"kind": "sum", "name": "both", "inputs": ["first", "out"]},
        {"kind": "dense", "name": "last", "config": {"units": [3], "contract": 2}},
    ]
    net = ep.Network(whole, dtype=dtype)
    net.configure(
        loss="mean_squared_error", selection=law("immigration", rate=400.0, capacity=400.0)
    )
    keeps_outputs(net, 1e-5)
    assert net.alive["queries_dims"] == 1600

"""Networks around one layer, for tests that apply the same checks to every kind of layer.

A case of tests/reference becomes a network of these layers, in this order:
    front: an identity with trained parameters, and with masses if later layers map zeros to zeros
    before0, before1, ...: the layers that the case lists before the layer under test
    it: the layer under test
    back1, back2, ...: masses on axis -1, -2, ... of the output of `it`; by default, only back1
    head: a dense layer, if requested
Whatever depends on the kind of layer is in the tables below.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from cores import real
from reference import layers

# MAKE_SOMETHING: kinds that map zeros to nonzero outputs. Masses come only after such a layer.
# COUPLE: kinds that mix the features of a position. A dense layer is put before such a layer, and
# masses only before that dense layer.
MAKE_SOMETHING = {"batch_norm", "positions", "token", "populations", "embedding"}
COUPLE = {"layer_norm"}
# Output axes that get masses after the layer; by default, the last axis. Attention gets masses on
# its axis of heads: masses on the last axis (dimensions of a head), which queries and keys share,
# would not set extinct entries of queries and keys to zero.
BEHIND = {"attention": (-2,)}
LEARNING = [("populations", {"mass": False}, [0])]  # spec() replaces this layer by `front`

CASES = [(kind, i) for kind, cases in layers.CASES.items() for i in range(len(cases))]


def name_of(value: Any) -> str | None:
    return f"{value[0]}{value[1]}" if isinstance(value, tuple) else None


def spec(core: ModuleType, kind: str, case: dict, head: bool, behind: Any = None) -> dict:
    ids = "ids" in case
    before = case.get("before", [])
    reads = case.get("inputs", [0])
    if before == LEARNING:
        before, reads = [], [0 for _ in reads]
    if kind in COUPLE:
        before, reads = [("dense", {"units": [case["input"][-1]]}, [0])], [1]
    names = ["input" if ids else "front"] + [f"before{i}" for i in range(len(before))]
    made = []
    lent = kind == "dense" and len(reads) == 2  # the output has the second input's axes
    if not ids:
        front = {"mass": kind not in MAKE_SOMETHING and not lent}
        made.append({"kind": "populations", "name": "front", "inputs": ["input"], "config": front})
    for i, (k, config, read) in enumerate(before):
        inputs = [names[j] for j in read]
        made.append({"kind": k, "name": f"before{i}", "inputs": inputs, "config": config})
    inputs = [names[j] for j in reads]
    if lent:
        made.append({"kind": "populations", "name": "gate", "inputs": inputs[:1]})
        inputs[0] = "gate"
    made.append({"kind": kind, "name": "it", "inputs": inputs, "config": case["config"]})
    whole = {"seed": 5, "input": list(case["input"]), "layers": made}
    facts = core.Network(whole).describe()
    mortal = {t["axes"][0] for t in facts["tensors"] if t["role"] == "evolved"}  # axes with masses
    output = facts["layers"][-1]["output"]
    for d in [] if lent or kind in COUPLE else behind or BEHIND.get(kind, (-1,)):
        if output[d] not in mortal:
            # If the output has masses already, a bias would make its extinct entries nonzero.
            config = {"activation": "tanh", "axis": d, "bias": mortal.isdisjoint(output)}
            made.append({"kind": "populations", "name": f"back{-d}", "config": config})
            mortal.add(output[d])
    if head:
        config = {"units": [3], "contract": min(len(output), 3)}
        made.append({"kind": "dense", "name": "head", "config": config})
    return whole


def network(core: ModuleType, kind: str, i: int, head: bool = False, behind: Any = None) -> Any:
    return filled(core.Network(spec(core, kind, layers.CASES[kind][i], head, behind)))


def filled(net: Any, seed: int = 3) -> Any:
    """Fill initial zeros and ones with random values; return the network."""
    random = np.random.default_rng(seed)
    for tensor in net.describe()["tensors"]:
        array = net.array(tensor["name"])
        what = tensor["name"].rpartition(".")[2]
        if what in ("mass", "gain", "variance"):
            array[...] = random.uniform(0.5, 1.5, array.shape)
        elif tensor["role"] == "free" or what == "mean":
            array[...] = random.normal(0, 0.3, array.shape)
    return net


def inputs(core: ModuleType, kind: str, i: int, rows: int, seed: int = 0) -> np.ndarray:
    case, random = layers.CASES[kind][i], np.random.default_rng(seed)
    shape = (rows, *case["input"])
    x = random.integers(0, case["ids"], shape) if "ids" in case else random.standard_normal(shape)
    return x.astype(real(core))


def targets(net: Any, x: np.ndarray, seed: int = 1) -> np.ndarray:
    y = net.predict(x[:1])
    return np.random.default_rng(seed).standard_normal((len(x), *y.shape[1:])).astype(y.dtype)


def tensors(net: Any, *roles: str) -> list[str]:
    return [t["name"] for t in net.describe()["tensors"] if not roles or t["role"] in roles]


def clone(core: ModuleType, net: Any) -> Any:
    """Return another network with equal arrays."""
    other = core.Network(net.spec)
    other.shrink({a["name"]: a["birth"] for a in net.describe()["axes"] if a["mortal"]})
    for name in tensors(net):
        for of in ("value", "gradient", "first", "second"):
            other.array(name, of)[...] = net.array(name, of)
    other.restore(net.step, net.generation)
    return other


def kill_some(net: Any, share: float = 0.4, seed: int = 2) -> dict[str, np.ndarray]:
    """Mark a random share of each layer's populations extinct, but not all of them."""
    random, killed = np.random.default_rng(seed), {}
    axes = {axis["name"]: axis for axis in net.describe()["axes"]}
    for row in net.describe()["populations"]:
        births = axes[row["axis"]]["birth"]
        n = min(max(1, round(share * len(births))), len(births) - 1)
        killed[row["layer"]] = np.sort(random.choice(births, n, replace=False))
        net.kill(row["layer"], killed[row["layer"]])
    return killed


def places(net: Any, other: Any, axes: list[str]) -> tuple[np.ndarray, ...]:
    """Return an index that selects, along `axes` of `net`, the entries that `other` still has."""
    births = [{a["name"]: a["birth"] for a in n.describe()["axes"]} for n in (net, other)]
    return np.ix_(*(np.searchsorted(births[0][name], births[1][name]) for name in axes))


def survivors(net: Any, other: Any, name: str, of: str = "value") -> np.ndarray:
    """Return the part of a tensor of `net` that belongs to populations living in `other`."""
    axes = next(t["axes"] for t in net.describe()["tensors"] if t["name"] == name)
    return net.array(name, of)[places(net, other, axes)]


def output_axes(net: Any, layer: str = "it") -> list[str]:
    return next(row["output"] for row in net.describe()["layers"] if row["name"] == layer)

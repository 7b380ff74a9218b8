"""Invariants of a network that hold after every call, whatever its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np


class Broken(AssertionError):
    """A network is inconsistent after a call or after loading a file."""


def need(condition: Any, text: str) -> None:
    """Raise `Broken` with a text unless a condition holds."""
    if not condition:
        raise Broken(text)


def check(net: Any, predict: bool = True, moments: bool = True) -> None:
    """Raise `Broken` if a network of the core is inconsistent; `net` is not changed.

    Weights and moments may be infinite, after a learning rate of 1e20 or from a file; the next step
    then raises `Diverged`. Masses are always finite.

    Args:
        net: the network.
        predict: also run a prediction.
        moments: also check the optimizer's arrays.
    """
    facts = net.describe()
    axes = {axis["name"]: axis for axis in facts["axes"]}
    for name, axis in axes.items():
        birth = axis["birth"]
        need(len(birth) == axis["n"] >= 0, f"axis {name}: n {axis['n']}, {len(birth)} ids")
        need(axis["n"] <= axis["born"], f"axis {name}: {axis['n']} of {axis['born']} born")
        need((np.diff(birth) > 0).all(), f"axis {name}: ids not ascending: {birth}")
        need(
            not len(birth) or (birth[0] >= 0 and (birth[-1] < axis["born"] or axis.get("next"))),
            f"axis {name}: ids out of range: {birth}",
        )
        need(0 <= axis["alive"] <= axis["n"], f"axis {name}: {axis['alive']} alive of {axis['n']}")
    for tensor in facts["tensors"]:
        _check_tensor(net, tensor, axes, moments)
    for row in facts["populations"]:
        alive = net.array(f"{row['layer']}.alive")
        living = int((alive > 0).sum())
        need(row["alive"] == living, f"{row['layer']}: alive {row['alive']}, flags say {living}")
        mass = net.array(f"{row['layer']}.mass")
        need(not mass[alive == 0].any(), f"{row['layer']}: a mass of an extinct population")
    need(net.step >= 0 and net.generation >= 0, f"step {net.step}, generation {net.generation}")
    for name in ("macs", "parameters", "founding_macs", "founding_parameters", "nbytes"):
        value = getattr(net, name)
        need(np.isfinite(value) and value >= 0, f"{name} is {value}")
    need(net.parameters <= net.founding_parameters, "more parameters than at birth")
    for name, value in zip(("shift", "scale"), net.input_scaling, strict=True):
        need(np.isfinite(value).all(), f"input {name} is not finite")
    embedded = any(layer["kind"] == "embedding" for layer in facts["layers"])
    if predict and not embedded:  # embeddings take codes, and scaled inputs are not codes
        x = np.zeros((2, *net.spec["input"]), np.float32)
        need(len(net.predict(x)) == 2, "predict gives another number of rows")


def _check_tensor(net: Any, tensor: dict[str, Any], axes: dict[str, Any], moments: bool) -> None:
    name, role = tensor["name"], tensor["role"]
    shape = tuple(axes[axis]["n"] for axis in tensor["axes"])
    kinds = ("value", "first", "second") if moments else ("value",)
    for of in kinds:
        array = net.array(name, of)
        need(array.shape == shape, f"{name} {of}: shape {array.shape}, its axes say {shape}")
        learned = of != "value" or role in ("decayed", "free")
        need(learned or np.isfinite(array).all(), f"{name} {of}: not finite")
    value = net.array(name)
    last = name.rpartition(".")[2]
    if role == "evolved":
        need((value >= 0).all(), f"{name}: a negative mass: {np.min(value, initial=0)}")
    if last == "alive":
        need(((value == 0) | (value == 1)).all(), f"{name}: neither 0 nor 1")
    if last == "variance":
        need((value >= 0).all(), f"{name}: a negative variance: {np.min(value, initial=0)}")
    if moments:
        need(not (net.array(name, "second") < 0).any(), f"{name}: a negative second moment")

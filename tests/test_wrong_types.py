"""Arguments of a type that cannot be: TypeError with the argument's name, never AttributeError."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import evoprune as ep

DRAWN = {name: getattr(ep.plot, name) for name in ep.plot.__all__ if name.islower()}


@pytest.mark.parametrize("name", [n for n in DRAWN if n not in ("style", "pareto")])
@pytest.mark.parametrize("wrong", [3, "x", None, object()], ids=str)
def test_what_a_picture_is_of(name, wrong):
    first, *_ = inspect.signature(DRAWN[name]).parameters
    more = [np.zeros((1, 4))] if name == "heads" else []
    with pytest.raises((TypeError, ValueError), match=f"{first}: expected|could not convert|float"):
        DRAWN[name](wrong, *more)


@pytest.mark.parametrize("name", ["structure", "filters"])
@pytest.mark.parametrize("wrong", [3, {}, [None]], ids=str)
def test_where_a_picture_is_drawn(name, wrong):
    with pytest.raises(TypeError, match="ax: expected Axes, got"):
        DRAWN[name](ep.mlp(4, 4, 2), ax=wrong)


def test_text():
    with pytest.raises(TypeError, match="content: expected str, got int"):
        ep.datasets.Text(3)
    with pytest.raises(TypeError, match="content: expected str, got bytes"):
        ep.datasets.Text("abcabcabc" * 9, context=2).encode(b"abc")
    with pytest.raises(TypeError, match="network: expected Network, got str"):
        ep.generate("a")


@pytest.mark.parametrize("make", [ep.Chain, ep.Residual, lambda x: ep.Sequential(x, input=3)])
def test_layers_in_a_list_that_holds_itself(make):
    endless: list = [ep.Dense(3)]
    endless.append(endless)
    with pytest.raises(ValueError, match="layers.*: expected layers, got a list that holds itself"):
        make(endless)

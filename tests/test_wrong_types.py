"""Arguments of a wrong type raise TypeError with the argument's name, never AttributeError."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import evoprune as ep

DRAWN = {name: getattr(ep.plot, name) for name in ep.plot.__all__ if name.islower()}


@pytest.mark.parametrize("name", [n for n in DRAWN if n != "style"])
@pytest.mark.parametrize("wrong", [3, "x", None, object()], ids=str)
def test_the_subject_of_a_plot(name, wrong):
    first, *_ = inspect.signature(DRAWN[name]).parameters
    more = [np.zeros((1, 4))] if name == "heads" else []
    with pytest.raises((TypeError, ValueError), match=f"{first}: expected|could not convert|float"):
        DRAWN[name](wrong, *more)


@pytest.mark.parametrize("name", ["structure", "filters"])
@pytest.mark.parametrize("wrong", [3, {}, [None]], ids=str)
def test_the_axes_of_a_plot(name, wrong):
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


@pytest.mark.parametrize("seed", [[[]], 1.5, -1, 10**30, None, "1"], ids=str)
def test_seeds(seed):
    data = ep.datasets.arrays(np.eye(6), range(6))
    with pytest.raises((TypeError, ValueError), match="seed: expected a whole number"):
        data.split(2, seed=seed)


def test_numbers_beyond_any_float():
    for make in (
        ep.schedules.constant,
        ep.schedules.linear,
        ep.schedules.cosine,
        ep.schedules.warmup,
        ep.AdamW,
    ):
        with pytest.raises(ValueError, match="expected a (finite )?number|must be"):
            make(10**400)


def test_a_target_that_is_no_array():
    with pytest.raises((TypeError, ValueError), match="y: expected"):
        ep.mlp(6, 4, 3).evaluate(np.zeros((5, 6), np.float32), 0.5)


def test_broken_weights_of_a_resnet(tmp_path):
    file = tmp_path / "weights.npz"
    np.savez(file, a=np.zeros(3))
    whole = file.read_bytes()
    for content in (b"", b"PK", whole, whole[:-30], whole[:40] + b"x" + whole[41:]):
        file.write_bytes(content)
        with pytest.raises(ep.FileFormatError, match="load_resnet: "):
            ep.load_resnet(file)


def test_numbers_beyond_any_float_at_the_core():
    net = ep.mlp(3, 4, 2)
    for call in (
        lambda x: net.core.scale_input(x, 1.0),
        net.core.update,
        lambda x: net.core.evolve(0.5, x),
        lambda x: net.core.configure(clip=x),
        lambda x: ep.core.core32.random_normal(0, 0, 0, x),
        lambda x: ep.core.core32.random_binomial(0, 0, 1, x, 0.5),
        lambda x: ep.core.core32.optimizer_step("sgd", None, [1.0], [1.0], rate=x),
    ):
        with pytest.raises(ValueError, match="expected|must be"):
            call(10**400)

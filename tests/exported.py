"""Networks for tests of exports: NETS, and every kind of layer, with extinct populations."""

from __future__ import annotations

from collections.abc import Callable, Container

import cases
import numpy as np
import pytest
from cores import CORE32
from reference import layers

import evoprune as ep

NETS = {
    "mlp": lambda: ep.mlp(30, 16, 8, 5),
    "mlp_inputs": lambda: ep.mlp(30, 16, 5, activation="gelu", inputs=True),
    "lenet5": lambda: ep.lenet5(filters=(6, 9), neurons=20),
    "cnn": lambda: ep.cnn((16, 12, 3), (6, 9), 5),
    "cnn_inputs": lambda: ep.cnn((9, 12, 3), (6,), 5, activation="leaky_relu", inputs=True),
    "resnet": lambda: ep.resnet(8, 4, input=(16, 16, 3)),
    "resnet_stream": lambda: ep.resnet(8, 6, input=(8, 8, 3), living_stream=True),
    "vit": lambda: ep.vit((8, 12, 1), 5, dim=12, layers=2, heads=3),
    "vit_stream": lambda: ep.vit(
        (8, 8, 2), 5, dim=12, layers=2, heads=3, living_stream=True, living_dims=True, dropout=0.1
    ),
    "charlm": lambda: ep.charlm(11, 7, dim=12, layers=2, heads=3, living_dims=True),
}
KINDS = list(layers.CASES)


def _grown() -> ep.Network:
    """Return a language model whose layers, and dimensions of heads, have twice their founders."""
    made = NETS["charlm"]()
    births = ep.Births(1.0, kind="immigration", every=1, capacity=2)
    law = ep.Selection(1.0, dynamics="none", births=births, min_age=0)
    made.configure(selection=law.config())
    x = inputs(made)
    made.forward(x, training=True)
    made.backward(x)
    made.gradient()
    made.evolve(1.0)
    assert made.alive == {layer: 2 * n for layer, n in made.born.items()}
    return made


NETS["charlm_grown"] = _grown
ROWS = 4


def net(name: str) -> ep.Network:
    """Return a network with random biases, masses and statistics, some populations extinct."""
    made = NETS[name]()
    cases.filled(made.core)
    cases.kill_some(made.core)
    made.compact()
    if not name.startswith("charlm"):
        random, n = np.random.default_rng(4), int(np.prod(made.spec["input"]))
        made.scale_input(random.normal(size=n), random.uniform(0.5, 1.5, n))
    return made


def of_rules(rules: Container[str]) -> list[str]:
    """Return the kinds of layers for which an exporter has a rule."""
    return [kind for kind in KINDS if kind in rules]


def refused(rules: Container[str], form: str, export: Callable[[ep.Network], object]) -> None:
    """Check that `export` refuses each kind of layer without a rule; the error names the kind."""
    for kind in KINDS:
        if kind not in rules:
            _, net, _ = of_kind(kind, extinct=False)[0]
            with pytest.raises(
                ValueError, match=f"it: a layer of kind '{kind}' has no {form} form"
            ):
                export(net)


def of_kind(kind: str, extinct: bool) -> list[tuple[str, ep.Network, np.ndarray]]:
    """Return a name, a network and inputs for every case of a kind of layer.

    If `extinct`, some populations of the networks have been removed.
    """
    made = []
    for i, case in enumerate(layers.CASES[kind]):
        one = ep.Network(cases.spec(CORE32, kind, case, head=True))
        cases.filled(one.core)
        if extinct:
            cases.kill_some(one.core)
            one.compact()
        x = cases.inputs(CORE32, kind, i, ROWS)
        made.append((f"{kind}{i}", one, x.astype(np.int64) if "ids" in case else x))
    return made


def mixed() -> ep.Network:
    """Return a network whose input is read as codes and as numbers."""
    return ep.Sequential(
        [
            ep.Embedding(5, 4),
            ep.Flatten(),
            ep.Dense(3, name="of_codes"),
            ep.From("input"),
            ep.Dense(inputs="of_codes"),
            ep.Sum(inputs="of_codes"),
        ],
        input=2,
    )


def dying() -> ep.Network:
    """Return a network with populations that are extinct but not removed yet."""
    made = ep.mlp(4, 6, 5, 3)
    cases.filled(made.core)
    made.kill("populations1", [0, 3])
    made.kill("populations2", [1])
    return made


def oddly_named() -> ep.Network:
    """Return a network whose layer names are keywords or attributes in the exported programs."""
    names = ["output", "append", "training", "forward", "a b", "a_b", "float", "input_scaling", "x"]
    layers = [ep.Dense(4, name=name) for name in names]
    made = ep.Sequential([*layers, ep.neurons(3, name="scratch")], input=4)
    made.scale_input(1.0, 2.0)
    return made


def inputs(made: ep.Network) -> np.ndarray:
    """Return inputs of a network of NETS; codes for the language model."""
    random, shape = np.random.default_rng(5), (ROWS, *made.spec["input"])
    if made.spec["layers"][0]["kind"] == "embedding":
        return random.integers(0, 11, shape)
    return random.normal(size=shape).astype(np.float32)


def agree(got: np.ndarray, expected: np.ndarray, within: float = 1e-5) -> None:
    """Assert that values differ by at most `within` times the largest expected value."""
    assert got.shape == expected.shape
    gap, size = np.abs(got - expected).max(), np.abs(expected).max()
    assert size > 0
    assert gap <= within * size, f"off by {gap / size:.1e} of the largest value"

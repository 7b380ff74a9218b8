"""The same checks for every kind of layer of the catalogue.

Each kind needs cases and a twin, a NumPy function, in tests/reference. Gradients equal finite
differences in float64, outputs equal those of the twin before and after a removal, survivors equal
those of a run in which extinct populations are only masked, results are bit-identical for any
number of threads, and errors name the layer.
"""

from __future__ import annotations

import re

import cases
import numpy as np
import pytest
from cores import CORE32, CORE64, EVERY, close, name_of
from reference import layers, layers_conv
from reference.limits import LARGE, MISFITS

KINDS = list(CORE32.catalogue()["layers"])
ROWS = {"batch_norm": 70}  # more than two blocks of rows
every_case = pytest.mark.parametrize("case", cases.CASES, ids=cases.name_of)


def rows_of(kind: str) -> int:
    return ROWS.get(kind, 6)


def axis_sizes(net, what="n") -> dict[str, int]:
    return {axis["name"]: axis[what] for axis in net.describe()["axes"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_twin_and_cases(kind):
    assert kind in layers.TWINS, f"write the twin of {kind} into tests/reference"
    assert layers.CASES.get(kind), f"write cases of {kind} into tests/reference"
    learns = cases.tensors(cases.network(CORE32, kind, 0), "decayed", "free", "evolved")
    if any(name.startswith("it.") for name in learns):
        assert kind in LARGE, f"add a large case of {kind} to tests/reference"


def test_nothing_is_tested_that_is_not_there():
    assert set(layers.CASES) == set(layers.TWINS) == set(KINDS)


# ---- gradients -------------------------------------------------------------------------------


def slope(net, x, y, change, h=1e-6) -> float:
    """Return d loss / dt at t = 0 by central difference.

    change(t) adds t times a fixed direction to a parameter or to `x`.
    """
    loss = []
    for t in (h, -h):
        change(t)
        net.forward(x, training=True)
        loss.append(net.backward(y))
        change(-t)
    return (loss[0] - loss[1]) / (2 * h)


@every_case
def test_gradients_are_slopes(case):
    kind, i = case
    net = cases.network(CORE64, kind, i)
    net.configure(loss="mean_squared_error")
    x, random = cases.inputs(CORE64, kind, i, rows_of(kind)), np.random.default_rng(7)
    y = cases.targets(net, x)
    net.forward(x, training=True)
    net.backward(y)
    net.gradient()
    named = cases.tensors(net, "decayed", "free", "evolved")
    assert any(name.startswith(("front.", "it.")) for name in named)
    gradients = {name: net.array(name, "gradient").copy() for name in named}
    if "ids" not in layers.CASES[kind][i]:
        named = ["input", *named]
        mass = net.array("front.mass") if "front.mass" in gradients else 1.0
        # `front` returns mass * (x + bias), so dx is mass times the gradient of its output.
        gradients["input"] = mass * net.activation("front", of="gradient")
    for name in named:
        array, g = x if name == "input" else net.array(name), gradients[name]
        assert np.any(g), f"{name}: no gradient at all"
        for _ in range(2):
            direction = random.standard_normal(array.shape)
            direction /= np.linalg.norm(direction)

            def change(t, array=array, direction=direction):
                array += t * direction

            expected = np.sum(g * direction)
            got = slope(net, x, y, change)
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-8 + 1e-7 * np.linalg.norm(g)), (
                name
            )


@every_case
def test_a_training_run_sees_the_same_gradients(case):
    """A run computes and applies the gradient part by part; the result equals separate calls."""
    kind, i = case
    net = cases.network(CORE32, kind, i)
    x = cases.inputs(CORE32, kind, i, rows_of(kind))
    y = cases.targets(net, x)
    net.configure(loss="mean_squared_error", optimizer="sgd")
    other = cases.clone(CORE32, net)
    other.configure(loss="mean_squared_error", optimizer="sgd")
    train(net, x, y, 1, batch=len(x), shuffle=False, threads=3)
    other.forward(x, training=True)
    other.backward(y)
    other.gradient()
    other.update(RATE)
    for name in cases.tensors(net, "decayed", "free", "evolved"):
        assert np.array_equal(net.array(name, "gradient"), other.array(name, "gradient")), name
        assert np.array_equal(net.array(name), other.array(name)), name


# ---- equality with NumPy ---------------------------------------------------------------------


def settings_of(net) -> dict:
    return next(layer["config"] for layer in net.spec["layers"] if layer["name"] == "it")


def twin(net, kind, i, training) -> np.ndarray:
    """Return what the layer "it" should have computed from its inputs in the last forward pass."""
    row = next(row for row in net.describe()["layers"] if row["name"] == "it")
    config = {name: value for name, value in settings_of(net).items() if value is not None}
    weights = {n.partition(".")[2]: np.float64(net.array(n)) for n in row["tensors"]}
    x = [np.float64(net.activation(name)) for name in row["inputs"]]
    born = axis_sizes(net, "born")
    births = {axis["name"]: axis["birth"] for axis in net.describe()["axes"]}
    axes = row["output"]
    first = row["inputs"][0]
    read = None if first == "input" else cases.output_axes(net, first)[-1]
    extra = {
        "births": (births.get(read), births[axes[-1]]),
        "born_in": born.get(read),
        "born": born[axes[-1]],
        "dims_at_birth": born[axes[-1]],
        "seed": net.spec["seed"],
        "layer": [layer["name"] for layer in net.spec["layers"]].index("it"),
        "step": net.step,
        "places": np.ravel_multi_index(
            np.ix_(*(births[a] for a in axes)), [born[a] for a in axes]
        ).ravel(),
    }
    return layers.TWINS[kind](x, weights, config, training, **extra)


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@every_case
def test_outputs_are_the_twin_s(core, case):
    kind, i = case
    net = cases.network(core, kind, i, True, (-2, -1) if kind == "attention" else None)
    x = cases.inputs(core, kind, i, rows_of(kind))
    for removed in (False, True):
        if removed:
            cases.kill_some(net)
            net.compact()
        for training in (False, True):
            net.forward(x, training=training)
            expected = twin(net, kind, i, training)
            close(core, net.activation("it"), expected, factor=8)
    net.forward(x)
    blocks = np.concatenate([net.predict(part) for part in (x[:1], x[1:])])
    assert np.array_equal(net.predict(x), blocks)


@pytest.mark.parametrize("i", range(len(layers.CASES["batch_norm"])))
def test_batch_norm_tracks_the_batches(i):
    net = cases.network(CORE64, "batch_norm", i)
    x = cases.inputs(CORE64, "batch_norm", i, 70)
    net.configure(loss="mean_squared_error", optimizer="sgd")
    before = {name: net.array(f"it.{name}").copy() for name in ("mean", "variance")}
    config = settings_of(net)
    train(net, x, cases.targets(net, x), 1, batch=70, shuffle=False)
    after = layers_conv.batch_norm_track(net.activation("front"), before, config)
    for name in before:
        close(CORE64, net.array(f"it.{name}"), after[name])


def test_an_unknown_id_is_named_with_row_and_column():
    net = cases.network(CORE32, "embedding", 0)
    net.configure(loss="mean_squared_error")
    good = np.array([[0, 1, 2, 10, 3]] * 4, np.float32)
    y = cases.targets(net, good)
    for unknown in (-1, 11, 0.5, 1e30, -1e30, np.nan, np.inf):
        x = good.copy()
        x[3, 2] = unknown
        uses = [
            lambda x=x: net.predict(x),
            lambda x=x: net.forward(x),
            lambda x=x: net.evaluate(x, y),
            lambda x=x: net.check_data(x, y),
            lambda x=x: train(net, x, y, 1),
        ]
        for use in uses:
            with pytest.raises(ValueError, match=r"x: .*codes in \[0, 10\].* row 3, column 2"):
                use()
        train(net, x, y, 1, rows=[2, 0, 1], batch=3)  # only chosen rows are read
        with pytest.raises(ValueError, match="row 3, column 2"):
            train(net, x, y, 1, rows=[1, 3])
    assert net.step == 7


def test_an_unknown_id_that_another_layer_makes_is_not_a_number():
    layers_ = [
        {"kind": "populations", "name": "gate", "config": {"bias": False, "mass": False}},
        {"kind": "embedding", "name": "it", "config": {"vocabulary": 11, "units": 3}},
    ]
    net = CORE32.Network({"seed": 1, "input": [5], "layers": layers_})
    y = net.predict(np.array([[0, 1, 11, 10, 3]]))
    assert np.isfinite(y).all(axis=-1).tolist() == [[True, True, False, True, True]]


# ---- removal ---------------------------------------------------------------------------------

RATE = 1e-2
SELECTION = {
    "removal": "never",
    "min_age": 10**6,
    "dynamics": "malthusian",
    "dynamics_config": {"lifespan": 50},
}
# Kinds for which a removal changes roundings, because sums along a shrinking axis use several
# accumulators or depend on the axis's size. Outputs change for the norms, and for convolutions
# with enough channels for Winograd tiles. Gradients change for all of these kinds, and for
# populations that own several consecutive elements.
ROUNDED_OUTPUTS = {"rms_norm", "layer_norm"}
ROUNDED = ROUNDED_OUTPUTS | {"attention", "conv2d"}
TILED = [("conv2d", i) for i, case in enumerate(layers.CASES["conv2d"]) if case.get("tiled")]


def is_rounded(kind: str, i: int) -> bool:
    axis = layers.CASES[kind][i]["config"].get("axis", -1)
    return kind in ROUNDED or (kind == "populations" and axis != -1)


def train(net, x, y, steps, **settings):
    settings = {"batch": 40, "first": 0} | settings
    level = np.ones(steps)
    return net.train(x, y, rate=RATE * level, pressure=0.3 * level, strength=level, **settings)


def equal(core, rounded, got, expected, message) -> None:
    assert got.shape == expected.shape
    if rounded:
        size = np.max(np.abs(expected), initial=0)
        tolerance = {"float32": 1e-4, "float64": 1e-12}[core.dtype]
        assert np.allclose(got, expected, rtol=0, atol=tolerance * size + 1e-12), message
    else:
        assert np.array_equal(got, expected), message


@pytest.mark.parametrize("core", [CORE32, CORE64], ids=name_of)
@every_case
def test_a_removal_leaves_survivors_unchanged(core, case):
    """Outputs, the next ten steps and all moments equal those of a run without the removal."""
    kind, i = case
    rounded = is_rounded(kind, i)
    masked = cases.network(core, kind, i, head=True)
    masked.configure(loss="mean_squared_error", selection=SELECTION)
    x = cases.inputs(core, kind, i, 96)
    y = cases.targets(masked, x)
    train(masked, x, y, 3)
    killed = cases.kill_some(masked)
    smaller = cases.clone(core, masked)
    for layer, births in killed.items():
        smaller.kill(layer, births)
    smaller.configure(loss="mean_squared_error", selection=SELECTION)
    # `kill_some` keeps the only population of a layer, so there may be nothing to remove.
    assert smaller.compact() == any(map(len, killed.values()))
    assert not smaller.compact()
    outputs_are = kind in ROUNDED_OUTPUTS or case in TILED
    equal(core, outputs_are, smaller.predict(x), masked.predict(x), "outputs")

    masses = cases.tensors(masked, "evolved")
    before = {name: smaller.array(name).copy() for name in masses}
    one, other = train(masked, x, y, 10, first=3), train(smaller, x, y, 10, first=3)
    equal(core, rounded, other["loss"], one["loss"], "losses")
    assert masked.step == smaller.step == 13
    for name in cases.tensors(masked):
        for of in ("value", "gradient", "first", "second"):
            there = cases.survivors(masked, smaller, name, of)
            equal(core, rounded, smaller.array(name, of), there, f"{of} of {name}")
    assert all(not np.array_equal(before[name], smaller.array(name)) for name in masses)


@every_case
def test_a_removal_during_a_run_cuts_the_last_batch_too(case):
    """Arrays of the last batch and gradients are also cut, so that they can still be inspected."""
    kind, i = case
    net = cases.network(CORE32, kind, i, head=True)
    net.configure(loss="mean_squared_error")
    x = cases.inputs(CORE32, kind, i, rows_of(kind))
    net.forward(x, training=True)
    net.backward(cases.targets(net, x))
    net.gradient()
    axes = {row["name"]: row["output"] for row in net.describe()["layers"]}
    before = {
        (name, of): net.activation(name, of=of).copy()
        for name in axes
        for of in ("value", "gradient")
    }
    gradients = {name: net.array(name, "gradient").copy() for name in cases.tensors(net)}
    old = cases.clone(CORE32, net)
    cases.kill_some(net)
    net.compact()
    for (name, of), array in before.items():
        rows = np.arange(len(x))
        inner = cases.places(old, net, axes[name])
        picked = array[np.ix_(rows, *(index.ravel() for index in inner))]
        assert np.array_equal(net.activation(name, of=of), picked), name
    for name, array in gradients.items():
        axes_of = next(t["axes"] for t in net.describe()["tensors"] if t["name"] == name)
        assert np.array_equal(net.array(name, "gradient"), array[cases.places(old, net, axes_of)])


@pytest.mark.parametrize("core", [CORE32, CORE64], ids=name_of)
@every_case
def test_a_layer_may_lose_all_populations(core, case):
    """A layer without living populations costs nothing, and the other layers still train."""
    kind, i = case
    net = cases.network(core, kind, i, head=True)
    net.configure(loss="mean_squared_error", selection=SELECTION)
    x = cases.inputs(core, kind, i, 40)
    y = cases.targets(net, x)
    train(net, x, y, 1)
    for row in net.describe()["populations"]:
        net.kill(row["layer"], np.arange(row["born"]))
    masked = net.predict(x)
    net.compact()
    assert all(axis["n"] == 0 for axis in net.describe()["axes"] if axis["mortal"])
    assert np.array_equal(net.predict(x), masked)
    record = train(net, x, y, 3, threads=2)
    assert np.isfinite(record["loss"]).all()
    assert np.isfinite(net.predict(x)).all()


# ---- threads ---------------------------------------------------------------------------------


def history(core, kind, case, threads, clip):
    """Return all arrays after some steps, a removal, and some more steps."""
    plain = dict(case)
    rows = plain.pop("rows", 43)
    net = cases.filled(core.Network(cases.spec(core, kind, plain, True)))
    net.configure(loss="mean_squared_error", clip=clip, selection=SELECTION | {"removal": "always"})
    random = np.random.default_rng(0)
    shape = (rows, *case["input"])
    x = random.integers(0, case["ids"], shape) if "ids" in case else random.standard_normal(shape)
    x = x.astype(core.dtype)
    y = cases.targets(net, x)
    loss = [train(net, x, y, 2, batch=rows - 1, threads=threads)["loss"]]
    cases.kill_some(net, 0.2)
    loss.append(train(net, x, y, 2, first=2, batch=rows - 1, threads=threads)["loss"])
    numbers = [net.array(n, of) for n in cases.tensors(net) for of in ("value", "first", "second")]
    return [*loss, *numbers, net.predict(x, threads=threads), *net.evaluate(x, y, threads=threads)]


@pytest.mark.parametrize("clip", [0.0, 0.1])
@pytest.mark.parametrize("kind", [*LARGE, *(kind for kind in KINDS if kind not in LARGE)])
def test_results_do_not_depend_on_threads(kind, clip, monkeypatch):
    # Put no dense layer before layer_norm: with the width of this case, that layer would be slow.
    monkeypatch.setattr(cases, "COUPLE", set())
    name, case = kind.split()[0], LARGE.get(kind) or layers.CASES[kind][0]
    one, *others = (history(CORE32, name, case, n, clip) for n in (1, 2, 4))
    for other in others:
        assert len(one) == len(other)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# ---- invalid layers --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape", "config", "before", "reads", "text"), MISFITS)
def test_errors_name_the_layer(kind, shape, config, before, reads, text):
    names = ["input", *(f"before{i}" for i in range(len(before)))]
    made = [
        {"kind": k, "name": f"before{i}", "inputs": [names[j] for j in read], "config": c}
        for i, (k, c, read) in enumerate(before)
    ]
    it = {"kind": kind, "name": "it", "inputs": [names[j] for j in reads], "config": config}
    with pytest.raises(ValueError, match=f"^it: .*{text}|^it: {text}"):
        CORE32.Network({"input": shape, "layers": [*made, it]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_number_of_inputs_is_refused(kind):
    case = layers.CASES[kind][0]

    def refused(n: int, text: str) -> str:
        it = {"kind": kind, "name": "it", "inputs": ["input"] * n, "config": case["config"]}
        with pytest.raises(ValueError, match=f"^it: {text}") as error:
            CORE32.Network({"input": case["input"], "layers": [it]})
        return str(error.value)

    text = refused(0, rf"{kind} takes \d+ to \d+ inputs, got 0")
    most = int(re.search(r"to (\d+) inputs", text)[1])
    refused(most + 1, rf"({kind} takes \d+ to|at most) {most} inputs, got {most + 1}")

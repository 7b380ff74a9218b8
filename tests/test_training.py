"""Runs are bit-identical for any number of threads and any division into calls.

Each row is used once an epoch, losses and updates equal their equations, and inputs can become
extinct.
"""

from __future__ import annotations

import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, CORE64, EVERY, name_of
from reference import laws

# ---- golden values ---------------------------------------------------------------------------

# Ten losses of the network below, in float64. If they change, say in the commit what changed.
GOLDEN = [
    1.2729892329892138,
    1.2056974595210166,
    1.0314315038515154,
    0.9646449142559311,
    1.13569136998608,
    1.0472328107830824,
    1.0851819588986091,
    1.0454393610925017,
    1.039035481547848,
    1.079015440909416,
]


def golden_data(core):
    """Return data made by plain arithmetic, equal on every machine."""
    i = np.arange(90 * 6)
    x = ((i * i * 7 + 3 * i) % 101 / 50 - 1).reshape(90, 6).astype(core.dtype)
    return x, (np.arange(90) * 5 % 7 % 3)


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_ten_golden_losses(core):
    net = runs.network(core, optimizer_config={"weight_decay": 0.1}, clip=2.0)
    loss = runs.train(net, golden_data(core), 10, rate=0.02)["loss"]
    tolerance = 1e-12 if core.dtype == "float64" else 1e-6
    assert loss.tolist() == pytest.approx(GOLDEN, rel=tolerance)


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    nets = [runs.network(seed=seed) for seed in (1, 1, 2)]
    for net in nets:
        runs.train(net, runs.data(), 30)
    assert runs.same(runs.state(nets[0], True), runs.state(nets[1], True))
    assert not runs.same(runs.state(nets[0]), runs.state(nets[2]))


# Wide enough that threads compute a weight's gradient in several parts.
WIDE = {"hidden": (300, 200), "features": 200, "classes": 10}


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_results_do_not_depend_on_threads(clip, optimizer):
    xy = runs.data(rows=300, features=200, classes=10)
    states, records = [], []
    for threads in (1, 2, 3, 7):
        net = runs.network(clip=clip, optimizer=optimizer, **WIDE)
        records.append(runs.train(net, xy, 40, batch=70, threads=threads))
        states.append(runs.state(net, True) | {"logits": net.predict(xy[0], threads=threads)})
    assert all(runs.same(states[0], other) for other in states[1:])
    assert records[0]["compactions"] > 0
    for other in records[1:]:
        assert all(np.array_equal(records[0][key], other[key]) for key in records[0])


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("dynamics", ["malthusian", "wright_fisher", "replicator_mutator"])
def test_chunks_of_any_length_make_one_run(core, clip, dynamics):
    selection = runs.QUICK | {"dynamics": dynamics, "memory": 0.8, "every": 2, "removal": "always"}
    if dynamics != "malthusian":
        selection["dynamics_config"] = {}
    xy, settings = runs.data(core), {"threads": 2}
    whole = runs.network(core, selection, clip=clip)
    expected = runs.train(whole, xy, 90, **settings)
    random = np.random.default_rng(4)
    for chunks in ([1] * 90, [89, 1], [0, 30, 0, 60], random.multinomial(90, [0.05] * 20)):
        parts = runs.network(core, selection, clip=clip)
        records = [runs.train(parts, xy, int(n), **settings) for n in chunks]
        assert runs.same(runs.state(parts, True), runs.state(whole, True))
        for key in ("loss", "hits", "weight", "deaths"):
            assert np.array_equal(np.concatenate([r[key] for r in records]), expected[key]), key
        assert sum(r["steps"] for r in records) == 90
        assert sum(r["compactions"] for r in records) == expected["compactions"]
        assert sum(r["floor_reached"] for r in records) == expected["floor_reached"]


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_is_its_equations(optimizer, clip):
    """Decay applies to weights only; the optimizer and gradient clipping to all but masses."""
    more = {"momentum": 0.8, "nesterov": True} if optimizer == "sgd" else {}
    config = {"weight_decay": 0.3} | more
    net = runs.network(CORE64, None, optimizer=optimizer, optimizer_config=config, clip=clip)
    whole = CORE64.settings("optimizers", optimizer, config)
    roles = {t["name"]: t["role"] for t in net.describe()["tensors"]}
    x, y = runs.data(CORE64)
    for step in range(4):
        before = runs.state(net)
        runs.train(net, (x, y), 1, rate=0.01, batch=25, shuffle=False)
        moved = [name for name, role in roles.items() if role in ("decayed", "free")]
        norm = np.sqrt(sum(np.sum(net.array(name, "gradient") ** 2) for name in moved))
        assert norm > 0.05
        scale = clip / norm if clip else 1.0
        for name, role in roles.items():
            value, first, second = (before[name, of] for of in ("value", "first", "second"))
            if name in moved:
                value, first, second = getattr(laws, optimizer)(
                    whole, value, net.array(name, "gradient"), first, second,
                    0.01, 0.3 if role == "decayed" else 0.0, scale, step + 1)  # fmt: skip
            exactly = {"rtol": 1e-12, "atol": 1e-18}
            assert np.allclose(net.array(name), value, **exactly), name
            assert np.allclose(net.array(name, "first"), first, **exactly), name
            if optimizer == "adamw":
                assert np.allclose(net.array(name, "second"), second, **exactly), name


def test_single_steps_are_a_run():
    one, other = runs.network(), runs.network()
    x, y = runs.data()
    for step in range(20):
        runs.train(one, (x, y), 1, batch=25, shuffle=False)
        rows = slice(step % 4 * 25, step % 4 * 25 + 25)
        other.forward(x[rows], training=True)
        other.backward(y[rows])
        other.gradient()
        other.update(3e-3)
        other.evolve(1.0)
        other.compact()
    one.compact()
    assert one.generation == other.generation == 20
    assert runs.same(runs.state(one), runs.state(other))


# ---- batches ---------------------------------------------------------------------------------


def batches(net, xy, steps, **settings):
    """Return the row numbers of each batch, which column 0 of x contains."""
    found = []
    for _ in range(steps):
        runs.train(net, xy, 1, rate=0, pressure=0, strength=0, **settings)
        found.append(net.activation("input")[:, 0].astype(int))
    return found


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("rows", "batch"), [(100, 32), (64, 32), (20, 32), (33, 1)])
def test_an_epoch_has_every_row_once(shuffle, rows, batch):
    x, y = runs.data(rows=rows)
    x[:, 0] = np.arange(rows)
    per_epoch = -(-rows // batch)
    found = batches(runs.network(), (x, y), 3 * per_epoch, batch=batch, shuffle=shuffle)
    sizes = [len(b) for b in found]
    assert sizes[:per_epoch] == [batch] * (rows // batch) + [rows % batch] * (rows % batch > 0)
    epochs = [np.concatenate(found[i * per_epoch :][:per_epoch]) for i in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(rows))
        assert (epoch.tolist() == list(range(rows))) == (not shuffle)
    if shuffle:
        assert epochs[0].tolist() != epochs[1].tolist() != epochs[2].tolist()
        again = batches(runs.network(), (x, y), per_epoch, batch=batch, shuffle=True)
        other = batches(runs.network(seed=9), (x, y), per_epoch, batch=batch, shuffle=True)
        assert np.array_equal(np.concatenate(again), epochs[0])
        assert not np.array_equal(np.concatenate(other), epochs[0])


def test_consecutive_epochs_have_unrelated_orders():
    """Neighbors in one epoch are not neighbors in the next: rank correlations are small."""
    x, y = runs.data(rows=1000)
    x[:, 0] = np.arange(1000)
    net = runs.network()
    epochs = [batches(net, (x, y), 1, batch=1000)[0] for _ in range(5)]
    places = np.array([np.argsort(e) for e in epochs] + [np.arange(1000)])
    correlations = np.corrcoef(places)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 0.13  # four standard deviations
    steps = np.corrcoef([(np.diff(e)) for e in epochs])[np.triu_indices(5, 1)]
    assert np.abs(steps).max() < 0.16


def test_only_chosen_rows_are_used():
    x, y = runs.data()
    rows = np.array([7, 3, 3, 99, 0, 41, 12] * 6)
    one, other = runs.network(), runs.network()
    runs.train(one, (x, y), 12, batch=16, rows=rows)
    runs.train(other, (x[rows], y[rows]), 12, batch=16)
    assert runs.same(runs.state(one), runs.state(other))
    assert one.evaluate(x, y, rows=rows) == other.evaluate(x[rows], y[rows])


def test_inputs_are_scaled_when_gathered():
    x, y = runs.data()
    shift, scale = np.float32([0.5, 1, 2, 3, 4, 5]), np.float32([2, 1, 3, 0.5, 0, 1])
    for s, f in ((shift, scale), (np.float32(0.25), np.float32(3))):
        one, other = runs.network(), runs.network()
        one.scale_input(s, f)
        runs.train(one, (x, y), 5)
        runs.train(other, ((x - s) * f, y), 5)
        assert runs.same(runs.state(one), runs.state(other))
        assert np.array_equal(one.predict(x), other.predict((x - s) * f))
    bytes_ = np.random.default_rng(0).integers(0, 256, (50, 6), np.uint8)
    assert np.array_equal(one.predict(bytes_), other.predict((np.float32(bytes_) - s) * f))


def image(inputs=False, seed=1):
    """Return a network for flattened 5 x 4 x 2 images."""
    return runs.network(features=40, inputs=inputs, seed=seed)


def test_images_are_augmented_in_training_only():
    x, y = runs.data(features=40)
    augment = {"shift": 2, "flip": True, "shape": (5, 4, 2)}
    nets = [image() for _ in range(3)]
    loss = [runs.train(n, (x, y), 12, augment=augment, threads=t)["loss"]
            for n, t in zip(nets, (1, 2, 4), strict=True)]  # fmt: skip
    assert np.array_equal(loss[0], loss[1])
    assert runs.same(runs.state(nets[0]), runs.state(nets[2]))
    plain = image()
    assert not np.array_equal(runs.train(plain, (x, y), 12)["loss"], loss[0])
    seen = nets[0].activation("input").reshape(-1, 5, 4, 2)
    fresh = image()
    runs.train(fresh, (x, y), 12, rate=0, pressure=0)
    still = fresh.activation("input").reshape(-1, 5, 4, 2)
    moved = 0
    for got, from_ in zip(seen, still, strict=True):
        padded = np.pad(from_, [(2, 2), (2, 2), (0, 0)])
        possible = [w[:, ::turn] for turn in (1, -1) for i in range(5) for j in range(5)
                    for w in (padded[i : i + 5, j : j + 4],)]  # fmt: skip
        assert any(np.array_equal(got, other) for other in possible)
        moved += not np.array_equal(got, from_)
    assert moved > len(seen) / 2
    before = nets[0].predict(x)
    assert np.array_equal(before, nets[0].predict(x))


# ---- losses of a batch -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "config"),
    [
        ("cross_entropy", {}),
        ("cross_entropy", {"label_smoothing": 0.2}),
        ("cross_entropy", {"class_weights": [1, 0, 3], "label_smoothing": 0.1}),
        ("mean_squared_error", {}),
        ("binary_cross_entropy", {}),
    ],
)
@pytest.mark.parametrize("sequence", [False, True])
def test_the_loss_of_a_batch_is_a_weighted_mean(loss, config, sequence):
    core, random = CORE64, np.random.default_rng(2)
    spec = runs.spec(hidden=(8,))
    if sequence:
        spec["input"] = [4, 6]
    net = core.Network(spec)
    net.configure(loss=loss, loss_config=config)
    x = random.standard_normal((50, *spec["input"]))
    shape = (50, 4) if sequence else (50,)
    if loss == "cross_entropy":
        y = random.integers(-1 if sequence else 0, 3, shape)
    else:
        y = random.integers(0, 2, (*shape, 3)).astype(float)
    logits = net.predict(x).reshape(-1, 3)
    whole = core.settings("losses", loss, config)
    targets = y.ravel() if loss == "cross_entropy" else y.reshape(-1, 3)
    losses, weights, hits, _ = getattr(laws, loss)(whole, logits, targets)
    mean, share, weight = net.evaluate(x, y)
    assert mean == pytest.approx(losses.sum() / weights.sum(), rel=1e-12)
    assert weight == pytest.approx(weights.sum())
    if loss != "mean_squared_error":
        assert share == pytest.approx(hits.sum() / (weights > 0).sum())
    record = runs.train(net, (x, y), 3, rate=0, batch=20, shuffle=False)
    per = len(losses) // 50
    for i, rows in enumerate(
        (slice(0, 20 * per), slice(20 * per, 40 * per), slice(40 * per, None))
    ):
        assert record["loss"][i] == pytest.approx(losses[rows].sum() / weights[rows].sum())
        assert record["weight"][i] == pytest.approx(weights[rows].sum())
        assert record["hits"][i] == hits[rows].sum()
        assert record["counted"][i] == (weights[rows] > 0).sum()


def test_ignored_positions_have_no_gradient():
    spec = runs.spec(hidden=(8,)) | {"input": [4, 6]}
    random = np.random.default_rng(2)
    x, y = random.standard_normal((30, 4, 6)).astype("f4"), random.integers(0, 3, (30, 4))
    y[:, 2] = -1
    other = x.copy()
    other[:, 2] = 100
    nets = [CORE32.Network(spec) for _ in range(2)]
    for net, inputs in zip(nets, (x, other), strict=True):
        net.configure()
        runs.train(net, (inputs, y), 10)
    assert runs.same(runs.state(nets[0]), runs.state(nets[1]))
    record = runs.train(nets[0], (x, np.full((30, 4), -1)), 1, rate=0.1)
    assert record["loss"][0] == record["weight"][0] == 0


# ---- input features as populations -----------------------------------------------------------


@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_features_may_be_populations(core):
    """Features without information become extinct, and are no longer read."""
    selection = runs.QUICK | {"dynamics_config": {"lifespan": 60}}
    net = runs.network(core, selection, inputs=True)
    x, y = runs.data(core, rows=400)
    runs.train(net, (x, y), 600, rate=1e-2, threads=2)
    net.compact()
    left = runs.births(net)["input"]
    assert set(left) <= {1, 2, 4, 5}
    assert len(left) >= 2
    assert net.array("in0.weight").shape[0] == len(left)
    rubbish = x.copy()
    rubbish[:, [f for f in range(6) if f not in left]] = np.nan
    assert np.array_equal(net.predict(rubbish), net.predict(x))
    assert net.evaluate(rubbish, y) == net.evaluate(x, y)
    runs.train(net, (rubbish, y), 5)


def test_extinct_features_are_read_as_zeros_until_removal():
    xy = runs.data(rows=400)
    nets = [
        runs.network(selection=runs.QUICK | {"removal": removal}, inputs=True)
        for removal in ("always", "never")
    ]
    records = [runs.train(net, xy, 200, augment={"shift": 1, "shape": (2, 3)}) for net in nets]
    assert len(records[0]["deaths"]) > 0
    assert np.array_equal(records[0]["loss"], records[1]["loss"])
    assert np.array_equal(records[0]["deaths"], records[1]["deaths"])
    assert np.array_equal(nets[0].predict(xy[0]), nets[1].predict(xy[0]))


@pytest.mark.parametrize("every", [1, 3, 8])
def test_removal_waits_for_half_a_step_of_wasted_work(every):
    """Work wasted on extinct populations adds up at every step, not only at generations."""
    selection = runs.QUICK | {"removal": "auto", "every": every, "min_age": 10**6}
    xy = runs.data()
    net = runs.network(selection=selection)
    population = net.describe()["populations"][0]
    before, born = net.macs, net.array(f"{population['layer']}.mass").size
    net.kill(population["layer"], np.arange(1))
    while net.array(f"{population['layer']}.mass").size == born:
        runs.train(net, xy, 1)
        assert net.step < 1000
    wasted = 1 - net.macs / before
    assert 0 < every * wasted < 0.5, "one generation may not be enough"
    assert net.step == every * int(np.ceil(0.5 / (every * wasted)))

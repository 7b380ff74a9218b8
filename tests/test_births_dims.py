"""Births of the dimensions inside attention heads: outputs, gradients and runs.

A dimension has one mass, which multiplies its queries and its outputs but not its keys. The twin
computes such heads from the arrays of a network, one dimension at a time.
"""

from __future__ import annotations

import copy

import exported
import numpy as np
import pytest
import runs
from cores import CORE32, CORE64, name_of, real
from reference import layers_attention

import evoprune as ep

DIMS = "heads1_dims"
KINDS = ["division", "immigration"]


def births(kind="division", **more):
    return ep.Births(more.pop("rate", 0.5), kind=kind, every=1, **({"capacity": 2} | more))


def law(of: ep.Births, pressure=1.0) -> ep.Selection:
    return ep.Selection(pressure, dynamics="none", births=of, min_age=0, upkeep="soft")


def block(dtype="float64", causal=False) -> ep.Network:
    """Return a network of one attention layer with living dimensions, in a residual branch."""
    return ep.Sequential(
        [ep.Residual(ep.heads(3, 4, causal=causal, living_dims=True)), ep.Dense(3, contract=2)],
        input=(7, 5), seed=3, dtype=dtype,
    )  # fmt: skip


NETS = {
    "block": block,
    "causal": lambda dtype="float64": block(dtype, True),
    "vit": lambda dtype="float64": ep.vit(
        (8, 8, 1), 3, dim=8, layers=2, heads=2, hidden=6, living_dims=True, seed=1, dtype=dtype
    ),
    "charlm": lambda dtype="float64": ep.charlm(
        5, 6, dim=8, layers=2, heads=2, hidden=6, living_dims=True, seed=1, dtype=dtype
    ),
}


def data(net: ep.Network, rows=24) -> tuple[np.ndarray, np.ndarray]:
    random, shape = np.random.default_rng(0), (rows, *net.spec["input"])
    if net.spec["layers"][0]["kind"] == "embedding":
        return random.integers(0, 5, shape), random.integers(0, 5, shape)
    return random.normal(size=shape).astype(net.dtype), random.integers(0, 3, rows)


def step(net: ep.Network, x, y, rate: float) -> None:
    net.forward(x, training=True)
    net.backward(y)
    net.gradient()
    net.update(rate)


def ready(name: str, of: ep.Births, dtype="float64"):
    """Return a network after five steps, with random masses and ready for births, and its data."""
    net = NETS[name](dtype)
    x, y = data(net)
    net.configure(selection=None)
    for _ in range(5):
        step(net, x, y, 1e-2)
    random = np.random.default_rng(2)
    for layer in net.born:
        net[f"{layer}.mass"][...] = random.uniform(0.5, 2, net.born[layer])
    net.configure(selection=law(of).config())
    return net, x, y


def grown(net: ep.Network) -> set[str]:
    return {layer for layer, n in net.alive.items() if n > net.born[layer]}


def gradients(net: ep.Network, x, y) -> dict[str, np.ndarray]:
    net.forward(x, training=True)
    net.backward(y)
    net.gradient()
    return {name: net.gradients[name].copy() for name in net}


# ---- the twin ------------------------------------------------------------------------------------


def twin(net: ep.Network, x: np.ndarray, causal: bool) -> np.ndarray:
    """Return the outputs of `block` as NumPy: every dimension counts by its mass."""
    w = {name: net[name].astype(np.float64) for name in net}
    part = {n: np.einsum("bpi,ihd->bphd", x, w[f"heads1_{n}.weight"]) for n in PARTS}
    m = w[f"{DIMS}.mass"]
    read = layers_attention.attention(
        (part["queries"] * m, part["keys"], part["values"]), {}, {"causal": causal},
        dims_at_birth=net.born[DIMS],
    )  # fmt: skip
    read = read * m * w["heads1.mass"][:, None]
    stream = x + np.einsum("bphd,hdi->bpi", read, w["heads1_out.weight"])
    return np.einsum("bpi,pio->bo", stream, w["dense1.weight"])


PARTS = ("queries", "keys", "values")


@pytest.mark.parametrize("core", [CORE32, CORE64], ids=name_of)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["block", "causal"])
def test_a_grown_layer_computes_what_the_twin_does(name, kind, core):
    """Also with three times as many dimensions as founders: the scale of the scores stays."""
    dtype = real(core)
    of = births(kind, rate=2.0, capacity=3, mutation=0.3)
    net, x, y = ready(name, of, np.dtype(dtype).name)
    for _ in range(6):
        net.forward(x, training=True)
        net.backward(y)
        net.gradient()
        net.evolve(1.0)
        net.update(1e-2)
    assert net.alive[DIMS] == 3 * net.born[DIMS]
    assert net.alive["heads1"] > net.born["heads1"]
    exported.agree(
        net.predict(x), twin(net, x, name == "causal"), 1e-5 if core is CORE32 else 1e-12
    )


# ---- unchanged outputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_division_without_mutation_keeps_outputs_and_halves_gradients(name):
    net, x, y = ready(name, births(mutation=0))
    whole = net.copy()
    before, after = runs.bear(net, x, y)
    born = grown(net)
    assert DIMS in born
    assert "heads1" in born  # heads divide in the same generation
    assert np.abs(after - before).max() <= 1e-12 * np.abs(before).max()
    whole.configure(selection=None)
    one, two = gradients(whole, x, y), gradients(net, x, y)
    axes = {t["name"]: t["axes"] for t in net.describe()["tensors"]}
    owner = {row["axis"]: row["layer"] for row in net.describe()["populations"]}
    moments = [{n: m[n].copy() for n in net} for m in whole.moments]
    checked = 0
    for tensor in net:
        if tensor.rpartition(".")[2] not in ("weight", "mass", "bias", "gain", "table", "value"):
            continue
        mass = tensor.endswith(".mass")
        # The place of every population's origin, and its share of the origin's mass, by dimension.
        places, shares = [], []
        for axis, n in zip(axes[tensor], net[tensor].shape, strict=True):
            layer = owner.get(axis)
            origin, share = origins(net, whole, layer) if layer else (np.arange(n), np.ones(n))
            places.append(origin)
            shares.append(np.ones(n) if mass else share)
        share = np.ones(())
        for each in shares:
            share = np.multiply.outer(share, each)
        if places:
            expected = one[tensor][np.ix_(*places)] * share
            scale = np.abs(one[tensor]).max() + 1e-30
            assert np.abs(two[tensor] - expected).max() <= 1e-11 * scale, tensor
            if not mass:
                for group, power in zip((0, 1), (1, 2), strict=True):
                    was = moments[group][tensor][np.ix_(*places)] * share**power
                    assert np.allclose(net.moments[group][tensor], was, rtol=1e-13), tensor
            checked += (share < 1).any()
    assert checked >= 4


def origins(net, whole, layer):
    """Return the places in `whole` from which populations come, and their shares of its mass."""
    mass, was, n = net[f"{layer}.mass"], whole[f"{layer}.mass"], whole.alive[layer]
    place = np.arange(len(mass))
    for child in range(n, len(mass)):  # masses are random, so they identify the parent
        place[child] = np.flatnonzero(np.isclose(was, 2 * mass[child], rtol=1e-14))[0]
    return place, mass / was[place]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETS)
def test_every_season_of_a_growing_network_keeps_outputs(name, kind):
    """Heads divide while dimensions have grown, and the other way round; some go extinct."""
    net, x, y = ready(name, births(kind, rate=1.0, capacity=4, mutation=0))
    for season in range(6):
        if season == 2:
            net.kill("heads1", [0])
            net.kill(DIMS, [1])
        before, after = runs.bear(net, x, y)
        assert np.abs(after - before).max() <= 1e-12 * np.abs(before).max(), season
        net.update(1e-2)
    assert {DIMS, "heads1"} <= grown(net)
    assert 1 not in net.births(DIMS)


@pytest.mark.parametrize("name", NETS)
def test_halves_train_like_the_undivided_dimension(name):
    net, x, y = ready(name, births(mutation=0))
    whole = net.copy()
    before, _ = runs.bear(net, x, y)
    for one in (net, whole):
        one.configure(selection=None)
        for _ in range(3):
            step(one, x, y, 1e-4)
    moved = np.abs(whole.predict(x) - before).max()
    assert moved > 1e-4
    assert np.abs(net.predict(x) - whole.predict(x)).max() <= 2e-3 * moved


@pytest.mark.parametrize("name", NETS)
def test_a_mutation_changes_outputs_to_second_order(name):
    """The halves' changes of a score are (q + e)(k + f) + (q - e)(k - f) = 2 (q k + e f)."""
    changes = []
    for mutation in (2e-3, 1e-3):
        net, x, y = ready(name, births(mutation=mutation))
        before, after = runs.bear(net, x, y)
        assert DIMS in grown(net)
        changes.append(np.abs(after - before).max())
    assert changes[1] > 0
    assert 3.5 < changes[0] / changes[1] < 4.5


def test_mutations_of_queries_keys_and_values_are_independent():
    """Otherwise the second-order changes of all scores would have the same sign."""
    net, x, y = ready("vit", births(mutation=0.1))
    names = [f"heads1_{part}.weight" for part in PARTS]
    old = [net[name].copy() for name in names]
    runs.bear(net, x, y)
    heads, dims = net.born["heads1"], net.born[DIMS]
    of = [(net[n][:, :heads, :dims] / w - 1) for n, w in zip(names, old, strict=True)]
    changed = np.all([np.abs(z) > 1e-9 for z in of], axis=0)
    assert changed.sum() > 20
    between = np.corrcoef([z[changed] for z in of]) - np.eye(3)
    assert np.abs(between).max() < 0.5


@pytest.mark.parametrize("name", NETS)
def test_an_immigrant_changes_no_output_and_can_learn(name):
    net, x, y = ready(name, births("immigration"))
    n = net.born[DIMS]
    before, after = runs.bear(net, x, y)
    assert {DIMS, "heads1"} <= grown(net)
    assert np.abs(after - before).max() <= 1e-13 * np.abs(before).max()
    assert (net[f"{DIMS}.mass"][n:] == 1).all()
    assert not net["heads1_keys.weight"][:, :, n:].any()
    assert not net["heads1_out.weight"][:, n:].any()
    heads = net.born["heads1"]
    for part in ("queries", "values"):
        new = net[f"heads1_{part}.weight"][:, :heads, n:]
        assert 0.1 < new.std() < 1
    of = gradients(net, x, y)
    assert np.abs(of["heads1_keys.weight"][:, :heads, n:]).max() > 1e-8
    assert np.abs(of["heads1_out.weight"][:heads, n:]).max() > 1e-8
    net.configure(selection=None)
    for _ in range(3):
        step(net, x, y, 1e-2)
    of = gradients(net, x, y)
    for part in ("queries", "values"):
        assert np.abs(of[f"heads1_{part}.weight"][:, :heads, n:]).max() > 1e-8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["block", "causal"])
def test_gradients_of_a_grown_layer_are_those_of_finite_differences(name, kind):
    net, x, y = ready(name, births(kind, rate=2.0, capacity=3, mutation=0.3))
    for _ in range(4):
        runs.bear(net, x, y)
        net.update(1e-2)
    assert net.alive[DIMS] > 2 * net.born[DIMS]
    of = gradients(net, x, y)
    h = 1e-6

    def loss():
        net.forward(x, training=True)
        return net.backward(y)

    for tensor in net:
        if tensor.rpartition(".")[2] not in ("weight", "mass"):
            continue
        flat = net[tensor].reshape(-1)
        for i in {0, flat.size // 3, flat.size // 2, flat.size - 1}:
            value = flat[i]
            flat[i] = value + h
            up = loss()
            flat[i] = value - h
            down = loss()
            flat[i] = value
            assert abs((up - down) / (2 * h) - of[tensor].reshape(-1)[i]) < 1e-6, (tensor, i)


def test_features_of_the_stream_cannot_be_born_beside_dimensions():
    net = ep.vit((8, 8, 1), 3, dim=8, layers=1, heads=2, living_dims=True, living_stream=True)
    x, y = data(net)
    net.configure(selection=law(births()).config())
    runs.bear(net, x, y)
    assert DIMS in grown(net)
    assert "stream" not in grown(net)


# ---- runs ----------------------------------------------------------------------------------------


def images(rows=120):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 8, 8, 1)).astype("float32")
    return x, np.abs(x[:, 2:6, 2:6].sum((1, 2, 3))).astype(int).clip(0, 2)


def settings(kind="division", **more):
    of = ep.Births(0.05, kind=kind, every=4, capacity=2.5, mutation=0.2)
    return ep.Selection(
        0.6, dynamics=ep.Malthusian(lifespan=20), births=of, min_age=5, threshold=0.2, **more
    )


def transformer() -> ep.Network:
    return ep.vit(
        (8, 8, 1), 3, dim=12, layers=2, heads=2, hidden=12, living_dims=True, dropout=0.1, seed=1
    )


def fitted(selection, epochs=8, until=None, net=None):
    trainer = ep.Trainer(net or transformer(), selection=selection, optimizer=ep.AdamW(3e-3))
    trainer.fit(
        *images(), epochs=epochs, batch_size=16, until=until, progress=False, record_every=5
    )
    return trainer


def test_dimensions_are_born_in_training_and_their_descent_is_recorded():
    trainer = fitted(settings())
    net, history = trainer.network, trainer.history
    rows = history.births[history.births["layer"] == DIMS]
    assert len(rows) > 3
    founders = net.born[DIMS]
    parents = history.lineage(DIMS)
    assert parents[:founders].tolist() == [-1] * founders
    assert parents[founders:].tolist() == rows["parent"].tolist()
    assert net.ever_born[DIMS] == founders + len(rows)
    mass = history.trajectories("mass", DIMS)
    assert np.flatnonzero(~np.isnan(mass[-1])).tolist() == net.births(DIMS).tolist()
    terms = history.price("fitness", DIMS)
    assert np.allclose(terms.selection + terms.transmission, terms.change, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_results_do_not_depend_on_threads(kind):
    x, y = images()
    found = []
    for threads in (1, 2, 4):
        net = transformer()
        of = ep.Births(0.2, kind=kind, every=2, capacity=3.0, mutation=0.2)
        net.configure(selection=settings().replace(births=of).config())
        record = net.core.train(
            x, y, batch=16, first=0, rate=np.full(30, 1e-2), pressure=np.full(30, 0.6),
            strength=np.ones(30), threads=threads,
        )  # fmt: skip
        assert net.ever_born[DIMS] > net.born[DIMS]
        found.append((runs.grown_state(net), record["births"].tolist(), record["deaths"].tolist()))
    for other in found[1:]:
        runs.assert_same(found[0][0], other[0])
        assert found[0][1:] == other[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_trainer_equals_an_uninterrupted_one(tmp_path, kind):
    whole = fitted(settings(kind))
    half = fitted(settings(kind), until=3)
    half.save(tmp_path / "state")
    again = ep.Trainer(transformer(), selection=settings(kind), optimizer=ep.AdamW(3e-3))
    again.restore(tmp_path / "state")
    again.resume(*images(), progress=False)
    assert (whole.history.births["layer"] == DIMS).any()
    runs.assert_same(runs.grown_state(whole.network), runs.grown_state(again.network))
    assert np.array_equal(whole.history.births, again.history.births)


def test_memory_of_a_run_is_planned():
    net = transformer()
    trainer = ep.Trainer(net, selection=settings(), optimizer=ep.AdamW(3e-3))
    plan = trainer.plan(images(), epochs=8, batch_size=16)
    trainer.fit(*images(), epochs=8, batch_size=16, progress=False)
    assert net.ever_born[DIMS] > net.born[DIMS]
    assert net.nbytes == plan.memory


def test_files_copies_and_folding_keep_outputs(tmp_path):
    net = fitted(settings()).network
    assert net.alive[DIMS] > net.born[DIMS]
    x, _ = images()
    outputs = net.predict(x)
    net.save(tmp_path / "net.safetensors", moments=True)
    loaded = ep.load(tmp_path / "net.safetensors")
    for other in (loaded, copy.deepcopy(net)):
        runs.assert_same(runs.grown_state(net), runs.grown_state(other))
        assert np.array_equal(other.predict(x), outputs)
    further = [fitted(settings(), epochs=6, net=n).network for n in (loaded, net.copy())]
    runs.assert_same(runs.grown_state(further[0]), runs.grown_state(further[1]))
    net.compact()
    exported.agree(net.folded().predict(x), outputs)

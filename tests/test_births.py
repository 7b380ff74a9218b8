"""Births equal those of the NumPy twin and leave the outputs of the network unchanged."""

from __future__ import annotations

import pickle

import cases
import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, CORE64, name_of
from reference import births as twin
from reference import layers

import evoprune as ep

RATES = ["upkeep", "vacancies", 0.05]


# ---- which populations are born ------------------------------------------------------------------


@pytest.mark.parametrize("niche", ["layer", "network"])
@pytest.mark.parametrize("kind", ["division", "immigration"])
@pytest.mark.parametrize("rate", RATES)
def test_a_community_has_the_births_of_the_twin(rate, kind, niche):
    births = ep.Births(rate, kind=kind, capacity=1.5, every=2, least_strength=0.3)
    selection = ep.Selection(
        0.6, dynamics=ep.Malthusian(lifespan=12), births=births, niche=niche, memory=0.5,
        threshold=0.2, floor=1, min_age=3,
    )  # fmt: skip
    born = {"a": 6, "b": 10}
    community = ep.Community(born, selection, dtype="float64")
    random = np.random.default_rng(1)
    worth = {name: random.exponential(size=n) for name, n in born.items()}
    total = 0
    for generation in range(1, 90):
        strength = float(random.choice([0, 0.2, 0.3, 1, 1, 1]))
        fitness = {n: w * random.uniform(0.5, 1.5, len(w)) for n, w in worth.items()}
        before = {n: (m.copy(), community.births[n]) for n, m in community.mass.items()}
        sizes = {n: len(m) for n, (m, _) in before.items()}
        so_far = len(community.lineage)
        seen = watched(community, fitness, strength)
        community.step(fitness=fitness, strength=strength)
        new = community.lineage[so_far:]
        mean = np.concatenate([layer.fitness for layer, _ in seen.values()]).mean()
        for name, (layer, ids) in seen.items():
            if niche == "layer":
                mean = layer.fitness.mean()
            settings = births.config()
            places, immigrants = twin.births(settings, layer, mean, generation, strength)
            rows = new[new["layer"] == name]
            wanted = ids[places].tolist() if kind == "division" else [-1] * immigrants
            assert rows["parent"].tolist() == wanted
            assert rows["birth"].tolist() == list(range(sizes[name], sizes[name] + len(rows)))
            mass = community.mass[name]
            if kind == "division":
                assert np.array_equal(mass[rows["parent"]], layer.mass[places] / 2)
                assert np.array_equal(mass[rows["birth"]], layer.mass[places] / 2)
            else:
                assert (mass[rows["birth"]] == 1).all()
            heirs = worth[name][rows["parent"]] if kind == "division" else np.ones(len(rows))
            worth[name] = np.append(worth[name], heirs)
            total += len(rows)
    assert total > 5


@pytest.mark.parametrize(("least", "expected"), [(0, [1, 1, 1, 0]), (0.3, [1, 0, 1, 0])])
def test_no_population_is_born_while_selection_is_weak(least, expected):
    births = ep.Births(0.25, kind="immigration", every=1, capacity=9, least_strength=least)
    community = ep.Community(4, ep.Selection(0.5, births=births))
    for strength in (1.0, 0.2, 0.3, 0.0):
        community.step(fitness=np.ones(len(community.mass)), strength=strength)
    assert np.bincount(community.lineage["generation"] - 1, minlength=4).tolist() == expected


def watched(community, fitness, strength=1.0):
    """Step a copy without births; return, by layer, the survivors (as `Layer`) and their ids."""
    other = pickle.loads(pickle.dumps(community))
    none = ep.Community(
        community.born, community.selection.replace(births=None), dtype=community.dtype
    )
    none.load_state_dict(other.state_dict())
    before = dict(none.births.items())
    upkeep_of = {}
    none.step(fitness=fitness, strength=strength)
    raw = none._core.price(none._pressure)  # smoothed fitness; upkeep is computed below
    fits = none._by_layer(raw[0])
    founded = sum(community.born.values())
    whole = community.selection.niche == "network"
    everyone = np.concatenate([_memory(none, name)[before[name]] for name in none.layers])
    for name in none.layers:
        own = _memory(none, name)[before[name]]
        pool, n0 = (everyone, founded) if whole else (own, community.born[name])
        upkeep_of[name] = 0.6 * (pool.sum() - own) / (n0 - 1)
    found = {}
    for name in none.layers:
        ids = none.births[name]
        stay = np.isin(before[name], ids)
        layer = twin.Layer(
            none.mass[name][ids], fits[name][ids], upkeep_of[name][stay], community.born[name]
        )
        found[name] = (layer, ids)
    return found


def _memory(community, name):
    """Return the bias-corrected smoothed fitness, including that of newly extinct populations."""
    state = community._core.state()
    correction = 1 - 0.5 ** state["generation"]
    return community._by_layer(state["fitness"])[name] / correction


def test_division_conserves_mass_and_ids_are_never_reused():
    births = ep.Births("vacancies", every=1)
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=5), births=births, min_age=0)
    community = ep.Community(12, selection, dtype="float64")
    random = np.random.default_rng(0)
    for _ in range(80):
        n = len(community.mass)
        still = pickle.loads(pickle.dumps(community))
        fitness = random.exponential(size=n)
        community.step(fitness=fitness)
        none = ep.Community(12, selection.replace(births=None), dtype="float64")
        none.load_state_dict(still.state_dict())
        none.step(fitness=fitness)
        assert np.isclose(community.mass.sum(), none.mass.sum(), rtol=1e-14)
        assert len(community.births) <= 12
    rows = community.lineage
    assert len(rows) > 20
    assert rows["birth"].tolist() == list(range(12, 12 + len(rows)))
    assert (rows["parent"] < rows["birth"]).all()
    died = dict(community.extinct[["birth", "generation"]].tolist())
    for row in rows:  # a parent is alive when it divides
        assert died.get(row["parent"], 10**9) > row["generation"]


def test_drift_with_divisions_is_the_wright_fisher_chain_by_descent():
    """With equal fitness, the mean of 1 - sum x^2 is H0 (1 - 1/N)^t after t generations.

    x are the shares of the founders' descendants among N individuals, and H0 is the value of
    1 - sum x^2 at the start.
    """
    births, size, t = ep.Births(0.05, capacity=4, every=2), 40, 12
    found = []
    for seed in range(400):
        masses, rows = ep.simulate(
            ep.WrightFisher(size=size / 4, strength=1), np.ones(4),
            lambda mass: np.linspace(0, 1e-9, len(mass)), t, seed=seed, births=births,
        )  # fmt: skip
        founder = list(range(4))
        for row in rows:
            founder.append(founder[row["parent"]])
        share = np.bincount(founder, masses[-1], 4) / masses[-1].sum()
        found.append(1 - (share**2).sum())
        assert np.isclose(masses[-1].sum(), 4)
    expected = 0.75 * (1 - 1 / size) ** t
    assert len(rows) > 0
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(len(found))


# ---- unchanged outputs ---------------------------------------------------------------------------

NETS = {
    "dense": lambda dtype: ep.mlp(6, 12, 8, 3, activation="tanh", seed=1, dtype=dtype),
    "conv": lambda dtype: ep.Sequential(
        [
            ep.filters(4, 3, "gelu", norm=True),
            ep.MeanPool(2),
            ep.filters(6, 3, "gelu"),
            ep.Flatten(),
            ep.neurons(8, "gelu"),
            ep.Dense(3),
        ],
        input=(8, 8, 1),
        seed=1,
        dtype=dtype,
    ),
    "lenet": lambda dtype: ep.lenet5((16, 16, 1), 3, filters=(4, 6), neurons=10, dtype=dtype),
    "heads": lambda dtype: ep.vit((8, 8, 1), 3, dim=8, layers=2, heads=4, seed=1, dtype=dtype),
    "resnet": lambda dtype: ep.resnet(8, 4, input=(8, 8, 3), outputs=3, seed=1, dtype=dtype),
}


def ready(name, births, dtype="float64"):
    """Return a network after five training steps, ready for births, and its inputs and classes."""
    net = NETS[name](dtype)
    random = np.random.default_rng(0)
    x = random.normal(size=(40, *net.spec["input"])).astype(dtype)
    y = random.integers(0, 3, 40)
    net.configure(selection=None)
    for _ in range(5):
        net.forward(x, training=True)
        net.backward(y)
        net.gradient()
        net.update(1e-3)
    net.configure(
        selection=ep.Selection(
            1.0, dynamics="none", births=births, min_age=0, upkeep="soft"
        ).config()
    )
    return net, x, y


@pytest.mark.parametrize("name", NETS)
def test_a_division_without_mutation_keeps_outputs_now_and_after_training(name):
    births = ep.Births(0.5, every=1, capacity=2, mutation=0)
    net, x, y = ready(name, births)
    other = net.copy()
    before, after = runs.bear(net, x, y)
    grown = {n: k for n, k in net.alive.items() if k > net.born[n]}
    assert grown, net.alive
    assert np.abs(after - before).max() <= 1e-12 * np.abs(before).max()
    # Both halves train like the undivided population: outputs stay equal after steps of Adam.
    for one in (net, other):
        one.configure(selection=None)
        for _ in range(3):
            one.forward(x, training=True)
            one.backward(y)
            one.gradient()
            one.update(1e-5)
    assert np.allclose(net.predict(x), other.predict(x), rtol=0, atol=1e-4 * np.abs(before).max())


@pytest.mark.parametrize("name", [n for n in NETS if n not in ("lenet", "resnet")])
def test_a_mutation_changes_outputs_to_second_order(name):
    """Half the mutation changes outputs a quarter as much, if the activation is smooth."""
    changes = []
    for mutation in (2e-3, 1e-3):
        net, x, y = ready(name, ep.Births(0.5, every=1, capacity=2, mutation=mutation))
        before, after = runs.bear(net, x, y)
        changes.append(np.abs(after - before).max())
    assert changes[1] > 0
    assert 3.5 < changes[0] / changes[1] < 4.5


@pytest.mark.parametrize("name", NETS)
def test_an_immigrant_changes_no_output(name):
    net, x, y = ready(name, ep.Births(0.5, kind="immigration", every=1, capacity=2))
    masses = net.alive
    before, after = runs.bear(net, x, y)
    assert np.abs(after - before).max() <= 1e-13 * np.abs(before).max()
    grown = [n for n, k in net.alive.items() if k > masses[n]]
    assert grown
    for layer in grown:
        weights = net[f"{layer}.mass"][masses[layer] :]
        assert (weights == 1).all()
    first = net["dense1.weight"] if name == "dense" else None
    if first is not None:  # immigrants have random incoming and zero outgoing weights
        new = first[:, masses["populations1"] :]
        assert new.shape[1]
        assert 0.2 < new.std() < 1.5
        assert not net["dense2.weight"][masses["populations1"] :, : masses["populations2"]].any()


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_weights_of_immigrants_are_those_of_the_twin(name):
    """A new weight has the value that it would have if the whole new array were drawn at once."""
    net, x, y = ready(name, ep.Births(0.5, kind="immigration", every=1, capacity=2))
    old = {n: a.copy() for n, a in net.items()}
    runs.bear(net, x, y)
    told = net.core.describe()
    mortal = {a["name"] for a in told["axes"] if a["mortal"]}
    axes = {t["name"]: t["axes"] for t in told["tensors"]}
    seen = 0
    for i, layer in enumerate(told["layers"]):
        weight = f"{layer['name']}.weight"
        if layer["kind"] not in ("dense", "conv2d") or net[weight].shape == old[weight].shape:
            continue
        config = net.spec["layers"][i].get("config", {})
        shape = net[weight].shape
        fan = net[weight].size // shape[-1]
        noise = CORE64.random_fork(net.spec["seed"], 1_000_000 + i, net.core.generation)
        z = CORE64.random_normal(*noise, 0, net[weight].size).reshape(shape)
        gain = config.get("gain", 2**0.5)
        expected = twin.with_newborn(old[weight], z, gain / fan**0.5)
        for d, axis in enumerate(axes[weight][:-1]):
            if axis in mortal:  # the next layer reads immigrants with weight 0
                np.moveaxis(expected, d, 0)[old[weight].shape[d] :] = 0
        assert np.array_equal(net[weight], expected), weight
        seen += 1
    assert seen >= 2


def test_halves_are_those_of_the_twin():
    births = ep.Births(0.5, every=1, capacity=2, mutation=0.1)
    net, x, y = ready("dense", births)
    old = {n: a.copy() for n, a in net.items()}
    moments = [{n: m[n].copy() for n in net} for m in net.moments]
    runs.bear(net, x, y)
    n = net.born["populations2"]
    w = net["dense3.weight"]  # axis 0: populations2, which can divide; axis 1: outputs
    parent = [j for j in range(n) if net["populations2.mass"][j] == 0.5]
    assert parent
    assert len(w) == n + len(parent)
    for child in range(n, len(w)):
        j = next(p for p in parent if np.allclose(w[p] + w[child], 2 * old["dense3.weight"][p]))
        z = w[j] / old["dense3.weight"][j] - 1
        one, other = twin.halves(old["dense3.weight"][j], z / 0.1, 0.1)
        assert np.allclose(w[j], one, rtol=1e-12)
        assert np.allclose(w[child], other, rtol=1e-12)
        assert 0 < np.abs(z).max() < 0.5
        for at, share in enumerate((0.5, 0.25)):
            was = moments[at]["dense3.weight"][j]
            for half in (j, child):
                assert np.allclose(net.moments[at]["dense3.weight"][half], share * was, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_get_the_scratch_memory_that_newborn_populations_need(dtype):
    """A window of 7 x 7 over 256 channels needs more than the founders' 32 channels do.

    The sum reads the input again after that layer, so it notices if scratch reached into it.
    """
    branch = ep.Residual(ep.filters(32, 1, "tanh"), ep.Conv2d(kernel=7))
    net = ep.Sequential([branch, ep.Flatten(), ep.Dense(3)], input=(8, 8, 1), seed=1, dtype=dtype)
    births = ep.Births(7.0, kind="immigration", every=1, capacity=8)
    law = ep.Selection(1.0, dynamics="none", births=births, min_age=0)
    net.configure(selection=law.config())
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 1)).astype(dtype)
    before, after = runs.bear(net, x, np.arange(40) % 3)
    assert net.alive == {"filters1": 256}
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_gradients_are_right_after_a_birth():
    """Compare gradients with finite differences of the loss, on weights of newborn populations."""
    net, x, y = ready("conv", ep.Births(0.5, every=1, capacity=2, mutation=0.2))
    runs.bear(net, x, y)

    def loss():
        net.forward(x, training=True)
        return net.backward(y)

    loss()
    net.gradient()
    step = 1e-6
    for name in net:
        array = net[name]
        if not array.size or name.rpartition(".")[2] in ("fitness", "alive", "state", "variance"):
            continue
        if name.endswith(".mean") or name not in net.gradients:
            continue
        flat, gradient = array.reshape(-1), net.gradients[name].reshape(-1).copy()
        for i in {0, flat.size // 2, flat.size - 1}:
            value = flat[i]
            flat[i] = value + step
            up = loss()
            flat[i] = value - step
            down = loss()
            flat[i] = value
            assert abs((up - down) / (2 * step) - gradient[i]) < 1e-6, (name, i)


# ---- communities compared with training ----------------------------------------------------------


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize("kind", ["division", "immigration"])
def test_a_community_with_the_signals_of_a_network_is_that_network(core, kind):
    dtype = "float32" if core is CORE32 else "float64"
    births = ep.Births("vacancies", kind=kind, every=3, mutation=0.3)
    selection = ep.Selection(
        1.2, dynamics=ep.Malthusian(lifespan=6), births=births, memory=0.8, threshold=0.2,
        floor=2, min_age=5,
    )  # fmt: skip
    net = ep.mlp(6, 16, 16, 3, seed=3, dtype=dtype)
    layers = list(net.born)
    community = ep.Community(net.born, selection, seed=3, dtype=dtype)
    net.configure(selection=selection.config())
    x, y = runs.data(core)
    died = 0
    for _ in range(60):
        net.forward(x, training=True)
        net.backward(y)
        net.gradient()
        living = {n: net[f"{n}.alive"] > 0 for n in layers}
        gradient = {n: net.gradients[f"{n}.mass"][living[n]].copy() for n in layers}
        cost = {n: community.cost[n] for n in layers}
        shares = {row["layer"]: row["cost"] for row in net.describe()["populations"]}
        cost = {n: np.full(len(c), shares[n]) for n, c in cost.items()}
        deaths = community.step(gradient, pressure=1.2, cost=cost)
        gone = net.evolve(1.2)
        assert deaths["birth"].tolist() == gone["birth"].tolist()
        died += len(gone)
        for n in layers:
            ids = net.births(n)
            assert np.array_equal(ids, community.births[n])
            assert np.array_equal(net[f"{n}.mass"][net[f"{n}.alive"] > 0], community.mass[n][ids])
        net.update(1e-2)
    assert died
    assert len(community.lineage) > 3
    assert net.ever_born == {n: len(community.mass[n]) for n in layers}


# ---- settings that exclude births ----------------------------------------------------------------


def test_settings_that_exclude_births_are_named():
    births = ep.Births()
    with pytest.raises(TypeError, match="births: expected a Births or None"):
        ep.Selection(births="division")
    with pytest.raises(ValueError, match="expected removal auto or always"):
        ep.Selection(births=births, removal="never")
    with pytest.raises(ValueError, match="no value for populations born later"):
        ep.Selection(births=births, upkeep=[1.0, 2.0])
    with pytest.raises(ValueError, match="capacity"):
        ep.Births(capacity=0.5)
    with pytest.raises(ValueError, match="rate"):
        ep.Births("sometimes")
    matrix = ep.ReplicatorMutator(kernel=np.eye(4).ravel())
    with pytest.raises(ValueError, match="matrix over founders"):
        ep.Community(4, ep.Selection(0.1, dynamics=matrix, births=births))
    with pytest.raises(ValueError, match="no row for the newborn"):
        ep.simulate("replicator", [1, 1], [1, 2], births=births, overlap=np.eye(2))


def test_births_need_populations_that_can_divide():
    """Populations read by a norm or a product, and input features, cannot divide."""
    stream = ep.Sequential([ep.neurons(8), ep.LayerNorm(), ep.Dense(3)], input=4)
    with pytest.raises(ValueError, match="not linear|other than by a sum"):
        stream.configure(selection=ep.Selection(births=ep.Births()).config())
    features = ep.Sequential([ep.Populations(bias=False), ep.Dense(3)], input=4)
    with pytest.raises(ValueError, match="input features"):
        features.configure(selection=ep.Selection(births=ep.Births()).config())


def test_a_capacity_of_births_that_exceeds_memory_is_refused():
    net = ep.mlp(784, 512, 256, 10)
    with pytest.raises(MemoryError, match="lower capacity"):
        net.configure(selection=ep.Selection(births=ep.Births(capacity=1e3)).config())


@pytest.mark.parametrize("core", [CORE32, CORE64], ids=name_of)
def test_next_births_are_checked(core):
    for births, next_births in (({"in0": [0, 30]}, {"in0": 30}), ({"in0": [0]}, {"in0": 3})):
        with pytest.raises(ValueError, match="births"):
            core.Network(runs.spec(), births, -1, next_births)
    net = core.Network(runs.spec(), {"in0": [0, 30]}, -1, {"in0": 31})
    assert next(a for a in net.describe()["axes"] if a["name"] == "in0")["next_birth"] == 31


# ---- every kind of layer -------------------------------------------------------------------------


@pytest.mark.parametrize("births", ["division", "immigration"])
@pytest.mark.parametrize(("kind", "i"), cases.CASES)
def test_births_before_or_after_any_kind_of_layer_keep_outputs(kind, i, births):
    """Either a network refuses births with a reason, or outputs stay the same."""
    net = cases.filled(CORE64.Network(cases.spec(CORE64, kind, layers.CASES[kind][i], True)), 3)
    x = cases.inputs(CORE64, kind, i, 6, 3)
    setting = {"rate": "number", "number": 1, "every": 1, "capacity": 2, "mutation": 0}
    config = {"births": setting | {"kind": births}, "dynamics": "none", "min_age": 0}
    config |= {"upkeep": "soft", "fitness": "taylor"}
    try:
        net.configure(loss="mean_squared_error", selection=config)
    except ValueError as error:
        if "births: expected populations that can divide" not in str(error):
            raise
        pytest.skip("no population of this network can be born")
    out = net.forward(x, training=True)
    net.backward(np.random.default_rng(0).normal(size=out.shape))
    net.gradient()
    before, n = net.predict(x), sum(p["alive"] for p in net.describe()["populations"])
    net.evolve(1.0)
    after = net.predict(x)
    rows = net.describe()["populations"]
    # A single population of a layer does not divide, since its fitness is the mean.
    assert sum(p["alive"] for p in rows) > n or n == len(rows)
    scale = np.abs(before).max() + 1e-30
    assert np.abs(after - before).max() <= 1e-10 * scale

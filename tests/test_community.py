"""Communities compute the generations of a training run, but without a network."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, CORE64, name_of
from reference import generation

import evoprune as ep
from evoprune.core.spec import known
from evoprune.selection.groups import Dynamics

LAYERS = ("h0", "h1")
SIZES = (16, 16)
FAST = {"strength": 300.0, "clip": 0.3}
# Law -> settings under which only masses and fitness have an effect.
LAWS = {
    "malthusian": {"lifespan": 6},
    "replicator": FAST,
    "replicator_mutator": FAST,
    "logistic": FAST,
    "lotka_volterra": FAST | {"interaction": (np.eye(16) / 2 + 0.5).ravel().tolist()},
    "wright_fisher": FAST | {"size": 50},
    "moran": FAST | {"size": 20, "turnover": 0.2},
    "noisy_growth": FAST | {"noise": 0.02},
    "best_response": {"strength": 4.0, "beta": 0.0, "gamma": 0.01, "eta": 0.0},
    "none": {},
}
CASES = [
    *((law, "layer", "macs") for law in LAWS),
    *(("malthusian", niche, u) for niche in ("layer", "network")
      for u in ("soft", "params", "uniform", "given")),
    ("replicator", "network", "macs"), ("moran", "network", "soft"),
]  # fmt: skip


def shares(net, upkeep):
    """Return, by layer, the cost of a population as a share of the founding network's cost."""
    facts = net.describe()
    if upkeep == "params":
        sizes = {axis["name"]: axis["alive"] for axis in facts["axes"]}
        rows = {}
        for row in facts["populations"]:
            owned = sum(
                np.prod([sizes.get(a, 1) for a in tensor["axes"]]) // max(1, sizes[row["axis"]])
                for tensor in facts["tensors"]
                if tensor["role"] != "tracked" and row["axis"] in tensor["axes"]
            )
            rows[row["layer"]] = float(owned) / net.founding_parameters
        return rows
    if upkeep == "uniform":
        return dict.fromkeys(LAYERS, 1 / sum(SIZES))
    return {row["layer"]: row["cost"] for row in facts["populations"]}


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("law", "niche", "upkeep"), CASES)
def test_a_community_with_the_signals_of_training_is_that_training(core, law, niche, upkeep):
    if law == "lotka_volterra" and niche == "network":
        pytest.skip("the interaction is that of a layer")
    given = np.linspace(0, 0.02, 32) if upkeep == "given" else None
    selection = ep.Selection(
        1.2,
        dynamics=known(Dynamics)[law](**LAWS[law]),
        upkeep=upkeep if given is None else given,
        fitness="taylor",
        niche=niche,
        memory=0.8,
        threshold=0.2,
        floor=2,
        min_age=5,
        removal="never",
    )
    net = runs.network(core, selection.config(), hidden=SIZES, seed=3)
    community = ep.Community(
        dict(zip(LAYERS, SIZES, strict=True)), selection, seed=3,
        dtype="float32" if core is CORE32 else "float64",
    )  # fmt: skip
    xy, died = runs.data(core), 0
    for step in range(40):
        before = shares(net, upkeep)
        strength = 1 - step / 50
        record = runs.train(net, xy, 1, pressure=1.2, strength=strength)
        gradient = {name: net.array(f"{name}.mass", of="gradient") for name in LAYERS}
        deaths = community.step(gradient, strength=strength, pressure=1.2, cost=before)
        assert deaths["birth"].tolist() == record["deaths"]["birth"].tolist()
        assert np.array_equal(deaths["mass"], record["deaths"]["mass"])
        assert np.array_equal(deaths["fitness"], record["deaths"]["fitness"])
        died += len(deaths)
        community.cost = shares(net, upkeep)
        census = net.census(1.2)
        for layer in LAYERS:
            births, mass, fitness, cost = census[layer]
            assert np.array_equal(births, community.births[layer])
            assert np.array_equal(net.array(f"{layer}.mass"), community.mass[layer])
            assert np.array_equal(net.array(f"{layer}.alive") > 0, community.alive[layer])
            assert np.array_equal(mass, community.mass[layer][births])
            assert np.array_equal(fitness, community.fitness[layer][births])
            assert np.array_equal(cost, community.upkeep[layer][births])
            gone = ~community.alive[layer]
            assert not community.mass[layer][gone].any()
            assert np.isnan(community.upkeep[layer][gone]).all()
    assert died or law == "none"
    assert len(community.extinct) == died


@pytest.mark.parametrize("niche", ["layer", "network"])
@pytest.mark.parametrize("upkeep", ["soft", "macs"])
def test_a_generation_is_what_its_numpy_twin_computes(upkeep, niche):
    random = np.random.default_rng(0)
    soft = upkeep == "soft"
    pressure = 8.0 if soft else 4.0
    selection = ep.Selection(
        pressure, dynamics=ep.Malthusian(lifespan=10), memory=0.7, threshold=0.3, floor=2,
        min_age=4, upkeep=upkeep, niche=niche,
    )  # fmt: skip
    cost = {"a": np.array([1.0, 2, 1, 1, 3, 1, 1, 2]), "b": np.array([2.0, 1, 1, 4, 1])}
    community = ep.Community({"a": 8, "b": 5}, selection, cost=cost, dtype="float64")
    layers = [generation.Layer(c) for c in cost.values()]
    twin = generation.Generation(
        layers, generation.malthusian(10, 0.3), pressure, memory=0.7, threshold=0.3, floor=2,
        min_age=4, soft=soft, whole=niche == "network",
    )  # fmt: skip
    for _ in range(30):
        raw = {name: random.exponential(size=len(c)) for name, c in cost.items()}
        deaths = community.step(fitness=raw)
        expected = twin.step(list(raw.values()))
        assert deaths["birth"].tolist() == [j for births in expected for j in births]
        for layer, name in zip(layers, cost, strict=True):
            assert np.allclose(community.mass[name], layer.mass, rtol=1e-12)
            assert np.array_equal(community.alive[name], layer.alive)
            fitness = layer.remembered / (1 - 0.7**twin.number)
            assert np.allclose(community.fitness[name][layer.alive], fitness[layer.alive])
    assert all(2 <= layer.alive.sum() < len(layer.cost) for layer in layers)
    assert community.floor_reached == twin.floor_reached > 0


@pytest.mark.parametrize("law", list(LAWS))
def test_a_pickled_community_continues_identically(law):
    selection = ep.Selection(
        0.3, dynamics=known(Dynamics)[law](**LAWS[law]), min_age=2, threshold=0.2
    )
    one = ep.Community({"a": 16, "b": 16}, selection, seed=5)
    random = np.random.default_rng(1)
    signals = [{n: random.exponential(size=16) for n in "ab"} for _ in range(30)]
    for fitness in signals[:15]:
        one.step(fitness=fitness)
    others = [pickle.loads(pickle.dumps(one)), copy.deepcopy(one)]
    others.append(ep.Community({"a": 16, "b": 16}, selection, seed=5))
    others[-1].load_state_dict(one.state_dict())
    for fitness in signals[15:]:
        one.step(fitness=fitness)
        for other in others:
            other.step(fitness=fitness)
    for other in others:
        for name in "ab":
            assert np.array_equal(one.mass[name], other.mass[name])
            assert np.array_equal(one.upkeep[name], other.upkeep[name], equal_nan=True)
        assert np.array_equal(one.extinct, other.extinct)
        assert other.generation == 30


def test_many_populations_die_at_once_in_little_time():
    """Deaths are sorted in n log n time: a quadratic search would take minutes."""
    n = 200_000
    law = ep.Malthusian(lifespan=1)
    community = ep.Community(n, ep.Selection(1.0, dynamics=law, upkeep="uniform", min_age=0))
    masses = np.random.default_rng(0).permutation(np.linspace(1e-5, 1e-3, n))
    community.load_state_dict(community.state_dict() | {"mass": masses.astype(np.float32)})
    deaths = community.step(fitness=0.0)
    assert len(deaths) == n - 1
    assert (np.diff(deaths["mass"]) >= 0).all()
    assert community.alive.sum() == 1


def test_arrays_may_cover_living_populations_only():
    selection = ep.Selection(1.0, dynamics=ep.Malthusian(lifespan=2), min_age=0)
    one, other = (ep.Community({"a": 4, "b": 3}, selection) for _ in range(2))
    for _ in range(12):
        fitness = {"a": np.array([1.0, 5, 1, 6]), "b": np.array([3.0, 1, 2])}
        one.step(fitness=fitness)
        other.step(fitness={n: f[other.alive[n]] for n, f in fitness.items()})
    assert len(one.extinct) > 2
    assert np.array_equal(one.extinct, other.extinct)


def test_laws_in_python_work_and_their_errors_change_nothing():
    seen = []

    @ep.dynamics
    def law(cohort):
        seen.append(cohort)
        if len(seen) == 4:
            raise KeyError("no")
        return cohort["mass"] * np.where(cohort["fitness"] > 1, 1, 0.5)

    @ep.fitness
    def worth(signals):
        return 2 * signals["mass_gradient"]

    selection = ep.Selection(0.5, dynamics=law, fitness=worth, memory=0.0, min_age=0, threshold=0.3)
    community = ep.Community({"a": 3, "b": 2}, selection)
    community.step({"a": [0.1, 1, 1], "b": 1.0})
    assert community.mass["a"].tolist() == [0.5, 1, 1]
    before = community.state_dict()
    with pytest.raises(KeyError, match="no"):
        community.step({"a": [1.0, 0.1, 1], "b": 0.1}, cost={"a": 3.0, "b": 1.0})
    after = community.state_dict()
    assert all(np.array_equal(after[key], before[key]) for key in ("mass", "fitness", "cost"))
    assert after["generation"] == 1
    assert [c["generation"] for c in seen] == [1, 1, 2, 2]


def test_a_mass_that_is_clipped_warns():
    law = ep.NoisyGrowth(strength=1, clip=1000, noise=0)
    selection = ep.Selection(0.0, dynamics=law, min_age=0)
    community = ep.Community(2, selection)
    with pytest.warns(RuntimeWarning, match="1 masses have reached 1e\\+30"):
        community.step(fitness=[500.0, 0])
    assert community.mass.tolist() == [np.float32(1e30), 1]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"fitness": None}, ValueError, "expected mass_gradient or fitness, got neither"),
        ({"fitness": [1.0, 2]}, TypeError, "fitness: expected a mapping from layers to arrays"),
        ({"fitness": {"a": 1.0}}, ValueError, "fitness: expected the layers a, b, got a"),
        ({"fitness": {"a": [1, 2], "b": 1}}, ValueError, r"fitness\['a'\]: .*\(3,\), got \(2,\)"),
        ({"fitness": {"a": "x", "b": 1}}, TypeError, r"fitness\['a'\]: expected real numbers"),
        ({"fitness": {"a": [1, 2, np.nan], "b": 1}}, ValueError, "fitness: expected finite"),
        ({"strength": -1}, ValueError, "strength: expected a number from 0"),
        ({"pressure": np.nan}, ValueError, "pressure: expected a number from 0"),
        ({"cost": {"a": -1.0, "b": 1.0}}, ValueError, "cost: expected finite numbers"),
        ({"overlap": np.eye(2)}, ValueError, "overlap"),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(change, error, text):
    community = ep.Community({"a": 3, "b": 2}, ep.Selection(1.0))
    before = community.state_dict()
    with pytest.raises(error, match=text):
        community.step(**({"fitness": {"a": 1.0, "b": 1.0}} | change))
    after = community.state_dict()
    for key in ("generation", "mass", "fitness", "alive", "cost", "pressure"):
        assert np.array_equal(before[key], after[key]), key


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (({"a": 0},), ValueError, r"born\['a'\]: expected a whole number from 1"),
        (({},), ValueError, "born: expected at least one layer"),
        ((3.5,), TypeError, "born: expected a whole number"),
        ((3, "soft"), TypeError, "selection: expected a Selection"),
        ((3, ep.Selection(upkeep=[1.0])), ValueError, "each of 3 founding populations, got 1"),
    ],
)
def test_a_wrong_community_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        ep.Community(*arguments)


def test_a_state_of_other_layers_is_refused():
    one, other = ep.Community({"a": 3}), ep.Community({"b": 3})
    with pytest.raises(ValueError, match="expected layers"):
        other.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="pressure must be given"):
        ep.Community(3, ep.Selection(ep.schedules.linear(1.0, 2.0))).step(fitness=1.0)


def test_both_cores_have_communities():
    assert CORE32.Community.__name__ == CORE64.Community.__name__ == "Community"


def test_one_array_over_all_founders_is_the_same_as_arrays_by_layer():
    random, born = np.random.default_rng(3), {"a": 6, "b": 4}
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=5), upkeep="macs")
    by_layer, flat = (ep.Community(born, selection, dtype="float64") for _ in range(2))
    for _ in range(30):
        gradient, cost = random.normal(size=10), random.gamma(1.0, size=10)
        by_layer.step({"a": gradient[:6], "b": gradient[6:]}, cost={"a": cost[:6], "b": cost[6:]})
        flat.step(gradient, cost=cost)
    for layer in born:
        assert np.array_equal(by_layer.mass[layer], flat.mass[layer])
        assert np.array_equal(by_layer.cost[layer], flat.cost[layer])
    assert len(flat.extinct)
    with pytest.raises(TypeError, match="fitness: expected a mapping from layers to arrays"):
        flat.step(fitness=np.ones(9))

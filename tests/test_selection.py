"""Selection in a network: every fitness and dynamics law, upkeep, niches, floors and deaths.

The laws themselves are tested elsewhere. These tests check that laws get the right vectors, that
the network applies their results, and that extinctions are final and do not change survivors.
"""

from __future__ import annotations

import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, CORE64, name_of
from reference import dynamics, laws

CATALOGUE = CORE32.catalogue()
FITNESS, DYNAMICS = list(CATALOGUE["fitness"]), list(CATALOGUE["dynamics"])
LAYERS = {"h0": ("in0", "in1"), "h1": ("in1", "out")}  # populations: layers before, after


def piecewise(net, xy) -> None:
    net.forward(xy[0], training=True)
    net.backward(xy[1])
    net.gradient()


def signals(net, layer: str) -> dict[str, np.ndarray]:
    """Return the signals that a fitness law may use, computed from the arrays."""
    into, out = (f"{name}.weight" for name in LAYERS[layer])

    def owned(function):
        into_, out_, bias = (
            function(net.array(name), net.array(name, "gradient"))
            for name in (into, out, f"{layer}.bias")
        )
        return into_.sum(0) + out_.sum(1) + bias

    return {
        "mass": net.array(f"{layer}.mass"),
        "mass_gradient": net.array(f"{layer}.mass", "gradient"),
        "owned_norm2": owned(lambda w, g: w * w),
        "owned_gradient2": owned(lambda w, g: g * g),
        "owned_product": owned(lambda w, g: w * g),
        "activity": np.abs(net.activation(layer)).mean(0),
        "terms": len(net.activation(layer)),
    }


def trained(core, selection, steps=20, **settings):
    """Return a network under selection, some of whose populations are removed."""
    net = runs.network(core, selection, **settings)
    net.kill("h0", [0, 5, 11, 23])
    net.kill("h1", [2, 3])
    net.compact()
    runs.train(net, runs.data(core), steps, strength=0)
    return net


# ---- inputs of the laws ----------------------------------------------------------------------


@pytest.mark.parametrize("name", FITNESS)
@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_a_fitness_gets_the_right_signals(core, name):
    net = trained(core, {"fitness": name, "memory": 0.0, "dynamics": "none"})
    piecewise(net, runs.data(core))
    net.evolve(0.1)
    for layer in LAYERS:
        expected = getattr(laws, name)({}, signals(net, layer))
        tolerance = 1e-4 if core is CORE32 else 1e-10
        got = net.array(f"{layer}.fitness")
        assert np.allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def overlaps(net, layer: str, what: str) -> np.ndarray | None:
    if what == "activity_overlap":
        h = np.float64(net.activation(layer))
        norm = np.sqrt((h * h).sum(0))
        cosine = (h.T @ h) / np.where(norm > 0, norm, 1) / np.where(norm > 0, norm, 1)[:, None]
        np.fill_diagonal(cosine, 1)
        return np.clip(cosine, 0, 1)
    w = np.float64(net.array(f"{LAYERS[layer][0]}.weight"))
    return w.T @ w


@pytest.mark.parametrize("name", list(dynamics.EXACT))
@pytest.mark.parametrize("niche", ["layer", "network"])
def test_a_dynamics_gets_the_right_cohort(name, niche):
    core, needs = CORE64, CATALOGUE["dynamics"][name]["needs"]
    settings = {"dynamics": name, "niche": niche, "memory": 0.7, "min_age": 10**6}
    net = trained(core, settings | {"threshold": 0.02})
    piecewise(net, runs.data(core))
    net.evolve(0.4, 0.8)
    config = core.settings("dynamics", name, {})
    config = {key: [] if value is None else value for key, value in config.items()}
    piecewise(net, runs.data(core))
    before = {layer: signals(net, layer)["mass"].copy() for layer in LAYERS}
    likeness = [n for n in ("activity_overlap", "weight_overlap") if n in needs]
    alike = {layer: overlaps(net, layer, likeness[0]) if likeness else None for layer in LAYERS}
    facts = net.describe()
    born = {row["layer"]: row["born"] for row in facts["populations"]}
    share = {row["layer"]: row["cost"] for row in facts["populations"]}
    births = runs.births(net)
    net.evolve(0.4, 0.8)
    correction = 1 - 0.7**net.generation
    for group in [list(LAYERS)] if niche == "network" else [["h0"], ["h1"]]:
        sizes = [len(before[layer]) for layer in group]
        block = np.zeros((sum(sizes), sum(sizes)))
        at = np.cumsum([0, *sizes])
        for layer, a, b in zip(group, at[:-1], at[1:], strict=True):
            if alike[layer] is not None:
                block[a:b, a:b] = alike[layer]
        first = np.cumsum([0, *(born[layer] for layer in group)])
        cohort = dynamics.Cohort(
            mass=np.concatenate([before[layer] for layer in group]),
            fitness=np.concatenate([net.array(f"{layer}.fitness") for layer in group]) / correction,
            upkeep=0.4 * np.repeat([share[layer] for layer in group], sizes),
            birth=np.concatenate(
                [
                    np.add(births[LAYERS[layer][0]], f)
                    for layer, f in zip(group, first, strict=False)
                ]
            ),
            born=int(first[-1]),
            overlap=block if likeness else None,
            norm2=np.diag(block) if "weight_norm" in needs else None,
            threshold=0.02,
            strength=0.8,
        )
        expected = dynamics.EXACT[name](config, cohort)
        got = np.concatenate([net.array(f"{layer}.mass") for layer in group])
        assert np.allclose(got, expected, rtol=1e-9, atol=1e-12)
        assert name == "none" or not np.allclose(got, cohort.mass, rtol=1e-9)


@pytest.mark.parametrize("fitness", FITNESS)
@pytest.mark.parametrize("name", DYNAMICS)
def test_every_law_keeps_its_invariants(fitness, name):
    """Masses stay finite, extinctions are final, floors hold, and conserving laws conserve mass.

    Results do not depend on when arrays are compacted.
    """
    settings = {"fitness": fitness, "dynamics": name, "min_age": 5, "floor": 3, "threshold": 0.3}
    nets, records = {}, {}
    for removal in ("auto", "always", "never"):
        net = nets[removal] = runs.network(CORE32, settings | {"removal": removal})
        dead, masses = {"h0": set(), "h1": set()}, {layer: net.array(f"{layer}.mass").sum()
                                                    for layer in LAYERS}  # fmt: skip
        rows = []
        for _ in range(15):
            record = runs.train(net, runs.data(), 4, strength=20)
            rows.append(record)
            for row in record["deaths"]:
                layer = list(LAYERS)[row["population"]]
                assert row["birth"] not in dead[layer]
                dead[layer].add(int(row["birth"]))
                assert 0 <= row["mass"] < np.float32(0.3)
            for layer in LAYERS:
                mass, alive = net.array(f"{layer}.mass"), net.array(f"{layer}.alive")
                assert np.isfinite(mass).all()
                assert (mass >= 0).all()
                assert (mass[alive == 0] == 0).all()
                assert runs.alive(net)[layer] == int(alive.sum()) >= 3
                born = {"h0": 24, "h1": 16}[layer]
                assert born - len(dead[layer]) == int(alive.sum())
                if CATALOGUE["dynamics"][name]["conserves"] and not dead[layer]:
                    assert mass.sum() == pytest.approx(masses[layer], rel=1e-4)
        records[removal] = {
            key: np.concatenate([r[key] for r in rows]) for key in ("loss", "deaths", "hits")
        } | {"floor_reached": sum(r["floor_reached"] for r in rows)}
        assert (name == "none") <= (not any(dead.values()))
        net.compact()
        states = runs.state(net, gradients=True)
        if removal == "auto":
            first = states
        assert runs.same(states, first), removal
    for other in records.values():
        assert all(np.array_equal(other[key], records["auto"][key]) for key in other)


# ---- laws in Python --------------------------------------------------------------------------


class Watch:
    """A dynamics that stores its arguments and applies `law` (default: masses do not change)."""

    def __init__(self, law=None):
        self.seen, self.law = [], law

    def __call__(self, cohort):
        self.seen.append({key: np.copy(value) for key, value in cohort.items()})
        return cohort["mass"] if self.law is None else self.law(cohort)


UPKEEP = {
    "macs": ([(6 + 16) / 576], [(24 + 3) / 576]),
    # A population has incoming and outgoing weights, a bias and a mass; the network has 576
    # weights, 43 biases and 40 masses.
    "params": ([(6 + 16 + 2) / 659], [(24 + 3 + 2) / 659]),
    "uniform": ([1 / 40], [1 / 40]),
    "given": (np.arange(24) / 100, np.arange(24, 40) / 100),
}
# Costs after 4 of 24 and 2 of 16 populations are extinct: survivors have fewer weights.
LATER = {
    "macs": ([(6 + 14) / 576], [(20 + 3) / 576]),
    "params": ([(6 + 14 + 2) / 659], [(20 + 3 + 2) / 659]),
    "uniform": ([1 / 40], [1 / 40]),
    "given": (np.delete(np.arange(24), [0, 5, 11, 23]) / 100,
              np.delete(np.arange(24, 40), [2, 3]) / 100),
}  # fmt: skip


@pytest.mark.parametrize("unit", UPKEEP)
@pytest.mark.parametrize("removed", [True, False])
def test_upkeep_is_the_share_of_costs(unit, removed):
    watch = Watch()
    given = {"given": np.arange(40) / 100} if unit == "given" else {}
    net = runs.network(CORE64, {"upkeep": unit, "dynamics": watch, "removal": "never"} | given)
    runs.train(net, runs.data(CORE64), 1, pressure=0.5)
    net.kill("h0", [0, 5, 11, 23])
    net.kill("h1", [2, 3])
    if removed:
        net.compact()
    runs.train(net, runs.data(CORE64), 1, pressure=0.3)
    for at, pressure, table in ((0, 0.5, UPKEEP), (2, 0.3, LATER)):
        for seen, expected in zip(watch.seen[at : at + 2], table[unit], strict=True):
            assert np.allclose(seen["upkeep"], pressure * np.asarray(expected), rtol=1e-12)
    assert [len(seen["mass"]) for seen in watch.seen] == [24, 16, 20, 14]


def soft(fitness, cost, born: int, pressure: float) -> np.ndarray:
    """Return soft upkeep: pressure times relative cost times the mean fitness of other founders."""
    earned = np.maximum(fitness, 0)
    return pressure * cost / np.mean(cost) * (earned.sum() - earned) / (born - 1)


@pytest.mark.parametrize("niche", ["layer", "network"])
@pytest.mark.parametrize("pressure", [0.0, 1.5, 9.0])
@pytest.mark.parametrize("removed", [True, False])
def test_soft_upkeep_is_relative_to_the_others_of_the_niche(niche, pressure, removed):
    watch = Watch()
    settings = {"upkeep": "soft", "niche": niche, "dynamics": watch, "removal": "never"}
    net = runs.network(CORE64, settings | {"fitness": "relative"})  # fitness of either sign
    runs.train(net, runs.data(CORE64), 1, pressure=pressure)
    net.kill("h0", [0, 5, 11, 23])
    net.kill("h1", [2, 3])
    if removed:
        net.compact()
    runs.train(net, runs.data(CORE64), 1, pressure=pressure)
    costs = np.repeat([22.0, 27.0], [24, 16]), np.repeat([20.0, 23.0], [20, 14])
    cut = (24, 20) if niche == "layer" else (0, 0)
    expected = []
    for cost, first in zip(costs, cut, strict=True):
        for part in np.split(cost, [first]) if first else [cost]:
            born = 40 if niche == "network" else 24 if len(expected) % 2 == 0 else 16
            expected.append((part, born))
    assert len(watch.seen) == len(expected)
    for seen, (cost, born) in zip(watch.seen, expected, strict=True):
        wanted = soft(seen["fitness"], cost, born, pressure)
        assert np.allclose(seen["upkeep"], wanted, rtol=1e-9)
        assert (seen["fitness"] < 0).any()
    assert any(seen["upkeep"].any() for seen in watch.seen) == (pressure > 0)


def test_soft_selection_leaves_about_born_over_pressure():
    """About 1 + (born - 1) / pressure populations survive.

    Upkeep is pressure (E - F) / (born - 1); F is the population's fitness, E the sum over all.
    """

    def fixed(signals):
        return 1.0 + np.arange(len(signals["mass"]))

    for pressure in (2.0, 3.0, 1000.0):
        law = {"dynamics": "malthusian", "dynamics_config": {"lifespan": 30, "ceiling": 1.0}}
        law |= {"upkeep": "soft", "fitness": fixed, "min_age": 0, "removal": "never"}
        net = runs.network(CORE64, law)
        for _ in range(40):
            runs.train(net, runs.data(CORE64), 100, pressure=pressure)
        for layer, born in (("h0", 24), ("h1", 16)):
            assert 1 <= runs.alive(net)[layer] <= 1 + (born - 1) / pressure
            mass = net.array(f"{layer}.mass")
            assert np.array_equal(mass[mass > 0], np.ones(runs.alive(net)[layer]))


def test_a_niche_is_a_layer_or_the_network():
    watch = Watch()
    net = runs.network(CORE64, {"niche": "network", "dynamics": watch, "removal": "always"})
    net.kill("h0", [0, 23])
    net.kill("h1", [2])
    runs.train(net, runs.data(CORE64), 1)
    (seen,) = watch.seen
    assert seen["born"] == 40
    assert seen["birth"].tolist() == [*range(1, 23), 24, 25, *range(27, 40)]
    totals = {}
    for niche in ("layer", "network"):
        settings = {"dynamics": "replicator", "niche": niche, "min_age": 10**6}
        net = runs.network(CORE64, settings)
        runs.train(net, runs.data(CORE64), 40, strength=50)
        totals[niche] = [net.array(f"{layer}.mass").sum() for layer in LAYERS]
    assert totals["layer"] == pytest.approx([24, 16])
    assert sum(totals["network"]) == pytest.approx(40)
    assert abs(totals["network"][0] - 24) > 0.1


def test_memory_is_an_exponential_mean_with_bias_correction():
    for memory in (0.0, 0.5, 0.99):
        raw, watch = [], Watch()

        def fitness(signals, raw=raw):
            raw.append(np.copy(signals["mass_gradient"]))
            return -signals["mass_gradient"]

        net = runs.network(
            CORE64, {"memory": memory, "fitness": fitness, "dynamics": watch}, hidden=(24,)
        )
        runs.train(net, runs.data(CORE64), 12)
        for t, seen in enumerate(watch.seen, 1):
            weights = memory ** np.arange(t)[::-1]
            mean = -(weights[:, None] * np.array(raw[:t])).sum(0) / weights.sum()
            assert np.allclose(seen["fitness"], mean, rtol=1e-9, atol=1e-14)
            assert seen["generation"] == t


def test_generations_come_every_n_steps():
    watch = Watch()
    net = runs.network(CORE64, {"every": 7, "dynamics": watch}, hidden=(24,))
    runs.train(net, runs.data(CORE64), 20)
    runs.train(net, runs.data(CORE64), 1)
    assert net.generation == 3
    assert [int(seen["generation"]) for seen in watch.seen] == [1, 2, 3]
    assert {float(seen["strength"]) for seen in watch.seen} == {1.0}


# ---- extinction ------------------------------------------------------------------------------


def doom(births, mass=0.0, at=1):
    """Return dynamics that set populations of these birth ids to `mass` from generation `at` on."""

    def law(cohort):
        doomed = np.isin(cohort["birth"], births) & (cohort["generation"] >= at)
        return np.where(doomed, mass, cohort["mass"])

    return law


@pytest.mark.parametrize("removal", ["always", "auto", "never"])
def test_the_chosen_populations_go_extinct_and_the_others_keep_their_ids(removal):
    doomed = [3, 4, 9, 15]
    settings = {"dynamics": doom(doomed, 1e-4, 4), "min_age": 0, "removal": removal}
    net = runs.network(CORE64, settings)
    record = runs.train(net, runs.data(CORE64), 6)
    deaths = record["deaths"]
    assert {(int(d["population"]), int(d["birth"])) for d in deaths} == {
        (layer, birth) for layer in (0, 1) for birth in doomed
    }
    assert set(deaths["step"]) == {4}
    assert set(deaths["mass"]) == {1e-4}
    assert np.isfinite(deaths["fitness"]).all()
    net.compact()
    assert runs.births(net) == {
        "in0": [b for b in range(24) if b not in doomed],
        "in1": [b for b in range(16) if b not in doomed],
    }
    assert net.array("in1.weight").shape == (20, 12)


@pytest.mark.parametrize("min_age", [0, 1, 6])
def test_no_population_goes_extinct_before_min_age(min_age):
    net = runs.network(CORE32, {"dynamics": doom([1, 2], 1e-4), "min_age": min_age})
    record = runs.train(net, runs.data(), 9)
    assert set(record["deaths"]["step"]) == {max(1, min_age)}
    assert len(record["deaths"]) == 4


@pytest.mark.parametrize(("floor", "left"), [(0, 0), (1, 1), (5, 5), (16, 16), (100, 16)])
def test_the_floor_keeps_the_heaviest(floor, left):
    def law(cohort):  # masses increase with birth id, below the threshold
        return 1e-3 * (1 + cohort["birth"]) / 100

    net = runs.network(CORE64, {"dynamics": law, "floor": floor, "min_age": 3}, hidden=(16,))
    record = runs.train(net, runs.data(CORE64), 5)
    assert record["floor_reached"] == 3 * left  # `left` populations in each of 3 generations
    net.compact()
    assert runs.births(net)["in0"] == list(range(16 - left, 16))
    assert np.array_equal(net.array("h0.mass"), np.full(left, 1e-3))
    assert np.isfinite(runs.train(net, runs.data(CORE64), 3)["loss"]).all()


def test_a_threshold_is_a_mass():
    law = doom([4], 0.0999)
    for threshold, dead in ((0.1, 1), (0.0999, 0), (0.0, 0)):
        net = runs.network(CORE64, {"dynamics": law, "threshold": threshold, "min_age": 0},
                           hidden=(16,))  # fmt: skip
        assert len(runs.train(net, runs.data(CORE64), 3)["deaths"]) == dead


def test_masses_are_fixed_at_strength_zero():
    for name in DYNAMICS:
        net = runs.network(CORE32, {"dynamics": name, "min_age": 0, "removal": "always"})
        runs.train(net, runs.data(), 3)
        before = {layer: net.array(f"{layer}.mass").copy() for layer in LAYERS}
        runs.train(net, runs.data(), 5, strength=0)
        assert all(np.array_equal(before[layer], net.array(f"{layer}.mass")) for layer in LAYERS)


def test_views_keep_their_values_after_a_removal():
    net = runs.network(CORE32, runs.QUICK | {"removal": "always"})
    runs.train(net, runs.data(), 10)
    views = {(n, of): net.array(n, of) for n in runs.names(net) for of in ("value", "first")}
    views["h0"] = net.activation("h0")
    copies = None
    deaths = 0
    while not deaths:
        copies = {key: view.copy() for key, view in views.items()}
        deaths = len(runs.train(net, runs.data(), 1)["deaths"])
    frozen = {key: view.copy() for key, view in views.items()}
    runs.train(net, runs.data(), 20)
    assert all(np.array_equal(views[key], frozen[key]) for key in views)
    changed = [key for key in views if not np.array_equal(frozen[key], copies[key])]
    assert ("in0.weight", "value") in changed  # views show the last update before the removal
    name = ("in0.weight", "value")
    assert net.array(*name).shape != views[name].shape
    views[name][:] = 7  # changes the view, not the array
    assert not (net.array(*name) == 7).any()
    del net
    assert (views[name] == 7).all()


def test_prices_equation_predicts_the_mean_of_a_trait():
    """A mass is multiplied by w = e^(h (F - c)), with strength h, fitness F and upkeep c.

    w is 0 for a population that goes extinct.
    """
    h = 5.0
    config = {"growth": "raw", "strength": h, "clip": 1e6}
    watch = {"dynamics": "malthusian", "dynamics_config": config, "min_age": 0, "threshold": 0.5}
    net = runs.network(CORE64, watch | {"removal": "never"}, hidden=(24,))
    trait = np.random.default_rng(5).standard_normal(24)
    deaths = 0
    for _ in range(60):
        x = net.array("h0.mass").copy()
        share = net.describe()["populations"][0]["cost"]
        record = runs.train(net, runs.data(CORE64), 1)
        fitness = net.array("h0.fitness") / (1 - 0.9**net.generation)
        w = np.where(x > 0, np.exp(h * (fitness - share)), 0)
        w[record["deaths"]["birth"]] = 0
        deaths += len(record["deaths"])
        p = x / x.sum()
        covariance = (p * w * trait).sum() - (p * w).sum() * (p * trait).sum()
        after = net.array("h0.mass")
        change = (after * trait).sum() / after.sum() - (p * trait).sum()
        assert change == pytest.approx(covariance / (p * w).sum(), rel=1e-9, abs=1e-12)
    assert deaths > 5

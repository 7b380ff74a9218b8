"""Births in training runs: threads, stops, files, and the record of descent."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import runs

import evoprune as ep


def settings(kind="division", every=4, capacity=2.0, rate="upkeep", returns=0.0, **more):
    births = ep.Births(
        rate, kind=kind, capacity=capacity, every=every, mutation=0.2, returns=returns
    )
    return ep.Selection(
        0.7, dynamics=ep.Malthusian(lifespan=25), births=births, min_age=5, threshold=0.2, **more
    )


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(160, 8)).astype("float32")
    return x, (np.tanh(x @ random.normal(size=(8, 12))) @ random.normal(size=(12, 4))).argmax(1)


def fitted(selection, epochs=12, until=None, net=None):
    net = net or ep.mlp(8, 12, 10, 4, seed=2)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(3e-3))
    trainer.fit(*data(), epochs=epochs, batch_size=16, until=until, progress=False, record_every=5)
    return trainer


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["division", "immigration"])
def test_results_do_not_depend_on_threads(kind, clip):
    x, y = data()
    found = []
    for threads in (1, 3):
        net = ep.mlp(8, 12, 10, 4, seed=2)
        net.configure(selection=settings(kind, rate=0.2, capacity=3.0).config(), clip=clip)
        level = np.full(60, 1e-2)
        record = net.core.train(
            x, y, batch=16, first=0, rate=level, pressure=np.full(60, 0.7), strength=np.ones(60),
            threads=threads,
        )  # fmt: skip
        found.append((runs.grown_state(net), record["births"].tolist(), record["deaths"].tolist()))
    assert len(found[0][1]) > 10
    runs.assert_same(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("kind", ["division", "immigration"])
def test_a_resumed_trainer_equals_an_uninterrupted_one(tmp_path, kind):
    selection = settings(kind, rate="vacancies" if kind == "immigration" else "upkeep")
    whole = fitted(selection)
    half = fitted(selection, until=5)
    half.save(tmp_path / "state")
    fresh = ep.mlp(8, 12, 10, 4, seed=2)
    again = ep.Trainer(fresh, selection=selection, optimizer=ep.AdamW(3e-3))
    again.restore(tmp_path / "state")
    again.resume(*data(), progress=False)
    runs.assert_same(runs.grown_state(whole.network), runs.grown_state(again.network))
    history, other = whole.history, again.history
    assert len(history.births) > 3
    for name in ("births", "extinctions"):
        one, two = getattr(history, name), getattr(other, name)
        for column in one.dtype.names:
            assert np.array_equal(one[column], two[column], equal_nan=one[column].dtype.kind == "f")
    assert np.array_equal(history.trajectories("mass"), other.trajectories("mass"), equal_nan=True)


def without_features():
    """Return a network with masses of inputs, three of which are extinct."""
    net = ep.mlp(8, 12, 10, 4, inputs=True, seed=2)
    net.kill("features", [1, 4, 6])
    return net


NETS = {
    "dense": lambda: ep.mlp(8, 12, 10, 4, seed=2),
    "filters": lambda: ep.Sequential(
        [ep.filters(4, 3, "gelu", norm=True), ep.Flatten(), ep.neurons(6), ep.Dense(4)],
        input=(4, 2, 1), seed=2,
    ),
    "features": without_features,
    "heads": lambda: ep.vit((4, 2, 1), 4, patch=2, dim=8, layers=1, heads=4, seed=1),
}  # fmt: skip


def trained(net, kind, steps, calls, removal="auto"):
    """Train with births and deaths; return all arrays, and the records of births."""
    x, y = data()
    returns = 0.1 if "features" in net.born else 0.0
    selection = settings(kind, rate=0.3, capacity=3.0, every=2, removal=removal, returns=returns)
    net.configure(selection=selection.config())
    rows = []
    x = x.reshape(len(x), *net.spec["input"])
    for call in range(calls):
        n = steps // calls
        level = np.full(n, 1e-2)
        record = net.core.train(
            x, y, batch=16, first=call * n, rate=level, pressure=np.full(n, 0.7),
            strength=np.ones(n), threads=2, keep=True,
        )  # fmt: skip
        rows += record["births"].tolist()
    arrays, *ids = runs.grown_state(net)
    arrays |= {f"gradient:{n}": net.gradients[n].copy() for n in net}
    arrays |= {f"activation:{n}": a.copy() for n, a in net.activations.items()}
    return (arrays, *ids), rows


@pytest.mark.parametrize("kind", ["division", "immigration"])
@pytest.mark.parametrize("name", NETS)
def test_births_within_a_call_equal_births_at_its_end(name, kind):
    """Train 40 steps in one call, and in 40 calls.

    With `keep`, births in the last step of a call also move activations and gradients to new
    arrays. `same` compares them, too.
    """
    one, born = trained(NETS[name](), kind, 40, 1)
    other, too = trained(NETS[name](), kind, 40, 40)
    assert len(born) > 5
    assert born == too
    assert name != "features" or any(row[1] == 0 for row in born)  # features have returned
    runs.assert_same(one, other)


@pytest.mark.parametrize("name", NETS)
def test_activations_that_are_not_kept_cannot_be_read_after_births(name):
    """Births in the last step then move gradients only; all other results are equal."""
    x, y = data()
    nets = [NETS[name]() for _ in range(2)]
    for net, keep in zip(nets, (True, False), strict=True):
        net.configure(selection=settings(rate=0.3, capacity=3.0, every=2).config())
        for call in range(6):
            net.core.train(
                x.reshape(len(x), *net.spec["input"]), y, batch=16, first=2 * call,
                rate=np.full(2, 1e-2), pressure=np.full(2, 0.7), strength=np.ones(2), threads=1,
                keep=keep,
            )  # fmt: skip
    kept, unseen = nets
    assert any(n > kept.born[layer] for layer, n in kept.ever_born.items())
    runs.assert_same(runs.grown_state(kept), runs.grown_state(unseen))
    for tensor in kept:
        assert np.array_equal(kept.gradients[tensor], unseen.gradients[tensor]), tensor
    first = next(iter(kept.activations))
    assert len(kept.activations[first]) == 16
    with pytest.raises(RuntimeError, match="since its last births"):
        unseen.activations[first]
    for net in nets:
        net.forward(x[:8].reshape(8, *net.spec["input"]))
    assert np.array_equal(kept.activations[first], unseen.activations[first])


@pytest.mark.parametrize("kind", ["division", "immigration"])
def test_a_view_keeps_its_values_through_births(kind):
    """Births reuse memory only if no view reads it; results do not depend on views.

    The learning rate and the pressure are 0, so that only births change weights.
    """
    x, y = data()
    selection = settings(kind, rate=0.1, capacity=9.0, every=2)
    nets, kept = [NETS["dense"]() for _ in range(2)], []
    for call in range(12):
        for net in nets:
            net.configure(selection=selection.config())
            net.core.train(
                x, y, batch=16, first=5 * call, rate=np.zeros(5), pressure=np.zeros(5),
                strength=np.ones(5), threads=1,
            )  # fmt: skip
        if call % 2:
            kept += [(nets[1][n], nets[1][n].copy()) for n in ("dense1.weight", "dense2.weight")]
    assert nets[0].ever_born["populations1"] > 20
    runs.assert_same(runs.grown_state(nets[0]), runs.grown_state(nets[1]))
    assert len({view.shape for view, _ in kept}) > 5
    for view, values in kept:
        assert np.array_equal(view, values)


class Sizes(ep.Callback):
    """Lists the bytes of the network at the end of every epoch."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, trainer, row):
        self.seen.append(trainer.network.nbytes)


def test_memory_is_planned_and_stays_the_same_while_populations_are_born():
    """The plan counts five arrays of the largest size that births can lead to.

    They are the values, the gradients, two moments and a spare array.
    """
    sizes, net = Sizes(), ep.mlp(8, 12, 10, 4, seed=2)
    selection = settings(rate=0.2, capacity=3.0, every=2)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(3e-3))
    plan = trainer.plan(data(), epochs=8, batch_size=16)
    trainer.fit(*data(), epochs=8, batch_size=16, progress=False, callbacks=[sizes])
    assert len(trainer.history.births) > 20
    assert sizes.seen == [plan.memory] * 8
    largest = ep.mlp(8, 36, 30, 4)
    arrays = largest.nbytes
    ep.Trainer(largest, selection=None).fit(*data(), epochs=1, batch_size=16, progress=False)
    assert plan.memory == largest.nbytes + arrays // 4
    # Without births, the memory beyond the network's size is released at the next removal.
    trainer = ep.Trainer(net, selection=None)
    trainer.fit(*data(), epochs=1, batch_size=16, progress=False)
    net.kill("populations1", [net.births("populations1")[0]])
    net.compact()
    other = net.copy()
    ep.Trainer(other, selection=None).fit(*data(), epochs=1, batch_size=16, progress=False)
    assert net.nbytes == other.nbytes


def test_a_resumed_run_equals_an_uninterrupted_one_where_features_return(tmp_path):
    selection = settings(rate=0.1, returns=0.05)
    whole = fitted(selection, net=without_features())
    half = fitted(selection, until=5, net=without_features())
    half.save(tmp_path / "state")
    again = ep.Trainer(without_features(), selection=selection, optimizer=ep.AdamW(3e-3))
    again.restore(tmp_path / "state")
    again.resume(*data(), progress=False)
    runs.assert_same(runs.grown_state(whole.network), runs.grown_state(again.network))
    history, other = whole.history, again.history
    assert history.returns["layer"].tolist() == ["features"] * len(history.returns)
    assert len(history.returns) > 3
    assert np.array_equal(history.returns, other.returns)
    assert np.array_equal(history.births, other.births)
    history.save(tmp_path / "history.npz")
    loaded = ep.History.load(tmp_path / "history.npz")
    assert np.array_equal(loaded.returns, history.returns)
    assert history.ever_born[0] == 8
    for name, value in (("birth", 8), ("step", -1), ("layer", "nowhere")):
        bad = copy.copy(loaded)
        bad._returns[0][name][0] = value
        with pytest.raises(ValueError, match="returns: expected"):
            bad.save(tmp_path / "bad.npz")
    mass = history.trajectories("mass", "features")
    for row in history.returns:  # extinct before, alive afterwards
        at = np.searchsorted(history.record_steps, row["step"])
        assert np.isfinite(mass[at : at + 2, row["birth"]]).any()
    net = whole.network
    net.save(tmp_path / "net.safetensors", moments=True)
    further = [
        fitted(selection, epochs=6, net=n) for n in (ep.load(tmp_path / "net.safetensors"), net)
    ]
    runs.assert_same(runs.grown_state(further[0].network), runs.grown_state(further[1].network))


def test_copies_files_and_pickles_keep_ids_and_the_next_id(tmp_path):
    net = fitted(settings()).network
    assert any(n > net.born[layer] for layer, n in net.ever_born.items())
    net.save(tmp_path / "net.safetensors", moments=True)
    runs.assert_same(runs.grown_state(net), runs.grown_state(net.copy()))
    runs.assert_same(runs.grown_state(net), runs.grown_state(pickle.loads(pickle.dumps(net))))
    runs.assert_same(runs.grown_state(net), runs.grown_state(ep.load(tmp_path / "net.safetensors")))
    further = [fitted(settings(), epochs=6, net=n).network for n in (net.copy(), net)]
    runs.assert_same(runs.grown_state(further[0]), runs.grown_state(further[1]))
    folded = net.folded()
    x, _ = data()
    assert np.allclose(folded.predict(x), net.predict(x), atol=1e-4)
    with pytest.raises(ValueError, match="born after its"):
        net.expanded()


def test_a_network_that_has_grown_trains_without_births():
    net = fitted(settings()).network
    history = fitted(settings().replace(births=None), epochs=6, net=net).history
    assert history.born == tuple(net.ever_born.values())
    assert not len(history.births)
    assert (history.lineage() == -1).all()


def test_newborn_populations_have_dropout_masks_of_their_own():
    """Newborn populations get new birth ids, so they share no mask with other populations."""
    spec = {
        "seed": 1, "input": [2, 4],
        "layers": [
            {"kind": "dense", "name": "d", "config": {"units": [6]}},
            {"kind": "populations", "name": "p"},
            {"kind": "dropout", "name": "drop", "config": {"rate": 0.5}},
            {"kind": "dense", "name": "out", "config": {"units": [3], "contract": 0}},
        ],
    }  # fmt: skip
    ids = np.arange(12)
    net = ep.Network(spec, births={"d": ids}, next_births={"d": 12})
    net["p.mass"] = 1
    net["d.weight"][...] = 0
    net["p.bias"] = 1
    net.forward(np.ones((64, 2, 4), "float32"), training=True)
    masks = net.activations["drop"].reshape(64, 24)
    assert np.unique(masks, axis=1).shape == (64, 24)


# ---- the record of descent -----------------------------------------------------------------------


def test_the_history_records_descent(tmp_path):
    trainer = fitted(settings(rate=0.1, capacity=3.0))
    net, history = trainer.network, trainer.history
    births = history.births
    assert len(births) > 5
    assert history.ever_born == tuple(net.ever_born.values())
    assert len(history.labels) == sum(history.ever_born)
    for layer, founders in net.born.items():
        rows = births[births["layer"] == layer]
        assert rows["birth"].tolist() == list(range(founders, founders + len(rows)))
        parents = history.lineage(layer)
        assert parents[:founders].tolist() == [-1] * founders
        assert parents[founders:].tolist() == rows["parent"].tolist()
        assert (parents < np.arange(len(parents))).all()
        mass = history.trajectories("mass", layer)
        assert mass.shape == (len(history.record_steps), len(parents))
        for row in rows:  # no mass is recorded before birth
            seen = ~np.isnan(mass[:, row["birth"]])
            assert not seen[history.record_steps < row["step"]].any()
        living = np.flatnonzero(~np.isnan(mass[-1]))
        assert living.tolist() == net.births(layer).tolist()
    whole = history.lineage()
    assert whole.shape == history.trajectories().shape[1:]
    # A parent in layer 2 has a column after all columns of layer 1.
    assert whole.max() >= net.ever_born["populations1"]
    history.save(tmp_path / "history.npz")
    again = ep.History.load(tmp_path / "history.npz")
    assert np.array_equal(again.births, births)
    assert again.ever_born == history.ever_born
    assert np.array_equal(again.lineage(), whole)
    with pytest.raises(KeyError, match="no populations"):
        history.lineage("nowhere")


@pytest.mark.parametrize("kind", ["division", "immigration"])
@pytest.mark.parametrize("layer", [None, "populations1"])
def test_prices_equation_is_exact_with_births(kind, layer):
    history = fitted(settings(kind, rate=0.1, capacity=3.0)).history
    assert len(history.births)
    parents = history.lineage(layer).tolist()
    mass = history.trajectories("mass", layer).astype(np.float64)
    for trait in ("fitness", "mass", "upkeep"):
        z = history.trajectories(trait, layer).astype(np.float64)
        terms = history.price(trait, layer)
        for t in range(len(mass) - 1):
            selection, transmission, change = by_definition(mass[t : t + 2], z[t : t + 2], parents)
            scale = 1e-12 * (np.nanmax(np.abs(z[t : t + 2])) + 1e-30)
            assert abs(terms.selection[t] - selection) < scale
            assert abs(terms.transmission[t] - transmission) < scale
            assert abs(terms.change[t] - change) < scale
            assert abs(selection + transmission - change) < scale
    fisher = history.fisher(layer)
    assert np.allclose(fisher.variance + fisher.environment, fisher.change, atol=1e-12)
    assert (fisher.variance >= -1e-15).all() or kind == "immigration"


def by_definition(mass, z, parents):
    """Return selection, transmission and total change of the mean of a trait z in an interval.

    These are the terms of Price's equation, summed population by population; the mass of a
    newborn population counts for its ancestor that was alive at the start.
    """
    living = [j for j in range(len(parents)) if mass[0][j] > 0]
    after = [j for j in range(len(parents)) if mass[1][j] > 0]
    x = {j: mass[0][j] / sum(mass[0][k] for k in living) for j in living}
    y = {j: mass[1][j] / sum(mass[1][k] for k in after) for j in after}
    mean = sum(x[j] * z[0][j] for j in living)
    offspring = dict.fromkeys(living, 0.0)
    transmission = 0.0
    for j in after:
        origin = j
        while origin >= 0 and origin not in x:
            origin = parents[origin]
        if origin >= 0:
            offspring[origin] += y[j]
        transmission += y[j] * (z[1][j] - (z[0][origin] if origin >= 0 else mean))
    selection = sum((offspring[j] - x[j]) * (z[0][j] - mean) for j in living)
    return selection, transmission, sum(y[j] * z[1][j] for j in after) - mean


def test_muller_plots_show_descent():
    """The band of a newborn population is next to the parent's band, whatever its birth id."""
    from evoprune import plot
    from evoprune.plot._shares import _by_descent

    order, founder = _by_descent(np.array([-1, -1, 0, 2, 1, 0]))
    assert order.tolist() == [0, 5, 2, 3, 1, 4]
    assert founder.tolist() == [0, 1, 0, 0, 1, 0]
    history = fitted(settings(rate=0.1, capacity=3.0)).history
    ax = plot.muller(history, layer="populations1")
    (bands,) = ax.collections
    edges = [path.vertices[:, 1] for path in bands.get_paths()]
    assert len(edges) == history.ever_born[0]
    order, _ = _by_descent(history.lineage("populations1"))
    mass = history.trajectories("mass", "populations1")
    share = np.nan_to_num(mass[-1])[order] / np.nansum(mass[-1])
    n = len(mass)
    heights = [e[n] - e[n - 1] for e in edges]  # heights of the bands at the last record
    assert np.allclose(np.abs(heights), share, atol=1e-6)
    with pytest.raises(ValueError, match="parents"):
        plot.muller(np.ones((4, 2)), parents=[0, -1])

"""Histories: the records of a run, files that can be read without the package, and plots."""

from __future__ import annotations

import json

import numpy as np
import pytest
from trainers import data, fit, make, same_history

import evoprune as ep
from evoprune.records import history as module


@pytest.fixture(scope="module")
def run():
    """Return (network, history) of a short run in which many populations die."""
    law = ep.Malthusian(lifespan=60)
    selection = ep.Selection(1.0, dynamics=law, upkeep="macs", clock="steps", min_age=20)
    trainer = make(selection=selection)
    history = fit(trainer, epochs=30, batch_size=40, validation_data=data(), record_every=10)
    return trainer.network, history


def test_columns_are_by_epoch(run):
    net, history = run
    assert history.epochs_done == 30
    assert history["epoch"].tolist() == list(range(1, 31))
    assert history["step"][-1] == history.steps_done == 180
    assert {"loss", "accuracy", "validation_loss", "validation_accuracy"} < set(history)
    assert all(history[name].shape == (30,) for name in history)
    assert history["alive"][-1] == sum(net.alive.values())
    assert history["alive.populations1"][-1] == net.alive["populations1"]
    assert history["macs"][-1] == net.macs
    own = [row["alive"] * row["cost"] for row in net.describe()["populations"]]
    assert history["upkeep"][-1] == pytest.approx(sum(own))
    assert history["ms_per_step"].min() > 0
    assert len(history.batch_losses) == 180
    assert history["loss"][0] == pytest.approx(history.batch_losses[:6].mean())
    with pytest.raises(KeyError, match="no column 'cost'; there are epoch, step, loss"):
        history["cost"]


def test_trajectories_end_with_death(run):
    net, history = run
    mass = history.trajectories("mass")
    assert history.record_steps.tolist() == list(range(0, 181, 10))
    assert mass.shape == (19, 40)
    assert np.array_equal(mass[0], np.ones(40))
    assert len(history.labels) == 40
    assert history.labels[24] == ("populations2", 0)
    living = ~np.isnan(mass[-1])
    assert living.sum() == sum(net.alive.values())
    births = np.flatnonzero(living[:24])
    assert births.tolist() == net.births("populations1").tolist()
    assert np.array_equal(mass[-1, :24][births], net["populations1.mass"])
    for row in history.extinctions:
        column = history.labels.index((row["layer"], row["birth"]))
        dead = np.isnan(mass[:, column])
        assert np.array_equal(dead, history.record_steps >= row["step"])
    assert history.trajectories("fitness", "populations2").shape == (19, 16)
    assert history.living("populations1")[-1] == net.alive["populations1"]
    with pytest.raises(ValueError, match="expected mass, fitness or upkeep"):
        history.trajectories("age")
    with pytest.raises(KeyError, match="no populations in 'dense1'"):
        history.trajectories(layer="dense1")


def test_all_extinctions_are_recorded(run):
    net, history = run
    rows = history.extinctions
    assert len(rows) == 40 - sum(net.alive.values()) > 10
    assert (np.diff(rows["step"]) >= 0).all()
    assert (rows["mass"] < 1e-3).all()
    assert rows["step"].min() >= 60
    assert np.allclose(rows["epoch"], rows["step"] / 6)
    losses = history.batch_losses
    assert np.array_equal(rows["loss_before"], losses[rows["step"] - 1])
    after = rows["step"] < len(losses)
    assert np.array_equal(rows["loss_after"][after], losses[rows["step"][after]])
    assert np.isnan(rows["loss_after"][~after]).all()


def test_upkeep_is_recorded(run):
    net, history = run
    upkeep = history.trajectories("upkeep")
    assert np.array_equal(np.isnan(upkeep), np.isnan(history.trajectories("mass")))
    first = history.trajectories("upkeep", "populations1")[0]
    assert np.allclose(first, (12 + 16) / (12 * 24 + 24 * 16 + 16 * 3))
    shares = {p["layer"]: p["cost"] for p in net.describe()["populations"]}
    for layer, share in shares.items():
        last = history.trajectories("upkeep", layer)[-1]
        assert np.allclose(last[~np.isnan(last)], share)


@pytest.mark.parametrize("niche", ["layer", "network"])
def test_soft_upkeep_is_recorded_as_the_core_counts_it(niche):
    seen = []

    def watch(cohort):
        seen.append(cohort)
        return cohort["mass"]

    selection = ep.Selection(
        1.5, dynamics=watch, upkeep="soft", fitness="relative", niche=niche, min_age=0
    )
    trainer = make(selection=selection)
    history = fit(trainer, epochs=4, batch_size=40, record_every=10)
    for record in (1, -1):
        last = seen[: int(history.record_steps[record]) * (1 if niche == "network" else 2)]
        last = last[-1:] if niche == "network" else last[-2:]
        upkeep = history.trajectories("upkeep")[record]
        expected = np.concatenate([cohort["upkeep"] for cohort in last])
        assert np.allclose(upkeep, expected, rtol=1e-4)
        assert expected.any()
    assert history["upkeep"][-1] == pytest.approx(expected.sum(), rel=1e-4)


def test_diversity_is_a_number_of_populations(run):
    _, history = run
    mass = history.trajectories("mass", "populations1")
    assert history.diversity(0, "populations1").tolist() == history.living("populations1").tolist()
    x = np.nan_to_num(mass[-1].astype(np.float64))
    x = x[x > 0] / x.sum()
    assert history.diversity(1, "populations1")[-1] == pytest.approx(np.exp(-(x * np.log(x)).sum()))
    assert history.diversity(2, "populations1")[-1] == pytest.approx(1 / (x**2).sum())
    assert history.diversity(np.inf, "populations1")[-1] == pytest.approx(1 / x.max())
    orders = np.array([history.diversity(q) for q in (0, 0.5, 1, 2, np.inf)])
    assert (np.diff(orders, axis=0) <= 1e-9).all()  # diversity falls with its order q
    assert history["diversity"][-1] == pytest.approx(history.diversity()[-1])
    assert history["fitness_variance"][-1] == pytest.approx(history.fitness_variance()[-1])


@pytest.mark.parametrize("layer", [None, "populations2"])
def test_terms_of_price_and_fisher_add_up(run, layer):
    _, history = run
    for trait in ("fitness", "mass", "upkeep"):
        terms = history.price(trait, layer)
        assert terms.steps.tolist() == history.record_steps[1:].tolist()
        assert np.allclose(terms.change, terms.selection + terms.transmission, atol=1e-9)
    terms = history.price("fitness", layer)
    assert np.allclose(terms.change, np.diff(history.mean_fitness(layer)))
    assert (history.price("mass", layer).selection >= -0.1).all()
    terms = history.fisher(layer)
    assert terms.steps.tolist() == history.record_steps[1:-1].tolist()
    assert np.allclose(terms.change, terms.variance + terms.environment, atol=1e-9)
    assert (terms.variance >= -1e-12).all()


def test_frames(run):
    pandas = pytest.importorskip("pandas")
    _, history = run
    frame = history.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.name == "epoch"
    assert frame["loss"].iloc[-1] == history["loss"][-1]
    assert len(history.to_frame("extinctions")) == len(history.extinctions)
    records = history.to_frame("records")
    assert records.index.name == "step"
    assert records["alive"].tolist() == history.living().tolist()
    assert records["diversity"].iloc[0] == pytest.approx(40)
    with pytest.raises(ValueError, match="table: expected epochs, records or extinctions"):
        history.to_frame("deaths")


def test_a_file_holds_everything(run, tmp_path):
    _, history = run
    history.save(tmp_path / "h.npz")
    same_history(history, ep.History.load(tmp_path / "h.npz"))
    assert [path.name for path in tmp_path.iterdir()] == ["h.npz"]


def test_a_file_is_read_without_the_package(run, tmp_path):
    _, history = run
    history.save(tmp_path / "h.npz")
    with np.load(tmp_path / "h.npz", allow_pickle=False) as file:
        assert np.array_equal(file["epochs.loss"], history["loss"])
        assert file["mass"].shape == (19, 40)
        assert file["extinctions"].dtype.names[:4] == ("step", "epoch", "layer", "birth")
        meta = json.loads(str(file["meta"]))
    assert meta["layers"] == ["populations1", "populations2"]
    assert "Malthusian(lifespan=60)" in meta["settings"]["selection"]


@pytest.mark.parametrize("harm", [b"", b"PK\x03\x04 and no more", None, "other"])
def test_bad_files_are_named(harm, run, tmp_path):
    path = tmp_path / "h.npz"
    run[1].save(path)
    if harm == "other":
        np.savez(path, x=np.arange(3))
    else:
        path.write_bytes(path.read_bytes()[:-300] if harm is None else harm)
    with pytest.raises(ep.FileFormatError, match=r"h\.npz: no"):
        ep.History.load(path)
    with pytest.raises(FileNotFoundError):
        ep.History.load(tmp_path / "nothing.npz")


def test_records_are_thinned_beyond_a_limit(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 16 * 3 * 4 * 20)
    net = ep.mlp(4, 8, 8, 2)
    history = ep.History(("populations1", "populations2"), (8, 8), record_every=1)
    for step in range(200):
        if step % history.record_every == 0:
            history.record(step, net)
    assert 8 <= len(history.record_steps) <= 21
    assert history.record_every == 2**history.thinned == 16
    assert (history.record_steps % history.record_every == 0).all()
    assert history.trajectories().shape == (len(history.record_steps), 16)


def test_an_empty_history_can_be_shown():
    history = ep.History()
    assert repr(history) == "History: no epoch yet"
    assert history.batch_losses.shape == (0,)
    assert history.trajectories().shape == (0, 0)
    assert len(history.extinctions) == 0
    assert "no epoch yet" in history._repr_html_()


def test_a_history_is_shown_as_text_and_html(run):
    net, history = run
    text = repr(history)
    assert text.startswith("History: 30 epochs, 180 steps, loss ")
    assert f"{sum(net.alive.values())} of 40 alive" in text
    html = history._repr_html_()
    assert html.count("<tr>") == 1 + 20  # rows in the middle are omitted
    assert "validation accuracy" in html

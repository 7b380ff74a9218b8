"""Plots have the right content on light and dark backgrounds, and do not fail without data.

A plot is compared with a thumbnail of 48 by 32 gray levels in tests/pictures. Fonts and
rasterizers move edges by a pixel, not whole areas: the mean difference may be 6 of 255 levels.
`EVOPRUNE_NEW_PICTURES=1 pytest tests/test_plot.py` writes new thumbnails; first check the plots.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

import evoprune as ep
from evoprune import plot
from evoprune.records.history import EXTINCTION

THUMBNAILS = Path(__file__).with_name("pictures")
TOLERANCE = 6.0


@pytest.fixture(autouse=True)
def close():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def made_up(born=(60, 30), records=60):
    """Return a network and an artificial history in which two thirds of the populations die."""
    random = np.random.default_rng(1)
    net = ep.mlp(9, *born, 3)
    history = ep.History(tuple(net.born), born, per_epoch=10, record_every=1)
    fates = [random.normal(-0.05, 0.08, n) for n in born]
    logs = [np.zeros(n) for n in born]
    dead = []
    for step in range(records):
        for at, (name, drift) in enumerate(zip(net.born, fates, strict=True)):
            ids = net.births(name)
            logs[at] += drift + random.normal(0, 0.03, born[at])
            mass = np.exp(logs[at])[ids]
            gone = mass < 0.02
            if gone.any() and not gone.all():
                net.kill(name, ids[gone])
                rows = np.zeros(gone.sum(), EXTINCTION)
                rows["step"], rows["epoch"], rows["layer"] = step, step / 10, name
                rows["birth"], rows["mass"] = ids[gone], mass[gone]
                dead.append(rows)
            lives = net[f"{name}.alive"] > 0
            net[f"{name}.mass"][lives] = mass[~gone] if not gone.all() else mass
            net[f"{name}.fitness"][lives] = drift[net.births(name)] / 100 + 0.001
        history.record(step, net, 0.3)
        loss = 2 * np.exp(-step / 20)
        history.add_steps(np.array([loss]), np.array([8.0]), np.array([10.0]))
        if (step + 1) % 10 == 0:
            alive = sum(net.alive.values())
            history.add_epoch(
                {
                    "epoch": (step + 1) / 10, "loss": loss, "accuracy": 1 - loss / 4,
                    "validation_loss": loss + 0.1, "validation_accuracy": 0.98 - loss / 4,
                    "alive": alive, "upkeep": 0.3 * alive / 90, "pressure": 0.3,
                    "macs": 100.0 * alive, "parameters": 110.0 * alive,
                }
            )  # fmt: skip
    history._extinctions = dead
    net.compact()
    return net, history


@pytest.fixture(scope="module")
def story():
    return made_up()


@pytest.fixture(scope="module")
def run():
    """Return (network, history) of a short real run in which many populations die."""
    random = np.random.default_rng(0)
    x = random.standard_normal((240, 16)).astype(np.float32)
    y = (x @ random.standard_normal((16, 3))).argmax(1)
    net = ep.mlp(16, 24, 16, 3, inputs=True)
    selection = ep.Selection(1.0, dynamics=ep.Malthusian(lifespan=60), min_age=20)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(3e-3, weight_decay=0.3))
    history = trainer.fit(
        (x, y), epochs=30, batch_size=40, validation_data=(x, y), progress=False, record_every=10
    )
    return net, history


def front(net, history):
    return plot.pareto(
        {"this": [history, history], "others": ([2e3, 5e3], [4.0, 2.0])},
        reference={"published": (4e3, 3.0)},
    )


SPIRAL = np.exp(
    np.stack([np.sin(np.arange(90) / 9 + k) * np.arange(90) / 60 for k in (0, 2, 4)], 1)
)
ALL = {
    "history": lambda net, history: plot.history(history)[0],
    "trajectories": lambda net, history: plot.trajectories(history),
    "trajectories_fitness": lambda net, history: plot.trajectories(history, "fitness"),
    "muller": lambda net, history: plot.muller(history),
    "muller_three": lambda net, history: plot.muller(SPIRAL, labels=["a", "b", "c"]),
    "survival": lambda net, history: plot.survival(history),
    "fitness": lambda net, history: plot.fitness(net, pressure=0.3),
    "phase": lambda net, history: plot.phase(history),
    "phase_three": lambda net, history: plot.phase(SPIRAL),
    "price": lambda net, history: plot.price(history),
    "structure": lambda net, history: plot.structure(net),
    "filters": lambda net, history: plot.filters(net),
    "pareto": front,
}


def thumbnail(figure):
    """Return gray levels of the figure, averaged into 48 by 32 fields: float (32, 48)."""
    figure.set_dpi(80)
    figure.canvas.draw()
    grey = np.asarray(figure.canvas.buffer_rgba())[..., :3].mean(-1)
    rows, columns = (
        np.linspace(0, size, fields + 1).astype(int)[:-1]
        for size, fields in zip(grey.shape, (32, 48), strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 0), columns, 1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(grey), rows, 0), columns, 1)
    return sums / counts


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ALL)
def test_plots_match_their_thumbnails(name, dark, story):
    from PIL import Image

    with plot.style(dark):
        ax = ALL[name](*story)
        now = thumbnail(ax.figure)
    path = THUMBNAILS / f"{name}_{'dark' if dark else 'light'}.png"
    if os.environ.get("EVOPRUNE_NEW_PICTURES"):
        Image.fromarray(np.rint(now).astype(np.uint8)).save(path)
    before = np.asarray(Image.open(path), np.float64)
    assert np.abs(now - before).mean() < TOLERANCE
    ground = now[-1, -1]
    assert ground < 60 if dark else ground > 200


@pytest.mark.parametrize("name", ["trajectories", "survival", "muller", "phase", "price"])
def test_axes_are_labeled_and_may_be_given(name, run):
    from matplotlib.figure import Figure

    _, history = run
    given = Figure().subplots()
    ax = getattr(plot, name)(history, ax=given)
    assert ax is given
    assert ax.get_title("left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_history_has_four_axes(run):
    _, history = run
    axes = plot.history(history)
    assert [ax.get_title("left") for ax in axes] == [
        "Loss", "Accuracy", "Living populations", "Upkeep of the living"
    ]  # fmt: skip
    assert all(ax.get_xlabel() == "epoch" and ax.get_ylabel() for ax in axes)
    assert history.plot().shape == (4,)
    with pytest.raises(ValueError, match="expected 4"):
        plot.history(history, axes[:1])


def test_trajectories_show_every_population(run):
    net, history = run
    ax = plot.trajectories(history)
    survivors = [c for c in ax.collections if c.get_alpha() == 0.8]
    assert sum(len(c.get_segments()) for c in survivors) == sum(net.alive.values())
    dots = [c for c in ax.collections if hasattr(c, "get_sizes") and not hasattr(c, "get_segments")]
    assert sum(len(c.get_offsets()) for c in dots) == len(history.extinctions)
    assert "survive" in ax.get_legend().get_texts()[0].get_text()
    with pytest.raises(ValueError, match="quantity: expected mass, fitness or upkeep"):
        plot.trajectories(history, "age")


def test_bands_of_a_muller_plot_fill_it(run):
    _, history = run
    ax = plot.muller(history, layer="populations1")
    bands = ax.collections[0].get_paths()
    assert len(bands) == 24
    ends = np.array([path.vertices[[0, -2], 1] for path in bands])  # edges of bands at the start
    assert np.allclose(ends, [[i / 24, (i + 1) / 24] for i in range(24)], atol=1e-6)
    last = np.array([path.vertices[len(history.record_steps) - 1, 1] for path in bands])
    widths = np.diff(np.append(last, 1))
    assert np.allclose(widths > 0, ~np.isnan(history.trajectories("mass", "populations1")[-1]))


def test_populations_below_upkeep_are_hollow(run):
    net, history = run
    text = [t.get_text() for t in plot.fitness(net).get_legend().get_texts()]
    assert text == [t.get_text() for t in plot.fitness(history).get_legend().get_texts()]
    assert all("below upkeep" in t for t in text)
    fresh = ep.mlp(4, 8, 2)
    with pytest.raises(ValueError, match="pressure: must be given"):
        plot.fitness(fresh)
    plot.fitness(fresh, pressure=0.1)


def test_cells_are_the_founding_populations(run):
    net, _ = run
    ax = plot.structure(net)
    cells = [len(c.get_paths()) for c in ax.collections]
    assert cells == list(net.born.values())
    assert f"{sum(net.alive.values())} of {sum(net.born.values())}" in ax.get_title("left")


def test_living_features_are_an_image(run):
    net, _ = run
    ax = plot.features(net)
    assert ax.images[0].get_array().shape[:2] == (4, 4)
    assert f"{net.alive['features']} of 16" in ax.get_title("left")
    plot.features(net, shape=(2, 8))
    with pytest.raises(ValueError, match="shape: expected rows and columns of 16"):
        plot.features(net, shape=(3, 5))
    with pytest.raises(ValueError, match="no populations on its input"):
        plot.features(ep.mlp(4, 8, 2))


def test_filters_need_something_that_is_a_picture():
    plot.filters(ep.mlp(16, 8, 2))
    plot.filters(ep.mlp(10, 8, 2), shape=(2, 5))
    with pytest.raises(ValueError, match="layer: expected weights that are pictures"):
        plot.filters(ep.mlp(10, 8, 2))
    with pytest.raises(ValueError, match="expected one of populations1, got 'x'"):
        plot.filters(ep.mlp(16, 8, 2), "x")


def test_attention_weights_sum_to_one():
    net = ep.vit((8, 8, 1), 3, patch=4, dim=8, layers=2, heads=2)
    net.kill("heads2", [0])
    net.compact()
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 1)).astype(np.float32)
    ax = plot.heads(net, x, sample=1)
    assert len(ax.images) == 3
    words = {text.get_text() for text in ax.texts}
    assert {"heads1", "heads2", "head 0", "head 1"} <= words
    assert len(plot.heads(net, x, "heads2").images) == 1
    with pytest.raises(ValueError, match=r"expected a layer of attention \(heads1, heads2\)"):
        plot.heads(net, x, "heads3")


def test_attention_is_what_the_core_computes():
    from evoprune.plot import _insides

    net = ep.charlm(11, 6, dim=8, layers=1, heads=2)
    x = np.arange(12).reshape(2, 6) % 11
    net.forward(x)
    row = next(r for r in net.describe()["layers"] if r["kind"] == "attention")
    config = next(r["config"] for r in net.spec["layers"] if r["name"] == row["name"])
    net.forward(x[1])  # one sample without a batch axis
    maps = _insides._maps(net, row, config)
    assert np.allclose(maps.sum(-1), 1)
    assert np.allclose(np.triu(maps[0], 1), 0)  # attention is causal
    values = net.activations[row["inputs"][2]][0]
    expected = np.einsum("hqk,khd->qhd", maps, values)
    assert np.allclose(expected, net.activations[row["name"]][0], atol=1e-5)


def test_filters_are_kernels():
    net = ep.lenet5(filters=(4, 6), neurons=8)
    ax = plot.filters(net)
    assert "filters1" in ax.get_title("left")
    assert plot.filters(net, "filters2").images[0].get_array().shape[2] == 3
    plot.filters(ep.cnn((8, 8, 3), (4, 6), 3))  # color images
    plot.structure(net)


def test_many_layers_are_colored_by_kind():
    from matplotlib.figure import Figure

    from evoprune.plot import _ground

    ax = Figure().subplots()
    layers = [f"{kind}{i}" for i in range(1, 6) for kind in ("heads", "neurons")]
    hues = _ground.paint(layers, ax)
    assert list(hues) == layers
    assert len(set(hues.values())) == 10
    assert max(hues["heads3"]) == hues["heads3"][2] > 0.5  # heads are blue
    assert len(set(_ground.paint([f"filters{i}" for i in range(20)], ax).values())) == 20


def test_pareto_checks_its_arguments(run):
    _, history = run
    for y in ("error", "accuracy"):
        for x in ("macs", "parameters", "alive"):
            plot.pareto({"run": history}, x, y)
    with pytest.raises(ValueError, match="y: expected error or accuracy"):
        plot.pareto({"run": history}, y="loss")
    with pytest.raises(ValueError, match="x: expected macs, parameters or alive"):
        plot.pareto({"run": history}, "bytes")
    with pytest.raises(ValueError, match="runs: expected histories or"):
        plot.pareto({"run": 3})


NONE = {
    "never run": ep.History,
    "no epoch": lambda: ep.History(("a", "b"), (3, 5)),
    "one record": lambda: made_up((4, 2), 1)[1],
    "two records": lambda: made_up((4, 2), 2)[1],
    "one population": lambda: made_up((1, 1), 20)[1],
}


@pytest.mark.parametrize("state", NONE)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_empty_states_can_be_drawn(state, dark):
    with plot.style(dark):
        history = NONE[state]()
        plot.history(history)
        for draw in (plot.trajectories, plot.survival, plot.muller, plot.phase, plot.price):
            draw(history).figure.canvas.draw()
        plot.trajectories(history, "fitness")
        plot.trajectories(history, "upkeep")
        plot.fitness(history).figure.canvas.draw()


def test_nets_without_populations_can_be_drawn():
    net = ep.mlp(4, 2)
    plot.structure(net).figure.canvas.draw()
    plot.fitness(net, pressure=0.1)
    with pytest.raises(ValueError, match="no such layer|expected a layer of attention"):
        plot.heads(net, np.zeros((1, 4)))


def test_arrays_that_are_no_masses_are_refused():
    with pytest.raises(ValueError, match=r"expected a History or \(times, populations\)"):
        plot.muller(np.ones(3))
    with pytest.raises(ValueError, match=r"expected masses \(times, 3\)"):
        plot.phase(np.ones((5, 4)))


def test_colors_differ():
    from matplotlib.figure import Figure

    from evoprune.plot import _ground

    ax = Figure().subplots()
    for n in (1, 7, 30):
        assert len(set(_ground.colors(n, ax))) == n
    assert not _ground.is_dark(ax)
    ax.set_facecolor("black")
    assert _ground.is_dark(ax)


@pytest.mark.parametrize("draw", [plot.trajectories, plot.muller, plot.phase, plot.history])
def test_many_populations_are_drawn_quickly(draw):
    _, history = made_up((512, 256), 200)
    np.ravel(draw(history))[0].figure.canvas.draw()  # the first drawing also loads fonts
    begin = time.process_time()
    np.ravel(draw(history))[0].figure.canvas.draw()
    assert time.process_time() - begin < 3  # 0.2 to 0.6 s on an idle machine


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c", "d"], "abc", [["a"]]])
def test_a_muller_plot_needs_a_label_for_each_population(labels):
    with pytest.raises(ValueError, match="labels: expected 3 names, one per population"):
        plot.muller(SPIRAL, labels=labels)
    with pytest.raises(ValueError, match="labels: expected 3 names, one per population"):
        plot.phase(SPIRAL, labels=labels)

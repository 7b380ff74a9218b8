"""Checks of single arguments, and edge cases of runs."""

from __future__ import annotations

from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scripts import run
from trainers import data, fit, make, quiet

import evoprune as ep


def test_a_network_without_multiply_adds_is_trained():
    """The network is a table of logits. Targets equal inputs: a letter learns to predict itself."""
    codes = np.random.default_rng(0).integers(0, 3, (64, 8))
    net = ep.Sequential([ep.Embedding(3, 3)], input=8)
    assert net.founding_macs == 0
    trainer = ep.Trainer(net, selection=None, optimizer=ep.AdamW(0.3, weight_decay=0))
    history = trainer.fit((codes, codes), epochs=150, progress=False)
    assert (history["upkeep"] == 0).all()
    assert history["loss"][-1] < 1e-2
    assert (net.predict(codes).argmax(-1) == codes).all()


@pytest.mark.parametrize(
    ("keep", "error", "text"),
    [
        (2.7, TypeError, "prune: keep: expected a whole number, got 2.7"),
        ("5", TypeError, "prune: keep"),
        (True, TypeError, "prune: keep"),
        (-3, ValueError, "prune: keep: expected a whole number from 2 to 40"),
        (0, ValueError, "prune: keep: expected a whole number from 2 to 40"),
        (41, ValueError, "prune: keep: expected a whole number from 2 to 40"),
        ({"populations1": 0}, ValueError, r"keep\['populations1'\]: .* from 1 to 24"),
        ({"populations1": 2.0}, TypeError, r"keep\['populations1'\]"),
    ],
)
def test_how_many_to_keep_is_checked(keep, error, text):
    net = make().network
    with pytest.raises(error, match=text):
        net.prune(keep=keep)
    assert net.alive == {"populations1": 24, "populations2": 16}


def test_kill_names_the_layers_that_there_are():
    net = make().network
    with pytest.raises(KeyError, match="'nope'; there are populations1, populations2"):
        net.kill("nope", 0)


def test_a_floor_that_prevents_extinction_warns():
    for floor in (24, 10**6):
        selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=20), min_age=10, floor=floor)
        with pytest.warns(ep.NothingCanDie, match=rf"its floor \({floor}\)"):
            fit(make(selection=selection), epochs=20, until=0)
    selection = selection.replace(floor=23)
    fit(make(selection=selection), epochs=20, until=0)  # a warning would fail the test


def test_numbers_of_any_kind_are_numbers():
    assert ep.AdamW(np.array(0.1)) == ep.AdamW(0.1)
    assert ep.AdamW(Fraction(1, 10)).learning_rate == 0.1
    assert ep.Selection(Fraction(3, 2)).pressures(3).tolist() == [1.5] * 3
    for bad in ("0.1", None, True, 1j, object()):
        with pytest.raises((TypeError, ValueError), match="rate"):
            ep.AdamW(bad)
    with pytest.raises(ValueError, match="finite number of at least 0"):
        ep.AdamW(np.array(np.nan))


def test_the_number_of_threads_in_the_environment_is_quoted():
    code = """
        import evoprune as ep
        try:
            ep.get_threads()
        except ValueError as error:
            print(error)
        """
    for value in ("abc", "0", "-1", "2000"):
        text = run(code, EVOPRUNE_NUM_THREADS=value)
        assert text.strip().endswith(f"expected a whole number from 1 to 1024, got {value!r}")


def test_generate_checks_what_it_is_given():
    net = ep.charlm("abc", 4, dim=8, layers=1, heads=1)
    # A text begins after a newline by default; "abc" has none, so after its first character.
    assert set(ep.generate(net, length=9)) <= set("abc")
    for bad, error, text in (
        ({"seed": -1}, ValueError, "seed: expected a whole number from 0"),
        ({"seed": 1.5}, TypeError, "seed: expected a whole number"),
        ({"prompt": ""}, ValueError, "at least one character"),
    ):
        with pytest.raises(error, match=text):
            ep.generate(net, length=2, **bad)
    with pytest.raises(TypeError, match="network: expected Network, got str"):
        ep.generate("net")
    for name in net:
        net[name] = np.nan
    with pytest.raises(ValueError, match="network: expected finite logits"):
        ep.generate(net, length=2)


def inputs():
    return np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


@quiet
@pytest.mark.parametrize(
    "case", ["dense", "no epochs", "one population", "constant inputs", "usual"]
)
def test_fitness_is_drawn_where_there_is_none(case):
    x = inputs()
    y = (x[:, 0] > 0).astype(int)
    units, selection, epochs = 8, ep.Selection(), 2
    if case == "dense":
        selection = None
    elif case == "no epochs":
        epochs = 0
    elif case == "one population":
        units = 1
    elif case == "constant inputs":
        x = np.zeros_like(x)
    trainer = ep.Trainer(ep.mlp(5, units, 2), selection=selection)
    history = trainer.fit((x, y), epochs=epochs, progress=False)
    ax = ep.plot.fitness(history)
    ax.figure.canvas.draw()
    said = [text.get_text() for text in ax.texts]
    assert ("no living population has an upkeep" in said) == (case != "usual")
    plt.close("all")


def test_no_runs_are_drawn():
    for runs in ({"a": []}, {}, {"a": ep.History()}):
        ax = ep.plot.pareto(runs)
        ax.figure.canvas.draw()
        assert [text.get_text() for text in ax.texts] == ["no run with an epoch"]
    plt.close("all")


def test_an_error_leaves_data_unchanged():
    trainer = make()
    with pytest.raises(TypeError, match="callbacks"):
        fit(trainer, data(), callbacks=[object()])
    assert trainer.history is None


@pytest.mark.parametrize("mass", [0.0, -1.0, float("nan")])
def test_a_mass_of_zero_set_by_hand_is_refused(mass):
    net = ep.mlp(5, 8, 2)
    net.kill("populations1", [0])
    net["populations1.mass"][2] = mass
    x = np.random.default_rng(0).normal(size=(40, 5))
    trainer = ep.Trainer(net)
    with pytest.raises(ValueError, match=r"populations1\.mass: .* birth id 2; net\.kill"):
        trainer.fit(x, (x[:, 0] > 0).astype(int), epochs=1, progress=False)
    assert net.step == 0


def test_a_file_with_a_fitness_that_overflows_is_refused(tmp_path):
    net = ep.mlp(5, 8, 2)
    net["populations1.fitness"][1] = 3e38
    with pytest.raises(ValueError, match=r"populations1\.fitness: expected fitness of at most"):
        net.save(tmp_path / "net.safetensors")

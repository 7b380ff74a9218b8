"""Classes made from the catalogue, schedules, selection: valid and invalid arguments."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest

import evoprune as ep
from evoprune.core import core32, spec
from evoprune.nets import plan
from evoprune.selection import groups, schedules

BASES = [plan.Layer, groups.Loss, groups.Optimizer, groups.Fitness, groups.Dynamics]
MADE = [made for base in BASES for made in spec.known(base).values()]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.group)
def test_every_kind_of_the_catalogue_has_a_class(base):
    assert set(spec.known(base)) == set(core32.catalogue()[base.group])


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
def test_a_class_has_the_settings_of_its_kind(made):
    signature = inspect.signature(made)
    assert set(signature.parameters) == set(made.fields)
    for name, field in made.fields.items():
        assert f"    {name}: " in made.__doc__
        if not field.required and field.default is not None:
            assert signature.parameters[name].default == field.default
    assert made.__module__ in ("evoprune.selection.laws", "evoprune.nets.layers")
    if not any(field.required for field in made.fields.values()):
        one, other = made(), made()
        assert one == other
        assert hash(one) == hash(other)
        assert repr(one) == f"{made.__name__}()"
        assert pickle.loads(pickle.dumps(one)) == one
        assert core32.settings(made.group, made.kind, one.config()).keys() >= one.config().keys()


def test_the_repr_of_a_spec_is_its_call():
    for text in (
        "Malthusian(lifespan=900)",
        "AdamW(0.003, weight_decay=0.1)",
        "AdamW(clip=1)",
        "Dense(512)",
    ):
        assert repr(eval(text, vars(ep))) == text
    assert repr(ep.Dense([2, 3], name="a")) == "Dense([2, 3], name='a')"
    assert repr(ep.AdamW(ep.schedules.warmup(ep.schedules.linear(1e-3, 1e-4)))) == (
        "AdamW(warmup(linear(0.001, 0.0001), 0.05))"
    )
    assert len(repr(ep.LotkaVolterra(interaction=np.ones((9, 9))))) < 60


def test_fitness_laws_are_public_and_equal_their_names():
    for name, made in spec.known(groups.Fitness).items():
        assert getattr(ep, made.__name__) is made
        assert ep.Selection(fitness=made()) == ep.Selection(fitness=name)
        assert isinstance(made(), ep.Fitness)


def test_settings_are_attributes_that_cannot_be_set():
    law = ep.Malthusian(lifespan=700)
    assert law.lifespan == 700
    assert "lifespan" in dir(law)
    assert law != ep.Malthusian(lifespan=701)
    assert ep.LotkaVolterra(interaction=[[1, 2], [3, 4]]).interaction == (1, 2, 3, 4)
    with pytest.raises(AttributeError, match="cannot be changed"):
        law.lifespan = 1
    with pytest.raises(AttributeError, match="no setting 'foo'"):
        _ = law.foo


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: ep.Malthusian(lifespam=1),
            TypeError,
            "no setting 'lifespam'; it has growth, life",
        ),
        (lambda: ep.Malthusian(lifespan=-1), ValueError, "lifespan must be from 1 to"),
        (lambda: ep.Malthusian(lifespan="long"), TypeError, "lifespan must be a number"),
        (lambda: ep.Malthusian(growth="fast"), ValueError, "growth"),
        (lambda: ep.Malthusian(700), TypeError, r"at most 0 settings without a name \(none\)"),
        (lambda: ep.Dense(3, units=3), TypeError, "units is given twice"),
        (lambda: ep.Dense("many"), TypeError, "units"),
        (lambda: ep.Dense(3, name=3), TypeError, "name: expected"),
        (lambda: ep.AdamW("fast"), TypeError, "rate: expected a number or a schedule"),
        (lambda: ep.AdamW(-1.0), ValueError, "rate: expected a finite"),
        (lambda: ep.AdamW(clip=-1), ValueError, "clip: expected a finite"),
        (lambda: ep.Chain(ep.Dense(3), ep.Dense), TypeError, r"layers\[1\]: expected Dense\(...\)"),
        (lambda: ep.Chain(ep.Dense(3), "relu"), TypeError, r"layers\[1\]: expected a layer"),
        (lambda: ep.neurons(3, "rleu"), ValueError, "activation"),
    ],
)
def test_errors_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_chain_is_its_nodes():
    steps = plan.Plan()
    last = ep.Chain(ep.Dense(3), [ep.Populations("relu"), [ep.Dense(2)]], ep.neurons(4)).build(
        steps, "input"
    )
    assert [layer["name"] for layer in steps.layers] == [
        "dense1", "populations1", "dense2", "dense3", "populations2"
    ]  # fmt: skip
    assert [layer["inputs"] for layer in steps.layers[:2]] == [["input"], ["dense1"]]
    assert last == "populations2"
    with pytest.raises(ValueError, match="'dense1' is taken"):
        ep.Dense(3, name="dense1").build(steps, last)


# ---- schedules -------------------------------------------------------------------------------


def test_schedules_reach_their_values():
    assert np.array_equal(ep.schedules.constant(2.0)(3), [2, 2, 2])
    assert np.allclose(ep.schedules.linear(1.0)(4), [1, 0.75, 0.5, 0.25])
    assert np.allclose(ep.schedules.cosine(1.0)(4), (1 + np.cos(np.pi * np.arange(4) / 4)) / 2)
    assert np.allclose(ep.schedules.cosine(1.0, 0.5)(100)[[0, 50]], [1, 0.75])
    warm = ep.schedules.warmup(ep.schedules.constant(1.0), 0.2)(10)
    assert np.allclose(warm, [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert np.array_equal(ep.schedules.warmup(1.0, 0)(5), ep.schedules.cosine(1.0)(5))
    for schedule in (
        ep.schedules.constant(1),
        ep.schedules.linear(1),
        ep.schedules.cosine(1),
        ep.schedules.warmup(1),
    ):
        assert schedule(0).shape == (0,)
        assert schedule(1).shape == (1,)


def test_schedules_may_be_numbers_functions_and_arrays():
    assert np.array_equal(schedules.values("x", 2, 3), [2, 2, 2])
    assert np.array_equal(
        schedules.values("x", 1.0, 3, ep.schedules.cosine), ep.schedules.cosine(1.0)(3)
    )
    assert np.array_equal(schedules.values("x", np.arange, 3), [0, 1, 2])
    assert np.array_equal(schedules.values("x", [3, 2, 1], 3), [3, 2, 1])
    with pytest.raises(ValueError, match="expected 4 numbers, one per step"):
        schedules.values("x", [3, 2, 1], 4)
    with pytest.raises(ValueError, match="got nan at step 1"):
        schedules.values("x", [3, np.nan], 2)
    with pytest.raises(ValueError, match="got -1.0 at step 0"):
        schedules.values("x", [-1, 0], 2)
    for bad in (None, "1", True):
        with pytest.raises(TypeError, match="x: expected a number or a schedule"):
            schedules.values("x", bad, 2)
    with pytest.raises(ValueError, match="warmup"):
        ep.schedules.warmup(1.0, 2)


# ---- selection -------------------------------------------------------------------------------


def test_the_repr_of_a_selection():
    assert repr(ep.Selection()) == "Selection(pressure=1.5, dynamics=Malthusian())"
    other = ep.Selection(1.0, dynamics="replicator", fitness="taylor", rest=0.1)
    assert repr(other) == (
        "Selection(pressure=1, dynamics=Replicator(), fitness='taylor', rest=0.1)"
    )
    assert other == other.replace(rest=0.1)
    assert other != other.replace(rest=0.2)
    html = ep.Selection(fitness=ep.fitness(_shy))._repr_html_()
    assert "&lt;lambda&gt;" in html
    assert "<lambda>" not in html


def test_defaults_depend_on_the_other_settings():
    def chosen(selection):
        return selection.upkeep, selection.fitness.kind, selection.pressure

    soft, hard = ("soft", "taylor", 1.5), ("macs", "marginal", 0.15)
    assert chosen(ep.Selection()) == chosen(ep.Selection(dynamics="malthusian")) == soft
    assert chosen(ep.Selection(upkeep="macs")) == hard
    assert chosen(ep.Selection(dynamics="replicator")) == hard
    assert chosen(ep.Selection(dynamics=ep.Malthusian(growth="raw"))) == hard
    assert chosen(ep.Selection(dynamics=lambda mass: mass)) == hard
    assert chosen(ep.Selection(dynamics="replicator", upkeep="soft")) == soft
    assert chosen(ep.Selection(2.0, fitness="worth")) == ("soft", "worth", 2.0)
    assert chosen(ep.Selection().replace(dynamics="moran")) == hard
    assert chosen(ep.Selection(dynamics="moran").replace(dynamics="malthusian")) == soft
    assert chosen(ep.Selection(2.0, fitness="worth").replace(dynamics="moran")) == (
        "macs", "worth", 2.0
    )  # fmt: skip
    assert "upkeep='macs'" in repr(ep.Selection(upkeep="macs"))
    assert "fitness" not in repr(ep.Selection(upkeep="macs"))


_shy = lambda signals: signals["mass"]  # noqa: E731 - its name is <lambda>


def test_selection_is_converted_for_the_core():
    config = ep.Selection(dynamics=ep.Malthusian(lifespan=700), upkeep=[1, 2]).config()
    assert (config["dynamics"], config["dynamics_config"]["lifespan"]) == ("malthusian", 700)
    assert (config["fitness"], config["upkeep"]) == ("marginal", "given")
    assert np.array_equal(config["given"], [1, 2])
    rested = ep.Selection(rest=0.25).strengths(8)
    assert np.array_equal(rested, [1, 1, 1, 1, 1, 1, 0, 0])
    rates = [0.1, 0.4, 0.2, 0.1]
    assert np.allclose(ep.Selection().strengths(4, rates), [0.25, 1, 0.5, 0.25])
    assert np.allclose(ep.Selection(rest=0.5).strengths(4, rates), [0.25, 1, 0, 0])
    assert np.array_equal(ep.Selection(clock="steps").strengths(4, rates), np.ones(4))
    assert np.array_equal(ep.Selection().strengths(4, np.zeros(4)), np.ones(4))
    assert np.array_equal(ep.Selection(ep.schedules.linear(1.0)).pressures(2), [1, 0.5])
    assert np.array_equal(ep.Selection([1, 2, 3]).pressures(3), [1, 2, 3])


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"dynamics": "darwin"}, ValueError, "no dynamics is called 'darwin'; known: malthusian"),
        ({"dynamics": ep.Malthusian}, TypeError, r"expected Malthusian\(...\), got the class"),
        ({"dynamics": 3}, TypeError, "expected a name or a Dynamics, got int"),
        ({"fitness": "strength"}, ValueError, "no fitness is called 'strength'"),
        ({"pressure": -1.0}, ValueError, "pressure: expected a finite"),
        ({"pressure": "high"}, TypeError, "pressure"),
        ({"clock": "wall"}, ValueError, "clock: expected one of rate, steps"),
        ({"upkeep": "watts"}, ValueError, "upkeep: expected one of soft, macs, params, uniform"),
        ({"upkeep": [-1.0]}, ValueError, "upkeep: expected"),
        ({"niche": "pond"}, ValueError, "niche: expected one of layer, network"),
        ({"memory": 1.0}, ValueError, "memory: expected a number from 0 to"),
        ({"threshold": "low"}, TypeError, "threshold: expected a number"),
        ({"floor": -1}, ValueError, "floor: expected a whole number from 0"),
        ({"floor": 1.5}, TypeError, "floor: expected a whole number"),
        ({"every": True}, TypeError, "every: expected a whole number"),
        ({"fitness": lambda a, b, c: a}, TypeError, "must take 1 argument"),
    ],
)  # fmt: skip
def test_selection_refuses(settings, error, text):
    with pytest.raises(error, match=text):
        ep.Selection(**settings)


def test_selection_says_when_no_population_can_go_extinct():
    assert ep.Selection(dynamics=ep.Malthusian(lifespan=200)).stands_still(1000) == ""
    assert "lifespan" in ep.Selection(dynamics=ep.Malthusian(lifespan=200)).stands_still(150)
    falling = np.linspace(1, 0, 300)  # strengths, whose sum is 150 full steps
    assert "lifespan" in ep.Selection(dynamics=ep.Malthusian(lifespan=200)).stands_still(
        300, falling
    )
    assert "(lifespan)" in ep.Selection().stands_still(45)
    assert "(min_age)" in ep.Selection(min_age=60).stands_still(50)
    assert "pressure" in ep.Selection(0.0).stands_still(5000)
    assert "none" in ep.Selection(dynamics="none").stands_still(5000)
    assert ep.Selection(0.0, dynamics="replicator").stands_still(5000) == ""
    assert ep.Selection(0.0, dynamics=lambda mass, fitness: mass).stands_still(5000) == ""


def test_python_laws_get_their_parameters():
    two = ep.dynamics(lambda mass, fitness: mass * 2 + fitness)
    three = ep.dynamics(lambda mass, fitness, upkeep: upkeep)
    whole = ep.dynamics(lambda cohort: cohort["mass"])
    cohort = {
        "mass": np.ones(2),
        "fitness": np.zeros(2),
        "upkeep": np.full(2, 3.0),
        "strength": 1.0,
    }
    assert [law(cohort)[0] for law in (two, three, whole)] == [2, 3, 1]
    with pytest.raises(TypeError, match="must take 1 or 2 or 3 argument"):
        ep.dynamics(lambda: 1)
    with pytest.raises(TypeError, match="expected a function, got int"):
        ep.fitness(3)


def test_python_laws_follow_the_clock():
    """The ratio of new to old mass is raised to the strength: two half steps equal a full step."""
    law = ep.dynamics(lambda mass, fitness: mass * np.exp(fitness))
    cohort = {"mass": np.array([1.0, 2, 0, 4]), "fitness": np.array([1.0, -1, 1, 0])}
    cohort["upkeep"] = np.zeros(4)
    full = law(cohort | {"strength": 1.0})
    half = law(cohort | {"strength": 0.5})
    assert np.allclose(law(cohort | {"mass": half, "strength": 0.5}), full)
    assert np.array_equal(law(cohort | {"strength": 0.0}), cohort["mass"])
    killing = ep.dynamics(lambda mass, fitness: 0 * mass)
    assert np.array_equal(killing(cohort | {"strength": 0.5}), np.zeros(4))
    broken = ep.dynamics(lambda mass, fitness: -mass)
    assert np.array_equal(broken(cohort | {"strength": 0.5}), -cohort["mass"])


# ---- threads ---------------------------------------------------------------------------------


def test_threads_are_found_in_order(monkeypatch):
    monkeypatch.delenv("EVOPRUNE_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert ep.get_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert ep.get_threads() >= 1
    monkeypatch.setenv("EVOPRUNE_NUM_THREADS", "5")
    assert ep.get_threads() == 5
    ep.set_threads(7)
    try:
        assert ep.get_threads() == 7
    finally:
        ep.set_threads(None)
    monkeypatch.setenv("EVOPRUNE_NUM_THREADS", "few")
    with pytest.raises(ValueError, match="EVOPRUNE_NUM_THREADS"):
        ep.get_threads()
    for bad in (0, -1, 2.5, "2", True):
        with pytest.raises((ValueError, TypeError), match="n: expected a whole number"):
            ep.set_threads(bad)


def test_the_core_s_table_makes_the_selection():
    from typing import get_args, get_type_hints

    from evoprune.core import core32
    from evoprune.selection.settings import CHOICES, SETTINGS

    hints = get_type_hints(ep.Selection)
    usual = ep.Selection()
    for row in core32.catalogue()["selection"]["selection"]["fields"]:
        name = row["name"]
        # `given` is no argument in Python, and the default of `upkeep` depends on the dynamics.
        if name in ("given", "upkeep"):
            continue
        assert getattr(usual.timed(), name) == row["default"]  # timed() without a length
        assert row["doc"][:40] in " ".join(ep.Selection.__doc__.split())
        if row["type"] in ("int", "real"):
            with pytest.raises(ValueError, match=f"Selection: {name}: expected"):
                ep.Selection(**{name: row["low"] - 1 if row["type"] == "real" else -1})
            ep.Selection(**{name: type(row["default"])(row["low"])})
    for name, choices in CHOICES.items():
        wanted = hints[name] if name != "upkeep" else get_args(hints[name])[0]
        assert get_args(wanted) == choices
    assert set(SETTINGS) == set(hints)

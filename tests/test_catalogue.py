"""The catalogue: every entry has a description, valid defaults and bounds, and a twin.

A twin is a NumPy function in tests/reference. No law is named here: a new entry is tested as soon
as it is listed.
"""

from __future__ import annotations

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
from cores import BOTH, CORE32, CORE64, EVERY, name_of
from reference import births, dynamics, laws

CATALOGUE = CORE32.catalogue()
ENTRIES = [(group, name) for group, entries in CATALOGUE.items() for name in entries]
FIELDS = [
    (group, name, field)
    for group, name in ENTRIES
    for field in CATALOGUE[group][name]["fields"]
]  # fmt: skip
TYPES = {"int": int, "real": float, "bool": bool, "choice": str}


def ids(value):
    return value["name"] if isinstance(value, dict) else None


def required(group: str, name: str) -> dict:
    """Return the minimal settings that an entry can be made with."""
    samples = {"int": 1, "real": 1.0, "bool": True, "vector": [1.0]}
    return {
        field["name"]: field["choices"][0] if field["choices"] else samples[field["type"]]
        for field in CATALOGUE[group][name]["fields"]
        if field["required"]
    }


def test_every_group_has_entries():
    groups = ["layers", "losses", "optimizers", "fitness", "dynamics", "selection", "births"]
    assert list(CATALOGUE) == groups
    assert all(CATALOGUE.values())


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_every_core_has_the_same_catalogue(core):
    assert core.catalogue() == CATALOGUE


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_an_entry_has_a_description(group, name):
    entry = CATALOGUE[group][name]
    assert name.isidentifier()
    assert name == name.lower()
    assert len(entry["doc"]) > 20
    names = [field["name"] for field in entry["fields"]]
    assert len(set(names)) == len(names)
    extra = {
        "layers": {"inputs": tuple},
        "losses": {"target": str},
        "optimizers": {"moments": int},
        "fitness": {"needs": list},
        "dynamics": {"needs": list, "conserves": bool, "states": int},
        "selection": {},
        "births": {},
    }[group]
    for key, kind in extra.items():
        assert isinstance(entry[key], kind)


@pytest.mark.parametrize(("group", "name", "field"), FIELDS, ids=ids)
def test_a_field_is_described_and_its_default_is_allowed(group, name, field):
    assert field["name"].isidentifier()
    assert len(field["doc"]) > 3
    if field["type"] in ("int", "real"):
        assert field["low"] <= field["high"]
        if not field["required"]:
            assert isinstance(field["default"], TYPES[field["type"]])
            assert field["low"] <= field["default"] <= field["high"]
    if field["type"] == "choice":
        assert field["default"] in field["choices"]
    if field["type"] == "vector":
        assert field["default"] is None
    if not field["required"]:
        whole = CORE32.settings(
            group, name, required(group, name) | {field["name"]: field["default"]}
        )
        assert whole[field["name"]] == field["default"]


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_settings_are_completed_and_pass_a_second_time(group, name):
    whole = CORE32.settings(group, name, required(group, name))
    assert list(whole) == [field["name"] for field in CATALOGUE[group][name]["fields"]]
    assert CORE64.settings(group, name, whole) == whole


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("group", "name", "field"), FIELDS, ids=ids)
def test_bounds_are_checked_and_printed(core, group, name, field):
    if field["type"] not in ("int", "real", "vector"):
        return
    low, high = field["low"], field["high"]

    def set_to(value):
        value = [value] if field["type"] == "vector" else value
        return core.settings(group, name, required(group, name) | {field["name"]: value})

    def exact(value):
        return int(value) if field["type"] == "int" else value

    outside = [bound for bound in (math.nan, math.inf, -math.inf) if field["type"] != "int"]
    if math.isfinite(low):
        assert set_to(exact(low))
        outside.append(exact(low - max(1, abs(low))))
    if math.isfinite(high):
        assert set_to(exact(high))
        outside.append(exact(high + max(1, abs(high))))
    for value in outside:
        with pytest.raises(
            ValueError, match=rf"^{name}: {field['name']}.* must be .*, got "
        ) as error:
            set_to(value)
        if math.isfinite(low):
            assert f"{low:.15g}" in str(error.value)
        if math.isfinite(high):
            assert f"{high:.15g}" in str(error.value)
    if field["type"] == "int":
        with pytest.raises(ValueError, match="must be"):
            set_to(10**400)


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("group", "name", "field"), FIELDS, ids=ids)
def test_wrong_types_are_refused(core, group, name, field):
    wrong = {
        "int": [1.0, "1", None, True, [1]],
        "real": ["1", None, True, [1.0], 1j, b"1"],
        "bool": [1, 0, "yes", None, 1.0],
        "choice": [0, None, True, b"x", ["x"]],
        "vector": ["abc", [1j], True, {"a": 1}],
    }[field["type"]]
    for value in wrong:
        with pytest.raises(TypeError, match=rf"^{name}: {field['name']}.* (got|dtype) "):
            core.settings(group, name, required(group, name) | {field["name"]: value})
    if field["type"] == "choice":
        with pytest.raises(ValueError, match="must be one of '.*, got 'nothing like it'"):
            core.settings(group, name, {field["name"]: "nothing like it"})


@pytest.mark.parametrize("core", BOTH, ids=name_of)
@pytest.mark.parametrize(("group", "name", "field"), FIELDS, ids=ids)
def test_numpy_numbers_are_numbers(core, group, name, field):
    make = {"int": np.int16, "real": np.float32, "bool": np.bool_, "choice": np.str_,
            "vector": np.float64}[field["type"]]  # fmt: skip
    plain = {"int": 1, "real": 1, "bool": True, "choice": (field["choices"] or [""])[-1],
             "vector": 1}[field["type"]]  # fmt: skip
    if field["type"] in ("int", "real", "vector"):
        plain = plain if field["low"] <= plain <= field["high"] else field["low"]
    value = core.settings(group, name, required(group, name) | {field["name"]: make(plain)})
    expected = [make(plain)] if field["type"] == "vector" else make(plain)
    assert value[field["name"]] == expected


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_unknown_and_missing_settings_are_named(group, name):
    least = required(group, name)
    with pytest.raises(TypeError, match=rf"^{name}: no setting 'colour'; it has ") as error:
        CORE32.settings(group, name, least | {"colour": 1})
    for field in CATALOGUE[group][name]["fields"]:
        assert field["name"] in str(error.value)
    for missing in least:
        rest = {key: value for key, value in least.items() if key != missing}
        with pytest.raises(TypeError, match=rf"^{name}: {missing} must be given"):
            CORE32.settings(group, name, rest)


def test_unknown_names_are_named():
    for group, name in (("losses", "adamw"), ("spells", "adamw"), ("losses", "")):
        with pytest.raises(ValueError, match=f"no '{name}' under '{group}'"):
            CORE32.settings(group, name)


class Sly:
    """A number that, when it is read, changes the dict that contains it."""

    def __init__(self, items: dict) -> None:
        self.items = items

    def __float__(self) -> float:
        self.items.clear()
        self.items.update({str(i): i for i in range(1000)})
        return 0.5


class Broken:
    def __float__(self) -> float:
        raise RuntimeError("broken on purpose")


def test_settings_survive_hostile_numbers():
    items: dict = {"beta1": 0.5, "beta2": 0.5}
    items["beta1"] = Sly(items)
    assert CORE32.settings("optimizers", "adamw", items)["beta2"] == 0.5
    with pytest.raises(RuntimeError, match="broken on purpose"):
        CORE32.settings("optimizers", "adamw", {"beta1": Broken()})


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_every_law_has_its_twin(group, name):
    if group in ("layers", "selection"):
        pytest.skip("the twins of layers and of selection are checked with them")
    twins = {"dynamics": dynamics, "births": births}.get(group, laws)
    assert callable(getattr(twins, name, None)), f"write {name} in {twins.__name__}"


# ---- the compiled module -------------------------------------------------------------------------


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_every_function_has_a_signature_and_takes_keywords(core):
    functions = [f for f in vars(core).values() if inspect.isbuiltin(f)]
    assert len(functions) > 10
    for function in functions:
        assert function.__text_signature__, function.__name__
        assert len(function.__doc__) > 20
        assert "**" not in str(inspect.signature(function))
    with pytest.raises(TypeError, match="random_uniform"):
        core.random_uniform(seed=1, stream=2, start=0, n=1, colour=3)


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_diverged_is_an_arithmetic_error_with_a_step(core):
    assert issubclass(core.Diverged, ArithmeticError)
    assert core.Diverged("text").step is None
    assert core.Diverged.__doc__
    assert f"{core.Diverged.__module__}.{core.Diverged.__qualname__}" == "evoprune.Diverged"
    assert core.dtype in ("float32", "float64")
    assert 0 <= core.cpu_level() <= 2


LEAKS = """
import gc, sys
import numpy as np
from evoprune.core import core32 as c

def use():
    c.catalogue()
    c.settings("losses", "cross_entropy", {"class_weights": [1.0] * 100})
    c.loss_measure("cross_entropy", {"class_weights": [1.0] * 10}, np.ones((50, 10)), [0] * 50)
    c.optimizer_step("adamw", {}, np.ones(1000), np.ones(1000))
    c.fitness_measure("marginal", {}, np.ones(1000), np.ones(1000))
    c.dynamics_step("malthusian", {}, np.ones(1000), np.ones(1000))
    c.random_normal(1, 1, 0, 1000)
    for bad in (
        lambda: c.settings("losses", "cross_entropy", {"class_weights": [1.0, -1.0]}),
        lambda: c.settings("losses", "cross_entropy", {"class_weights": [1.0] * 99, "x": 1}),
        lambda: c.loss_measure("cross_entropy", {}, np.ones((50, 10)), [99] * 50),
        lambda: c.loss_measure("cross_entropy", {}, np.ones((50, 10)), np.ones(50)),
        lambda: c.optimizer_step("adamw", {}, np.ones(1000), np.ones(999)),
        lambda: c.dynamics_step("malthusian", {}, -np.ones(1000), np.ones(1000)),
        lambda: c.dynamics_step("malthusian", {}, np.ones(9), np.ones(9), birth=[0] * 9),
        lambda: c.fitness_measure("pull", {}, np.ones(1000), np.ones(1000)),
        lambda: c.elementary("exp", "abc"),
        lambda: c.random_uniform(-1, 0, 0, 1),
    ):
        try:
            bad()
        except (TypeError, ValueError):
            pass
        else:
            raise AssertionError

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

for _ in range(300):
    use()
gc.collect()
blocks, bytes_ = sys.getallocatedblocks(), resident()
for _ in range(1500):
    use()
gc.collect()
print(sys.getallocatedblocks() - blocks, resident() - bytes_)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_valid_and_invalid_calls_leak_no_memory():
    done = subprocess.run([sys.executable, "-P", "-c", LEAKS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    blocks, resident = map(int, done.stdout.split())
    # In 1500 rounds, a leak of one block in every third round adds 500; Python's caches add a few.
    assert blocks < 500
    assert resident < 2**20

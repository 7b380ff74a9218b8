"""Stubs, signatures, docstrings and the core's argument parsers agree, name by name."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import evoprune as ep
from evoprune.core import core32, spec
from evoprune.nets import plan
from evoprune.selection import groups, settings

ROOT = Path(__file__).resolve().parents[1]
STUBS = {
    "evoprune.nets.layers": ROOT / "evoprune" / "nets" / "layers.pyi",
    "evoprune.selection.laws": ROOT / "evoprune" / "selection" / "laws.pyi",
}
BASES = [plan.Layer, groups.Loss, groups.Optimizer, groups.Fitness, groups.Dynamics]
MADE = [made for base in BASES for made in spec.known(base).values()]
CATALOGUE = core32.catalogue()


def test_the_stubs_are_fresh():
    pytest.importorskip("ruff")
    script = ROOT / "tools" / "make_stubs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def class_of(made) -> ast.ClassDef:
    """Return a class's definition in its stub."""
    tree = ast.parse(STUBS[made.__module__].read_text())
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == made.__name__)


def arguments_of(made) -> dict[str, tuple[bool, object]]:
    """Return the arguments in a class's stub: name -> (may be positional, default)."""
    init = next(n for n in class_of(made).body if getattr(n, "name", "") == "__init__")
    a, found = init.args, {}
    first = len(a.args) - len(a.defaults)
    for i, argument in enumerate(a.args[1:], 1):
        default = ast.literal_eval(a.defaults[i - first]) if i >= first else inspect.Parameter.empty
        found[argument.arg] = (True, default)
    for argument, value in zip(a.kwonlyargs, a.kw_defaults, strict=True):
        default = inspect.Parameter.empty if value is None else ast.literal_eval(value)
        found[argument.arg] = (False, default)
    return found


def of_one(value):
    """Return a vector of one number as that number, since both mean the same."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
def test_stub_signature_and_docstring_of_a_class_agree(made):
    stub, real = arguments_of(made), inspect.signature(made).parameters
    assert list(stub) == list(real)
    for name, parameter in real.items():
        positional, default = stub[name]
        assert positional == (parameter.kind is parameter.POSITIONAL_OR_KEYWORD), name
        assert of_one(default) == of_one(parameter.default), name
    documented = re.findall(r"^    (\w+): ", made.__doc__, re.M)
    assert documented == list(real)
    in_stub = re.findall(r"^    (\w+): ", inspect.cleandoc(ast.get_docstring(class_of(made))), re.M)
    assert in_stub == list(real)


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
def test_the_core_s_parser_agrees_with_the_class(made):
    """The core takes the settings of the class by name, and parses its defaults to equal values."""
    rows = CATALOGUE[made.group][made.kind]["fields"]
    own = [field.name for field in made.extra]
    names = [row["name"] for row in rows]
    assert sorted(names) == sorted(n for n in inspect.signature(made).parameters if n not in own)
    required = {row["name"] for row in rows if row["required"]}
    values = {row["name"]: made.fields[row["name"]].default for row in rows}
    given = {n: [2] if r["type"] == "vector" else 2 for n, r in zip(names, rows, strict=True)
             if n in required and values[n] is None}  # fmt: skip
    taken = core32.settings(made.group, made.kind, given | {
        n: list(v) if isinstance(v, tuple) else v for n, v in values.items() if v is not None
    })  # fmt: skip
    assert list(taken) == names
    for name, value in taken.items():
        timed = made.group == "dynamics" and values[name] is None  # the run chooses it
        if name not in given and not (timed and value is not None):
            own = values[name]
            assert value == (list(own) if isinstance(own, tuple) else own)
    with pytest.raises(TypeError, match="no setting 'nonsense'") as error:
        core32.settings(made.group, made.kind, given | {"nonsense": 1})
    for name in names:
        assert name in str(error.value)


def test_selection_agrees_with_the_catalogue_and_its_own_table():
    real = inspect.signature(ep.Selection).parameters
    rows = {row["name"]: row for row in CATALOGUE["selection"]["selection"]["fields"]}
    core = [name for name in rows if name != "given"]  # in Python, upkeep= takes this vector
    assert set(core) < set(real) == set(settings.SETTINGS)
    for name in core:
        if name not in ("upkeep", "min_age"):  # None in Python: they depend on dynamics and run
            assert real[name].default == rows[name]["default"]
    assert [field.name for field in fields(ep.Selection)] == list(real)
    documented = re.findall(r"^    (\w+): ", inspect.cleandoc(ep.Selection.__doc__), re.M)
    assert documented == list(real)
    assert core32.settings("selection", "selection", {}) == {
        row["name"]: row["default"] for row in rows.values()
    }


def test_selection_is_declared_to_type_checkers_as_it_is():
    """`__init__` has types of its own, since its arguments may also be None."""
    tree = ast.parse((ROOT / "evoprune" / "selection" / "settings.py").read_text())
    init = next(
        node for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )  # fmt: skip
    names = [argument.arg for argument in init.args.args[1:]]
    assert names == list(inspect.signature(ep.Selection).parameters)
    for argument in init.args.args[1:]:
        if argument.arg in settings.CHOICES:
            for choice in settings.CHOICES[argument.arg]:
                assert repr(choice).replace("'", '"') in ast.unparse(argument.annotation).replace(
                    "'", '"'
                )


# ---- functions of the core -------------------------------------------------------------------

OWNERS = [core32, core32.Network, core32.Community]
FUNCTIONS = [
    (owner, name)
    for owner in OWNERS
    for name, thing in sorted(vars(owner).items())
    if callable(thing) and not name.startswith("_") and not isinstance(thing, type)
]
SOURCES = "".join(p.read_text() for p in sorted((ROOT / "csrc" / "python").glob("*.c")))
PARSER = re.compile(
    r"static char \*names\[\] = \{([^}]*)\};(?:(?!static char)[\s\S])*?"
    r'ParseTupleAndKeywords\(\s*args,\s*kwargs,\s*"([^":]*):(\w+)"'
)
PARSERS = {
    name: ([n.strip().strip('"') for n in names.split(",") if n.strip() not in ("NULL", "")], kinds)
    for names, kinds, name in PARSER.findall(SOURCES)
}


@pytest.mark.parametrize(("owner", "name"), FUNCTIONS, ids=lambda x: getattr(x, "__name__", x))
def test_a_function_of_the_core_has_a_signature_and_a_docstring(owner, name):
    thing = getattr(owner, name)
    assert inspect.signature(thing) is not None
    assert thing.__doc__


def test_the_parsers_are_found():
    assert len(PARSERS) > 20
    assert PARSERS["evolve"] == (["pressure", "strength"], "O&|O&")


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_a_signature_names_what_its_parser_takes(name):
    """Compare names, order, and which arguments are optional or keyword-only."""
    owners = [owner for owner in OWNERS if callable(getattr(owner, name, None))]
    if not owners:
        pytest.skip("this build of the core has no such function")
    thing = getattr(owners[0], name)
    names, kinds = PARSERS[name]
    parameters = [p for p in inspect.signature(thing).parameters.values() if p.name != "self"]
    parameters = [p for p in parameters if p.name != "module"]
    assert [p.name for p in parameters] == names
    units = re.findall(r"[A-Za-z](?:[&!#])?|[|$]", kinds)
    optional = only_named = False
    flags = []
    for unit in units:
        optional, only_named = optional or unit == "|", only_named or unit == "$"
        if unit not in "|$":
            flags.append((optional, only_named))
    for parameter, (optional, only_named) in zip(parameters, flags, strict=True):
        assert (parameter.kind is parameter.KEYWORD_ONLY) == only_named, parameter
        # The format marks all keyword-only arguments as optional; C code requires some of them.
        if not only_named:
            assert (parameter.default is not parameter.empty) == optional, parameter


def test_network_train_names_what_the_core_takes():
    def named(function) -> list[tuple]:
        parameters = list(inspect.signature(function).parameters.values())
        return [(p.name, p.kind, p.default) for p in parameters if p.name != "self"]

    taken = {name: (kind, default) for name, kind, default in named(core32.Network.train)}
    for name, kind, default in named(ep.Network.train):
        assert kind == taken[name][0] or name in ("x", "y"), name
        assert default == taken[name][1], name
    assert [name for name, *_ in named(ep.Network.train)] == list(taken)

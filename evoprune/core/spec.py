"""Make the classes of layers and laws from the core's catalogue, each with one line of Python.

The catalogue lists the kinds of each group, such as the layer "dense" or the law "malthusian", and
their settings. A setting (name, type, default, bounds, choices, text) becomes a keyword argument of
the kind's class, an entry in its docstring and a part of its repr. The core checks the values.
Nothing here depends on what a kind computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from evoprune import core
from evoprune.common.checks import known_keys, meant
from evoprune.common.renames import current_name, current_names

__all__ = ["Field", "Spec", "catalogue", "define", "known", "resolve"]

_CATALOGUE = core.core32.catalogue()


def catalogue(group: str) -> dict[str, dict[str, Any]]:
    """Return the kinds of a group of the core's catalogue, by name.

    Args:
        group: "layers", "losses", "optimizers", "fitness" or "dynamics".
    """
    rows: dict[str, dict[str, Any]] = _CATALOGUE[group]
    return rows


@dataclass(frozen=True)
class Field:
    """One setting of a kind, as the catalogue describes it."""

    name: str
    type: str  # int, real, bool, choice or vector in the core; any other name if not in the core
    default: Any
    doc: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] | None = None
    required: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Field:
        """Make a field from a row of the catalogue."""
        choices = row["choices"]
        return cls(**{**row, "choices": tuple(choices) if choices else None})

    def describe(self) -> str:
        """Return the setting's entry in a docstring: its text, choices or bounds, and default."""
        facts = []
        if self.choices:
            facts.append(", ".join(self.choices))
        elif self.type in ("int", "real", "vector"):
            facts.append(f"in [{self.low:g}, {self.high:g}]")
        if not self.required and self.default is not None:
            facts.append(f"default {_plain(self.default)}")
        tail = f" ({'; '.join(facts)})" if facts else ""
        return f"{self.name}: {self.doc}{tail}."


class Spec:
    """Base class of the kinds in the catalogue; an instance holds values for a kind's settings.

    Settings are attributes: `Malthusian(lifespan=700).lifespan`. Instances are immutable and
    comparable, and the repr of an instance is the call that makes it.
    """

    group: ClassVar[str] = ""
    home: ClassVar[str] = ""  # module with the classes of the group
    kind: ClassVar[str] = ""
    fields: ClassVar[dict[str, Field]] = {}
    facts: ClassVar[dict[str, Any]] = {}  # the kind's other entries in the catalogue
    former: ClassVar[dict[str, str]] = {}  # maps former names of settings to current ones
    extra: ClassVar[tuple[Field, ...]] = ()  # settings that the core does not have
    positional: ClassVar[tuple[str, ...]] = ()
    settings: dict[str, Any]

    def __init__(self, *values: Any, **settings: Any) -> None:
        owner = type(self).__name__
        if len(values) > len(self.positional):
            raise TypeError(
                f"{owner}: at most {len(self.positional)} settings without a name "
                f"({', '.join(self.positional) or 'none'}), got {len(values)}"
            )
        for name, value in zip(self.positional, values, strict=False):
            if name in settings:
                raise TypeError(f"{owner}: {name} is given twice")
            settings[name] = value
        current_names(owner, self.former, settings)
        known_keys(owner, "setting", settings, self.fields)
        whole = {name: field.default for name, field in self.fields.items() if not field.required}
        whole |= settings
        own = {name: self._checked(name, whole.pop(name)) for name in self._own()}
        for name, value in whole.items():
            if self.fields[name].type == "vector" and value is not None:
                whole[name] = self._vector(name, value)
        open_ = {name for name, value in whole.items() if value is None and self._is_open(name)}
        given = {name: value for name, value in whole.items() if name not in open_}
        checked = core.core32.settings(self.group, self.kind, given)
        checked |= dict.fromkeys(open_)
        object.__setattr__(self, "settings", own | {n: _frozen(v) for n, v in checked.items()})

    @classmethod
    def _field(cls, field: Field) -> Field:
        """Return a catalogue field, adapted to this group of kinds."""
        return field

    @classmethod
    def _is_open(cls, name: str) -> bool:
        """True if a setting may be None: training then chooses a number."""
        field = cls.fields[name]
        return field.default is None and field.type in ("int", "real")

    @classmethod
    def _own(cls) -> list[str]:
        return [field.name for field in cls.extra]

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        """Check a setting of `extra`, and return the value to store."""
        del name
        return value

    def _vector(self, name: str, value: Any) -> Any:
        """Return a setting as a vector: length 1 for a number; a matrix is flattened row by row."""
        del name
        return np.ravel(value)

    def config(self) -> dict[str, Any]:
        """Return the settings for the core: plain Python, JSON-serializable."""
        own = self._own()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.settings.items()
            if name not in own and value is not None
        }

    if not TYPE_CHECKING:  # type checkers know the settings from stubs

        def __getattr__(self, name: str) -> Any:
            settings = self.__dict__.get("settings", {})
            if name in settings:
                return settings[name]
            if name in self.former:
                name = current_name(type(self).__name__, self.former, name)
                return settings[name]
            raise AttributeError(f"{type(self).__name__} has no setting {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make another one")

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self.settings})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.settings == other.__dict__["settings"]

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.settings.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.settings)

    def __repr__(self) -> str:
        parts = []
        named = False  # True after the first omitted setting: later ones need their names
        for name in (*self.positional, *(n for n in self.fields if n not in self.positional)):
            value, field = self.settings[name], self.fields[name]
            if not field.required and value == field.default:
                named = True
                continue
            named = named or name not in self.positional
            parts.append(f"{name}={_plain(value)}" if named else _plain(value))
        return f"{type(self).__name__}({', '.join(parts)})"


S = TypeVar("S", bound=Spec)


def define(base: type[S], kind: str, *positional: str, name: str = "", **defaults: Any) -> type[S]:
    """Make the class of a kind of the catalogue.

    Args:
        base: Layer, Dynamics, Fitness, Loss or Optimizer; defines `group`, `home` and `extra`.
        kind: name of the kind in the catalogue.
        positional: settings that are also positional arguments, in this order.
        name: name of the class; by default that of the kind in camel case.
        defaults: defaults that differ from the catalogue's.
    """
    row = catalogue(base.group)[kind]
    fields = {f.name: f for f in (*base.extra, *(base._field(Field.of(r)) for r in row["fields"]))}
    for setting, value in defaults.items():
        fields[setting] = Field(**{**vars(fields[setting]), "default": value, "required": False})
    order = [*positional, *(n for n in fields if n not in positional)]
    title = name or "".join(part.capitalize() for part in kind.split("_"))
    doc = row["doc"].strip()
    if fields:
        doc += "\n\nArgs:\n" + "\n".join(f"    {fields[n].describe()}" for n in order)
    parameters = [
        Parameter(
            n,
            Parameter.POSITIONAL_OR_KEYWORD if n in positional else Parameter.KEYWORD_ONLY,
            default=Parameter.empty if fields[n].required else fields[n].default,
        )
        for n in order
    ]
    body = {
        "__doc__": doc,
        "__module__": base.home,
        "__qualname__": title,
        "__signature__": Signature(parameters),
        "kind": kind,
        "facts": {key: row[key] for key in row if key not in ("doc", "fields")},
        "fields": fields,
        "positional": positional,
    }
    return type(title, (base,), body)


def known(base: type[S]) -> dict[str, type[S]]:
    """Return the classes derived from `base` so far, by kind."""
    return {made.kind: made for made in base.__subclasses__() if made.kind}


def resolve(base: type[S], given: Any, owner: str) -> S:
    """Return `given` if it is an instance of `base`, or make one if it is the name of a kind.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
        TypeError: `given` is neither a name nor an instance of `base`.
    """
    if isinstance(given, base):
        return given
    what = base.__name__
    if isinstance(given, str):
        made = known(base)
        if given not in made:
            names = ", ".join(made)
            raise ValueError(
                f"{owner}: no {what.lower()} is called {given!r}; known: {names}"
                f"{meant(given, made)}"
            )
        return made[given]()
    if isinstance(given, type) and issubclass(given, base):
        raise TypeError(f"{owner}: expected {given.__name__}(...), got the class itself")
    article = "an" if what[0] in "AEIOU" else "a"
    raise TypeError(f"{owner}: expected a name or {article} {what}, got {type(given).__name__}")


def _again(cls: type[Spec], settings: dict[str, Any]) -> Spec:
    return cls(**settings)


def _frozen(value: Any) -> Any:
    """Return a list from the core as a tuple, with integral values as int; else `value` itself."""
    if not isinstance(value, list):
        return value
    return tuple(int(x) if x.is_integer() else x for x in value)


def _plain(value: Any) -> str:
    """Return a setting as source text; the middle of a long vector is omitted."""
    if isinstance(value, tuple):
        text = [_plain(x) for x in value]
        if len(text) == 1:
            return text[0]
        return f"[{', '.join(text if len(text) <= 6 else [*text[:3], '…', *text[-2:]])}]"
    return f"{value:g}" if isinstance(value, float) else repr(value)

"""`Selection`: an immutable, comparable object with all settings of selection.

It checks settings and converts them for the core; the laws are in laws.py and the core.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evoprune.common.checks import floats, number, one_of, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.core.spec import Field as Row
from evoprune.core.spec import catalogue, resolve
from evoprune.selection import timing
from evoprune.selection.births import BirthSettings
from evoprune.selection.budget import Budget
from evoprune.selection.groups import Dynamics, Fitness
from evoprune.selection.laws import Malthusian
from evoprune.selection.python_laws import (
    DynamicsLike,
    FitnessLike,
    PythonDynamics,
    PythonFitness,
)
from evoprune.selection.schedules import ScheduleLike, values

__all__ = ["CHOICES", "SETTINGS", "Selection"]

Upkeep: TypeAlias = Literal["soft", "macs", "params", "uniform"] | tuple[float, ...]

# The core's table of settings is the only source of their defaults, bounds, choices and texts.
_TABLE = [Row.of(row) for row in catalogue("selection")["selection"]["fields"]]
_OWN = (
    Row(
        "pressure",
        "schedule",
        None,
        "strength of selection: a number, a schedule over the run, or a `Budget`, which adjusts "
        "it. With soft upkeep, a population keeps its mass only if its fitness exceeds `pressure` "
        "times the mean fitness of the other founders of its niche; at most about 1 / pressure "
        "survive. With other upkeep, the nats of loss that keeping the whole founding network "
        "alive may cost. "
        "None: 1.5, or 0.15",
    ),
    Row(
        "dynamics",
        "law",
        None,
        "how masses change with fitness: a law (`Malthusian(ceiling=2)`), its name, or a Python "
        "function, see `evoprune.dynamics`",
    ),
    Row(
        "fitness",
        "law",
        None,
        f"how fitness is measured: a law, its name ({', '.join(catalogue('fitness'))}), or a "
        "Python function, see `evoprune.fitness`. None: taylor if upkeep is soft, else marginal",
    ),
    Row(
        "births",
        "births",
        None,
        "how populations are born: a `Births`. None: none are",
    ),
    Row(
        "rest",
        "real",
        0.0,
        "share of the run, at its end, in which masses do not change and weights settle",
        0.0,
        1.0,
    ),
    Row(
        "clock",
        "choice",
        "rate",
        "unit of time of the dynamics: steps weighted by learning rate / highest learning rate, so "
        "that masses change only as fast as weights can follow (rate), or plain steps (steps)",
        choices=("rate", "steps"),
    ),
)
SETTINGS: dict[str, Row] = {row.name: row for row in (*_OWN, *_TABLE) if row.name != "given"}
SETTINGS["min_age"] = replace(
    SETTINGS["min_age"],
    default=None,
    doc=f"{SETTINGS['min_age'].doc}; None: a seventh of the lifespan of the law, or of what it "
    "would be",
)
"""Every setting of a Selection by name: default, bounds, choices and text."""

CHOICES: dict[str, tuple[str, ...]] = {
    name: tuple(choice for choice in row.choices if choice != "given")
    for name, row in SETTINGS.items()
    if row.choices
}
"""The allowed names of each setting that takes a name; upkeep may also be a vector."""

CORE = tuple(row.name for row in _TABLE if row.name in SETTINGS and row.name != "upkeep")


def _default(name: str) -> Any:
    return SETTINGS[name].default


@spelled
@dataclass(frozen=True, repr=False)
class Selection:
    """How populations are selected while a network learns."""  # settings are appended below

    # __post_init__ replaces None by a default that depends on the other settings.
    pressure: ScheduleLike | Budget = None  # type: ignore[assignment]
    dynamics: DynamicsLike = Malthusian()  # noqa: RUF009 - immutable
    fitness: FitnessLike = None  # type: ignore[assignment]
    upkeep: Upkeep = None  # type: ignore[assignment]
    niche: Literal["layer", "network"] = _default("niche")
    memory: float = _default("memory")
    threshold: float = _default("threshold")
    floor: int = _default("floor")
    min_age: int | None = _default("min_age")
    every: int = _default("every")
    rest: float = _default("rest")
    clock: Literal["rate", "steps"] = _default("clock")
    removal: Literal["auto", "always", "never"] = _default("removal")
    births: BirthSettings | None = None

    if TYPE_CHECKING:  # arguments may be None or any array; attributes have narrower types

        def __init__(
            self,
            pressure: ScheduleLike | Budget | None = None,
            dynamics: DynamicsLike = ...,
            fitness: FitnessLike | None = None,
            upkeep: Literal["soft", "macs", "params", "uniform"] | ArrayLike | None = None,
            niche: Literal["layer", "network"] = ...,
            memory: float = ...,
            threshold: float = ...,
            floor: int = ...,
            min_age: int | None = ...,
            every: int = ...,
            rest: float = ...,
            clock: Literal["rate", "steps"] = ...,
            removal: Literal["auto", "always", "never"] = ...,
            births: BirthSettings | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "dynamics", _law(Dynamics, PythonDynamics, self.dynamics))
        for name in NATURAL:  # in order: a default may need an earlier one
            if getattr(self, name) is None:
                object.__setattr__(self, name, NATURAL[name](self))
        object.__setattr__(self, "fitness", _law(Fitness, PythonFitness, self.fitness))
        pressure: Any = self.pressure
        if np.ndim(pressure):
            object.__setattr__(self, "pressure", tuple(np.ravel(pressure).tolist()))
        elif not callable(pressure):
            values("Selection: pressure", pressure, 1)
        if not isinstance(self.upkeep, str):
            given = tuple(_finite_upkeep(self.upkeep).tolist())
            object.__setattr__(self, "upkeep", given)
        for name, row in SETTINGS.items():
            value, owner = getattr(self, name), f"Selection: {name}"
            if value is None and name == "min_age":
                continue
            if row.type == "choice" and not isinstance(value, tuple):
                one_of(owner, value, CHOICES[name])
            elif row.type == "real":
                number(owner, value, row.low, row.high)
            elif row.type == "int":
                whole(owner, value, int(row.low), int(row.high))
        if self.births is not None:
            self._check_births()
        counted = isinstance(pressure, Budget) and pressure.alive is None
        if counted and self.removal == "never":
            raise ValueError(
                "Selection: expected removal auto or always, since a Budget of macs or params "
                "counts the arrays, got never; or give one of alive"
            )

    def _check_births(self) -> None:
        """Raise if births cannot be combined with the other settings."""
        if not isinstance(self.births, BirthSettings):
            raise TypeError(f"Selection: births: expected a Births or None, got {self.births!r}")
        if not isinstance(self.upkeep, str):
            raise ValueError(
                "Selection: births: upkeep given for each founder has no value for populations "
                f"born later; expected one of {', '.join(CHOICES['upkeep'])}"
            )
        if self.removal == "never":
            raise ValueError(
                "Selection: births: expected removal auto or always, since births change the "
                "arrays, got never"
            )

    def replace(self, **changes: Any) -> Selection:
        """Return a copy with some settings changed.

        Pressure, fitness and upkeep that equal their defaults change to the defaults that the new
        settings imply.
        """
        for name in NATURAL:
            if getattr(self, name) == _natural(self, name):
                changes.setdefault(name, None)
        return replace(self, **changes)

    def timed(
        self,
        generations: float | None = None,
        rate: float | None = None,
        *,
        lifespan: float | None = None,
    ) -> Selection:
        """Return a copy in which time constants that are None are numbers that fit a run.

        A trainer does this when a run begins, and records the result in the history. Call it before
        a loop of your own that calls `Network.train`; otherwise the length of the run is unknown,
        and a lifespan is 700 generations.

        Args:
            generations: length of the whole run in generations of strength 1: the sum of
                `strengths`, divided by `every`; None if unknown.
            rate: highest learning rate of an adaptive optimizer, times `every`; None for any other
                optimizer.
            lifespan: the lifespan itself, in generations, instead of `generations` and `rate`.
        """
        span = timing.lifespan(generations, rate) if lifespan is None else lifespan
        law = self.dynamics.timed(span) if isinstance(self.dynamics, Dynamics) else self.dynamics
        if isinstance(law, Malthusian) and law.growth == "bounded":
            span = law.lifespan or span
        age = int(span / timing.AGES) if self.min_age is None else self.min_age
        return replace(self, dynamics=law, min_age=age)

    def settings(self) -> dict[str, Any]:
        """Return the settings as the core takes them, without the laws."""
        timed = self.timed()
        settings: dict[str, Any] = {name: getattr(timed, name) for name in CORE}
        if isinstance(self.upkeep, str):
            return settings | {"upkeep": self.upkeep}
        return settings | {"upkeep": "given", "given": np.array(self.upkeep, np.float64)}

    def config(self) -> dict[str, Any]:
        """Return settings and laws as the core takes them."""
        config, timed = self.settings(), self.timed()
        for name in ("fitness", "dynamics"):
            law = getattr(timed, name)
            named = isinstance(law, Fitness | Dynamics)
            config[name] = law.kind if named else law
            config[f"{name}_config"] = law.config() if named else {}
        return config if self.births is None else config | {"births": self.births.config()}

    def pressures(self, steps: int) -> NDArray[np.float64]:
        """Return the pressure at every step of a run: float64 (steps,)."""
        return values("Selection: pressure", self.pressure, steps)

    def strengths(
        self,
        steps: int,
        rate: ArrayLike | None = None,
        *,
        start: int = 0,
        highest: float | None = None,
    ) -> NDArray[np.float64]:
        """Return the strength of the dynamics at every step from `start` on: 0 to 1, 0 at rest.

        Args:
            steps: number of steps of the run.
            rate: learning rates from step `start` on (steps - start,), used if the clock is "rate";
                constant by default.
            start: the first step of the result.
            highest: the highest rate of the run; by default the highest of `rate`.
        """
        steps, start = whole("steps", steps, 0, 2**62), whole("start", start, 0, 2**62)
        strength = np.ones(max(0, steps - start) if rate is None else np.size(rate))
        if self.clock == "rate" and rate is not None:
            rates = np.abs(np.asarray(rate, np.float64))
            most = rates.max(initial=0.0) if highest is None else highest
            strength = rates / most if most > 0 else strength
        strength[max(0, steps - round(self.rest * steps) - start) :] = 0
        return strength

    def lifespan(self) -> float | None:
        """Return the fewest generations from birth to extinction; None if the law sets no minimum.

        Time constants that are None count as in a run of unknown length; see `timed`.
        """
        timed = self.timed()
        law = timed.dynamics
        if isinstance(law, Malthusian) and law.growth == "bounded":
            return max(float(law.lifespan or 0.0), float(timed.min_age or 0))
        return None

    def stands_still(self, steps: int, rate: ArrayLike | None = None) -> str:
        """Return why no population can go extinct in a run of `steps` steps; "" if one can.

        `rate` is AdamW's learning rate at every step, see `strengths`.
        """
        total = float(self.strengths(steps, rate).sum())
        peak = None if rate is None else float(np.abs(np.asarray(rate)).max(initial=0.0))
        return self.why_nobody_dies(steps, total, peak, bool(self.pressures(steps).any()), {})

    def why_nobody_dies(
        self,
        steps: int,
        strength: float,
        rate: float | None,
        pressed: bool,
        born: Mapping[str, int],
    ) -> str:
        """Return why no population can go extinct in a run, and what to do; "" if one can.

        Args:
            steps: number of steps of the run.
            strength: sum of `strengths` over the run.
            rate: highest learning rate of an adaptive optimizer, see `timed`.
            pressed: True if the pressure is not always 0.
            born: number of founding populations by layer.
        """
        law, generations = self.dynamics, strength / self.every
        if isinstance(law, Dynamics) and law.kind == "none":
            return "its dynamics is none; give another law"
        if born and all(n <= self.floor for n in born.values()):
            return (
                f"its floor ({self.floor}) is at least the size of every layer; give a lower "
                "floor or wider layers"
            )
        each = None if rate is None else rate * self.every
        timed = self.timed(generations, each)
        bounded, age = timed.lifespan(), float(timed.min_age or 0)
        if generations < max(1.0, bounded or age):
            life = 0.0
            if bounded is not None and isinstance(law, Malthusian):
                life, age = law.lifespan or float(np.ceil(timing.shortest(each))), self.min_age or 0
            least = max(1.0, life, age)
            what, setting = "lifespan", "Malthusian(lifespan=...)"
            if age > life:
                what, setting = "min_age", "Selection(min_age=...)"
            more = f"{_above(steps * least / generations):,} steps" if generations else "more steps"
            return (
                f"the first extinction needs {least:g} generations ({what}), and the run has "
                f"{generations:.0f} at full learning rate ({steps:,} steps); train for at least "
                f"{more}, or give {setting} of at most {max(1, int(generations))}"
            )
        conserves = isinstance(law, Dynamics) and law.facts["conserves"]
        if isinstance(law, Dynamics) and not conserves and not pressed:
            return "its pressure is 0, and so is upkeep; give a pressure above 0"
        return ""

    def __repr__(self) -> str:
        shown = [
            f"{f.name}={_show(getattr(self, f.name))}"
            for f in fields(self)
            if f.name in ("pressure", "dynamics") or getattr(self, f.name) != self._usual(f)
        ]
        return f"Selection({', '.join(shown)})"

    def _usual(self, field: Field[Any]) -> Any:
        return _natural(self, field.name) if field.name in NATURAL else field.default

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{f.name}</th>"
            f"<td style='text-align:left'>{html.escape(_show(getattr(self, f.name)))}</td></tr>"
            for f in fields(self)
        )
        return f"<table><caption>Selection</caption>{rows}</table>"


def _finite_upkeep(upkeep: ArrayLike) -> Array:
    """Check upkeep that has one number per founding population; return it as float64 (n,)."""
    numbers = floats("Selection: upkeep", upkeep)
    if numbers.ndim != 1 or not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(
            f"Selection: upkeep: expected {', '.join(CHOICES['upkeep'])}, or a vector of numbers "
            "of at least 0"
        )
    return numbers


def _above(steps: float) -> int:
    """Return a number of steps as a whole number, rounded up to two significant digits."""
    unit = 10.0 ** max(0, int(np.log10(steps)) - 1)
    return int(np.ceil(steps / unit) * unit)


def _attribute(name: str) -> str:
    """Return the entry of the class docstring for a setting."""
    row = SETTINGS[name]
    line = row.describe() if row.type in ("choice", "real", "int") else f"{name}: {row.doc}."
    if name == "upkeep":
        line = (
            f"upkeep: {row.doc}. `given` is a vector with a share for every founding population, "
            "layer by layer, in place of a name. None: soft for bounded Malthusian growth, macs "
            "for every other dynamics."
        )
    return fill(line, 100, initial_indent=" " * 8, subsequent_indent=" " * 12)


def _natural_upkeep(of: Selection) -> Upkeep:
    law = of.dynamics
    soft = isinstance(law, Malthusian) and law.growth == "bounded"
    return "soft" if soft else "macs"


# Defaults that depend on the other settings; they replace None.
NATURAL: dict[str, Callable[[Selection], Any]] = {
    "upkeep": _natural_upkeep,
    "fitness": lambda of: "taylor" if of.upkeep == "soft" else "marginal",
    "pressure": lambda of: 1.5 if of.upkeep == "soft" else 0.15,
}


def _natural(of: Selection, name: str) -> Any:
    wish = NATURAL[name](of)
    return _law(Fitness, PythonFitness, wish) if name == "fitness" else wish


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} numbers"
    if isinstance(value, Fitness):
        return repr(value.kind) if not value.settings else repr(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _law(base: Any, python: Any, wish: Any) -> Any:
    if callable(wish) and not isinstance(wish, type):
        return wish if isinstance(wish, python) else python(wish)
    return resolve(base, wish, "Selection")


Selection.__doc__ = "\n".join(
    [str(Selection.__doc__), "", "    Attributes:"]
    + [_attribute(field.name) for field in fields(Selection)]
)

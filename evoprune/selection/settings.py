"""Selection: by which laws populations live and die, in one object that can be shown and compared.

It holds settings and turns them into what the core takes; the laws are in laws.py and the core.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evoprune.common.checks import number, one_of, whole
from evoprune.core.spec import resolve
from evoprune.selection.budget import Budget
from evoprune.selection.laws import (
    Dynamics,
    DynamicsLike,
    Fitness,
    FitnessLike,
    Malthusian,
    PythonDynamics,
    PythonFitness,
    finite_upkeep,
)
from evoprune.selection.schedules import ScheduleLike, values

__all__ = ["Selection"]

Upkeep: TypeAlias = Literal["soft", "macs", "params", "uniform"] | tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Selection:
    """How populations are selected while a network learns.

    Attributes:
        pressure: how hard life is; a number, a schedule over the run, or a `Budget`, which finds
            it. Of soft upkeep: what a population must earn to keep its mass, by what the others of
            its niche earn; at most about one in `pressure` survives. Of other upkeep: what it may
            cost, in nats of loss, to keep the whole founding network alive. None: 1.5, or 0.15.
        dynamics: how masses follow fitness: a law (`Malthusian(lifespan=700)`), its name, or a
            Python function, see `evoprune.dynamics`.
        fitness: what a population is worth: a law, its name ("taylor": |m dL/dm|, "marginal":
            -dL/dm, "worth", "relative", "gradient", "magnitude", "activity", "pull"), or a Python
            function, see `evoprune.fitness`. None: taylor where upkeep is soft, else marginal.
        upkeep: what a population costs: "soft" (pressure times what the others of the niche earn,
            by founder; times its multiply-adds over their mean), or pressure times its share in
            "macs" (multiply-adds of the founding network), "params" (its parameters), "uniform"
            (one over its populations), or a vector with a share for every founding population,
            layer by layer. None: soft for bounded Malthusian growth, macs for every other dynamics.
        niche: who competes with whom, where the dynamics compares: a "layer" or the "network".
        memory: share of the fitness that is remembered from one generation to the next, 0 to 1.
        threshold: a mass below it is extinct (at birth it is 1).
        floor: so many populations of a layer are never let die; with 0 a residual branch can go
            altogether, and any other layer, which leaves the network nothing to tell inputs by.
        min_age: generations in which nobody dies.
        every: steps from one generation to the next.
        rest: share of the run, at its end, in which masses stand still and weights settle.
        clock: what the dynamics counts time in: "rate", steps weighted by the learning rate over
            its highest, so that masses move only as fast as weights can follow; or plain "steps".
        removal: when arrays are made smaller: "auto" (when it pays), "always", "never" (dead
            populations stay as zeros; for comparison).
    """

    # None is gone after __post_init__: what suits the others has taken its place.
    pressure: ScheduleLike = None  # type: ignore[assignment]
    dynamics: DynamicsLike = Malthusian()  # noqa: RUF009 - cannot be changed
    fitness: FitnessLike = None  # type: ignore[assignment]
    upkeep: Upkeep = None  # type: ignore[assignment]
    niche: Literal["layer", "network"] = "layer"
    memory: float = 0.9
    threshold: float = 1e-3
    floor: int = 1
    min_age: int = 100
    every: int = 1
    rest: float = 0.0
    clock: Literal["rate", "steps"] = "rate"
    removal: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dynamics", _law(Dynamics, PythonDynamics, self.dynamics))
        for name in NATURAL:  # in this order: each follows from those before it
            if getattr(self, name) is None:
                object.__setattr__(self, name, NATURAL[name](self))
        object.__setattr__(self, "fitness", _law(Fitness, PythonFitness, self.fitness))
        pressure: Any = self.pressure
        if np.ndim(pressure):
            object.__setattr__(self, "pressure", tuple(np.ravel(pressure).tolist()))
        elif not callable(pressure):
            values("Selection: pressure", pressure, 1)
        if isinstance(self.upkeep, str):
            one_of("Selection: upkeep", self.upkeep, ("soft", "macs", "params", "uniform"))
        else:
            given = tuple(finite_upkeep(self.upkeep).tolist())
            object.__setattr__(self, "upkeep", given)
        one_of("Selection: niche", self.niche, ("layer", "network"))
        one_of("Selection: clock", self.clock, ("rate", "steps"))
        one_of("Selection: removal", self.removal, ("auto", "always", "never"))
        counted = isinstance(pressure, Budget) and pressure.alive is None
        if counted and self.removal == "never":
            raise ValueError(
                "Selection: removal: never leaves the arrays as they are, and a Budget of macs or "
                "params counts them; give one of alive"
            )
        number("Selection: memory", self.memory, 0, 0.9999999)
        number("Selection: threshold", self.threshold, 0, 1)
        number("Selection: rest", self.rest, 0, 1)
        for name, least in (("floor", 0), ("min_age", 0), ("every", 1)):
            whole(f"Selection: {name}", getattr(self, name), least)

    def replace(self, **changes: Any) -> Selection:
        """Make another selection, with some settings changed.

        Pressure, fitness and upkeep that are what suits the old settings become what suits the new.
        """
        for name in NATURAL:
            if getattr(self, name) == _natural(self, name):
                changes.setdefault(name, None)
        return replace(self, **changes)

    def config(self) -> dict[str, Any]:
        """Settings as the core takes them."""
        config: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("niche", "memory", "threshold", "floor", "min_age", "every", "removal")
        }
        if isinstance(self.upkeep, str):
            config["upkeep"] = self.upkeep
        else:
            config |= {"upkeep": "given", "given": np.array(self.upkeep, np.float64)}
        for name in ("fitness", "dynamics"):
            law = getattr(self, name)
            named = isinstance(law, Fitness | Dynamics)
            config[name] = law.kind if named else law
            config[f"{name}_config"] = law.config() if named else {}
        return config

    def pressures(self, steps: int) -> NDArray[np.float64]:
        """Pressure at every step of a run: float64 (steps,)."""
        return values("Selection: pressure", self.pressure, steps)

    def strengths(
        self,
        steps: int,
        rate: ArrayLike | None = None,
        *,
        start: int = 0,
        highest: float | None = None,
    ) -> NDArray[np.float64]:
        """How strongly the dynamics acts at every step of a run: at most 1, and 0 at rest.

        Args:
            steps: of the run.
            rate: the learning rate at every step (steps,), for the clock; constant if not given.
            start: the first step to give; `rate` is that from there on.
            highest: rate of the run; that of `rate` if not given.
        """
        strength = np.ones(steps - start if rate is None else np.size(rate))
        if self.clock == "rate" and rate is not None:
            rates = np.abs(np.asarray(rate, np.float64))
            most = rates.max(initial=0.0) if highest is None else highest
            strength = rates / most if most > 0 else strength
        strength[max(0, steps - round(self.rest * steps) - start) :] = 0
        return strength

    def lifespan(self) -> float | None:
        """Fewest generations from birth to extinction; None where the law sets no such bound."""
        law = self.dynamics
        if isinstance(law, Malthusian) and law.growth == "bounded":
            return max(float(law.lifespan), self.min_age)
        return None

    def stands_still(self, steps: int, rate: ArrayLike | None = None) -> str:
        """Why nobody can die in a run of so many steps; "" if somebody can.

        `rate` is that of learning at every step, see `strengths`.
        """
        total = float(self.strengths(steps, rate).sum())
        return self.why_nobody_dies(total, bool(self.pressures(steps).any()), {})

    def why_nobody_dies(self, strength: float, pressed: bool, born: Mapping[str, int]) -> str:
        """Return why no population can die in a run; "" if one can.

        Args:
            strength: sum of `strengths` over the run.
            pressed: the pressure is not always 0.
            born: founding populations by layer.
        """
        law = self.dynamics
        if isinstance(law, Dynamics) and law.kind == "none":
            return "its dynamics is none"
        if born and all(n <= self.floor for n in born.values()):
            return f"its floor ({self.floor}) is at least the size of every layer"
        generations = round(strength) // self.every
        if generations <= self.min_age:
            return f"nobody dies before min_age ({self.min_age}) and the run has {generations} " \
                   "generations"  # fmt: skip
        lifespan = self.lifespan()
        if lifespan is not None and generations < lifespan:
            return (
                f"a population without any fitness needs {lifespan:g} generations to die "
                f"(lifespan), and the run has {generations} at full learning rate"
            )
        conserves = isinstance(law, Dynamics) and law.facts["conserves"]
        if isinstance(law, Dynamics) and not conserves and not pressed:
            return "its pressure is 0, so that nothing costs upkeep"
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


def _natural_upkeep(of: Selection) -> Upkeep:
    law = of.dynamics
    soft = isinstance(law, Malthusian) and law.growth == "bounded"
    return "soft" if soft else "macs"


# What suits the other settings, where a setting is None.
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

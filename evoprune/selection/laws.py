"""The laws: losses, optimizers, fitness and dynamics of the core, and laws written in Python.

Equations, settings, bounds and sources come from the core's catalogue (`help(Replicator)`). The
laws of the core are implemented in csrc/laws; this module makes their classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.types import Array
from evoprune.core.spec import Field, Spec, catalogue, define
from evoprune.selection.schedules import values
from evoprune.selection.timing import UNKNOWN

__all__ = [
    "SGD",
    "AdamW",
    "BestResponse",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Dynamics",
    "Fitness",
    "Hinge",
    "Huber",
    "Logistic",
    "Loss",
    "LotkaVolterra",
    "Malthusian",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Moran",
    "NoDynamics",
    "NoisyGrowth",
    "Optimizer",
    "Poisson",
    "PythonDynamics",
    "PythonFitness",
    "PythonLoss",
    "Replicator",
    "ReplicatorMutator",
    "SoftCrossEntropy",
    "WrightFisher",
    "dynamics",
    "fitness",
    "loss",
]


class Loss(Spec):
    """What training minimizes: a function of outputs and targets, in nats for the entropies."""

    group = "losses"

    @staticmethod
    def counts_hits(kind: str | PythonLoss) -> bool:
        """Return True if a loss of this kind defines an accuracy."""
        if isinstance(kind, PythonLoss):
            return bool(getattr(kind, "target", "class") == "class")
        return bool(catalogue("losses")[kind]["judges"])

    def in_file(self) -> Loss:
        """Return the loss to name in a file: this one."""
        return self


class Optimizer(Spec):
    """How parameters follow their gradients. `learning_rate` is a number or a schedule."""

    group = "optimizers"
    former: ClassVar[dict[str, str]] = {"rate": "learning_rate", "decay": "weight_decay"}
    extra = (
        Field(
            "learning_rate",
            "schedule",
            1e-3,
            "learning rate: a number, from which a cosine leads to 0, or a schedule, see "
            "evoprune.schedules",
        ),
        Field("clip", "norm", 0.0, "most the norm of the whole gradient may be; 0: no limit"),
    )

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        if name == "learning_rate" and np.ndim(value):
            return tuple(np.ravel(value).tolist())
        if name == "learning_rate" and callable(value):
            return value
        return float(values(name, value, 1)[0])


class Fitness(Spec):
    """What a population is worth: one number from local learning signals."""

    group = "fitness"


class Dynamics(Spec):
    """How masses follow fitness and upkeep, generation by generation."""

    group = "dynamics"

    def timed(self, lifespan: float) -> Dynamics:
        """Return the law with a number for each time constant that is None.

        `lifespan` becomes the argument. A rate per generation becomes the catalogue's default,
        which is for a lifespan of 700 generations, times 700 / lifespan: over a run of any length
        the law then does about the same.

        Args:
            lifespan: generations, see `evoprune.selection.timing`.
        """
        names = ("lifespan",) if self.settings.get("growth") == "bounded" else RATES
        numbers = {}
        for row in catalogue("dynamics")[self.kind]["fields"]:
            name = row["name"]
            if name in names and self.settings[name] is None:
                value = lifespan if name == "lifespan" else row["default"] * UNKNOWN / lifespan
                numbers[name] = min(row["high"], max(row["low"], value))
        return type(self)(**self.settings | numbers) if numbers else self


CrossEntropy = define(Loss, "cross_entropy")
MeanSquaredError = define(Loss, "mean_squared_error")
BinaryCrossEntropy = define(Loss, "binary_cross_entropy")
SoftCrossEntropy = define(Loss, "soft_cross_entropy")
MeanAbsoluteError = define(Loss, "mean_absolute_error")
Huber = define(Loss, "huber")
Poisson = define(Loss, "poisson")
Hinge = define(Loss, "hinge")

# 0.5 instead of the usual 0.01: it helps small networks generalize, and where upkeep is in nats it
# determines, times upkeep, which populations survive.
AdamW = define(Optimizer, "adamw", "learning_rate", name="AdamW", weight_decay=0.5)
SGD = define(Optimizer, "sgd", "learning_rate", name="SGD", learning_rate=0.1)

Marginal = define(Fitness, "marginal")
Taylor = define(Fitness, "taylor")
Relative = define(Fitness, "relative")
Worth = define(Fitness, "worth")
Gradient = define(Fitness, "gradient")
Magnitude = define(Fitness, "magnitude")
Activity = define(Fitness, "activity")
Pull = define(Fitness, "pull")

RATES = ("strength", "clip", "turnover")
"""Settings of dynamics per generation; None, the default, fits them to the run."""


def _open(kind: str) -> dict[str, Any]:
    """Return the time constants of a dynamics as fields whose default is None."""
    fields = {}
    for field in map(Field.of, catalogue("dynamics")[kind]["fields"]):
        if field.name == "lifespan":
            usual = (
                f"a seventh of the generations of the run and the time to learn; {UNKNOWN:g} if "
                "the length of the run is unknown"
            )
        elif field.name in RATES:
            usual = f"{field.default:g} for a lifespan of {UNKNOWN:g}, in proportion for others"
        else:
            continue
        fields[field.name] = replace(field, default=None, doc=f"{field.doc}; None: {usual}")
    return fields


Malthusian = define(Dynamics, "malthusian", **_open("malthusian"))
Replicator = define(Dynamics, "replicator", **_open("replicator"))
ReplicatorMutator = define(Dynamics, "replicator_mutator", **_open("replicator_mutator"))
Logistic = define(Dynamics, "logistic", **_open("logistic"))
LotkaVolterra = define(Dynamics, "lotka_volterra", **_open("lotka_volterra"))
WrightFisher = define(Dynamics, "wright_fisher", **_open("wright_fisher"))
Moran = define(Dynamics, "moran", **_open("moran"))
NoisyGrowth = define(Dynamics, "noisy_growth", **_open("noisy_growth"))
BestResponse = define(Dynamics, "best_response", **_open("best_response"))
NoDynamics = define(Dynamics, "none", name="NoDynamics")


class _PythonLaw:
    """A law that is a Python function: the core calls it, and repr() shows its name."""

    what = ""
    arguments: tuple[int, ...] = ()

    def __init__(self, function: Callable[..., ArrayLike]) -> None:
        if not callable(function):
            raise TypeError(f"@{self.what}: expected a function, got {type(function).__name__}")
        self.takes = max((n for n in self.arguments if _takes(function, n)), default=0)
        if not self.takes:
            wanted = " or ".join(map(str, self.arguments))
            raise TypeError(f"@{self.what}: {_name(function)} must take {wanted} argument(s)")
        self.function = function
        self.__name__ = _name(function)
        self.__doc__ = function.__doc__

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.function == vars(other)["function"]

    def __hash__(self) -> int:
        return hash((type(self), self.function))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as its function: by reference, or by value if the pickler can do that.

        After decoration the function's own name refers to the law. To be found by name, the
        function then needs the qualified name of the law's attribute `function`.
        """
        function: Any = self.function
        name = getattr(function, "__qualname__", "")
        found: Any = sys.modules.get(getattr(function, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            function.__qualname__ = f"{name}.function"
        return type(self), (function,)

    def __repr__(self) -> str:
        return f"{self.what}({self.__name__})"


class PythonFitness(_PythonLaw):
    """A fitness law written in Python; made by @fitness."""

    what = "fitness"
    arguments = (1,)

    def __call__(self, signals: Mapping[str, Array]) -> ArrayLike:
        """Return the fitness (n,) of the n populations of a layer; see `fitness`."""
        return self.function(signals)


class PythonDynamics(_PythonLaw):
    """A dynamics law written in Python; made by @dynamics."""

    what = "dynamics"
    arguments = (1, 2, 3)

    def __call__(self, cohort: Mapping[str, Any]) -> ArrayLike:
        """Return the masses (n,) of the next generation; see `dynamics`."""
        if self.takes == 1:
            return self.function(cohort)
        before, strength = np.array(cohort["mass"]), float(cohort["strength"])
        vectors = (cohort["mass"], cohort["fitness"], cohort["upkeep"])
        after = self.function(*vectors[: self.takes])
        if strength == 1 or np.shape(after) != before.shape or not np.all(np.asarray(after) >= 0):
            return after  # unchanged; the core rejects invalid masses
        with np.errstate(all="ignore"):
            grown = before * np.power(np.divide(after, before), strength)
        return before if strength == 0 else np.where(before > 0, grown, after)


class PythonLoss(_PythonLaw):
    """A loss written in Python; made by @loss."""

    what = "loss"
    arguments = (2,)

    def __init__(
        self, function: Callable[..., Any], target: Literal["class", "real"] = "real"
    ) -> None:
        super().__init__(function)
        if target not in ("class", "real"):
            raise ValueError(f"@loss: target: expected class or real, got {target!r}")
        self.target = target

    def __call__(self, outputs: Array, targets: Array) -> Any:
        """Return the losses (rows,) and their gradient (rows, n); see `loss`."""
        return self.function(outputs, targets)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the same facts as the catalogue has for losses of the core."""
        return {"target": self.target, "judges": self.target == "class"}

    @property
    def kind(self) -> PythonLoss:
        """Return this object, with which the core is configured."""
        return self

    def config(self) -> dict[str, Any]:
        """Return the settings: none."""
        return {}

    @staticmethod
    def counts_hits(kind: str | PythonLoss) -> bool:
        """Return True if the loss defines an accuracy, see `Loss.counts_hits`."""
        return Loss.counts_hits(kind)

    def in_file(self) -> Loss:
        """Return the loss to name in a file instead of the function."""
        return CrossEntropy() if self.target == "class" else MeanSquaredError()


FitnessLike: TypeAlias = str | Fitness | PythonFitness | Callable[[Any], ArrayLike]
DynamicsLike: TypeAlias = str | Dynamics | PythonDynamics | Callable[..., ArrayLike]


def fitness(function: Callable[[Any], ArrayLike]) -> PythonFitness:
    """Make a fitness law from a Python function; use as a decorator.

    The function takes the signals of the n populations of a layer as a dict of copies (n,): mass,
    mass_gradient (dL/dmass), owned_norm2, owned_gradient2 and owned_product (sums of w^2, dw^2 and
    w dw over the weights a population owns) and activity (mean |output|). The dict also has terms,
    the number of terms whose mean is the loss. The function returns finite fitness (n,), in nats if
    it is compared with upkeep. It is called once per generation and layer; an exception in it stops
    the run.

        @ep.fitness
        def usefulness(signals):
            return -signals["mass"] * signals["mass_gradient"]
    """
    return PythonFitness(function)


def dynamics(function: Callable[..., ArrayLike]) -> PythonDynamics:
    """Make a dynamics law from a Python function; use as a decorator.

    The function takes copies of mass (n,) and fitness (n,) of the n living populations of a niche
    and, if it has a third parameter, their upkeep (n,). It returns the masses (n,) of the next
    generation, finite and at least 0. A population whose mass falls below the threshold is extinct.
    With strength < 1 (learning-rate clock, or rest), the ratio new/old is raised to the power
    strength. A function of one parameter takes a dict of these arrays and of birth (n,), born,
    threshold, strength and generation; its result is used unchanged.

        @ep.dynamics
        def growth(mass, fitness, upkeep):
            return mass * np.exp(np.clip(10 * (fitness - upkeep), -0.2, 0.2))
    """
    return PythonDynamics(function)


def loss(
    function: Callable[..., Any] | None = None, *, target: Literal["class", "real"] = "real"
) -> Any:
    """Make a loss from a Python function; use as a decorator.

    The function takes copies of outputs (rows, n) and of targets: values (rows, n), or class codes
    (rows,) int64 with target="class", where the outputs are logits. It returns the loss of each row
    (rows,) and its gradient with respect to the row's outputs (rows, n). The core takes the mean
    over rows and applies sample weights. The function is called once per step, by one thread; an
    exception in it stops the run. Network files store cross-entropy or mean squared error instead.

        @ep.loss
        def quantile(outputs, targets):
            below = targets > outputs
            gap = np.where(below, 0.9, -0.1) * (targets - outputs)
            return gap.mean(axis=1), np.where(below, -0.9, 0.1) / outputs.shape[1]
    """
    if function is None:
        return lambda given: PythonLoss(given, target)
    return PythonLoss(function, target)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _takes(function: Callable[..., Any], n: int) -> bool:
    """Return True if a function can be called with n positional arguments."""
    try:
        signature(function).bind(*range(n))
    except TypeError:
        return False
    except ValueError:  # built-in functions may have no signature
        return True
    return True

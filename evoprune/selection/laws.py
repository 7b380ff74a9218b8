"""The laws: losses, optimizers, fitness and dynamics of the core, and how to write one in Python.

A line a law; equations, settings, bounds and sources come from the core's catalogue
(`help(Replicator)`). What the laws compute stands in csrc/laws; this file gives them their names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.types import Array
from evoprune.core.spec import Field, Spec, catalogue, define
from evoprune.selection.schedules import values

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
    """What training makes small: a function of outputs and targets, in nats for the entropies."""

    group = "losses"

    @staticmethod
    def counts_hits(kind: str | PythonLoss) -> bool:
        """True if a loss of that kind tells right predictions from wrong ones."""
        if isinstance(kind, PythonLoss):
            return kind.target == "class"
        return bool(catalogue("losses")[kind]["judges"])

    def in_file(self) -> Loss:
        """Return the loss that a file names: this one."""
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


CrossEntropy = define(Loss, "cross_entropy")
MeanSquaredError = define(Loss, "mean_squared_error")
BinaryCrossEntropy = define(Loss, "binary_cross_entropy")
SoftCrossEntropy = define(Loss, "soft_cross_entropy")
MeanAbsoluteError = define(Loss, "mean_absolute_error")
Huber = define(Loss, "huber")
Poisson = define(Loss, "poisson")
Hinge = define(Loss, "hinge")

# Not the usual 0.01: small networks generalise by it, and where upkeep is in nats it decides, times
# upkeep, who survives.
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

Malthusian = define(Dynamics, "malthusian")
Replicator = define(Dynamics, "replicator")
ReplicatorMutator = define(Dynamics, "replicator_mutator")
Logistic = define(Dynamics, "logistic")
LotkaVolterra = define(Dynamics, "lotka_volterra")
WrightFisher = define(Dynamics, "wright_fisher")
Moran = define(Dynamics, "moran")
NoisyGrowth = define(Dynamics, "noisy_growth")
BestResponse = define(Dynamics, "best_response")
NoDynamics = define(Dynamics, "none", name="NoDynamics")


class _PythonLaw:
    """A law that is a Python function: called by the core, shown by its name."""

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
        """Pickle as its function: by reference, or by value where the pickler can do that.

        A decorator leaves the law under the function's own name. The function is then found as an
        attribute of the law, and says so, for a pickler that looks it up.
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
    """A fitness written in Python; made by @fitness."""

    what = "fitness"
    arguments = (1,)

    def __call__(self, signals: Mapping[str, Array]) -> ArrayLike:
        """Fitness (n,) of the n populations of a layer; see `fitness`."""
        return self.function(signals)


class PythonDynamics(_PythonLaw):
    """A dynamics written in Python; made by @dynamics."""

    what = "dynamics"
    arguments = (1, 2, 3)

    def __call__(self, cohort: Mapping[str, Any]) -> ArrayLike:
        """Masses (n,) of the next generation; see `dynamics`."""
        if self.takes == 1:
            return self.function(cohort)
        before, strength = np.array(cohort["mass"]), float(cohort["strength"])
        vectors = (cohort["mass"], cohort["fitness"], cohort["upkeep"])
        after = self.function(*vectors[: self.takes])
        if strength == 1 or np.shape(after) != before.shape or not np.all(np.asarray(after) >= 0):
            return after  # as it is; what is no mass the core refuses
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
        """Losses (rows,) and their gradient (rows, n); see `loss`."""
        return self.function(outputs, targets)

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the catalogue says of losses of the core."""
        return {"target": self.target, "judges": self.target == "class"}

    @property
    def kind(self) -> PythonLoss:
        """Return itself: what the core is configured with."""
        return self

    def config(self) -> dict[str, Any]:
        """Return no settings."""
        return {}

    @staticmethod
    def counts_hits(kind: str | PythonLoss) -> bool:
        """As for other losses."""
        return Loss.counts_hits(kind)

    def in_file(self) -> Loss:
        """Return the loss that a file names in place of the function."""
        return CrossEntropy() if self.target == "class" else MeanSquaredError()


FitnessLike: TypeAlias = str | Fitness | PythonFitness | Callable[[Any], ArrayLike]
DynamicsLike: TypeAlias = str | Dynamics | PythonDynamics | Callable[..., ArrayLike]


def fitness(function: Callable[[Any], ArrayLike]) -> PythonFitness:
    """Make a fitness of a Python function; use as a decorator.

    The function gets the signals of the n populations of a layer, a dict of copies (n,): mass,
    mass_gradient (dL/dmass), owned_norm2, owned_gradient2 and owned_product (sums of w^2, dw^2 and
    w dw over the weights a population owns) and activity (mean |output|); and terms, the number
    of them in the mean that the loss is. It returns their fitness (n,), finite, in nats if upkeep
    is to be compared with it. It is called once a generation and layer; an exception in it ends
    the run.

        @ep.fitness
        def usefulness(signals):
            return -signals["mass"] * signals["mass_gradient"]
    """
    return PythonFitness(function)


def dynamics(function: Callable[..., ArrayLike]) -> PythonDynamics:
    """Make a dynamics of a Python function; use as a decorator.

    The function gets copies of mass (n,) and fitness (n,) of the n living populations of a niche
    and, if it takes a third argument, their upkeep (n,). It returns the masses (n,) of the next
    generation, finite and at least 0. Who falls below the threshold is extinct. Where dynamics acts
    at less than full strength (by the clock, or at rest), masses grow by that power of the factor
    it says. With one argument it gets a dict of these and of birth (n,), born, threshold, strength
    and generation, and what it returns is taken as it is.

        @ep.dynamics
        def growth(mass, fitness, upkeep):
            return mass * np.exp(np.clip(10 * (fitness - upkeep), -0.2, 0.2))
    """
    return PythonDynamics(function)


def loss(
    function: Callable[..., Any] | None = None, *, target: Literal["class", "real"] = "real"
) -> Any:
    """Make a loss of a Python function; use as a decorator.

    The function gets copies of outputs (rows, n) and of targets: class numbers (rows,) int64, with
    target="class", where the outputs are logits, or values (rows, n). It returns the losses (rows,)
    and their gradient by the outputs (rows, n), each of its row alone; the mean over rows, and
    weights, are not its business. It is called once a step, with one thread; an exception in it
    ends the run. Files of a network name cross-entropy or the mean squared error instead.

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
    """Can a function be called with n arguments without a name?"""
    try:
        signature(function).bind(*range(n))
    except TypeError:
        return False
    except ValueError:  # built-in functions may not say
        return True
    return True

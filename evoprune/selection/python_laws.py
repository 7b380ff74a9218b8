"""Laws written in Python: `@fitness`, `@dynamics` and `@loss`. The core calls the functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.selection.groups import Dynamics, Fitness, Loss
from evoprune.selection.laws import CrossEntropy, DynamicsName, FitnessName, MeanSquaredError

__all__ = [
    "DynamicsLike",
    "FitnessLike",
    "PythonDynamics",
    "PythonFitness",
    "PythonLoss",
    "dynamics",
    "fitness",
    "loss",
]


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
        """Pickle the law as its function: by reference, or by value if the pickler can.

        After decoration, the function's own name refers to the law. The function is therefore
        renamed to "NAME.function": pickle then finds it as an attribute of the law.
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
            return after  # as it is: if masses are invalid, the core rejects them
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
        """Return two entries of the catalogue, as for a loss of the core.

        `target` is the type of the targets; `judges` is True if the loss defines an accuracy.
        """
        return {"target": self.target, "judges": self.target == "class"}

    @property
    def kind(self) -> PythonLoss:
        """Return this object: the core takes it instead of the name of a loss."""
        return self

    def config(self) -> dict[str, Any]:
        """Return the settings: none."""
        return {}

    @staticmethod
    def counts_hits(kind: str | PythonLoss) -> bool:
        """Return True if the loss defines an accuracy, see `Loss.counts_hits`."""
        return Loss.counts_hits(kind)

    def in_file(self) -> Loss:
        """Return the loss to store in a file, which cannot hold the function."""
        return CrossEntropy() if self.target == "class" else MeanSquaredError()


FitnessLike: TypeAlias = FitnessName | Fitness | PythonFitness | Callable[[Any], ArrayLike]
DynamicsLike: TypeAlias = DynamicsName | Dynamics | PythonDynamics | Callable[..., ArrayLike]


def fitness(function: Callable[[Any], ArrayLike]) -> PythonFitness:
    """Make a fitness law from a Python function; use as a decorator.

    The function takes a dict with the signals of the n populations of a layer, as copies (n,):
    "mass"; "mass_gradient", dL/dmass for the loss L; "owned_norm2", "owned_gradient2" and
    "owned_product", sums of w^2, g^2 and w g over the weights w that a population owns and their
    gradients g; and "activity", the mean of |output|. "terms" is the number of terms whose mean is
    L. The function returns finite fitness (n,), in nats if it is compared with upkeep. It is called
    once per generation and layer; an exception in it stops the run.

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
    With strength < 1 (see Selection: clock, rest), the ratio new/old is raised to the power
    strength.

    A function of one parameter takes a dict: "mass", "fitness" and "upkeep" as above, "birth"
    (birth ids (n,)), "born" (number of founders), "threshold", "strength" and "generation". Its
    result is used unchanged, whatever the strength.

        @ep.dynamics
        def growth(mass, fitness, upkeep):
            return mass * np.exp(np.clip(10 * (fitness - upkeep), -0.2, 0.2))
    """
    return PythonDynamics(function)


@spelled
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

"""Base classes of the laws: losses, optimizers, fitness and dynamics; laws.py defines the laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from evoprune.common.checks import one_of
from evoprune.core.spec import Field, Spec, catalogue
from evoprune.selection.schedules import ScheduleLike, values
from evoprune.selection.timing import UNKNOWN

__all__ = ["Dynamics", "Fitness", "Loss", "Optimizer"]

HOME = "evoprune.selection.laws"
RATES = ("strength", "clip", "turnover")  # settings of dynamics that are rates per generation


class Loss(Spec):
    """A loss: a function of outputs and targets that training minimizes. Entropies are in nats."""

    group, home = "losses", HOME

    @staticmethod
    def counts_hits(kind: Any) -> bool:
        """Return True if a loss of this kind (a name, or a `PythonLoss`) defines an accuracy."""
        if isinstance(kind, str):
            losses = catalogue("losses")
            return bool(losses[one_of("kind", kind, tuple(losses))]["judges"])
        if not isinstance(getattr(kind, "facts", None), Mapping):
            raise TypeError(f"kind: expected the name of a loss, got {type(kind).__name__}")
        return bool(kind.facts["judges"])

    def in_file(self) -> Loss:
        """Return the loss to store in a file: this loss."""
        return self


class Optimizer(Spec):
    """A rule that updates parameters from gradients. `learning_rate` is a number or a schedule."""

    group, home = "optimizers", HOME
    former: ClassVar[dict[str, str]] = {"rate": "learning_rate", "decay": "weight_decay"}
    extra = (
        Field(
            "learning_rate",
            "schedule",
            1e-3,
            "learning rate: a number, which falls to 0 along a cosine, or a schedule, see "
            "evoprune.schedules",
        ),
        Field("clip", "norm", 0.0, "upper limit of the norm of the whole gradient; 0: no limit"),
    )

    if TYPE_CHECKING:

        @property
        def learning_rate(self) -> ScheduleLike:
            """Learning rate: a number or a schedule."""

        @property
        def clip(self) -> float:
            """Upper limit of the norm of the whole gradient; 0: no limit."""

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        if name == "learning_rate" and np.ndim(value):
            return tuple(np.ravel(value).tolist())
        if name == "learning_rate" and callable(value):
            return value
        return float(values(name, value, 1)[0])


class Fitness(Spec):
    """A fitness law: computes one number for each population from local learning signals."""

    group, home = "fitness", HOME


class Dynamics(Spec):
    """A dynamics law: computes the masses of the next generation from fitness and upkeep.

    Settings per generation (strength, clip, turnover) and lifespan are None by default: a run
    chooses numbers that fit its length, see `timed`.
    """

    group, home = "dynamics", HOME

    def timed(self, lifespan: float) -> Dynamics:
        """Return the law with a number for each time constant that is None.

        The setting `lifespan` gets the value of the argument. A rate per generation becomes its
        default in the catalogue, which is for a lifespan of 700 generations, times 700 / lifespan.
        Masses then change by about as much in a run of any length.

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

    @classmethod
    def _field(cls, field: Field) -> Field:
        if field.name == "lifespan":
            usual = (
                f"a seventh of the generations of the run and the time to learn; {UNKNOWN:g} if "
                "the length of the run is unknown"
            )
        elif field.name in RATES:
            usual = f"{field.default:g} for a lifespan of {UNKNOWN:g}, in proportion for others"
        else:
            return field
        return replace(field, default=None, doc=f"{field.doc}; None: {usual}")

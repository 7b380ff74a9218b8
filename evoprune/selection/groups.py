"""The groups of laws: losses, optimizers, fitness and dynamics. Their laws are in laws.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from evoprune.core.spec import Field, Spec, catalogue
from evoprune.selection.schedules import ScheduleLike, values

__all__ = ["Dynamics", "Fitness", "Loss", "Optimizer"]

HOME = "evoprune.selection.laws"


class Loss(Spec):
    """What training minimizes: a function of outputs and targets, in nats for the entropies."""

    group, home = "losses", HOME

    @staticmethod
    def counts_hits(kind: Any) -> bool:
        """Return True if a loss of this kind (a name, or a `PythonLoss`) defines an accuracy."""
        facts = catalogue("losses")[kind] if isinstance(kind, str) else kind.facts
        return bool(facts["judges"])

    def in_file(self) -> Loss:
        """Return the loss to name in a file: this one."""
        return self


class Optimizer(Spec):
    """How parameters follow their gradients. `learning_rate` is a number or a schedule."""

    group, home = "optimizers", HOME
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

    if TYPE_CHECKING:

        @property
        def learning_rate(self) -> ScheduleLike:
            """Learning rate: a number or a schedule."""

        @property
        def clip(self) -> float:
            """Most the norm of the whole gradient may be; 0: no limit."""

    @staticmethod
    def _checked(name: str, value: Any) -> Any:
        if name == "learning_rate" and np.ndim(value):
            return tuple(np.ravel(value).tolist())
        if name == "learning_rate" and callable(value):
            return value
        return float(values(name, value, 1)[0])


class Fitness(Spec):
    """What a population is worth: one number from local learning signals."""

    group, home = "fitness", HOME


class Dynamics(Spec):
    """How masses follow fitness and upkeep, generation by generation."""

    group, home = "dynamics", HOME

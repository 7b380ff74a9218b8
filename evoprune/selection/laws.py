"""Classes of the core's laws: losses, optimizers, fitness and dynamics.

Equations, settings, bounds and sources come from the core's catalogue (`help(Replicator)`); the
laws are implemented in csrc/laws. Type checkers and editors read laws.pyi, which
tools/make_stubs.py writes from the catalogue.
"""

from __future__ import annotations

from evoprune.core.spec import define, known
from evoprune.selection.groups import Dynamics, Fitness, Loss, Optimizer

CrossEntropy = define(Loss, "cross_entropy")
MeanSquaredError = define(Loss, "mean_squared_error")
BinaryCrossEntropy = define(Loss, "binary_cross_entropy")
SoftCrossEntropy = define(Loss, "soft_cross_entropy")
MeanAbsoluteError = define(Loss, "mean_absolute_error")
Huber = define(Loss, "huber")
Poisson = define(Loss, "poisson")
Hinge = define(Loss, "hinge")

# Weight decay is 0.5 instead of the usual 0.01: it helps small networks generalize, and with upkeep
# in nats, weight decay times upkeep determines which populations survive.
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

LossName = OptimizerName = FitnessName = DynamicsName = str  # laws.pyi lists the names

GROUPS = (Loss, Optimizer, Fitness, Dynamics)
__all__ = [made.__name__ for group in GROUPS for made in known(group).values()]

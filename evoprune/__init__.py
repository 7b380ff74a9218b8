"""Neural networks whose neurons, filters and attention heads are populations under selection.

They get smaller and faster while they learn, without a pruning schedule: a population whose fitness
stays below its upkeep loses mass, goes extinct, and is removed from every array. By default, upkeep
depends on the fitness of the other populations of its layer.

    import evoprune as ep

    train, test = ep.datasets.mnist()
    net = ep.mlp(784, 512, 256, 10)
    trainer = ep.Trainer(net, selection=ep.Selection(pressure=1.5))
    history = trainer.fit(train, epochs=20, validation_data=test)
"""

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError as _NotFound
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from evoprune import datasets, export, plot, schedules
from evoprune.bridges.export import from_torch, to_torch
from evoprune.common.errors import Diverged, FileFormatError, NothingCanDie
from evoprune.common.threads import get_threads, set_threads
from evoprune.common.warn import warn as _warn
from evoprune.nets import layers as _layers
from evoprune.nets.arrangements import Chain, Flatten, From, Residual, filters, heads, neurons
from evoprune.nets.layers import *  # noqa: F403 - one class per kind of layer
from evoprune.nets.network import Network, load
from evoprune.nets.plan import Layer
from evoprune.nets.published import load_resnet
from evoprune.nets.sampling import generate
from evoprune.nets.sequential import Sequential
from evoprune.nets.zoo import charlm, cnn, lenet5, mlp, resnet, vit
from evoprune.records.history import History
from evoprune.selection import laws as _laws
from evoprune.selection.births import Births
from evoprune.selection.budget import Budget
from evoprune.selection.community import Community
from evoprune.selection.groups import Dynamics, Fitness, Loss, Optimizer
from evoprune.selection.laws import *  # noqa: F403 - one class per law
from evoprune.selection.python_laws import dynamics, fitness, loss
from evoprune.selection.settings import Selection
from evoprune.selection.simulate import simulate
from evoprune.training.callbacks import Callback, Checkpoint, EarlyStopping, JSONLLogger
from evoprune.training.finder import find_learning_rate
from evoprune.training.observers import CSVLogger, LambdaCallback
from evoprune.training.plateau import ReduceOnPlateau
from evoprune.training.trainer import Trainer

if _TYPE_CHECKING:
    from evoprune.bridges.optuna import OptunaPruning as OptunaPruning
    from evoprune.bridges.scorer import scorer as scorer
    from evoprune.bridges.sklearn import EvoPruneClassifier as EvoPruneClassifier
    from evoprune.bridges.sklearn import EvoPruneRegressor as EvoPruneRegressor
    from evoprune.bridges.sklearn import EvoPruneSelector as EvoPruneSelector
    from evoprune.bridges.sweep import sweep as sweep
    from evoprune.bridges.trackers import MLflow as MLflow
    from evoprune.bridges.trackers import TensorBoard as TensorBoard
    from evoprune.bridges.trackers import WandB as WandB

# Public names that need an optional library, with their modules, which are imported on first use.
_BRIDGES = {
    "EvoPruneClassifier": "evoprune.bridges.sklearn",
    "EvoPruneRegressor": "evoprune.bridges.sklearn",
    "EvoPruneSelector": "evoprune.bridges.sklearn",
    "MLflow": "evoprune.bridges.trackers",
    "OptunaPruning": "evoprune.bridges.optuna",
    "TensorBoard": "evoprune.bridges.trackers",
    "WandB": "evoprune.bridges.trackers",
    "scorer": "evoprune.bridges.scorer",
    "sweep": "evoprune.bridges.sweep",
}

# Former public names, with their modules; using one of them warns.
_FORMER = dict.fromkeys(("constant", "cosine", "linear", "one_cycle", "warmup"), schedules)


def __getattr__(name: str) -> object:
    """Import names that need an optional library on first use (PEP 562)."""
    if name == "torch":
        return _import_module("evoprune.torch")
    if name in _FORMER:
        place = f"{_FORMER[name].__name__}.{name}"
        _warn(f"evoprune.{name} is now called {place}", DeprecationWarning)
        return getattr(_FORMER[name], name)
    if name not in _BRIDGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = thing = getattr(_import_module(_BRIDGES[name]), name)
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *_BRIDGES, "torch"})


try:
    __version__ = _version("evoprune")
except _NotFound:  # sources that were never installed
    __version__ = "0+unknown"


__all__ = [
    "Births",
    "Budget",
    "CSVLogger",
    "Callback",
    "Chain",
    "Checkpoint",
    "Community",
    "Diverged",
    "Dynamics",
    "EarlyStopping",
    "FileFormatError",
    "Fitness",
    "Flatten",
    "From",
    "History",
    "JSONLLogger",
    "LambdaCallback",
    "Layer",
    "Loss",
    "Network",
    "NothingCanDie",
    "Optimizer",
    "ReduceOnPlateau",
    "Residual",
    "Selection",
    "Sequential",
    "Trainer",
    "__version__",
    "charlm",
    "cnn",
    "datasets",
    "dynamics",
    "export",
    "filters",
    "find_learning_rate",
    "fitness",
    "from_torch",
    "generate",
    "get_threads",
    "heads",
    "lenet5",
    "load",
    "load_resnet",
    "loss",
    "mlp",
    "neurons",
    "plot",
    "resnet",
    "schedules",
    "set_threads",
    "simulate",
    "to_torch",
    "vit",
]
__all__ += _layers.__all__
__all__ += _laws.__all__

"""Neural networks whose neurons, filters and attention heads are populations under selection.

They get smaller and faster while they learn, with no pruning schedule: a population that earns less
than its mass costs, by what the others of its layer earn, becomes extinct, and is removed from
every array.

    import evoprune as ep

    train, test = ep.datasets.mnist()
    net = ep.mlp(784, 512, 256, 10)
    trainer = ep.Trainer(net, selection=ep.Selection(pressure=1.5))
    history = trainer.fit(train, epochs=20, validation_data=test)
"""

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError as _NotFound
from importlib.metadata import version as _version

from evoprune import datasets, export, plot
from evoprune.bridges.export import from_torch, to_torch
from evoprune.common.errors import Diverged, FileFormatError, NothingCanDie
from evoprune.common.threads import get_threads, set_threads
from evoprune.nets.layers import (
    Attention,
    BatchNorm,
    Chain,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    From,
    LayerNorm,
    MaxPool,
    MeanPool,
    Patches,
    Populations,
    Positions,
    Residual,
    RMSNorm,
    Shortcut,
    Sum,
    Take,
    Token,
    filters,
    heads,
    neurons,
)
from evoprune.nets.network import Network, Sequential, load
from evoprune.nets.published import load_resnet
from evoprune.nets.sampling import generate
from evoprune.nets.zoo import charlm, cnn, lenet5, mlp, resnet, vit
from evoprune.records.history import History
from evoprune.selection.budget import Budget
from evoprune.selection.community import Community
from evoprune.selection.laws import (
    SGD,
    AdamW,
    BestResponse,
    BinaryCrossEntropy,
    CrossEntropy,
    Logistic,
    LotkaVolterra,
    Malthusian,
    MeanSquaredError,
    Moran,
    NoDynamics,
    NoisyGrowth,
    Replicator,
    ReplicatorMutator,
    WrightFisher,
    dynamics,
    fitness,
)
from evoprune.selection.schedules import constant, cosine, linear, warmup
from evoprune.selection.settings import Selection
from evoprune.selection.simulate import simulate
from evoprune.training.callbacks import Callback, Checkpoint, EarlyStopping, JSONLLogger
from evoprune.training.trainer import Trainer

try:
    __version__ = _version("evoprune")
except _NotFound:  # sources that were never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> object:
    """Import `evoprune.torch` when it is first used, so that evoprune does not need PyTorch."""
    if name == "torch":
        return _import_module("evoprune.torch")
    raise AttributeError(f"module 'evoprune' has no attribute {name!r}")


__all__ = [
    "SGD",
    "AdamW",
    "Attention",
    "BatchNorm",
    "BestResponse",
    "BinaryCrossEntropy",
    "Budget",
    "Callback",
    "Chain",
    "Checkpoint",
    "Community",
    "Conv2d",
    "CrossEntropy",
    "Dense",
    "Diverged",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "FileFormatError",
    "Flatten",
    "From",
    "History",
    "JSONLLogger",
    "LayerNorm",
    "Logistic",
    "LotkaVolterra",
    "Malthusian",
    "MaxPool",
    "MeanPool",
    "MeanSquaredError",
    "Moran",
    "Network",
    "NoDynamics",
    "NoisyGrowth",
    "NothingCanDie",
    "Patches",
    "Populations",
    "Positions",
    "RMSNorm",
    "Replicator",
    "ReplicatorMutator",
    "Residual",
    "Selection",
    "Sequential",
    "Shortcut",
    "Sum",
    "Take",
    "Token",
    "Trainer",
    "WrightFisher",
    "__version__",
    "charlm",
    "cnn",
    "constant",
    "cosine",
    "datasets",
    "dynamics",
    "export",
    "filters",
    "fitness",
    "from_torch",
    "generate",
    "get_threads",
    "heads",
    "lenet5",
    "linear",
    "load",
    "load_resnet",
    "mlp",
    "neurons",
    "plot",
    "resnet",
    "set_threads",
    "simulate",
    "to_torch",
    "vit",
    "warmup",
]

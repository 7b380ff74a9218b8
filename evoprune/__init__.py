"""Neural networks whose neurons, filters and attention heads are populations under selection.

They get smaller and faster while they learn, with no pruning schedule: a population whose fitness
stays below what its mass costs becomes extinct, and is removed from every array.

    import evoprune as ep

    train, test = ep.datasets.mnist()
    net = ep.mlp(784, 512, 256, 10)
    trainer = ep.Trainer(net, selection=ep.Selection(pressure=0.3))
    history = trainer.fit(train, epochs=20, validation=test)
"""

from importlib.metadata import PackageNotFoundError as _NotFound
from importlib.metadata import version as _version

from evoprune import datasets, plot
from evoprune.callbacks import Callback, Checkpoint, EarlyStopping, JSONLLogger
from evoprune.errors import Diverged, FileFormatError, NothingCanDie
from evoprune.history import History
from evoprune.laws import (
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
from evoprune.layers import Chain, Dense, Populations, neurons
from evoprune.network import Network, Sequential, load, mlp
from evoprune.schedules import constant, cosine, linear, warmup
from evoprune.selection import Selection
from evoprune.settings import get_threads, set_threads
from evoprune.trainer import Trainer

try:
    __version__ = _version("evoprune")
except _NotFound:  # sources that were never installed
    __version__ = "0+unknown"

__all__ = [
    "SGD",
    "AdamW",
    "BestResponse",
    "BinaryCrossEntropy",
    "Callback",
    "Chain",
    "Checkpoint",
    "CrossEntropy",
    "Dense",
    "Diverged",
    "EarlyStopping",
    "FileFormatError",
    "History",
    "JSONLLogger",
    "Logistic",
    "LotkaVolterra",
    "Malthusian",
    "MeanSquaredError",
    "Moran",
    "Network",
    "NoDynamics",
    "NoisyGrowth",
    "NothingCanDie",
    "Populations",
    "Replicator",
    "ReplicatorMutator",
    "Selection",
    "Sequential",
    "Trainer",
    "WrightFisher",
    "__version__",
    "constant",
    "cosine",
    "datasets",
    "dynamics",
    "fitness",
    "get_threads",
    "linear",
    "load",
    "mlp",
    "neurons",
    "plot",
    "set_threads",
    "warmup",
]

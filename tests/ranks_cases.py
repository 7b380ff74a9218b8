"""Small runs that give the same result on several ranks as in one process.

The ranks are threads (tests/ranks.py) or processes of MPI (tests/mpi_rank.py).
"""

from __future__ import annotations

import math

import numpy as np

import evoprune as ep

EPOCHS, SAMPLES, BATCH = 7, 300, 70  # the last batch of an epoch has 20 samples
STEPS = EPOCHS * 5
COLUMNS = ("loss", "accuracy", "validation_loss", "validation_accuracy")  # compared between runs

CASES = [
    "plain",
    "batch norm",
    "dropout",
    "clipped",
    "momentum",
    "activity",
    "overlap",
    "python fitness",
    "images",
    "sequences",
    "weights",
    "regression",
    "iterable",
    "dense",
]
NO_DEATHS = {"dense"}


def cross_entropy(outputs, targets):
    """Compute cross-entropy as a user's loss in Python: losses (rows,) and gradients (rows, n)."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    share = np.exp(shifted)
    share /= share.sum(axis=1, keepdims=True)
    rows = np.arange(len(outputs))
    values = -np.log(share[rows, targets])
    share[rows, targets] -= 1
    return values, share


@ep.fitness
def worth(signals):
    """Return a fitness that needs both gradients and outputs."""
    return -signals["mass_gradient"] + 1e-3 * signals["activity"]


def data(name, shift=0):
    """Return inputs and targets of a case."""
    random = np.random.default_rng(1)
    if name == "images":
        x = random.integers(0, 255, (SAMPLES, 8, 8, 1)).astype(np.uint8)
        return x, (x[:, 2:5, 2:5].mean((1, 2, 3)) > 127).astype(int)
    if name == "sequences":
        x = random.integers(0, 6, (SAMPLES, 5))
        return x, np.where(random.random((SAMPLES, 5)) < 0.2, -1, (x + 1) % 6)
    x = random.normal(size=(SAMPLES, 20)) + shift
    if name == "regression":
        return x, np.stack([x[:, 0] * x[:, 1], x[:, 2]], axis=1)
    return x, (x[:, :3].sum(1) > 0).astype(int) + (x[:, 3] > 0)


def network(name, seed=3, dtype="float64"):
    if name == "images":
        layers = [
            ep.Conv2d(8, kernel=3),
            ep.BatchNorm(),
            ep.Populations("relu"),
            ep.Flatten(),
            ep.Dense(2),
            ep.Populations("identity", mass=False),
        ]
        return ep.Sequential(layers, input=(8, 8, 1), seed=seed, dtype=dtype)
    if name == "sequences":
        layers = [
            ep.Embedding(6, 12),
            ep.Dense(24),
            ep.Populations("relu"),
            ep.Dense(6),
            ep.Populations("identity", mass=False),
        ]
        return ep.Sequential(layers, input=5, seed=seed, dtype=dtype)
    layers = [ep.Dense(32)]
    layers += [ep.BatchNorm()] if name == "batch norm" else []
    layers += [ep.Populations("relu")]
    layers += [ep.Dropout(0.2)] if name == "dropout" else []
    outputs = 2 if name == "regression" else 3
    layers += [ep.Dense(outputs), ep.Populations("identity", mass=False)]
    return ep.Sequential(layers, input=20, seed=seed, dtype=dtype)


def selection(name, fitness=None):
    if name == "dense":
        return None
    if name == "overlap":
        competition = ep.LotkaVolterra(strength=500.0, capacity=0.1)
        return ep.Selection(0.2, dynamics=competition, threshold=0.5, min_age=3)
    settings = {"dynamics": ep.Malthusian(lifespan=8), "min_age": 3}
    if name == "activity":
        settings["fitness"] = "activity"
    if name == "python fitness":
        settings["fitness"] = worth
    if fitness is not None:
        settings["fitness"] = fitness
    return ep.Selection(1.5, **settings)


def trainer(name, communicator=None, *, dtype="float64", seed=3, rate=2e-3, **laws):
    """Return the trainer of a case; `laws`: loss, fitness, selection."""
    optimizer = ep.AdamW(rate, clip=0.3 if name == "clipped" else 0.0)
    if name == "momentum":
        optimizer = ep.SGD(0.05, momentum=0.9)
    chosen = laws.get("selection", selection(name, laws.get("fitness")))
    loss = laws.get("loss", "mean_squared_error" if name == "regression" else "cross_entropy")
    return ep.Trainer(
        network(name, seed, dtype),
        loss=loss,
        optimizer=optimizer,
        selection=chosen,
        communicator=communicator,
    )


class Batches:
    """An iterable of batches, in the order of the data."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return math.ceil(len(self.x) / BATCH)

    def __iter__(self):
        for at in range(0, len(self.x), BATCH):
            yield self.x[at : at + BATCH], self.y[at : at + BATCH]


def arguments(name, shift=0):
    """Return the arguments of `fit`."""
    x, y = data(name, shift)
    held = x[:95], y[:95]
    common = {"epochs": EPOCHS, "batch_size": BATCH, "validation_data": held}
    if name == "iterable":
        return {"data": Batches(x, y), **common}
    if name == "images":
        common["augment"] = {"shift": 1, "flip": True}
    if name == "weights":
        random = np.random.default_rng(2)
        common["sample_weight"] = random.random(SAMPLES) * (random.random(SAMPLES) < 0.8)
        common["class_weights"] = "balanced"
    return {"data": x, "y": y, **common}


LAWS = {"dtype", "seed", "rate", "loss", "fitness", "selection"}


def run(name, communicator=None, *, shift=0, progress=False, **more):
    """Train; return network and history."""
    made = trainer(name, communicator, **{k: v for k, v in more.items() if k in LAWS})
    rest = {k: v for k, v in more.items() if k not in LAWS}
    history = made.fit(**{**arguments(name, shift), **rest}, progress=progress)
    return made.network, history


def extinct(network):
    """Return True if a population has gone extinct."""
    return network.alive != network.born

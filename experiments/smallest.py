"""Try ideas for small perceptrons on validation images, and the best ones on MNIST's test set.

There are two goals:

- macs: an error of at most 1.6 % with at most 9,500 multiply-adds. The network is 784-300-100-10
  with pixels as populations; training images are shifted by up to one pixel in each direction.
- alive: an accuracy of at least 98.4 % with at most 77 living populations. The network is
  784-512-256-10; images are not shifted.

Every idea is trained on 55,000 images and evaluated on the other 5,000. The chosen ideas are then
trained on all training images, with five seeds, and evaluated once on the test set, after the last
epoch. Ideas combine these parts:

- budget: `ep.Budget` adjusts pressure until the network has a given number of multiply-adds.
- teacher: targets are a mixture of the labels and the softened outputs of a dense LeNet-5 for the
  same shifted image. The LeNet-5 was trained for 10 epochs on the 55,000 images, also shifted.
- alone: the network that survives selection is trained further without selection, with its masses
  folded into its weights and a new optimizer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import jobs
import lab
import numpy as np
from jobs import Row
from lab import Lab

import evoprune as ep

SIDE = 28  # pixels of an image along one axis
CACHE = lab.common.ROOT / "build" / "smallest"  # stored networks, which later runs reuse
TEACHER_EPOCHS = 10
HELD_SEEDS, TEST_SEEDS = (100, 101, 102), (0, 1, 2, 3, 4)
Teacher = tuple[float, float]


@dataclass(frozen=True)
class Way:
    """How a network is trained.

    Attributes:
        sizes: numbers of features, of neurons of each hidden layer, and of classes.
        activation: activation of the hidden layers.
        pixels: True if the input pixels are populations, too.
        moved: True if images are shifted by up to one pixel in each direction.
        pressure, niche, lifespan, ceiling: settings of selection; lifespan None is the default.
        budget: multiply-adds that a Budget aims at by half of the run; its first pressure is
            `pressure`. With 0, pressure is constant.
        epochs, rate, decay, batch, dropout: settings of the run under selection; `dropout` is the
            dropout rate of the inputs.
        teacher: (temperature, share of the teacher's outputs in the targets), or None to train on
            the labels only.
        alone: number of epochs without selection after the run under selection.
        alone_rate, alone_decay, alone_batch, alone_teacher: `rate`, `decay`, `batch` and `teacher`
            of the epochs without selection.
    """

    sizes: tuple[int, ...] = (784, 300, 100, 10)
    activation: Any = "relu"
    pixels: bool = True
    moved: bool = True
    pressure: float = 2.0
    niche: Any = "network"
    lifespan: float | None = 2000
    ceiling: float = 5.0
    budget: float = 0.0
    epochs: int = 60
    rate: float = 2e-3
    decay: float = 0.5
    batch: int = 128
    dropout: float = 0.0
    teacher: Teacher | None = None
    alone: int = 0
    alone_rate: float = 4e-3
    alone_decay: float = 0.0
    alone_batch: int = 128
    alone_teacher: Teacher | None = None

    def told(self) -> Row:
        """Return the attributes that differ from their defaults, by name."""
        usual = asdict(Way())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    def before(self) -> Way:
        """Return a copy that ends after the run under selection."""
        usual = asdict(Way())
        return replace(self, **{name: usual[name] for name in usual if name.startswith("alone")})


# ---- data and teacher ----------------------------------------------------------------------------


def in_positions(x: Any) -> Any:
    """Return nine shifted copies (9, samples, 784) of images (samples, 784).

    The shifts are -1, 0 and 1 pixel along each axis.
    """
    wide = np.pad(x.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    parts = [wide[:, y : y + SIDE, z : z + SIDE] for y in range(3) for z in range(3)]
    return np.stack(parts).reshape(len(parts), *x.shape)


def plain(read: str, quick: bool) -> tuple[Any, dict[str, Any]]:
    """Return the training set, and its scaling."""
    train, _ = jobs.data_of("mnist", read, quick)
    return train, {"shape": train.shape, "shift": train.shift, "scale": train.scale}


@cache
def seen(moved: bool, teacher: Teacher | None, read: str, quick: bool) -> Any:
    """Return the training data, with class probabilities as targets.

    If `moved`, they contain every image nine times, with the shifts of `in_positions`.
    """
    train, scaling = plain(read, quick)
    x = in_positions(train.x) if moved else train.x[None]
    targets = np.broadcast_to(np.eye(10, dtype=np.float32)[train.y], (*x.shape[:2], 10))
    if teacher is not None:
        temperature, share = teacher
        z = logits(read, quick) / np.float32(temperature)
        z = np.exp(z - z.max(-1, keepdims=True))
        targets = (1 - share) * targets + share * z / z.sum(-1, keepdims=True)
    y = np.ascontiguousarray(targets.reshape(-1, 10), np.float32)
    return ep.datasets.Dataset(x.reshape(-1, x.shape[-1]), y, **scaling)


@cache
def logits(read: str, quick: bool) -> Any:
    """Return the teacher's outputs (9, samples, 10) for the training images, shifted nine ways."""
    path = CACHE / f"logits_{read}{'_quick' if quick else ''}.npy"
    if path.exists():
        return np.load(path)
    train, scaling = plain(read, quick)
    net, parts = taught(quick), in_positions(train.x)
    z = np.stack([net.predict(ep.datasets.Dataset(x, train.y, **scaling)) for x in parts])
    np.save(path, z)
    return z


def taught(quick: bool) -> ep.Network:
    """Train the teacher, or read it from CACHE if it is there."""
    path = CACHE / f"teacher{'_quick' if quick else ''}.safetensors"
    if path.exists():
        return ep.load(path)
    train, _ = plain("held", quick)
    net = ep.lenet5(seed=7)
    trainer = ep.Trainer(net, selection=None, optimizer=ep.AdamW(1e-3, weight_decay=0.5))
    epochs = 1 if quick else TEACHER_EPOCHS
    trainer.fit(train, epochs=epochs, augment={"shift": 1}, progress=False)
    CACHE.mkdir(parents=True, exist_ok=True)
    net.save(path)
    return net


# ---- a run ---------------------------------------------------------------------------------------


def fitted(
    net: ep.Network, data: Any, images: int, epochs: int, batch: int, **settings: Any
) -> None:
    """Train a network on `data`; an epoch has `images` samples, even if `data` has more."""
    trainer = ep.Trainer(net, loss=ep.SoftCrossEntropy(), **settings)
    steps = -(-images // batch)
    trainer.fit(data, epochs=epochs, batch_size=batch, steps=steps, progress=False)


def selected(way: Way, seed: int, read: str, quick: bool) -> ep.Network:
    """Train a network under selection, or read the trained network from CACHE; return it."""
    text = json.dumps([asdict(way.before()), seed, read, quick], sort_keys=True)
    path = CACHE / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        return ep.load(path)
    inputs = {"inputs": way.pixels, "input_dropout": way.dropout}
    net = ep.mlp(*way.sizes, activation=way.activation, seed=seed, **inputs)
    budget = ep.Budget(macs=way.budget, by=0.5, start=way.pressure) if way.budget else None
    law = ep.Malthusian(lifespan=way.lifespan, ceiling=way.ceiling)
    images = len(plain(read, quick)[0])
    fitted(
        net,
        seen(way.moved, way.teacher, read, quick),
        images,
        way.epochs,
        way.batch,
        optimizer=ep.AdamW(way.rate, weight_decay=way.decay),
        selection=ep.Selection(budget or way.pressure, dynamics=law, niche=way.niche),
    )
    CACHE.mkdir(parents=True, exist_ok=True)
    net.save(path)
    return net


def tried(way: Way, seed: int, read: str, quick: bool) -> Row:
    """Train a network as `way` says; return its accuracy, sizes and costs, and the seconds."""
    began = time.monotonic()
    net = selected(way, seed, read, quick)
    row = facts(net, jobs.data_of("mnist", read, quick)[1])
    if way.alone:
        row["before"], net = row["accuracy"], net.folded()
        fitted(
            net,
            seen(way.moved, way.alone_teacher, read, quick),
            len(plain(read, quick)[0]),
            way.alone,
            way.alone_batch,
            optimizer=ep.AdamW(way.alone_rate, weight_decay=way.alone_decay),
            selection=None,
        )
        alone = facts(net, jobs.data_of("mnist", read, quick)[1])
        row |= {"accuracy": alone["accuracy"], "macs": alone["macs"]}
    return row | {"seconds": round(time.monotonic() - began, 1)}


def facts(net: ep.Network, read: Any) -> Row:
    """Return accuracy on the data `read`, sizes and costs of a network.

    `net.evaluate` cannot be used, because the loss of the network takes class probabilities.
    """
    right = net.predict(read).argmax(1) == read.batch()[1]
    return {
        "accuracy": float(right.mean()),
        "alive": list(net.alive.values()),
        "born": list(net.born.values()),
        "macs": net.macs,
        "parameters": net.parameters,
    }


# ---- ideas ---------------------------------------------------------------------------------------


def few(pressure: float, epochs: int = 80, dropout: float = 0.2, **more: Any) -> Way:
    """Return a `Way` for the goal "alive": few living populations, on images without shifts."""
    net = {"sizes": (784, 512, 256, 10), "pixels": False, "moved": False, "niche": "layer"}
    time = {"epochs": epochs, "lifespan": None}
    return Way(pressure=pressure, dropout=dropout, **net, **time, **more)


def cheap(pressure: float = 2.25, epochs: int = 240, **more: Any) -> Way:
    """Return a `Way` for the goal "macs", with GELU; about six lifespans in a run."""
    lifespan = 2000 * epochs // 60
    settings = {"activation": "gelu", "lifespan": lifespan, **more}
    return Way(pressure=pressure, epochs=epochs, **settings)


def alone(way: Way, epochs: int = 60, teacher: Teacher | None = None, **more: Any) -> Way:
    """Return `way` with `epochs` further epochs, without selection.

    `more` may set the rate, decay and batch of these epochs.
    """
    steps = {"rate": 2e-3, "decay": 0.02, "batch": 64, **more}
    settings = {f"alone_{name}": value for name, value in steps.items()}
    return replace(way, alone=epochs, alone_teacher=teacher, **settings)


SOFT = (2.0, 0.7)
TAUGHT = Way(teacher=SOFT)
TAUGHT_GELU = Way(activation="gelu", teacher=SOFT)
BUDGET = Way(activation="gelu", budget=9450, pressure=2.4)
WIDE = {"batch": 128, "decay": 0.0}
# Goal -> name of an idea -> (how the idea is trained, number of seeds).
IDEAS: dict[str, dict[str, tuple[Way, int]]] = {
    "macs": {
        "60 epochs, pressure 2": (Way(), 1),
        "with a teacher": (TAUGHT, 1),
        "with a teacher, 60 alone": (alone(TAUGHT, 60, SOFT, **WIDE), 1),
        "with a teacher, 60 alone at rate 4e-3": (
            alone(TAUGHT, 60, SOFT, batch=128, decay=0.05, rate=4e-3),
            1,
        ),
        "with a teacher, 240 alone": (alone(TAUGHT, 240, SOFT, batch=128, decay=0.05), 1),
        "with a teacher, ceiling 10, lifespan 4000": (
            replace(TAUGHT, ceiling=10, lifespan=4000),
            1,
        ),
        "gelu, with a teacher": (TAUGHT_GELU, 1),
        "gelu, with a teacher, 60 alone": (alone(TAUGHT_GELU, 60, SOFT, **WIDE), 1),
        "gelu, pressure 2.1, then 240 alone with a teacher": (
            alone(cheap(2.1, 60), 240, SOFT),
            1,
        ),
        "gelu, Budget": (BUDGET, 1),
        "silu, Budget": (replace(BUDGET, activation="silu"), 1),
        "gelu, Budget, batch 64": (replace(BUDGET, batch=64, lifespan=4000), 1),
        "gelu, Budget, rate 4e-3, decay 0.25": (replace(BUDGET, rate=4e-3, decay=0.25), 1),
        "gelu, Budget, 120 epochs": (replace(BUDGET, epochs=120, lifespan=4000), 1),
        "gelu, Budget, 60 alone, batch 128, rate 4e-3": (
            alone(BUDGET, rate=4e-3, batch=128, decay=0.0),
            1,
        ),
        "gelu, Budget, 60 alone, batch 64": (alone(BUDGET), 1),
        "240 epochs, pressure 2.25, then 60 alone": (alone(cheap(activation="relu")), 1),
        "240 epochs, gelu, then 60 alone": (alone(cheap()), 1),
        "the same, rate 4e-3": (alone(cheap(), rate=4e-3), 1),
        "the same, decay 0.1": (alone(cheap(), decay=0.1), 1),
        "the same, batch 32": (alone(cheap(), batch=32), 1),
        "the same for 240 epochs": (alone(cheap(), 240), 1),
        "240 epochs, gelu, then 60 alone with a teacher": (alone(cheap(), 60, SOFT), 2),
        "the same, temperature 4, share 0.9": (alone(cheap(), 60, (4, 0.9)), 1),
        "the same, temperature 2, share 1": (alone(cheap(), 60, (2, 1.0)), 1),
        "the same, temperature 1, share 0.7": (alone(cheap(), 60, (1, 0.7)), 1),
        "240 epochs, gelu, then 240 alone with a teacher": (alone(cheap(), 240, SOFT), 2),
        "480 epochs, gelu": (cheap(epochs=480), 1),
    },
    "alive": {
        "60 epochs, pressure 3.5": (few(3.5, 60), 1),
        "80 epochs, pressure 3.4": (few(3.4), 1),
        "pressure 3.4, input dropout 0.3": (few(3.4, dropout=0.3), 1),
        "pressure 3.3": (few(3.3), 1),
        "pressure 3.2": (few(3.2), 1),
        "gelu, pressure 3.6": (few(3.6, activation="gelu"), 1),
        "gelu, pressure 3.4": (few(3.4, activation="gelu"), 1),
        "gelu, pressure 3.2": (few(3.2, activation="gelu"), 1),
    },
}
CHOSEN: dict[str, dict[str, Way]] = {
    "macs": {
        "240 epochs, pressure 2.25, one niche, gelu, shift 1, then 240 alone with a teacher": alone(
            cheap(), 240, SOFT
        )
    },
    "alive": {
        "80 epochs, pressure 3.4, input dropout 0.2, gelu": few(3.4, activation="gelu"),
    },
}


def summed(lab_: Lab, name: str, way: Way, read: str, seeds: Sequence[int]) -> Row:
    """Train with every seed that has no stored result for `way`; return a summary of all seeds."""
    runs = lab_.facts.setdefault("runs", [])
    rows = []
    for seed in seeds:
        key = {"way": json.loads(json.dumps(way.told())), "read": read, "seed": seed}
        known = [row for row in runs if key.items() <= row.items()]
        if not known:
            lab_.check_time()
            known = [key | tried(way, seed, read, lab_.options.quick)]
            runs += known
            print(f"{100 * known[0]['accuracy']:.2f} % {known[0]['macs']:.0f} {name}", flush=True)
            lab_.write(runs=runs)
        rows += known
    before = {"before": lab.mean(row["before"] for row in rows)} if way.alone else {}
    return {"settings": name, "way": way.told(), **lab.summary(rows), **before}


def script(lab_: Lab) -> None:
    quick = lab_.options.quick
    for goal in ("alive", "macs"):
        told = {"held": [], "test": []}
        for name, (way, n) in IDEAS[goal].items():
            told["held"].append(summed(lab_, name, way, "held", HELD_SEEDS[: 1 if quick else n]))
        for name, way in CHOSEN[goal].items():
            told["test"].append(summed(lab_, name, way, "test", TEST_SEEDS[: 1 if quick else 5]))
        lab_.write(**{goal: told})


if __name__ == "__main__":
    lab.main("smallest", __doc__, script)

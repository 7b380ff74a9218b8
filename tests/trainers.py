"""Small runs of a Trainer in which many populations die, for tests of trainers and histories.

tests/runs.py is the counterpart for the core alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pytest

import evoprune as ep

quiet = pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")

CLOCKS = ("ms_per_step", "seconds", "floor_reached")  # columns that may differ in equal runs


def data(n=240, features=12, classes=3, seed=0):
    """Return samples in linearly separable classes."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)).astype(np.float32)
    return x, (x @ random.standard_normal((features, classes))).argmax(1)


def make(seed=1, **settings):
    """Return a trainer under which many populations die within 100 steps."""
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=20), min_age=10)
    settings = {"selection": selection, "optimizer": ep.AdamW(3e-3, weight_decay=0.3)} | settings
    return ep.Trainer(ep.mlp(12, 24, 16, 3, seed=seed), **settings)


def fit(trainer, xy=None, epochs=10, batch=48, **settings):
    return trainer.fit(
        data() if xy is None else xy,
        **{"epochs": epochs, "batch_size": batch, "progress": False, **settings},
    )


class Batches:
    """Batches of 48 samples, the same in every epoch; `begun` counts the passes through them."""

    def __init__(self, xy, length=5):
        self.xy, self.length, self.begun = xy, length, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        x, y = self.xy
        for at in range(0, len(x), 48):
            yield [x[at : at + 48], y[at : at + 48]]


def same(a, b):
    """Assert that two trainers have bit-identical networks and histories."""
    one, other = a.network, b.network
    assert one.alive == other.alive
    assert (one.step, one.generation) == (other.step, other.generation)
    for name in one:
        assert np.array_equal(one[name], other[name]), name
    for left, right in zip(one.moments, other.moments, strict=True):
        for name in one:
            assert np.array_equal(left[name], right[name]), name
    same_history(a.history, b.history, apart=CLOCKS)


def same_history(a: ep.History, b: ep.History, apart: Collection[str] = ()):
    """Assert that two histories are equal except in the columns `apart`."""
    assert list(a) == list(b)
    for name in a:
        assert name in apart or np.array_equal(a[name], b[name], equal_nan=True), name
    for name in ("record_steps", "batch_losses"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in ("layers", "born", "per_epoch", "record_every", "settings"):
        assert getattr(a, name) == getattr(b, name), name
    for quantity in ("mass", "fitness", "upkeep"):
        pair = a.trajectories(quantity), b.trajectories(quantity)
        assert np.array_equal(*pair, equal_nan=True), quantity
    for name in a.extinctions.dtype.names:
        rows = a.extinctions[name], b.extinctions[name]
        assert np.array_equal(*rows, equal_nan=name != "layer"), name

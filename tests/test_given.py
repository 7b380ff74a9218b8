"""A resumed run keeps the arguments of `fit`, or requires them again."""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep

random = np.random.default_rng(0)
X = random.normal(size=(120, 4)).astype(np.float32)
Y = (X[:, 0] > 0.5).astype(int)
CLOCKED = {"seconds", "ms_per_step"}


def spread(targets, outputs):
    return float(outputs.std())


def trainer():
    law = ep.Malthusian(lifespan=8)
    return ep.Trainer(ep.mlp(4, 16, 4, seed=3), selection=ep.Selection(dynamics=law, min_age=3))


def result(trainer):
    """Return all arrays of the network, and all columns of the history except times."""
    network, history = trainer.network, trainer.history
    return {name: network[name].tobytes() for name in network}, {
        name: history[name].tobytes() for name in history if name not in CLOCKED
    }


def fit(trainer, **more):
    trainer.fit(X, Y, epochs=5, batch_size=16, validation_split=0.25, progress=False, **more)


SETTINGS = {
    "balanced": {"class_weights": "balanced"},
    "by class": {"class_weights": {np.int64(1): 4.0}},
    "metrics": {"metrics": ["f1", "auc", "top3"]},
    "a name of one's own": {"metrics": {"score": "f1"}, "training_metrics": True},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_resumed_run_keeps_what_it_was_given(settings, tmp_path):
    whole, first, second = trainer(), trainer(), trainer()
    fit(whole, **settings)
    fit(first, until=2.4, **settings)
    first.save(tmp_path / "state.safetensors")
    second.restore(tmp_path / "state.safetensors")
    second.resume(X, Y, progress=False)
    assert result(second) == result(whole)
    without = trainer()
    fit(without)
    assert result(without) != result(whole)


def test_resume_needs_sample_weights_and_functions_again():
    weights = random.random(len(X))
    whole, parts = trainer(), trainer()
    fit(whole, sample_weight=weights, metrics=spread)
    fit(parts, sample_weight=weights, metrics=spread, until=2.4)
    before = result(parts)
    for more, text in (
        ({"metrics": spread}, "sample_weight: expected the weights of samples .*, got none"),
        ({"sample_weight": weights}, "metrics: expected spread again"),
    ):
        with pytest.raises(ValueError, match=text):
            parts.resume(X, Y, progress=False, **more)
    assert result(parts) == before
    parts.resume(X, Y, sample_weight=weights, metrics=spread, progress=False)
    assert result(parts) == result(whole)


def test_sample_weights_cannot_begin_in_the_middle():
    parts = trainer()
    fit(parts, until=1)
    with pytest.raises(ValueError, match="sample_weight: expected none, as the run began with"):
        parts.resume(X, Y, sample_weight=np.ones(len(X)), progress=False)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"class_weights": {"1": 2}}, "run: class_weights: expected pairs"),
        ({"class_weights": [[1]]}, "run: class_weights: expected a class and a weight"),
        ({"class_weights": [[1, -2.0]]}, "run: class_weights: weight: expected"),
        ({"class_weights": [[1.5, 2.0]]}, "run: class_weights: class: expected a whole number"),
        ({"weighted": 1}, "run: weighted: expected true or false"),
        ({"metrics": ["f1"]}, "run: metrics: expected a dict"),
        ({"metrics": {"f1": "f2"}}, "run: metrics: f1: expected a metric or null"),
        ({"training_metrics": True}, "run: training_metrics: expected false without metrics"),
    ],
)
def test_impossible_facts_are_refused(facts, text):
    parts = trainer()
    fit(parts, until=1)
    state = parts.state()
    state["run"] |= facts
    with pytest.raises((ValueError, TypeError), match=text):
        parts.restore(state)

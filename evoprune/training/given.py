"""Arguments of `fit` that also apply to `resume`, unless `resume` is called with other values.

A run stores them as plain values. For arrays and functions it stores only that they were given;
they must be passed to `resume` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.checks import items, number, whole
from evoprune.data.inputs import same_columns
from evoprune.training.feed import Feed
from evoprune.training.metrics import Measures, Metrics, is_name, measures, name_of
from evoprune.training.weights import ClassWeights

if TYPE_CHECKING:
    from evoprune.nets.network import Network
    from evoprune.training.run import Run

__all__ = ["check_given", "check_same", "given", "kept"]


def given(
    sample_weight: ArrayLike | None, class_weights: ClassWeights | None, measured: Measures
) -> dict[str, Any]:
    """Return the fields of a `Run` that hold these arguments."""
    if isinstance(class_weights, Mapping):
        pairs = [[_plain(key), float(weight)] for key, weight in class_weights.items()]
    return {
        "weighted": sample_weight is not None,
        "class_weights": pairs if isinstance(class_weights, Mapping) else class_weights,
        "metrics": {column: name_of(metric) for column, metric in measured.metrics.items()},
        "training_metrics": measured.training,
    }


def kept(
    run: Run,
    sample_weight: ArrayLike | None,
    class_weights: ClassWeights | None,
    metrics: Metrics,
    training_metrics: bool | None,
) -> tuple[ClassWeights | None, Measures]:
    """Return class weights and metrics for the rest of a run: the given ones, else the stored ones.

    Raises:
        ValueError: sample weights, or a metric that is a function, were given when the run began,
            but not now; or sample weights are given only now.
    """
    if run.weighted != (sample_weight is not None):
        began = "the weights of samples that" if run.weighted else "none, as"
        got = "none" if sample_weight is None else "some"
        raise ValueError(f"sample_weight: expected {began} the run began with, got {got}")
    if class_weights is None and run.class_weights is not None:
        class_weights = _by_class(run.class_weights)
    if not isinstance(metrics, str | Mapping) and not callable(metrics):
        metrics = items("metrics", metrics)
    if not metrics and run.metrics:
        functions = [column for column, name in run.metrics.items() if name is None]
        if functions:
            raise ValueError(
                f"metrics: expected {', '.join(functions)} again, which the run began with; a "
                "function is not part of a trainer's state"
            )
        metrics = {column: name for column, name in run.metrics.items() if name is not None}
    training = run.training_metrics if training_metrics is None else training_metrics
    return class_weights, measures(metrics, training)


def check_same(run: Run, feed: Feed, network: Network) -> None:
    """Check that a run continues with data of the same size and columns as at its start.

    Raises:
        ValueError: the number of batches or samples, or a column of a data frame, differs.
    """
    if feed.per_epoch != run.per_epoch:
        raise ValueError(
            f"data: expected {run.per_epoch} batches per epoch, as the run began with, got "
            f"{feed.per_epoch}"
        )
    if run.samples is not None and feed.samples not in (None, run.samples):
        raise ValueError(
            f"data: expected {run.samples} samples ({run.per_epoch} batches per epoch), as the run "
            f"began with, got {feed.samples}"
        )
    if feed.data is not None:
        same_columns("data", feed.data.features, network.feature_names)


def check_given(run: Run) -> None:
    """Check the fields of a run that was read from a file.

    Raises:
        ValueError, TypeError: a value is invalid; the message names it.
    """
    for name in ("weighted", "training_metrics"):
        if not isinstance(getattr(run, name), bool):
            raise TypeError(f"run: {name}: expected true or false, got {getattr(run, name)!r}")
    if not isinstance(run.metrics, dict):
        raise TypeError(f"run: metrics: expected a dict, got {run.metrics!r}")
    for column, metric in run.metrics.items():
        if metric is not None and not is_name(metric):
            raise ValueError(f"run: metrics: {column}: expected a metric or null, got {metric!r}")
    if run.training_metrics and not run.metrics:
        raise ValueError("run: training_metrics: expected false without metrics, got true")
    if run.class_weights is None or run.class_weights == "balanced":
        return
    if not isinstance(run.class_weights, list):
        raise TypeError(f"run: class_weights: expected pairs, got {run.class_weights!r}")
    for pair in run.class_weights:
        if not isinstance(pair, list) or len(pair) != 2:
            raise TypeError(f"run: class_weights: expected a class and a weight, got {pair!r}")
        if not isinstance(pair[0], str):
            whole("run: class_weights: class", pair[0], 0)
        number("run: class_weights: weight", pair[1], 0, 1e300)


def _by_class(stored: str | list[Any]) -> ClassWeights:
    return "balanced" if isinstance(stored, str) else dict(stored)


def _plain(key: Any) -> int | str:
    return int(key) if isinstance(key, int | np.integer) else str(key)

"""Metrics: named measures of the quality of predictions, from targets and outputs.

They are computed in NumPy over all samples of a set at once. A metric is a function of targets and
of the network's outputs (logits for classes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from evoprune.common.types import Array

__all__ = ["METRICS", "Measures", "Metric", "Metrics", "measures", "named", "rises"]

Metric: TypeAlias = Callable[[Array, Array], float]
"""A function that takes targets (n,) or (n, k) and the network's outputs (n, k)."""

Metrics: TypeAlias = str | Metric | Iterable[str | Metric] | Mapping[str, "str | Metric"]
"""One metric (name or function), several, or a dict of them by column name."""


def _classes(targets: Array, outputs: Array) -> tuple[Array, Array]:
    """Return flat class codes of targets and predictions, without those whose target is -1."""
    if outputs.ndim < 2 or targets.shape != outputs.shape[:-1]:
        if targets.shape != outputs.shape or outputs.shape[-1] < 2:
            raise ValueError(
                f"expected class numbers for outputs of shape {outputs.shape}, "
                f"got targets of shape {targets.shape}"
            )
        targets = targets.argmax(axis=-1)  # targets are class probabilities or one-hot
    targets, found = targets.ravel(), outputs.argmax(axis=-1).ravel()
    known = targets >= 0
    return targets[known].astype(np.int64), found[known]


def accuracy(targets: Array, outputs: Array) -> float:
    """Return the share of correct predictions."""
    right, found = _classes(targets, outputs)
    return float((right == found).mean())


def top(k: int) -> Metric:
    """Return a metric: the share of samples whose class is in the top k outputs.

    Of classes with equal outputs, those with lower codes come first.
    """

    def metric(targets: Array, outputs: Array) -> float:
        right, _ = _classes(targets, outputs)
        rows = outputs.reshape(-1, outputs.shape[-1])[targets.ravel() >= 0]
        chosen = np.argsort(-rows, axis=1, kind="stable")[:, :k]
        return float((chosen == right[:, None]).any(axis=1).mean())

    metric.__name__ = f"top{k}"
    return metric


def balanced_accuracy(targets: Array, outputs: Array) -> float:
    """Return the recall averaged over the classes that occur in the targets."""
    right, found = _classes(targets, outputs)
    hits = np.bincount(right, right == found)
    counts = np.bincount(right)
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def f1(targets: Array, outputs: Array) -> float:
    """Return F1 averaged over the classes that occur or are predicted."""
    right, found = _classes(targets, outputs)
    n = outputs.shape[-1]
    both = np.bincount(right[right == found], minlength=n)
    either = np.bincount(right, minlength=n) + np.bincount(found, minlength=n)
    return float((2 * both[either > 0] / either[either > 0]).mean())


def auc(targets: Array, outputs: Array) -> float:
    """Return the area under the ROC curve; with more than 2 classes, the one-vs-rest mean.

    NaN if a class does not occur in the targets.
    """
    if targets.shape == outputs.shape:
        columns = [(targets[:, k] > 0.5, outputs[:, k]) for k in range(outputs.shape[1])]
    elif outputs.shape[-1] == 2:
        columns = [(targets == 1, outputs[:, 1] - outputs[:, 0])]
    else:
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        columns = [(targets == k, chances[:, k]) for k in range(outputs.shape[1])]
    return float(np.mean([_area(positive, score) for positive, score in columns]))


def _area(positive: Array, score: Array) -> float:
    """Return the share of pairs in which a positive outscores a negative; ties count half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place.ravel()]
    ones = int(positive.sum())
    others = len(positive) - ones
    if not ones or not others:
        return float("nan")
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * others))


def _values(targets: Array, outputs: Array) -> tuple[Array, Array]:
    right = targets.astype(np.float64).reshape(len(targets), -1)
    found = outputs.astype(np.float64).reshape(len(outputs), -1)
    if right.shape != found.shape:
        raise ValueError(
            f"expected values for outputs of shape {found.shape}, got targets of shape "
            f"{right.shape}"
        )
    return right, found


def r2(targets: Array, outputs: Array) -> float:
    """Return R^2, averaged over the outputs.

    For one output with targets y and predictions p, R^2 = 1 - sum (y - p)^2 / sum (y - mean(y))^2.
    If all y are equal, it is 1 without errors and 0 otherwise.
    """
    right, found = _values(targets, outputs)
    errors = ((right - found) ** 2).sum(axis=0)
    spread = ((right - right.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(spread > 0, 1 - errors / spread, np.where(errors > 0, 0.0, 1.0))
    return float(shares.mean())


def mae(targets: Array, outputs: Array) -> float:
    """Return the mean absolute error."""
    right, found = _values(targets, outputs)
    return float(np.abs(right - found).mean())


def rmse(targets: Array, outputs: Array) -> float:
    """Return the root mean squared error."""
    right, found = _values(targets, outputs)
    return float(np.sqrt(((right - found) ** 2).mean()))


METRICS: dict[str, Metric] = {
    m.__name__: m for m in (accuracy, top(5), balanced_accuracy, f1, auc, r2, mae, rmse)
}
FALLS = {"mae", "rmse"}
TOP = re.compile(r"top([1-9]\d{0,8})")  # names of the metrics that `top` returns


class Measures(NamedTuple):
    """The metrics of a run.

    Attributes:
        metrics: functions by name.
        training: True if they are also computed on the training data.
    """

    metrics: Mapping[str, Metric]
    training: bool = False

    def columns(self, validates: bool) -> list[str]:
        """Return the history columns of the metrics; `validates`: there is validation data."""
        prefixes = ["validation_"] * validates + ["training_"] * self.training
        return [prefix + name for prefix in prefixes for name in self.metrics]


def measures(metrics: Metrics, training: bool) -> Measures:
    """Return the metrics of a run, from the arguments `metrics` and `training_metrics` of `fit`.

    Raises:
        ValueError, TypeError: as for `named`; or `training` is set, and there are no metrics.
    """
    by_name = named(metrics)
    if training and not by_name:
        raise ValueError("training_metrics: expected metrics to compute on the training data")
    return Measures(by_name, bool(training))


def named(metrics: Metrics) -> dict[str, Metric]:
    """Return metrics by name, from names of METRICS, functions or a dict.

    Raises:
        ValueError: there is no metric of that name; the message lists all names.
        TypeError: a metric is neither a name nor a function.
    """
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    pairs: Iterable[tuple[Any, Any]]
    pairs = metrics.items() if isinstance(metrics, Mapping) else ((None, m) for m in metrics)
    found: dict[str, Metric] = {}
    for name, metric in pairs:
        if isinstance(metric, str):
            other = TOP.fullmatch(metric)
            if not is_name(metric):
                raise ValueError(
                    f"metrics: expected one of {', '.join(METRICS)} (or top2, top3, ...), or a "
                    f"function of targets and outputs, got {metric!r}"
                )
            found[name or metric] = top(int(other[1])) if other else METRICS[metric]
        elif callable(metric):
            found[name or getattr(metric, "__name__", type(metric).__name__)] = metric
        else:
            raise TypeError(f"metrics: expected names or functions, got {metric!r}")
    return found


def is_name(name: Any) -> bool:
    """True for a name in METRICS, and for "top2", "top3" and so on."""
    return isinstance(name, str) and (name in METRICS or TOP.fullmatch(name) is not None)


def name_of(metric: Metric) -> str | None:
    """Return the name of a metric of this module; None for other functions."""
    name = getattr(metric, "__name__", None)
    ours = getattr(metric, "__module__", None) == __name__ and is_name(name)
    return str(name) if ours else None


def rises(column: str) -> bool:
    """True if a higher value is better in the history column of this name."""
    name = column.removeprefix("validation_").removeprefix("training_")
    return "accuracy" in name or (is_name(name) and name not in FALLS)

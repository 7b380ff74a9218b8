"""scikit-learn's scorers as metrics: `metrics=[ep.scorer("balanced_accuracy")]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evoprune.bridges.extras import require

__all__ = ["scorer"]


def scorer(score: Any) -> Callable[[Any, Any], float]:
    """Return a metric that applies a scorer of scikit-learn.

    Args:
        score: a scorer made by `sklearn.metrics.make_scorer`, or the name of one that
            scikit-learn defines ("balanced_accuracy", "neg_log_loss", "average_precision", ...).
            Higher scores are better.

    Returns:
        A function of targets and outputs, named "accuracy_" + the scorer's name, so that callbacks
        treat higher values as better.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: no scorer of that name.
    """
    metrics = require("sklearn.metrics", "sklearn", "scorer")
    found = metrics.get_scorer(score)
    classifier, regressor = _estimators()

    def metric(targets: Any, outputs: Any) -> float:
        classes = np.issubdtype(np.asarray(targets).dtype, np.integer) and outputs.shape[1] > 1
        estimator = (classifier if classes else regressor)(outputs.shape[1])
        return float(found(estimator, outputs, targets))

    metric.__name__ = f"accuracy_{score}" if isinstance(score, str) else "accuracy_score"
    return metric


def _estimators() -> tuple[Any, Any]:
    """Return a classifier and a regressor class that take a network's outputs as X."""
    base = require("sklearn.base", "sklearn", "scorer")
    special = require("scipy.special", "sklearn", "scorer")

    class Classifier(base.ClassifierMixin, base.BaseEstimator):  # type: ignore[name-defined]
        def __init__(self, outputs: int) -> None:
            self.outputs = outputs
            self.classes_ = np.arange(outputs)

        def predict(self, X: Any) -> Any:
            return X.argmax(axis=1)

        def predict_proba(self, X: Any) -> Any:
            return special.softmax(X.astype(np.float64), axis=1)

        def decision_function(self, X: Any) -> Any:
            return X[:, 1] - X[:, 0] if self.outputs == 2 else X

    class Regressor(base.RegressorMixin, base.BaseEstimator):  # type: ignore[name-defined]
        def __init__(self, outputs: int) -> None:
            self.outputs = outputs

        def fit(self, X: Any, y: Any) -> Any:
            return self

        def predict(self, X: Any) -> Any:
            return X

    return Classifier, Regressor

"""Estimators for scikit-learn: networks under selection in pipelines, grids and cross-validation.

The module is imported when an estimator is first used. sklearn_base.py implements training.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np

import evoprune as ep
from evoprune.bridges.extras import require

require("sklearn", "sklearn", "EvoPruneClassifier, EvoPruneRegressor and EvoPruneSelector")

from scipy.special import expit, log_softmax, softmax  # noqa: E402
from sklearn.base import (  # noqa: E402
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
    is_regressor,
)
from sklearn.feature_selection import SelectorMixin  # noqa: E402
from sklearn.utils import check_scalar, compute_class_weight  # noqa: E402
from sklearn.utils.multiclass import (  # noqa: E402
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import (  # noqa: E402
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from evoprune.bridges.sklearn_base import Estimator, checked_weights, hashes, moments  # noqa: E402

FEW = 20  # minimum samples for training, and for validation, of a selector with several rounds
LEAST = 1e-9  # lower limit of a probability in a loss
# Each rise multiplies the pressure by RISE, up to MOST times the first pressure.
RISE, MOST = 1.5, 6.0

__all__ = ["EvoPruneClassifier", "EvoPruneRegressor", "EvoPruneSelector"]


class EvoPruneClassifier(ClassifierMixin, Estimator):
    """A multilayer perceptron whose neurons are under selection, as a scikit-learn classifier.

    Features are scaled inside. Targets may be class labels (n_samples,) of any type, or a matrix of
    0 and 1 (n_samples, n_labels) for several labels per sample.

    Args:
        hidden_layer_sizes: neurons born in every hidden layer.
        activation: identity, relu, leaky_relu, gelu, silu, tanh or sigmoid.
        pressure: fitness that a neuron needs to survive, relative to the mean of its layer: a
            number, a schedule or a `Budget`. Higher values leave fewer neurons.
        lifespan: generations from birth to extinction of a neuron with zero fitness. A value below
            1 is a share of the run; "auto" is in proportion to the run, see `Selection.timed`. With
            `partial_fit` the length of the run is unknown: shares and "auto" mean 700
            generations. With early_stopping, the run is taken to be all max_iter epochs.
        select_features: make input features populations too, which can become extinct.
        learning_rate_init: initial learning rate of AdamW; a cosine schedule lowers it to 0.
        weight_decay: weight decay of AdamW; "auto": 0.6, and less for more than 3,000 samples.
        batch_size: samples per step; "auto": a tenth of the samples, at most 32; or a hundredth of
            them, at most 256, if that is more.
        max_iter: number of epochs.
        early_stopping: validate on some of the samples, stop when the loss on them no longer
            falls, and restore the network with the lowest loss.
        validation_fraction: share of the samples used for validation, with early_stopping.
        n_iter_no_change: epochs without a lower loss before training stops, with early_stopping.
        warm_start: let `fit` continue training the network of the last call.
        random_state: a seed, a generator or None.
        verbose: show a progress bar.
        class_weight: a dict of weights by class, "balanced" or None.

    Attributes:
        network_: the trained `Network`; it scales raw features itself.
        history_: the `History` of the last run.
        classes_: class labels; for a matrix of several labels, the indices of its columns.
        loss_curve_: mean training loss of every epoch.
        n_iter_: epochs of the last run.
        n_features_in_, feature_names_in_: features of X, and their names if X had names.
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        pressure: Any = 0.8,
        lifespan: Any = "auto",
        select_features: bool = False,
        learning_rate_init: float = 4e-3,
        weight_decay: Any = "auto",
        batch_size: Any = "auto",
        max_iter: int = 120,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        class_weight: Any = None,
    ) -> None:  # scikit-learn reads the settings from this signature, so it lists all
        super().__init__(
            hidden_layer_sizes,
            activation,
            pressure=pressure,
            lifespan=lifespan,
            select_features=select_features,
            learning_rate_init=learning_rate_init,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on X and y, at a constant learning rate.

        The first call decides how features are scaled.

        Args:
            X: features (n_samples, n_features).
            y: targets.
            classes: all labels that any call will see; needed in the first call.
            sample_weight: as for `fit`.

        Returns:
            The estimator itself.
        """
        first = not self._is_fitted()
        if first and classes is None and type_of_target(y) != "multilabel-indicator":
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, first=first, one_epoch=True, classes=classes)

    def predict(self, X: Any) -> Any:
        """Predict labels (n_samples,), or (n_samples, n_labels) after a fit to such a matrix."""
        outputs = self._raw(X)
        if self._multilabel:
            return (outputs > 0).astype(int)
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Any:
        """Predict the probability of each class (n_samples, n_classes).

        After a fit to a matrix (n_samples, n_labels), predict the probability that each label is 1,
        in the shape of this matrix.
        """
        outputs = self._raw(X)
        return expit(outputs) if self._multilabel else softmax(outputs, axis=1)

    def predict_log_proba(self, X: Any) -> Any:
        """Predict the natural logarithm of each probability that `predict_proba` predicts."""
        outputs = self._raw(X)
        return -np.logaddexp(0, -outputs) if self._multilabel else log_softmax(outputs, axis=1)

    def _targets(self, y: Any, first: bool, classes: Any = None) -> Any:
        check_classification_targets(y)
        multilabel = type_of_target(y) == "multilabel-indicator"
        if y.ndim == 2 and y.shape[1] > 1 and not multilabel:
            raise ValueError(
                "y: expected labels (n_samples,) or 0 and 1 (n_samples, n_labels), "
                f"got several columns of classes, shape {y.shape}"
            )
        y = y if multilabel else column_or_1d(y, warn=True)
        labels = np.arange(y.shape[1]) if multilabel else unique_labels(y)
        if first:
            self._multilabel = multilabel
            self.classes_ = labels if classes is None else unique_labels(classes)
        unknown = np.setdiff1d(labels, self.classes_)
        if multilabel != self._multilabel or len(unknown):
            raise ValueError(
                f"y: expected labels among {self.classes_.tolist()}, as in the first call, "
                f"got {unknown.tolist() or type_of_target(y)}"
            )
        if multilabel:
            return np.ascontiguousarray(y, np.float32)
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _strata(self, y: Any) -> Any:
        return None if self._multilabel else y

    def _loss(self, y: Any, weights: Any) -> Any:
        if self._multilabel:
            if self.class_weight is not None:
                raise ValueError("class_weight: expected None for several labels per sample")
            return ep.BinaryCrossEntropy()
        if self.class_weight is None:
            return ep.CrossEntropy()
        class_weights = np.ones(len(self.classes_))
        if isinstance(self.class_weight, str) and weights is not None:
            totals = np.bincount(y, weights, len(self.classes_))
            there = totals > 0
            class_weights[there] = totals.sum() / (there.sum() * totals[there])
        else:
            there = np.unique(y)
            class_weights[there] = compute_class_weight(
                self.class_weight, classes=self.classes_[there], y=self.classes_[y]
            )
        return ep.CrossEntropy(class_weights=class_weights.tolist())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class EvoPruneRegressor(RegressorMixin, Estimator):
    """A multilayer perceptron whose neurons are under selection, as a scikit-learn regressor.

    Features and targets are scaled inside; targets may have several columns. The settings are those
    of `EvoPruneClassifier`, without class_weight; the pressure is lower, since a regression needs
    more neurons.

    Attributes:
        network_: the trained `Network`; it scales raw features itself, and gives scaled targets.
        target_mean_, target_scale_: prediction = output * target_scale_ + target_mean_, for an
            output of the network.
        history_, loss_curve_, n_iter_, n_features_in_, feature_names_in_: as for the classifier.
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on X and y, at a constant learning rate.

        The first call decides how features and targets are scaled.

        Args:
            X: features (n_samples, n_features).
            y: targets.
            sample_weight: as for `fit`.

        Returns:
            The estimator itself.
        """
        return self._fit(X, y, sample_weight, first=not self._is_fitted(), one_epoch=True)

    def predict(self, X: Any) -> Any:
        """Predict targets: (n_samples,) or (n_samples, n_outputs), like y in `fit`."""
        outputs = self._raw(X) * self.target_scale_ + self.target_mean_
        return outputs[:, 0] if self._flat else outputs

    def _targets(self, y: Any, first: bool, classes: Any = None) -> Any:
        flat, y = y.ndim == 1, np.asarray(y, np.float64).reshape(len(y), -1)
        if first:
            self._flat, self.n_outputs_ = flat, y.shape[1]
        if y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y: expected {self.n_outputs_} outputs, as in the first call, got {y.shape[1]}"
            )
        return y

    def _outputs(self) -> int:
        return int(self.n_outputs_)

    def _scale_targets(self, y: Any, weights: Any) -> None:
        self.target_mean_, inverse = moments(y, weights)
        self.target_scale_ = 1 / inverse

    def _scaled(self, y: Any) -> Any:
        return ((y - self.target_mean_) / self.target_scale_).astype(np.float32)

    def _loss(self, y: Any, weights: Any) -> Any:
        return ep.MeanSquaredError()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class EvoPruneSelector(SelectorMixin, MetaEstimatorMixin, BaseEstimator):
    """Select features by rounds of training in which unneeded features become extinct.

    Each round trains a new network on four fifths of the samples, with the features that survived
    the round before. If no feature becomes extinct, the next round has 1.5 times the pressure, up
    to about five times the first. The selected features are those of the round with the lowest loss
    on the other fifth; each loss is first averaged with those of the rounds before and after. The
    number of features need not be known.

    Args:
        estimator: an `EvoPruneClassifier` or `EvoPruneRegressor`, cloned and trained with input
            features as populations; None: the class that suits y, with its defaults.
        pressure: pressure of the first round; replaces the estimator's pressure. A `Budget` or a
            schedule applies to every round.
        lifespan: lifespan in every round; replaces the estimator's lifespan. The default is long,
            half of the round, since a network learns to use some features late.
        rounds: maximum number of rounds. With 1, one network is trained on all samples, and its
            surviving features are selected.
        random_state: random state of the default estimator.

    Attributes:
        estimator_: the estimator trained on the selected features of all samples.
        masses_: mass of every feature (n_features,), 0 for features that are not selected.
        rounds_: number of features and loss after each round; empty if rounds=1, or if there were
            too few samples to compare rounds.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        pressure: Any = 0.4,
        lifespan: Any = 0.5,
        rounds: int = 50,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.pressure = pressure
        self.lifespan = lifespan
        self.rounds = rounds
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Select features, and train the estimator on them.

        Args:
            X: features (n_samples, n_features).
            y: targets.
            sample_weight: as for the estimator.

        Returns:
            The selector itself.
        """
        check_scalar(self.rounds, "rounds", Integral, min_val=1)
        X, y = validate_data(self, X, y, multi_output=True, dtype=[np.float64, np.float32])
        if self.estimator is None:
            continuous = type_of_target(y).startswith("continuous")
            kind = EvoPruneRegressor if continuous else EvoPruneClassifier
            estimator = kind(random_state=self.random_state)
        else:
            estimator = clone(self.estimator)
        weights = None if sample_weight is None else checked_weights(sample_weight, X)
        self.masses_ = self._select(estimator, X, y, weights)
        chosen = self.masses_ > 0
        self.estimator_ = estimator.fit(X[:, chosen], y, sample_weight=weights)
        return self

    def _select(self, estimator: Any, X: Any, y: Any, weights: Any) -> Any:
        """Return the masses of the selected features (n_features,), 0 for the others.

        A hash of each sample decides whether it is in the training or the validation part, so that
        the order of samples does not matter.
        """
        self.rounds_: list[tuple[int, float]] = []
        seeker = clone(estimator).set_params(
            select_features=True, pressure=self.pressure, lifespan=self.lifespan
        )
        held = (hashes(X, _codes(y)) >> np.uint64(40)) % 5 == 0
        counted = np.ones(len(X)) if weights is None else weights
        learn, rounds = ~held, self.rounds
        if min((counted[held] > 0).sum(), (counted[learn] > 0).sum()) < FEW or (
            not is_regressor(estimator)
            and y.ndim == 1
            and len(np.unique(y[learn & (counted > 0)])) < len(np.unique(y[counted > 0]))
        ):
            rounds = 1
        if rounds == 1:
            learn = np.ones(len(X), bool)
        found, left = [], np.arange(X.shape[1])
        for _ in range(rounds):
            part = None if weights is None else weights[learn]
            seeker.fit(X[learn][:, left], y[learn], sample_weight=part)
            network = seeker.network_
            staying = left[network.births("features")]
            masses = np.zeros(X.shape[1])
            masses[staying] = network["features.mass"]
            found.append(masses)
            if rounds > 1:
                loss = _loss_of(seeker, X[held][:, left], y[held], counted[held])
                self.rounds_.append((len(staying), loss))
            if len(staying) == len(left) and not self._raise(seeker):
                break
            left = staying
        return found[_lowest([loss for _, loss in self.rounds_])]

    def _raise(self, seeker: Any) -> bool:
        """Raise the seeker's pressure by the factor RISE; return True if the next round may use it.

        Return False if `self.pressure` is 0 or not a number, or if the raised pressure is more than
        MOST * `self.pressure`.
        """
        if not isinstance(self.pressure, Real):
            return False
        seeker.set_params(pressure=RISE * seeker.pressure)
        return bool(0 < seeker.pressure <= MOST * self.pressure)

    def _get_support_mask(self) -> Any:
        check_is_fitted(self, "estimator_")
        return self.masses_ > 0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _lowest(losses: list[float]) -> int:
    """Return the index i of the round with the lowest smoothed loss; 0 if there are no losses.

    The smoothed loss is (l[i - 1] + 2 l[i] + l[i + 1]) / 4 for the losses l; at the ends, l[i]
    replaces the missing one. A single loss is too noisy: the lowest of many losses often belongs to
    a lucky network.
    """
    padded = np.pad(losses, 1, mode="edge") if losses else np.zeros(3)
    return int((padded[:-2] + 2 * padded[1:-1] + padded[2:]).argmin())


def _codes(y: Any) -> Any:
    """Return for each target its index among the sorted distinct targets, in the shape of y."""
    return np.unique(y, return_inverse=True)[1].reshape(np.shape(y))


def _loss_of(estimator: Any, X: Any, y: Any, weights: Any) -> float:
    """Return the mean loss of samples: squared error, or -log of the target's probability."""
    if is_regressor(estimator):
        errors = (estimator.predict(X).reshape(len(X), -1) - y.reshape(len(X), -1)) ** 2
        losses = errors.mean(axis=1)
    elif y.ndim > 1 and y.shape[1] > 1:
        shares = estimator.predict_proba(X)
        losses = -np.log(np.clip(np.where(y > 0, shares, 1 - shares), LEAST, 1)).mean(axis=1)
    else:
        shares = estimator.predict_proba(X)
        true = np.searchsorted(estimator.classes_, np.ravel(y))
        losses = -np.log(np.clip(shares[np.arange(len(X)), true], LEAST, 1))
    return float(np.average(losses, weights=weights))

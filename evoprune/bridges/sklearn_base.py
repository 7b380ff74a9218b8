"""Shared code of the scikit-learn estimators: from X and y to a trained network.

It chooses the settings that a trainer leaves open: order of samples, scaling and batch size. Each
estimator converts its own targets.
"""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    check_scalar,
)
from sklearn.utils.validation import check_is_fitted, validate_data

import evoprune as ep

__all__ = ["Estimator", "checked_weights", "hashes", "moments"]

BATCH, SHARE = 32, 10  # maximum samples per step; minimum steps per epoch
GROWS = 100  # maximum steps per epoch, until the batch size reaches 8 * BATCH
DECAY, DECAY_SAMPLES = 0.6, 3000  # weight decay; above DECAY_SAMPLES, it falls as 1 / samples
MOST_REPEATS = 64  # maximum mean of integer sample weights that are implemented by repeating rows


class Estimator(BaseEstimator):
    """Base class of the classifier and the regressor, with the defaults of the regressor."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        pressure: Any = 0.5,
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
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.pressure = pressure
        self.lifespan = lifespan
        self.select_features = select_features
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # ---- targets, by kind of estimator -------------------------------------------------------

    def _targets(self, y: Any, first: bool, classes: Any = None) -> Any:
        """Return targets in the network's form; `first` is False if training continues."""
        raise NotImplementedError

    def _outputs(self) -> int:
        raise NotImplementedError

    def _loss(self, y: Any, weights: Any) -> Any:
        raise NotImplementedError

    def _scale_targets(self, y: Any, weights: Any) -> None:
        """Store mean and deviation of the targets of a first fit."""

    def _scaled(self, y: Any) -> Any:
        return y

    def _strata(self, y: Any) -> Any:
        """Return the labels for a stratified validation split; None for a plain random split."""
        return None

    # ---- training ----------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a network on X and y.

        The order of the samples does not affect the result: they are sorted first, and then drawn
        in an order that depends only on `random_state`.

        Args:
            X: features (n_samples, n_features).
            y: targets (n_samples,) or (n_samples, n_outputs).
            sample_weight: (n_samples,), at least 0; a whole number n counts as n samples.

        Returns:
            The estimator itself.
        """
        return self._fit(X, y, sample_weight, first=not (self.warm_start and self._is_fitted()))

    def _is_fitted(self) -> bool:
        return hasattr(self, "network_")

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        first: bool,
        one_epoch: bool = False,
        classes: Any = None,
    ) -> Self:
        self._check_settings()
        X, y = validate_data(
            self,
            X,
            y,
            reset=first,
            multi_output=True,
            y_numeric=not is_classifier(self),
            dtype=[np.float64, np.float32],
        )
        y = self._targets(y, first, classes)
        weights = None
        if sample_weight is not None:
            weights = checked_weights(sample_weight, X)
        random = check_random_state(self.random_state)
        seed = random.randint(2**31 - 1)
        order = _order(X, y)
        X, y = np.asarray(X[order], np.float64), y[order]
        rows, held_out = np.arange(len(X)), None
        if self.early_stopping and not one_epoch:
            rows, held_out = self._split(y, seed)
        rows, weights = _drawn(rows, None if weights is None else weights[order])
        if first:
            self._scale_targets(y[rows], weights)
            self._scaling = moments(X[rows], weights)
            self.network_ = ep.mlp(
                X.shape[1],
                *self._sizes(),
                self._outputs(),
                activation=cast(Any, self.activation),  # checked by mlp
                inputs=self.select_features,
                seed=seed,
            )
            self.loss_curve_: list[float] = []
        data = ep.datasets.Dataset(
            X.astype(np.float32), self._scaled(y), shift=self._scaling[0], scale=self._scaling[1]
        )
        self._train(
            data.subset(rows),
            None if held_out is None else data.subset(held_out),
            self._loss(y[rows], weights),
            one_epoch,
            weights,
        )
        return self

    def _train(self, data: Any, held_out: Any, loss: Any, one_epoch: bool, weights: Any) -> None:
        batch = _batch(len(data)) if self.batch_size == "auto" else self.batch_size
        batch = min(batch, len(data))
        epochs = 1 if one_epoch else self.max_iter
        decay = self.weight_decay
        if decay == "auto":
            decay = DECAY * min(1.0, DECAY_SAMPLES / len(data))
        schedule = ep.schedules.constant if one_epoch else ep.schedules.cosine
        rate = schedule(self.learning_rate_init)
        steps = epochs * -(-len(data) // batch)
        trainer = ep.Trainer(
            self.network_,
            loss=loss,
            optimizer=ep.AdamW(rate, weight_decay=decay),
            selection=self._selection(one_epoch, rate(steps)),
        )
        callbacks = []
        if held_out is not None:
            callbacks = [ep.EarlyStopping(patience=self.n_iter_no_change, restore=True)]
        with warnings.catch_warnings():
            if one_epoch:  # one epoch may be too short for extinctions; more can follow
                warnings.simplefilter("ignore", ep.NothingCanDie)
            self.history_ = trainer.fit(
                data,
                epochs=epochs,
                batch_size=batch,
                validation_data=held_out,
                callbacks=callbacks,
                sample_weight=weights,
                progress=self.verbose,
            )
        self.n_iter_ = self.history_.epochs_done
        self.loss_curve_ = [*self.loss_curve_, *self.history_["loss"].tolist()]
        self.loss_ = self.loss_curve_[-1]

    def _selection(self, one_epoch: bool, rates: Any) -> Any:
        """Return the selection with a lifespan for the run; `rates`: learning rates (steps,)."""
        lifespan = None if self.lifespan == "auto" else self.lifespan
        selection = ep.Selection(pressure=self.pressure)
        if lifespan is not None and lifespan < 1:  # given as a share of the run
            generations = selection.strengths(len(rates), rates).sum()
            lifespan = None if one_epoch else max(1.0, float(round(lifespan * generations)))
        selection = selection.replace(dynamics=ep.Malthusian(lifespan=lifespan))
        # With partial_fit the length of the run is unknown; timed() sets a lifespan for that case.
        return selection.timed() if one_epoch else selection

    def _split(self, y: Any, seed: int) -> Any:
        """Split row numbers into those to train on and those to validate on."""
        rows, strata = np.arange(len(y)), self._strata(y)
        try:
            parts = train_test_split(
                rows, test_size=self.validation_fraction, random_state=seed, stratify=strata
            )
        except ValueError:  # a class with too few samples
            parts = train_test_split(rows, test_size=self.validation_fraction, random_state=seed)
        return [np.sort(part) for part in parts]

    def _sizes(self) -> list[int]:
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes))
        if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes < 1).any():
            raise ValueError(
                "hidden_layer_sizes: expected whole numbers of at least 1, "
                f"got {self.hidden_layer_sizes!r}"
            )
        return [int(n) for n in sizes]

    def _check_settings(self) -> None:
        self._sizes()
        for name in ("max_iter", "n_iter_no_change"):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        if self.batch_size != "auto":
            check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        for name, ends in (("weight_decay", "left"), ("lifespan", "neither")):
            if getattr(self, name) != "auto":
                value = getattr(self, name)
                check_scalar(value, name, Real, min_val=0, include_boundaries=cast(Any, ends))
        check_scalar(self.learning_rate_init, "learning_rate_init", Real, min_val=0)
        check_scalar(
            self.validation_fraction,
            "validation_fraction",
            Real,
            min_val=0,
            max_val=1,
            include_boundaries="neither",
        )

    # ---- prediction --------------------------------------------------------------------------

    def _raw(self, X: Any) -> Any:
        """Return the network's outputs: float64 (n_samples, n_outputs)."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        outputs = self.network_.predict(X.astype(np.float32), threads=ep.get_threads())
        return np.asarray(outputs, np.float64).reshape(len(X), -1)


def _order(X: Any, y: Any) -> Any:
    """Return row numbers in an order that depends on the content of rows, not on their positions.

    A fit then does not depend on the order of samples.
    """
    return np.argsort(hashes(X, y), kind="stable")


def hashes(X: Any, y: Any) -> Any:
    """Return a hash of the bits of every row: uint64 (n_samples,)."""
    numbers = np.column_stack([X, y]).astype(np.float64) + 0.0  # -0 becomes 0
    words = numbers.view(np.uint64)
    words ^= words >> np.uint64(32)
    mix = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64)
    return words @ (2 * mix + np.uint64(1))


def checked_weights(sample_weight: Any, X: Any) -> Any:
    """Return weights as float64 (n_samples,); a scalar applies to every sample."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(len(X), sample_weight, np.float64)
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got shape {weights.shape}")
    check_consistent_length(X, weights)
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    return weights


def _drawn(rows: Any, weights: Any) -> tuple[Any, Any]:
    """Return row numbers to draw batches from, and their weights, None if all are 1.

    Integer weights with a mean of at most MOST_REPEATS repeat each row according to its weight, so
    that a fit is bit-identical to one with repeated samples. Other weights apply in the loss.

    Raises:
        ValueError: no weight is above 0.
    """
    if weights is None:
        return rows, None
    weights = weights[rows]
    rows, weights = rows[weights > 0], weights[weights > 0]
    if not len(rows):
        raise ValueError("sample_weight: expected at least one weight above 0, got zero for all")
    times = np.round(weights)
    if np.array_equal(times, weights) and times.sum() <= MOST_REPEATS * len(rows):
        return np.repeat(rows, times.astype(np.int64)), None
    return rows, weights / weights.mean()


def moments(numbers: Any, weights: Any = None) -> tuple[Any, Any]:
    """Return the weighted mean and 1 / standard deviation (1 if constant) of every column."""
    mean = np.average(numbers, axis=0, weights=weights)
    deviation = np.sqrt(np.average((numbers - mean) ** 2, axis=0, weights=weights))
    tiny = 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, 1 / np.where(deviation > tiny, deviation, 1.0)


def _batch(samples: int) -> int:
    """Return the batch size: small for few samples, so that there are enough steps."""
    return max(1, min(BATCH, samples // SHARE), min(8 * BATCH, samples // GROWS))

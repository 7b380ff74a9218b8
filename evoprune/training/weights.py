"""Weights of samples, from an array or from weights by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evoprune.common.checks import instance
from evoprune.common.types import Array
from evoprune.training.feed import BatchFeed, Feed

__all__ = ["ClassWeights", "weigh", "weights_of"]

ClassWeights: TypeAlias = Literal["balanced"] | Mapping[Any, float]


def weigh(feed: Feed, sample_weight: Any, class_weights: ClassWeights | None, dtype: str) -> None:
    """Set the sample weights of a feed.

    Raises:
        ValueError: the feed is an iterable of batches, which must yield the weights themselves; or
            as for `weights_of`.
    """
    if sample_weight is None and class_weights is None:
        return
    if isinstance(feed, BatchFeed):
        raise ValueError(
            "sample_weight, class_weights: expected arrays as data; an iterable gives batches "
            "(x, y, weights)"
        )
    classes = feed.data.classes
    feed.weights = weights_of(feed.targets, sample_weight, class_weights, classes, dtype)


def weights_of(
    y: Array,
    sample_weight: ArrayLike | None,
    class_weights: ClassWeights | None,
    classes: Sequence[str] | None = None,
    dtype: str = "float32",
) -> Array | None:
    """Return weights (n,) or (n, positions) of samples with targets y; None if all are 1.

    Args:
        y: targets (n, ...).
        sample_weight: (n,) or (n, positions), or None.
        class_weights: weights by class number or name, 1 for classes not named; or "balanced":
            n / (k * n_c) for class c, where n_c of the n targets are of class c, and k classes
            occur.
        classes: names of the classes.
        dtype: type of the result.

    Raises:
        ValueError, TypeError: the shape differs, a weight is negative or not finite, there is no
            such class, or targets are not class numbers.
    """
    weights: Any = None
    if sample_weight is not None:
        weights = np.asarray(sample_weight)
        if weights.dtype.kind not in "buif":
            raise TypeError(f"sample_weight: expected real numbers, got dtype {weights.dtype}")
        if weights.shape != y.shape[:1] and weights.shape != y.shape[:2]:
            raise ValueError(
                f"sample_weight: expected shape {y.shape[:1]}, one per sample, got {weights.shape}"
            )
        bad = ~(np.isfinite(weights) & (weights >= 0))
        if bad.any():
            raise ValueError(
                "sample_weight: expected finite numbers of at least 0, got "
                f"{weights[bad][0]} in row {np.argwhere(bad)[0][0]}"
            )
        weights = weights.astype(np.float64)
    if class_weights is not None:
        of_classes = _by_class(y, class_weights, classes)
        if weights is not None and weights.ndim < of_classes.ndim:
            weights = weights[:, None]
        weights = of_classes if weights is None else weights * of_classes
    return None if weights is None else np.ascontiguousarray(weights, dtype)


def _by_class(
    y: Array, class_weights: ClassWeights, classes: Sequence[str] | None
) -> NDArray[np.float64]:
    if y.dtype.kind not in "iu":
        raise TypeError(f"class_weights: expected class numbers as targets, got dtype {y.dtype}")
    known = y >= 0
    counts = np.bincount(y[known].ravel())
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise ValueError(
                f"class_weights: expected balanced or weights by class, got {class_weights!r}"
            )
        there = counts > 0
        table = np.ones(len(counts))
        table[there] = counts.sum() / (there.sum() * counts[there])
    else:
        instance("class_weights", class_weights, Mapping)
        names = {name: i for i, name in enumerate(classes or ())}
        numbers = {names.get(key, key): weight for key, weight in class_weights.items()}
        size = max(len(counts), len(names))
        table = np.ones(size)
        for key, weight in numbers.items():
            if isinstance(key, bool) or not isinstance(key, int | np.integer) or key < 0:
                shown = ", ".join(map(repr, names)) or "class numbers"
                raise ValueError(f"class_weights: expected {shown} as keys, got {key!r}")
            if not (np.isfinite(weight) and weight >= 0):
                raise ValueError(
                    f"class_weights: expected a finite weight of at least 0, got {weight!r} for "
                    f"class {key}"
                )
            if key < size:  # a class that does not occur has no samples to weight
                table[key] = weight
    return np.where(known, table[np.where(known, y, 0)], 1.0)

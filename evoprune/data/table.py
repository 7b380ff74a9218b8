"""Convert a user's data to inputs and targets for the core; also the `Score` of an evaluation.

The `Form` of a network determines how data is interpreted: the shape of samples, whether targets
are class codes or values, and the names of classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.types import Array
from evoprune.common.warn import warn
from evoprune.data.dataset import Dataset, Table
from evoprune.data.inputs import as_numbers, column_names, finite, laid_out, same_columns
from evoprune.data.labels import coded, is_bool, is_named, one_hot, recoded, whole_codes

__all__ = [
    "Form",
    "Inputs",
    "Pair",
    "Scaling",
    "Score",
    "Table",
    "Understood",
    "inputs_of",
    "table_of",
    "understood",
]

Pair: TypeAlias = tuple[ArrayLike, ArrayLike]
Scaling: TypeAlias = tuple[float | Array, float | Array]

LARGE = 10.0  # root mean square of targets above which a network learns them poorly


class Score(NamedTuple):
    """The result of an evaluation: mean loss, accuracy (0 to 1, or NaN) and total weight."""

    loss: float
    accuracy: float
    weight: float

    @classmethod
    def of(cls, sums: Iterable[float], judged: bool) -> Score:
        """Return the score from `sums`, which has four numbers.

        They are the sum of losses, the number of correct predictions, the sum of weights, and the
        number of predictions; predictions of weight 0 are not counted. If `judged` is False, the
        loss does not define which predictions are correct, and the accuracy is NaN.
        """
        loss, hits, weight, counted = sums
        mean = loss / weight if weight > 0 else math.nan
        return cls(mean, hits / counted if judged and counted > 0 else math.nan, float(weight))

    def __repr__(self) -> str:
        accuracy = "" if math.isnan(self.accuracy) else f", accuracy={self.accuracy:.2%}"
        return f"Score(loss={self.loss:.4f}{accuracy})"


class Form(NamedTuple):
    """The form of data that a network reads."""

    input: tuple[int, ...]  # the shape of one sample
    output: tuple[int, ...]  # the shape of one output
    labels: bool  # targets are class codes, not values
    classes: tuple[str, ...] | None  # names of the classes, if set
    scaling: Scaling  # of inputs: (shift, scale)
    target_scaling: Scaling | None  # of targets: (shift, scale)
    features: tuple[str, ...] | None = None  # names of the columns of x, if known


class Inputs(NamedTuple):
    """Samples as the core takes them, and whether the data was a single sample."""

    x: Array
    single: bool


class Understood(NamedTuple):
    """Data as the core takes it, and what a network adopts from it in training."""

    table: Table
    classes: tuple[str, ...] | None
    scaling: Scaling
    target_scaling: Scaling | None
    features: tuple[str, ...] | None


def inputs_of(name: str, data: Any, form: Form) -> Inputs:
    """Return inputs from a data set, from samples, or from one sample.

    Raises:
        TypeError, ValueError: the data is not numeric, or samples do not have the network's shape.
    """
    if isinstance(data, Dataset):
        _agree(name, data, form.scaling)
        _same_characters(name, data, form.classes)
        same_columns(name, data.feature_names, form.features)
        laid_out(name, data.table.x, form.input, data.shape)
        x, single = data.x, False
    else:
        same_columns(name, column_names(data), form.features)
        x = as_numbers(name, data)
        single = laid_out(name, x, form.input)
    x = x.reshape(1, -1) if single else x
    finite(name, x)
    return Inputs(x, single)


def understood(name: str, data: Any, form: Form, *, training: bool = False) -> Understood:
    """Return inputs and targets of a data set or a pair (x, y), as a network reads them.

    Args:
        name: name of the argument, for error messages.
        data: a Dataset or (x, y); x may be one sample, and y its target.
        form: the form that the network reads. A data set must have the same scaling or none.
        training: True if the network will be trained on the data: use scaling and classes of the
            data set, not the network's.

    Raises:
        TypeError: `data` is neither a Dataset nor a pair, or labels have a wrong type.
        ValueError: samples have another shape, labels are unknown, or the scaling differs.
    """
    if isinstance(data, Dataset):
        return _of_dataset(name, data, form, training)
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise TypeError(f"{name}: expected a data set or (x, y), got {type(data).__name__}")
    inputs, targets = data
    if isinstance(targets, Dataset):
        raise TypeError(f"{name}: expected (x, y), got a data set for y")
    features = column_names(inputs)
    if not training:
        same_columns("x", features, form.features)
    x = as_numbers("x", inputs)
    single = laid_out("x", x, form.input)
    if single:
        x, targets = x.reshape(1, -1), [targets]
    classes = form.classes
    if is_named(targets):
        if not (form.labels or form.output == (1,)):
            raise TypeError("y: expected numbers for this loss, got labels by name")
        if classes is None and not training:
            raise ValueError(
                "y: expected class codes, got labels by name, and the network has no class names; "
                "train it on a data set with classes, or give the codes"
            )
        labels = coded(targets, classes)
        y, classes = labels.codes, labels.classes
    else:
        y = as_numbers("y", targets)
        if form.labels and is_bool(targets):
            labels = coded(targets, classes)
            y, classes = labels.codes, labels.classes if training else classes
    table = Table(x, _targets(y, None, form), None)
    return Understood(
        _scaled(table, form.target_scaling),
        classes,
        form.scaling,
        form.target_scaling,
        features or form.features,
    )


def table_of(name: str, data: Any, form: Form) -> Table:
    """Return inputs and targets of a data set or a pair (x, y), see `understood`."""
    return understood(name, data, form).table


def _of_dataset(name: str, data: Dataset, form: Form, training: bool) -> Understood:
    scaling, classes, target_scaling = form.scaling, form.classes, form.target_scaling
    if training and not _plain(data):
        scaling = (data.shift, data.scale)
    else:
        _agree(name, data, scaling)
    _same_characters(name, data, classes)
    if not training:
        same_columns(name, data.feature_names, form.features)
    x, y, rows = data.table
    laid_out(name, x, form.input, data.shape)
    named = data.classes is not None and not data._numbered
    if training and named:
        classes = data.classes
    if training and data.target_shift is not None and data.target_scale is not None:
        target_scaling = (data.target_shift, data.target_scale)
    chosen = data._slice_or_rows()
    if isinstance(chosen, slice):
        x, y, rows = x[chosen], y[chosen], None
    if named and classes is not None and data.classes is not None and y.dtype.kind in "iu":
        y = recoded(name, y, data.classes, classes, rows)
    return Understood(
        _scaled(Table(x, _targets(y, rows, form), rows), target_scaling),
        classes,
        scaling,
        target_scaling,
        data.feature_names or form.features,
    )


def _targets(y: Array, rows: Array | None, form: Form) -> Array:
    """Return targets as the loss takes them: codes for labels, values otherwise."""
    if form.labels:
        if y.shape[1:] == form.output and form.output[-1] > 1 and y.ndim > 1:
            hot = one_hot(y if rows is None else y[rows])
            if hot is None:
                raise ValueError(
                    f"y: expected class codes, or rows of zeros and a one, got shape {y.shape} "
                    "with other values"
                )
            if rows is None:
                return hot
            made = np.zeros(y.shape[:-1], np.int64)
            made[rows] = hot
            return made
        return whole_codes("y", y, rows)
    return y


def _scaled(table: Table, scaling: Scaling | None) -> Table:
    """Return the table with scaled targets, (y - shift) * scale, which the network learns."""
    if scaling is None:
        return table
    y = table.y.reshape(len(table.y), -1).astype(np.float64)
    return table._replace(y=((y - scaling[0]) * scaling[1]).reshape(table.y.shape))


def warn_of_scale(table: Table) -> None:
    """Warn if targets are so large that a network learns them poorly."""
    y = table.y if table.rows is None else table.y[table.rows]
    size = float(np.sqrt(np.mean(np.square(y, dtype=np.float64))))
    if size > LARGE:
        warn(
            f"y: targets have mean {np.mean(y):.3g} and standard deviation {np.std(y):.3g}; "
            "networks learn values of about 1: datasets.arrays(x, y, normalize_target=True) scales "
            "them, and predictions come in the units of y",
            UserWarning,
        )


def _plain(data: Dataset) -> bool:
    return not np.any(np.asarray(data.shift) != 0) and not np.any(np.asarray(data.scale) != 1)


def _agree(name: str, data: Dataset, scaling: Scaling) -> None:
    """Check that a data set has the network's scaling, or none."""
    if not _plain(data) and not _same(scaling, (data.shift, data.scale)):
        raise ValueError(
            f"{name}: {data.name} is to be read as (x - {_brief(data.shift)}) * "
            f"{_brief(data.scale)}, the network reads (x - {_brief(scaling[0])}) * "
            f"{_brief(scaling[1])}; give both the same normalization, or plain arrays"
        )


def _same_characters(name: str, data: Dataset, classes: tuple[str, ...] | None) -> None:
    """Check that a text uses the same codes for characters as the network."""
    if data._spelled and classes is not None and data.classes != classes:
        raise ValueError(
            f"{name}: {data.name} has other codes for its characters than the network; read it by "
            "datasets.text(path, vocabulary=network.classes)"
        )


def _same(a: Scaling, b: Scaling) -> bool:
    """Return True if scalings are equal after rounding to float32, as older files store them."""
    return all(
        bool(np.all(np.asarray(p, np.float32) == np.asarray(q, np.float32)))
        for p, q in zip(a, b, strict=True)
    )


def _brief(value: float | Array) -> str:
    return f"{float(value):.6g}" if np.ndim(value) == 0 else f"{np.size(value)} numbers"

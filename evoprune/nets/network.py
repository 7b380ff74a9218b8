"""The public class `Network`: arrays by name, costs, prediction, single steps, and files.

It wraps the core's network, which owns the arrays and computes. Training is in training/trainer.py,
the file format in file.py, folding and pruning in surgery.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common import table
from evoprune.common.checks import whole
from evoprune.common.renames import spelled
from evoprune.common.threads import MOST, get_threads
from evoprune.common.types import Array
from evoprune.data.dataset import Dataset
from evoprune.data.inputs import finite
from evoprune.data.table import Form, Inputs, Scaling, Score, Table, inputs_of, table_of
from evoprune.nets import file, surgery
from evoprune.nets.described import Dtype
from evoprune.nets.overview import outlook, overview
from evoprune.nets.steps import Steps
from evoprune.selection.groups import Loss
from evoprune.selection.laws import CrossEntropy
from evoprune.selection.python_laws import PythonLoss

if TYPE_CHECKING:
    from evoprune.selection.settings import Selection

__all__ = ["Network", "load"]

READ = frozenset(map(np.dtype, ("f4", "f8", "u1")))  # dtypes of inputs that the core reads


class Network(Steps):
    """A network whose neurons, filters and heads are populations.

    Create one with `Sequential`, `mlp`, `load`, or from a spec. A network is a mapping from names
    to arrays: `net["dense1.weight"]`, `net.keys()`, `net.get(name)`. Assign to an item to write
    values into the array. Two networks are equal only if they are the same object.

    Args:
        spec: the founding structure, {"seed", "input": sizes, "layers": [{"kind", "name", "inputs",
            "config"}, ...]}: plain Python values, as in the attribute `spec` of a network.
        dtype: "float32" or "float64".
        births: birth ids of the living populations by axis, to create a network at a shape other
            than its founding one.
        most: limit of the total number of elements in all arrays; a negative one means no limit.
        next_births: number of populations born so far by axis, if more than the founders.

    Attributes:
        core: the compiled network.
        loss: the loss function of the last training, also used by `evaluate`; cross-entropy by
            default.
        selection, pressure: those of the last training; None before any training.
        timing: (milliseconds, samples) of the last measured training step, or None.
        notes: plain values by name, stored in the network's file; must be JSON-serializable.

    Raises:
        ValueError, TypeError: the spec is invalid; the message names the layer and the setting,
            and says what was expected.
        MemoryError: the arrays do not fit in memory.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        dtype: Dtype = "float32",
        *,
        births: Mapping[str, Array] | None = None,
        most: int = -1,
        next_births: Mapping[str, int] | None = None,
    ) -> None:
        self._build(spec, dtype, births or {}, most, next_births or {})
        self.loss: Loss | PythonLoss = CrossEntropy()
        self.selection: Selection | None = None
        self.pressure: float | None = None
        self.timing: tuple[float, int] | None = None
        self.notes: dict[str, Any] = {}
        self._shape = tuple(int(n) for n in self.core.spec["input"])  # shape of one sample
        self._features = int(np.prod(self._shape))
        self._configured = False
        # True if the configured loss has an accuracy. By default, the loss is cross-entropy.
        self._counts_hits = True

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        dtype: Dtype = "float32",
        *,
        births: Mapping[str, Array] | None = None,
        most: int = -1,
        next_births: Mapping[str, int] | None = None,
    ) -> Self:
        """Make a network of this class from a spec; the arguments are those of `Network`."""
        made = cls.__new__(cls)
        Network.__init__(made, spec, dtype, births=births, most=most, next_births=next_births)
        return made

    # ---- use ---------------------------------------------------------------------------------

    @property
    def input_scaling(self) -> tuple[float | Array, float | Array]:
        """(shift, scale): each input x is read as (x - shift) * scale. Scalars, or (features,)."""
        shift, scale = self.core.input_scaling
        return shift, scale

    def scale_input(self, shift: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> None:
        """Read every input x as (x - shift) * scale from now on. Both: a scalar, or (features,)."""
        self.core.scale_input(shift, scale)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes or characters that the outputs stand for, in order; None if unset.

        They are stored in `notes`.
        """
        names = self.notes.get("classes") or self.notes.get("vocabulary")
        return tuple(map(str, names)) if isinstance(names, list | tuple | str) and names else None

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        if (None if names is None else tuple(names)) != self.classes:
            self.notes.pop("vocabulary", None)
        elif "vocabulary" in self.notes:
            return
        _note(self.notes, "classes", None if names is None else [str(name) for name in names])

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Column names of the data frame used in training, or None; stored in `notes`."""
        names = self.notes.get("feature_names")
        return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None

    @feature_names.setter
    def feature_names(self, names: Sequence[str] | None) -> None:
        _note(self.notes, "feature_names", None if names is None else [*map(str, names)])

    @property
    def output_scaling(self) -> Scaling | None:
        """(shift, scale) if the network learns (y - shift) * scale, else None; kept in `notes`."""
        kept = self.notes.get("output_scaling")
        if not kept:
            return None
        shift, scale = (v if np.ndim(v) == 0 else np.asarray(v, np.float64) for v in kept)
        return shift, scale

    @output_scaling.setter
    def output_scaling(self, scaling: Scaling | None) -> None:
        plain = None if scaling is None else [np.asarray(part).tolist() for part in scaling]
        _note(self.notes, "output_scaling", plain)

    def form(self, loss: Loss | PythonLoss | None = None) -> Form:
        """Return the form of data that fits this network and `loss` (by default `self.loss`)."""
        facts = self.describe()
        living = {axis["name"]: int(axis["n"]) for axis in facts["axes"]}
        output = tuple(living[axis] for axis in facts["layers"][-1]["output"])
        labels = (loss or self.loss).facts["target"] == "class"
        return self._reading()._replace(output=output, labels=labels)

    def _reading(self) -> Form:
        """Return a `Form` for reading inputs, without the facts `output` and `labels`.

        These two would need `describe()`, which inspects every layer.
        """
        scalings = self.input_scaling, self.output_scaling
        return Form(self._shape, (), False, self.classes, *scalings, self.feature_names)

    def _inputs(self, data: Any) -> Inputs:
        rows = type(data) is np.ndarray and data.ndim == 2 and data.shape[1] == self._features
        if rows and data.dtype in READ:  # fast path: rows that need no conversion
            finite("x", data)
            return Inputs(data, False)
        return inputs_of("x", data, self._reading())

    def predict(self, x: Dataset | ArrayLike, threads: int | None = None) -> Array:
        """Return outputs for raw samples: logits for classes, else values in the target's units.

        Inputs are scaled by `input_scaling` and outputs by the inverse of `output_scaling`.

        Args:
            x: a data set; samples (samples, ...) in the founding input shape, or flat rows
                (samples, features), of any real type; or one sample.
            threads: number of threads; `get_threads()` by default. It does not affect the result.

        Returns:
            Array (samples, ...), or (...) for one sample.

        Raises:
            ValueError, TypeError: the data is not numeric, or has another shape; the message gives
                both shapes.
        """
        inputs = self._inputs(x)
        if threads is None:
            n = get_threads() if len(inputs.x) > 1 else 1
        else:
            n = whole("threads", threads, 1, MOST)
        outputs = self.in_units(self.core.predict(inputs.x, threads=n))
        made: Array = outputs[0] if inputs.single else outputs
        return made

    __call__ = predict

    def in_units(self, values: Array) -> Array:
        """Convert outputs of the core, or scaled targets, to the units of the targets."""
        scaling = self.output_scaling
        if scaling is None:
            return values
        rows = values.reshape(len(values), -1) / scaling[1] + scaling[0]
        made: Array = rows.reshape(values.shape).astype(values.dtype)
        return made

    def predict_proba(self, x: Dataset | ArrayLike, threads: int | None = None) -> Array:
        """Return class probabilities.

        They are the softmax of the outputs if the targets of the loss are class codes. If each
        output has its own target in [0, 1] (`binary_cross_entropy`), they are the sigmoids.

        Args:
            x, threads: as for `predict`.

        Raises:
            TypeError: the network's loss is for values, such as mean_squared_error.
        """
        logits = self.predict(x, threads).astype(np.float64)
        chances: Array
        if self.loss.facts["target"] == "class":
            powers = np.exp(logits - logits.max(-1, keepdims=True))
            chances = powers / powers.sum(-1, keepdims=True)
        elif self.loss.facts["judges"]:
            chances = 0.5 * (1 + np.tanh(0.5 * logits))
        else:
            raise TypeError(f"predict_proba: expected a network for classes, got {self.loss!r}")
        made: Array = chances.astype(self.dtype)
        return made

    @spelled
    def predict_classes(
        self, x: Dataset | ArrayLike, threads: int | None = None, *, names: bool = False
    ) -> Array:
        """Return the most probable class of every sample: its code or its name.

        Args:
            x, threads: as for `predict`.
            names: return names from `classes` instead of codes.

        Raises:
            TypeError: as for `predict_proba`.
            ValueError: `names` is true and the network has no `classes`.
        """
        chances = self.predict_proba(x, threads)
        if self.loss.facts["target"] == "class":
            codes = np.asarray(chances.argmax(-1))
        else:
            codes = (chances > 0.5).astype(np.int64)
            codes = codes[..., 0] if codes.shape[-1] == 1 else codes
        if not names:
            return codes
        if self.classes is None:
            raise ValueError(
                "names: expected a network with class names; set network.classes, or train "
                "on a data set with classes"
            )
        known = [*self.classes, *map(str, range(len(self.classes), chances.shape[-1]))]
        called: Array = np.asarray(known)[codes]
        return called

    @spelled
    def evaluate(
        self,
        x: Dataset | tuple[ArrayLike, ArrayLike] | ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> Score:
        """Return the mean of the loss function `self.loss` and the accuracy over data.

        Args:
            x: a data set, a pair (x, y), raw inputs (samples, ...), or one sample.
            y: targets, if x is inputs: values, codes, or names of classes if `classes` is set.
            sample_weight: weights of the samples (samples,), or of the predictions of sequences;
                the loss is then a weighted mean, and the accuracy counts the predictions of weight
                above 0.

        Returns:
            Score: loss, accuracy (NaN if the loss has none) and the total weight of the samples.

        Raises:
            ValueError, TypeError: the data does not fit the network.
        """
        table = table_of("x", x if y is None else (x, y), self.form())
        return self.score(table, weights=sample_weight)

    def _weights(self, weights: ArrayLike | None) -> Array | None:
        """Return sample weights in the dtype of the network; None stays None."""
        return None if weights is None else np.asarray(weights, self.dtype)

    def score(
        self,
        table: Table,
        add_up: Callable[[Any], Any] | None = None,
        weights: ArrayLike | None = None,
    ) -> Score:
        """Evaluate on data in the core's form; `add_up` adds up the sums of several processes."""
        if not self._configured:
            self.configure(loss=self.loss.kind, loss_config=self.loss.config())
        sums = self.core.evaluate(
            table.x,
            table.y,
            rows=table.rows,
            weights=self._weights(weights),
            threads=get_threads(),
            sums=True,
        )
        return Score.of(sums if add_up is None else add_up(sums), self._counts_hits)

    def configure(self, **settings: Any) -> None:
        """Set loss, optimizer and selection for single calls such as `backward` and `update`.

        `Trainer` does this for its runs.
        """
        self.core.configure(**settings)
        self._configured = True
        self._counts_hits = Loss.counts_hits(settings.get("loss", "cross_entropy"))

    def forward(self, x: Dataset | ArrayLike, *, training: bool = True) -> Array:
        """Return the outputs of one batch without output scaling; fill `activations`.

        Args:
            x: raw inputs as for `predict`; one sample is a batch of one.
            training: apply dropout and batch statistics, as in a training step. If False, compute
                as in `predict`; if the network has batch norm, do not call `backward` after that.
        """
        output: Array = self.core.forward(self._inputs(x).x, training=training)
        return output

    def backward(self, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss of the last `forward` for these targets; fill `activation_gradients`.

        Args:
            y: the targets.
            sample_weight: weights of the samples, or of their predictions, as for `evaluate`.
        """
        return float(self.core.backward(y, self._weights(sample_weight)))

    # ---- derived networks --------------------------------------------------------------------

    def copy(self) -> Network:
        """Return an independent copy, with all state that training depends on."""
        return surgery.copy(self)

    def __copy__(self) -> Network:
        return surgery.copy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return surgery.copy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a network file with the optimizer's moments, and attributes that files omit."""
        kept = {name: getattr(self, name) for name in ("selection", "pressure")}
        return _from_bytes, (file.to_bytes(self, moments=True), type(self)), kept

    def become(self, other: Network) -> None:
        """Copy the state of `other`, a network of equal spec and dtype, into this network.

        Raises:
            ValueError: spec or dtype differ; TypeError: `other` is not a Network.
        """
        if not isinstance(other, Network):
            raise TypeError(f"other: expected a Network, got {type(other).__name__}")
        if (other.spec, other.dtype) != (self.spec, self.dtype):
            raise ValueError("other: expected a network of the same spec and dtype")
        twin = other.copy()
        self.core, self._configured = twin.core, False
        self.loss, self.selection, self.pressure = other.loss, other.selection, other.pressure
        self.notes = twin.notes

    def folded(self) -> Network:
        """Make an ordinary network with equal outputs by folding masses into weights.

        The new network consists of the living populations. Populations whose mass has been folded
        have no mass and cannot go extinct. Masses that no neighboring layer can absorb stay. Masses
        of input features are folded into the layers that read them and set to 1.
        """
        return surgery.folded(self)

    def expanded(self) -> Network:
        """Make a network of the founding shape, with zeros in place of extinct populations."""
        with self.core:
            return surgery.expanded(self)

    @spelled
    def prune(
        self,
        fraction: float | None = None,
        *,
        keep: int | Mapping[str, int] | None = None,
        by: Literal["mass", "norm", "taylor", "random"] = "mass",
        scope: Literal["network", "layer"] = "network",
        data: Dataset | tuple[ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
    ) -> dict[str, Array]:
        """Prune populations by rank, at once and in place: classical pruning, for comparison.

        Args:
            fraction: share of the founding populations, 0 to 1, to be extinct afterwards, including
                populations that are extinct already.
            keep: instead of `fraction`, the number of populations to keep: in total, or by layer
                ("populations1").
            by: the criterion: mass (ties are broken by remembered fitness, as a share of the
                layer's total), norm (of the weights that a population owns), taylor (|m dL/dm| for
                mass m and the mean loss L over `data`), or random.
            scope: rank over the whole network or within each layer. Each layer keeps at least one.
            data: for taylor, in any form that `evaluate` accepts.
            seed: for random.

        Returns:
            Birth ids of the pruned populations, by layer.
        """
        with self.core:
            return surgery.prune(
                self, fraction, keep=keep, by=by, scope=scope, data=data, seed=seed
            )

    @spelled
    def save(self, path: str | PathLike[str], *, moments: bool = False) -> None:
        """Write structure and arrays to one safetensors file, atomically.

        Args:
            path: the file; an existing one is replaced.
            moments: also write the optimizer's moments, to resume training exactly.

        Raises:
            OSError: the file cannot be written.
        """
        file.save(self, path, moments=moments)

    # ---- display -----------------------------------------------------------------------------

    def __repr__(self) -> str:
        title, head, rows, total, note = overview(self)
        parts = [title, table.as_text(head, rows, total), note]
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        title, head, rows, total, note = overview(self)
        return table.as_html(title, head, rows, total, note)

    def summary(self, pressure: float | None = None) -> str:
        """Return the table of layers, then fitness, upkeep and generations to extinction by layer.

        Args:
            pressure: pressure for computing upkeep; by default the pressure of the last training.
        """
        with self.core:
            parts = [repr(self), outlook(self, pressure)]
        return "\n\n".join(part for part in parts if part)


def _note(notes: dict[str, Any], name: str, value: Any) -> None:
    """Set notes[name] to `value`, or remove the name if `value` is None."""
    if value is None:
        notes.pop(name, None)
    else:
        notes[name] = value


def load(path: str | PathLike[str]) -> Network:
    """Load a network written by `Network.save`.

    Raises:
        FileNotFoundError: the file does not exist.
        FileFormatError: the file is damaged, truncated, or not an evoprune network.
    """
    return file.load(path, Network)


def _from_bytes(content: bytes, kind: type[Network] = Network) -> Network:
    """Return the network in pickled bytes, as an instance of `kind`."""
    return file.from_bytes(content, "network", kind)

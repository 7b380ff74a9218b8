"""A network: the core's arrays by name, what it costs, its files, and its parts one by one.

The core (`core.Network`, in C) holds the numbers and computes; this file gives them Python's
manners. How a network is trained and watched stands in trainer.py, how its file looks in
file.py, how it is folded and cut in surgery.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common import table
from evoprune.common.checks import whole
from evoprune.common.errors import Diverged
from evoprune.common.renames import current_name
from evoprune.common.threads import MOST, get_threads
from evoprune.common.types import Array
from evoprune.data.dataset import Dataset
from evoprune.data.inputs import finite
from evoprune.data.table import Form, Inputs, Scaling, Score, Table, inputs_of, table_of
from evoprune.nets import file, surgery
from evoprune.nets.layers import Chain, Nodes, Plan
from evoprune.nets.overview import outlook, overview
from evoprune.selection.laws import CrossEntropy, Loss, PythonLoss

if TYPE_CHECKING:
    from evoprune.selection.settings import Selection

__all__ = ["Arrays", "Network", "Sequential", "load"]

READ = frozenset(map(np.dtype, ("f4", "f8", "u1")))  # inputs that need no conversion

Dtype: TypeAlias = Literal["float32", "float64"]


class Arrays(Mapping[str, Array]):
    """Arrays of a network by name: views of the core's memory, at the living shape.

    A view is made at every look. After a compaction the core's arrays are new ones: a view from
    before stays valid, and shows that moment.
    """

    def __init__(self, names: Callable[[], Iterable[str]], get: Callable[[str], Array]) -> None:
        self._names, self._get = names, get

    def __getitem__(self, name: str) -> Array:
        if name not in (names := list(self._names())):
            raise KeyError(f"no array {name!r}; there are {', '.join(names)}")
        return self._get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names()))

    def __len__(self) -> int:
        return len(list(self._names()))

    def __repr__(self) -> str:
        lines = [f"{name}: {a.dtype} {a.shape}" for name, a in self.items()]
        return "\n".join(lines) or "no arrays"

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Network:
    """A network whose neurons, filters and heads are populations.

    Made by `Sequential`, `mlp`, `load`, or from a spec. `net["dense1.weight"]` is an array of it,
    to read and to write; `net.keys()` names them all.

    Args:
        spec: the founding structure, {"seed", "input": sizes, "layers": [{"kind", "name", "inputs",
            "config"}, ...]}; plain Python, as `spec` of another network gives it.
        dtype: "float32" or "float64".
        births: birth ids of the living populations by axis, for a network that is born at another
            shape than its founding one.
        most: refuse a spec whose arrays have more elements in all.

    Attributes:
        core: the compiled network.
        loss: what it was last trained for, and is evaluated by; cross-entropy if never.
        selection, pressure: what it was last trained under; None if never.
        timing: (milliseconds, samples) of a training step, as last measured, or None.
        notes: what shall be kept with it and in its file: plain values by name, JSON-able.

    Raises:
        ValueError, TypeError: names the layer, the setting, what was expected and what came.
        MemoryError: it does not fit.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        dtype: Dtype = "float32",
        *,
        births: Mapping[str, Array] | None = None,
        most: int = -1,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
        module = core.core32 if dtype == "float32" else core.core64
        self.core: Any = module.Network(dict(spec), dict(births or {}), most)
        self.dtype: Dtype = dtype
        self.loss: Loss | PythonLoss = CrossEntropy()
        self.selection: Selection | None = None
        self.pressure: float | None = None
        self.timing: tuple[float, int] | None = None
        self.notes: dict[str, Any] = {}
        self._shape = tuple(int(n) for n in self.core.spec["input"])  # of one sample
        self._features = int(np.prod(self._shape))
        self._configured = False
        self._counts_hits = True  # the loss that the core is configured for
        self._diverged: type[BaseException] = module.Diverged

    # ---- what it is --------------------------------------------------------------------------

    @property
    def spec(self) -> dict[str, Any]:
        """The founding structure, with every default filled in: a copy; plain Python, JSON-able."""
        spec: dict[str, Any] = copy.deepcopy(self.core.spec)
        return spec

    @property
    def step(self) -> int:
        """Updates so far."""
        return int(self.core.step)

    @property
    def generation(self) -> int:
        """Generations of selection so far."""
        return int(self.core.generation)

    @property
    def macs(self) -> float:
        """Multiply-adds of one sample's forward pass, at the living shape."""
        return float(self.core.macs)

    @property
    def founding_macs(self) -> float:
        """Multiply-adds of one sample's forward pass at birth."""
        return float(self.core.founding_macs)

    @property
    def flops(self) -> float:
        """Former name of `macs`; multiply-adds, not floating-point operations (1 MAC = 2 FLOPs)."""
        current_name("Network", {"flops": "macs"}, "flops")
        return self.macs

    @property
    def founding_flops(self) -> float:
        """Former name of `founding_macs`."""
        current_name("Network", {"founding_flops": "founding_macs"}, "founding_flops")
        return self.founding_macs

    @property
    def parameters(self) -> int:
        """Weights, biases and masses, at the living shape."""
        return int(self.core.parameters)

    @property
    def founding_parameters(self) -> int:
        """Weights, biases and masses at birth."""
        return int(self.core.founding_parameters)

    @property
    def nbytes(self) -> int:
        """Bytes that the core holds now: values, gradients, moments, activations, scratch."""
        return int(self.core.nbytes)

    def describe(self) -> dict[str, Any]:
        """Axes, layers, populations and tensors, as the core describes them; plain Python."""
        facts: dict[str, Any] = self.core.describe()
        return facts

    @property
    def alive(self) -> dict[str, int]:
        """Living populations by layer of populations."""
        return {p["layer"]: int(p["alive"]) for p in self.describe()["populations"]}

    @property
    def born(self) -> dict[str, int]:
        """Founding populations by layer of populations."""
        return {p["layer"]: int(p["born"]) for p in self.describe()["populations"]}

    def births(self, layer: str) -> Array:
        """Birth ids of the living populations of a layer, ascending: int32 (alive,).

        Raises:
            KeyError: no such layer of populations.
        """
        with self.core:
            facts = self.describe()
            return surgery.living(self, facts, surgery.population(facts, layer))[1]

    # ---- its arrays --------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Names of the arrays: "dense1.weight", "populations1.mass", ..."""
        return [tensor["name"] for tensor in self.describe()["tensors"]]

    def items(self) -> list[tuple[str, Array]]:
        """Names and arrays."""
        with self.core:
            return [(name, self.core.array(name)) for name in self.keys()]

    def __getitem__(self, name: str) -> Array:
        return self._arrays("value")[name]

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        self[name][...] = values

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    @property
    def gradients(self) -> Arrays:
        """Gradients of the last backward pass, by the names of the arrays."""
        return self._arrays("gradient")

    @property
    def moments(self) -> tuple[Arrays, Arrays]:
        """The optimizer's first and second moments, by the names of the arrays."""
        return self._arrays("first"), self._arrays("second")

    @property
    def activations(self) -> Arrays:
        """Outputs of the last training batch, by layer, and "input": (samples, ...) each."""
        return Arrays(self._values, self.core.activation)

    @property
    def activation_gradients(self) -> Arrays:
        """Gradients of the loss with respect to `activations`.

        Raises:
            RuntimeError: of one that the last step of training has written over. That happens only
                where a run ended before its time: by Ctrl-C, or by an error.
        """
        return Arrays(self._values, lambda name: self.core.activation(name, of="gradient"))

    def _values(self) -> list[str]:
        return ["input", *(layer["name"] for layer in self.spec["layers"])]

    def _arrays(self, of: str) -> Arrays:
        return Arrays(self.keys, lambda name: self.core.array(name, of=of))

    # ---- using it ----------------------------------------------------------------------------

    @property
    def input_scaling(self) -> tuple[float | Array, float | Array]:
        """(shift, scale): an input x is read as (x - shift) * scale; numbers, or by feature."""
        shift, scale = self.core.input_scaling
        return shift, scale

    def scale_input(self, shift: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> None:
        """Read every input x as (x - shift) * scale from now on: numbers, or one a feature."""
        self.core.scale_input(shift, scale)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, or characters, by output, if it knows them; in its notes."""
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
    def output_scaling(self) -> Scaling | None:
        """(shift, scale) of targets: it learns (y - shift) * scale and predicts y; in its notes."""
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
        """How it reads data, for the loss it was last trained for or another one."""
        facts = self.describe()
        living = {axis["name"]: int(axis["n"]) for axis in facts["axes"]}
        output = tuple(living[axis] for axis in facts["layers"][-1]["output"])
        labels = (loss or self.loss).facts["target"] == "class"
        return self._reading()._replace(output=output, labels=labels)

    def _reading(self) -> Form:
        """How it reads inputs; without a look at every layer."""
        return Form(self._shape, (), False, self.classes, self.input_scaling, self.output_scaling)

    def _inputs(self, data: Any) -> Inputs:
        rows = type(data) is np.ndarray and data.ndim == 2 and data.shape[1] == self._features
        if rows and data.dtype in READ:  # rows as they shall be: the usual case, without a detour
            finite("x", data)
            return Inputs(data, False)
        return inputs_of("x", data, self._reading())

    def predict(self, x: Dataset | ArrayLike, threads: int | None = None) -> Array:
        """Return outputs for raw samples; for classes these are logits.

        Inputs are scaled by `input_scaling`, outputs are in the units of the targets.

        Args:
            x: a data set; samples (samples, ...) in the founding input shape, or as flat rows, of
                any real type; or one sample.
            threads: `get_threads()` if not given; their number does not change the result.

        Returns:
            (samples, ...), or the output (...) of one sample.

        Raises:
            ValueError, TypeError: no numbers, or samples of another shape; both shapes are named.
        """
        inputs = self._inputs(x)
        if threads is None:
            n = get_threads() if len(inputs.x) > 1 else 1
        else:
            n = whole("threads", threads, 1, MOST)
        outputs: Array = self.core.predict(inputs.x, threads=n)
        if scaling := self.output_scaling:
            rows = outputs.reshape(len(outputs), -1) / scaling[1] + scaling[0]
            outputs = rows.reshape(outputs.shape).astype(outputs.dtype)
        made: Array = outputs[0] if inputs.single else outputs
        return made

    __call__ = predict

    def predict_proba(self, x: Dataset | ArrayLike, threads: int | None = None) -> Array:
        """Return probabilities of the classes: softmax of the outputs, or sigmoid of each output.

        Args:
            x, threads: as for `predict`.

        Raises:
            TypeError: the network was trained for values, by mean_squared_error.
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

    def predict_classes(
        self, x: Dataset | ArrayLike, threads: int | None = None, *, names: bool = False
    ) -> Array:
        """Return the likeliest class of every sample: its code, or its name.

        Args:
            x, threads: as for `predict`.
            names: give names, of `classes`, instead of codes.

        Raises:
            TypeError: as `predict_proba`; ValueError: names, of a network that knows none.
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
                "names: expected a network that knows its classes; set network.classes, or train "
                "on a data set with classes"
            )
        known = [*self.classes, *map(str, range(len(self.classes), chances.shape[-1]))]
        called: Array = np.asarray(known)[codes]
        return called

    def evaluate(
        self, x: Dataset | tuple[ArrayLike, ArrayLike] | ArrayLike, y: ArrayLike | None = None
    ) -> Score:
        """Mean loss and accuracy over data, by the loss it was last trained for (cross-entropy).

        Args:
            x: a data set, a pair (x, y), or raw inputs (samples, ...), or one sample, with
            y: targets, if x is inputs: values, codes, or labels by name where it has `classes`.

        Returns:
            Score: loss, accuracy (NaN where a loss has none) and the samples' total weight.

        Raises:
            ValueError, TypeError: the data does not fit.
        """
        return self.score(table_of("x", x if y is None else (x, y), self.form()))

    def score(self, table: Table) -> Score:
        """Mean loss and accuracy over data in the form of the core; see `evaluate`."""
        if not self._configured:
            self.configure(loss=self.loss.kind, loss_config=self.loss.config())
        loss, accuracy, weight = self.core.evaluate(
            table.x, table.y, rows=table.rows, threads=get_threads()
        )
        return Score(float(loss), float(accuracy) if self._counts_hits else np.nan, float(weight))

    def configure(self, **settings: Any) -> None:
        """Set loss, optimizer and selection for the single steps below; see `Trainer` for runs."""
        self.core.configure(**settings)
        self._configured = True
        self._counts_hits = Loss.counts_hits(settings.get("loss", "cross_entropy"))

    def forward(self, x: Dataset | ArrayLike, *, training: bool = True) -> Array:
        """Return outputs of one training batch, as the loss sees them; fill `activations`.

        Args:
            x: raw inputs as for `predict`; one sample is a batch of one.
            training: with dropout, and batch norm by the batch's own statistics, as in a step of
                training; else as in `predict`, which `backward` cannot follow through batch norm.
        """
        output: Array = self.core.forward(self._inputs(x).x, training=training)
        return output

    def backward(self, y: ArrayLike) -> float:
        """Loss of the last `forward` against targets; fills `activation_gradients`."""
        return float(self.core.backward(y))

    def gradient(self) -> None:
        """Fill `gradients` from the last `backward`."""
        self.core.gradient()

    def update(self, rate: float) -> None:
        """Apply one step of the optimizer at a learning rate."""
        self.core.update(rate)

    def evolve(self, pressure: float, strength: float = 1.0) -> Array:
        """Apply one generation of selection; the deaths it caused."""
        deaths: Array = self.core.evolve(pressure, strength)
        return deaths

    def compact(self) -> bool:
        """Remove what died from every array now; False if there was nothing to remove."""
        return bool(self.core.compact())

    def kill(self, layer: str, births: ArrayLike) -> None:
        """Let populations of a layer die, by birth id; their places go at the next compaction.

        Raises:
            KeyError: no such layer of populations; those that there are, are listed.
            ValueError: a birth id that is not among the living.
        """
        surgery.population(self.describe(), layer)
        self.core.kill(layer, births)

    def train(self, *args: Any, **settings: Any) -> dict[str, Any]:
        """Run many steps; the core's own call, which `Trainer` is made of.

        Raises:
            Diverged: the loss is not finite; the network is as it was before that step.
        """
        try:
            record: dict[str, Any] = self.core.train(*args, **settings)
        except self._diverged as error:
            raise Diverged(str(error), getattr(error, "step", None)) from None
        return record

    # ---- others made of it -------------------------------------------------------------------

    def copy(self) -> Network:
        """Make another network, equal in every number that training depends on."""
        return surgery.copy(self)

    def __copy__(self) -> Network:
        return surgery.copy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return surgery.copy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the bytes of a file with moments, and what no file holds beside them."""
        kept = {name: getattr(self, name) for name in ("selection", "pressure")}
        return _from_bytes, (file.to_bytes(self, moments=True),), kept

    def become(self, other: Network) -> None:
        """Take over every number of another network of the same founding structure.

        Raises:
            ValueError: its structure is another one.
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
        """Make an ordinary network of equal outputs: masses folded into weights.

        Populations that are left have no mass and cannot die; they are born anew at the living
        shape. Masses that no neighbour can take over stay: those of input features are folded into
        what reads them and set to 1.
        """
        return surgery.folded(self)

    def expanded(self) -> Network:
        """Make a network of the founding shape: survivors in their places, zeros elsewhere."""
        with self.core:
            return surgery.expanded(self)

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
        """Cut populations by rank, at once and in place: the classical way, for comparison.

        Args:
            fraction: share of the founding populations, 0 to 1, that shall be gone afterwards;
                those extinct already count.
            keep: instead of it, how many shall be left: in all, or by layer ("populations1").
            by: what ranks them: mass (among equals the fitness that is remembered, as a share of
                the layer's), norm (of the weights they own), taylor (|m dL/dm|, mean over `data`),
                or random.
            scope: rank over the whole network or in every layer alone. One at least stays in each.
            data: for taylor, as `evaluate` takes it.
            seed: for random.

        Returns:
            Birth ids that were cut, by layer.
        """
        with self.core:
            return surgery.prune(
                self, fraction, keep=keep, by=by, scope=scope, data=data, seed=seed
            )

    def save(self, path: str | PathLike[str], *, moments: bool = False) -> None:
        """Write structure and arrays to one safetensors file, whole or not at all.

        Args:
            path: the file; replaced if it is there.
            moments: also the optimizer's, so that training can go on as if it had not stopped.

        Raises:
            OSError: the file cannot be written.
        """
        file.save(self, path, moments=moments)

    # ---- how it is shown ---------------------------------------------------------------------

    def __repr__(self) -> str:
        title, head, rows, total, note = overview(self)
        parts = [title, table.as_text(head, rows, total), note]
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        title, head, rows, total, note = overview(self)
        return table.as_html(title, head, rows, total, note)

    def summary(self, pressure: float | None = None) -> str:
        """The table, and under it fitness against upkeep, and generations to extinction, by layer.

        Args:
            pressure: what upkeep is counted at; that of the last training if not given.
        """
        with self.core:
            parts = [repr(self), outlook(self, pressure)]
        return "\n\n".join(part for part in parts if part)


def _note(notes: dict[str, Any], name: str, value: Any) -> None:
    """Keep a value in the notes; None: keep none."""
    if value is None:
        notes.pop(name, None)
    else:
        notes[name] = value


def Sequential(
    layers: Nodes,
    *,
    input: int | Sequence[int],  # noqa: A002 - the word for it
    seed: int = 0,
    dtype: Dtype = "float32",
) -> Network:
    """Make a network of layers, one after the other.

    Args:
        layers: layers (`Dense(10)`), sugar (`neurons(512)`), or lists of them.
        input: the shape of one sample, without the batch; features last.
        seed: what the network is born with, and how data is shuffled.
        dtype: "float32" or "float64".

    Raises:
        ValueError, TypeError: names the layer, the setting, what was expected and what came.
    """
    plan = Plan()
    (layers if isinstance(layers, Chain) else Chain(layers)).build(plan, "input")
    sizes = [whole("input", n, 1) for n in (input if np.ndim(input) else [input])]  # type: ignore[union-attr]
    return Network({"seed": seed, "input": sizes, "layers": plan.layers}, dtype)


def load(path: str | PathLike[str]) -> Network:
    """Read a network that `Network.save` has written.

    Raises:
        FileNotFoundError: no such file.
        FileFormatError: broken, truncated, or not a network of evoprune; the file is named.
    """
    return file.load(path, Network)


def _from_bytes(content: bytes) -> Network:
    """Return the network of pickled bytes."""
    return file.from_bytes(content, "network", Network)

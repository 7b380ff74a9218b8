"""The record of a run: columns by epoch, masses and fitness over time, every extinction.

The trainer fills a history; plots read it. It is saved as one .npz file of plain arrays, which
numpy.load reads without pickle. It holds copies of a network's arrays, never the network itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from evoprune.common.checks import items
from evoprune.common.files import existing, write_whole
from evoprune.common.renames import current_name, spelled
from evoprune.common.types import Array
from evoprune.nets.populations import census
from evoprune.records import demography, display, store
from evoprune.records.demography import Fisher, Price
from evoprune.records.former import COLUMNS, FormerNames
from evoprune.records.lineage import aligned, ever_born, labels_of, parents_of
from evoprune.records.store import BIRTH, EXTINCTION

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from evoprune.nets.network import Network

__all__ = ["BIRTH", "EXTINCTION", "History"]

Quantity: TypeAlias = Literal["mass", "fitness", "upkeep"]
QUANTITIES: tuple[Quantity, ...] = ("mass", "fitness", "upkeep")

MOST_BYTES = 64 << 20  # limit for records; above it every second record is dropped


@spelled
class History(FormerNames, Mapping[str, Array]):
    """The record of a run. `history["loss"]` is a column with one value per epoch.

    Values by record or by batch are attributes and methods: `record_steps`, `living()`,
    `batch_losses`. Names of counts end in _done: `epochs_done`, `steps_done`. The current state is
    in the network: `network.alive`.

    Columns: epoch, step, loss and accuracy (of the training batches; NaN for a regression),
    validation_loss and validation_accuracy (with validation data), validation_NAME and
    training_NAME (metrics), alive (populations), alive.NAME (of a layer), upkeep (nats, summed over
    all living populations, not weighted by mass), macs and parameters (of the living network),
    diversity (Hill number of order 1: the effective number of populations), fitness_variance (nats
    squared, weighted by mass), rate (learning rate), pressure, ms_per_step, seconds (total time of
    the run), floor_reached (how often so far a layer's floor kept a population alive).

    In addition, mass, fitness and upkeep of every living population are recorded about 150 times
    per run, see `trajectories`. The methods `diversity`, `price`, `fisher` read these records.

    Attributes:
        layers: names of the layers of populations.
        born: number of populations of each layer born before the run; see also `ever_born`.
        record_steps: int64 (records,): step of the run after which each record was made.
        per_epoch: steps per epoch.
        record_every: steps from one record to the next.
        thinned: number of times that every second record was dropped and record_every doubled, to
            keep the records within 64 MiB.
        steps_done, epochs_done: numbers of steps so far, and of epochs with a row.
        interrupted: True if the run was stopped by Ctrl-C.
        settings: the settings of the run, as plain values for the file.
    """

    def __init__(
        self,
        layers: Sequence[str] = (),
        born: Sequence[int] = (),
        *,
        per_epoch: int = 1,
        record_every: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.layers = tuple(items("layers", layers))
        self.born = tuple(int(n) for n in items("born", born))
        self.per_epoch, self.record_every = per_epoch, record_every
        self.settings: dict[str, Any] = dict(settings or {})
        self.interrupted = False
        self.thinned = 0
        self._columns: dict[str, list[float]] = {}
        self._steps: list[int] = []
        self._records: dict[Quantity, list[Array]] = {quantity: [] for quantity in QUANTITIES}
        self._sizes: dict[int, tuple[int, ...]] = {}  # length of a record -> its `ever_born`
        self._batches: list[Array] = []  # (4, steps) each, see `batches`
        self.steps_done = 0
        self._extinctions: list[Array] = []
        self._births, self._returns = list[Array](), list[Array]()

    # ---- reading -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
        if name not in self._columns and COLUMNS.get(name) in self._columns:
            name = current_name("History", COLUMNS, name)
        if name not in self._columns:
            there = ", ".join(self._columns) or "none yet"
            raise KeyError(f"no column {name!r}; there are {there}")
        return np.array(self._columns[name], np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    def epochs_done(self) -> int:
        """Number of epochs with a row, including an incomplete last epoch."""
        return len(self._columns.get("epoch", ()))

    @property
    def record_steps(self) -> Array:
        """Step of the run after which each record was made: int64 (records,)."""
        return np.array(self._steps, np.int64)

    @property
    def batch_losses(self) -> Array:
        """Loss of every training batch: float64 (steps,)."""
        losses: Array = self.batches[0]
        return losses

    @property
    def batches(self) -> Array:
        """Loss, correct predictions, weight and predictions of every batch: float64 (4, steps)."""
        return np.concatenate(self._batches, axis=1) if self._batches else np.empty((4, 0))

    @property
    def extinctions(self) -> Array:
        """Extinctions: step, epoch, layer, birth, mass, fitness, loss_before, loss_after.

        A structured array with one row per population, in the order of death. loss_before is the
        loss of the batch whose update preceded the death, loss_after that of the next batch. These
        losses differ by more than one population contributes, so average over many deaths. To
        first order, a death should raise the loss by mass * fitness.
        """
        return np.concatenate(self._extinctions) if self._extinctions else np.empty(0, EXTINCTION)

    @property
    def births(self) -> Array:
        """Rows of births by time: step, epoch, layer, birth, parent (-1: none), mass, fitness."""
        return np.concatenate(self._births) if self._births else np.empty(0, BIRTH)

    @property
    def returns(self) -> Array:
        """Returns of extinct input features, under their former birth ids: columns of `births`."""
        return np.concatenate(self._returns) if self._returns else np.empty(0, BIRTH)

    @property
    def ever_born(self) -> tuple[int, ...]:
        """Number of populations born before the run and in it so far, by layer."""
        return ever_born(self.layers, self.born, self.births)

    def lineage(self, layer: str | None = None) -> Array:
        """Return, for every population, the column of its parent in `trajectories`: int64 (n,).

        Immigrants and populations born before the run have -1. If `layer` is given, return parents
        as birth ids instead of columns, for the populations of this layer only.

        Raises:
            KeyError: no such layer.
        """
        parents = parents_of(self.layers, self.ever_born, self.births)
        if layer is None:
            return parents
        own = self._columns_of(layer)
        return np.asarray(np.where(parents[own] >= 0, parents[own] - own.start, -1))

    @property
    def labels(self) -> list[tuple[str, int]]:
        """Layer and birth id of every population ever born, as ordered in `trajectories`."""
        return labels_of(self.layers, self.ever_born)

    @spelled
    def trajectories(self, quantity: Quantity = "mass", layer: str | None = None) -> Array:
        """Return a quantity over time: float32 (records, populations), NaN where not alive.

        Populations are those ever born, by layer and birth id: founders first.

        Args:
            quantity: "mass" (1 at birth), "fitness" (smoothed over generations, nats) or "upkeep"
                (nats).
            layer: restrict to the populations of this layer.

        Raises:
            ValueError: unknown quantity; KeyError: no such layer.
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity: expected mass, fitness or upkeep, got {quantity!r}")
        records = self._records[quantity]
        whole = aligned(records, self._sizes, self.ever_born)
        return whole if layer is None else np.asarray(whole[:, self._columns_of(layer)])

    def diversity(self, order: float = 1.0, layer: str | None = None) -> Array:
        """Return the Hill number of the shares of mass at every record: float64 (records,).

        It is the number of equal masses that would be as diverse (Hill 1973). Order 0 counts living
        populations, 1 is the exponential of the entropy, 2 emphasizes common populations.
        """
        return demography.hill(self.trajectories("mass", layer), order)

    def mean_fitness(self, layer: str | None = None) -> Array:
        """Return the mass-weighted mean fitness at every record: float64 (records,), nats."""
        return demography.mean(*self._mass_and("fitness", layer))

    def fitness_variance(self, layer: str | None = None) -> Array:
        """Return the mass-weighted variance of fitness: float64 (records,), nats^2."""
        return demography.variance(*self._mass_and("fitness", layer))

    def price(self, trait: Quantity = "fitness", layer: str | None = None) -> Price:
        """Return the terms of Price's equation between records, for the mean of a trait.

        Shares of mass are taken within a layer, or within the whole network. An extinct population
        counts as one without descendants, so selection and transmission add up to the change under
        any dynamics (Price 1970).

        Returns:
            Price: steps, change, selection, transmission, each (records - 1,).
        """
        return demography.price(
            self.record_steps, *self._mass_and(trait, layer), self._descent(layer)
        )

    def fisher(self, layer: str | None = None) -> Fisher:
        """Return the terms of Fisher's theorem between records: change in mean growth, by cause.

        Returns:
            Fisher: steps, change, variance, environment, each (records - 2,).
        """
        mass = self.trajectories("mass", layer)
        return demography.fisher(self.record_steps, mass, self._descent(layer))

    def _descent(self, layer: str | None) -> Array | None:
        return self.lineage(layer) if self._births else None

    def _mass_and(self, trait: Quantity, layer: str | None) -> tuple[Array, Array]:
        return self.trajectories("mass", layer), self.trajectories(trait, layer)

    def living(self, layer: str | None = None) -> Array:
        """Return the number of living populations at every record: int64 (records,)."""
        return np.asarray(np.count_nonzero(~np.isnan(self.trajectories("mass", layer)), axis=1))

    def _columns_of(self, layer: str) -> slice:
        if layer not in self.layers:
            raise KeyError(f"no populations in {layer!r}; there are {', '.join(self.layers)}")
        at, born = self.layers.index(layer), self.ever_born
        start = sum(born[:at])
        return slice(start, start + born[at])

    @spelled
    def to_frame(
        self, table: Literal["epochs", "records", "extinctions"] = "epochs"
    ) -> pandas.DataFrame:
        """Return a table as a pandas DataFrame; requires pandas.

        Args:
            table: "epochs" (the columns), "extinctions", or "records" (living populations,
                diversity, mean and variance of fitness, sums of mass and mass * upkeep, by record).

        Raises:
            ImportError: pandas is not installed. ValueError: unknown table.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame() needs pandas: pip install pandas") from error
        if table == "extinctions":
            return pandas.DataFrame(self.extinctions)
        if table == "records":
            mass, upkeep = self._mass_and("upkeep", None)
            columns = {
                "step": self.record_steps,
                "epoch": self.record_steps / self.per_epoch,
                "alive": self.living(),
                "diversity": self.diversity(),
                "mean_fitness": self.mean_fitness(),
                "fitness_variance": self.fitness_variance(),
                "mass": np.nansum(mass, axis=1),
                "upkeep": np.nansum(mass * upkeep, axis=1),
            }
            return pandas.DataFrame(columns).set_index("step")
        if table != "epochs":
            raise ValueError(f"table: expected epochs, records or extinctions, got {table!r}")
        frame = pandas.DataFrame({name: self[name] for name in self})
        return frame.set_index("epoch") if "epoch" in frame else frame

    def plot(self) -> Array:
        """Draw loss, accuracy, living populations and upkeep; see `evoprune.plot.history`."""
        from evoprune import plot

        axes: Array = plot.history(self)
        return axes

    def plot_trajectories(self, **settings: Any) -> Axes:
        """Draw a line for every population; see `evoprune.plot.trajectories`."""
        from evoprune import plot

        return plot.trajectories(self, **settings)

    # ---- filling -----------------------------------------------------------------------------

    def record(self, step: int, network: Network, pressure: float = 0.0) -> None:
        """Record mass, fitness and upkeep of living populations after `step` steps of the run.

        Upkeep is what the core charges in the next generation at `pressure` if fitness is constant.
        """
        self.add_record(step, census(network, pressure))

    def add_record(self, step: int, counted: Mapping[str, Sequence[Array]]) -> None:
        """Append mass, fitness and upkeep of living populations after `step` steps of the run.

        Does nothing if the step already has a record.

        Args:
            step: steps of the run so far.
            counted: birth ids, mass, fitness and upkeep of living populations, (alive,) each, by
                layer.
        """
        if self._steps and step <= self._steps[-1]:
            return
        if self._steps and self._steps[-1] % self.record_every:  # replace a record made at a stop
            self._steps.pop()
            for records in self._records.values():
                records.pop()
        rows = np.full((len(QUANTITIES), sum(self.ever_born)), np.nan, np.float32)
        for layer, (births, *quantities) in counted.items():
            rows[:, self._columns_of(layer)][:, births] = quantities
        self._sizes[rows.shape[1]] = self.ever_born  # a unique key: ever_born only grows
        self._steps.append(int(step))
        for quantity, row in zip(QUANTITIES, rows, strict=True):
            self._records[quantity].append(row)
        if len(self._steps) > 8 and rows.nbytes * len(self._steps) > MOST_BYTES:
            self._thin()

    def _thin(self) -> None:
        """Drop every second record, and record half as often from now on."""
        self.record_every *= 2
        self.thinned += 1
        keep = [i for i, step in enumerate(self._steps) if step % self.record_every == 0]
        self._steps = [self._steps[i] for i in keep]
        for quantity, records in self._records.items():
            self._records[quantity] = [records[i] for i in keep]

    def add_steps(
        self, losses: Array, hits: Array, weights: Array, counted: Array | None = None
    ) -> None:
        """Append the results of further steps, (steps,) each.

        Args:
            losses: mean loss of the batch.
            hits: number of correct predictions.
            weights: sum of the weights of all samples, by which the mean loss is divided.
            counted: number of correct and wrong predictions; `weights` if not given.
        """
        if len(losses) and self._extinctions:  # fill in the loss after the last deaths
            rows: Any = self._extinctions[-1]
            rows["loss_after"][rows["step"] == self.steps_done] = losses[0]
        counted = weights if counted is None else counted
        self._batches.append(np.array([losses, hits, weights, counted], np.float64))
        self.steps_done += len(losses)

    def means(self, first: int) -> tuple[float, float]:
        """Return mean loss and accuracy of batches from step `first` on; NaN if there are none."""
        kept, at = [], self.steps_done
        for batch in reversed(self._batches):
            at -= batch.shape[1]
            kept.append(batch[:, max(0, first - at) :])
            if at <= first:
                break
        losses, hits, weights, counted = (
            np.concatenate(kept[::-1], axis=1) if kept else np.empty((4, 0))
        )
        total = float(weights.sum())
        if total <= 0:
            return np.nan, np.nan
        return float(losses @ weights) / total, float(hits.sum() / counted.sum())

    def add_deaths(self, deaths: Array, layers: Sequence[str], start: int) -> Array:
        """Append deaths as reported by the core; call after `add_steps` of the same steps.

        Args:
            deaths: array with fields step, population (index in `layers`), birth, mass, fitness.
            layers: names of the layers of populations, in the core's order.
            start: steps of the network before the run began.

        Returns:
            The new rows of `extinctions`.
        """
        rows = np.zeros(len(deaths), EXTINCTION)
        if not len(deaths):
            return rows
        step = deaths["step"] - start
        losses = np.append(self._batches[-1][0], np.nan)
        at = step - (self.steps_done - len(losses) + 1)
        rows["step"], rows["epoch"] = step, step / self.per_epoch
        rows["layer"] = np.array(layers)[deaths["population"]]
        for name in ("birth", "mass", "fitness"):
            rows[name] = deaths[name]
        rows["loss_before"], rows["loss_after"] = losses[at - 1], losses[at]
        self._extinctions.append(rows)
        return rows

    def add_births(self, births: Array, layers: Sequence[str], start: int) -> None:
        """Append births as reported by the core; arguments as for `add_deaths`."""
        if not len(births):
            return
        rows = store.birth_rows(births, layers, start, self.per_epoch)
        again = rows["birth"] < np.array(self.born)[births["population"]]  # features of the data
        for kept, those in ((self._births, rows[~again]), (self._returns, rows[again])):
            kept += [those] if len(those) else []

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """Append a row to the columns; if a stop left a row of the same epoch, replace it."""
        epochs = self._columns.get("epoch", [])
        if epochs and np.ceil(epochs[-1]) == np.ceil(row["epoch"]):
            for column in self._columns.values():
                column.pop()
        count = self.epochs_done
        for name, value in row.items():
            self._columns.setdefault(name, [np.nan] * count).append(float(value))
        for column in self._columns.values():
            column.extend([np.nan] * (count + 1 - len(column)))

    def last(self, column: str) -> float:
        """Return the last value of a column; 0 if there is none."""
        values = self._columns.get(column)
        return values[-1] if values else 0.0

    # ---- files -------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the history to one .npz file of plain arrays, atomically.

        `numpy.load(path)` reads it: epochs.COLUMN, steps, mass, fitness, upkeep, batches,
        extinctions, births (if any), and meta (JSON).
        """
        write_whole(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of the file that `save` writes."""
        return store.to_bytes(self)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> History:
        """Read a history that `save` has written.

        Raises:
            FileNotFoundError: the file does not exist.
            OSError: the file cannot be read, or is a device.
            FileFormatError: the file is damaged, inconsistent, or has another format.
        """
        return cls.from_bytes(existing(path).read_bytes(), str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "history") -> History:
        """Make a history from the content of a saved file; `name` is used in error messages."""
        return store.from_bytes(cls, content, name)

    def fill(
        self,
        *,
        columns: dict[str, list[float]],
        steps: list[int],
        records: Mapping[str, list[Array]],
        batches: Array,
        extinctions: Array,
        births: Array,
        returns: Array,
    ) -> None:
        """Take over the content of a file, which `store.check` has checked."""
        self._columns, self._steps = columns, steps
        self._records = {quantity: records[quantity] for quantity in QUANTITIES}
        self._batches = [batches]
        self.steps_done = batches.shape[1]
        self._extinctions = [extinctions] if len(extinctions) else []
        self._births, self._returns = ([of] if len(of) else [] for of in (births, returns))
        self._sizes = {sum(self.ever_born): self.ever_born}

    def __copy__(self) -> History:
        return copy.deepcopy(self)

    # ---- display -----------------------------------------------------------------------------

    def __repr__(self) -> str:
        return display.facts(self)

    def _repr_html_(self) -> str:
        return display.as_html(self)

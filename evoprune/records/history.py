"""What happened in a run: columns by epoch, masses and fitness over time, every extinction.

A history is filled by the trainer, read by people and plots, and saved as one .npz file of plain
arrays (numpy.load reads it, no pickle). It knows no network beyond the arrays it copies.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from evoprune.common import table
from evoprune.common.files import existing, write_whole
from evoprune.common.types import Array
from evoprune.nets.overview import census
from evoprune.records import demography, store
from evoprune.records.demography import Fisher, Price
from evoprune.records.store import EXTINCTION

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from evoprune.nets.network import Network

__all__ = ["EXTINCTION", "History"]

Quantity: TypeAlias = Literal["mass", "fitness", "upkeep"]
QUANTITIES: tuple[Quantity, ...] = ("mass", "fitness", "upkeep")

MOST_BYTES = 64 << 20  # of records; beyond it every second point in time is dropped


class History(Mapping[str, Array]):
    """The story of a run. `history["loss"]` is a column, one number an epoch.

    Columns: epoch, step, loss and accuracy (of the training batches), validation_loss and
    validation_accuracy (where there was validation), alive (populations), alive.NAME (of a layer),
    upkeep (nats, of all living populations together, as the core counts it), macs and parameters
    (of the living network), diversity (Hill number of order 1: so many populations of equal mass),
    fitness_variance (nats squared, weighted by mass), rate, pressure, ms_per_step, seconds (that
    the run has taken), held (times that a layer's floor kept somebody alive).

    Beside the columns there are records, about 150 a run: mass, fitness and upkeep of everybody,
    see `trajectories`; and what follows from them, see `diversity`, `price` and `fisher`.

    Attributes:
        layers: names of the layers of populations; born: how many were born in each.
        steps: int64 (records,): after how many steps of the run records were made.
        per_epoch: steps of an epoch.
        record_every: steps from one record to the next.
        thinned: how often record_every has doubled, and every second record been dropped, for the
            records not to outgrow their bytes (64 MiB).
        steps_done: steps of the run so far.
        interrupted: the run was stopped by Ctrl-C.
        settings: how the run was set up; plain values, for the file.
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
        self.layers, self.born = tuple(layers), tuple(int(n) for n in born)
        self.per_epoch, self.record_every = per_epoch, record_every
        self.settings: dict[str, Any] = dict(settings or {})
        self.interrupted = False
        self.thinned = 0
        self._columns: dict[str, list[float]] = {}
        self._steps: list[int] = []
        self._records: dict[Quantity, list[Array]] = {quantity: [] for quantity in QUANTITIES}
        self._batches: list[Array] = []  # (4, steps) each: loss, hits, weight, counted
        self.steps_done = 0
        self._extinctions: list[Array] = []

    # ---- reading -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
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
    def epochs(self) -> int:
        """Epochs with a row: whole ones, and the part of one that a run may have ended in."""
        return len(self._columns.get("epoch", ()))

    @property
    def steps(self) -> Array:
        """After how many steps of the run masses and fitness were recorded: int64 (records,)."""
        return np.array(self._steps, np.int64)

    @property
    def losses(self) -> Array:
        """Loss of every training batch: float64 (steps,)."""
        losses: Array = self.batches[0]
        return losses

    @property
    def batches(self) -> Array:
        """Loss, right predictions, weight and predictions of every batch: float64 (4, steps)."""
        return np.concatenate(self._batches, axis=1) if self._batches else np.empty((4, 0))

    @property
    def extinctions(self) -> Array:
        """Who died: step, epoch, layer, birth, mass, fitness, loss_before, loss_after.

        A structured array, one row a population, in the order of death. Losses are those of the
        batch after whose update it died and of the next one; two batches differ more than one
        population does, so look at means over many. mass * fitness is what the loss should rise
        by, to first order.
        """
        if not self._extinctions:
            return np.empty(0, EXTINCTION)
        return np.concatenate(self._extinctions)

    @property
    def labels(self) -> list[tuple[str, int]]:
        """Layer and birth id of every founding population, as columns of `trajectories`."""
        return [
            (layer, birth)
            for layer, born in zip(self.layers, self.born, strict=True)
            for birth in range(born)
        ]

    def trajectories(self, quantity: Quantity = "mass", layer: str | None = None) -> Array:
        """One quantity over time: float32 (records, founding populations), NaN after death.

        Args:
            quantity: "mass" (1 at birth), "fitness" (smoothed over generations, nats) or "upkeep"
                (nats).
            layer: only the populations of a layer.

        Raises:
            ValueError: another quantity; KeyError: no such layer.
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity: expected mass, fitness or upkeep, got {quantity!r}")
        records = self._records[quantity]
        whole: Array = np.array(records, np.float32).reshape(len(records), sum(self.born))
        return whole if layer is None else np.asarray(whole[:, self._columns_of(layer)])

    def diversity(self, order: float = 1.0, layer: str | None = None) -> Array:
        """Hill number of the shares of mass at every record: float64 (records,).

        So many populations of equal mass would be as diverse. Order 0 counts the living, 1 weighs
        them by their share (e to the entropy), 2 heeds the common ones only (Hill 1973).
        """
        return demography.hill(self.trajectories("mass", layer), order)

    def mean_fitness(self, layer: str | None = None) -> Array:
        """Fitness at every record, mean weighted by mass: float64 (records,), nats."""
        return demography.mean(*self._mass_and("fitness", layer))

    def fitness_variance(self, layer: str | None = None) -> Array:
        """Variance of fitness at every record, weighted by mass: float64 (records,), nats^2."""
        return demography.variance(*self._mass_and("fitness", layer))

    def price(self, trait: Quantity = "fitness", layer: str | None = None) -> Price:
        """Price's equation from each record to the next, for the mean of a trait.

        The populations whose shares of mass count are those of a layer, or of the whole network.
        An extinct population is one with no descendants, so the two terms add up to the change
        exactly, whatever the dynamics (Price 1970).

        Returns:
            Price: steps, change, selection, transmission, each (records - 1,).
        """
        return demography.price(self.steps, *self._mass_and(trait, layer))

    def fisher(self, layer: str | None = None) -> Fisher:
        """Fisher's theorem from each record to the next: what the variance of growth adds to it.

        Returns:
            Fisher: steps, change, variance, environment, each (records - 2,).
        """
        return demography.fisher(self.steps, self.trajectories("mass", layer))

    def _mass_and(self, trait: Quantity, layer: str | None) -> tuple[Array, Array]:
        return self.trajectories("mass", layer), self.trajectories(trait, layer)

    def alive(self, layer: str | None = None) -> Array:
        """Count the living at every record: int64 (records,)."""
        return np.asarray(np.count_nonzero(~np.isnan(self.trajectories("mass", layer)), axis=1))

    def _columns_of(self, layer: str) -> slice:
        if layer not in self.layers:
            raise KeyError(f"no populations in {layer!r}; there are {', '.join(self.layers)}")
        at = self.layers.index(layer)
        start = sum(self.born[:at])
        return slice(start, start + self.born[at])

    def to_frame(
        self, table: Literal["epochs", "records", "extinctions"] = "epochs"
    ) -> pandas.DataFrame:
        """One of the tables as a pandas DataFrame; pandas must be installed.

        Args:
            table: "epochs" (the columns), "records" (the living, their diversity, mean fitness and
                its variance, mass and upkeep in all, by record) or "extinctions".
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
                "step": self.steps,
                "epoch": self.steps / self.per_epoch,
                "alive": self.alive(),
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
        """Draw loss, accuracy, living and upkeep; see `evoprune.plot.history`."""
        from evoprune import plot

        axes: Array = plot.history(self)
        return axes

    def plot_trajectories(self, **settings: Any) -> Axes:
        """Draw a line a population; see `evoprune.plot.trajectories`."""
        from evoprune import plot

        return plot.trajectories(self, **settings)

    # ---- filling -----------------------------------------------------------------------------

    def record(self, step: int, network: Network, pressure: float = 0.0) -> None:
        """Copy mass, fitness and upkeep of the living, after `step` steps of the run.

        Upkeep is what the core takes in the next generation at `pressure`, if fitness stays.
        """
        self.add_record(step, census(network, pressure))

    def add_record(self, step: int, counted: Mapping[str, Sequence[Array]]) -> None:
        """Append mass, fitness and upkeep of the living, after `step` steps of the run.

        A step that has a record already is left out.

        Args:
            step: steps of the run so far.
            counted: birth ids, mass, fitness and upkeep of the living, (alive,) each, by layer.
        """
        if self._steps and step <= self._steps[-1]:
            return
        if self._steps and self._steps[-1] % self.record_every:  # where the run stood still
            self._steps.pop()
            for records in self._records.values():
                records.pop()
        rows = np.full((len(QUANTITIES), sum(self.born)), np.nan, np.float32)
        for layer, (births, *quantities) in counted.items():
            rows[:, self._columns_of(layer)][:, births] = quantities
        self._steps.append(int(step))
        for quantity, row in zip(QUANTITIES, rows, strict=True):
            self._records[quantity].append(row)
        if len(self._steps) > 8 and rows.nbytes * len(self._steps) > MOST_BYTES:
            self._thin()

    def _thin(self) -> None:
        """Keep the records of every second point in time, and record half as often from now on."""
        self.record_every *= 2
        self.thinned += 1
        keep = [i for i, step in enumerate(self._steps) if step % self.record_every == 0]
        self._steps = [self._steps[i] for i in keep]
        for quantity, records in self._records.items():
            self._records[quantity] = [records[i] for i in keep]

    def add_steps(
        self, losses: Array, hits: Array, weights: Array, counted: Array | None = None
    ) -> None:
        """Append further steps, what their batches gave.

        Args:
            losses: mean loss (steps,).
            hits: right predictions.
            weights: total weight in the mean, by class weights.
            counted: predictions that were judged, right or wrong; their weight if not given.
        """
        if len(losses) and self._extinctions:  # what came after the last deaths
            rows: Any = self._extinctions[-1]
            rows["loss_after"][rows["step"] == self.steps_done] = losses[0]
        counted = weights if counted is None else counted
        self._batches.append(np.array([losses, hits, weights, counted], np.float64))
        self.steps_done += len(losses)

    def means(self, first: int) -> tuple[float, float]:
        """Mean loss and accuracy of the training batches from step `first` on; NaN of none."""
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
        """Append deaths as the core reports them, after `add_steps` of the same steps.

        Args:
            deaths: step, population, birth, mass, fitness.
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

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """Append a row to the columns, in place of one that a stop has cut short."""
        epochs = self._columns.get("epoch", [])
        if epochs and np.ceil(epochs[-1]) == np.ceil(row["epoch"]):
            for column in self._columns.values():
                column.pop()
        count = self.epochs
        for name, value in row.items():
            self._columns.setdefault(name, [np.nan] * count).append(float(value))
        for column in self._columns.values():
            column.extend([np.nan] * (count + 1 - len(column)))

    def last(self, column: str) -> float:
        """The last number of a column; 0 where there is none."""
        values = self._columns.get(column)
        return values[-1] if values else 0.0

    # ---- files -------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one .npz file of plain arrays, whole or not at all.

        `numpy.load(path)` reads it: epochs.COLUMN, steps, mass, fitness, upkeep, batches (loss,
        right predictions, weight, number of them of every step), extinctions, and meta, in JSON.
        """
        write_whole(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of the file that `save` writes."""
        return store.to_bytes(self)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> History:
        """Read a history that `save` has written.

        Raises:
            FileNotFoundError: no such file.
            OSError: it cannot be read, or is a folder or a device.
            FileFormatError: damaged, inconsistent, or another kind of file; the file is named.
        """
        return cls.from_bytes(existing(path).read_bytes(), str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "history") -> History:
        """Make a history of the content of such a file; `name` is for error texts."""
        return store.from_bytes(cls, content, name)

    def fill(
        self,
        *,
        columns: dict[str, list[float]],
        steps: list[int],
        records: Mapping[str, list[Array]],
        batches: Array,
        extinctions: Array,
    ) -> None:
        """Take over the content of a file, which `store.check` has checked."""
        self._columns, self._steps = columns, steps
        self._records = {quantity: records[quantity] for quantity in QUANTITIES}
        self._batches = [batches]
        self.steps_done = batches.shape[1]
        self._extinctions = [extinctions] if len(extinctions) else []

    def __copy__(self) -> History:
        return copy.deepcopy(self)

    # ---- how it is shown ---------------------------------------------------------------------

    def _facts(self) -> str:
        if not self.epochs:
            return "History: no epoch yet"
        parts = [f"{self['epoch'][-1]:g} epochs", f"{self.steps_done:,} steps"]
        if "loss" in self:
            parts.append(f"loss {self['loss'][-1]:.4f}")
        for name, text in (
            ("validation_accuracy", "validation accuracy"),
            ("accuracy", "accuracy"),
        ):
            if name in self and not np.isnan(self[name][-1]):
                parts.append(f"{text} {self[name][-1]:.2%}")
                break
        if self.layers and "alive" in self:
            parts.append(f"{self['alive'][-1]:,.0f} of {sum(self.born):,} alive")
        if self.interrupted:
            parts.append("interrupted")
        return f"History: {', '.join(parts)}"

    def __repr__(self) -> str:
        return self._facts()

    def _repr_html_(self) -> str:
        names = ["epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "alive"]
        shown = [n for n in (*names, "upkeep", "ms_per_step") if n in self]
        rows = [
            [
                f"{v:.0f}" if n in ("epoch", "alive") else f"{v:.4g}"
                for n, v in zip(shown, r, strict=True)
            ]
            for r in zip(*(self[n] for n in shown), strict=True)
        ]
        if len(rows) > 20:
            rows = [*rows[:10], ["…"] * len(shown), *rows[-9:]]
        return table.as_html(self._facts(), [n.replace("_", " ") for n in shown], rows)

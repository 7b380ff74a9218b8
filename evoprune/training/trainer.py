"""The public class `Trainer`: plan, run, stop and resume training.

`fit` plans the whole run: its schedules cover all of its steps. A run can stop anywhere (Ctrl-C, a
callback, `until`) and be continued by `resume`, here or in another process; the result is then
bit-identical to that of a run that did not stop. The core executes the steps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from os import PathLike
from typing import Any

from numpy.typing import ArrayLike

from evoprune.common.checks import number, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.core.spec import resolve
from evoprune.data.dataset import Dataset
from evoprune.data.table import Form, Pair, Score, Table, table_of
from evoprune.nets.network import Network
from evoprune.records.history import History
from evoprune.selection.groups import Loss, Optimizer
from evoprune.selection.laws import AdamW, LossName, OptimizerName
from evoprune.selection.python_laws import PythonLoss
from evoprune.selection.settings import Selection
from evoprune.training.arguments import (
    augment_of,
    checked_data,
    former_places,
    limit_of,
    parted,
)
from evoprune.training.callbacks import Callback, listed
from evoprune.training.feed import Data, Feed, feed_of
from evoprune.training.given import check_same, given, kept
from evoprune.training.live import Live, view_of
from evoprune.training.loop import Loop
from evoprune.training.metrics import Measures, Metrics, measures
from evoprune.training.pace import Pace, warn_of_standstill
from evoprune.training.plan import Plan, plan_of
from evoprune.training.ranks import Communicator, Ranks, together
from evoprune.training.run import Bar, Run, spacing
from evoprune.training.state import Memory, State, matched, read, remembered, settings_of, write
from evoprune.training.steering import budget_of
from evoprune.training.weights import ClassWeights, weigh

__all__ = ["Trainer"]


@spelled
class Trainer:
    """Trains a network under selection.

    Args:
        network: what to train; it is changed in place.
        loss: a loss (`CrossEntropy(label_smoothing=0.1)`), its name, or a Python function, see
            `evoprune.loss`.
        optimizer: `AdamW(learning_rate, weight_decay=...)`, `SGD(...)`, or a name.
        selection: how populations live and die; None trains an ordinary network.
        communicator: `mpi4py.MPI.COMM_WORLD`, or an object with its methods: several processes
            share every batch. All must make the same calls; rank 0 shows progress and calls
            callbacks.

    Attributes:
        network, loss, optimizer, selection: as given.
        history: history of the last run; None before the first.
        validates: True if the current run evaluates on validation data.
        measured: columns of the history that the metrics of the current run fill.

    Raises:
        ValueError, TypeError: a law or setting does not exist, or does not fit the network.
    """

    def __init__(
        self,
        network: Network,
        *,
        loss: LossName | Loss | PythonLoss = "cross_entropy",
        optimizer: OptimizerName | Optimizer = AdamW(),  # noqa: B008 - immutable
        selection: Selection | None = Selection(),  # noqa: B008 - immutable
        communicator: Communicator | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, got {type(network).__name__}")
        if selection is not None and not isinstance(selection, Selection):
            raise TypeError(f"selection: expected a Selection or None, got {selection!r}")
        self.network = network
        self.loss: Loss | PythonLoss
        self.loss = loss if isinstance(loss, PythonLoss) else resolve(Loss, loss, "Trainer")
        self.optimizer = resolve(Optimizer, optimizer, "Trainer")
        self.selection = selection
        self._ranks = Ranks(communicator)
        self.history: History | None = None
        self._run: Run | None = None
        self._batches = 0  # batches trained by earlier runs
        self._measures = Measures({})
        self.validates, self.measured = False, list[str]()
        self._loop: Loop | None = None  # the current loop; None between runs
        self._memories: list[Memory] = []  # states of the callbacks of the last run
        self._standing: Network | None = None  # the network that `keep` replaced
        self._configure()

    def _configure(self, run: Run | None = None) -> None:
        """Configure the core for this trainer, in case another trainer has configured it.

        Time constants of the selection that are None get values that fit the run `run`, or the last
        run if `run` is None.
        """
        self._core, selection, run = self.network.core, self.selection, run or self._run
        if selection is not None and run is not None:
            selection = selection.timed(lifespan=run.lifespan)
        self.network.configure(
            loss=self.loss.kind,
            loss_config=self.loss.config(),
            optimizer=self.optimizer.kind,
            optimizer_config=self.optimizer.config(),
            clip=self.optimizer.clip,
            selection=None if selection is None else selection.config(),
        )

    # ---- runs --------------------------------------------------------------------------------

    @spelled
    def plan(
        self,
        data: Data | ArrayLike,
        y: ArrayLike | None = None,
        *,
        epochs: int = 20,
        batch_size: int = 128,
        steps: int | None = None,
        validation_split: float | None = None,
    ) -> Plan:
        """Return the plan of the run that `fit` would make with these arguments; it can be printed.

        The plan has the number of generations, the lifespan, the earliest possible extinction, the
        share of populations expected to be alive at the end, and the memory. Nothing is changed.
        """
        self._idle("plan")
        feed = feed_of(data, y, batch_size, True, steps, self._form())
        feed, _ = parted(self.network, feed, None, validation_split, batch_size, steps)
        feed.check(self.network)
        epochs = whole("epochs", epochs, 0)
        run = Run(epochs, feed.per_epoch, int(batch_size), 0, True, None, steps=steps)
        return plan_of(self, feed, run, self._pace(run))

    @together(batch="batch_size", validation="validation_data")
    def fit(
        self,
        data: Data | ArrayLike,
        y: ArrayLike | None = None,
        *former: Any,
        epochs: int = 20,
        batch_size: int = 128,
        validation_data: Dataset | Pair | None = None,
        validation_split: float | None = None,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool = True,
        live: bool = False,
        shuffle: bool = True,
        augment: dict[str, Any] | None = None,
        until: float | None = None,
        steps: int | None = None,
        record_every: int | None = None,
        sample_weight: ArrayLike | None = None,
        class_weights: ClassWeights | None = None,
        metrics: Metrics = (),
        training_metrics: bool = False,
        seconds: float | None = None,
    ) -> History:
        """Train from the start to the end of a run: fit(data), fit(x, y) or fit((x, y)).

        Ctrl-C stops the run between two steps: everything learned and recorded so far is kept,
        `history.interrupted` is True, and `resume` continues. A second Ctrl-C raises
        KeyboardInterrupt.

        Args:
            data: a data set; a pair of arrays (x, y), where x (samples, ...) has any real type and
                y has labels or values; x alone, if y is given; or an iterable of batches (x, y),
                read in order, once per epoch. The network adopts a data set's scaling and classes.
            y: targets, if data is x.
            former: epochs and batch_size by position, as in earlier releases; pass them by name.
            epochs: length of the whole run; schedules span it.
            batch_size: samples per step; the last batch of an epoch may be smaller.
            validation_data: a data set or (x, y) to evaluate after every epoch; its labels are
                matched to the classes of the training data.
            validation_split: instead of `validation_data`, the share of the samples to validate on;
                they are drawn with the network's seed and not trained on.
            callbacks: a `Callback`, or several.
            progress: show a progress bar.
            live: instead of the bar, show loss, accuracy, the living populations and their masses
                during training in a notebook, or a table in a terminal.
            shuffle: shuffle the samples again every epoch, with the network's seed.
            augment: {"shift": pixels, "flip": bool}: shift images at random by up to this number of
                pixels along each axis; mirror them left to right with probability 1/2.
            until: stop after this number of epochs (may be fractional); `resume` continues.
            steps: steps per epoch, if an epoch is not one pass through the data, or if an iterable
                has no length. The order of samples continues across epochs, so that every sample
                is seen once before any is seen again.
            record_every: steps from one record of masses and fitness to the next. By default about
                150 records per run, fewer in a run of few epochs.
            sample_weight: weights of the samples (samples,), or of the predictions of sequences
                (samples, positions): finite, at least 0. A batch's loss is a weighted mean. An
                iterable yields batches (x, y, weights) instead.
            class_weights: weights by class number or name, 1 for classes not named; or "balanced":
                n / (k * n_c) for class c, where n_c of the n targets are of class c, and k classes
                occur. Multiplied by sample_weight if both are given.
            metrics: further columns, computed on the validation data after every epoch: names
                (accuracy, top5, balanced_accuracy, f1, auc, r2, mae, rmse), functions of targets
                and outputs, or a dict of them by name. Columns are named "validation_" + name.
            training_metrics: also compute the metrics on the training data after every epoch, in a
                further pass without augmentation or weights: columns "training_" + name.
            seconds: stop after this time, even within an epoch; `resume` continues.

        Returns:
            The history, also available as `history`.

        Raises:
            ValueError, TypeError: the data does not fit; nothing has changed.
            Diverged: the loss is not finite; the network is as it was before that step.
        """
        self._idle("fit")
        y, epochs, batch_size = former_places(data, y, former, epochs, batch_size)
        epochs, listeners = whole("epochs", epochs, 0), listed(callbacks)
        augment = augment_of(augment)
        self._measures, limit = measures(metrics, training_metrics), limit_of(seconds)
        feed = feed_of(data, y, batch_size, shuffle, steps, self._form())
        weigh(feed, sample_weight, class_weights, self.network.dtype)
        feed, held_out = parted(
            self.network, feed, validation_data, validation_split, batch_size, steps
        )
        per_epoch = feed.per_epoch
        batches = self._batches if self._run is None else self._run.first + self._run.done
        first = -(-batches // per_epoch) * per_epoch
        run = Run(
            epochs,
            per_epoch,
            int(batch_size),
            first,
            feed.shuffle and shuffle,
            augment,
            steps=steps,
            samples=feed.samples,
            validation_split=validation_split,
            **given(sample_weight, class_weights, self._measures),
        )
        pace, end = self._pace(run), run.end(until)
        self._configure(run)
        held_out = checked_data(
            self.network, self.loss, feed, held_out, validation_data, self._measures
        )
        if record_every is None:
            record_every = spacing(run.total, per_epoch)
        record_every = whole("record_every", record_every, 1)
        born = self.network.ever_born
        if self._ranks.first:
            warn_of_standstill(pace, run, self.network.born)
        self._run, self._batches = run, batches
        self._memories, self._standing = [], None
        self.history = History(
            tuple(born),
            tuple(born.values()),
            per_epoch=per_epoch,
            record_every=record_every,
            settings=settings_of(self, run, pace.selection),
        )
        view = view_of(run, progress and self._ranks.first, live and self._ranks.first)
        return self._go(feed, pace, held_out, listeners, view, end, limit)

    @together(validation="validation_data")
    def resume(
        self,
        data: Data | ArrayLike,
        y: ArrayLike | None = None,
        *,
        validation_data: Dataset | Pair | None = None,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool = True,
        live: bool = False,
        until: float | None = None,
        sample_weight: ArrayLike | None = None,
        class_weights: ClassWeights | None = None,
        metrics: Metrics = (),
        training_metrics: bool | None = None,
        seconds: float | None = None,
    ) -> History:
        """Continue a run that has stopped before its end, on the same data.

        Args:
            data, y: those of `fit`; `validation_split` draws the same validation samples again.
            validation_data, callbacks, progress, live, until, sample_weight: as for `fit`.
            class_weights, metrics, training_metrics: those of `fit` if not given.
            seconds: as for `fit`; limits the whole run, including the time before the stop.

        Returns:
            The history of the whole run.

        Raises:
            ValueError: there is no run to continue; the data has another length or other columns;
                or `fit` had sample weights or a metric function that are not given again.
        """
        self._idle("resume")
        run, _ = self._running()
        listeners, end = listed(callbacks), run.end(until)
        weights, self._measures = kept(run, sample_weight, class_weights, metrics, training_metrics)
        limit = limit_of(seconds)
        feed = feed_of(data, y, run.batch, run.shuffle, run.steps, self._form())
        weigh(feed, sample_weight, weights, self.network.dtype)
        feed, held_out = parted(
            self.network, feed, validation_data, run.validation_split, run.batch, run.steps
        )
        held_out = checked_data(
            self.network, self.loss, feed, held_out, validation_data, self._measures
        )
        check_same(run, feed, self.network)
        view = view_of(run, progress and self._ranks.first, live and self._ranks.first)
        return self._go(feed, self._pace(run), held_out, listeners, view, end, limit)

    def _running(self) -> tuple[Run, History]:
        if self._run is None or self.history is None:
            raise ValueError("resume: there is no run to continue; call fit first")
        return self._run, self.history

    def _idle(self, what: str) -> None:
        if self._loop is not None:
            raise RuntimeError(
                f"{what}: a run is in progress; a callback may read, save and stop it; "
                "use another trainer for anything else"
            )

    def stop(self) -> None:
        """Stop the run before its next step; for callbacks."""
        if self._loop is not None:
            self._loop.stopping = True

    @property
    def slowed(self) -> float:
        """Factor on the remaining planned learning rates; 1 if `slow` was never called."""
        return 1.0 if self._run is None else self._run.slowed

    def slow(self, factor: float) -> None:
        """Multiply the remaining learning rates of the run by a factor; for callbacks.

        Raises:
            ValueError: the factor is not a finite number above 0, or there is no run.
        """
        if not number("slow: factor", factor, 0, 1e300) > 0:
            raise ValueError(f"slow: factor: expected a number above 0, got {factor!r}")
        self._running()[0].slowed *= float(factor)

    def keep(self, network: Network) -> None:
        """Replace the trained network by `network` when the run ends; for callbacks.

        `resume` still continues from the trained network.
        """
        if self._loop is not None:
            self._loop.kept = network

    def _form(self) -> Form:
        """Return the form of data that the network reads with this trainer's loss."""
        self._configure()
        return self.network.form(self.loss)

    def _pace(self, run: Run) -> Pace:
        budget, selection = budget_of(self.selection), self.selection
        if budget is not None and run.pressure is None and selection is not None:
            run.pressure = budget.first(self.network, selection.upkeep == "soft")
        return Pace(self.optimizer, self.selection, run)

    def _go(
        self,
        feed: Feed,
        pace: Pace,
        held_out: Table | None,
        listeners: list[Callback],
        view: Bar | Live,
        end: int,
        limit: float,
    ) -> History:
        """Restore callbacks, and the trained network if `keep` replaced it; then run the loop."""
        listeners = listeners if self._ranks.first else []
        memories = matched(listeners, self._memories)
        run, history = self._running()
        loop = Loop(
            self,
            self._again_configured,
            run,
            history,
            feed,
            pace,
            held_out,
            self._measures,
            listeners,
            view,
            end,
            limit,
            self._ranks,
        )
        self._loop, self.validates = loop, held_out is not None
        self.measured = self._measures.columns(self.validates)
        try:
            if self._standing is not None:
                self.network.become(self._standing)
                self._standing = None
                self._configure()
            for listener, memory in zip(listeners, memories, strict=True):
                listener.restore(memory)
            loop.go()
            if loop.standing is not None:
                self._standing = loop.standing
                self._configure()
            return history
        finally:
            self._memories = remembered(listeners, self._memories)
            self._loop = None

    def _again_configured(self) -> None:
        """Configure the core if a callback has replaced it by network.become()."""
        if self.network.core is not self._core:
            self._configure()

    # ---- results -----------------------------------------------------------------------------

    @spelled
    def evaluate(
        self, data: Data | ArrayLike, y: Any = None, *, sample_weight: ArrayLike | None = None
    ) -> Score:
        """Return mean loss and accuracy on a data set, (x, y) or x with y; see Network.evaluate."""
        table = table_of("data", data if y is None else (data, y), self._form())
        return self.network.score(table, weights=sample_weight)

    def predict(self, x: Dataset | ArrayLike) -> Array:
        """Return outputs for a data set, samples or one sample; see `Network.predict`."""
        return self.network.predict(x)

    # ---- state -------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return a copy of all that `resume` depends on: network, run, history, callbacks.

        Pass it to `restore` of this trainer, or of another one with the same loss, optimizer and
        selection.
        """
        return self._state().as_dict()

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state to a file, without loss, optimizer and selection.

        `evoprune.load` reads only the network from this file, `restore` the whole state.
        """
        write(self._state(), path)

    def _state(self) -> State:
        memories = self._memories
        if self._loop is not None:
            memories = remembered(self._loop.listeners, memories)
        return State(self.network, self._run, self.history, self._batches, self._standing, memories)

    def restore(self, saved: dict[str, Any] | str | PathLike[str]) -> None:
        """Restore a state from `state()`, or from a file written by `save` or `Checkpoint`.

        The whole state is read and checked first; on an error nothing has changed.

        Raises:
            FileNotFoundError: the file does not exist.
            FileFormatError: the file is damaged, or does not hold a state.
            ValueError: the state belongs to a network of another structure.
        """
        self._idle("restore")
        new = State.of(saved) if isinstance(saved, dict) else read(saved)
        self.network.become(new.network)
        self._run, self.history, self._batches = new.run, new.history, new.batches
        self._memories = new.callbacks
        self._standing = None if new.standing is None else new.standing.copy()
        self._configure()

    def __copy__(self) -> Trainer:
        return copy.deepcopy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle loss, optimizer, selection and state; a run in progress is pickled as stopped."""
        laws = {"loss": self.loss, "optimizer": self.optimizer, "selection": self.selection}
        return _again, (laws, self.state())

    def __repr__(self) -> str:
        return (
            f"Trainer(loss={self.loss!r}, optimizer={self.optimizer!r}, "
            f"selection={self.selection!r})\n{self.network!r}"
        )


def _again(laws: dict[str, Any], saved: dict[str, Any]) -> Trainer:
    """Return the trainer that `Trainer.__reduce__` has pickled."""
    trainer = Trainer(saved["network"], **laws)
    trainer.restore(saved)
    return trainer

"""Training: runs of steps cut into stretches, and between them all that Python wants to see or do.

A run is planned whole when `fit` begins: its schedules are arrays over all of its steps. It may
stop anywhere (Ctrl-C, a callback, `until`) and be taken up by `resume`, here or in another process,
and then ends with the same bits as if it had not stopped. What a step does is the core's business.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evoprune.common.checks import whole
from evoprune.common.errors import FileFormatError, NothingCanDie
from evoprune.common.threads import get_threads
from evoprune.common.types import Array
from evoprune.core.spec import resolve
from evoprune.data.dataset import Dataset
from evoprune.data.table import Pair, Score, arrays_of, table_of
from evoprune.nets import file
from evoprune.nets.network import Network
from evoprune.nets.overview import census
from evoprune.records.demography import hill, variance
from evoprune.records.history import History
from evoprune.selection.budget import MARKS, Budget
from evoprune.selection.laws import AdamW, Loss, Optimizer
from evoprune.selection.schedules import cosine, values
from evoprune.selection.settings import Selection
from evoprune.training.callbacks import Callback
from evoprune.training.feed import Data, Feed, Schedules, feed_of
from evoprune.training.live import Live
from evoprune.training.run import Bar, Crew, Interrupt, Run, Watch, spacing

__all__ = ["Trainer"]


class Trainer:
    """Trains a network under selection.

    Args:
        network: what to train; it is changed in place.
        loss: a loss (`CrossEntropy(label_smoothing=0.1)`) or its name.
        optimizer: `AdamW(rate, decay=...)`, `SGD(rate, ...)`, or a name.
        selection: how populations live and die; None trains an ordinary network.

    Attributes:
        network, loss, optimizer, selection: as given.
        history: of the latest run; None before the first.

    Raises:
        ValueError, TypeError: a law or setting that does not exist or does not fit the network.
    """

    def __init__(
        self,
        network: Network,
        *,
        loss: str | Loss = "cross_entropy",
        optimizer: str | Optimizer = AdamW(),  # noqa: B008 - cannot be changed
        selection: Selection | None = Selection(),  # noqa: B008 - cannot be changed
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, got {type(network).__name__}")
        if selection is not None and not isinstance(selection, Selection):
            raise TypeError(f"selection: expected a Selection or None, got {selection!r}")
        self.network = network
        self.loss = resolve(Loss, loss, "Trainer")
        self.optimizer = resolve(Optimizer, optimizer, "Trainer")
        self.selection = selection
        self.history: History | None = None
        self._run: Run | None = None
        self._batches = 0  # of earlier runs
        self._stopping = False
        self._configure()

    def _configure(self) -> None:
        """Tell the core what this trainer trains by; another one may have told it otherwise."""
        self.network.configure(
            loss=self.loss.kind,
            loss_config=self.loss.config(),
            optimizer=self.optimizer.kind,
            optimizer_config=self.optimizer.config(),
            clip=self.optimizer.clip,
            selection=None if self.selection is None else self.selection.config(),
        )

    # ---- runs --------------------------------------------------------------------------------

    def fit(
        self,
        data: Data,
        epochs: int = 20,
        batch: int = 128,
        *,
        validation: Dataset | Pair | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool = True,
        live: bool = False,
        shuffle: bool = True,
        augment: dict[str, Any] | None = None,
        until: float | None = None,
        steps: int | None = None,
        record_every: int | None = None,
    ) -> History:
        """Begin a run and train to its end.

        Ctrl-C stops it between two steps: what was learned and recorded so far is kept, the history
        says `interrupted`, and `resume` goes on. A second Ctrl-C raises KeyboardInterrupt.

        Args:
            data: a data set; arrays (x, y), x (samples, ...) of any real type, y class numbers or
                values; or an iterable of batches (x, y), gone through once an epoch in its order.
            epochs: length of the whole run, over which schedules stretch.
            batch: samples of a step; the last batch of an epoch may be smaller.
            validation: a data set or (x, y) to evaluate on after every epoch.
            callbacks: see `Callback`.
            progress: show a bar.
            live: in a notebook, show loss, accuracy, the living and their masses while it goes; in
                a terminal, a table. In place of the bar.
            shuffle: draw samples in an order of the network's seed, another every epoch.
            augment: {"shift": pixels, "flip": bool} for images.
            until: stop after so many epochs (or a fraction) of the run; `resume` goes on.
            steps: steps of an epoch, where an epoch is not once through the data, or for an
                iterable that does not know its length. The order of samples goes on across epochs,
                so that every sample is seen once before any is seen again.
            record_every: steps from one record of masses and fitness to the next; about 150 records
                a run if not given, fewer in one of few epochs.

        Returns:
            The history, also at `history`.

        Raises:
            ValueError, TypeError: the data does not fit; nothing has changed.
            Diverged: the loss is not finite; the network is as it was before that step.
        """
        epochs = whole("epochs", epochs, 0)
        feed = feed_of(data, batch, shuffle, steps)
        held_out = self._checked(feed, validation)
        per_epoch = feed.per_epoch
        batches = self._batches if self._run is None else self._run.first + self._run.done
        first = -(-batches // per_epoch) * per_epoch
        run = Run(
            epochs, per_epoch, int(batch), first, feed.shuffle and shuffle, augment, steps=steps
        )
        pace = self._schedules(run)
        if record_every is None:
            record_every = spacing(run.total, per_epoch)
        record_every = whole("record_every", record_every, 1)
        self._warn(run)
        born = self.network.born
        self._run, self._batches = run, batches
        self.history = History(
            tuple(born),
            tuple(born.values()),
            per_epoch=per_epoch,
            record_every=record_every,
            settings=self._settings(run),
        )
        return self._go(feed, pace, held_out, callbacks, _view(run, progress, live), until)

    def resume(
        self,
        data: Data,
        *,
        validation: Dataset | Pair | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool = True,
        live: bool = False,
        until: float | None = None,
    ) -> History:
        """Go on with a run that has stopped before its end, on the same data.

        Args:
            data: what the run began with; it is not part of the state of a trainer.
            validation, callbacks, progress, live, until: as for `fit`.

        Returns:
            The history of the whole run.

        Raises:
            ValueError: there is no run to go on with, or the data is of another length.
        """
        run, _ = self._running()
        feed = feed_of(data, run.batch, run.shuffle, run.steps)
        if feed.per_epoch != run.per_epoch:
            raise ValueError(
                f"data: expected {run.per_epoch} batches an epoch, as the run began with, "
                f"got {feed.per_epoch}"
            )
        held_out = self._checked(feed, validation)
        view = _view(run, progress, live)
        return self._go(feed, self._schedules(run), held_out, callbacks, view, until)

    def _running(self) -> tuple[Run, History]:
        if self._run is None or self.history is None:
            raise ValueError("resume: there is no run to go on with; fit begins one")
        return self._run, self.history

    def stop(self) -> None:
        """End the run before its next step; for callbacks."""
        self._stopping = True

    def _checked(self, feed: Feed, validation: Any) -> Any:
        """Look at all data before the first step; what to validate on."""
        self._configure()
        feed.check(self.network)
        scaling = feed.scaling or self.network.input_scaling
        if validation is None:
            return None
        self.network.core.check_data(*table_of("validation", validation, scaling))
        return validation

    def _schedules(self, run: Run) -> Schedules:
        rate = values("optimizer: rate", self.optimizer.rate, run.total, cosine)
        if self.selection is None:
            still = np.zeros(run.total)
            return Schedules(rate, still, still)
        pressure = self.selection.pressures(run.total)
        strength = self.selection.strengths(run.total, rate)
        if self._budget is not None:
            if run.pressure is None:
                run.pressure = self._budget.first(self.network, self.selection.upkeep == "soft")
            pressure[:] = run.pressure
            strength[0 if run.resting else run.total :] = 0
        return Schedules(rate, pressure, strength)

    def _settings(self, run: Run) -> dict[str, Any]:
        return {
            "network": self.network.spec,
            "dtype": self.network.dtype,
            "loss": repr(self.loss),
            "optimizer": repr(self.optimizer),
            "selection": repr(self.selection),
            "run": asdict(run),
        }

    def _warn(self, run: Run) -> None:
        if self.selection is None or not run.total:
            return
        rate = values("optimizer: rate", self.optimizer.rate, run.total, cosine)
        why = self.selection.stands_still(run.total, rate)
        if not self.network.born:
            why = "the network has no populations with a mass"
        if why:
            warnings.warn(
                f"nobody can become extinct in this run: {why}", NothingCanDie, stacklevel=3
            )

    # ---- one way through a run ---------------------------------------------------------------

    def _go(
        self,
        feed: Feed,
        pace: Schedules,
        held_out: Any,
        callbacks: Iterable[Callback],
        view: Bar | Live,
        until: float | None,
    ) -> History:
        network = self.network
        run, history = self._running()
        end = run.total if until is None else min(run.total, round(until * run.per_epoch))
        network.loss, network.selection = self.loss, self.selection
        if feed.scaling is not None:
            network.scale_input(*feed.scaling)
        listeners = list(callbacks)
        self._stopping, history.interrupted = False, False
        watch, crew = Watch(*(history.last(name) for name in ("seconds", "held"))), Crew()
        if run.total:
            network.pressure = float(pace.pressure[min(run.done, run.total - 1)])
        self._record()
        for listener in listeners:
            listener.on_fit_begin(self)
        with Interrupt() as interrupt, view as bar:
            while run.done < end and not self._stopping and not interrupt.seen:
                self._steer(pace)
                threads, steps = crew.hire(), max(1, watch.steps // crew.haste)
                mark = min(end, self._next_stop(run, history))
                before, stop = run.done, min(mark, run.done + steps)
                seen = stop == mark or bool(listeners)  # someone may look at the last batch
                deaths = self._stretch(feed, pace.cut(run.done, stop), watch, threads, seen)
                crew.paid(stop - before, watch.seconds_a_step)
                if len(deaths):
                    for listener in listeners:
                        listener.on_extinction(self, deaths)
                if run.done % run.per_epoch == 0:
                    self._end_epoch(pace, watch, held_out, listeners)
                bar.show(history, run, watch, network)
            history.interrupted = interrupt.seen and run.done < end
            if run.done % run.per_epoch:
                self._end_epoch(pace, watch, None, [])
            self._record()
            # A run that has stopped before its end goes on with the arrays as they are: where sums
            # are taken along populations, removal changes their order and so the last bits.
            if run.done == run.total and (
                self.selection is None or self.selection.removal != "never"
            ):
                network.compact()
            if history.interrupted:
                bar.say(f"interrupted after {run.done:,} of {run.total:,} steps; resume() goes on")
            for listener in listeners:
                listener.on_fit_end(self, history)
        return history

    def _next_stop(self, run: Run, history: History) -> int:
        """The next step count at which there is something to do: an epoch's end or a record."""
        marks = [run.per_epoch, history.record_every]
        if self._budget is not None:
            marks.append(max(1, run.total // MARKS))
        return min((run.done // mark + 1) * mark for mark in marks)

    @property
    def _budget(self) -> Budget | None:
        pressure = None if self.selection is None else self.selection.pressure
        return pressure if isinstance(pressure, Budget) else None

    def _steer(self, pace: Schedules) -> None:
        """Let the budget, if there is one, say the pressure from here on; at fixed steps only."""
        run, _ = self._running()
        budget, selection = self._budget, self.selection
        if budget is None or selection is None or run.pressure is None or run.resting:
            return
        if run.done and run.done % max(1, run.total // MARKS) == 0:
            budget.move(self.network, selection, run, pace)

    def _stretch(
        self, feed: Feed, pace: Schedules, watch: Watch, threads: int, seen: bool
    ) -> Array:
        """Run a stretch of steps and write it down; the deaths, as rows of the history."""
        network = self.network
        run, history = self._running()
        before = network.step
        begin = time.perf_counter()
        try:
            record = feed.run(network, run.first + run.done, pace, threads, run.augment, seen)
        except BaseException:
            self._write_down(feed.made(network), before)  # of the steps before the one that failed
            self._record()
            raise
        watch.add(len(pace.rate), time.perf_counter() - begin)
        deaths = self._write_down(record, before)
        watch.held += int(record["bound"])
        network.timing = (1000 * watch.seconds_a_step, feed.batch)
        network.pressure = float(pace.pressure[-1])
        if run.done % history.record_every == 0 or run.done == run.total:
            self._record()
        return deaths

    def _write_down(self, record: dict[str, Any], before: int) -> Array:
        """Take a record of the core into the history; the deaths, as rows of it.

        Args:
            record: of the steps just made.
            before: steps of the network before them.
        """
        run, history = self._running()
        history.add_steps(*(record[key] for key in ("loss", "hits", "weight", "counted")))
        deaths = history.add_deaths(record["deaths"], history.layers, before - run.done)
        run.done += len(record["loss"])
        return deaths

    def _record(self) -> None:
        run, history = self._running()
        if history.layers:
            history.record(run.done, self.network, self.network.pressure or 0.0)

    def _end_epoch(
        self, pace: Schedules, watch: Watch, held_out: Any, listeners: list[Callback]
    ) -> None:
        """Add a row to the columns of the history, and tell who wants to know."""
        network = self.network
        run, history = self._running()
        loss, accuracy = history.means((run.done - 1) // run.per_epoch * run.per_epoch)
        if not self.loss.counts_hits(self.loss.kind):
            accuracy = np.nan
        alive = network.alive
        last = run.done - 1
        row = {
            "epoch": run.done / run.per_epoch,
            "step": float(run.done),
            "loss": loss,
            "accuracy": accuracy,
        }
        if held_out is not None:
            score = network.evaluate(held_out)
            row |= {"validation_loss": score.loss, "validation_accuracy": score.accuracy}
        row |= {
            "alive": float(sum(alive.values())),
            **{f"alive.{name}": float(n) for name, n in alive.items()},
            "macs": network.flops,
            "parameters": float(network.parameters),
            **self._people(float(pace.pressure[last])),
            "rate": float(pace.rate[last]),
            "pressure": float(pace.pressure[last]),
            "ms_per_step": watch.lap(),
            "seconds": watch.elapsed(),
            "held": float(watch.held),
        }
        history.add_epoch(row)
        for listener in listeners:
            listener.on_epoch_end(self, row)

    def _people(self, pressure: float) -> dict[str, float]:
        """Upkeep and diversity of the living, and how their fitness varies."""
        if not self.network.born:
            return {"upkeep": 0.0}
        layers = census(self.network, pressure).values()
        mass, fitness, upkeep = (np.concatenate([layer[i] for layer in layers]) for i in (1, 2, 3))
        return {
            "upkeep": float(upkeep.sum()),
            "diversity": float(hill(mass)),
            "fitness_variance": float(variance(mass, fitness)),
        }

    # ---- results -----------------------------------------------------------------------------

    def evaluate(self, data: Dataset | Pair) -> Score:
        """Mean loss and accuracy of the network on a data set or (x, y)."""
        self._configure()
        return self.network.evaluate(data)

    def predict(self, x: Dataset | ArrayLike) -> Array:
        """Outputs (samples, ...) for a data set or x (samples, ...); logits, for classes."""
        inputs = arrays_of("x", x, self.network.input_scaling)[0] if isinstance(x, Dataset) else x
        return self.network.predict(inputs, threads=get_threads())

    # ---- state -------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that going on depends on, copied: network, run and history.

        `restore` takes it, of this trainer or of another one with the same laws.
        """
        return {
            "network": self.network.copy(),
            "run": None if self._run is None else asdict(self._run),
            "history": None if self.history is None else self.history.to_bytes(),
            "batches": self._batches,
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state to one file: a network as `Network.save` writes it, and the rest with it.

        The laws are not in it: they are this trainer's, and may be Python functions.
        """
        run = None if self._run is None else asdict(self._run)
        content = b"" if self.history is None else self.history.to_bytes()
        file.save(
            self.network,
            path,
            moments=True,
            facts={"run": run, "batches": self._batches},
            extra={"history": np.frombuffer(content, np.uint8)},
        )

    def restore(self, state: dict[str, Any] | str | PathLike[str]) -> None:
        """Go back (or forward) to a state, or to that in a file which `save` or `Checkpoint` wrote.

        Raises:
            FileNotFoundError, FileFormatError: there is no such file, or not of that kind.
            ValueError: it is of a network of another structure.
        """
        if not isinstance(state, dict):
            network, facts, extra = file.read(state)
            if "run" not in facts or "history" not in extra:
                raise FileFormatError(
                    f"{state}: a network, but without the state of a trainer; load() reads it"
                )
            content = extra["history"].tobytes()
            state = {"network": network, **facts, "history": content or None}
        self.network.become(state["network"])
        self._batches = int(state["batches"])
        self._run = None if state["run"] is None else Run(**state["run"])
        content = state["history"]
        self.history = None if content is None else History.from_bytes(content)
        self._configure()

    def __repr__(self) -> str:
        return (
            f"Trainer(loss={self.loss!r}, optimizer={self.optimizer!r}, "
            f"selection={self.selection!r})\n{self.network!r}"
        )


def _view(run: Run, progress: bool, live: bool) -> Bar | Live:
    """What shows the run as it goes."""
    return Live() if live else Bar(run, progress)

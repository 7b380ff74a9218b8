"""The training loop: segments of steps in the core, with records and callbacks between them.

A segment is a series of steps that run without returning to this loop. It is short enough that
Ctrl-C takes effect soon, and ends at the latest where an epoch ends or a record is due.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evoprune.common.types import Array
from evoprune.data.table import Table
from evoprune.nets.network import Network
from evoprune.records.history import History
from evoprune.training.arguments import take_over
from evoprune.training.callbacks import Callback
from evoprune.training.feed import Feed
from evoprune.training.live import Live
from evoprune.training.metrics import Measures
from evoprune.training.pace import Pace
from evoprune.training.ranks import Ranks, cut, data_facts, digest
from evoprune.training.rows import measured, row_of
from evoprune.training.run import Bar, Interrupt, Run, ThreadTuner, Watch
from evoprune.training.steering import budget_of, move

if TYPE_CHECKING:
    from evoprune.training.trainer import Trainer

__all__ = ["Loop"]


@dataclass
class Loop:
    """The training loop of one call of `fit` or `resume`, from the run's current step to `end`.

    Attributes:
        trainer: its network, laws and settings are used; callbacks are called with it.
        configure: function that restores the trainer's settings in the core if a callback has
            changed them.
        run, history: progress and record of the run; both are updated.
        feed: the training data.
        pace: the schedules of the run.
        held_out: the validation data, or None.
        measures: the metrics, computed after every epoch.
        listeners: the callbacks.
        view: the display.
        end: the step at which to stop.
        limit: the time in seconds after which to stop.
        ranks: the processes that train together.
        stopping: True if the loop ends before its next step.
        kept: the network that replaces the trained one at the end, from `Trainer.keep`; None to
            keep the trained one.
        standing: a copy of the trained network after `kept` has replaced it; otherwise None.
    """

    trainer: Trainer
    configure: Callable[[], None]
    run: Run
    history: History
    feed: Feed
    pace: Pace
    held_out: Table | None
    measures: Measures
    listeners: list[Callback]
    view: Bar | Live
    end: int
    limit: float
    ranks: Ranks
    stopping: bool = False
    kept: Network | None = None
    standing: Network | None = None

    def __post_init__(self) -> None:
        self._network = self.trainer.network
        self._begun: list[Callback] = []  # callbacks whose on_fit_begin was called
        self.feed.ranks = self.ranks
        data = self.feed.data
        self._learned = data.table if data is not None and self.measures.training else None

    def _compare(self) -> None:
        """Check that network, settings and data are the same on all ranks, if there are several.

        Of the data to evaluate on, keep this rank's part.
        """
        ranks, trainer, run, data = self.ranks, self.trainer, self.run, self.feed.data
        if ranks.size == 1:
            return
        if run.batch < ranks.size:
            raise ValueError(
                f"batch_size: expected at least {ranks.size}, a sample for each rank, "
                f"got {run.batch}"
            )
        ranks.same(
            {
                "the processor level of the core": type(self._network.core).__module__,
                "the network": (self._network.step, digest(self._network)),
                "the loss": repr(trainer.loss),
                "the optimizer": repr(trainer.optimizer),
                "the selection": repr(trainer.selection),
                "the plan of the run": (repr(run), self.end, self.history.record_every),
                "the training data": data_facts(None if data is None else data.table),
                "validation_data": data_facts(self.held_out),
                "metrics": self.measures.columns(self.held_out is not None),
            }
        )
        self.held_out = cut(self.held_out, ranks.rank, ranks.size)
        self._learned = cut(self._learned, ranks.rank, ranks.size)

    def go(self) -> History:
        """Run the loop and return the history; on an error, call on_fit_error of the callbacks."""
        try:
            return self._go()
        except BaseException as error:
            for listener in self._begun:
                try:
                    listener.on_fit_error(self.trainer, error)
                except Exception as other:  # raise the first error, noting this one
                    error.add_note(f"{type(listener).__name__}.on_fit_error: {other!r}")
            raise

    def _go(self) -> History:
        network, trainer, run, history = self._network, self.trainer, self.run, self.history
        self._compare()
        network.loss, network.selection = trainer.loss, self.pace.selection
        if self.feed.data is not None:
            take_over(network, self.feed.data)
        self.stopping, history.interrupted = False, False
        watch = Watch(*(history.last(name) for name in ("seconds", "floor_reached")))
        tuner = ThreadTuner(self.ranks.threads())
        if run.total:
            at = min(run.done, run.total - 1)
            network.pressure = float(self.pace.cut(at, at + 1).pressure[0])
        self._record()
        for listener in self.listeners:
            self._begun.append(listener)
            listener.on_fit_begin(trainer)
        with Interrupt() as interrupt, self.view as bar:
            # Append the row of an ended epoch if it is missing: the run was restored from a state
            # that an on_extinction() saved in the last step of this epoch.
            if run.done % run.per_epoch == 0 and history.last("step") < run.done:
                self._whole_epoch(watch)
            while run.done < self.end:
                threads, steps = tuner.choose(), max(1, watch.steps // tuner.divisor)
                late = watch.elapsed() >= self.limit
                stopping = self.stopping or late or interrupt.seen
                plan = self.ranks.plan(steps, run.slowed, stopping, interrupt.seen)
                interrupt.seen, run.slowed = plan.interrupted, plan.slowed
                if plan.stopping:
                    break
                self.configure()
                self._steer()
                mark = min(self.end, self._next_stop())
                before, stop = run.done, min(mark, run.done + plan.steps)
                seen = stop == mark or bool(self.listeners)  # keep gradients for callbacks
                deaths = self._segment(stop, watch, threads, seen)
                tuner.record(stop - before, watch.seconds_a_step)
                if len(deaths):
                    for listener in self.listeners:
                        listener.on_extinction(trainer, deaths)
                if run.done % run.per_epoch == 0:
                    self._whole_epoch(watch)
                bar.show(history, run, watch, network)
            history.interrupted = interrupt.seen and run.done < self.end
            if run.done % run.per_epoch:
                self._end_epoch(watch, whole=False)
            self._record()
            # Do not compact a run that may be resumed: removal reorders sums over populations,
            # which would change the last bits of later steps.
            selection = trainer.selection
            if run.done == run.total and (selection is None or selection.removal != "never"):
                network.compact()
            if history.interrupted:
                bar.say(
                    f"interrupted after {run.done:,} of {run.total:,} steps; resume() continues"
                )
            for listener in self.listeners:
                listener.on_fit_end(trainer, history)
            kept = self.ranks.of_first(self.kept)
            if kept is not None:
                self.standing = network.copy()
                network.become(kept)
        return history

    def _next_stop(self) -> int:
        """Return the next step at which an epoch ends, or a record or new pressure is due."""
        run = self.run
        marks = [run.per_epoch, self.history.record_every]
        budget = budget_of(self.trainer.selection)
        if budget is not None:
            marks.append(budget.interval(run.total))
        return min((run.done // mark + 1) * mark for mark in marks)

    def _steer(self) -> None:
        """Let the budget, if there is one, adjust the pressure, at fixed intervals of steps."""
        run, selection = self.run, self.pace.selection
        budget = budget_of(selection)
        if budget is None or selection is None or run.pressure is None or run.resting:
            return
        if run.done and run.done % budget.interval(run.total) == 0:
            move(budget, self._network, selection, run)

    def _segment(self, stop: int, watch: Watch, threads: int, seen: bool) -> Array:
        """Run the steps up to `stop` and record them; return the deaths, as `_write_down` does.

        With `seen`, the core keeps the gradients of all activations of the last step.
        """
        network, run, selection = self._network, self.run, self.trainer.selection
        before = network.step
        plan = self.pace.cut(run.done, stop)
        plan = plan.slowed(run.slowed, selection is not None and selection.clock == "rate")
        begin = time.perf_counter()
        try:
            record = self.feed.run(network, run.first + run.done, plan, threads, run.augment, seen)
        except BaseException:
            self._write_down(self.feed.made(network), before)  # the steps before the failed one
            self._record()
            raise
        watch.add(len(plan.rate), time.perf_counter() - begin)
        deaths = self._write_down(record, before)
        watch.floor_reached += int(record["floor_reached"])
        network.timing = (1000 * watch.seconds_a_step, self.feed.batch)
        network.pressure = float(plan.pressure[-1])
        if run.done % self.history.record_every == 0 or run.done == run.total:
            self._record()
        return deaths

    def _write_down(self, record: dict[str, Any], before: int) -> Array:
        """Add the core's record to the history; return the deaths as rows of `extinctions`.

        Args:
            record: the core's record of the steps just made.
            before: the network's step count before them.
        """
        run, history = self.run, self.history
        history.add_steps(*(record[key] for key in ("loss", "hits", "weight", "counted")))
        history.add_births(record["births"], history.layers, before - run.done)
        deaths = history.add_deaths(record["deaths"], history.layers, before - run.done)
        run.done += len(record["loss"])
        return deaths

    def _record(self) -> None:
        """Record masses, fitness and upkeep of the populations."""
        if self.history.layers:
            self.history.record(self.run.done, self._network, self._network.pressure or 0.0)

    def _whole_epoch(self, watch: Watch) -> None:
        """Append the row of a completed epoch and call the callbacks with it."""
        row = self._end_epoch(watch, whole=True)
        for listener in self.listeners:
            listener.on_epoch_end(self.trainer, row)
        for listener in self.listeners:
            listener.on_epoch_saved(self.trainer, row)

    def _end_epoch(self, watch: Watch, *, whole: bool) -> dict[str, float]:
        """Append the row of an epoch to the history and return it; evaluate only if `whole`."""
        network, run, history = self._network, self.run, self.history
        if self.ranks.size > 1:
            self.ranks.same({"the trained network": digest(network)})
        held_out, learned = (self.held_out, self._learned) if whole else (None, None)
        score = None if held_out is None else self.ranks.score(network, held_out)
        last = self.pace.cut(run.done - 1, run.done)
        tables = {"validation_": held_out, "training_": learned}
        more = measured(network, tables, self.measures, self.ranks)
        row = row_of(network, history, run, watch, last, score, more)
        history.add_epoch(row)
        return row

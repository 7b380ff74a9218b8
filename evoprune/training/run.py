"""A training run: plan, timing, number of threads, progress bar and handling of Ctrl-C.

These parts of the trainer do not depend on laws or data. A segment is a series of steps that run
without returning to the training loop, see loop.py.
"""

from __future__ import annotations

import signal
import statistics
import sys
import threading
import time
import warnings
from collections import deque
from dataclasses import MISSING, dataclass, field, fields
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from evoprune.common.checks import number, whole
from evoprune.common.threads import MOST, get_threads
from evoprune.training.given import check_given

if TYPE_CHECKING:
    from evoprune.nets.network import Network
    from evoprune.records.history import History

__all__ = ["Bar", "Interrupt", "Run", "ThreadTuner", "Watch", "spacing"]

SHOWN = ("validation_loss", "validation_accuracy")  # validation columns that the bar always shows
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
LEAST = 37  # width in characters of the bar without loss and other values
SEGMENT = 0.05  # target seconds between two returns to the loop, where Ctrl-C takes effect
RECORDS = 150  # approximate number of records of masses and fitness per run, by default
APART, OF_EPOCH = 50, 8  # records are at least 50 steps or 1/8 epoch apart, whichever is less


@dataclass
class Run:
    """The plan and progress of a run, as plain values."""

    epochs: int
    per_epoch: int
    batch: int
    first: int  # batches drawn by earlier runs; determines the shuffling
    shuffle: bool
    augment: dict[str, Any] | None
    done: int = 0
    steps: int | None = None  # steps per epoch, if the user gave them
    pressure: float | None = None  # the last pressure that a budget has set
    samples: int | None = None  # samples of the training data, if known
    validation_split: float | None = None  # share of the data used for validation
    slowed: float = 1.0  # factor on the remaining planned learning rates
    resting: bool = False  # True once a budget's size is reached: masses no longer change
    lifespan: float | None = None  # in generations; determines the time constants not given
    weighted: bool = False  # sample_weight was given
    class_weights: str | list[Any] | None = None  # "balanced", or pairs of class and weight
    # For each column of a metric: the name of the metric, or None for a function of the user.
    metrics: dict[str, str | None] = field(default_factory=dict)
    training_metrics: bool = False

    @classmethod
    def of(cls, facts: Any) -> Run:
        """Make a run from a dict of its fields, after checking them.

        Raises:
            ValueError, TypeError: a value is missing, unknown or invalid; the message names it.
        """
        if not isinstance(facts, dict):
            raise TypeError(f"run: expected a dict, got {facts!r}")
        known = {each.name: each for each in fields(cls)}
        missing = [
            name
            for name, each in known.items()
            if each.default is MISSING and each.default_factory is MISSING and name not in facts
        ]
        unknown = [n for n in facts if n not in known]
        if missing or unknown:
            raise ValueError(
                f"run: {(missing or unknown)[0]} is {'missing' if missing else 'unknown'}"
            )
        run = cls(**facts)
        for name, least in (("epochs", 0), ("per_epoch", 1), ("batch", 1), ("first", 0)):
            whole(f"run: {name}", getattr(run, name), least, 2**62)
        for name in ("steps", "samples"):
            if getattr(run, name) is not None:
                whole(f"run: {name}", getattr(run, name), 1, 2**62)
        whole("run: done", run.done, 0, run.total)
        number("run: slowed", run.slowed, 0, 1e300)
        if run.pressure is not None:
            number("run: pressure", run.pressure, 0, 1e300)
        if run.lifespan is not None:
            number("run: lifespan", run.lifespan, 1, 1e12)
        if run.validation_split is not None:
            number("run: validation_split", run.validation_split, 0, 1)
        for name in ("shuffle", "resting"):
            if not isinstance(getattr(run, name), bool):
                raise TypeError(f"run: {name}: expected true or false, got {getattr(run, name)!r}")
        if run.augment is not None and not isinstance(run.augment, dict):
            raise TypeError(f"run: augment: expected a dict, got {run.augment!r}")
        check_given(run)
        return run

    @property
    def total(self) -> int:
        """Number of steps of the whole run."""
        return self.epochs * self.per_epoch

    def end(self, until: float | None) -> int:
        """Return the step at which to stop: after `until` epochs; None: at the end of the run."""
        if until is None:
            return self.total
        return min(self.total, round(number("until", until, 0, 1e15) * self.per_epoch))


def spacing(steps: int, per_epoch: int) -> int:
    """Return the default number of steps from one record to the next.

    Each record ends a call of the core, and the next call has to start its threads, which can take
    0.5 ms on processors that idle quickly. Calls also end with every epoch. The spacing therefore
    divides the steps of an epoch, or is a multiple of them, if such a number is nearby.

    Args:
        steps: steps of the run.
        per_epoch: steps per epoch.
    """
    least = max(1, steps // RECORDS, min(APART, per_epoch // OF_EPOCH))
    for near in range(least, least + least // 2 + 1):
        if per_epoch % near == 0 or near % per_epoch == 0:
            return near
    return least


class Watch:
    """Measure the time of steps, choose how many to run at a time, and keep totals of a run.

    Args:
        seconds: total time of the run so far.
        floor_reached: how often so far a layer's floor kept a population alive.
    """

    def __init__(self, seconds: float = 0.0, floor_reached: float = 0.0) -> None:
        self.steps = 1  # number of steps to run before the next return to the loop
        self.seconds_a_step = 0.0
        self.floor_reached = floor_reached
        self._began = time.perf_counter() - seconds
        self._lap_steps, self._lap_seconds = 0, 0.0

    def add(self, steps: int, seconds: float) -> None:
        """Record the seconds that these steps took, and choose the number of the next steps."""
        self.seconds_a_step = seconds / steps
        fitting = int(SEGMENT / max(self.seconds_a_step, 1e-9))
        self.steps = max(1, min(8 * self.steps, fitting))  # grow gradually
        self._lap_steps += steps
        self._lap_seconds += seconds

    def lap(self) -> float:
        """Return ms per step since the previous call, without time for evaluation or callbacks."""
        ms = 1000 * self._lap_seconds / max(1, self._lap_steps)
        self._lap_steps, self._lap_seconds = 0, 0.0
        return ms

    def elapsed(self) -> float:
        """Return the total time of the run in seconds."""
        return time.perf_counter() - self._began


class ThreadTuner:
    """Tune the number of threads by trials during a run, up to `get_threads()` and `most`.

    The number does not affect results. Few threads are fastest for a small network, or on
    processors that share no cache. A trial is a short segment of steps with half or twice as many
    threads; its time per step is compared with that of recent segments. After every trial that was
    clearly slower, the interval between trials doubles.
    """

    WAIT, PATIENCE = 8, 128  # initial and largest number of segments between two trials
    BRIEF = 0.004  # seconds; shorter times are added up before they are compared
    SHORT = 4  # a trial has 1 / SHORT of the usual number of steps
    LATE = 5  # number of recent times per step whose median is the usual time
    WON, LOST = 0.97, 1.2  # trial time / usual time: below WON it wins, above LOST it clearly fails

    def __init__(self, most: int | None = None) -> None:
        self._limit = MOST if most is None else most
        self._most = 0
        self._up = False  # True: the next trial uses more threads
        self._settle(0, [])

    def _settle(self, threads: int, usual: list[float]) -> None:
        """Use this number of threads; `usual`: recent seconds per step with this number."""
        self._threads = threads
        self._usual = deque(usual, self.LATE)
        self._tried = 0  # threads of the current trial; 0: none
        self._wait = self._left = float(self.WAIT)
        self._steps, self._seconds = 0, 0.0  # recorded since the last comparison

    def choose(self) -> int:
        """Return the number of threads for the next segment of steps."""
        most = min(self._limit, get_threads())
        if most != self._most:
            self._most = most
            self._settle(most, [])
        return self._tried or self._threads

    @property
    def divisor(self) -> int:
        """Divisor of the next number of steps: SHORT for a trial, otherwise 1."""
        return self.SHORT if self._tried else 1

    def record(self, steps: int, seconds_a_step: float) -> None:
        """Record the time of steps; times below BRIEF are added up before they are compared."""
        self._steps += steps
        self._seconds += steps * seconds_a_step
        if self._seconds < self.BRIEF:
            return
        each, segments = self._seconds / self._steps, min(1.0, self._seconds / SEGMENT)
        self._steps, self._seconds = 0, 0.0
        if self._tried:
            self._judge(each)
            return
        self._usual.append(each)
        self._left -= segments
        if self._left <= 0 and self._most > 1:
            half, twice = max(1, self._threads // 2), min(self._most, 2 * self._threads)
            first, second = (twice, half) if self._up else (half, twice)
            self._tried = first if first != self._threads else second

    def _judge(self, each: float) -> None:
        """Keep the trial's number of threads, or return to the previous one."""
        usual = statistics.median(self._usual)
        if each < self.WON * usual:
            self._settle(self._tried, [each])  # `_up` stays: try further in this direction
            return
        if each > self.LOST * usual:
            self._wait = min(float(self.PATIENCE), 2 * self._wait)
        self._tried, self._left = 0, self._wait
        self._up = not self._up


class Interrupt:
    """Record the first Ctrl-C; the second one raises KeyboardInterrupt.

    It does nothing outside the main thread, or if another handler of the signal is installed.
    """

    def __init__(self) -> None:
        self.seen = False
        self._replaced = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._replaced = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True


class Bar:
    """A progress bar; unless `wanted`, it does nothing."""

    def __init__(self, run: Run, wanted: bool) -> None:
        self._bar: Any = None
        if wanted and run.total:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tqdm warns in notebooks without ipywidgets
                from tqdm.auto import tqdm

            self._bar = tqdm(total=run.total, initial=run.done, dynamic_ncols=True, bar_format=BAR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, history: History, run: Run, watch: Watch, network: Network) -> None:
        """Update the bar to the progress of the run."""
        if self._bar is None:
            return
        loss, accuracy = history.means(max(0, run.done - 100))
        hits = network.loss.counts_hits(network.loss.kind)
        parts = [f"loss {loss:.3f}", *([f"acc {accuracy:.1%}"] if hits else [])]
        if "validation_loss" in history:
            parts.append(
                f"val {history.last('validation_accuracy'):.2%}"
                if hits
                else f"val {history.last('validation_loss'):.3f}"
            )
        for name in history:
            if name.startswith("validation_") and name not in SHOWN:
                parts.append(f"{name.removeprefix('validation_')} {history.last(name):.3f}")
            elif name.startswith("training_"):
                parts.append(f"{name.replace('_', ' ', 1)} {history.last(name):.3f}")
        if history.layers:
            parts.append(f"alive {sum(network.alive.values())}")
        parts.append(f"{1000 * watch.seconds_a_step:.2f} ms")
        columns = self._bar.format_dict["ncols"]  # width of the terminal; None: unlimited
        while columns and len(parts) > 1 and LEAST + len(", ".join(parts)) > columns:
            parts.pop()  # omit a value instead of cutting a number
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        self._bar.update(run.done - self._bar.n)

    def say(self, text: str) -> None:
        """Write a line to standard error without disturbing the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

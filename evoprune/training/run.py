"""A run of training: its plan, its clock, its bar, and how Ctrl-C is heard.

Parts of the trainer that know nothing of laws or data.
"""

from __future__ import annotations

import signal
import statistics
import sys
import threading
import time
import warnings
from collections import deque
from dataclasses import MISSING, dataclass, fields
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from evoprune.common.checks import number, whole
from evoprune.common.threads import get_threads

if TYPE_CHECKING:
    from evoprune.nets.network import Network
    from evoprune.records.history import History

__all__ = ["Bar", "Crew", "Interrupt", "Run", "Watch", "spacing"]

SHOWN = ("validation_loss", "validation_accuracy")  # in the bar already, beside other metrics
STRETCH = 0.05  # seconds that a stretch of steps should take: how long Ctrl-C may have to wait
RECORDS = 150  # about so many points in time are kept of a run, where nothing else is asked for
APART, OF_EPOCH = 50, 8  # in a run of few epochs fewer: so many steps apart, or so many an epoch


@dataclass
class Run:
    """A run as it was planned, and how far it has come. Plain values."""

    epochs: int
    per_epoch: int
    batch: int
    first: int  # number of its first batch since training began: what the shuffling goes by
    shuffle: bool
    augment: dict[str, Any] | None
    done: int = 0
    steps: int | None = None  # of an epoch, where the user said how many
    pressure: float | None = None  # the last that a budget has found
    samples: int | None = None  # of the training data, where it is known
    validation_split: float | None = None  # share of the data that is held out
    slowed: float = 1.0  # of the planned learning rates, from here on
    resting: bool = False  # the budget's size is reached: masses stand still

    @classmethod
    def of(cls, facts: Any) -> Run:
        """Return the run of such values, checked.

        Raises:
            ValueError, TypeError: one is missing, unknown, or not possible; it is named.
        """
        if not isinstance(facts, dict):
            raise TypeError(f"run: expected a dict, got {facts!r}")
        known = {field.name: field for field in fields(cls)}
        missing = [n for n, f in known.items() if f.default is MISSING and n not in facts]
        unknown = [n for n in facts if n not in known]
        if missing or unknown:
            raise ValueError(f"run: {(missing or unknown)[0]} is {'missing' if missing else 'odd'}")
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
        for name in ("shuffle", "resting"):
            if not isinstance(getattr(run, name), bool):
                raise TypeError(f"run: {name}: expected true or false, got {getattr(run, name)!r}")
        if run.augment is not None and not isinstance(run.augment, dict):
            raise TypeError(f"run: augment: expected a dict, got {run.augment!r}")
        return run

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.per_epoch


def spacing(steps: int, per_epoch: int) -> int:
    """Steps from one record to the next, where nothing else is asked for.

    A record ends a call of the core, and the next one starts its threads anew: that may take half a
    millisecond on a machine whose processors fall asleep at once. So they fall on the ends of
    epochs, where calls end anyway, if a number near by makes them.

    Args:
        steps: of the run.
        per_epoch: steps of an epoch.
    """
    least = max(1, steps // RECORDS, min(APART, per_epoch // OF_EPOCH))
    for near in range(least, least + least // 2 + 1):
        if per_epoch % near == 0 or near % per_epoch == 0:
            return near
    return least


class Watch:
    """How long steps take, and so how many make a stretch; it goes on with the sums of a run.

    Args:
        seconds: that the run has taken so far.
        held: times so far that a layer's floor kept somebody alive.
    """

    def __init__(self, seconds: float = 0.0, held: float = 0.0) -> None:
        self.steps = 1  # of the next stretch
        self.seconds_a_step = 0.0
        self.held = held
        self._began = time.perf_counter() - seconds
        self._lap_steps, self._lap_seconds = 0, 0.0

    def add(self, steps: int, seconds: float) -> None:
        """Take note of a stretch."""
        self.seconds_a_step = seconds / steps
        fitting = int(STRETCH / max(self.seconds_a_step, 1e-9))
        self.steps = max(1, min(8 * self.steps, fitting))  # the first steps say little
        self._lap_steps += steps
        self._lap_seconds += seconds

    def lap(self) -> float:
        """Milliseconds a step since the last lap, validation and callbacks left out."""
        ms = 1000 * self._lap_seconds / max(1, self._lap_steps)
        self._lap_steps, self._lap_seconds = 0, 0.0
        return ms

    def elapsed(self) -> float:
        """Seconds that the run has taken."""
        return time.perf_counter() - self._began


class Crew:
    """How many threads a stretch of steps gets: as many as make it fast, at most `get_threads()`.

    Their number changes no bit of a result, so it can be found by trial while a run goes on. A
    network that has become small, or processors that share no cache, are served best by few. A
    trial is a short stretch with half as many threads, or twice, and is judged by what stretches
    took of late; as long as trials fail clearly, the time between them doubles.
    """

    WAIT, PATIENCE = 8, 128  # stretches from a trial to the next, at first and at most
    BRIEF = 0.004  # seconds of work that are too few to judge by
    SHORT = 4  # a trial is so many times shorter than a stretch
    LATE = 5  # stretches "of late": their median, which one that was disturbed does not move
    WON, LOST = 0.97, 1.2  # of the usual time of a step: a trial has won, has failed clearly

    def __init__(self) -> None:
        self._most = 0
        self._up = False  # the next trial is with more
        self._settle(0, [])

    def _settle(self, threads: int, usual: list[float]) -> None:
        """Stay with so many threads; their steps of late took `usual` seconds."""
        self._threads = threads
        self._usual = deque(usual, self.LATE)
        self._tried = 0  # threads of the trial in work; 0: none is
        self._wait = self._left = float(self.WAIT)
        self._steps, self._seconds = 0, 0.0  # not judged yet

    def hire(self) -> int:
        """Threads of the next stretch."""
        most = get_threads()
        if most != self._most:
            self._most = most
            self._settle(most, [])
        return self._tried or self._threads

    @property
    def haste(self) -> int:
        """So many times shorter the stretch just hired for is to be."""
        return self.SHORT if self._tried else 1

    def paid(self, steps: int, seconds_a_step: float) -> None:
        """Take note of how long the stretch took; brief ones are judged together."""
        self._steps += steps
        self._seconds += steps * seconds_a_step
        if self._seconds < self.BRIEF:
            return
        each, stretches = self._seconds / self._steps, min(1.0, self._seconds / STRETCH)
        self._steps, self._seconds = 0, 0.0
        if self._tried:
            self._judge(each)
            return
        self._usual.append(each)
        self._left -= stretches
        if self._left <= 0 and self._most > 1:
            half, twice = max(1, self._threads // 2), min(self._most, 2 * self._threads)
            first, second = (twice, half) if self._up else (half, twice)
            self._tried = first if first != self._threads else second

    def _judge(self, each: float) -> None:
        """Stay with the threads of the trial, or go back."""
        usual = statistics.median(self._usual)
        if each < self.WON * usual:
            self._settle(self._tried, [each])  # the next trial goes on in this direction
            return
        if each > self.LOST * usual:
            self._wait = min(float(self.PATIENCE), 2 * self._wait)
        self._tried, self._left = 0, self._wait
        self._up = not self._up


class Interrupt:
    """Turns the first Ctrl-C into a note; the second one is KeyboardInterrupt again.

    Where somebody else handles the signal, or outside the main thread, it does nothing.
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
    """The progress bar, or nothing."""

    def __init__(self, run: Run, wanted: bool) -> None:
        self._bar: Any = None
        if wanted and run.total:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a notebook without ipywidgets gets a plain bar
                from tqdm.auto import tqdm

            self._bar = tqdm(total=run.total, initial=run.done, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, history: History, run: Run, watch: Watch, network: Network) -> None:
        """Move on to where the run is."""
        if self._bar is None:
            return
        loss, accuracy = history.means(max(0, run.done - 100))
        hits, text = network.loss.counts_hits(network.loss.kind), f"loss {loss:.3f}"
        text += f", acc {accuracy:.1%}" if hits else ""
        if "validation_loss" in history:
            text += (
                f", val {history.last('validation_accuracy'):.2%}"
                if hits
                else (f", val {history.last('validation_loss'):.3f}")
            )
        for name in history:
            if name.startswith("validation_") and name not in SHOWN:
                text += f", {name.removeprefix('validation_')} {history.last(name):.3f}"
        if history.layers:
            text += f", alive {sum(network.alive.values())}"
        self._bar.set_postfix_str(f"{text}, {1000 * watch.seconds_a_step:.2f} ms", refresh=False)
        self._bar.update(run.done - self._bar.n)

    def say(self, text: str) -> None:
        """Write a line beside the bar, on standard error."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

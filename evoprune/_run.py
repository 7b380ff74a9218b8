"""A run of training: its plan, its clock, its bar, and how Ctrl-C is heard.

Parts of the trainer that know nothing of laws or data.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from evoprune.settings import get_threads

if TYPE_CHECKING:
    from evoprune.history import History
    from evoprune.network import Network

__all__ = ["Bar", "Crew", "Interrupt", "Run", "Watch"]

STRETCH = 0.05  # seconds that a stretch of steps should take: how long Ctrl-C may have to wait


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
    resting: bool = False  # the budget's size is reached: masses stand still

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.per_epoch


class Watch:
    """How long steps take, and so how many make a stretch."""

    def __init__(self, done: int) -> None:
        self.steps = 1  # of the next stretch
        self.seconds_a_step = 0.0
        self.held = 0
        self._began = time.perf_counter()
        self._lap_steps, self._lap_seconds = 0, 0.0

    def add(self, steps: int, seconds: float) -> None:
        """Take note of a stretch."""
        self.seconds_a_step = seconds / steps
        fitting = int(STRETCH / max(self.seconds_a_step, 1e-9))
        self.steps = max(1, min(8 * self.steps, fitting))  # the first steps say little
        self._lap_steps += steps
        self._lap_seconds += seconds

    def lap(self, done: int) -> float:
        """Milliseconds a step since the last lap, validation and callbacks left out."""
        ms = 1000 * self._lap_seconds / max(1, self._lap_steps)
        self._lap_steps, self._lap_seconds = 0, 0.0
        return ms

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._began


class Crew:
    """How many threads a stretch of steps gets: as many as make it fast, at most `get_threads()`.

    Their number changes no bit of a result, so it can be found by trial while a run goes on. A
    network that has become small, or processors that share no cache, are served best by few. A
    trial is a short stretch with half as many threads, or twice; the clearer it fails, the longer
    until the next.
    """

    WAIT, PATIENCE = 8, 128  # stretches from a trial to the next, at first and at most
    BRIEF = 0.004  # seconds of a stretch that is too short to judge by
    SHORT = 4  # a trial is so many times shorter than a stretch

    def __init__(self) -> None:
        self._most = self._threads = 0
        self._usual = 0.0  # seconds a step, of late, with `_threads`
        self._tried = 0  # threads of the trial in work; 0: none is
        self._up = False  # the next trial is with more
        self._wait = self._left = self.WAIT

    def hire(self) -> int:
        """Threads of the next stretch."""
        most = get_threads()
        if most != self._most:
            self._most = self._threads = most
            self._usual, self._wait = 0.0, self.WAIT
            self._left = self._wait
        self._tried = 0
        if self._left <= 0 and most > 1 and self._usual > 0:
            half, twice = max(1, self._threads // 2), min(most, 2 * self._threads)
            other = twice if self._up else half
            self._tried = other if other != self._threads else half + twice - self._threads
            self._up, self._left = not self._up, self._wait
        return self._tried or self._threads

    @property
    def haste(self) -> int:
        """So many times shorter the stretch just hired for is to be."""
        return self.SHORT if self._tried else 1

    def paid(self, steps: int, seconds_a_step: float) -> None:
        """Take note of how long the stretch took; one cut short by an epoch's end says little."""
        if steps * seconds_a_step < self.BRIEF:
            self._left = 1 if self._tried else self._left
        elif not self._tried:
            mean = 0.7 * self._usual + 0.3 * seconds_a_step
            self._usual = mean if self._usual else seconds_a_step
            self._left -= 1
        elif seconds_a_step < 0.97 * self._usual:
            self._threads, self._usual, self._wait = self._tried, seconds_a_step, self.WAIT
            self._left = self._wait
        elif seconds_a_step > 1.2 * self._usual:
            self._wait = min(self.PATIENCE, 2 * self._wait)


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
        text = f"loss {loss:.3f}, acc {accuracy:.1%}"
        if "validation_accuracy" in history:
            text += f", val {history['validation_accuracy'][-1]:.2%}"
        if history.layers:
            text += f", alive {sum(network.alive.values())}"
        self._bar.set_postfix_str(f"{text}, {1000 * watch.seconds_a_step:.2f} ms", refresh=False)
        self._bar.update(run.done - self._bar.n)

    def say(self, text: str) -> None:
        """Write a line beside the bar, on standard error."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

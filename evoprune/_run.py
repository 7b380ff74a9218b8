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

if TYPE_CHECKING:
    from evoprune.history import History
    from evoprune.network import Network

__all__ = ["Bar", "Interrupt", "Run", "Watch"]

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

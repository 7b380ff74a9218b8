"""What the command line prints, and how a run is stopped from outside.

Printing never ends a run: a closed pipe or a full disk after standard output is noted, and the run
then stops as by Ctrl-C, with everything written.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from evoprune.training.live import Table

__all__ = ["Failed", "Lines", "Screen", "Stopped", "complain", "silence", "stopped_by", "width"]

INTERRUPTED, PIPE = 130, 141


class Failed(Exception):
    """A run that could not go on; what there was of it is written."""


def complain(text: str) -> None:
    """Print a line on standard error, if that is possible."""
    with suppress(OSError):
        print(f"evoprune: {text}", file=sys.stderr, flush=True)


def width() -> int | None:
    """Columns of the terminal; None where standard output is none, and lines may be long."""
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


class Screen:
    """Prints lines, and remembers if that failed.

    Attributes:
        broken: the first error of printing; None so far.
    """

    def __init__(self) -> None:
        self.broken: OSError | None = None

    def say(self, text: str = "") -> None:
        """Print a line; an error is kept, and nothing is printed any more."""
        if self.broken is not None:
            return
        try:
            if sys.stderr.isatty() and sys.stdout.isatty():
                from tqdm import tqdm

                tqdm.write(text, file=sys.stdout)  # above the bar, if there is one
            else:
                print(text, flush=True)
        except OSError as error:
            self.broken = error
            silence()

    @property
    def status(self) -> int:
        """Exit status that the error of printing stands for; 0 if there was none."""
        if self.broken is None:
            return 0
        return PIPE if self.broken.errno == errno.EPIPE else 1


def silence() -> None:
    """Send standard output nowhere, so that nothing is flushed into a closed pipe at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Ended(KeyboardInterrupt):
    """A signal that came while there was no run.

    Attributes:
        status: exit status of the signal.
    """

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class Stopped:
    """Which signal has asked for the end of a run, and how to end it.

    Attributes:
        status: exit status of the signal; 0 so far.
        stop: ends the run; None while there is none, when the signal is an exception.
    """

    def __init__(self) -> None:
        self.status = 0
        self.stop: Callable[[], None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; a second one changes nothing, for the run is being written."""
        if self.status:
            return
        self.status = 128 + number
        if self.stop is None:
            raise Ended(self.status)
        self.stop()


class Lines(Table):
    """The line of every epoch; stops the run once lines cannot be printed."""

    def __init__(self, screen: Screen, stopped: Stopped) -> None:
        super().__init__(width=width())
        self._screen, self._stopped = screen, stopped

    def on_fit_begin(self, trainer: Any) -> None:
        """Print the head; stop at once if a signal came while the data was looked at."""
        super().on_fit_begin(trainer)
        if self._stopped.status:
            trainer.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._screen.say(text)

    def on_epoch_end(self, trainer: Any, row: Any) -> None:
        """Print the epoch's line."""
        super().on_epoch_end(trainer, row)
        if self._screen.broken is not None:
            trainer.stop()


@contextmanager
def stopped_by(*names: str) -> Iterator[Stopped]:
    """Let signals end a run as Ctrl-C does, unless they are ignored (nohup)."""
    stopped, before = Stopped(), {}
    for name in names:
        number = getattr(signal, name, None)
        with suppress(ValueError):  # outside the main thread
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stopped)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

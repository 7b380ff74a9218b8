"""Output of the command line, and handling of signals that stop a run.

A printing error never aborts a run: if standard output goes to a closed pipe or a full disk, the
run stops as with Ctrl-C, with all files written.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from evoprune.common import table
from evoprune.training.live import Table

__all__ = ["Failed", "Lines", "Screen", "Stopped", "complain", "silence", "stopped_by", "tabulated"]

INTERRUPTED, PIPE = 130, 141


class Failed(Exception):
    """Raised if a run cannot continue, after its results so far are written."""


def complain(text: str) -> None:
    """Print a line on standard error, if that is possible."""
    with suppress(OSError):
        print(f"evoprune: {text}", file=sys.stderr, flush=True)


def width() -> int | None:
    """Return the columns of the terminal; None if standard output is not a terminal."""
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def tabulated(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    texts: int = 2,
) -> str:
    """Return a table: drawn by rich to fit the terminal, or plain if output is not a terminal.

    If the terminal is too narrow, words in the first `texts` columns are broken, and if that is not
    enough, the last columns are omitted.
    """
    columns = width()
    if columns is None:
        return table.as_text(head, rows, total, texts)
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    lines = [head, *rows, *([total] if total else [])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    least = [min(8, size) if i < texts else size for i, size in enumerate(widths)]
    while len(least) > 2 and sum(least) + len(least) > columns:
        least.pop()
    shown = len(least)
    utf8 = "utf" in (sys.stdout.encoding or "").lower()
    drawn = RichTable(
        box=box.SIMPLE if utf8 else box.ASCII2,
        show_edge=False,
        show_footer=total is not None,
        padding=(0, int(sum(widths[:shown]) + 2 * shown <= columns), 0, 0),
        header_style="bold",
        footer_style="bold",
    )
    for i, name in enumerate(head[:shown]):
        drawn.add_column(
            name,
            footer=total[i] if total else "",
            justify="left" if i < texts else "right",
            style="cyan" if i == 0 else "",
            no_wrap=i >= texts,
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*row[:shown])
    text = io.StringIO()
    Console(file=text, width=columns, force_terminal=True, highlight=False).print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


class Screen:
    """Print lines and record the first error.

    Attributes:
        broken: the first error of printing; None if there was none.
    """

    def __init__(self) -> None:
        self.broken: OSError | None = None

    def say(self, text: str = "") -> None:
        """Print a line; after an error, store it and print nothing more."""
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
        """Return the exit status for the printing error; 0 without an error."""
        if self.broken is None:
            return 0
        return PIPE if self.broken.errno == errno.EPIPE else 1


def silence() -> None:
    """Redirect standard output to the null device, so that exit does not flush to a closed pipe."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Ended(KeyboardInterrupt):
    """A signal received while no run was active.

    Attributes:
        status: exit status of the signal.
    """

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class Stopped:
    """The signal handler that ends a run.

    Attributes:
        status: exit status of the received signal; 0 if there was none.
        stop: function that ends the run; None while no run is active: signals raise `Ended`.
    """

    def __init__(self) -> None:
        self.status = 0
        self.stop: Callable[[], None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record the signal and end the run; ignore a second signal while files are written."""
        if self.status:
            return
        self.status = 128 + number
        if self.stop is None:
            raise Ended(self.status)
        self.stop()


class Lines(Table):
    """Print a line every epoch; stop the run if printing fails."""

    def __init__(self, screen: Screen, stopped: Stopped) -> None:
        super().__init__(width=width())
        self._screen, self._stopped = screen, stopped

    def on_fit_begin(self, trainer: Any) -> None:
        """Print the header; stop at once if a signal arrived while the data was checked."""
        super().on_fit_begin(trainer)
        if self._stopped.status:
            trainer.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._screen.say(text)

    def on_epoch_end(self, trainer: Any, row: Any) -> None:
        """Print the epoch's line; stop the run if printing has failed."""
        super().on_epoch_end(trainer, row)
        if self._screen.broken is not None:
            trainer.stop()


@contextmanager
def stopped_by(*names: str) -> Iterator[Stopped]:
    """Make signals end a run as Ctrl-C does, unless they are ignored (nohup)."""
    stopped, before = Stopped(), {}
    for name in names:
        number = getattr(signal, name, None)
        with suppress(ValueError):  # signal() raises it outside the main thread
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stopped)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

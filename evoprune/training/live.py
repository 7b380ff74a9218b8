"""Live view of a run: one display in a notebook, a table in a terminal.

The display is an SVG that is generated from the history in a few milliseconds, without matplotlib.
Updates take at most about one hundredth of the run's time. The table is also a callback, which the
command line uses.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Self, TextIO

import numpy as np

from evoprune.common.colors import COLORS
from evoprune.common.names import stem
from evoprune.common.types import Array
from evoprune.nets.sampling import vocabulary_of
from evoprune.training.callbacks import Callback, Row
from evoprune.training.run import Bar, Run

if TYPE_CHECKING:
    from evoprune.nets.network import Network
    from evoprune.records.history import History
    from evoprune.training.run import Run, Watch
    from evoprune.training.trainer import Trainer

__all__ = ["Live", "Table", "picture", "view_of"]

SHARE = 100  # minimum ratio of run time to drawing time: drawing takes at most 1 %
LEAST = 0.2  # minimum seconds between two drawings
HELD = "validation_"
LINES, POINTS = 120, 60  # maximum number of mass trajectories, and of points in each

WIDE, HIGH = 250, 130  # size of a panel's inside in pixels
LEFT, TOP, GAP = 44, 46, 58
# The SVG has its own background, so that it is readable on any page: dark for a dark theme.
LOOK = (
    "<style>.g{fill:#fff}.t{fill:#222;font:12px sans-serif}.s{fill:#666;font:10px sans-serif}"
    ".a{stroke:#bbb;fill:none}.l{fill:none;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){.g{fill:#15181c}.t{fill:#eee}.s{fill:#aaa}.a{stroke:#555}}"
    "</style>"
)


def view_of(run: Run, progress: bool, live: bool) -> Bar | Live:
    """Return the display of a run: a live view or a progress bar."""
    return Live() if live else Bar(run, progress)


class Live:
    """Show a run during training; created by Trainer.fit(live=True).

    Args:
        display: function that shows the view; each call replaces what the last one showed. It takes
            a dict from MIME types to the view in that type. None: the current notebook, if any.
        out: stream for the table if there is no display; standard output if not given.
    """

    def __init__(
        self, display: Callable[[dict[str, str]], None] | None = None, out: TextIO | None = None
    ) -> None:
        self._display = display or _notebook()
        self._table = Table(out)
        self._begin, self._next = time.perf_counter(), 0.0
        self._last: Any = None
        self.drawings, self.seconds = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self._draw(*self._last)

    def show(self, history: History, run: Run, watch: Watch, network: Network) -> None:
        """Draw the view if it is due; without a display, add finished epochs to the table."""
        if self._display is None:
            self._table.show(history, network)
            return
        self._last = (history, run, watch)
        if time.perf_counter() >= self._next:
            self._draw(*self._last)

    def say(self, text: str) -> None:
        """Write a line after the table; a display needs no text, since it shows the final state."""
        if self._display is None:
            self._table.say(text)

    def _draw(self, history: History, run: Run, watch: Watch) -> None:
        begin = time.perf_counter()
        left = (run.total - run.done) * watch.seconds_a_step
        title = f"epoch {run.done / run.per_epoch:.1f} of {run.epochs}"
        if history.interrupted:
            title += ", interrupted"
        elif left > 0:
            title += f", about {left:.0f} s left"
        assert self._display is not None
        svg = picture(history, f"{title}, {1000 * watch.seconds_a_step:.2f} ms per step")
        self._display({"image/svg+xml": svg, "text/plain": repr(history)})
        cost = time.perf_counter() - begin
        self.drawings += 1
        self.seconds += cost
        # Delay the next drawing until all drawings so far, that drawing and the last drawing on
        # exit together take at most 1 / SHARE of the run's time.
        due = self._begin + SHARE * (self.seconds + 2 * cost)
        self._next = max(time.perf_counter() + LEAST, due)


class Table(Callback):
    """A callback that writes a line every epoch: loss, quality, living populations, upkeep.

    The quality is measured on validation data: perplexity for a language model; for other networks
    accuracy, or the loss if it defines no accuracy.

    Args:
        out: output stream; standard output if not given.
        width: maximum length of a line; unlimited if not given.
    """

    def __init__(self, out: TextIO | None = None, width: int | None = None) -> None:
        self._out, self._width = out, width
        self._rows = -1  # rows written; -1: no header yet

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Write the header."""
        self.on_epoch_end(trainer, {})

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write the epoch's line."""
        if trainer.history is not None:
            self.show(trainer.history, trainer.network)

    def show(self, history: History, network: Network) -> None:
        """Write a line for every epoch that has ended since the last call."""
        names = history.layers
        living = max(16, min(36, 6 * len(names)))
        if self._width is not None:
            living = max(6, min(living, self._width - 59))
        widths = (5, 8, 8, 10, living, 8, 8)
        speaks = vocabulary_of(network) is not None
        lines = []
        if self._rows < 0:
            held_out = "perplexity" if speaks else "validation"
            lines.append(["epoch", "loss", "accuracy", held_out, "living", "upkeep", "ms/step"])
        ended = history.epochs_done
        if ended and history["epoch"][-1] % 1:  # omit an incomplete epoch: its row will change
            ended -= 1
        for at in range(max(0, self._rows), ended):
            row = {name: float(history[name][at]) for name in history}
            lines.append(
                [
                    f"{row['epoch']:g}",
                    f"{row['loss']:.4f}",
                    _percent(row["accuracy"]),
                    _held_out(row, speaks),
                    _shortened(_living(names, row), row, living),
                    f"{row['upkeep']:.4f}",
                    f"{row['ms_per_step']:.2f}",
                ]
            )
        self._rows = ended
        for cells in lines:
            self.say("  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)))

    def say(self, text: str) -> None:
        """Write a line of text."""
        print(text, file=self._out or sys.stdout, flush=True)


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f} %"


def _held_out(row: Row, speaks: bool) -> str:
    loss = row.get(f"{HELD}loss", np.nan)
    if np.isnan(loss):
        return "-"
    if speaks:
        return f"{np.exp(min(700.0, loss)):.3f}"
    return f"{loss:.4f}" if np.isnan(row["accuracy"]) else _percent(row[f"{HELD}accuracy"])


def _shortened(text: str, row: Row, most: int) -> str:
    """Return `text` (living populations by layer), or only their total if `text` is too long."""
    return text if len(text) <= most else f"{row['alive']:.0f}"


def _living(layers: Sequence[str], row: Row) -> str:
    """Return the numbers of living populations by layer, as text.

    With more than four layers, add them up by kind of layer: "heads 13 + neurons 820".
    """
    if len(layers) <= 4:
        return " + ".join(f"{row[f'alive.{name}']:.0f}" for name in layers) or "-"
    sums: dict[str, float] = {}
    for name in layers:
        kind = stem(name) if "_" not in name else "filters"
        sums[kind] = sums.get(kind, 0) + row[f"alive.{name}"]
    return " + ".join(f"{kind} {n:.0f}" for kind, n in sums.items())


def _notebook() -> Callable[[dict[str, str]], None] | None:
    """Return the display function of the current notebook, or None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):
        return None
    from IPython import display as ipython

    display: Any = ipython.display
    handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(content: dict[str, str]) -> None:
        handle.update(content, raw=True)

    return show


# ---- the drawing -----------------------------------------------------------------------------


def picture(history: History, title: str = "") -> str:
    """Return an SVG of loss, accuracy, living populations and masses, without scripts."""
    end = max(1e-9, history.steps_done / history.per_epoch)
    epochs = history["epoch"] if history.epochs_done else np.zeros(0)
    losses = history.batch_losses
    block = max(1, len(losses) // 150)
    means = losses[: len(losses) // block * block].reshape(-1, block).mean(1)
    when = (np.arange(len(means)) + 0.5) * block / history.per_epoch

    def column(name: str) -> Array:
        return history[name] if name in history else np.full(len(epochs), np.nan)

    train, held_out = COLORS[0], COLORS[1]
    loss = [(when, means, train), (epochs, column("validation_loss"), held_out)]
    right = [(epochs, column(f"{kind}accuracy"), c) for kind, c in (("", train), (HELD, held_out))]
    panels = [_panel("Loss (nats)", end, loss, log=True), _panel("Accuracy", end, right)]
    times = history.record_steps / history.per_epoch
    paint = [COLORS[i % len(COLORS)] for i in range(len(history.layers))]
    counts = [history.living(layer) for layer in history.layers]
    lines = [(times, count, c) for count, c in zip(counts, paint, strict=True)]
    panels.append(_panel("Living", end, lines, low=0.0))
    panels.append(_panel("Mass", end, _masses(history, times, paint), log=True, thin=True))
    words = [repr(history).removeprefix("History: ")]
    wide, high = 2 * (LEFT + WIDE) + 40, TOP + 2 * (HIGH + GAP) - 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}">{LOOK}<rect class="g" width="{wide}" height="{high}" rx="6"/>',
        f'<text class="t" x="12" y="18">{escape(title)}</text>',
        f'<text class="s" x="12" y="33">{escape(", ".join(words))}</text>',
    ]
    for at, panel in enumerate(panels):
        x, y = LEFT + at % 2 * (LEFT + WIDE + 4), TOP + 14 + at // 2 * (HIGH + GAP - 10)
        parts.append(f'<g transform="translate({x} {y})">{panel}</g>')
    return "".join(parts) + "</svg>"


Line = tuple[Array, Array, str]


def _masses(history: History, times: Array, paint: Sequence[str]) -> list[Line]:
    """Return the mass trajectories of some populations, at some of the recorded times."""
    step = max(1, -(-sum(history.born) // LINES))
    skip = max(1, len(times) // POINTS)
    keep = np.unique(np.append(np.arange(0, len(times), skip), len(times) - 1))
    lines = []
    for layer, color in zip(history.layers, paint, strict=True):
        mass = history.trajectories("mass", layer)[keep] if len(times) else np.zeros((0, 0))
        lines += [(times[keep], values, color) for values in mass.T[::step]]
    return lines


def _panel(
    title: str,
    end: float,
    lines: Sequence[Line],
    *,
    log: bool = False,
    low: float | None = None,
    thin: bool = False,
) -> str:
    """Return one panel: frame, two labels on each axis, polylines."""
    every = np.concatenate([np.asarray(y, np.float64) for _, y, _ in lines] or [np.zeros(0)])
    every = every[np.isfinite(every) & (every > 0 if log else True)]
    floor = float(every.min()) if low is None and len(every) else (low or 0.0)
    top = float(every.max()) if len(every) else 1.0

    def scale(y: Array) -> Array:
        if not log:
            return np.asarray((y - floor) / max(1e-12, top - floor))
        logs = np.log(np.maximum(y, 1e-30)) - np.log(max(floor, 1e-30))
        return np.asarray(logs / max(1e-12, np.log(max(top, 1e-30) / max(floor, 1e-30))))

    parts = [
        f'<text class="t" x="0" y="-5">{escape(title)}</text>',
        f'<path class="a" d="M0 0V{HIGH}H{WIDE}"/>',
    ]
    if len(every):
        parts += [
            f'<text class="s" x="-4" y="8" text-anchor="end">{top:.3g}</text>',
            f'<text class="s" x="-4" y="{HIGH}" text-anchor="end">{floor:.3g}</text>',
        ]
    parts.append(f'<text class="s" x="{WIDE}" y="{HIGH + 13}" text-anchor="end">{end:.3g}</text>')
    for x, y, color in lines:
        known = np.isfinite(y)
        if not known.any():
            continue
        points = np.empty((int(known.sum()), 2), np.int64)
        points[:, 0] = np.rint(10 * WIDE * x[known] / end)
        points[:, 1] = np.rint(10 * HIGH * (1 - np.clip(scale(y[known]), 0, 1)))
        alive = bool(known[-1])
        style = f"{5 if thin else 16}" + (f'" opacity="{0.8 if alive else 0.3}' if thin else "")
        way = " ".join(map(str, points.ravel().tolist()))
        parts.append(
            f'<polyline class="l" transform="scale(.1)" stroke="{color}" '
            f'stroke-width="{style}" points="{way}"/>'
        )
    return "".join(parts)

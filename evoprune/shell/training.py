"""`evoprune train` and `evoprune resume`: a run in a folder that can be resumed.

run.json (the options) is written before the first step, state.safetensors after every epoch, and
model, history and metrics at the end, before anything is printed or drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import evoprune as ep
from evoprune.common import table
from evoprune.common.errors import FileFormatError, NothingCanDie
from evoprune.common.files import check_folder, existing, write_whole
from evoprune.common.types import Array
from evoprune.nets.network import Network
from evoprune.nets.overview import overview
from evoprune.nets.sampling import vocabulary_of
from evoprune.records.history import History
from evoprune.shell import tasks
from evoprune.shell.screen import (
    INTERRUPTED,
    Failed,
    Lines,
    Screen,
    Stopped,
    complain,
    stopped_by,
    tabulated,
)
from evoprune.training.callbacks import Checkpoint, Row
from evoprune.training.trainer import Trainer

__all__ = ["resume", "train"]

RUN, STATE, MODEL, HISTORY, METRICS = (
    "run.json",
    "state.safetensors",
    "model.safetensors",
    "history.npz",
    "metrics.json",
)
PICTURES = ("trajectories.png", "history.png")
RESULTS = (STATE, MODEL, HISTORY, METRICS, *PICTURES)
ASIDE = ("command", "verb", "completion", "config", "resume", "force", "out", "threads")
FORMAT = "evoprune run"


def train(options: argparse.Namespace) -> int:
    """Begin a run, or continue it with `--resume`."""
    folder = options.out or Path("run")
    if options.resume and (folder / RUN).exists():
        return _go_on(options, folder, _asked(options))
    found = [name for name in RESULTS if (folder / name).exists()]
    if found and not options.force:
        raise ValueError(
            f"--out: {folder} holds a run already ({found[0]}); --resume continues it, --force "
            "replaces it, --out names another folder"
        )
    with stopped_by("SIGTERM", "SIGHUP") as stopped:
        task, trainer = _made(options)
        folder.mkdir(parents=True, exist_ok=True)
        check_folder(folder / STATE)
        for name in found:
            (folder / name).unlink(missing_ok=True)
        text = json.dumps({"format": FORMAT, "options": _asked(options)}, indent=1)
        write_whole(folder / RUN, text.encode())
        return _through(task, trainer, folder, stopped, begun=False)


def resume(options: argparse.Namespace) -> int:
    """Continue the run in a folder."""
    return _go_on(options, options.out, {})


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options given on the command line as plain values."""
    given = {k: v for k, v in vars(options).items() if k not in ASIDE and v is not None}
    plain: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    if "data" in plain:
        plain["data"] = str(Path(plain["data"]).resolve())
    if plain.get("name") not in (None, *tasks.DATA):
        plain["name"] = str(Path(plain["name"]).resolve())
    return plain


def _go_on(options: argparse.Namespace, folder: Path, asked: dict[str, Any]) -> int:
    file = existing(folder / RUN)
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["format"] != FORMAT or not isinstance(kept["options"], dict):
            raise ValueError("not a run of evoprune")
        kept = kept["options"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{file}: expected what `evoprune train` wrote ({error})") from None
    for name, value in asked.items():
        if kept.get(name) != value:
            raise ValueError(
                f"--{name}: the run in {folder} began with {kept.get(name, 'the usual')}, got "
                f"{value}; leave it out, or start again with --force"
            )
    known = argparse.Namespace(**dict.fromkeys(tasks.OPTIONS), threads=options.threads)
    for name, value in kept.items():
        if name not in vars(known):
            raise FileFormatError(f"{file}: there is no option {name!r}")
        setattr(known, name, tuple(value) if isinstance(value, list) else value)
    if known.data is not None:
        known.data = Path(known.data)
    with stopped_by("SIGTERM", "SIGHUP") as stopped:
        task, trainer = _made(known)
        begun = (folder / STATE).exists()
        if begun:
            trainer.restore(folder / STATE)
        return _through(task, trainer, folder, stopped, begun=begun)


def _made(options: argparse.Namespace) -> tuple[tasks.Task, Trainer]:
    if options.threads is not None:
        ep.set_threads(tasks.checked("threads", options.threads, 1, 1024))
    tasks.check(options)
    task = tasks.task_of(options)
    usual = task.usual
    rate = ep.AdamW(usual.rate, weight_decay=usual.decay, clip=usual.clip)
    selection = tasks.selection_of(options)
    return task, ep.Trainer(task.network, loss=task.loss, optimizer=rate, selection=selection)


class _Saver(Checkpoint):
    """Write the state after every epoch; if the disk is full, end the run with an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path).replace("{", "{{").replace("}", "}}"))
        self.error: OSError | None = None

    def on_epoch_saved(self, trainer: Trainer, row: Row) -> None:
        """Write the state."""
        self._try(trainer)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Write the state at the end of the run."""
        self._try(trainer)

    def _try(self, trainer: Trainer) -> None:
        try:
            trainer.save(self._template.filled({}))
            self.error = None
        except OSError as error:
            self.error = error
            trainer.stop()


def _through(
    task: tasks.Task, trainer: Trainer, folder: Path, stopped: Stopped, *, begun: bool
) -> int:
    """Train until the run ends or is stopped; write the results, then print and draw."""
    screen, saver, network = Screen(), _Saver(folder / STATE), trainer.network
    data, usual = task.train, task.usual
    screen.say(f"{data.name}: {len(data):,} samples to train on, {len(task.test):,} to test on")
    common: dict[str, Any] = {
        "validation_data": task.test,
        "callbacks": [Lines(screen, stopped), saver],
        "progress": sys.stderr.isatty() and sys.stdout.isatty(),
    }
    stopped.stop = trainer.stop
    with _plain_warnings():
        if begun:
            history = trainer.resume(data, **common)
        else:
            history = trainer.fit(
                data, epochs=usual.epochs, batch_size=usual.batch, steps=usual.steps, **common
            )
    cut = bool(stopped.status or history.interrupted or screen.broken or saver.error)
    cut = cut and history.steps_done < usual.epochs * history.per_epoch
    history.interrupted = cut
    metrics = _metrics(network, history)
    _write(network, history, metrics, folder, saver)
    if cut:
        screen.say(
            f"interrupted after {history.steps_done:,} steps; all results so far are written\n"
            f"continue with: evoprune resume {folder}"
        )
    title, head, rows, total, note = overview(network)
    screen.say(f"\n{title}\n{tabulated(head, rows, total)}\n{note}\n")
    screen.say(f"{_summary(metrics)}\n")
    if vocabulary_of(network) is not None:
        screen.say(f"{ep.generate(network, length=200).strip()}\n")
    for name in (MODEL, HISTORY, METRICS, STATE):
        screen.say(str(folder / name))
    if not (stopped.status or screen.broken):
        for path in _draw(history, folder):
            screen.say(str(path))
    return stopped.status or screen.status or (INTERRUPTED if cut else 0)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print each `NothingCanDie` warning as a single line that ends with advice."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", NothingCanDie)
        usual = warnings.showwarning

        def show(message: Any, category: Any, *place: Any) -> None:
            if issubclass(category, NothingCanDie):
                why = str(message).partition(";")[0]
                complain(f"{why}; give --lifespan a smaller number, or --epochs a larger one")
            else:
                usual(message, category, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _write(
    network: Network, history: History, metrics: dict[str, Any], folder: Path, saver: _Saver
) -> None:
    """Write model, history and metrics.

    Raises:
        Failed: a file could not be written, now or during the run, e.g. because the disk is full.
    """
    error = saver.error
    try:
        network.save(folder / MODEL)
        history.save(folder / HISTORY)
        write_whole(folder / METRICS, json.dumps(metrics, indent=1).encode())
    except OSError as late:
        error = late
    if error is not None:
        raise Failed(
            f"{error.filename}: {error.strerror}; the run has stopped. The files in {folder} are "
            f"whole; make room, then `evoprune resume {folder}` continues from the last state"
        )


def _draw(history: History, folder: Path) -> list[Path]:
    """Draw the figures of a run and return their paths."""
    if not history.epochs_done:
        return []
    from matplotlib.figure import Figure

    def trajectories(axes: Array) -> None:
        ep.plot.trajectories(history, ax=axes[0])

    def story(axes: Array) -> None:
        ep.plot.history(history, axes)

    for name, rows, draw in zip(PICTURES, (1, 2), (trajectories, story), strict=True):
        figure = Figure(figsize=(10, 6), layout="constrained")  # needs no display
        draw(figure.subplots(rows, rows, squeeze=False).ravel())
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in PICTURES]


def _metrics(network: Network, history: History) -> dict[str, Any]:
    """Return the results of a run as plain values; a missing value is None."""

    def last(name: str, at: int = -1) -> float | None:
        value = float(history[name][at]) if name in history and history.epochs_done else math.nan
        return value if math.isfinite(value) else None

    first, now = last("ms_per_step", 0), last("ms_per_step")
    return {
        "epochs": last("epoch") or 0.0,
        "steps": history.steps_done,
        "interrupted": history.interrupted,
        "seconds": last("seconds"),
        "loss": last("loss"),
        "accuracy": last("accuracy"),
        "validation_loss": last("validation_loss"),
        "validation_accuracy": last("validation_accuracy"),
        "alive": sum(network.alive.values()),
        "born": sum(network.born.values()),
        "macs": network.macs,
        "founding_macs": network.founding_macs,
        "parameters": network.parameters,
        "founding_parameters": network.founding_parameters,
        "ms_per_step": now,
        "first_ms_per_step": first,
        "speed_up": first / now if first and now else None,
    }


def _summary(m: dict[str, Any]) -> str:
    """Return a summary of a run in a few lines."""
    lines = [
        f"time         {m['seconds'] or 0:,.1f} s, {m['epochs']:g} epochs, {m['steps']:,} steps"
    ]
    if m["born"]:
        lines.append(f"populations  {m['born']:,} -> {m['alive']:,}")
    for name, key in (("macs", "macs"), ("parameters", "parameters")):
        before, after = m[f"founding_{key}"], m[key]
        share = f" ({table.share(after, before)})" if before else ""
        lines.append(f"{name:<11}  {before:,.0f} -> {after:,.0f}{share}")
    if m["speed_up"] is not None:
        lines.append(
            f"step         {m['first_ms_per_step']:.3g} -> {m['ms_per_step']:.3g} ms, "
            f"{m['speed_up']:.3g} times as fast"
        )
    if m["validation_accuracy"] is not None:
        lines.append(f"accuracy     {100 * m['validation_accuracy']:.2f} % of the test set")
    elif m["validation_loss"] is not None:
        lines.append(f"loss         {m['validation_loss']:.4f} on the test set")
    return "\n".join(lines)

"""Sweeps: one run for every combination of settings and every seed, executed by joblib.

Each run writes its row to one file and its history to another, so that a stopped sweep can
continue. joblib chooses where runs execute (processes, threads, a cluster).
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, cast

import evoprune as ep
from evoprune.bridges.extras import require
from evoprune.common.warn import warn

__all__ = ["plain", "sweep", "sweep_file"]

Make: TypeAlias = Callable[..., tuple[ep.Trainer, Mapping[str, Any]]]
Measure: TypeAlias = Callable[..., Mapping[str, Any]]
Grid: TypeAlias = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
Row: TypeAlias = dict[str, Any]

LAST = ("loss", "accuracy", "validation_loss", "validation_accuracy", "alive", "macs", "parameters")
TAKEN = {"seed", *LAST, "steps", "seconds", "error"}


def sweep(
    make: Make,
    grid: Grid,
    seeds: int | Iterable[int] = 1,
    *,
    measure: Measure | None = None,
    n_jobs: int | None = None,
    folder: str | PathLike[str] | None = None,
    verbose: int = 0,
) -> Any:
    """Train once for every combination of settings and every seed; return a table of the runs.

    joblib's backend executes the runs: processes (loky) by default, or the backend chosen by
    `with joblib.parallel_config("dask"): ...`. Rows do not depend on backend or `n_jobs`,
    except for `seconds`.

    Args:
        make: a function make(seed=..., **settings) that returns a trainer and the arguments of its
            `fit` as a dict: {"data": train, "epochs": 10, "validation_data": test}.
        grid: a dict with a list of values for every setting, {"pressure": [1, 2], "widths": [(64,),
            (128,)]}, to run all combinations; or a list of dicts of settings, one for each run.
        seeds: a number of seeds, counted from 0, or the seeds.
        measure: a function measure(trainer, seed=..., **settings), called after training, that
            returns further columns as a dict of plain values. They are None if the run diverged.
        n_jobs: number of runs at a time, as for `joblib.Parallel`. If None, joblib chooses: 1, or
            the number set by `joblib.parallel_config`.
        folder: where rows (rows/*.json) and histories (histories/*.npz) are stored. A run whose row
            exists there is not repeated. Several machines of a backend must share the folder.
        verbose: as for `joblib.Parallel`.

    Returns:
        A table: pandas' DataFrame where pandas is installed, else a list of dicts. Columns are the
        settings, seed, the last epoch's loss, accuracy, validation_loss, validation_accuracy,
        alive, macs, parameters; steps, seconds, and error, the message of a run that diverged.

    Raises:
        ModuleNotFoundError: joblib is not installed.
        TypeError, ValueError: the grid, a setting or what `make` returns is not as described.
    """
    joblib = require("joblib", "sweep", "sweep")
    jobs = [(s, seed) for s in _combinations(grid) for seed in _seeds(seeds)]
    names = [_name(settings, seed) for settings, seed in jobs]
    if len(set(names)) < len(names):
        raise ValueError("grid: expected different combinations, got one of them twice")
    place = None if folder is None else _opened(Path(folder), make)
    run = joblib.delayed(_run)
    rows = joblib.Parallel(n_jobs=n_jobs, verbose=verbose)(
        run(make, measure, settings, seed, place, name)
        for (settings, seed), name in zip(jobs, names, strict=True)
    )
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError:
        return list(rows)
    return pandas.DataFrame(list(rows))


def _combinations(grid: Grid) -> list[dict[str, Any]]:
    if isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str | bytes) or not isinstance(values, Iterable):
                raise TypeError(f"grid: expected a list of values for {name!r}, got {values!r}")
        values = [list(v) for v in grid.values()]
        chosen = [dict(zip(grid, each, strict=True)) for each in itertools.product(*values)]
    else:
        chosen = [dict(settings) for settings in grid]
    if not chosen:
        raise ValueError("grid: expected at least one combination of settings, got none")
    for settings in chosen:
        taken = TAKEN & set(settings)
        if taken:
            raise ValueError(f"grid: expected names that the table does not use, got {taken.pop()}")
    return chosen


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    chosen = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if not chosen:
        raise ValueError("seeds: expected at least one seed, got none")
    return chosen


def _plain(value: Any) -> Any:
    """Return a value unchanged if JSON can represent it, otherwise its repr.

    Raises:
        TypeError: the repr contains an address, which is different in a later call.
    """
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # a NumPy scalar
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(
            f"grid: expected plain values or settings with a repr of their own, got {text}"
        )
    return text


def _name(settings: Mapping[str, Any], seed: int) -> str:
    """Return the name of a run's files: a hash of its settings and its seed."""
    text = json.dumps([_plain(settings), seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _opened(folder: Path, make: Make) -> Path:
    """Make the folders; warn if existing rows come from another function `make`."""
    for part in ("rows", "histories"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    try:
        source = inspect.getsource(make)
    except (OSError, TypeError):  # `make` was typed into an interpreter or is no function
        source = repr(make).partition(" at 0x")[0]
    mark = hashlib.sha256(source.encode()).hexdigest()
    kept = folder / "make.sha256"
    if not kept.exists():
        _write(kept, mark.encode())
    elif kept.read_text() != mark:
        warn(
            f"folder: the runs in {folder} were made by another version of make; their rows are "
            "used as they are. Give another folder to make them again"
        )
    return folder


def _run(
    make: Make,
    measure: Measure | None,
    settings: dict[str, Any],
    seed: int,
    folder: Path | None,
    name: str,
) -> Row:
    """Execute a run, or read its existing row; called by joblib's workers."""
    kept = None if folder is None else folder / "rows" / f"{name}.json"
    if kept is not None and kept.exists():
        row: Row = json.loads(kept.read_text())
    else:
        history_at = None if folder is None else folder / "histories" / name
        row = _made(make, measure, settings, seed, history_at)
        if kept is not None:
            _write(kept, json.dumps(row).encode())
    result = row | {k: math.nan for k in LAST if row[k] is None}
    return {**settings, **{k: v for k, v in result.items() if k not in settings}}


def _made(
    make: Make,
    measure: Measure | None,
    settings: dict[str, Any],
    seed: int,
    history_at: Path | None,
) -> Row:
    made: Any = make(seed=seed, **settings)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], ep.Trainer)):
        raise TypeError(f"make: expected (trainer, arguments of its fit), got {made!r}")
    trainer, arguments = made
    error = None
    try:
        trainer.fit(**{"progress": False, **arguments})
    except ep.Diverged as diverged:
        error = str(diverged)
    history = trainer.history
    if history is None:
        raise TypeError("make: expected a trainer with a history after fit, got none")
    if history_at is not None:
        history.save(history_at.with_suffix(".npz"))
    last = {k: _finite(history.last(k)) if k in history else None for k in LAST}
    more: dict[str, Any] = {}
    if measure is not None and error is None:
        more = _plain(dict(measure(trainer, seed=seed, **settings)))
        for column in TAKEN & set(more):
            raise ValueError(f"measure: expected columns that the table lacks, got {column!r}")
    return {
        **_plain(settings),
        "seed": seed,
        **last,
        "steps": history.steps_done,
        "seconds": float(history.last("seconds")),
        "error": error,
        **more,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically, also with concurrent processes."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{id(content)}")
    draft.write_bytes(content)
    draft.replace(path)


# ---- from a file ---------------------------------------------------------------------------------


def sweep_file(path: str | PathLike[str], *, n_jobs: int | None = None, verbose: int = 0) -> Any:
    """Run the sweep that a TOML file describes; return its table as `sweep` does.

        folder = "results"          # beside the file; rows and histories go there
        seeds = 3                   # or a list
        n_jobs = 2
        make = "experiment:make"    # a function of experiment.py beside the file; default: `plain`

        [fixed]                     # the same for every run
        data = "mnist"
        epochs = 5

        [grid]                      # all combinations
        pressure = [1.0, 1.5, 2.0]

    Args:
        path: the file.
        n_jobs, verbose: as for `sweep`; n_jobs of the file if not given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not valid TOML, or a key is unknown or missing.
    """
    file = Path(path)
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: not valid TOML ({error})") from error
    known = {"folder", "seeds", "n_jobs", "make", "fixed", "grid"}
    unknown = sorted(set(said) - known)
    if unknown:
        raise ValueError(f"{file}: expected {', '.join(sorted(known))}, got {unknown[0]!r}")
    if not isinstance(said.get("grid"), dict):
        raise ValueError(f"{file}: expected a table [grid] with a list for every setting")
    grid = {name: [value] for name, value in said.get("fixed", {}).items()} | said["grid"]
    return sweep(
        _imported(file, said.get("make")),
        grid,
        said.get("seeds", 1),
        n_jobs=said.get("n_jobs") if n_jobs is None else n_jobs,
        folder=file.parent / said.get("folder", file.stem),
        verbose=verbose,
    )


def _imported(file: Path, name: str | None) -> Make:
    if name is None:
        return plain
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f'{file}: make: expected "module:function", got {name!r}')
    place = str(file.resolve().parent)
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        make: Make = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{file}: make: {error}") from error
    return make


def plain(
    *,
    seed: int,
    data: str = "mnist",
    samples: int | None = None,
    widths: Sequence[int] = (512, 256),
    activation: str = "relu",
    rate: float = 2e-3,
    decay: float = 0.5,
    epochs: int = 20,
    batch: int = 128,
    lifespan: float | None = None,
    **selection: Any,
) -> tuple[ep.Trainer, dict[str, Any]]:
    """Make a multilayer perceptron and its trainer, the default of `sweep_file`.

    Args:
        seed: seed of the network and of shuffling.
        data: mnist, or a folder of files like MNIST's.
        samples: number of training samples, from the start of the set; None: all.
        widths, activation: widths and activation of the hidden layers.
        rate, decay, epochs, batch: learning rate, weight decay, epochs and batch size of training.
        lifespan: lifespan of the `Malthusian` dynamics; None: in proportion to the run.
        selection: further arguments of `Selection`.
    """
    train, test = ep.datasets.mnist() if data == "mnist" else ep.datasets.idx(data)
    if samples is not None:
        train = train.subset(slice(samples))
    if lifespan is not None:
        selection["dynamics"] = ep.Malthusian(lifespan=lifespan)
    network = ep.mlp(
        train.features,
        *widths,
        len(train.classes or ()),
        activation=cast(Any, activation),
        seed=seed,
    )
    trainer = ep.Trainer(
        network,
        optimizer=ep.AdamW(rate, weight_decay=decay),
        selection=ep.Selection(**selection),
    )
    return trainer, {"data": train, "epochs": epochs, "batch_size": batch, "validation_data": test}

"""Commands that read what a run has written: show, generate, predict, evaluate, export and more.

Whatever they print can be cut short by a closed pipe; nothing is written but what was asked for.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import evoprune as ep
from evoprune.common import table
from evoprune.common.checks import number
from evoprune.common.files import existing, write_whole
from evoprune.common.types import Array
from evoprune.nets.network import Network
from evoprune.nets.overview import overview
from evoprune.nets.sampling import vocabulary_of
from evoprune.records.history import History
from evoprune.shell import tasks
from evoprune.shell.screen import width

__all__ = ["COMMANDS", "completion"]

SHOWN = (
    "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "alive", "macs",
    "upkeep", "ms_per_step",
)  # fmt: skip


# ---- show --------------------------------------------------------------------------------------


def show(options: argparse.Namespace) -> int:
    """Print layers of a model, epochs of a history, or both of a folder."""
    if options.file.is_dir():
        files = [options.file / name for name in ("history.npz", "model.safetensors")]
        files = [file for file in files if file.exists()]
        if not files:
            raise ValueError(f"{options.file}: expected a run's folder, found no model or history")
    else:
        files = [existing(options.file)]
    if options.json or options.csv:
        files = files[:1]
    for file in files:
        if file.suffix == ".npz":
            _show_history(ep.History.load(file), options)
        else:
            _show_network(ep.load(file), options)
    return 0


def _show_network(network: Network, options: argparse.Namespace) -> None:
    title, head, rows, total, note = overview(network)
    if options.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([head, *rows])
    elif options.json:
        facts = {
            "spec": network.spec,
            "alive": network.alive,
            "born": network.born,
            "macs": network.macs,
            "founding_macs": network.founding_macs,
            "parameters": network.parameters,
            "founding_parameters": network.founding_parameters,
            "step": network.step,
            "generation": network.generation,
            "notes": network.notes,
        }
        print(json.dumps(facts))
    else:
        print("\n".join(filter(None, [title, table.as_text(head, rows, total, width()), note])))


def _show_history(history: History, options: argparse.Namespace) -> None:
    columns = {name: history[name].tolist() for name in history}
    if options.json:
        clean = {n: [v if math.isfinite(v) else None for v in c] for n, c in columns.items()}
        facts = {"epochs": clean, "settings": history.settings}
        print(json.dumps(facts | {"interrupted": history.interrupted, "steps": history.steps_done}))
        return
    rows = list(zip(*columns.values(), strict=True))
    if options.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([list(columns), *rows])
        return
    print(repr(history))
    for name, value in history.settings.items():
        if isinstance(value, str):
            print(f"{name}: {value}")
    shown = [name for name in SHOWN if name in history and not np.isnan(history[name]).all()]
    text = [[f"{v:,.4g}" if v % 1 else f"{v:,.0f}" for v in (columns[n][i] for n in shown)]
            for i in range(history.epochs)]  # fmt: skip
    if text:
        print("\n" + table.as_text([n.replace("_", " ") for n in shown], text, None, width()))
    print(f"\n{len(history.extinctions):,} extinctions")


# ---- generate, predict, evaluate ---------------------------------------------------------------


def generate(options: argparse.Namespace) -> int:
    """Print how a language model goes on."""
    settings = {"temperature": options.temperature, "seed": options.seed}
    print(ep.generate(ep.load(options.file), options.prompt, options.length, **settings))
    return 0


def predict(options: argparse.Namespace) -> int:
    """Write the likeliest class of every sample, or what the network gives."""
    network = _loaded(options)
    outputs = network.predict(_inputs(options, network)[0], threads=ep.get_threads())
    classes = network.loss.counts_hits(network.loss.kind) and outputs.shape[-1] > 1
    if classes and not options.outputs:
        outputs = outputs.argmax(-1)
    flat = outputs.reshape(len(outputs), -1)
    if options.out is not None and options.out.suffix == ".npy":
        write_whole(options.out, lambda file: np.save(file, outputs))
        return 0
    names = ["sample", *(["prediction"] if flat.shape[1] == 1 else map(str, range(flat.shape[1])))]
    rows = [names, *([i, *row] for i, row in enumerate(flat.tolist()))]
    if options.out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    else:
        lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
        write_whole(options.out, lines.encode())
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Print loss and accuracy."""
    network = _loaded(options)
    x, y = _inputs(options, network)
    if y is None:
        raise ValueError(f"{options.name}: expected targets, too; a .csv file has them last")
    score = network.evaluate(x, y)
    accuracy = None if math.isnan(score.accuracy) else score.accuracy
    if options.json:
        print(json.dumps({"loss": score.loss, "accuracy": accuracy, "samples": len(x)}))
        return 0
    right = "" if accuracy is None else f", accuracy {100 * accuracy:.2f} %"
    print(f"loss {score.loss:.4f}{right}, {len(x):,} samples")
    return 0


def _loaded(options: argparse.Namespace) -> Network:
    if options.threads is not None:
        ep.set_threads(tasks.checked("threads", options.threads, 1, 1024))
    return ep.load(options.file)


def _inputs(options: argparse.Namespace, network: Network) -> tuple[Array, Array | None]:
    """Raw inputs, and targets where there are some, of the data that was named."""
    place = Path(options.name)
    if place.suffix == ".npy":
        return np.load(existing(place), allow_pickle=False), None
    if place.suffix == ".csv":
        return _csv(place, math.prod(network.spec["input"]))
    if options.name == "text":
        letters = vocabulary_of(network)
        if not letters or options.data is None:
            raise ValueError("text: expected a language model, and --data, where the text lies")
        context = int(math.prod(network.spec["input"]))
        held = ep.datasets.text(options.data, context=context)
        if held.vocabulary != letters:
            raise ValueError(f"{options.data}: expected the characters of the model's text")
        return held.validation.x, held.validation.y
    test = tasks.data_of(options)[1]
    return test.x, test.y


def _csv(place: Path, features: int) -> tuple[Array, Array | None]:
    """Read numbers in rows; a first row of names is passed over."""
    with existing(place).open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        start = 0 if rows and all(_is_number(cell) for cell in rows[0]) else 1
        cells = np.array(rows[start:], np.float64)
    except ValueError as error:
        raise ValueError(f"{place}: expected numbers in rows of one length ({error})") from None
    if cells.ndim != 2 or cells.shape[1] not in (features, features + 1):
        shape = f"{cells.shape[1]} columns" if cells.ndim == 2 else "no rows"
        raise ValueError(f"{place}: expected {features} columns, and a target, got {shape}")
    if cells.shape[1] == features:
        return cells, None
    target = cells[:, -1]
    whole = bool((target % 1 == 0).all())
    return cells[:, :-1], target.astype(np.int64) if whole else target[:, None]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ---- bench, data -------------------------------------------------------------------------------


def bench(options: argparse.Namespace) -> int:
    """Measure predictions of a model, and of a network as it was born."""
    network = _loaded(options)
    batch = tasks.checked("batch", options.batch, 1, 2**31 - 1)
    seconds = number("--seconds", options.seconds, 0, 3600)
    x = np.zeros((batch, *network.spec["input"]), np.float32)
    born = Network(network.spec, network.dtype)
    times = {"now": _milliseconds(network, x, seconds), "born": _milliseconds(born, x, seconds)}
    facts = {
        "batch": batch,
        "threads": ep.get_threads(),
        "ms": times["now"],
        "founding_ms": times["born"],
        "speed_up": times["born"] / times["now"],
        "macs": network.macs,
        "founding_macs": network.founding_macs,
    }
    if options.json:
        print(json.dumps(facts))
        return 0
    head = ["network", "", "multiply-adds", f"ms for {batch:,} samples"]
    rows = [
        ["as it was born", "", table.number(born.macs), f"{times['born']:.3g}"],
        ["as it is now", "", table.number(network.macs), f"{times['now']:.3g}"],
    ]
    print(table.as_text(head, rows, None, width()))
    print(f"\n{facts['speed_up']:.3g} times as fast, {facts['threads']} threads at most")
    return 0


def _milliseconds(network: Network, x: Array, seconds: float) -> float:
    """Return the shortest time of a prediction."""
    threads = ep.get_threads()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        network.predict(x, threads=threads)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def data(options: argparse.Namespace) -> int:
    """Print what a data set holds."""
    if options.name == "text":
        if options.data is None:
            raise ValueError("--data: must be given, where text lies")
        parts: Any = tuple(ep.datasets.text(options.data))
    else:
        parts = tasks.data_of(options)
    rows = []
    for part in parts:
        targets = np.asarray(part.y)
        classes = part.classes if targets.ndim == 1 else None
        counts = np.bincount(targets, minlength=len(classes)).tolist() if classes else None
        rows.append(
            {
                "name": part.name,
                "samples": len(part),
                "shape": list(part.shape),
                "dtype": str(part.x.dtype),
                "classes": dict(zip(classes, counts, strict=True)) if classes and counts else None,
            }
        )
    if options.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        shape = " x ".join(map(str, row["shape"]))
        print(f"{row['name']}: {row['samples']:,} samples of {shape} {row['dtype']}")
        for name, count in (row["classes"] or {}).items():
            print(f"  {name}: {count:,}")
    return 0


# ---- what other parts of the package do --------------------------------------------------------


def export(options: argparse.Namespace) -> int:
    """Write a model for other programs."""
    kinds = {".onnx": ep.export.onnx, ".c": ep.export.c, ".pt2": ep.export.torch}
    write = kinds.get(options.out.suffix)
    if write is None:
        raise ValueError(f"{options.out}: expected a name that ends in {', '.join(kinds)}")
    if options.out.exists() and not options.force:
        raise ValueError(f"{options.out}: is there already; --force replaces it")
    write(ep.load(options.file), options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")
    return 0


def sweep(options: argparse.Namespace) -> int:
    """Train many networks, as a file says."""
    run: Any = getattr(ep, "sweep", None)
    file = existing(options.file)
    if not hasattr(run, "from_toml"):
        raise ImportError("sweep: this version cannot read sweeps from a file")
    print(run.from_toml(file))
    return 0


def completion(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print the completion script of a shell."""
    try:
        import shtab
    except ImportError:
        raise ImportError("--print-completion needs shtab: pip install 'evoprune[cli]'") from None
    print(shtab.complete(parser, shell=shell))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "show": show,
    "generate": generate,
    "predict": predict,
    "evaluate": evaluate,
    "export": export,
    "sweep": sweep,
    "bench": bench,
    "data": data,
}

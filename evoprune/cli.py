"""The command line: `evoprune train mnist --out run/`, `show FILE`, `generate FILE`.

It puts together what the package has, prints and writes files; it computes nothing of its own.
Exit status: 0 done, 1 the run failed, 2 the request cannot be met, 130 stopped by Ctrl-C (what
there is of the run is written).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import evoprune as ep
from evoprune import _tasks as tasks
from evoprune._dataset import Array
from evoprune.callbacks import Callback, Row
from evoprune.history import History
from evoprune.trainer import Trainer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; `arguments` are those of the process if not given. The exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ep.Diverged as error:
        print(f"evoprune: {error}; a lower --rate may help", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        print(f"evoprune: {str(error) or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evoprune",
        description="Neural networks whose neurons are populations under selection.",
    )
    parser.add_argument("--version", action="version", version=f"evoprune {ep.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _train_parser(
        commands.add_parser("train", help="train a network and write a folder of results")
    )
    show = commands.add_parser("show", help="print what is in a file")
    show.add_argument("file", type=Path, help="a model (.safetensors) or a history (.npz)")
    show.set_defaults(command=_show)
    _generate_parser(commands.add_parser("generate", help="let a language model go on with a text"))
    return parser


def _train_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "name", metavar="DATA", help=f"{', '.join(tasks.DATA)}, or a folder of idx files as MNIST's"
    )
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help="where the data lies; mnist comes with the package",
    )
    group = parser.add_argument_group("network")
    group.add_argument(
        "--net",
        choices=tasks.NETS,
        help="its kind (mlp; charlm for text, which nothing else reads)",
    )
    group.add_argument(
        "--widths",
        type=_widths,
        metavar="N,N",
        help="neurons of an mlp's layers (512,256), filters of a cnn's (32,64,128)",
    )
    for option, meaning in tasks.SHAPE.items():
        group.add_argument(f"--{option}", type=int, metavar="N", help=meaning)
    group.add_argument("--activation", help="of the neurons of an mlp, filters of a cnn (relu)")
    group.add_argument("--inputs", action="store_true", help="let input features live and die too")
    group = parser.add_argument_group("selection")
    group.add_argument(
        "--pressure",
        type=float,
        default=0.15,
        metavar="NATS",
        help="what it may cost in loss to keep the whole network alive (0.15)",
    )
    group.add_argument(
        "--dynamics", default="malthusian", help="how masses follow fitness (malthusian)"
    )
    group.add_argument(
        "--fitness", default="marginal", help="what a population is worth (marginal)"
    )
    group.add_argument(
        "--lifespan",
        type=float,
        metavar="STEPS",
        help="malthusian: in how many steps a population without fitness dies",
    )
    group.add_argument(
        "--rest",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the run, at its end, in which masses stand still (0)",
    )
    group = parser.add_argument_group("training", "(in brackets what an mlp takes; others differ)")
    usual = tasks.USUAL["mlp"]
    group.add_argument("--epochs", type=int, metavar="N", help=f"({usual.epochs})")
    group.add_argument("--steps", type=int, metavar="N", help="of an epoch (once through the data)")
    group.add_argument("--batch", type=int, metavar="N", help=f"samples of a step ({usual.batch})")
    group.add_argument(
        "--rate",
        type=float,
        metavar="X",
        help=f"learning rate of AdamW, falling to 0 along a cosine ({usual.rate:g})",
    )
    group.add_argument("--decay", type=float, metavar="X", help=f"weight decay ({usual.decay:g})")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    group.add_argument("--threads", type=int, metavar="N", help="(all processors)")
    add("--out", type=Path, default=Path("run"), metavar="FOLDER", help="for the results (run/)")
    parser.set_defaults(command=_train)


def _generate_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, help="a model that `evoprune train text` has written")
    add("--prompt", default="\n", metavar="TEXT", help="what to go on from (a new line)")
    add("--length", type=int, default=500, metavar="N", help="characters (500)")
    add("--temperature", type=float, default=0.8, metavar="X", help="0: the likeliest always (0.8)")
    add("--seed", type=int, default=0, metavar="N", help="(0)")
    parser.set_defaults(command=_generate)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 512,256, got {text!r}") from None


# ---- train -----------------------------------------------------------------------------------


def _train(options: argparse.Namespace) -> int:
    if options.threads is not None:
        ep.set_threads(options.threads)
    task = tasks.task_of(options)
    train, test, network, usual = task.train, task.test, task.network, task.usual
    if options.lifespan is not None and options.dynamics != "malthusian":
        raise ValueError("--lifespan: only the malthusian dynamics has one")
    lifespan = {} if options.lifespan is None else {"lifespan": options.lifespan}
    trainer = ep.Trainer(
        network,
        optimizer=ep.AdamW(usual.rate, decay=usual.decay, clip=usual.clip),
        selection=ep.Selection(
            pressure=options.pressure,
            dynamics=ep.Malthusian(**lifespan) if lifespan else options.dynamics,
            fitness=options.fitness,
            rest=options.rest,
        ),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{train.name}: {len(train):,} samples to train on, {len(test):,} to test on")
    history = trainer.fit(
        train,
        usual.epochs,
        usual.batch,
        validation=test,
        callbacks=[_LiveTable(list(network.born), text=options.name == "text")],
        progress=False,
        steps=usual.steps,
    )
    if history.interrupted:
        print(f"interrupted after {history.steps_done:,} steps; writing what there is")
    print(f"\n{network!r}\n")
    if "vocabulary" in network.notes:
        print(f"{ep.generate(network, length=200, seed=options.seed).strip()}\n")
    for path in _write(trainer, history, options.out):
        print(path)
    return 130 if history.interrupted else 0


class _LiveTable(Callback):
    """Prints a row of the table an epoch, as it comes."""

    def __init__(self, layers: list[str], text: bool) -> None:
        self.layers, self.text = layers, text
        self.widths = [5, 8, 10 if text else 8, max(16, min(36, 6 * len(layers))), 8, 8]

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Print the head."""
        measure = "perplexity" if self.text else "test"
        self._line(["epoch", "loss", measure, "living", "upkeep", "ms/step"])

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Print a row: loss of the training batches, accuracy or perplexity on the test data."""
        perplexity = f"{math.exp(min(700, row['validation_loss'])):.3f}"
        self._line(
            [
                f"{row['epoch']:.0f}",
                f"{row['loss']:.4f}",
                perplexity if self.text else f"{100 * row['validation_accuracy']:.2f} %",
                self._living(row),
                f"{row['upkeep']:.4f}",
                f"{row['ms_per_step']:.2f}",
            ]
        )

    def _living(self, row: Row) -> str:
        """Populations by layer, or, of many layers, by what they are: "heads 13 + neurons 820"."""
        if len(self.layers) <= 4:
            return " + ".join(f"{row[f'alive.{name}']:.0f}" for name in self.layers) or "-"
        sums: dict[str, float] = {}
        for name in self.layers:
            kind = name.rstrip("0123456789") if "_" not in name else "filters"
            sums[kind] = sums.get(kind, 0) + row[f"alive.{name}"]
        return " + ".join(f"{kind} {n:.0f}" for kind, n in sums.items())

    def _line(self, cells: list[str]) -> None:
        print("  ".join(c.rjust(w) for c, w in zip(cells, self.widths, strict=True)), flush=True)


def _write(trainer: Trainer, history: History, folder: Path) -> list[Path]:
    """Write model, history and pictures; the paths."""
    paths = [folder / name for name in ("model.safetensors", "history.npz")]
    trainer.network.save(paths[0])
    history.save(paths[1])
    if history.epochs:
        from matplotlib.figure import Figure

        def trajectories(axes: Array) -> None:
            ep.plot.trajectories(history, ax=axes[0])

        def story(axes: Array) -> None:
            ep.plot.history(history, axes)

        for name, rows, draw in (("trajectories.png", 1, trajectories), ("history.png", 2, story)):
            figure = Figure(figsize=(10, 6), layout="constrained")  # needs no display
            draw(figure.subplots(rows, rows, squeeze=False).ravel())
            figure.savefig(folder / name, dpi=120)
            paths.append(folder / name)
    return paths


# ---- show, generate --------------------------------------------------------------------------


def _generate(options: argparse.Namespace) -> int:
    settings = {"temperature": options.temperature, "seed": options.seed}
    print(ep.generate(ep.load(options.file), options.prompt, options.length, **settings))
    return 0


def _show(options: argparse.Namespace) -> int:
    if options.file.suffix == ".npz":
        history = ep.History.load(options.file)
        print(repr(history))
        for name, value in history.settings.items():
            if isinstance(value, str):
                print(f"{name}: {value}")
        return 0
    print(repr(ep.load(options.file)))
    return 0

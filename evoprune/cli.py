"""The command line: `evoprune train mnist --pressure 0.3 --out run/`, `evoprune show FILE`.

It puts together what the package has, prints and writes files; it computes nothing of its own.
Exit status: 0 done, 1 the run failed, 2 the request cannot be met, 130 stopped by Ctrl-C (what
there is of the run is written).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import evoprune as ep
from evoprune._dataset import Array, Dataset
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
    return parser


def _train_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", help="mnist, or a folder with four idx files like MNIST's")
    group = parser.add_argument_group("network")
    group.add_argument(
        "--widths",
        type=_widths,
        default=(512, 256),
        metavar="N,N",
        help="neurons of the hidden layers (512,256)",
    )
    group.add_argument("--activation", default="relu", help="of the neurons (relu)")
    group.add_argument("--inputs", action="store_true", help="let input features live and die too")
    group = parser.add_argument_group("selection")
    group.add_argument(
        "--pressure",
        type=float,
        default=0.3,
        metavar="NATS",
        help="what it may cost in loss to keep the whole network alive (0.3)",
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
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=int, default=20, metavar="N", help="(20)")
    group.add_argument(
        "--batch", type=int, default=128, metavar="N", help="samples of a step (128)"
    )
    group.add_argument(
        "--rate",
        type=float,
        default=1e-3,
        metavar="X",
        help="learning rate of AdamW, falling to 0 along a cosine (0.001)",
    )
    group.add_argument("--decay", type=float, default=0.5, metavar="X", help="weight decay (0.5)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    group.add_argument("--threads", type=int, metavar="N", help="(all processors)")
    add("--out", type=Path, default=Path("run"), metavar="FOLDER", help="for the results (run/)")
    parser.set_defaults(command=_train)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 512,256, got {text!r}") from None


# ---- train -----------------------------------------------------------------------------------


def _train(options: argparse.Namespace) -> int:
    if options.threads is not None:
        ep.set_threads(options.threads)
    train, test = _data(options.data)
    network = ep.mlp(
        train.features,
        *options.widths,
        len(train.classes or ()),
        activation=options.activation,
        inputs=options.inputs,
        seed=options.seed,
    )
    if options.lifespan is not None and options.dynamics != "malthusian":
        raise ValueError("--lifespan: only the malthusian dynamics has one")
    lifespan = {} if options.lifespan is None else {"lifespan": options.lifespan}
    trainer = ep.Trainer(
        network,
        optimizer=ep.AdamW(options.rate, decay=options.decay),
        selection=ep.Selection(
            pressure=options.pressure,
            dynamics=ep.Malthusian(**lifespan) if lifespan else options.dynamics,
            fitness=options.fitness,
            rest=options.rest,
        ),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{train.name}: {len(train):,} samples to train on, {len(test):,} to test on")
    table = _LiveTable(list(network.born))
    history = trainer.fit(
        train, options.epochs, options.batch, validation=test, callbacks=[table], progress=False
    )
    if history.interrupted:
        print(f"interrupted after {history.steps_done:,} steps; writing what there is")
    print(f"\n{network!r}\n")
    for path in _write(trainer, history, options.out):
        print(path)
    return 130 if history.interrupted else 0


def _data(name: str) -> tuple[Dataset, Dataset]:
    if name == "mnist":
        return ep.datasets.mnist()
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"data: expected mnist or a folder with idx files, got {name!r}")
    return ep.datasets.idx(folder)


class _LiveTable(Callback):
    """Prints a row of the table an epoch, as it comes."""

    def __init__(self, layers: list[str]) -> None:
        self.layers = layers
        self.widths = [5, 8, 8, max(16, 6 * len(layers)), 8, 8]

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Print the head."""
        self._line(["epoch", "loss", "test", "living", "upkeep", "ms/step"])

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Print a row: loss of the training batches, accuracy on the test data."""
        living = " + ".join(f"{row[f'alive.{name}']:.0f}" for name in self.layers) or "-"
        self._line(
            [
                f"{row['epoch']:.0f}",
                f"{row['loss']:.4f}",
                f"{100 * row['validation_accuracy']:.2f} %",
                living,
                f"{row['upkeep']:.4f}",
                f"{row['ms_per_step']:.2f}",
            ]
        )

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


# ---- show ------------------------------------------------------------------------------------


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

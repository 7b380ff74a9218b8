"""The command line: `evoprune train mnist --out run/`, `show FILE`, `generate FILE`.

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
from evoprune.common.types import Array
from evoprune.core.spec import catalogue
from evoprune.records.history import History
from evoprune.selection.settings import CHOICES
from evoprune.shell import tasks
from evoprune.training.live import Table
from evoprune.training.trainer import Trainer

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


ABOUT = """\
Trains neural networks whose neurons, filters and attention heads are populations
under selection: the unfit go extinct, and the network gets smaller and faster while
it learns."""

EXAMPLES = """\
examples:
  evoprune train mnist --out run/           the paper's network; results in run/
  evoprune train mnist --budget 0.1         down to a tenth of its multiply-adds
  evoprune train cifar10 --data FOLDER --net cnn --widths 32,64,128
  evoprune train text --data FILE           a language model of characters
  evoprune show run/model.safetensors       layer by layer, who is alive
  evoprune generate run/model.safetensors --prompt "Once"
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evoprune",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"evoprune {ep.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    add = commands.add_parser
    about = "train a network; write model, history and pictures into a folder"
    _train_parser(add("train", help=about, description=f"{about.capitalize()}."))
    about = "print what is in a file: layers of a model, or how a run went"
    show = add("show", help=about, description=f"{about.capitalize()}.")
    show.add_argument(
        "file", type=Path, metavar="FILE", help="a model (.safetensors) or a history (.npz)"
    )
    show.set_defaults(command=_show)
    about = "let a language model go on with a text"
    _generate_parser(add("generate", help=about, description=f"{about.capitalize()}."))
    return parser


def _train_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "name", metavar="DATA", help=f"{', '.join(tasks.DATA)}, or a folder with files like MNIST's"
    )
    add("--data", type=Path, metavar="PATH", help="where the data lies; mnist needs none")
    add("--out", type=Path, default=Path("run"), metavar="FOLDER", help="for the results (run/)")

    group = parser.add_argument_group("network")
    group.add_argument(
        "--net",
        choices=tasks.NETS,
        help="its kind (mlp; for text charlm, which reads nothing else)",
    )
    group.add_argument(
        "--widths",
        type=_widths,
        metavar="N,N",
        help="neurons of an mlp's layers (512,256), filters of a cnn's (32,64,128)",
    )
    for option, meaning in tasks.SHAPE.items():
        group.add_argument(f"--{option}", type=int, metavar="N", help=meaning)
    group.add_argument(
        "--activation", metavar="NAME", help="of an mlp's neurons or a cnn's filters (relu)"
    )
    group.add_argument("--inputs", action="store_true", help="let input features live and die too")

    usual = ep.Selection()
    group = parser.add_argument_group("selection")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--pressure",
        type=float,
        metavar="X",
        help="how hard life is: at most about one population in X survives, or with --upkeep "
        "other than soft, what it may cost, in nats of loss, to keep the whole network alive "
        f"({usual.pressure:g}, or 0.15 nats)",
    )
    either.add_argument(
        "--budget",
        type=float,
        metavar="MACS",
        help="in its place: the multiply-adds to come down to, as a share of all, or above 1 "
        "their number; the pressure is found",
    )
    group.add_argument(
        "--dynamics",
        default="malthusian",
        metavar="NAME",
        help=f"how masses follow fitness: {', '.join(catalogue('dynamics'))} (malthusian)",
    )
    group.add_argument(
        "--fitness",
        metavar="NAME",
        help=f"what a population is worth: {', '.join(catalogue('fitness'))} (taylor where upkeep "
        "is soft, else marginal)",
    )
    group.add_argument(
        "--upkeep",
        choices=CHOICES["upkeep"],
        help="what a population costs: soft, what the others of its layer earn; or its share of "
        "the multiply-adds, of the parameters, of the populations (soft for malthusian, else macs)",
    )
    group.add_argument(
        "--lifespan",
        type=float,
        metavar="STEPS",
        help="malthusian: in so many a population without any fitness dies "
        f"({ep.Malthusian().lifespan:g})",
    )
    group.add_argument(
        "--rest",
        type=float,
        default=usual.rest,
        metavar="SHARE",
        help=f"of the run, at its end, in which masses rest and weights settle ({usual.rest:g})",
    )

    group = parser.add_argument_group(
        "training", "In brackets is what an mlp takes; others differ."
    )
    mlp = tasks.USUAL["mlp"]
    group.add_argument("--epochs", type=int, metavar="N", help=f"({mlp.epochs})")
    group.add_argument("--steps", type=int, metavar="N", help="of an epoch (once through the data)")
    group.add_argument("--batch", type=int, metavar="N", help=f"samples of a step ({mlp.batch})")
    group.add_argument(
        "--rate",
        type=float,
        metavar="X",
        help=f"learning rate of AdamW, falling to 0 along a cosine ({mlp.rate:g})",
    )
    group.add_argument(
        "--decay",
        type=float,
        metavar="X",
        help=f"of weights ({mlp.decay:g})",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same gives the same bits (0)"
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="at most; results do not depend on them (all)"
    )
    parser.set_defaults(command=_train)


def _generate_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a model that `evoprune train text` has written")
    add("--prompt", default="\n", metavar="TEXT", help="what to go on from (a new line)")
    add("--length", type=int, default=500, metavar="N", help="characters to write (500)")
    add(
        "--temperature",
        type=float,
        default=0.8,
        metavar="X",
        help="how daring: 0 takes the likeliest character, 1 draws by what the model expects (0.8)",
    )
    add("--seed", type=int, default=0, metavar="N", help="another one writes another text (0)")
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
            pressure=options.pressure if options.budget is None else ep.Budget(options.budget),
            dynamics=ep.Malthusian(**lifespan) if lifespan else options.dynamics,
            fitness=options.fitness,
            upkeep=options.upkeep,
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
        callbacks=[Table()],
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

"""The options of every command. This module reads, creates and trains nothing.

Options not given are None, so that a command can distinguish explicit values from defaults.
"""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import evoprune as ep
from evoprune.common.files import existing
from evoprune.core.spec import catalogue
from evoprune.shell import tasks

__all__ = ["parser_of", "with_config"]

ABOUT = """\
Trains neural networks whose neurons, filters and attention heads are
populations under selection: the unfit go extinct, and the network gets smaller
and faster while it learns."""

EXAMPLES = """\
examples:
  evoprune train mnist --out run/        the paper's network; results in run/
  evoprune resume run/                   continue a run that was stopped
  evoprune train mnist --budget 0.1      down to a tenth of its multiply-adds
  evoprune train cifar10 --data FOLDER --net cnn --widths 32,64,128
  evoprune train text --data FILE        a language model of characters
  evoprune train flowers.csv --target species
  evoprune show run/                     epochs, layers and living populations
  evoprune show run/history.npz --csv    the epochs as a table
  evoprune evaluate run/model.safetensors mnist
  evoprune export run/model.safetensors net.onnx
  evoprune sweep pressures.toml          many runs, and a table of them
  evoprune generate run/model.safetensors --prompt "Once"

exit status: 0 done; 1 the run failed; 2 the request cannot be met; 130, 143,
129, 141 stopped by Ctrl-C, SIGTERM, SIGHUP or a closed pipe (the results so far
are written)
"""

EXCLUSIVE = ({"pressure", "budget"},)  # at most one of each set may be given


class Parser(argparse.ArgumentParser):
    """Parser that suggests the closest option for an unknown one."""

    def error(self, message: str) -> NoReturn:
        """Print usage and error, and exit with status 2."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if not unknown and "required: COMMAND" in message:
            unknown = [a for a in self._seen if a.startswith("-")]
            message = f"unrecognized arguments: {' '.join(unknown)}" if unknown else message
        close = [
            match
            for argument in unknown
            for match in difflib.get_close_matches(argument.partition("=")[0], self._options(), 1)
        ]
        super().error(message + (f"; did you mean {close[0]}?" if close else ""))

    _seen: Sequence[str] = ()

    def _options(self) -> list[str]:
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
        return [name for parser in parsers for name in parser._option_string_actions]

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; keep them for error messages."""
        import sys

        self._seen = list(sys.argv[1:] if args is None else args)
        return super().parse_args(args, namespace)


def parser_of(commands: dict[str, Any]) -> Parser:
    """Return the parser; `commands` maps the name of every command to its function."""
    parser = Parser(
        prog="evoprune",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"evoprune {ep.__version__}")
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh", "tcsh"),
        metavar="SHELL",
        dest="completion",
        help="print the script that completes commands and options in a shell (bash, zsh, tcsh)",
    )
    subparsers = parser.add_subparsers(
        required=False, metavar="COMMAND", title="commands", dest="verb", parser_class=Parser
    )
    for name, (about, fill) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=about, description=f"{about.capitalize()}.")
        fill(sub)
        sub.set_defaults(command=commands[name])
    return parser


def with_config(parser: Parser, arguments: list[str]) -> list[str]:
    """Insert the options of `--config FILE` before those of the command line, which override them.

    Raises:
        ValueError: the file is not valid TOML, or has a key that is not an option of `train`.
    """
    at = next((i for i, a in enumerate(arguments) if a.partition("=")[0] == "--config"), None)
    if at is None or not arguments or arguments[0] != "train":
        return arguments
    given = arguments[at].partition("=")[2] or (arguments[at + 1 : at + 2] or [""])[0]
    if not given:
        return arguments
    file = existing(given)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not valid TOML ({error})") from None
    table = table.get("train", table)
    train = parser._subparsers._group_actions[0].choices["train"]  # type: ignore[index, union-attr]
    known = {s[2:] for a in train._actions for s in a.option_strings if s.startswith("--")}
    present = {a.partition("=")[0][2:] for a in arguments if a.startswith("--")}
    positional, options = [], []
    for key, value in table.items():
        name = key.replace("_", "-")
        if name == "dataset":
            plain = [a for a in arguments[1:2] if not a.startswith("-")]
            positional = [] if plain else [str(value)]
        elif name not in known or name in ("config", "help"):
            close = difflib.get_close_matches(name, sorted(known | {"dataset"}), 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{file}: train has no option {key!r}{hint}")
        elif any(name in rivals and rivals & present for rivals in EXCLUSIVE):
            continue
        elif value is True:
            options.append(f"--{name}")
        elif value is not False:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            options.append(f"--{name}={text}")
    return ["train", *positional, *options, *arguments[1:]]


# ---- one function a command ----------------------------------------------------------------------


def _train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "name",
        metavar="DATA",
        nargs="?",
        help=f"{', '.join(tasks.DATA)}, a folder with files like MNIST's, or a .csv file, a fifth "
        "of whose rows are the test set",
    )
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder of the data, or the text; not needed for mnist",
    )
    _target(parser)
    _regression(parser)
    add("--out", type=Path, metavar="FOLDER", help="for the results (run/)")
    add("--config", type=Path, metavar="FILE", help="options in TOML; `dataset` is DATA")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--resume", action="store_true", help="continue the run in the folder")
    either.add_argument("--force", action="store_true", help="replace the run in the folder")

    group = parser.add_argument_group("network")
    group.add_argument(
        "--net",
        choices=tasks.NETS,
        help="kind of network (mlp; charlm for text)",
    )
    group.add_argument(
        "--widths",
        type=_widths,
        metavar="N,N",
        help="neurons of an mlp's layers (512,256; 128 for a .csv file), filters of a cnn's "
        "(32,64,128)",
    )
    for option, meaning in tasks.SHAPE.items():
        group.add_argument(f"--{option}", type=int, metavar="N", help=meaning)
    group.add_argument(
        "--activation", metavar="NAME", help="of an mlp's neurons or a cnn's filters (relu)"
    )
    group.add_argument(
        "--inputs", action="store_const", const=True, help="select input features too"
    )
    _selection(parser)

    group = parser.add_argument_group("training", "Values in brackets are an mlp's; others differ.")
    mlp = tasks.USUAL["mlp"]
    group.add_argument("--epochs", type=int, metavar="N", help=f"({mlp.epochs})")
    group.add_argument(
        "--steps", type=int, metavar="N", help="of an epoch (one pass through the data)"
    )
    group.add_argument(
        "--batch", "--batch-size", type=int, metavar="N", help=f"samples of a step ({mlp.batch})"
    )
    group.add_argument(
        "--rate",
        type=float,
        metavar="X",
        help=f"learning rate of AdamW, falling to 0 along a cosine ({mlp.rate:g})",
    )
    group.add_argument("--decay", type=float, metavar="X", help=f"of weights ({mlp.decay:g})")
    group.add_argument(
        "--seed", type=int, metavar="N", help="equal seeds give bit-identical results (0)"
    )
    _threads(group)


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", metavar="COLUMN", help="of a .csv file, by name or number (the last one)"
    )


def _regression(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--regression",
        action="store_const",
        const=True,
        help="the target of a .csv file is a value, also if it is whole numbers (as by default if "
        "they are many)",
    )


def _threads(group: Any) -> None:
    group.add_argument(
        "--threads", type=int, metavar="N", help="upper limit; it does not affect results (all)"
    )


def _selection(parser: argparse.ArgumentParser) -> None:
    usual = ep.Selection()
    group = parser.add_argument_group("selection")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--pressure",
        type=float,
        metavar="X",
        help="with soft upkeep, at most about one population in X survives; with other upkeep, "
        "the loss in nats that keeping the whole network alive may cost "
        f"({usual.pressure:g}, or 0.15 nats)",
    )
    either.add_argument(
        "--budget",
        type=float,
        metavar="MACS",
        help="instead of a pressure: the target number of multiply-adds, as a share up to 1 or a "
        "count above 1",
    )
    group.add_argument(
        "--dynamics",
        metavar="NAME",
        help=f"how masses change with fitness: {', '.join(catalogue('dynamics'))} (malthusian)",
    )
    group.add_argument(
        "--fitness",
        metavar="NAME",
        help=f"how fitness is measured: {', '.join(catalogue('fitness'))} (taylor with soft "
        "upkeep, else marginal)",
    )
    group.add_argument(
        "--upkeep",
        choices=("soft", "macs", "params", "uniform"),
        help="cost of a population: soft (relative to the fitness of the others in its layer), or "
        "its share of the multiply-adds, of the parameters, or of the populations (soft for "
        "malthusian, else macs)",
    )
    group.add_argument(
        "--lifespan",
        type=float,
        metavar="STEPS",
        help="malthusian: steps in which a population without any fitness dies (a seventh of the "
        "run and a few steps to learn)",
    )
    group.add_argument(
        "--rest",
        type=float,
        metavar="SHARE",
        help=f"of the run, at its end, in which masses rest and weights settle ({usual.rest:g})",
    )


def _resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="FOLDER", help="that a run was written to")
    _threads(parser)


def _show(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a model, a history (.npz), or a run's folder")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--json", action="store_true", help="as JSON")
    either.add_argument("--csv", action="store_true", help="the table as CSV")


def _generate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a model that `evoprune train text` has written")
    add("--prompt", metavar="TEXT", help="text to continue (a new line)")
    add("--length", type=int, default=500, metavar="N", help="characters to write (500)")
    add(
        "--temperature",
        type=float,
        default=0.8,
        metavar="X",
        help="0 takes the most probable character, 1 samples from the model's distribution (0.8)",
    )
    add("--seed", type=int, default=0, metavar="N", help="another seed gives another text (0)")


def _model_and_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a model (.safetensors)")
    add(
        "name",
        metavar="DATA",
        help=f"{', '.join(tasks.DATA)} (their test set), a folder with files like MNIST's, or a "
        ".npy or .csv file of inputs, with or without a target column",
    )
    _target(parser)
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder of the data, or the text; not needed for mnist",
    )
    _threads(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    _model_and_data(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .csv or .npy file to write")
    parser.add_argument(
        "--outputs",
        action="store_true",
        help="the outputs of the network instead of the most probable class",
    )


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _model_and_data(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def _export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a model (.safetensors)")
    add("out", type=Path, metavar="OUT", help="the file to write: .onnx, .c or .pt2")
    add("--force", action="store_true", help="replace it")


def _sweep(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the sweep, in TOML")
    add("--jobs", type=int, metavar="N", help="runs at a time (as in the file, or 1)")
    add("--csv", action="store_true", help="all columns, as CSV")


def _bench(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a model (.safetensors)")
    add("--batch", "--batch-size", type=int, default=128, metavar="N", help="samples (128)")
    add("--seconds", type=float, default=1.0, metavar="X", help="to measure each for (1)")
    add("--json", action="store_true", help="as JSON")
    _threads(parser)


def _data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    names = f"{', '.join(tasks.DATA)}, a folder like MNIST's, or a .csv file"
    add("name", metavar="DATA", help=names)
    _target(parser)
    _regression(parser)
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder of the data, or the text; not needed for mnist",
    )
    add("--json", action="store_true", help="as JSON")


COMMANDS = {
    "train": ("train a network; write model, history and pictures into a folder", _train),
    "resume": ("continue a run that was stopped", _resume),
    "show": ("print what is in a file: layers of a model, or the epochs of a run", _show),
    "generate": ("continue a text with a language model", _generate),
    "predict": ("write what a model predicts for samples", _predict),
    "evaluate": ("print loss and accuracy of a model on data", _evaluate),
    "export": ("write a model for other programs", _export),
    "sweep": ("train many networks and write a table of them", _sweep),
    "bench": ("measure the time of a model and of its founding network", _bench),
    "data": ("print what a data set holds", _data),
}


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 512,256, got {text!r}") from None

"""The command line: `evoprune train mnist --out run/`, `show FILE`, `predict FILE DATA`, ...

It parses arguments, calls one function per command, and turns errors into one line and an exit
status. It computes nothing itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import evoprune as ep
from evoprune.shell import looking, options, training
from evoprune.shell.screen import INTERRUPTED, PIPE, Failed, complain, silence

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., int]] = {
    "train": training.train,
    "resume": training.resume,
    **looking.COMMANDS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; `arguments` defaults to sys.argv[1:]."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # escape unencodable characters
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        silence()
        return PIPE
    except ep.Diverged as error:
        complain(f"{error}; a lower --rate may help")
        return 1
    except Failed as error:
        complain(str(error))
        return 1
    except OSError as error:
        name = error.filename
        if name is None:  # standard output failed, not a file
            silence()
        complain(f"{name}: {error.strerror}" if name and error.strerror else str(error))
        return 2
    except (ValueError, TypeError, KeyError, ImportError, MemoryError) as error:
        text = error.args[0] if isinstance(error, KeyError) else str(error)
        complain(str(text) or type(error).__name__)
        return 2
    except KeyboardInterrupt as signal:
        return int(getattr(signal, "status", INTERRUPTED))


def _run(arguments: list[str]) -> int:
    parser = options.parser_of(COMMANDS)
    given = parser.parse_args(options.with_config(parser, arguments))
    if given.completion is not None:
        return looking.completion(parser, given.completion)
    if given.verb is None:
        parser.error("the following arguments are required: COMMAND")
    if given.verb == "train" and given.name is None:
        parser.error("the following arguments are required: DATA")
    status = COMMANDS[given.verb](given)
    sys.stdout.flush()
    return status

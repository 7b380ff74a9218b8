"""Write the stubs of the compiled core, of layers and of laws.

    python tools/make_stubs.py           # write them
    python tools/make_stubs.py --check   # check that they are up to date; a test runs this

For the core, names, order and defaults of arguments come from the text signatures of the compiled
module. These have no types, so types of arguments and results come from the tables below. Stubs of
the core have no docstrings; help() shows them. class_stubs.py makes the stubs of layers and laws.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import class_stubs

from evoprune.core import core32
from evoprune.nets import layers
from evoprune.nets.plan import Layer
from evoprune.selection import laws
from evoprune.selection.groups import Dynamics, Fitness, Loss, Optimizer

PACKAGE = Path(__file__).resolve().parents[1] / "evoprune"

HEAD = '''"""What the compiled core offers. Made by tools/make_stubs.py of its text signatures."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Array = NDArray[Any]

__all__ = ["LEVELS", "core32", "core64", "variant"]

LEVELS: tuple[str, ...]
variant: str
'''

ARGUMENTS = {
    "config": "dict[str, Any] | None",
    "name": "str",
    "group": "str",
    "of": "str",
    "loss": "str",
    "optimizer": "str",
    "layer": "str",
    "threads": "int",
    "batch": "int",
    "first": "int",
    "seed": "int",
    "stream": "int",
    "start": "int",
    "n": "int",
    "size": "int",
    "trials": "int",
    "step": "int",
    "generation": "int",
    "next_births": "ArrayLike | None",
    "born": "int | None",
    "training": "bool",
    "shuffle": "bool",
    "keep": "bool",
    "terms": "float",
    "threshold": "float",
    "strength": "float",
    "pressure": "float",
    "probability": "float",
    "clip": "float",
    "loss_config": "dict[str, Any] | None",
    "optimizer_config": "dict[str, Any] | None",
    "selection": "dict[str, Any] | None",
    "augment": "dict[str, Any] | None",
    "axes": "dict[str, ArrayLike]",
    "spec": "dict[str, Any]",
}
# (function, argument): arguments in VECTORS may be schedules, with one value per step; those in
# NUMBERS are for a single step.
VECTORS = {("train", "pressure"), ("train", "strength")}
NUMBERS = {("update", "rate"), ("optimizer_step", "rate")}
RESULTS = {
    "activation": "_Array",
    "array": "_Array",
    "backward": "float",
    "catalogue": "dict[str, Any]",
    "census": "dict[str, tuple[_Array, _Array, _Array, _Array]]",
    "compact": "bool",
    "cpu_level": "int",
    "describe": "dict[str, Any]",
    "dynamics_step": "tuple[_Array, _Array]",
    "elementary": "_Array",
    "evaluate": "tuple[float, float, float]",
    "evolve": "_Array",
    "fitness_measure": "_Array",
    "macs": "float",
    "forward": "_Array",
    "founding_macs": "float",
    "founding_parameters": "int",
    "generation": "int",
    "input_scaling": "tuple[Any, Any]",
    "least_rows": "int",
    "nbytes": "int",
    "parameters": "int",
    "price": "tuple[_Array, _Array]",
    "predict": "_Array",
    "rows": "int",
    "settings": "dict[str, Any]",
    "spec": "dict[str, Any]",
    "step": "int",
    "state": "dict[str, Any]",
    "train": "dict[str, Any]",
    "waste": "float",
}
NOTHING = {
    "check_data", "configure", "gradient", "kill", "restore", "scale_input", "shrink", "update"
}  # fmt: skip


def parameters(function: Any, method: bool) -> str:
    """Return the parameters of a compiled function, with types from the table."""
    text = ["self"]  # functions of a module are methods of its Protocol
    star = False
    for p in inspect.signature(function).parameters.values():
        if p.name in ("self", "module"):
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            star = True
            text.append("*")
        kind = ARGUMENTS.get(p.name, "Any")
        if method and (function.__name__, p.name) in VECTORS:
            kind = "ArrayLike"
        if (function.__name__, p.name) in NUMBERS:
            kind = "float"
        if p.default is None and "None" not in kind:
            kind = "Any"
        default = "" if p.default is p.empty else f" = {p.default!r}"
        text.append(f"{p.name}: {kind}{default}")
    return ", ".join(text)


def function(thing: Any, indent: str, method: bool) -> str:
    """Return the stub of a function or method."""
    name = thing.__name__
    result = "None" if name in NOTHING else RESULTS.get(name, "Any")
    if name == "step":  # Community.step(); Network.step is an int attribute
        result = "tuple[_Array, int, int, _Array]"
    return f"{indent}def {name}({parameters(thing, method)}) -> {result}: ..."


def protocol(kind: type) -> list[str]:
    """Return the lines of the stub of a compiled type."""
    lines = [f"class _{kind.__name__}(Protocol):"]
    for name in sorted(vars(kind)):
        thing = inspect.getattr_static(kind, name)
        if name.startswith("_"):
            continue
        if callable(thing):
            lines.append(function(thing, "    ", True))
        else:
            result = RESULTS.get(name, "Any")
            lines += ["    @property", f"    def {name}(self) -> {result}: ..."]
    return lines


def stub() -> str:
    """Return the stub of the core, not yet formatted."""
    core = core32
    parts = [HEAD, *protocol(core.Network), *protocol(core.Community)]
    parts += [
        "class _Core(Protocol):",
        "    Diverged: type[ArithmeticError]",
        "    dtype: str",
        "    __name__: str",
        "    def Network(",
        "        self,",
        "        spec: dict[str, Any],",
        "        births: dict[str, Any] = ...,",
        "        most: int = ...,",
        "        next_births: dict[str, int] = ...,",
        "    ) -> _Network: ...",
        "    def Community(",
        "        self,",
        "        founded: ArrayLike,",
        "        selection: dict[str, Any],",
        "        seed: int = 0,",
        "        threshold: float = -1.0,",
        "    ) -> _Community: ...",
    ]
    for name in sorted(vars(core)):
        thing = getattr(core, name)
        if not name.startswith("_") and callable(thing) and not isinstance(thing, type):
            parts.append(function(thing, "    ", False))
    parts.append("core32: _Core\ncore64: _Core")
    return "\n".join(parts)


def formatted(path: Path, text: str) -> str:
    """Return a stub as ruff formats it."""
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format"], ["check", "--fix-only", "-q"], ["format"]):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(path), "-"],
            input=text, capture_output=True, text=True, check=True,
        )  # fmt: skip
        text = done.stdout
    return text


def stubs() -> dict[Path, str]:
    """Return a dict: file -> the formatted text of its stub."""
    made = {
        PACKAGE / "core" / "__init__.pyi": stub(),
        PACKAGE / "nets" / "layers.pyi": class_stubs.stub(layers, [Layer]),
        PACKAGE / "selection" / "laws.pyi": class_stubs.stub(
            laws, [Loss, Optimizer, Fitness, Dynamics]
        ),
    }
    return {path: formatted(path, text + "\n") for path, text in made.items()}


if __name__ == "__main__":
    for path, text in stubs().items():
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.relative_to(PACKAGE)} is stale: python tools/make_stubs.py")

"""The stubs of layers and laws: typed signatures and docstrings of classes made from the catalogue.

The settings of a class (name, type, default, choices, text) come from its fields. A field is a row
of the core's catalogue, or a setting that Python adds.
"""

from __future__ import annotations

import textwrap
from types import ModuleType
from typing import Any

from evoprune.core.spec import Field, Spec, known

# Type of a setting -> its Python types as an argument and as an attribute. A setting of type
# "vector" holds real numbers, except in a layer, where it holds sizes (see SIZES).
TYPES = {
    "int": ("int", "int"),
    "real": ("float", "float"),
    "bool": ("bool", "bool"),
    "name": ("str | None", "str | None"),
    "names": ("str | Sequence[str]", "tuple[str, ...]"),
    "norm": ("float", "float"),
    "schedule": ("ScheduleLike", "ScheduleLike"),
    "vector": ("ArrayLike", "tuple[float, ...]"),
}
SIZES = ("int | Sequence[int]", "tuple[int, ...]")


def types_of(made: type[Spec], field: Field) -> tuple[str, str]:
    """Return the types of a setting as an argument and as an attribute."""
    if field.choices:
        names = f"Literal[{', '.join(map(repr, field.choices))}]"
        return names, names
    sizes = field.type == "vector" and made.group == "layers"
    argument, attribute = SIZES if sizes else TYPES[field.type]
    needs = field.required or field.default is not None or field.type == "name"
    optional = "" if needs else " | None"
    return argument + optional, attribute + optional


def default_of(field: Field) -> str:
    """Return the default of a setting as source text; write a vector of one element as a number."""
    value: Any = field.default
    if field.type == "vector" and isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    return repr(value)


def lines_of(made: type[Spec]) -> list[str]:
    """Return the stub of a class."""
    order = [*made.positional, *(name for name in made.fields if name not in made.positional)]
    arguments, attributes = ["self"], []
    for i, name in enumerate(order):
        field = made.fields[name]
        if i == len(made.positional):
            arguments.append("*")
        argument, attribute = types_of(made, field)
        default = "" if field.required else f" = {default_of(field)}"
        arguments.append(f"{name}: {argument}{default}")
        if field not in made.extra:  # the base class has the extra settings
            attributes += ["    @property", f"    def {name}(self) -> {attribute}: ..."]
    doc = [
        wrapped
        for line in str(made.__doc__).splitlines()
        for wrapped in (_wrapped(line) if line else [""])
    ]
    quotes = '    r"""' if "\\" in str(made.__doc__) else '    """'
    text = [f"class {made.__name__}({made.__mro__[1].__name__}):", quotes + doc[0].strip()]
    text += [*doc[1:], '    """'] if len(doc) > 1 else []
    if len(doc) == 1:
        text[-1] += '"""'
    text += [f"    def __init__({', '.join(arguments)}) -> None: ...", *attributes, ""]
    return text


def _wrapped(line: str) -> list[str]:
    """Return a line of a docstring, indented for the class and wrapped at 100 characters."""
    indent = " " * (4 + len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.strip(),
        100,
        initial_indent=indent,
        subsequent_indent=indent + (" " * 4 if indent > " " * 4 else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )


def stub(module: ModuleType, groups: list[type[Spec]]) -> str:
    """Return the unformatted stub of a module; `groups` are the base classes of its classes."""
    made = [getattr(module, name) for name in module.__all__]
    homes: dict[str, list[str]] = {}
    for group in groups:
        homes.setdefault(group.__module__, []).append(group.__name__)
    names = {f"{group.__name__}Name": tuple(known(group)) for group in groups}
    body = [
        f"{name}: TypeAlias = Literal{list(kinds)!r}"
        for name, kinds in names.items()
        if hasattr(module, name)
    ]
    body += [line for one in made for line in lines_of(one)]
    text = "\n".join(body)
    name = module.__name__.rpartition(".")[2]
    return "\n".join(
        [
            f'"""Classes of {name}.py. Made by tools/make_stubs.py from the core\'s catalogue."""',
            "",
            "from collections.abc import Sequence",
            "from typing import Literal, TypeAlias",
            "",
            "from numpy.typing import ArrayLike",
            "",
            *(f"from {home} import {', '.join(names)}" for home, names in homes.items()),
            "from evoprune.selection.schedules import ScheduleLike",
            "",
            f"__all__ = {[one.__name__ for one in made]!r}",
            "",
            text,
        ]
    )

"""The packages of evoprune: which may import which, and no cycles among files.

FLOORS gives every package a number. A file imports only files with its own number or a lower one,
including imports for types only. Imports at run time form no cycles, but two files of one package
may import each other's types. Imports inside functions are for optional libraries.
docs/architecture.md gives the reasons.
"""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "evoprune"

FLOORS = {
    "common": 1,
    "core": 1,
    "data": 2,
    "selection": 2,
    "nets": 3,
    "records": 4,
    "training": 5,
    "plot": 5,
    "bridges": 6,
    "shell": 7,
    "datasets": 8,  # public modules
    "export": 8,
    "schedules": 8,
    "torch": 8,
    "__init__": 8,
    "__main__": 8,
}
# Packages that lower packages may import inside functions; imports at the top would be a cycle.
LATE = {"plot"}
FILES = sorted(p for p in PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(path: Path, types: bool = True) -> list[tuple[str, bool]]:
    """Return (module, inside a function or not) for each import of an evoprune module in a file.

    Without `types`, imports for type checkers only are omitted.
    """
    tree = ast.parse(path.read_text())
    if not types:
        tree.body = [node for node in tree.body if not is_for_types(node)]
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in full]
        found += [(n, id(node) in inside) for n in names if n.split(".")[0] == "evoprune"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_file_imports_its_own_floor_or_lower_ones(path):
    mine = room_of(module_of(path))
    assert mine in FLOORS, f"{mine} has no floor: name it in FLOORS of {__file__}"
    for module, inside in imports_of(path):
        other = room_of(module)
        if mine in ("bridges", "shell", "torch", "export") and room_of(module) == "__init__":
            continue  # these four use the public module
        if inside and other in LATE:
            continue
        assert FLOORS[other] <= FLOORS[mine], f"{module_of(path)} looks up to {module}"


def test_imports_have_no_cycles():
    graph = {
        module: {name for name, late in imports_of(path, types=False) if not late} & set(MODULES)
        for module, path in MODULES.items()
    }
    graph["evoprune"] = set()  # no cycle if bridges and the shell import `evoprune`
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_of_the_package_is_imported_inside_a_function(path):
    mine = room_of(module_of(path))
    # A bridge needs an optional library, so bridges import each other inside functions.
    late = {*LATE, "bridges"} if mine == "bridges" else LATE
    inside = [name for name, inner in imports_of(path) if inner and room_of(name) not in late]
    assert not inside, f"{module_of(path)} imports {inside} when called"


BRIDGES = [path for path in FILES if room_of(module_of(path)) == "bridges"]


@pytest.mark.parametrize("path", BRIDGES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_bridge_uses_the_public_module_only(path):
    """Bridges to other libraries may also use `common` (file writing, checks of arguments)."""
    rooms = {name for name, _ in imports_of(path) if room_of(name) not in ("bridges", "common")}
    inner = sorted(name for name in rooms if name != "evoprune")
    reached = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and re.match(r"(ep|evoprune)\.(core|common|data|nets|records|selection|training)\.",
                     ast.unparse(node))
    ]  # fmt: skip
    assert not inner, f"{module_of(path)} imports {inner}; use `import evoprune as ep`"
    assert not reached, f"{module_of(path)} reaches {reached}"


def test_no_file_has_a_private_twin():
    for path in FILES:
        twin = path.with_name(path.name.removeprefix("_"))
        assert not (path.name.startswith("_") and path.name[1] != "_" and twin.exists()), path

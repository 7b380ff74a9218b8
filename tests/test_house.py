"""The structure of csrc/, checked: which files may include which, and what the core may not use.

The length of files and the list of files under version control are checked, too.
docs/architecture.md gives the reasons. A new C file needs an entry in FLOORS, its level among the
includes. A change that contradicts a rule also changes the rule, in the same commit, with the
reason in the message.
"""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

# Level of each file in the include hierarchy: a file includes only its own level and lower ones.
# The first matching pattern applies.
FLOORS = [
    ("python/*", 8),
    ("laws/*", 2),
    ("layers/*", 5),
    ("base.*", 1),
    ("slab.*", 2),
    ("random.*", 2),
    ("gemm*", 2),
    ("winograd*", 2),
    ("vector.h", 2),
    ("workers.*", 2),
    ("elementary.*", 2),
    ("shape.*", 3),
    ("layer.h", 4),
    ("net*", 5),
    ("alias*", 5),
    ("walk*", 6),
    ("compact*", 6),
    ("inherit*", 6),
    ("signals*", 6),
    ("evolve*", 6),
    ("ranks*", 6),
    ("census*", 6),
    ("catalogue*", 6),
    ("regime.h", 7),
    ("targets*", 7),
    ("update*", 7),
    ("step*", 7),
    ("train*", 7),
    ("infer*", 7),
    ("gather*", 7),
]
LINES = 500  # maximum for C and Python files; generated stubs may be longer
STDIO = {"base.c"}  # may include stdio.h, for vsnprintf in error messages
THREADS = {"workers.c"}
SUFFIXES = {".c", ".h", ".def"}


def sources(*patterns: str) -> list[Path]:
    return sorted(p for pattern in patterns or ("**/*",) for p in CSRC.glob(pattern) if p.is_file())


def room(path: Path) -> str:
    return path.relative_to(CSRC).as_posix()


def floor(path: Path) -> int:
    for pattern, number in FLOORS:
        if fnmatch(room(path), pattern):
            return number
    raise AssertionError(f"csrc/{room(path)} has no floor: name it in FLOORS of {__file__}")


def included(path: Path) -> list[str]:
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]+["<]([^">]+)[">]', path.read_text(), re.M)


def own(path: Path, name: str) -> Path | None:
    """Return the file that an include names: in the same folder, else under csrc/."""
    for folder in (path.parent, CSRC):
        if (folder / name).is_file():
            return (folder / name).resolve()
    return None


def code(path: Path) -> str:
    """Return the text of a C file without comments; strings stay."""
    text = path.read_text()
    pattern = r'("(?:\\.|[^"\\\n])*")|/\*.*?\*/|//[^\n]*'
    return re.sub(pattern, lambda m: m[1] or " ", text, flags=re.S)


def tracked() -> list[Path]:
    """Return the files under version control; outside a checkout, those of a source archive."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        folders = ("csrc", "evoprune", "tests", "benchmarks", "docs", "notebooks")
        files = [*ROOT.glob("*"), *(p for name in folders for p in (ROOT / name).rglob("*"))]
    return [p for p in files if p.is_file()]


CORE = [p for p in sources() if p.suffix in SUFFIXES and not room(p).startswith("python/")]
ALL = [p for p in sources() if p.suffix in SUFFIXES]


def test_there_is_a_core():
    assert len(CORE) > 10


@pytest.mark.parametrize("path", ALL, ids=room)
def test_a_file_includes_its_own_floor_or_lower_ones(path):
    for name in included(path):
        other = own(path, name)
        if other is not None:
            assert floor(other) <= floor(path), f"csrc/{room(path)} looks up to {room(other)}"


@pytest.mark.parametrize("path", CORE, ids=room)
def test_the_core_uses_no_python_no_output_and_threads_in_one_file(path):
    headers = set(included(path))
    python = {h for h in headers if h == "Python.h" or h.startswith("numpy/")}
    assert not python, f"csrc/{room(path)} includes {python}: only csrc/python may"
    api = re.search(r"\bPy(?:Object\b|[A-Za-z]*_\w+)", code(path))
    assert not api, f"csrc/{room(path)} names {api[0]}"
    if room(path) not in STDIO:
        assert "stdio.h" not in headers, (
            f"csrc/{room(path)} includes <stdio.h>: errors go by base.h"
        )
        ends = re.findall(r"\b(?:printf|fprintf|puts|putchar|exit|_Exit|abort)\s*\(", code(path))
        assert not ends, f"csrc/{room(path)} prints or exits: {ends}"
    if room(path) not in THREADS:
        assert not headers & {"pthread.h", "threads.h", "omp.h"}, (
            f"csrc/{room(path)}: see workers.h"
        )


@pytest.mark.parametrize("path", sources("layers/*"), ids=room)
def test_layers_see_layers_only(path):
    for name in included(path):
        other = own(path, name)
        if other is not None:
            forbidden = re.match(r"(net|alias|workers|catalogue|evolve|train)\b|laws/", room(other))
            assert not forbidden, f"csrc/{room(path)} includes {room(other)}"


@pytest.mark.parametrize("path", sources("laws/*"), ids=room)
def test_laws_see_vectors_not_shapes(path):
    names = {room(other) for name in included(path) if (other := own(path, name))}
    assert not names & {"shape.h", "slab.h", "workers.h", "gemm.h"}
    assert not re.search(r"\bep_(axis|tensor|layer|net)\b", code(path))


@pytest.mark.parametrize(
    "path",
    sources(
        "net*",
        "alias*",
        "walk*",
        "infer*",
        "compact*",
        "signals*",
        "evolve*",
        "census*",
        "regime.h",
        "targets*",
        "update*",
        "step*",
        "ranks*",
        "train*",
        "gather*",
    ),
    ids=room,
)
def test_no_kind_is_named_above_its_own_file(path):
    names = re.findall(r"EP_LAYER\((\w+)\)", (CSRC / "catalogue.def").read_text())
    assert len(names) > 10
    kinds = "|".join(sorted({*names, *(p.stem for p in sources("layers/*.c"))}))
    text = code(path)
    named = re.findall(rf'\bep_(?:kind_)?(?:{kinds})\b|"(?:{kinds})"', text)
    assert not named, f"csrc/{room(path)} names {named}: find layers by what they declare"
    assert not re.search(r'#\s*include\s+"layers/', text)


@pytest.mark.parametrize("path", [p for p in ALL if p.suffix != ".def"], ids=room)
def test_a_c_file_begins_with_its_purpose(path):
    assert path.read_text().startswith("/*"), f"csrc/{room(path)} opens without a comment"


def test_no_file_is_too_long():
    for path in tracked():
        if path.suffix in {*SUFFIXES, ".py"}:
            lines = len(path.read_text().splitlines())
            assert lines <= LINES, f"{path.relative_to(ROOT)} has {lines} lines: split it by idea"


def test_the_project_names_no_path_of_one_machine():
    # The pattern is written so that its own line does not match.
    homes = re.compile(r"/(?:work|root)/|/tmp/v(?:env)|/home/\w+/")
    for path in tracked():
        if path.suffix in {".gz", ".npz", ".png", ".safetensors"}:
            continue
        found = homes.search(path.read_text(errors="replace"))
        assert not found, f"{path.relative_to(ROOT)} names {found[0]}"


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE", "Makefile", ".ci/run"])
def test_the_usual_repository_files_exist(name):
    if name == ".ci/run" and not (ROOT / ".git").exists():
        pytest.skip("an archive of the sources has no .ci")
    assert (ROOT / name).stat().st_size > 100


def test_built_files_are_not_under_version_control():
    built = [p for p in tracked() if p.suffix in {".o", ".so", ".pyc"} and (ROOT / ".git").exists()]
    assert not built

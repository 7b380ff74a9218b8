"""Docs, messages, comments, docstrings and test names are in plain English.

The tests fail on words that are forbidden there; docs/glossary.md has those to use instead. Words
of biology are for populations only.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE = {"paper.md", "benchmarks.md", "glossary.md"}  # not checked: generated, or the glossary
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(
        p
        for p in sorted((ROOT / "docs").rglob("*.md"))
        if p.name not in MADE and "_build" not in p.parts
    ),
]
STOP = [
    r"in no bit",
    r"no bit\b",
    r"asked (?:for )?ahead",
    r"\bnobody\b",
    r"\bsomebody\b",
    r"\beverybody\b",
    r"\bwhoever\b",
    r"goes by tiles",
    r"\bis told\b",
    r"in the place of",
    r"\bso many\b",
    r"\bof late\b",
    r"side by side",
    r"^#.*\.\.\.",  # no ellipsis in a title
    r"\bcolour",
    r"\bnormalis",
    r"\bneighbour",
    r"\bbehaviour",
]


def name_of(path: Path) -> str:
    """Return a path relative to the root, for a test's id."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=name_of)
def test_the_text_of_a_notebook_is_in_plain_english(page):
    cells = json.loads(page.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.sub(r"`[^`]*`", "", text)
    found = [m[0] for stop in SAID for m in re.finditer(stop, text, re.I | re.M)]
    assert not found, f"{page.name}: {', '.join(sorted(set(found)))}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_in_plain_english(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)  # code is not prose
    text = re.sub(r"`[^`]*`", "", text)
    found = [m[0] for stop in STOP for m in re.finditer(stop, text, re.I | re.M)]
    assert not found, f"{page.name}: {', '.join(sorted(set(found)))}"


# ---- docstrings, messages and help texts of the package, names of tests -------------------------

SOURCES = sorted((ROOT / "evoprune").rglob("*.py"))
CORE = sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".c", ".h", ".def"))
SAID = [
    *(stop for stop in STOP if not stop.startswith("^")),
    r"\b(?:everyone|someone|anyone|anybody|who|whom)\b",
    r"\basked for\b",
    r"\bbehind\b",
    r"\bgoes? on\b",
    r"\bin vain\b",
    r"\bhears?\b",
    r"\bwish(?:es)?\b",
    r"\bborne\b",
    r"\bheld out\b",
    r"\bstands? still\b",
    r"\b(?:knows|is told|lies) (?:of|no|where)\b",
    r"\boptimis[ei]",
    r"\bgrey\b",
    r"\bgo(?:es|ing)? on\b",
    r"\bfor good\b",
    r"\banew\b",
    r"\blikewise\b",
    r"\bof ours\b",
    r"\bno one\b",
    r"\bthe dead\b",
    r"\bmany die\b",
    r"\bturned\b",
    r"\bheeds?\b",
    r"\bcomes? of\b",
    r"\bwritten over\b",
    r"\bin mid run\b",
    r"\b(?:to the|same) bits?\b",
]


def texts_of(path: Path) -> list[tuple[int, str]]:
    """Return strings of a file that read as text, including docstrings, with their line numbers."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_messages_and_docstrings_are_in_plain_english(path):
    found = [
        f"line {line}: {m[0]}"
        for line, text in texts_of(path)
        for stop in SAID
        for m in re.finditer(stop, text, re.I)
    ]
    assert not found, f"{path.relative_to(ROOT)}: {', '.join(found)}"


def comments_of(path: Path) -> list[tuple[int, str]]:
    """Return comments of a Python file, with their line numbers."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]


def said_in_c(path: Path) -> list[tuple[int, str]]:
    """Return comments and strings of a C file, each on one line, with their line numbers."""
    text = path.read_text()
    found = re.finditer(r'/\*.*?\*/|"(?:[^"\\]|\\.)*"', text, re.S)
    return [(text[: m.start()].count("\n") + 1, re.sub(r"\s*\n \* ?", " ", m[0])) for m in found]


@pytest.mark.parametrize("room", sorted({p.parent for p in (*SOURCES, *CORE)}), ids=name_of)
def test_comments_and_the_core_are_in_plain_english(room):
    files = [path for path in (*SOURCES, *CORE) if path.parent == room]
    said = {p: comments_of(p) if p.suffix == ".py" else said_in_c(p) for p in files}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {m[0]}"
        for path, texts in said.items()
        for line, text in texts
        for stop in SAID
        for m in re.finditer(stop, text, re.I)
    ]
    assert not found, "\n".join(found)


SCRIPTS = sorted(
    path
    for folder in ("tests", "tools", "examples", "docs", "benchmarks", "experiments")
    for path in (ROOT / folder).rglob("*.[chp]*")
    if path.suffix in (".py", ".c", ".h") and "_build" not in path.parts
)


def docstrings_of(path: Path) -> list[tuple[int, str]]:
    """Return the docstrings of a Python file, with their line numbers."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return [
        (node.body[0].lineno, ast.get_docstring(node)) for node in nodes if ast.get_docstring(node)
    ]


@pytest.mark.parametrize("room", sorted({p.parent for p in SCRIPTS}), ids=name_of)
def test_comments_of_tests_and_scripts_are_in_plain_english(room):
    found = []
    for path in [path for path in SCRIPTS if path.parent == room]:
        said = comments_of(path) + docstrings_of(path) if path.suffix == ".py" else said_in_c(path)
        found += [
            f"{name_of(path)}:{line}: {m[0]}"
            for line, text in said
            for stop in SAID
            for m in re.finditer(stop, re.sub(r"`[^`]*`", "", text), re.I)
        ]
    assert not found, "\n".join(found)


NAMED = re.compile(
    r"_(?:nobody|somebody|everybody|everyone|anyone|whoever|who|the_dead|behind|asked_for|in_no_bit"
    r"|so_many|of_late|is_told|side_by_side|in_the_place_of|lent|goes_on|went_on|gone_on|as_it_was"
    r"|as_they_were|comes_through|comes_back|says_so|there_is$|as_told|altogether)(?:_|$)"
)


def test_names_of_tests_are_in_plain_english():
    found = [
        f"{path.name}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and NAMED.search(node.name)
    ]
    assert not found, "\n".join(found)


def test_the_lists_find_what_they_are_for():
    assert re.search(SAID[0], "shows in no bit")
    assert NAMED.search("test_nobody_dies")
    assert NAMED.search("test_needs_are_what_is_asked_for")
    assert not NAMED.search("test_the_whole_run")

"""Words that the docs do not use: plain English, and biology for populations only.

docs/glossary.md has the words that are used instead.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE = {"paper.md", "benchmarks.md", "glossary.md"}  # written by scripts, or the list itself
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
    r"^#.*\.\.\.",  # a title is a title
    r"\bcolour",
    r"\bnormalis",
    r"\bneighbour",
    r"\bbehaviour",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_page_is_in_plain_english(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)  # code is not prose
    text = re.sub(r"`[^`]*`", "", text)
    found = [m[0] for stop in STOP for m in re.finditer(stop, text, re.I | re.M)]
    assert not found, f"{page.name}: {', '.join(sorted(set(found)))}"

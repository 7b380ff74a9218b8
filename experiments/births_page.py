"""Write the tables of docs/howto/births.md from results of births.py and bench_births.py.

python experiments/births_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controls_page import BEGIN, END, ROOT, made, percent
from report import markdown

PAGE = ROOT / "docs" / "howto" / "births.md"
RESULTS = Path(__file__).parent / "results"
TRAINED = {
    "grown": "grown from 32 + 16 by births",
    "gradual": "gradual magnitude from 512 + 256, given that shape",
    "from scratch": "that shape from scratch",
    "selection": "selection from 512 + 256, no births",
    "gradual of selection's": "gradual magnitude, given that shape",
    "turnover": "selection from 512 + 256 with births, pressure 4",
}


def cost(facts: dict[str, Any]) -> list[str]:
    """Return the table of what a season costs."""
    rows = []
    for row in facts["rows"]:
        ms = row["ms"]
        cells = [row["case"], row["kind"], f"{row['births']:.1f}", f"{ms['step']['median']:.1f}"]
        cells += [f"{ms['season']['median']:.1f}", f"{ms['steps']['median']:.2f}"]
        rows.append([*cells, f"{ms['steps']['median']:.2f} %"])
    head = ["network", "kind", "births", "a step, ms", "a season, ms", "in steps"]
    head += ["of the time with `every=100`"]
    where = f"{facts['machine']['cpu']}, {facts['machine']['system']}"
    note = f"<small>`python benchmarks/bench_births.py`, one thread: {where}; "
    note += f"core {facts['core']}, commit {(facts['commit'] or 'unknown')[:10]}.</small>"
    return [*markdown(head, rows), note, ""]


def results(facts: dict[str, Any]) -> list[str]:
    """Return the table of runs on the test set."""
    rows = []
    for name, label in TRAINED.items():
        found = facts["summary"][name]
        row = [label, percent(found["accuracy"], found["deviation"])]
        rows.append([*row, layers(found["layers"]), f"{found['macs'] / 1000:.0f} k"])
    head = ["method", "test accuracy, %", "alive", "multiply-adds"]
    return [*markdown(head, rows), *made(facts, "births", f"{len(facts['runs'])}")]


def early(facts: dict[str, Any]) -> list[str]:
    """Return the table of runs with input dropout, on held-out images."""
    rows = []
    for found in facts["summary"]:
        pressure = "-" if found["trial"].startswith("gradual") else f"{found['pressure']:g}"
        row = [found["trial"], pressure]
        row += [percent(found["accuracy"], found["deviation"]), layers(found["layers"])]
        row += [f"{found['macs'] / 1000:.1f} k", f"{found['mean_macs'] / 1000:.0f} k"]
        rows.append([*row, f"{found['births']:.0f}"])
    head = ["method", "pressure", "held-out accuracy, %", "alive", "multiply-adds"]
    head += ["mean in training", "births"]
    seeds = max(found["seeds"] for found in facts["summary"])
    return [*markdown(head, rows), *made(facts, "births", f"{seeds}")]


def returned(facts: dict[str, Any]) -> list[str]:
    """Return the table of input features that return."""
    rows = []
    for found in facts["summary"]:
        row = [found["task"], f"{found['pressure']:g}", f"{found['returns']:.0f}"]
        row += [percent(found["accuracy"], found["deviation"]), f"{found['features']:.0f}"]
        rows.append([*row, *(f"{100 * found[of]:.0f} %" for of in ("recall", "precision"))])
    head = ["features that decide", "pressure", "returns", "test accuracy, %", "living features"]
    seeds = max(found["seeds"] for found in facts["summary"])
    return [*markdown([*head, "recall", "precision"], rows), *made(facts, "births", f"{seeds}")]


def layers(alive: list[float]) -> str:
    """Return the mean numbers of living populations by layer."""
    return " + ".join(f"{n:.0f}" for n in alive)


def put(name: str, path: Path, lines: list[str]) -> None:
    """Replace a table of the page."""
    text, begin = PAGE.read_text(), BEGIN.format(name=name)
    start = text.index(f"{begin},")
    source = f"{begin}, by experiments/births_page.py from {path.relative_to(ROOT)} -->"
    PAGE.write_text(text[:start] + "\n".join([source, "", *lines]) + text[text.index(END, start) :])


def main() -> None:
    tables = (
        (ROOT / "benchmarks" / "results" / "births.json", "cost", cost),
        (RESULTS / "births.json", "births", results),
        (RESULTS / "births_early.json", "births_early", early),
        (RESULTS / "births_returns.json", "births_returns", returned),
    )
    for path, name, table in tables:
        if path.exists():
            put(name, path, table(json.loads(path.read_text())))


if __name__ == "__main__":
    main()

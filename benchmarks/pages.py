"""Write the measurements into the README, in brief, and into docs/benchmarks.md, in full.

    python benchmarks/pages.py

Every number comes from benchmarks/results; the paper's are those of its abstract.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import table
from report import Facts, best, markdown, milliseconds, origin, shape

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tables:", "<!-- end of tables -->"
PAPER = [
    ["Khan & Shah 2026, 35 % cut after training", "about 95.5 %", "269"],
    ["Khan & Shah 2026, 50 % cut after training", "88.3 to 88.6 %", "384"],
]
TITLES = {
    "accuracy": "How accurate, how small",
    "selection": "Filters and heads",
    "step": "A training step",
    "layers": "A training step of convolutional and attention networks",
    "run": "A whole run",
    "predict": "A prediction, microseconds a call",
    "memory": "Memory",
    "costs": "What looking on costs",
}


def results() -> dict[str, Facts]:
    """Return the results by benchmark, in the order of the titles."""
    found = {}
    for name in TITLES:
        path = table.HERE / "results" / f"{name}.json"
        if path.exists():
            found[name] = json.loads(path.read_text())
    return found


def accuracy(facts: Facts) -> Iterator[str]:
    """Return the table of accuracies, with those of the paper."""
    of = facts["summary"]
    names = {
        "ours": "evoprune: extinct by themselves, while training",
        "dense": "the same network, dense",
        "dense, cut by norm": "that, cut to as many by norm after training",
        "dense, cut by random": "that, cut to as many at random",
    }
    cells = []
    for name, label in names.items():
        if name in of:
            extinct = round(of[name]["extinct"] * 768)
            spread = f"{100 * of[name]['accuracy']:.2f} ± {100 * of[name]['deviation']:.2f} %"
            cells.append([label, spread, str(extinct), f"{of[name]['macs'] / 1000:.0f} k"])
    cells += [[*row, ""] for row in PAPER]
    seeds = len(facts["rows"])
    yield (
        f"MNIST, 784-512-256-10, {facts['settings']['epochs']} epochs, defaults; accuracy on the "
        f"test set after the last epoch, mean of {seeds} seeds (`benchmarks/bench_accuracy.py`):"
    )
    yield ""
    yield from markdown(["", "accuracy", "extinct of 768", "multiply-adds"], cells)


SHOWN = {
    "lenet5 mnist": "LeNet-5, MNIST",
    "cnn fashion-mnist": "32-64-128 filters, Fashion-MNIST",
    "vit mnist": "vision transformer, MNIST",
    "charlm shakespeare": "character transformer, Shakespeare",
}


def selection(facts: Facts) -> Iterator[str]:
    """Return the short table of filters and heads."""
    cells = []
    for name, mean in facts["summary"].items():
        what, unit, form, sign = (
            ("loss", 1, ".3f", "") if "charlm" in name else ("accuracy", 100, ".2f", " %")
        )
        extinct = [
            f"{100 * share:.0f} % of {key[8:]}"
            for key, share in mean.items()
            if key.startswith("extinct.")
        ]
        scores = [f"{unit * mean[f'{who}{what}']:{form}}{sign}" for who in ("", "dense_")]
        cells.append(
            [SHOWN[name], *scores, ", ".join(extinct), f"{100 * mean['macs_share']:.0f} %"]
        )
    seeds = max(sum(row["case"] == name and row["selected"] for row in facts["rows"])
                for name in facts["summary"])  # fmt: skip
    yield (
        f"Filters and heads under the same law, mean of {seeds} seeds beside dense runs as long "
        "(`benchmarks/bench_selection.py`):"
    )
    yield ""
    head = ["", "accuracy or loss", "dense", "extinct", "multiply-adds left"]
    yield from markdown(head, cells)


def steps(facts: Facts) -> Iterator[str]:
    """Return the table of step times on two threads, with selection."""
    head = ["a training step, 2 threads, ms", "batch", "products alone", "evoprune"]
    head += ["PyTorch", "JAX"]
    cells = []
    for row in facts["rows"]:
        if row["part"] == "cases" and row["threads"] == 2:
            names = ("floor", "ours", best(row, "PyTorch"), best(row, "JAX"))
            cells.append(
                [shape(row["widths"]), str(row["batch"])]
                + [milliseconds(row, name) for name in names]
            )
    yield from markdown(head, cells)


def runs(facts: Facts) -> Iterator[str]:
    """Return one sentence about whole runs."""
    row = facts["rows"][0]
    ratio = row["times_ours"].get("PyTorch, dense")
    if ratio:
        ours = row["seconds"]["ours"]["median"]
        torch = row["seconds"]["PyTorch, dense"]["median"]
        yield (
            f"The whole run of {facts['settings']['epochs']} epochs takes {ours:.1f} s on two "
            f"threads; dense in PyTorch it takes {torch:.1f} s, {ratio:.1f} times as long."
        )
        yield ""


def brief(found: dict[str, Facts]) -> list[str]:
    """Return the part of the README."""
    lines: list[str] = []
    parts = {"accuracy": accuracy, "selection": selection, "step": steps, "run": runs}
    for name, part in parts.items():
        if name in found:
            lines += part(found[name])
    said = found.get("step") or next(iter(found.values()))
    lines.append(
        f"Measured in turn on {origin(said)}. All of it: [benchmarks](docs/benchmarks.md)."
    )
    return lines


def whole(found: dict[str, Facts]) -> str:
    """Return the page of the docs."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `benchmarks/pages.py` from what `make bench` measured; `benchmarks/README.md` "
        "says how times are taken. *Floor*: the step's matrix products alone, by OpenBLAS, at "
        "their best, with the multiply-adds that a convolution is defined by (ours does with fewer "
        'where it goes by tiles); *own floor*: by evoprune\'s own product. An "x" is a median of '
        "ratios taken round by round. Peers are shown at their best: the faster of eager and "
        "compiled, of memory layouts, of one step and a scan.",
        "",
    ]
    for name, facts in found.items():
        if name in table.TABLES:
            lines += [f"## {TITLES[name]}", "", *table.TABLES[name](facts)]
            lines += [f"`benchmarks/bench_{name}.py` on {origin(facts)}.", ""]
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip() + "\n"


def main() -> None:
    found: dict[str, Any] = results()
    if not found:
        raise SystemExit("nothing was measured yet: make bench")
    readme = ROOT / "README.md"
    text = readme.read_text()
    begin = text.index("\n", text.index(BEGIN)) + 1
    readme.write_text(
        text[:begin] + "\n" + "\n".join(brief(found)) + "\n\n" + text[text.index(END) :]
    )
    (ROOT / "docs" / "benchmarks.md").write_text(whole(found))
    if "step" in found:
        table.plot_living(found["step"], ROOT / "docs" / "figures")


if __name__ == "__main__":
    main()

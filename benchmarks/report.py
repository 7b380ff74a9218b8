"""Write the results of benchmarks as Markdown.

    python benchmarks/report.py                 write README.md (a summary) and docs/benchmarks.md
    python benchmarks/report.py FILE ...        print the tables of these results

Every number comes from a result, except for those of the paper's abstract. Times are medians over
rounds; a number with "x" is the median of the ratios of two times of the same round.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tables:", "<!-- end of tables -->"
PAPER = [
    ["Khan & Shah 2026, 35 % cut after training", "about 95.5 %", "269", ""],
    ["Khan & Shah 2026, 50 % cut after training", "88.3 to 88.6 %", "384", ""],
]


# ---- cells --------------------------------------------------------------------------------------


def markdown(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Return a table and an empty line; the first column is aligned left, the others right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return [f"| {' | '.join(cells)} |" for cells in escaped] + [""]


def table(head: str, rows: Iterable[list[str]]) -> list[str]:
    """Return a table, or an empty list if there are no rows; `head` has | between its columns."""
    cells = list(rows)
    return markdown(head.split(" | "), cells) if cells else []


def shape(widths: list[int]) -> str:
    """Return the widths as text, such as 784-512-256-10."""
    return "-".join(map(str, widths))


def origin(facts: Facts) -> str:
    """Return machine, core, commit and date of a result."""
    machine = facts["machine"]
    commit = (facts["commit"] or "unknown")[:10] + (" with changes" if facts["changed"] else "")
    peers = ", ".join(f"{name} {version}" for name, version in facts.get("peers", {}).items())
    mode = "a quick test, not a result; " if facts["quick"] else ""
    return (
        f"{mode}{machine['cpu']}, {machine['processors']} processors, {machine['system']}; "
        f"core {facts['core']}, commit {commit}, {facts['date'][:10]}"
        + (f"; {peers}" * bool(peers))
    )


def milliseconds(row: Facts, name: str, unit: float = 1.0) -> str:
    """Return a contestant's median time in ms times `unit`, or a dash if it was not timed."""
    if name not in row["ms"]:
        return "-"
    value = unit * row["ms"][name]["median"]
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def against(row: Facts, name: str, *, inverse: bool = False) -> str:
    """Return the ratio of a contestant's time to ours, or the inverse ratio."""
    if name not in row["times_ours"]:
        return "-"
    value = row["times_ours"][name]
    return f"{1 / value if inverse else value:.2f} x"


def best(row: Facts, library: str) -> str:
    """Return a library's fastest contestant in a row, except the one that draws no batches."""
    names = [n for n in row["ms"] if n.split(",")[0] == library and n != f"{library}, given batch"]
    return min(names, key=lambda n: row["ms"][n]["median"], default=library)


def pair(row: Facts, library: str) -> list[str]:
    """Return the milliseconds of a library's fastest contestant, and the ratio to our time."""
    name = best(row, library)
    return [milliseconds(row, name), against(row, name)]


def floors(row: Facts) -> list[str]:
    """Return milliseconds of the floor, and the ratio of our time to it."""
    return [milliseconds(row, "floor"), against(row, "floor", inverse=True)]


def selecting(row: Facts) -> str:
    """Return the time that selection adds to a dense step, in percent."""
    return f"{100 * (1 / row['times_ours']['ours, dense'] - 1):+.1f} %"


def megabytes(size: float) -> str:
    """Return a number of bytes as text, in units of 2^20."""
    return f"{size / 2**20:.3g}" if size < 100 * 2**20 else f"{size / 2**20:.0f}"


def percent(share: float) -> str:
    """Return a share, 0 to 1, as text in percent."""
    return f"{100 * share:.0f} %"


def extinct(mean: Facts, of: str) -> str:
    """Return the extinct shares in a row of means as text, with `of` before each name.

    For example, "76 % of the neurons" with `of` = "of the ".
    """
    shares = {key[8:]: share for key, share in mean.items() if key.startswith("extinct.")}
    return ", ".join(f"{percent(share)} {of}{what}" for what, share in shares.items())


def of_part(facts: Facts, *parts: str) -> list[Facts]:
    """Return the rows of some parts of a benchmark."""
    return [row for row in facts["rows"] if row["part"] in parts]


# ---- whole tables, by benchmark -----------------------------------------------------------------


def accuracy_table(facts: Facts) -> list[str]:
    rows = (
        [
            *(name, f"{100 * of['accuracy']:.2f} %", f"{100 * of['deviation']:.2f}"),
            *(f"{100 * of['extinct']:.1f} %", f"{of['macs'] / 1000:.0f} k"),
        ]
        for name, of in facts.get("summary", {}).items()
    )
    return table("network | accuracy, last epoch | deviation | extinct | multiply-adds", rows)


def selection_table(facts: Facts) -> list[str]:
    cells = []
    for name, mean in facts.get("summary", {}).items():
        rows = [row for row in facts["rows"] if row["case"] == name and row["selected"]]
        by_loss = "charlm" in name
        what, unit = ("loss", 1) if by_loss else ("accuracy", 100)
        digits, sign = (4, "") if by_loss else (2, " %")
        spread = f"{unit * mean[what]:.{digits}f} ± {unit * mean[f'{what}_deviation']:.{digits}f}"
        dense = f"{unit * mean[f'dense_{what}']:.{digits}f}"
        of = rows[-1]["settings"]
        length = f"{of['steps']:,} steps" if of["steps"] else f"{of['epochs']} epochs"
        run = f"{length}, pressure {of['pressure']:g}, lifespan {of['lifespan']:g}"
        met = facts["met"][name].items()
        said = "; ".join(f"{asked}: {'met' if holds else 'NOT met'}" for asked, holds in met)
        size = [f"{mean['macs'] / 1000:.0f} k", percent(mean["macs_share"])]
        scores = [f"{what} {text}{sign}" for text in (dense, spread)]
        cells.append([name, run, str(len(rows)), *scores, extinct(mean, "of the "), *size, said])
    head = "network | run | seeds | dense | selected | extinct | multiply-adds | of dense | asked"
    return markdown(head.split(" | "), cells)


def step_table(facts: Facts) -> list[str]:
    lines = table(
        "network | batch | threads | ours, ms | floor | ours / floor | own floor | selection costs "
        "| PyTorch | of ours | JAX | of ours | scikit-learn",
        (
            [
                *(shape(row["widths"]), str(row["batch"]), str(row["threads"])),
                *(milliseconds(row, "ours"), *floors(row)),
                *(against(row, "floor, own product", inverse=True), selecting(row)),
                *(*pair(row, "PyTorch"), *pair(row, "JAX"), milliseconds(row, "scikit-learn")),
            ]
            for row in of_part(facts, "cases")
        ),
    )
    return lines + table(
        "living | network | threads | ours, ms | floor | ours / floor",
        (
            [
                *(str(row["living"]), shape(row["widths"]), str(row["threads"])),
                *(milliseconds(row, "ours"), *floors(row)),
            ]
            for row in of_part(facts, "living")
        ),
    )


def layers_table(facts: Facts) -> list[str]:
    whole = {
        (row["network"], row["threads"]): row["ms"]["ours"]["median"]
        for row in of_part(facts, "cases")
    }

    def asked(row: Facts) -> str:
        of = row.get("asked", {}).values()
        return ("met" if all(one["met"] for one in of) else "NOT met") if of else ""

    def left(row: Facts) -> str:
        ours = row["ms"]["ours"]["median"]
        return percent(ours / whole.get((row["network"], row["threads"]), ours))

    lines = table(
        "network | batch | threads | ours, ms | floor | ours / floor | own floor | ideal "
        "| selection costs | PyTorch | of ours | asked",
        (
            [
                *(row["network"], str(row["batch"]), str(row["threads"])),
                *(milliseconds(row, "ours"), *floors(row)),
                against(row, "floor, own product", inverse=True),
                f"{row['ideal_ms']:.3g}" if row["ideal_ms"] else "-",
                *(selecting(row), *pair(row, "PyTorch"), asked(row)),
            ]
            for row in of_part(facts, "cases")
        ),
    )
    return lines + table(
        "network | alive | multiply-adds | threads | ours, ms | of whole | floor | ours / floor "
        "| PyTorch | of ours",
        (
            [
                *(row["network"], f"{100 * row['share']:g} %", f"{row['macs'] / 1e6:.3g} M"),
                *(str(row["threads"]), milliseconds(row, "ours"), left(row)),
                *(*floors(row), *pair(row, "PyTorch")),
            ]
            for row in facts["rows"]
            if row["part"] == "survivors" or "asked" in row
        ),
    )


def run_table(facts: Facts) -> list[str]:
    rows = (
        [
            *(name, str(row["threads"]), f"{of['median']:.1f}"),
            f"{row['times_ours'].get(name, 1):.2f} x",
            f"{100 * row['accuracy'][name]:.2f} %",
        ]
        for row in facts["rows"]
        for name, of in row["seconds"].items()
    )
    return table("run | threads | seconds | of ours | accuracy, last epoch", rows)


def predict_table(facts: Facts) -> list[str]:
    names = ["ours", "NumPy", "ONNX Runtime", "PyTorch", "PyTorch, frozen", "JAX"]
    names = [n for n in names if any(n in row["ms"] for row in facts["rows"])]
    head = ["network", "batch", "threads", *(f"{n}, us" for n in names)]
    rows = (
        [shape(row["widths"]), str(row["batch"]), str(row["threads"])]
        + [milliseconds(row, name, 1000) for name in names]
        for row in facts["rows"]
    )
    return markdown(head, rows)


def memory_table(facts: Facts) -> list[str]:
    networks = of_part(facts, "networks")

    def name(row: Facts) -> list[str]:
        return [row["network"], f"{100 * row['share']:g} %"]

    def peaks(row: Facts) -> list[str]:
        torch = [size for who, size in row["peak"].items() if who != "ours"]
        return [megabytes(row["peak"]["ours"]), megabytes(min(torch)) if torch else "-"]

    def arrays(row: Facts) -> list[str]:
        names = ("all", "parameters", "activations", "worker")
        return [megabytes(row["arrays"][name]) for name in names]

    lines = table(
        "network | alive | batch | core, MB | parameters | activations | a worker | peak, MB "
        "| PyTorch",
        ([*name(row), str(row["batch"]), *arrays(row), *peaks(row)] for row in networks),
    )
    lines += table(
        "network | alive | kind | parameters, MB | activations, MB",
        (
            [*name(row), kind, megabytes(of["parameters"]), megabytes(of["activations"])]
            for row in networks
            for kind, of in row["kinds"].items()
        ),
    )
    lines += table(
        "kind | sample | per worker, MB | activations, kB per sample | peak grows, kB per sample "
        "| more if computed naively, kB per sample",
        (
            [row["kind"], " x ".join(map(str, row["shape"])), megabytes(row["worker"])]
            + [f"{row[n] / 1024:.0f}" for n in ("activations_a_sample", "peak_a_sample")]
            + [f"+{row['naive_a_sample'] / 1024:.0f}" if row["naive_a_sample"] else ""]
            for row in of_part(facts, "kinds")
        ),
    )
    for row in of_part(facts, "run"):
        lines += [
            f"784-512-256-10 on MNIST, {row['epochs']} epochs: the peak of the process is "
            f"{megabytes(row['peak'])} MB above package and data; the core's arrays take "
            f"{megabytes(row['founding'])} MB at birth.",
            "",
        ]
    for row in of_part(facts, "compactions"):
        last = ", ".join(megabytes(life[-1]) for life in row["process"])
        lines += [
            f"{row['compactions']} populations die one by one, three times in one process, which "
            f"then takes {last} MB: a change of {row['bytes_a_compaction']:+.0f} bytes per "
            "compaction.",
            "",
        ]
    return lines


def costs_table(facts: Facts) -> list[str]:
    lines = table(
        " | epochs | threads | share of a run | inside the calls alone",
        (
            [row["part"], str(row["epochs"]), str(row["threads"])]
            + [f"{100 * row[name]:+.1f} %" for name in ("cost", "inside")]
            for row in of_part(facts, "recording", "live")
        ),
    )
    for part, name, label in (("import", "module", "import"), ("plot", "function", "picture")):
        rows = ([row[name], f"{row['ms']['median']:.0f}"] for row in of_part(facts, part))
        lines += table(f"{label} | ms", rows)
    return lines


TITLES: dict[str, tuple[str, Callable[[Facts], list[str]]]] = {  # in the order of the page
    "accuracy": ("Accuracy and size", accuracy_table),
    "selection": ("Filters and heads", selection_table),
    "step": ("A training step", step_table),
    "layers": ("A training step of convolutional and attention networks", layers_table),
    "run": ("A whole run", run_table),
    "predict": ("A prediction, microseconds a call", predict_table),
    "memory": ("Memory", memory_table),
    "costs": ("Recording, live view, imports and plots", costs_table),
}


# ---- summary for the README ---------------------------------------------------------------------


def accuracy(facts: Facts) -> Iterator[str]:
    """Yield a table of accuracy and size, with the values of the paper."""
    names = {
        "ours": "evoprune: extinct during training",
        "dense": "the same network, dense",
        "dense, cut by norm": "the dense one, cut to the same number by norm",
        "dense, cut by random": "the dense one, cut to the same number at random",
    }
    cells = []
    for name, label in names.items():
        if of := facts["summary"].get(name):
            spread = f"{100 * of['accuracy']:.2f} ± {100 * of['deviation']:.2f} %"
            gone = str(round(of["extinct"] * 768))
            cells.append([label, spread, gone, f"{of['macs'] / 1000:.0f} k"])
    yield (
        f"MNIST, 784-512-256-10, {facts['settings']['epochs']} epochs, defaults; accuracy on the "
        f"test set after the last epoch, mean of {len(facts['rows'])} seeds "
        "(`benchmarks/bench_accuracy.py`):"
    )
    yield ""
    yield from table(" | accuracy | extinct of 768 | multiply-adds", [*cells, *PAPER])


SHOWN = {
    "lenet5 mnist": "LeNet-5, MNIST",
    "cnn fashion-mnist": "32-64-128 filters, Fashion-MNIST",
    "vit mnist": "vision transformer, MNIST",
    "charlm shakespeare": "character transformer, Shakespeare",
}


def selection(facts: Facts) -> Iterator[str]:
    """Yield a table of the results with filters and heads under selection."""
    cells = []
    for name, mean in facts["summary"].items():
        what, unit, form, sign = (
            ("loss", 1, ".3f", "") if "charlm" in name else ("accuracy", 100, ".2f", " %")
        )
        scores = [f"{unit * mean[f'{who}{what}']:{form}}{sign}" for who in ("", "dense_")]
        cells.append([SHOWN[name], *scores, extinct(mean, "of "), percent(mean["macs_share"])])
    seeds = max(sum(row["case"] == name and row["selected"] for row in facts["rows"])
                for name in facts["summary"])  # fmt: skip
    yield (
        f"Filters and heads under the same law, and dense runs of equal length, mean of {seeds} "
        "seeds (`benchmarks/bench_selection.py`):"
    )
    yield ""
    yield from table(" | accuracy or loss | dense | extinct | multiply-adds left", cells)


def step(facts: Facts) -> Iterator[str]:
    """Yield a table of the times of a step on two threads, with selection."""
    cells = []
    for row in of_part(facts, "cases"):
        if row["threads"] == 2:
            names = ("floor", "ours", best(row, "PyTorch"), best(row, "JAX"))
            times = [milliseconds(row, name) for name in names]
            cells.append([shape(row["widths"]), str(row["batch"]), *times])
    head = "a training step, 2 threads, ms | batch | products alone | evoprune | PyTorch | JAX"
    yield from table(head, cells)


def run(facts: Facts) -> Iterator[str]:
    """Yield a sentence about the time of a whole run."""
    row = facts["rows"][0]
    if ratio := row["times_ours"].get("PyTorch, dense"):
        ours, torch = (row["seconds"][name]["median"] for name in ("ours", "PyTorch, dense"))
        yield (
            f"The whole run of {facts['settings']['epochs']} epochs takes {ours:.1f} s on two "
            f"threads; dense in PyTorch it takes {torch:.1f} s, {ratio:.1f} times as long."
        )
        yield ""


# ---- pages --------------------------------------------------------------------------------------


def brief(found: dict[str, Facts]) -> str:
    """Return the tables of README.md."""
    parts = {"accuracy": accuracy, "selection": selection, "step": step, "run": run}
    lines = [line for name in parts if name in found for line in parts[name](found[name])]
    said = found.get("step") or next(iter(found.values()))
    lines.append(
        f"Measured in turns on {origin(said)}. All results: [benchmarks](docs/benchmarks.md)."
    )
    return "\n".join(lines)


def whole(found: dict[str, Facts]) -> str:
    """Return docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `benchmarks/report.py` from the results of `make bench`; "
        "`benchmarks/README.md` describes the method. *Floor*: only the step's matrix products, by "
        "OpenBLAS in the fastest way found, with all multiply-adds of a convolution's definition "
        "(evoprune needs fewer where it uses Winograd tiles); *own floor*: the same by evoprune's "
        'own product. An "x" is a median of the ratios within rounds. For each peer the fastest '
        "variant is shown: eager or compiled, either memory layout, single steps or a scan.",
        "",
    ]
    for name, facts in found.items():
        title, made = TITLES[name]
        lines += [f"## {title}", "", *made(facts)]
        lines += [f"`benchmarks/bench_{name}.py` on {origin(facts)}.", ""]
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip() + "\n"


def main() -> None:
    if sys.argv[1:]:
        for path in sys.argv[1:]:
            facts = json.loads(Path(path).read_text())
            lines = TITLES[facts["benchmark"]][1](facts)
            print("\n".join([f"### {facts['benchmark']}", "", origin(facts), "", *lines]))
        return
    results = Path(__file__).parent / "results"
    paths = {name: results / f"{name}.json" for name in TITLES}
    found = {name: json.loads(p.read_text()) for name, p in paths.items() if p.exists()}
    if not found:
        raise SystemExit("there are no results; make them by: make bench")
    readme = ROOT / "README.md"
    text = readme.read_text()
    begin = text.index("\n", text.index(BEGIN)) + 1
    readme.write_text(f"{text[:begin]}\n{brief(found)}\n\n{text[text.index(END) :]}")
    (ROOT / "docs" / "benchmarks.md").write_text(whole(found))


if __name__ == "__main__":
    main()

"""Make Markdown tables of the results, and the plot of step time against living populations.

    python benchmarks/table.py every result in benchmarks/results python benchmarks/table.py FILE
    ... these python benchmarks/table.py --plot FOLDER also draw plots there

Numbers are medians over rounds; "x" marks the median of ratios by round.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from report import Facts, against, best, markdown, megabytes, milliseconds, origin, shape

HERE = Path(__file__).resolve().parent

TABLES: dict[str, Callable[[Facts], list[str]]] = {}


def table(function: Callable[[Facts], list[str]]) -> Callable[[Facts], list[str]]:
    """Register a function as the table of the benchmark with its name."""
    TABLES[function.__name__.rpartition("_")[0]] = function
    return function


@table
def step_table(facts: Facts) -> list[str]:
    head = ["network", "batch", "threads", "ours, ms", "floor", "ours / floor", "own floor"]
    head += ["selection costs", "PyTorch", "of ours", "JAX", "of ours", "scikit-learn"]
    lines = []
    for part in ("cases", "living"):
        rows = [row for row in facts["rows"] if row["part"] == part]
        if part == "living":
            head = ["living", "network", "threads", "ours, ms", "floor", "ours / floor"]
        cells = []
        for row in rows:
            costs = 100 * (1 / row["times_ours"]["ours, dense"] - 1)
            common = [
                milliseconds(row, "ours"),
                milliseconds(row, "floor"),
                against(row, "floor", inverse=True),
            ]
            if part == "living":
                who = [str(row["living"]), shape(row["widths"]), str(row["threads"])]
                cells.append([*who, *common])
                continue
            torch, jax = best(row, "PyTorch"), best(row, "JAX")
            cells.append(
                [
                    *(shape(row["widths"]), str(row["batch"]), str(row["threads"]), *common),
                    *(against(row, "floor, own product", inverse=True), f"{costs:+.1f} %"),
                    *(milliseconds(row, torch), against(row, torch)),
                    *(milliseconds(row, jax), against(row, jax)),
                    milliseconds(row, "scikit-learn"),
                ]
            )
        if cells:
            lines += markdown(head, cells)
    return lines


@table
def layers_table(facts: Facts) -> list[str]:
    head = ["network", "batch", "threads", "ours, ms", "floor", "ours / floor", "own floor"]
    head += ["ideal", "selection costs", "PyTorch", "of ours", "asked"]
    lines = []
    for part in ("cases", "survivors"):
        cells = []
        if part == "survivors":
            head = ["network", "alive", "multiply-adds", "threads", "ours, ms", "of whole", "floor"]
            head += ["ours / floor", "PyTorch", "of ours"]
        for row in facts["rows"]:
            if row["part"] != part and not (part == "survivors" and "asked" in row):
                continue
            torch = best(row, "PyTorch")
            common = [milliseconds(row, "floor"), against(row, "floor", inverse=True)]
            peers = [milliseconds(row, torch), against(row, torch)]
            who = [str(row["threads"]), milliseconds(row, "ours")]
            if part == "survivors":
                whole = whole_of(facts, row)["ms"]["ours"]["median"]
                share = f"{100 * row['ms']['ours']['median'] / whole:.0f} %"
                size = [f"{100 * row['share']:g} %", f"{row['macs'] / 1e6:.3g} M"]
                cells.append([row["network"], *size, *who, share, *common, *peers])
                continue
            costs = 100 * (1 / row["times_ours"]["ours, dense"] - 1)
            ideal = f"{row['ideal_ms']:.3g}" if row["ideal_ms"] else "-"
            own = against(row, "floor, own product", inverse=True)
            asked = row.get("asked", {}).values()
            met = ("met" if all(of["met"] for of in asked) else "NOT met") if asked else ""
            first = [row["network"], str(row["batch"]), *who, *common, own, ideal]
            cells.append([*first, f"{costs:+.1f} %", *peers, met])
        if cells:
            lines += markdown(head, cells)
    return lines


def whole_of(facts: Facts, row: Facts) -> Facts:
    """Return the row of the same network with all populations alive, at the same threads."""
    same = (r for r in facts["rows"] if r["part"] == "cases" and r["network"] == row["network"])
    return next((r for r in same if r["threads"] == row["threads"]), row)


@table
def memory_table(facts: Facts) -> list[str]:
    rows: dict[str, list[Facts]] = {}
    for row in facts["rows"]:
        rows.setdefault(row["part"], []).append(row)
    lines = []
    head = ["network", "alive", "batch", "core, MB", "parameters", "activations", "a worker"]
    head += ["peak, MB", "PyTorch"]
    names = ("all", "parameters", "activations", "worker")
    cells = []
    for row in rows.get("networks", []):
        arrays = [megabytes(row["arrays"][n]) for n in names]
        torch = [size for name, size in row["peak"].items() if name != "ours"]
        who = [row["network"], f"{100 * row['share']:g} %", str(row["batch"])]
        peaks = [megabytes(row["peak"]["ours"]), megabytes(min(torch)) if torch else "-"]
        cells.append([*who, *arrays, *peaks])
    lines += markdown(head, cells) if cells else []
    cells = []
    for row in rows.get("networks", []):
        for kind, of in row["kinds"].items():
            sizes = [megabytes(of["parameters"]), megabytes(of["activations"])]
            cells.append([row["network"], f"{100 * row['share']:g} %", kind, *sizes])
    head = ["network", "alive", "kind", "parameters, MB", "activations, MB"]
    lines += markdown(head, cells) if cells else []
    head = ["kind", "sample", "a worker, MB", "activations, kB a sample", "peak grows, kB a sample"]
    head += ["laid out for a batch, kB a sample"]
    cells = [
        [row["kind"], " x ".join(map(str, row["shape"])), megabytes(row["worker"])]
        + [f"{row[n] / 1024:.0f}" for n in ("activations_a_sample", "peak_a_sample")]
        + [f"+{row['naive_a_sample'] / 1024:.0f}" if row["naive_a_sample"] else ""]
        for row in rows.get("kinds", [])
    ]
    lines += markdown(head, cells) if cells else []
    for row in rows.get("run", []):
        lines += [
            f"784-512-256-10 on MNIST, {row['epochs']} epochs: the process takes "
            f"{megabytes(row['peak'])} MB above package and data at most; the core's arrays "
            f"{megabytes(row['founding'])} MB at birth.",
            "",
        ]
    for row in rows.get("compactions", []):
        last = [megabytes(life[-1]) for life in row["process"]]
        lines.append(
            f"{row['compactions']} populations die one by one, three times over in one process, "
            f"which ends with {', '.join(last)} MB: {row['bytes_a_compaction']:.0f} bytes a "
            "compaction stay.\n"
        )
    return lines


@table
def predict_table(facts: Facts) -> list[str]:
    names = ["ours", "NumPy", "ONNX Runtime", "PyTorch", "PyTorch, frozen", "JAX"]
    names = [n for n in names if any(n in row["ms"] for row in facts["rows"])]
    head = ["network", "batch", "threads", *(f"{n}, us" for n in names)]
    return markdown(
        head,
        (
            [shape(row["widths"]), str(row["batch"]), str(row["threads"])]
            + [milliseconds(row, name, 1000) for name in names]
            for row in facts["rows"]
        ),
    )


@table
def run_table(facts: Facts) -> list[str]:
    head = ["run", "threads", "seconds", "of ours", "accuracy, last epoch"]
    return markdown(
        head,
        (
            [
                *(name, str(row["threads"]), f"{of['median']:.1f}"),
                f"{row['times_ours'].get(name, 1):.2f} x",
                f"{100 * row['accuracy'][name]:.2f} %",
            ]
            for row in facts["rows"]
            for name, of in row["seconds"].items()
        ),
    )


@table
def accuracy_table(facts: Facts) -> list[str]:
    head = ["network", "accuracy, last epoch", "deviation", "extinct", "multiply-adds"]
    return markdown(
        head,
        (
            [
                *(name, f"{100 * of['accuracy']:.2f} %", f"{100 * of['deviation']:.2f}"),
                *(f"{100 * of['extinct']:.1f} %", f"{of['macs'] / 1000:.0f} k"),
            ]
            for name, of in facts.get("summary", {}).items()
        ),
    )


@table
def costs_table(facts: Facts) -> list[str]:
    rows = facts["rows"]
    cells = [
        [row["part"], str(row["epochs"]), str(row["threads"])]
        + [f"{100 * row[name]:+.1f} %" for name in ("cost", "inside")]
        for row in rows
        if row["part"] in ("recording", "live")
    ]
    head = ["", "epochs", "threads", "of a run", "inside of its calls"]
    lines = markdown(head, cells) if cells else []
    for part, name, label in (("import", "module", "import"), ("plot", "function", "picture")):
        cells = [[row[name], f"{row['ms']['median']:.0f}"] for row in rows if row["part"] == part]
        lines += markdown([label, "ms"], cells) if cells else []
    return lines


@table
def selection_table(facts: Facts) -> list[str]:
    head = ["network", "run", "seeds", "dense", "selected", "extinct", "multiply-adds"]
    head += ["of dense", "asked"]
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
        extinct = [
            f"{100 * share:.0f} % of the {key[8:]}"
            for key, share in mean.items()
            if key.startswith("extinct.")
        ]
        met = facts["met"][name]
        said = "; ".join(f"{what}: {'met' if holds else 'NOT met'}" for what, holds in met.items())
        size = [f"{mean['macs'] / 1000:.0f} k", f"{100 * mean['macs_share']:.0f} %"]
        scores = [f"{what} {text}{sign}" for text in (dense, spread)]
        cells.append([name, run, str(len(rows)), *scores, ", ".join(extinct), *size, said])
    return markdown(head, cells)


def plot_living(facts: Facts, folder: Path) -> Path | None:
    """Plot step time against living populations, ours and the floor, one line per thread count."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in facts["rows"] if row["part"] == "living"]
    if not rows:
        return None
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    styles = {"ours": "o-", "floor": "--"}
    for at, threads in enumerate(sorted({row["threads"] for row in rows})):
        of = [row for row in rows if row["threads"] == threads]
        for name, style in styles.items():
            ms = [row["ms"].get(name, {"median": float("nan")})["median"] for row in of]
            label = f"{name}, {threads} thread{'s' * (threads > 1)}"
            axes.plot([row["living"] for row in of], ms, style, color=f"C{at}", ms=4, label=label)
    axes.set(
        title="A training step gets faster as populations die",
        xlabel="living populations of 768 (784-512-256-10, batch 128)",
        ylabel="milliseconds a step",
        xlim=(0, None),
        ylim=(0, None),
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path = folder / "step_living.svg"
    figure.savefig(path)
    pyplot.close(figure)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--plot", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    for path in options.files or sorted((HERE / "results").glob("*.json")):
        facts = json.loads(path.read_text())
        name = facts["benchmark"]
        if name not in TABLES:
            continue
        print(f"### {name}\n\n{origin(facts)}\n")
        print("\n".join(TABLES[name](facts)).rstrip() + "\n")
        if options.plot and name == "step":
            options.plot.mkdir(parents=True, exist_ok=True)
            picture = plot_living(facts, options.plot)
            if picture:
                print(f"![step time against the living]({picture})\n")


if __name__ == "__main__":
    main()

"""Write the tables of docs/controls.md and docs/small_networks.md from experiments/results.

python experiments/controls_page.py
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from report import markdown  # noqa: E402

PAGE, SEARCH = ROOT / "docs" / "controls.md", ROOT / "docs" / "small_networks.md"
BEGIN, END = "<!-- table: {name}", "<!-- end of table -->"
HEADS = {
    "controls": "MNIST, 784-512-256-10",
    "controls_small": "MNIST, 784-512-256-10, made smaller",
    "controls_fashion": "Fashion-MNIST, 784-512-256-10",
    "controls_lenet": "MNIST, LeNet-5, 20-50-500",
    "controls_cnn": "Fashion-MNIST, 32, 64 and 128 filters",
    "controls_vit": "MNIST, vision transformer",
    "controls_characters": "tiny Shakespeare, transformer of characters",
}
SHOWN = {
    "ours": "selection, which finds the shape",
    "longer": "selection, longer",
    "gradual": "gradual pruning by norm, cubic schedule, given the shape",
    "uniform": "gradual pruning to the same share of every layer, at as many multiply-adds",
    "one cut": "one cut by norm at half of the run, then tuned, given the shape",
    "iterative": "five cuts by norm, tuned after each, given the shape",
    "replay": "as many removed at the same steps, at random",
    "from scratch": "the shape trained from scratch",
    "from scratch, longer": "the shape trained from scratch, as many multiply-adds to train",
    "ours, moved": "selection with moved images",
    "gradual, moved": "gradual pruning with moved images",
    "one cut, moved": "one cut with moved images",
    "from scratch, moved": "the shape from scratch with moved images, as many multiply-adds",
    "ours, two phases": "selection in two phases",
    "ours, two phases, one seed": "selection in two phases, rate chosen by one seed",
    "gradual, two phases": "gradual pruning in two phases",
    "gradual, two phases, one seed": "gradual pruning in two phases, rate chosen by one seed",
    "replay, two phases": "as many removed at random, in two phases",
    "from scratch, as two phases": "the shape trained from scratch, as long as two phases",
    "ours, dropout": "selection with input dropout",
    "gradual, dropout": "gradual pruning with input dropout",
    "gradual, dropout, shorter": "gradual pruning with input dropout, best on the test set",
    "one cut, dropout": "one cut with input dropout",
    "iterative, dropout": "five cuts with input dropout",
    "from scratch, dropout": "the shape from scratch with input dropout, as many multiply-adds",
}
SCRIPTS = {  # result -> script, where it is not controls.py
    "controls_lenet": "controls_conv",
    "controls_cnn": "controls_conv",
    "controls_vit": "controls_attention",
    "controls_characters": "controls_attention",
}
OURS = {
    "ours": "selection",
    "ours, dropout": "selection with input dropout",
    "ours, moved": "selection with moved images",
    "ours, two phases": "selection in two phases",
}
CHOSEN_BY = 100  # the first seed of the runs that choose settings, as in controls.py
QUANTILE = {  # number n of seeds -> 97.5 % quantile of Student's t with n - 1 degrees of freedom
    2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262,
    11: 2.228, 12: 2.201, 13: 2.179, 14: 2.160, 15: 2.145, 16: 2.131, 17: 2.120, 18: 2.110,
    19: 2.101, 20: 2.093,
}  # fmt: skip


def percent(mean: float, spread: float, sign: str = "") -> str:
    """Return a mean and its spread, given as fractions, as text in percent."""
    return f"{100 * mean:{sign}.2f} ± {100 * spread:.2f}"


def table(name: str, facts: dict[str, Any]) -> list[str]:
    """Return lines of Markdown: the table of the result `name`, and the notes below it."""
    told, rows = facts["summary"], []
    ours = [key for key in OURS if key in told]
    for key, label in SHOWN.items():
        if key not in told:
            continue
        found, setting = told[key], facts["chosen"][key]
        seconds = f"{found['seconds']:.0f}" if found.get("seconds") else "-"
        row = [label, f"{found['epochs']}", result(found)]
        row += [f"{found['alive']:.0f}", f"{found['macs'] / 1000:.1f} k"]
        row += [f"{found['training_macs'] / 1e6:.1f} M", seconds]
        for of in ours:
            gap = found["minus"].get(of)
            seeds = gap.get("seeds", found["seeds"]) if gap else 1
            half = QUANTILE.get(seeds, 0.0) * gap["standard_error"] if gap else 0.0
            row.append(ahead(found, gap["mean"], half) if half else "-")  # one seed has no interval
        rows.append([*row, f"{found['seeds']}", chosen(setting)])
    by_loss = "loss" in told[ours[0]]
    head = [HEADS[name], "epochs", "loss, nats" if by_loss else "accuracy, %"]
    head += ["alive", "multiply-adds", "to train", "seconds"]
    minus = "this minus {}" if by_loss else "{} minus this"
    head += [*(minus.format(OURS[of]) for of in ours), "seeds", "rate, decay and more"]
    return [*markdown(head, rows), *notes(facts, SCRIPTS.get(name, "controls"))]


def result(found: dict[str, Any]) -> str:
    """Return the mean and deviation of the loss, if there is one, or of the accuracy."""
    if "loss" in found:
        return f"{found['loss']:.3f} ± {found['loss_deviation']:.3f}"
    return percent(found["accuracy"], found["deviation"])


def ahead(found: dict[str, Any], mean: float, spread: float, places: int = 2) -> str:
    """Return how far selection is ahead and the spread, in nats or in points of accuracy."""
    unit, places = (1, places + 1) if "loss" in found else (100, places)
    return f"{unit * mean:+.{places}f} ± {unit * spread:.{places}f}"


def chosen(setting: dict[str, float]) -> str:
    """Return the chosen settings of a method in words."""
    words = {"dropout": "dropout {:g}", "end": "pruned until {:.0%}", "mass": "mass {:g}"}
    told = [f"{setting['rate']:g}", f"{setting['decay']:g}"]
    told += [words[key].format(setting[key]) for key in words if key in setting]
    if "later" in setting:
        told.append(f"{setting['later']:g} after {setting['first']:g} epochs")
    return ", ".join(told)


def notes(facts: dict[str, Any], script: str) -> Sequence[str]:
    """Return the lines below a table, with its origin and seeds."""
    seeds = sorted({row["seeds"] for row in facts["summary"].values()})
    counts = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
    return made(facts, script, counts)


def made(facts: dict[str, Any], script: str, seeds: str) -> Sequence[str]:
    """Return a line with the script, machine and seeds of a table."""
    machine = facts["machine"]
    return (
        f"<small>{seeds} seeds; `python experiments/{script}.py`: {machine['cpu']}, "
        f"{machine['system']}; core {facts['core']}, commit {facts['commit'][:10]}.</small>",
        "",
    )


def search(facts: dict[str, Any]) -> list[str]:
    """Return the table of search.py, with a row for each idea."""
    rows = [
        [
            row["idea"],
            percent(row["accuracy"], row["deviation"]),
            f"{row['alive']:.0f}",
            f"{row['macs'] / 1000:.1f} k",
            f"{row['mean_macs'] * row['job']['epochs'] / 1e6:.1f} M",
            f"{row['seeds']}",
        ]
        for row in facts["summary"]
    ]
    head = ["what", "held out, %", "alive", "multiply-adds", "to train", "seeds"]
    return [*markdown(head, rows), *made(facts, "search", "2")]


def smallest(facts: dict[str, Any]) -> list[str]:
    """Return the tables of smallest.py: both goals, on the test set and on held-out images."""
    lines = []
    for goal, title in (("macs", "few multiply-adds"), ("alive", "few populations")):
        for read, head in (("test", "test, %"), ("held", "held out, %")):
            rows = []
            for row in facts.get(goal, {}).get(read, []):
                accuracy = percent(row["accuracy"], row["deviation"])
                accuracy = accuracy if row["seeds"] > 1 else accuracy.partition(" ")[0]
                layers = " + ".join(f"{n:.0f}" for n in row["layers"])
                cells = [row["settings"], accuracy]
                if goal == "macs":
                    cells.append(f"{100 * row['before']:.2f}" if "before" in row else "-")
                cells += [f"{row['alive']:.0f} ({layers})", f"{row['macs'] / 1000:.2f} k"]
                rows.append([*cells, f"{row['seeds']}"])
            before = ["before epochs alone"] if goal == "macs" else []
            columns = [title, head, *before, "alive", "multiply-adds", "seeds"]
            lines += markdown(columns, rows) if rows else []
    return [*lines, *made(facts, "smallest", "1 to 5")]


def strongest(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a table of the most accurate run of selection beside the most accurate control."""
    rows = []
    for name, facts in results.items():
        told = facts["summary"]
        best = "loss" if any("loss" in found for found in told.values()) else "accuracy"
        sign = -1 if best == "loss" else 1
        ours = max((key for key in OURS if key in told), key=lambda key: sign * told[key][best])
        controls = [key for key in told if ours in told[key]["minus"]]
        control = max(controls, key=lambda key: sign * told[key][best])
        gap = told[control]["minus"][ours]
        ratio = gap["mean"] / gap["standard_error"]
        costs = [f"{told[key]['training_macs'] / 1e6:.1f} M" for key in (ours, control)]
        row = [HEADS[name], ahead(told[control], gap["mean"], gap["standard_error"], 3)]
        row += [
            f"{ratio:.1f}",
            f"{told[control]['seeds']}",
            f"{told[control]['macs'] / 1000:.0f} k",
        ]
        rows.append([*row, " / ".join(costs), SHOWN[control].partition(",")[0]])
    head = ["network", "points ± standard error", "ratio", "seeds", "multiply-adds"]
    return markdown([*head, "to train, both", "most accurate control"], rows)


def chosen_among(facts: dict[str, Any]) -> list[str]:
    """Return a table of validation and test accuracy of the settings that several splits chose."""
    rows = []
    for name in ("ours, dropout", "gradual, dropout"):
        found: dict[tuple[tuple[str, float], ...], list[float]] = {}
        for run in facts["tuned"]:
            setting = {key: run[key] for key in facts["chosen"][name] if key in run}
            if run["method"] == name and (run["seed"] == CHOSEN_BY or "split" in run):
                found.setdefault(tuple(setting.items()), []).append(run["accuracy"])
        for items, some in found.items():
            if len(some) < 2:
                continue
            setting, told = dict(items), "-"
            if setting == facts["chosen"][name]:
                told = percent(*(facts["summary"][name][key] for key in ("accuracy", "deviation")))
            cells = [chosen(setting), percent(statistics.fmean(some), statistics.stdev(some))]
            rows.append([SHOWN[name], *cells, f"{len(some)}", told])
    head = ["method", "rate, decay and more", "held out, %", "seeds", "test, % (the one chosen)"]
    return [*markdown(head, rows), *notes(facts, "controls")]


def write(
    page: Path, name: str, lines: Sequence[str], made_by: str = "controls_page", of: str = ""
) -> None:
    """Replace a table of a page, if the page has markers for it.

    Args:
        page: the file.
        name: name of the table.
        lines: its new lines.
        made_by: name of the script that writes it.
        of: name of the results; "": from the name of the table.
    """
    text, begin = page.read_text(), BEGIN.format(name=name)
    if f"{begin}," not in text:
        return
    start = text.index(f"{begin},")
    result = f"experiments/results/{of or name.removesuffix('_front')}.json"
    source = f"{begin}, by experiments/{made_by}.py from {result} -->"
    page.write_text(text[:start] + "\n".join([source, "", *lines]) + text[text.index(END, start) :])


def main() -> None:
    results = {}
    for name in (*HEADS, "search"):
        path = ROOT / "experiments" / "results" / f"{name}.json"
        facts = json.loads(path.read_text()) if path.exists() else {}
        if "summary" in facts:
            found = search(facts) if name == "search" else table(name, facts)
            results |= {} if name == "search" else {name: facts}
            write(SEARCH if name == "search" else PAGE, name, found)
    write(PAGE, "controls_strongest", strongest(results), of="controls*")
    write(PAGE, "controls_chosen", chosen_among(results["controls"]), of="controls")
    facts = json.loads((ROOT / "experiments" / "results" / "smallest.json").read_text())
    write(SEARCH, "smallest", smallest(facts))


if __name__ == "__main__":
    main()

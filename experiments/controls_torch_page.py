"""Write the tables of others' methods in docs/controls.md, from results of two scripts.

python experiments/controls_torch_page.py

The scripts are controls_torch.py and, for the rows of selection, controls.py. Their runs with the
same seed differ in the order of batches, so differences are not paired: intervals are Welch's.
"""

from __future__ import annotations

import json
from typing import Any

from controls_page import OURS, PAGE, ROOT, SHOWN, percent, write
from report import markdown
from scipy import stats

NAME = "controls_torch"
LABELS = {
    "L0 gates": "L0 gates (hard concrete)",
    "L0 gates, dropout": "L0 gates with input dropout",
    "group penalty": "group penalty, proximal",
    "Torch-Pruning, by magnitude": "Torch-Pruning's MagnitudePruner, 5 steps",
    "Torch-Pruning, group norm": "Torch-Pruning's GroupNormPruner",
    "HESSO": "HESSO of only-train-once",
    "fasterai": "fasterai's PruneCallback",
}
Facts = dict[str, Any]


def result(name: str) -> Facts:
    """Return the result of a script."""
    facts: Facts = json.loads((ROOT / "experiments" / "results" / f"{name}.json").read_text())
    return facts


def accuracies(facts: Facts, method: str) -> list[float]:
    """Return the test accuracies of a method, by seed."""
    return [row[method]["accuracy"] for row in facts["runs"] if method in row]


def gap(ours: list[float], others: list[float]) -> str:
    """Return the difference of two means, and half the width of its 95 % confidence interval."""
    if min(len(ours), len(others)) < 2:
        return "-"
    test = stats.ttest_ind(ours, others, equal_var=False)
    interval = test.confidence_interval()
    mean = sum(ours) / len(ours) - sum(others) / len(others)
    return percent(mean, (interval.high - interval.low) / 2, "+")


def row_of(found: Facts) -> list[str]:
    """Return the cells that all rows have: epochs, accuracy, size and costs."""
    return [
        f"{found['epochs']}",
        percent(found["accuracy"], found["deviation"]),
        f"{found['alive']:.0f}",
        f"{found['macs'] / 1000:.1f} k",
        f"{found['training_macs'] / 1e6:.1f} M",
        f"{found['seconds']:.0f}",
    ]


def compared(facts: Facts, selection: Facts) -> list[str]:
    """Return the table of test results, with its notes."""
    rows, named = [], {name: words for name, words in OURS.items() if name in selection["chosen"]}
    for name in named:
        setting = selection["chosen"][name]
        cells = row_of(selection["summary"][name])
        told = f"{setting['rate']:g}, {setting['decay']:g}"
        seeds = selection["summary"][name]["seeds"]
        rows.append([SHOWN[name], *cells, "-", "-", f"{seeds}", told])
    for name, found in facts["summary"].items():
        setting = facts["chosen"][name]
        gaps = [gap(accuracies(selection, ours), accuracies(facts, name)) for ours in named]
        told = ", ".join(f"{setting[key]:g}" for key in ("rate", "decay", "strength"))
        rows.append([LABELS[name], *row_of(found), *gaps, f"{found['seeds']}", told])
    head = ["MNIST, 784-512-256-10", "epochs", "accuracy, %", "alive", "multiply-adds"]
    head += ["to train", "seconds", *(f"{ours} minus this" for ours in named.values())]
    machine = facts["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    return [
        *markdown([*head, "seeds", "rate, decay, strength"], rows),
        f"<small>`python experiments/{NAME}.py`: {machine['cpu']}, "
        f"{machine['system']}; {libraries}; commit {facts['commit'][:10]}.</small>",
        "",
    ]


def front(facts: Facts) -> list[str]:
    """Return the table of validation results: for each strength, the best rate and decay."""
    rows = []
    for name in facts["summary"]:
        tuned = [row for row in facts["tuned"] if row["method"] == name]
        for strength in sorted({row["strength"] for row in tuned}):
            some = [row for row in tuned if row["strength"] == strength]
            best = max(some, key=lambda row: row["accuracy"])
            rows.append(
                [
                    LABELS[name],
                    f"{strength:g}",
                    f"{best['rate']:g}, {best['decay']:g}",
                    f"{100 * best['accuracy']:.2f}",
                    "+".join(map(str, best["alive"])),
                    f"{best['macs'] / 1000:.1f} k",
                    f"{len(some)}",
                ]
            )
    head = ["method", "strength", "rate, decay", "validation, %", "alive", "multiply-adds"]
    return [*markdown([*head, "settings tried"], rows), ""]


def main() -> None:
    facts = result(NAME)
    write(PAGE, NAME, compared(facts, result("controls")), f"{NAME}_page")
    write(PAGE, f"{NAME}_front", front(facts), f"{NAME}_page")


if __name__ == "__main__":
    main()

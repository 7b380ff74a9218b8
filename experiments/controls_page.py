"""Write the table of docs/controls.md from experiments/results/controls.json.

python experiments/controls_page.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from report import markdown  # noqa: E402

PAGE = ROOT / "docs" / "controls.md"
BEGIN, END = "<!-- table:", "<!-- end of table -->"
SHOWN = {
    "ours": "selection, which finds the shape",
    "gradual": "gradual pruning by norm, cubic schedule, told the shape",
    "one cut": "one cut by norm at half of the run, then tuned, told the shape",
    "replay": "as many removed at the same steps, at random",
    "from scratch": "the shape trained from scratch",
}


def main() -> None:
    facts = json.loads((ROOT / "experiments" / "results" / "controls.json").read_text())
    rows = []
    for name, label in SHOWN.items():
        found, setting = facts["summary"][name], facts["chosen"][name]
        gap = "-"
        if name != "ours":
            gap = f"{100 * found['ours_minus']:+.2f} ± {100 * found['standard_error']:.2f}"
        rows.append(
            [
                label,
                f"{100 * found['accuracy']:.2f} ± {100 * found['deviation']:.2f}",
                f"{found['alive']:.0f}",
                gap,
                f"{setting['rate']:g}, {setting['decay']:g}",
            ]
        )
    head = ["MNIST, 784-512-256-10, 20 epochs", "accuracy, %", "alive of 768"]
    head += ["selection minus control", "learning rate, decay"]
    seeds, machine = len(facts["runs"]), facts["machine"]
    lines = [
        f"{BEGIN} made by experiments/controls_page.py from experiments/results/controls.json -->",
        "",
        *markdown(head, rows),
        f"Mean and standard deviation over {seeds} seeds, last epoch; differences are paired by "
        "seed, with their standard error. Learning rate and weight decay of every row were chosen "
        "from the same six settings by accuracy on 5,000 held-out training images, one seed. Every "
        "control has the shape that selection found with the same seed.",
        "",
        f"<small>`python experiments/controls.py`: {machine['cpu']}, {machine['system']}; core "
        f"{facts['core']}, commit {facts['commit'][:10]}.</small>",
        "",
    ]
    text = PAGE.read_text()
    start, end = text.index(BEGIN), text.index(END)
    PAGE.write_text(text[:start] + "\n".join(lines) + text[end:])


if __name__ == "__main__":
    main()

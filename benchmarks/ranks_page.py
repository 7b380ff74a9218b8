"""Write docs/figures/ranks.md, the tables of docs/howto/mpi.md, from benchmarks/results/ranks.json.

    python benchmarks/ranks_page.py

The first table is measured. The second is a model for more processes, which uses the computing
times of the first.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from report import Facts, markdown, origin

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "figures" / "ranks.md"
NAMES = {"mlp": "784-512-256-10", "lenet5": "LeNet-5"}
WHEN = {"first": "first 50 steps", "last": "after selection"}
MANY = 64  # number of processes in the model
LINKS = {  # latency in ms, bytes per ms
    "10 Gbit/s Ethernet": (0.03, 1.2e6),
    "100 Gbit/s InfiniBand": (0.002, 12e6),
}


def step_time(one: float, rest: float, size: float, link: tuple[float, float], ranks: int) -> float:
    """Return the milliseconds of a step of `ranks` processes, by the formula in docs/howto/mpi.md.

    Args:
        one: milliseconds of a step of one process.
        rest: milliseconds of the part of a step that every process repeats.
        size: bytes of a reduction.
        link: latency in ms, and bytes per ms.
        ranks: number of processes.
    """
    latency, bandwidth = link
    reduction = 2 * math.log2(ranks) * latency + 2 * (ranks - 1) / ranks * size / bandwidth
    return one / ranks + rest + reduction


def cases(facts: Facts) -> dict[str, dict[int, Facts]]:
    """Return the rows by network and number of processes."""
    found: dict[str, dict[int, Facts]] = {}
    for row in facts["rows"]:
        found.setdefault(row["case"].partition(",")[0], {})[row["ranks"]] = row
    return found


def measured(facts: Facts) -> list[str]:
    """Return the table of what was measured."""
    rows = []
    for name, by_ranks in cases(facts).items():
        most = max(by_ranks)
        for when, label in WHEN.items():
            one, all_ = by_ranks[1][when], by_ranks[most][when]
            rows.append(
                [
                    f"{NAMES[name]}, {label}",
                    str(by_ranks[1]["batch"]),
                    f"{one['ms']:.3g}",
                    f"{all_['ms']:.3g}",
                    f"{by_ranks[most]['speed_up'][when]:.2f}",
                    f"{all_['adding_ms']:.2g}",
                    f"{all_['bytes'] / 1000:,.0f}",
                ]
            )
    head = ["network", "batch", "1 process, ms", f"{most} processes, ms", "speed-up"]
    return markdown([*head, "of it adding up, ms", "kB per step"], rows)


def modeled(facts: Facts) -> list[str]:
    """Return the modeled table, for MANY processes and a batch MANY / 4 times as large."""
    rows = []
    for name, by_ranks in cases(facts).items():
        one, two = by_ranks[1], by_ranks[2]
        for when, label in WHEN.items():
            rest = max(0.0, two[when]["ms"] - two[when]["adding_ms"] - one[when]["ms"] / 2)
            alone = MANY / 4 * one[when]["ms"]
            cells = [f"{NAMES[name]}, {label}", f"{MANY // 4 * one['batch']:,}", f"{alone:.3g}"]
            for link in LINKS.values():
                time = step_time(alone, rest, two[when]["bytes"], link, MANY)
                cells += [f"{time:.2g}", f"{alone / time:.0f}"]
            rows.append(cells)
    head = ["network", "batch", "1 process, ms"]
    for name in LINKS:
        head += [f"{MANY} processes, {name}, ms", "speed-up"]
    return markdown(head, rows)


def page(facts: Facts) -> tuple[str, str]:
    """Return both parts of the page: measured, modeled."""
    last = f"<small>`python benchmarks/bench_ranks.py`: {origin(facts)}.</small>"
    return "\n".join([*measured(facts), last, ""]), "\n".join(modeled(facts))


def main() -> None:
    facts = json.loads((ROOT / "benchmarks" / "results" / "ranks.json").read_text())
    for path, text in zip((PAGE, PAGE.with_name("ranks_model.md")), page(facts), strict=True):
        path.write_text(text)


if __name__ == "__main__":
    main()

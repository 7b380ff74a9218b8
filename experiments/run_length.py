"""How many populations remain after runs of different lengths, batches, rates and schedules.

The rule for the lifespan (evoprune/selection/timing.py) was chosen with this script, on validation
images from MNIST's training set, with 14 x 14 pixels, a perceptron 196-128-64-10 and one thread.
The script writes the tables of docs/run_length.md, and evoprune/selection/expected.json, from which
`Trainer.plan` takes the expected share of living populations.

    python experiments/run_length.py            # everything, about 15 minutes of one core
    python experiments/run_length.py --page     # only the tables, from existing results
    python experiments/run_length.py --quick    # few steps, printed only
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import warnings
from functools import cache
from pathlib import Path

os.environ["EVOPRUNE_NUM_THREADS"] = "1"

import numpy as np

import evoprune as ep
from evoprune import schedules

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import common

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "run_length.json"
PAGE = HERE.parent / "docs" / "figures" / "run_length.md"
EXPECTED = HERE.parent / "evoprune" / "selection" / "expected.json"
HELD, BORN = 5000, 128 + 64
LENGTHS = (200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
SHORT = (200, 1000, 5000)
PRESSURES = (0.5, 1.0, 1.5, 2.5, 5.0)
LIVES = (1.0, 1.25, 1.5, 2.0, 3.0, 7.0)
SCHEDULES = {
    "cosine": schedules.cosine,
    "constant": schedules.constant,
    "warm-up": lambda rate: schedules.warmup(rate, 0.1),
    "one cycle": schedules.one_cycle,
}


@cache
def images():
    """Return training and validation images of 14 x 14 pixels."""
    train, _ = ep.datasets.mnist()
    x = train.x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(train), -1)
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    held, rest = order[:HELD], order[HELD:]
    return (x[rest], train.y[rest]), (x[held], train.y[held])


def make(
    *,
    seed,
    length,
    batch=128,
    optimizer="AdamW",
    rate=1e-3,
    schedule="cosine",
    pressure=1.5,
    rule="default",
):
    """Return a trainer, and the keyword arguments of its `fit`.

    `rule` sets the lifespan: "default"; "700" for 700 generations; "/ k" or "lives k", which mean
    the same, for 1 / k of the run's generations. With "dense", the run has no selection.
    """
    learn, held = images()
    rates = SCHEDULES[schedule](rate)
    generations = float(ep.Selection().strengths(length, rates(length)).sum())
    law = ep.Malthusian()
    if rule == "700":
        law = ep.Malthusian(lifespan=700)
    elif rule not in ("default", "dense"):
        law = ep.Malthusian(lifespan=max(1.0, generations / float(rule.split()[1])))
    adam = optimizer == "AdamW"
    trainer = ep.Trainer(
        ep.mlp(196, 128, 64, 10, seed=seed),
        optimizer=ep.AdamW(rates) if adam else ep.SGD(rates, weight_decay=1e-4),
        selection=None if rule == "dense" else ep.Selection(pressure, dynamics=law),
    )
    return trainer, {
        "data": learn,
        "epochs": 1,
        "steps": length,
        "batch_size": batch,
        "validation_data": held,
    }


def runs():
    """Yield the name of each table with the settings of its runs."""
    yield "length", [{"length": n} for n in LENGTHS]
    yield "length", [{"length": n, "rule": "dense"} for n in LENGTHS]
    yield "length", [{"length": n, "rule": rule} for rule in ("700", "/ 6") for n in LENGTHS]
    yield "lives", [{"length": n, "rule": f"/ {k}"} for k in (3, 5, 7, 10) for n in (1000, 10000)]
    yield "batch", [{"length": n, "batch": b} for b in (16, 64, 256, 1024) for n in SHORT]
    yield "rate", [{"length": n, "rate": r} for r in (1e-4, 3e-4, 3e-3, 1e-2) for n in LENGTHS[:6]]
    sgd = {"optimizer": "SGD"}
    yield "rate", [{**sgd, "length": n, "rate": r} for r in (1e-3, 1e-2) for n in LENGTHS[:6]]
    yield "schedule", [{"length": n, "schedule": s} for s in list(SCHEDULES)[1:] for n in SHORT]
    yield (
        "pressure",
        [{"length": 1000, "pressure": p, "rule": f"lives {n:g}"} for p in PRESSURES for n in LIVES],
    )


def measured(seeds, quick, folder):
    """Make the runs; return rows with means and deviations over the seeds."""
    rows = []
    for table, settings in runs():
        if quick:
            settings = [s for s in settings if s["length"] <= 1000][:2]
        found = ep.sweep(make, settings, seeds, folder=None if quick else folder)
        found = found.to_dict("records") if hasattr(found, "to_dict") else found
        for at, given in enumerate(settings):
            same = found[at * seeds : (at + 1) * seeds]
            alive = [row["alive"] / BORN for row in same]
            accuracy = [100 * row["validation_accuracy"] for row in same]
            row = {"table": table, **given, "alive": statistics.mean(alive)}
            row |= {"alive_low": min(alive), "alive_high": max(alive)}
            row |= {"accuracy": statistics.mean(accuracy)}
            row |= {"accuracy_deviation": statistics.stdev(accuracy) if seeds > 1 else 0.0}
            rows.append(row)
            print(row, flush=True)
    return rows


# ---- tables --------------------------------------------------------------------------------------


def cell(row):
    """Return a table cell with the share alive and the accuracy, both in percent."""
    return f"{100 * row['alive']:.0f} % ({row['accuracy']:.1f})"


def table(rows, across, down, title):
    """Return a Markdown table: a column per value of `across`, a row per value of `down`.

    The last column is the largest share alive of a row divided by the smallest.
    """
    columns = sorted({row[across] for row in rows})
    lines = [f"| {title} | " + " | ".join(f"{c:,}" for c in columns) + " | largest / smallest |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for value in dict.fromkeys(row[down] for row in rows):
        mine = {row[across]: row for row in rows if row[down] == value}
        living = [row["alive"] for row in mine.values() if row["alive"] < 1]
        factor = f"{max(living) / min(living):.2f}" if living else ""
        cells = [cell(mine[c]) if c in mine else "" for c in columns]
        lines.append(f"| {value} | " + " | ".join(cells) + f" | {factor} |")
    return "\n".join(lines)


def factors(rows):
    """Return a table of the smallest and the largest share alive in several sets of runs.

    A row names the settings that differ between the runs of a set.
    """
    usual = [r for r in rows if r["table"] != "pressure" and r.get("rule", "default") == "default"]
    usual = [r for r in usual if r["alive"] < 1]
    adam = [r for r in usual if r.get("optimizer", "AdamW") == "AdamW"]
    some = {
        "run lengths and batches": [r for r in adam if r["table"] in ("length", "batch")],
        "run lengths and schedules": [r for r in adam if r["table"] in ("length", "schedule")],
        "run lengths and rates of AdamW": [r for r in adam if r["table"] in ("length", "rate")],
        "run lengths and rates of SGD": [r for r in usual if r not in adam],
        "everything": usual,
    }
    lines = ["| across | runs | smallest | largest | largest / smallest |", "|---|---|---|---|---|"]
    for name, those in some.items():
        alive = [r["alive"] for r in those]
        low, high = min(alive), max(alive)
        lines.append(
            f"| {name} | {len(those)} | {100 * low:.1f} % | {100 * high:.1f} % | {high / low:.2f} |"
        )
    return "\n".join(lines)


def page(rows, facts):
    """Return the tables of docs/run_length.md."""
    full = [{"rule": "default", "batch": 128, "rate": 1e-3, "schedule": "cosine"} | r for r in rows]
    usual = [r for r in full if r["table"] == "length" and r["rule"] == "default"]
    short = [r for r in usual if r["length"] in SHORT]
    named = {"default": "the default", "dense": "no selection", "700": "700", "/ 6": "run / 6"}
    lengths = [r | {"rule": named[r["rule"]]} for r in full if r["table"] == "length"]
    lives = [r for r in full if r["table"] == "lives"]
    rates = [r for r in full if r["table"] == "rate"] + [r for r in usual if r["length"] <= 10000]
    rates = [r | {"of": f"{r.get('optimizer', 'AdamW')}, {r['rate']:g}"} for r in rates]
    batches = sorted([r for r in full if r["table"] == "batch"] + short, key=lambda r: r["batch"])
    times = [r for r in full if r["table"] == "schedule"] + short
    grid = [r | {"lives": float(r["rule"].split()[1])} for r in full if r["table"] == "pressure"]
    parts = [
        f"Share of the founders alive, and accuracy in percent in brackets, at pressure 1.5 on "
        f"{HELD:,} held-out images; means of {facts['seeds']} seeds. The last column leaves out "
        f"runs that are too short. {facts['spread']}. {facts['processor']}, one thread.",
        "Shares by the default lifespan, over several settings at once:",
        factors(rows),
        "Steps, batch 128, AdamW at 1e-3 along a cosine:",
        table(lengths, "length", "rule", "lifespan"),
        "Lifespans that are a plain share of the run:",
        table(lives, "length", "rule", "generations"),
        "Batches:",
        table(batches, "length", "batch", "batch"),
        "Optimizers and learning rates:",
        table(rates, "length", "of", "optimizer, rate"),
        "Schedules:",
        table(times, "length", "schedule", "schedule"),
        "Pressures, in runs of 1,000 steps that are this number of lifespans long:",
        table(grid, "lives", "pressure", "pressure"),
    ]
    return "\n\n".join(parts) + "\n"


def expected(rows):
    """Return the content of evoprune/selection/expected.json.

    "alive" is a table of the share of founders alive, by pressure and by number of lifespans in a
    run. "spread" is the largest share alive divided by the smallest, among the runs that are not in
    this table and have pressure 1.5 and the default lifespan.
    """
    grid = {
        (r["pressure"], float(r["rule"].split()[1])): r for r in rows if r["table"] == "pressure"
    }
    spread = [r for r in rows if r.get("pressure", 1.5) == 1.5 and r["table"] != "pressure"]
    spread = [
        r["alive"] for r in spread if r.get("rule", "default") == "default" and r["alive"] < 1
    ]
    return {
        "about": "Share of founders alive; made by experiments/run_length.py.",
        "pressure": PRESSURES,
        "lives": LIVES,
        "alive": [[round(grid[p, n]["alive"], 4) for n in LIVES] for p in PRESSURES],
        "spread": round(max(spread) / min(spread), 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few steps, printed only")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=HERE / "results" / "run_length")
    parser.add_argument("--page", action="store_true", help="only the tables")
    args = parser.parse_args()
    if args.page:
        known = json.loads(RESULTS.read_text())
        PAGE.write_text(page(known["rows"], known["facts"]))
        return
    warnings.simplefilter("ignore", ep.NothingCanDie)
    rows = measured(1 if args.quick else args.seeds, args.quick, args.folder)
    if args.quick:
        return
    wide = max(r["alive_high"] / r["alive_low"] for r in rows if r["alive"] < 1)
    deviation = statistics.median(r["accuracy_deviation"] for r in rows)
    facts = {
        "seeds": args.seeds,
        "processor": platform.machine(),
        "spread": f"Between seeds the living differ by a factor of {wide:.2f} at most, and the "
        f"accuracy has a deviation of {deviation:.2f} (median)",
    }
    RESULTS.write_text(common.as_json({"facts": facts, "rows": rows}))
    PAGE.write_text(page(rows, facts))
    EXPECTED.write_text(json.dumps(expected(rows), indent=1) + "\n")


if __name__ == "__main__":
    main()

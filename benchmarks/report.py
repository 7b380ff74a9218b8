"""Words and tables shared by README.md, docs/benchmarks.md and docs/paper.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Facts = dict[str, Any]


def markdown(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Return a table and an empty line; the first column is aligned left, the others right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return [f"| {' | '.join(cells)} |" for cells in escaped] + [""]


def shape(widths: list[int]) -> str:
    """Return widths as a text: 784-512-256-10."""
    return "-".join(map(str, widths))


def origin(facts: Facts) -> str:
    """Return a line with the machine, date and sources of a measurement."""
    machine = facts["machine"]
    commit = (facts["commit"] or "unknown")[:10] + (" with changes" if facts["changed"] else "")
    peers = ", ".join(f"{name} {version}" for name, version in facts.get("peers", {}).items())
    mode = "a quick look, no result; " if facts["quick"] else ""
    return (
        f"{mode}{machine['cpu']}, {machine['processors']} processors, {machine['system']}; "
        f"core {facts['core']}, commit {commit}, {facts['date'][:10]}"
        + (f"; {peers}" * bool(peers))
    )


def milliseconds(row: Facts, name: str, unit: float = 1.0) -> str:
    """Return the median of a contestant in units of 1 / unit ms, or a dash."""
    if name not in row["ms"]:
        return "-"
    value = unit * row["ms"][name]["median"]
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def against(row: Facts, name: str, *, inverse: bool = False) -> str:
    """Return a contestant's time / our time; inverse: our time / its time."""
    if name not in row["times_ours"]:
        return "-"
    value = row["times_ours"][name]
    return f"{1 / value if inverse else value:.2f} x"


def best(row: Facts, library: str) -> str:
    """Return the fastest variant of a library among the contestants of a row."""
    names = [n for n in row["ms"] if n.split(",")[0] == library and n != f"{library}, given batch"]
    return min(names, key=lambda n: row["ms"][n]["median"], default=library)


def megabytes(size: float) -> str:
    """Return bytes in units of 2^20."""
    return f"{size / 2**20:.3g}" if size < 100 * 2**20 else f"{size / 2**20:.0f}"

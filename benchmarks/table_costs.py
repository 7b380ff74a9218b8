"""The table of bench_costs.py's result: what recording, looking on, importing and drawing cost."""

from __future__ import annotations

from typing import Any

__all__ = ["costs_table"]


def costs_table(facts: dict[str, Any]) -> list[str]:
    """Two tables: shares of a run; milliseconds of an import or a picture."""
    from table import markdown  # which imports this file

    asked = facts["asked"]
    shares, times = [], []
    for row in facts["rows"]:
        part = row["part"]
        if part in ("recording", "live"):
            cells = [f"{100 * row[name]:.1f} %" for name in ("cost", "inside")]
            shares.append([_what(row), *cells, f"< {100 * asked[part]:g} %"])
        else:
            name = f"`import {row['module']}`" if part == "import" else f"`plot.{row['function']}`"
            limit = f"< {asked[part]:.0f}" if row.get("module", "evoprune") == "evoprune" else ""
            times.append([name, f"{row['ms']['median']:.0f}", limit])
    lines = []
    for head, cells in (
        (["of a run", "costs", "inside of it", "asked"], shares),
        (["", "ms", "asked"], times),
    ):
        if cells:
            lines += [*markdown(head, cells), ""]
    return lines


def _what(row: dict[str, Any]) -> str:
    of = f"{row['epochs']} epochs, {row['threads']} threads"
    if row["part"] == "recording":
        return f"{row['records']} records, {of}"
    return f"live view, {row['drawings']:.1f} drawings, {of}"

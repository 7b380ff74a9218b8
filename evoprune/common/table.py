"""Format rows of text as a plain-text table or as an HTML table."""

from __future__ import annotations

import html
from collections.abc import Sequence

__all__ = ["as_html", "as_text", "number", "share"]


def number(value: float | None) -> str:
    """Return a number with thousands separators; "" for None."""
    return "" if value is None else f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """Return a part's share of the whole, as "16.7 %"; "" if the whole is 0."""
    return f"{100 * part / whole:.3g} %" if whole > 0 else ""


def as_text(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    texts: int = 2,
) -> str:
    """Return a table with the first `texts` columns left-aligned, the others right-aligned."""
    lines = [list(head), *map(list, rows), *([list(total)] if total else [])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def fit(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    text = [fit(head), rule, *map(fit, rows)]
    return "\n".join([*text, rule, fit(total)] if total else text)


def as_html(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    note: str = "",
) -> str:
    """Return the table as HTML with all text escaped, without scripts and style sheets."""

    def row(tag: str, cells: Sequence[str], bold: bool = False) -> str:
        style = [f"text-align:{'left' if i < 2 else 'right'}" for i in range(len(cells))]
        weight = ";font-weight:bold" if bold else ""
        return "<tr>{}</tr>".format(
            "".join(
                f'<{tag} style="{s}{weight}">{html.escape(cell)}</{tag}>'
                for s, cell in zip(style, cells, strict=True)
            )
        )

    body = "".join(row("td", cells) for cells in rows) + (row("td", total, True) if total else "")
    below = f"<div>{html.escape(note)}</div>" if note else ""
    return (
        f'<table><caption style="text-align:left">{html.escape(caption)}</caption>'
        f"<thead>{row('th', head)}</thead><tbody>{body}</tbody></table>{below}"
    )

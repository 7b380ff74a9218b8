"""How a history is shown: one line of text, or an HTML table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evoprune.common import table

if TYPE_CHECKING:
    from evoprune.records.history import History

__all__ = ["as_html", "facts"]


def facts(history: History) -> str:
    """Return the history in one line of text."""
    if not history.epochs_done:
        return "History: no epoch yet"
    parts = [f"{history['epoch'][-1]:g} epochs", f"{history.steps_done:,} steps"]
    if "loss" in history:
        parts.append(f"loss {history['loss'][-1]:.4f}")
    for name, text in (
        ("validation_accuracy", "validation accuracy"),
        ("accuracy", "accuracy"),
    ):
        if name in history and not np.isnan(history[name][-1]):
            parts.append(f"{text} {history[name][-1]:.2%}")
            break
    if history.layers and "alive" in history:
        parts.append(f"{history['alive'][-1]:,.0f} of {sum(history.ever_born):,} alive")
    if history.interrupted:
        parts.append("interrupted")
    return f"History: {', '.join(parts)}"


def as_html(history: History) -> str:
    """Return the history as an HTML table of epochs; the middle of a long table is omitted."""
    names = ["epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "alive"]
    shown = [n for n in (*names, "upkeep", "ms_per_step") if n in history]
    rows = [
        [
            f"{v:.0f}" if n in ("epoch", "alive") else f"{v:.4g}"
            for n, v in zip(shown, r, strict=True)
        ]
        for r in zip(*(history[n] for n in shown), strict=True)
    ]
    if len(rows) > 20:
        rows = [*rows[:10], ["…"] * len(shown), *rows[-9:]]
    return table.as_html(facts(history), [n.replace("_", " ") for n in shown], rows)

"""Colors of plots and of the live view: also distinct for people with a color vision deficiency."""

from __future__ import annotations

__all__ = ["COLORS"]

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")

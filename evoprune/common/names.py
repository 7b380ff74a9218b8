"""Names of layers of populations."""

from __future__ import annotations

__all__ = ["stem"]


def stem(layer: str) -> str:
    """Return a layer's name without its number, to group layers in tables and plots.

    "neurons2" gives "neurons". This is only a label and does not affect any computation.
    """
    return layer.rstrip("0123456789")

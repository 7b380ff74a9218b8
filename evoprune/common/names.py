"""Names of layers of populations."""

from __future__ import annotations

__all__ = ["stem"]


def stem(layer: str) -> str:
    """Return a layer's name without its number, by which tables and colors group layers.

    "neurons2" gives "neurons". This is a label only: nothing is computed from it.
    """
    return layer.rstrip("0123456789")

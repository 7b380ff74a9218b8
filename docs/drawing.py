"""Store a figure for light and dark pages: one SVG with a style sheet, or two PNGs.

A figure of lines and text is drawn on both backgrounds, and its colors become CSS variables that
follow the reader's color scheme. A figure that has images, or would be a large SVG, is stored as
two PNGs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from PIL import Image

import evoprune as ep

MOST = 150_000  # bytes of an SVG; a larger figure is stored as PNGs
INK = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
PAINT = re.compile(r"(#[0-9a-f]{6}\b|opacity: [0-9.]+)")


def save(path: Path, draw: Callable[[], Any], width: int = 1000) -> list[Path]:
    """Draw a figure on both backgrounds and store it; return the files.

    Args:
        path: path without an extension; `-light` and `-dark` are added to the names of PNGs.
        draw: draws the figure and returns its Axes.
        width: width of a PNG in pixels.
    """
    light, dark = (_drawn(draw, ground, "svg", width) for ground in (False, True))
    merged = merge(light.decode(), dark.decode())
    names = (path.with_suffix(".svg"), *(Path(f"{path}-{g}.png") for g in ("light", "dark")))
    for stale in names:
        stale.unlink(missing_ok=True)
    if merged is not None and len(merged) <= MOST:
        names[0].write_text(merged, encoding="utf-8")
        made = [names[0]]
    else:
        for name, ground in zip(names[1:], (False, True), strict=True):
            _store(name, _drawn(draw, ground, "png", width))
        made = list(names[1:])
    for name in made:
        print(f"{name.name}: {name.stat().st_size // 1000} kB")
    return made


def _drawn(draw: Callable[[], Any], dark: bool, kind: str, width: int) -> bytes:
    settings: dict[str, Any] = {"svg.hashsalt": "evoprune"}
    if not dark:  # matplotlib omits the color if it is black
        settings |= dict.fromkeys(INK, "#010101")
    with ep.plot.style(dark), matplotlib.rc_context(settings):
        figure = np.ravel(draw())[0].figure
        content = io.BytesIO()
        none = {"Date": None, "Creator": None} if kind == "svg" else {}
        dpi = width / figure.get_size_inches()[0]
        figure.savefig(content, format=kind, dpi=dpi, metadata=none)
        pyplot.close(figure)
    return content.getvalue()


def merge(light: str, dark: str) -> str | None:
    """Merge two SVGs that differ only in colors into one that follows the color scheme.

    Returns: The SVG; None if it has images, or if they differ in more than colors.
    """
    one, other = PAINT.split(_unnamed(light)), PAINT.split(_unnamed(dark))
    if "<image" in light or one[::2] != other[::2]:
        return None
    names: dict[tuple[str, str], str] = {}
    for i in range(1, len(one), 2):
        pair = one[i], other[i]
        if pair[0] == pair[1]:
            continue
        name = names.setdefault(pair, f"--p{len(names)}")
        prefix, _, _ = one[i].rpartition(" ")
        one[i] = f"{prefix} var({name})".strip()
    values = [
        "".join(f"{name}:{pair[i].rpartition(' ')[2]};" for pair, name in names.items())
        for i in (0, 1)
    ]
    style = f"svg{{{values[0]}}}@media(prefers-color-scheme:dark){{svg{{{values[1]}}}}}"
    return "".join(one).replace("</style>", f"{style}</style>", 1)


def _unnamed(svg: str) -> str:
    """Number the ids of markers and clips; matplotlib's ids are hashes that depend on colors."""
    names: dict[str, str] = {}
    return re.sub(r"\b[mp][0-9a-f]{10}\b", lambda m: names.setdefault(m[0], f"id{len(names)}"), svg)


def _store(path: Path, content: bytes) -> None:
    """Write a PNG with a palette."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    most = Image.Quantize.MAXCOVERAGE  # keeps rare colors, such as that of the text
    image.quantize(160, method=most, dither=Image.Dither.NONE).save(path, optimize=True)

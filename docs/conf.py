"""Settings of Sphinx: pages in Markdown, the API from docstrings; warnings are errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import evoprune

project = "evoprune"
author = "evoprune contributors"
copyright = "evoprune contributors"
release = evoprune.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "figures/*.md"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"evoprune {release}"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state types where needed
autodoc_default_options = {"members": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

SECTION = re.compile(r"\w[\w ]*:$")


def lines_of_docstring(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Protect docstrings, which are plain text: escape markup, and mark indented blocks as code."""
    out: list[str] = []
    section = code = False
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            section, code = bool(SECTION.match(line)), False
        if indented and not section and not code and (not out or not out[-1].strip()):
            out += [".. code-block:: python", ""]
            code = True
        if not code:
            line = re.sub(r"`([^`]+)`", r"``\1``", line)
            line = "".join(
                part if part.startswith("``") else re.sub(r"([|*])", r"\\\1", part)
                for part in re.split(r"(``[^`]+``)", line)
            )
            line = re.sub(r"(\w)_(?=\W|$)", r"\1\\_", line)
        out.append(line)
    lines[:] = out


class Kinds(SphinxDirective):
    """`.. kinds:: Layer` documents the classes of the catalogue that derive from `Layer`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the documentation of the classes."""
        group = getattr(evoprune, self.arguments[0])
        lines = [
            line
            for made in group.__subclasses__()
            for line in (f".. autoclass:: evoprune.{made.__name__}", "")
        ]
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(lines, "kinds"), 0, node)
        return list(node.children)


class Picture(SphinxDirective):
    """`{picture} NAME` shows figures/NAME.svg, or NAME-light.png or -dark.png; see drawing.py.

    The content is the alternative text.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return one image, or one for each color scheme."""
        name = self.arguments[0]
        if (Path(self.env.srcdir) / "figures" / f"{name}.svg").exists():
            files = {f"{name}.svg": []}
        else:
            files = {f"{name}-{ground}.png": [f"only-{ground}"] for ground in ("light", "dark")}
        alt = " ".join(self.content)
        return [
            nodes.image(uri=f"/figures/{file}", alt=alt, classes=classes)
            for file, classes in files.items()
        ]


def setup(app: Any) -> None:
    """Add the directives; protect docstrings before napoleon reads them."""
    app.add_directive("kinds", Kinds)
    app.add_directive("picture", Picture)
    app.connect("autodoc-process-docstring", lines_of_docstring, priority=400)

"""The README and the pages are right: their code runs, their links and pictures exist.

The ```python blocks of a page are run in one namespace, on a thousand samples and for a few
epochs; blocks that cannot run are marked {code-block} python.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

import evoprune as ep

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)


@pytest.fixture
def little(monkeypatch, tmp_path):
    """Make MNIST small and runs short, so that a page takes a second or two."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    whole, fit = ep.datasets.mnist, ep.Trainer.fit
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        ep.datasets, "mnist", lambda: tuple(part.subset(slice(1000)) for part in whole())
    )
    monkeypatch.setattr(
        ep.Trainer,
        "fit",
        lambda self, *data, epochs=20, **more: fit(self, *data, epochs=min(epochs, 5), **more),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ep.NothingCanDie)
        yield
    pyplot.close("all")


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=name_of)
def test_the_code_of_a_page_runs(page, little, capsys):
    if "import torch" in page.read_text():
        pytest.importorskip("torch")
    space = {"__name__": "page"}
    for at, block in enumerate(blocks(page)):
        exec(compile(block, f"{name_of(page)}, block {at + 1}", "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    targets += re.findall(r"\{(?:image|include)\} (\S+)", text)
    targets += re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for target in targets:
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{name_of(page)} points to {target}"
    for name in re.findall(r"\{picture\} (\S+)", text):
        files = [DOCS / "figures" / f"{name}{end}" for end in (".svg", "-light.png", "-dark.png")]
        assert [f.exists() for f in files] in ([True, False, False], [False, True, True]), name


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api.md").read_text()
    named = set(re.findall(r"auto(?:function|class|exception):: ([\w.]+)", text))
    named = {name.rpartition(".")[2] for name in named}
    for group in re.findall(r"kinds:: (\w+)", text):  # see Kinds in docs/conf.py
        named |= {made.__name__ for made in getattr(ep, group).__subclasses__()}
    modules = {"datasets", "export", "plot", "schedules", "__version__"}
    missing = [n for n in ep.__all__ if n not in modules and n not in named]
    missing += [n for n in ep.plot.__all__ if n != "COLORS" and n not in named]
    assert not missing, f"docs/api.md does not name {', '.join(missing)}"


def test_every_public_name_has_a_docstring():
    for module in (ep, ep.plot, ep.datasets, ep.schedules):
        for name in module.__all__:
            if not name.startswith("__") and name != "COLORS":
                thing = getattr(module, name)
                assert (thing.__doc__ or "").strip(), f"{module.__name__}.{name}"
                if isinstance(thing, type):
                    for member, value in vars(thing).items():
                        if callable(value) and not member.startswith("_"):
                            assert value.__doc__, f"{module.__name__}.{name}.{member}"


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    pytest.importorskip("furo")
    pytest.importorskip("sphinx_copybutton")
    import subprocess
    import sys

    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dummy"]
    done = subprocess.run(
        [*command, "-d", tmp_path / "trees", DOCS, tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_tables_of_several_processes_are_those_of_the_measurement(monkeypatch):
    if not (ROOT / "benchmarks").exists():
        pytest.skip("an archive of the sources has no benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import json

    import ranks_page

    facts = json.loads((ROOT / "benchmarks" / "results" / "ranks.json").read_text())
    for name, text in zip(("ranks", "ranks_model"), ranks_page.page(facts), strict=True):
        assert (DOCS / "figures" / f"{name}.md").read_text() == text
    # By hand: 16 * 13.824 / 64 + 0.64949 + 12 * 0.03 + 2 * 63 / 64 * 1709464 / 1.2e6 ms
    time = ranks_page.step_time(16 * 13.824, 0.64949, 1709464, (0.03, 1.2e6), 64)
    assert time == pytest.approx(7.2701, abs=1e-4)

"""The diffs in CONTRIBUTING.md are applied to a copy of the sources, built, and run.

The diffs that add a layer and a law are applied to one copy, which is built for the base processor
in both precisions. The tests of all catalogue entries then run on the new entries: first while no
exporter has a rule for the layer, then with the rules of the third diff.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DIFFS = dict(
    zip(
        ("layer", "exporters", "dynamics"),
        re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S),
        strict=True,
    )
)
COPIED = (
    "csrc",
    "evoprune",
    "tests",
    "tools",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
ROWS = {"layer": "layer", "exporters": "exporting it", "dynamics": "dynamics"}
# For pytest -k: names of tests that check whole tables of the catalogue.
COMPLETE = "every_kind or every_law or nothing_is_tested or fresh"
EXPORTS = ["export_c", "export_onnx", "to_torch"]
SUITES = {  # per diff: the new entry, the suites that test it, and the minimal number of tests
    "layer": ("scale", ["layers", "catalogue", "spec", "stubs", *EXPORTS], 40),
    "exporters": ("scale", EXPORTS, 8),
    "dynamics": ("gompertz", ["dynamics", "catalogue", "spec", "stubs", "finite"], 40),
}


def run(command: list, where: Path, **environment: str) -> str:
    """Run a command that must succeed; return its output."""
    done = subprocess.run(
        command,
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def copy_to(folder: Path) -> Path:
    """Copy the sources, without built files."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.so", "*.o", "__pycache__", "*.gz", "golden")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.mark.parametrize("name", DIFFS)
def test_a_diff_touches_the_files_that_the_docs_name(name):
    """The files are those in the table "How to add" of docs/architecture.md, and no others."""
    touched = re.findall(r"^\+\+\+ b/(\S+)", DIFFS[name], re.M)
    page = (ROOT / "docs" / "architecture.md").read_text()
    row = re.search(rf"^\| {ROWS[name]} \|.*$", page, re.M)[0]
    assert sorted(touched) == sorted(re.findall(r"`([\w./]+/[\w./]+)`", row))


def test_a_layer_touches_three_places_and_its_tests():
    touched = re.findall(r"^\+\+\+ b/(\S+)", DIFFS["layer"], re.M)
    own = [path for path in touched if not path.startswith("tests/")]
    assert len(own) == 3
    assert len(touched) == 4


def apply(name: str, folder: Path) -> None:
    (folder / f"{name}.diff").write_text(DIFFS[name])
    run(["git", "apply", "-C1", f"{name}.diff"], folder)


@pytest.mark.parametrize("name", DIFFS)
def test_a_diff_applies(name, tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = copy_to(tmp_path)
    (folder / "it.diff").write_text(DIFFS[name])
    run(["git", "apply", "--check", "-C1", "it.diff"], folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a copy of the sources with the new layer and law of the diffs; return the folder."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    pytest.importorskip("ruff")  # needed to format the stubs
    folder = copy_to(tmp_path_factory.mktemp("worked"))
    for name in ("layer", "dynamics"):
        apply(name, folder)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    run(command, folder, EVOPRUNE_VARIANTS="32_base,64_base")
    run([sys.executable, "tools/make_stubs.py"], folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFS)
def test_the_suites_pass_on_a_new_entry(name, built):
    kind, suites, least = SUITES[name]
    if name == "exporters":
        apply(name, built)
    files = [f"tests/test_{suite}.py" for suite in suites]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    text = run([*command, "-k", f"{kind} or {COMPLETE}"], built)
    passed = int(re.search(r"(\d+) passed", text)[1])
    assert passed > least, text

"""The distributed package: its description, its files, and errors of builds that cannot work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCES = shutil.ignore_patterns(
    ".git*", ".venv", ".peers", "build", "dist", "wheelhouse", "*.so", "__pycache__", "run",
    "*.egg-info", "_build", ".*_cache", ".hypothesis",
)  # fmt: skip
LINK = r'\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"|^\[[^\]]+\]:\s*(\S+)'


def setup_py():
    """Return setup.py as a module; importing it builds nothing."""
    pytest.importorskip("setuptools")
    spec = spec_from_file_location("setup_of_evoprune", ROOT / "setup.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build wheel and source archive from a copy of the sources, without the core to save time."""
    pytest.importorskip("setuptools")
    copy = tmp_path_factory.mktemp("sources") / "evoprune"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCES)
    code = (
        "from setuptools import build_meta as b\n"
        "b.build_wheel('../made')\nb.build_sdist('../made')\n"
    )
    made = copy.parent / "made"
    made.mkdir()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=copy,
        env=os.environ | {"EVOPRUNE_VARIANTS": "none"},
        check=True,
        capture_output=True,
    )
    (wheel,), (archive,) = made.glob("*.whl"), made.glob("*.tar.gz")
    return wheel, archive


def metadata(path):
    """Return the text of METADATA in a wheel or of PKG-INFO in a source archive."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as file:
            (name,) = [n for n in file.namelist() if n.endswith(".dist-info/METADATA")]
            return file.read(name).decode()
    with tarfile.open(path) as file:
        (name,) = [n for n in file.getnames() if re.fullmatch(r"[^/]+/PKG-INFO", n)]
        return file.extractfile(name).read().decode()


def test_the_description_has_absolute_links_only(built):
    readme = (ROOT / "README.md").read_text()
    links = sum(len(re.findall(LINK, line)) for line in readme.splitlines())
    for path in built:
        text = metadata(path)
        found = [next(filter(None, m)) for m in re.findall(LINK, text, re.M)]
        assert len(found) >= links > 10
        for target in found:
            assert target.startswith(("https://", "#", "mailto:")), f"{path.name}: {target}"
            own = re.match(
                r"https://github\.com/evoprune/evoprune/(?:blob|raw)/main/([^#]+)", target
            )
            assert own is None or (ROOT / own[1]).exists(), f"{path.name}: {target}"


def test_the_wheel_holds_what_the_package_reads(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    package = ROOT / "evoprune"
    wanted = [*package.rglob("*.py"), *package.rglob("*.pyi"), *package.glob("*/*.json")]
    wanted += [package / "py.typed", *(package / "data").glob("*.gz")]
    missing = {path.relative_to(ROOT).as_posix() for path in wanted} - names
    assert not missing
    assert not [name for name in names if name.startswith(("tests/", "examples/", "docs/"))]


def test_a_missing_compiler_is_named_with_the_package_to_install(tmp_path):
    pytest.importorskip("setuptools")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", tmp_path, "--build-temp",
         tmp_path / "objects"],
        cwd=ROOT,
        env=os.environ | {"CC": "/nonexistent/cc", "EVOPRUNE_VARIANTS": "32_base"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "a C compiler is needed, and '/nonexistent/cc' was not found" in done.stderr
    assert "apt install gcc libc6-dev python3-dev" in done.stderr


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("fpu sse2", ["32_base", "64_base"]),
        ("avx2 fma bmi1 bmi2 f16c movbe", ["32_base", "32_avx2", "64_avx2"]),
        (
            "avx2 fma bmi1 bmi2 f16c movbe avx512f avx512bw avx512cd avx512dq avx512vl",
            ["32_base", "64_avx2", "32_avx512"],
        ),
    ],
)
def test_only_variants_of_this_processor_are_native(monkeypatch, flags, names):
    setup = setup_py()
    if "32_avx512" not in setup.VARIANTS:
        pytest.skip("levels of x86-64")
    monkeypatch.setattr(Path, "read_text", lambda path: f"flags\t\t: {flags}\n")
    assert sorted(setup.native()) == sorted(names)

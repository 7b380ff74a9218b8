"""Compile the C core into Python modules, one for each processor level and precision.

Declarative settings are in pyproject.toml; this file handles compilers, flags and object files. The
same sources are compiled several times with different flags, so that the core needs no function
tables and no run-time dispatch. `evoprune/core` chooses a module at import.

Environment:
    EVOPRUNE_VARIANTS   modules to build, as in "32_avx512,32_base"; "native": only those that this
                        processor uses; "none". Default: all
    EVOPRUNE_WERROR     1: treat warnings as errors
    EVOPRUNE_DEBUG      1: -O1 -g and the core's internal checks (EP_CHECK)
    EVOPRUNE_SANITIZE   sanitizers, as in "address,undefined" (implies EVOPRUNE_DEBUG)
    EVOPRUNE_COVERAGE   1: record line coverage for gcov
    EVOPRUNE_HOSTILE    1: fail allocations, poison scratch, compact at every step (EP_HOSTILE)
    EVOPRUNE_JOBS       number of compiler processes. Default: the processors this process may use
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
REPOSITORY = "https://github.com/evoprune/evoprune"
MACHINE = sysconfig.get_platform().rpartition("-")[2]

# Name of a module -> (flags for its processor level, further macros); levels in ascending order.
VARIANTS: dict[str, tuple[list[str], list[tuple[str, str]]]] = {
    "32_base": ([], []),
    "64_base": ([], [("EP_DOUBLE", "1")]),
}
if MACHINE in ("x86_64", "amd64"):
    V3, V4 = ["-march=x86-64-v3"], ["-march=x86-64-v4", "-mprefer-vector-width=512"]
    VARIANTS["32_avx2"] = (V3, [])
    VARIANTS["64_avx2"] = (V3, [("EP_DOUBLE", "1")])
    VARIANTS["32_avx512"] = (V4, [])

# No -ffast-math: NaN and inf must be detected. -fno-wrapv overrides Python's flags and makes int
# overflow undefined, so that loops over int indices vectorize; the sanitizer build checks for
# overflow.
FLAGS = [
    "-std=c11",
    "-O3",
    "-g0",
    "-fno-wrapv",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-fvisibility=hidden",
    "-pthread",
]
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wvla",
    "-Wno-psabi",
]

# Free-threaded builds of CPython have no stable ABI yet and need version-specific modules.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")


def switch(name: str) -> bool:
    """Return True if the environment variable is set to a value other than "", "0" or "no"."""
    return os.environ.get(name, "").lower() not in ("", "0", "no")


def chosen() -> list[str]:
    """Return the names of the variants to build; exit if a name is unknown on this machine."""
    text = os.environ.get("EVOPRUNE_VARIANTS", "").strip()
    if text == "none":
        return []
    if text == "native":
        return native()
    names = [name.strip().removeprefix("_core") for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        known = ", ".join(VARIANTS)
        sys.exit(f"EVOPRUNE_VARIANTS: expected names out of {known}, got {', '.join(unknown)}")
    return names or list(VARIANTS)


def native() -> list[str]:
    """Return 32_base and the highest variant of each precision that this processor can run."""
    try:
        flags = set(
            re.findall(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M)[0].split()
        )
    except (OSError, IndexError):
        return [name for name in VARIANTS if name.endswith("base")]
    avx2 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"} <= flags
    avx512 = avx2 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    float32 = "32_avx512" if avx512 else "32_avx2" if avx2 else "32_base"
    float64 = "64_avx2" if avx2 else "64_base"
    return [name for name in VARIANTS if name in {"32_base", float32, float64}]


def sources() -> list[str]:
    """Return all C files of the core and its Python binding, relative to this file, sorted."""
    folders = ("csrc", "csrc/laws", "csrc/layers", "csrc/python")
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).glob("*.c")
    )


def extension(name: str) -> Extension:
    """Return the extension module evoprune.core._core<name>."""
    cpu, macros = VARIANTS[name]
    flags = FLAGS + WARNINGS + cpu
    links = ["-pthread"]
    if "EP_DOUBLE" not in dict(macros):
        flags = [*flags, "-Wdouble-promotion"]  # a double literal would halve a kernel's speed
    macros = [*macros, ("EP_MODULE", f"_core{name}")]
    macros += [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
    macros += [("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]
    if LIMITED:
        macros += [("Py_LIMITED_API", "0x030B0000")]

    sanitizers = os.environ.get("EVOPRUNE_SANITIZE", "").strip()
    if switch("EVOPRUNE_DEBUG") or sanitizers:
        flags += ["-O1", "-g", "-fno-omit-frame-pointer", "-UNDEBUG"]
        macros += [("EP_CHECK", "1")]
    if sanitizers:
        flags += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
        links += [f"-fsanitize={sanitizers}"]
    if switch("EVOPRUNE_COVERAGE"):
        flags += ["-O1", "-g", "--coverage"]
        links += ["--coverage"]
    if switch("EVOPRUNE_HOSTILE"):
        macros += [("EP_HOSTILE", "1")]
    if switch("EVOPRUNE_WERROR"):
        flags += ["-Werror"]
    if sys.platform == "darwin":
        flags += ["-Wno-unknown-warning-option"]

    # System headers (-isystem) give no warnings, even if -I names their folders too.
    import numpy

    python = map(sysconfig.get_path, ("include", "platinclude"))
    for folder in dict.fromkeys((numpy.get_include(), *python)):
        flags += ["-isystem", folder]
    return Extension(
        f"evoprune.core._core{name}",
        sources(),
        include_dirs=["csrc"],
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=links,
        py_limited_api=LIMITED,
    )


class BuildCore(build_ext):
    """Compile each variant to its own object files, in parallel; skip files that are up to date."""

    def build_extensions(self) -> None:
        compiler = self.compiler.compiler_so[0]
        if self.extensions and not shutil.which(compiler):
            sys.exit(
                f"evoprune: a C compiler is needed, and {compiler!r} was not found. Install one "
                "(Debian, Ubuntu: apt install gcc libc6-dev python3-dev; Fedora: dnf install gcc "
                "python3-devel; macOS: xcode-select --install), or name it: CC=clang pip install ."
            )
        self.extensions = [ext for ext in self.extensions if self.compiler_accepts(ext)]
        super().build_extensions()

    def compiler_accepts(self, ext: Extension) -> bool:
        """Return True if the compiler supports the flags; else the variant is skipped."""
        cpu, _ = VARIANTS[ext.name.rpartition("_core")[2]]
        if not cpu:
            return True
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text("int probe;\n")
            command = [*self.compiler.compiler_so, *cpu, "-c", str(probe), "-o", str(probe) + ".o"]
            done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            self.warn(f"{ext.name} left out: the compiler does not know {' '.join(cpu)}")
        return done.returncode == 0

    def build_extension(self, ext: Extension) -> None:
        if not ext.sources:
            sys.exit(f"no C sources under {ROOT / 'csrc'}: is the checkout complete?")
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            sys.exit("Python.h is missing: install Python's headers (Debian: python3-dev)")
        macros, flags = ext.define_macros, ext.extra_compile_args
        recipe = (self.compiler.compiler_so, macros, flags, ext.extra_link_args)
        key = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
        folder = Path(self.build_temp, f"{ext.name}-{key}")
        target = Path(self.get_ext_fullpath(ext.name))
        # This file stores the recipe with which the module on disk was linked.
        linked = Path(self.build_temp, f"{ext.name}.linked")

        shared = [ROOT / "setup.py", *(ROOT / "csrc").rglob("*.h"), *(ROOT / "csrc").rglob("*.def")]
        newest = max(path.stat().st_mtime_ns for path in shared)
        objects = self.compiler.object_filenames(ext.sources, output_dir=str(folder))
        stale = [
            source
            for source, object_ in zip(ext.sources, objects, strict=True)
            if self.force or not fresh(Path(object_), max(newest, modified(Path(source))))
        ]

        def compile_one(source: str) -> None:
            self.compiler.compile(
                [source],
                output_dir=str(folder),
                macros=macros,
                include_dirs=ext.include_dirs,
                extra_postargs=flags,
            )

        # Largest files first, so that all workers finish at about the same time.
        stale.sort(key=lambda source: -Path(source).stat().st_size)
        jobs = int(os.environ.get("EVOPRUNE_JOBS") or processors())
        if stale:
            name, of = ext.name.rpartition("_core")[2], len(self.extensions)
            print(  # noqa: T201 - minutes without output look like a hang
                f"evoprune: compiling variant {name} of the core, "
                f"{self.extensions.index(ext) + 1} of {of}: {len(stale)} files",
                file=sys.stderr,
                flush=True,
            )
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            list(pool.map(compile_one, stale))

        built_from = max(modified(Path(object_)) for object_ in objects)
        same = linked.exists() and linked.read_text() == key
        if stale or not same or not fresh(target, built_from):
            self.compiler.link_shared_object(
                objects,
                str(target),
                libraries=self.get_libraries(ext),
                extra_postargs=ext.extra_link_args,
                build_temp=str(folder),
                target_lang="c",
            )
            linked.write_text(key)


def processors() -> int:
    """Return the number of processors available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def modified(path: Path) -> int:
    return path.stat().st_mtime_ns


def fresh(path: Path, than: int) -> bool:
    """Return True if `path` exists and is newer than the time `than` (ns)."""
    return path.exists() and modified(path) > than


def description() -> str:
    """Return the README with absolute links, for a package index."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page, raw = (f"{REPOSITORY}/{kind}/main/" for kind in ("blob", "raw"))
    text = re.sub(r"\]\((?!https?:|#|mailto:)([^)]+)\)", rf"]({page}\1)", text)
    return re.sub(r'(src|srcset)="(?!https?:)([^"]+)"', rf'\1="{raw}\2"', text)


if __name__ == "__main__":
    setup(
        long_description=description(),
        long_description_content_type="text/markdown",
        ext_modules=[extension(name) for name in chosen()],
        cmdclass={"build_ext": BuildCore},
        options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
    )

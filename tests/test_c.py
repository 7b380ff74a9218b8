"""The core without Python, under the address and undefined-behavior sanitizers.

Every tests/c/*.c is a program linked with all of the core outside csrc/python, in float32 and in
float64. It returns 0 if all tests pass and prints failures on stderr.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evoprune.core import core32

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
PROGRAMS = sorted((ROOT / "tests" / "c").glob("*.c"))
SOURCES = sorted(p for p in CSRC.rglob("*.c") if p.parent != CSRC / "python")
FLAGS = [
    "-std=c11",
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
    "-Wno-psabi",
    "-Werror",
    "-pthread",
    "-DEP_CHECK=1",
    f"-I{CSRC}",
]


def compiler() -> list[str]:
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]
    return command if shutil.which(command[0]) else ["cc"]


def run(command: list[str], **more) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, **more)


@pytest.fixture(scope="module", params=["float32", "float64"])
def core(request, tmp_path_factory) -> tuple[list[str], list[str], Path]:
    """Compile the core; return the command with its flags, the object files, and their folder."""
    folder = tmp_path_factory.mktemp(request.param)
    build = compiler() + FLAGS + ["-DEP_DOUBLE=1"] * (request.param == "float64")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    made = run([*build, str(probe), "-o", str(folder / "probe")])
    if made.returncode or run([str(folder / "probe")]).returncode:
        pytest.skip(f"no working sanitizers: {made.stderr.strip()[-200:]}")

    def compile_one(source: Path) -> str:
        target = folder / (source.relative_to(CSRC).as_posix().replace("/", "_") + ".o")
        done = run([*build, "-c", str(source), "-o", str(target)])
        assert done.returncode == 0, done.stderr
        return str(target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return build, list(pool.map(compile_one, SOURCES)), folder


def run_program(target: Path) -> None:
    options = {
        "ASAN_OPTIONS": "detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = run([str(target)], env=os.environ | options, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program(core, program):
    build, objects, folder = core
    target = folder / program.stem
    made = run([*build, str(program), *objects, "-o", str(target), "-lm"])
    assert made.returncode == 0, made.stderr
    run_program(target)


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize(
    ("name", "sources"), [("vector", []), ("gemm", ["gemm"]), ("winograd", ["winograd", "gemm"])]
)
def test_wider_vectors(core, name, sources, level, tmp_path):
    """Repeat the tests of vectors and matrix products with the instructions of newer processors."""
    if core32.cpu_level() < level:
        pytest.skip("this processor has no vectors as wide")
    build, _, _ = core
    if "-DEP_DOUBLE=1" in build and level == 2:
        pytest.skip("there is no such module")
    program = ROOT / "tests" / "c" / f"test_{name}.c"
    flags = [f"-march=x86-64-v{level + 2}", "-O2"]  # GCC fuses multiply-adds at -O2
    target = tmp_path / program.stem
    parts = [str(CSRC / f"{source}.c") for source in sources]
    made = run([*build, *flags, str(program), *parts, "-o", str(target), "-lm"])
    assert made.returncode == 0, made.stderr
    run_program(target)
